package agent

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

// undying is a process that lives on until somebody says that it has ended.
type undying struct{ ended *atomic.Bool }

func (u undying) Error() string { return "processes cannot be killed: dd (7)" }

func (u undying) Living() []string {
	if u.ended.Load() {
		return nil
	}
	return []string{"dd (7)"}
}

// A build of which something lives on has ended, and its slot is nobody's until
// that has too, whatever happens to the agent meanwhile.
func TestQuarantine(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var ended, failed atomic.Bool
		w.takes = func(build.ID, string) time.Duration { return 15 * time.Second }
		w.host("one", func(a *Agent) {
			a.Slots = 2
			inner := a.Runner
			a.Runner = runs(func(ctx context.Context, j Job, h Handler) error {
				err := inner.Run(ctx, j, h)
				if !failed.Swap(true) {
					err = fmt.Errorf("end runner: %w", undying{&ended})
				}
				return err
			})
		}).start()
		self := func() store.Agent {
			all, err := w.Agents(t.Context())
			require.NoError(t, err)
			require.Len(t, all, 1)
			return all[0]
		}
		b := w.ended(time.Minute, w.ask("x", store.Request{Pipeline: "unit"}).ID)
		require.Equal(t, build.Success, b.State, b.Reason)
		w.wait(time.Minute, "it is said", func() bool { return self().Slots == 1 })
		require.Equal(t, map[string]string{"unkillable": "dd (7)"}, self().Facts)

		one, two := w.ask("one", store.Request{Pipeline: "unit"}), w.ask("two", store.Request{Pipeline: "unit"})
		w.wait(time.Minute, "one runs", func() bool { return len(self().Running) == 1 })
		for w.see(one.ID).State != build.Success || w.see(two.ID).State != build.Success {
			require.LessOrEqual(t, len(self().Running), 1)
			time.Sleep(100 * time.Millisecond)
		}

		// Buried, it begins another life, and has not forgotten.
		before := self().ID
		require.NoError(t, w.Bury(t.Context(), before))
		w.wait(time.Minute, "it lives again", func() bool {
			all, err := w.Agents(t.Context())
			require.NoError(t, err)
			return len(all) == 1 && all[0].ID != before && all[0].Facts["unkillable"] == "dd (7)"
		})
		require.Equal(t, 1, self().Slots)

		ended.Store(true)
		w.wait(time.Minute, "the slot is free again", func() bool { return self().Slots == 2 })
		require.Empty(t, self().Facts)
		one, two = w.ask("three", store.Request{Pipeline: "unit"}), w.ask("four", store.Request{Pipeline: "unit"})
		w.wait(time.Minute, "both run", func() bool { return len(self().Running) == 2 })
		w.ended(time.Minute, one.ID)
		w.ended(time.Minute, two.ID)
	}, pipeline("unit", step("test")))
}
