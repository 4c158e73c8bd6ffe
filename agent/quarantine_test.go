package agent

import (
	"context"
	"errors"
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

// lame fails to describe agents while it is told to.
type lame struct {
	store.Store
	is *atomic.Bool
}

func (s lame) Describe(ctx context.Context, id store.AgentID, slots int, labels, facts map[string]string) error {
	if s.is.Load() {
		return errors.New("no")
	}
	return s.Store.Describe(ctx, id, slots, labels, facts)
}

// leaves is a Runner of whose first build something lives on.
func leaves(inner Runner, u Undying, of string) Runner {
	var left atomic.Bool
	return runs(func(ctx context.Context, j Job, h Handler) error {
		err := inner.Run(ctx, j, h)
		if j.Build.Request.Pipeline == of && !left.Swap(true) {
			err = fmt.Errorf("end runner: %w", u)
		}
		return err
	})
}

// The others hear of a slot that is held back, and that it is not, also when they
// cannot be told at once.
func TestQuarantineIsToldAgain(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var ended, deaf atomic.Bool
		w.host("one", func(a *Agent) {
			a.Slots, a.Runner, a.Store = 2, leaves(a.Runner, undying{&ended}, "unit"), lame{a.Store, &deaf}
		}).start()
		slots := func() int {
			all, err := w.Agents(t.Context())
			require.NoError(t, err)
			return all[0].Slots
		}
		w.ended(time.Minute, w.ask("x", store.Request{Pipeline: "unit"}).ID)
		w.wait(time.Minute, "it is said", func() bool { return slots() == 1 })
		deaf.Store(true)
		ended.Store(true)
		time.Sleep(time.Minute)
		require.Equal(t, 1, slots())
		deaf.Store(false)
		w.wait(time.Minute, "it is said again", func() bool { return slots() == 2 })
	}, pipeline("unit", step("test")))
}

// A build that has begun goes on, though no slot is left for another one.
func TestQuarantineOfTheOnlySlot(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var ended atomic.Bool
		w.host("one", func(a *Agent) { a.Runner = leaves(a.Runner, undying{&ended}, "unit") }).start()
		up := w.ended(5*time.Minute, w.ask("x", store.Request{Pipeline: "up"}).ID)
		require.Equal(t, build.Success, up.State, up.Reason)
		all, err := w.Agents(t.Context())
		require.NoError(t, err)
		require.Equal(t, 0, all[0].Slots)
		waits := w.ask("y", store.Request{Pipeline: "unit"})
		time.Sleep(time.Minute)
		require.Equal(t, build.Queued, w.see(waits.ID).State)
		ended.Store(true)
		require.Equal(t, build.Success, w.ended(time.Minute, waits.ID).State)
	}, pipeline("up", trigger("unit", true), step("mail", needs("run-unit"))), pipeline("unit", step("test")))
}

// A build of which something lives on has ended, and its slot is nobody's until
// that has too, whatever happens to the agent meanwhile.
func TestQuarantine(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var ended atomic.Bool
		w.takes = func(build.ID, string) time.Duration { return 15 * time.Second }
		w.host("one", func(a *Agent) { a.Slots, a.Runner = 2, leaves(a.Runner, undying{&ended}, "unit") }).start()
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
