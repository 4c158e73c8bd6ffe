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
	require.ErrorContains(t, store.Delete(t.Context(), s, &b), "collect build 7: ")
	b, err = s.Change(t.Context(), "a", store.RequestCancel{At: time.Now()})
	require.NoError(t, err)
	require.ErrorContains(t, store.Delete(t.Context(), failing{s}, &b), "purge build 7: disk")
}

// Whatever a retention says, some builds stay.
func TestSomeBuildsAlwaysStay(t *testing.T) {
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	s := store.NewMemory()
	number := int64(0)
	enqueue := func(id build.ID, r store.Request) {
		t.Helper()
		number++
		r.Project, r.Pipeline = "shop", "build"
		_, err := s.Enqueue(t.Context(), store.NewBuild(id, number, r, noon.Add(-100*time.Hour)))
		require.NoError(t, err)
	}
	change := func(id build.ID, changes ...store.Change) {
		t.Helper()
		for _, c := range changes {
			_, err := s.Change(t.Context(), id, c)
			require.NoError(t, err)
		}
	}
	claim := store.Claim{Agent: "a", Nonce: "n", Max: 3, At: noon}
	ends := func(id build.ID, state build.State) {
		enqueue(id, store.Request{})
		change(id, claim, store.Complete{Agent: "a", Fence: 1, State: state, At: noon.Add(-99 * time.Hour)})
	}
	wrote := func(id build.ID, size int) {
		require.NoError(t, s.AppendEvents(t.Context(), store.EventKey{Build: id, Fence: 1, Seq: 1}, []build.Event{{Seq: 1, Kind: build.AttemptStarted, Node: "n", Attempt: 1}, {Seq: 2, Kind: build.AttemptStarted, Node: "silent", Attempt: 1}}))
		require.NoError(t, s.AppendChunks(t.Context(), []store.Chunk{{Key: store.ChunkKey{Build: id, Fence: 1, Node: "n", Attempt: 1}, Data: make([]byte, size)}}))
	}
	expired := func(r store.Retention) (ids []build.ID) {
		t.Helper()
		require.NoError(t, store.Expired(t.Context(), s, "shop", r, noon, func(b *store.Build) error { ids = append(ids, b.ID); return nil }))
		return ids
	}
	ends("green", build.Success) // not the newest
	ends("pinned", build.Failed)
	change("pinned", store.Pin{Pinned: true})
	ends("last", build.Success)
	ends("red", build.Failed)
	ends("cause", build.Failed)
	enqueue("queued", store.Request{Cause: store.Cause{Kind: "rerun", Build: "cause"}})
	ends("child", build.Failed)
	enqueue("parent", store.Request{})
	change("parent", claim, store.Fire{Agent: "a", Fence: 1, Node: "t", Outgoing: store.Outgoing{Child: "child", Wait: true}})
	old := store.Retention{Age: plan.Duration(time.Hour)}
	require.Equal(t, []build.ID{"red", "green"}, expired(old))
	change("pinned", store.Pin{})
	require.Equal(t, []build.ID{"red", "pinned", "green"}, expired(old))
	change("queued", store.RequestCancel{At: noon})
	require.Equal(t, []build.ID{"cause", "red", "pinned", "green"}, expired(old), "what came of it has ended")

	wrote("child", 300)
	wrote("red", 600)
	wrote("green", 50)
	require.Empty(t, expired(store.Retention{Size: 950}))
	require.Equal(t, []build.ID{"green"}, expired(store.Retention{Size: 920}))
	require.Equal(t, []build.ID{"red"}, expired(store.Retention{Size: 500}), "those that are less may stay")
	require.Equal(t, []build.ID{"queued", "cause", "red", "pinned", "green"}, expired(store.Retention{Size: 1}), "one that a build waits for stays")

	stop := errors.New("stop")
	require.ErrorIs(t, store.Expired(t.Context(), s, "shop", old, noon, func(*store.Build) error { return stop }), stop)
}

// One that was pinned since it was listed loses nothing.
func TestDeleteLooksAgain(t *testing.T) {
	s := store.NewMemory()
	_, err := s.Enqueue(t.Context(), store.NewBuild("a", 7, store.Request{Project: "shop"}, time.Now()))
	require.NoError(t, err)
	listed, err := s.Change(t.Context(), "a", store.RequestCancel{At: time.Now()})
	require.NoError(t, err)
	_, err = s.Change(t.Context(), "a", store.Pin{Pinned: true})
	require.NoError(t, err)
	key := store.ChunkKey{Build: "a", Fence: 1, Node: "n", Attempt: 1}
	require.NoError(t, s.AppendChunks(t.Context(), []store.Chunk{{Key: key, Data: []byte("x")}}))
	require.ErrorContains(t, store.Delete(t.Context(), s, &listed), "is pinned")
	left, err := s.Chunks(t.Context(), key, 1)
	require.NoError(t, err)
	require.Len(t, left, 1)
}
