package store_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

func TestRetain(t *testing.T) {
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	day := plan.Duration(24 * time.Hour)
	for name, c := range map[string]struct {
		project string
		keep    store.Retention
		left    []build.ID
	}{
		"everything":           {"", store.Retention{}, []build.ID{"a1", "a2", "a3", "b1", "c1", "run"}},
		"the newest of each":   {"", store.Retention{Count: 1}, []build.ID{"a3", "b1", "c1", "run"}},
		"of one project":       {"shop", store.Retention{Count: 2}, []build.ID{"a2", "a3", "b1", "c1", "run"}},
		"what ended yesterday": {"", store.Retention{Age: day}, []build.ID{"a3", "run"}},
		"both":                 {"shop", store.Retention{Age: 10 * day, Count: 1}, []build.ID{"a3", "b1", "c1", "run"}},
		"of nobody":            {"nosuch", store.Retention{Count: 1}, []build.ID{"a1", "a2", "a3", "b1", "c1", "run"}},
	} {
		t.Run(name, func(t *testing.T) {
			s, number := store.NewMemory(), int64(0)
			ended := func(id build.ID, project, pipeline string, ago time.Duration) {
				number++
				_, err := s.Enqueue(t.Context(), store.NewBuild(id, number, store.Request{Project: project, Pipeline: pipeline}, noon.Add(-ago)))
				require.NoError(t, err)
				_, err = s.Change(t.Context(), id, store.RequestCancel{At: noon.Add(-ago)})
				require.NoError(t, err)
			}
			ended("a1", "shop", "build", 72*time.Hour)
			ended("b1", "shop", "test", 50*time.Hour)
			ended("c1", "ops", "build", 49*time.Hour)
			ended("a2", "shop", "build", 48*time.Hour)
			ended("a3", "shop", "build", time.Hour)
			_, err := s.Enqueue(t.Context(), store.NewBuild("run", 9, store.Request{Project: "shop", Pipeline: "build"}, noon.Add(-99*time.Hour)))
			require.NoError(t, err)

			deleted, err := store.Retain(t.Context(), s, c.project, c.keep, noon)
			require.NoError(t, err)
			require.Equal(t, 6-len(c.left), deleted)
			var left []build.ID
			for _, id := range []build.ID{"a1", "a2", "a3", "b1", "c1", "run"} {
				b, err := s.Build(t.Context(), id)
				require.NoError(t, err)
				if !b.Collected {
					left = append(left, id)
				}
			}
			require.Equal(t, c.left, left)
			again, err := store.Retain(t.Context(), s, c.project, c.keep, noon)
			require.NoError(t, err)
			require.Zero(t, again)
		})
	}
}

// failing is a Store that does not purge.
type failing struct{ store.Store }

func (failing) Purge(context.Context, build.ID) error { return errors.New("disk") }

func TestDeleteTellsWhatFailed(t *testing.T) {
	s := store.NewMemory()
	b, err := s.Enqueue(t.Context(), store.NewBuild("a", 7, store.Request{Project: "shop"}, time.Now()))
	require.NoError(t, err)
	require.ErrorContains(t, store.Delete(t.Context(), failing{s}, &b), "purge build 7: disk")
	require.ErrorContains(t, store.Delete(t.Context(), s, &b), "collect build 7: ")
}
