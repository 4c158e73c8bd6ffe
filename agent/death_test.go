package agent

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/record"
	"github.com/piper-build/piper/runtime/store"
)

func TestARestartOnTheSameHostRescuesAtOnce(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.takes = func(build.ID, string) time.Duration { return 30 * time.Second }
		h := w.host("one", nil)
		h.start()
		b := w.ask("x", store.Request{Pipeline: "unit"})
		w.wait(10*time.Second, "it runs", func() bool { return len(w.ran(b.ID)) > 0 })
		h.kill()
		h.start()
		w.wait(3*time.Second, "it was rescued", func() bool { return w.see(b.ID).Fence > 1 })
		b = w.ended(time.Minute, b.ID)
		require.Equal(t, build.Success, b.State)
		require.Equal(t, 2, b.Attempt)
		agents, err := w.Agents(t.Context())
		require.NoError(t, err)
		require.Len(t, agents, 1)
	}, pipeline("unit", step("test")))
}

func TestTheOthersRescueFromTheDead(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.takes = func(build.ID, string) time.Duration { return 20 * time.Second }
		one, two := w.host("one", nil), w.host("two", func(a *Agent) { a.MaxAttempts = 2 })
		one.start()
		b, deploy := w.ask("x", store.Request{Pipeline: "unit"}), store.Build{}
		w.wait(10*time.Second, "it runs", func() bool { return len(w.ran(b.ID)) > 0 })
		two.start()
		time.Sleep(7 * time.Second)
		one.kill()
		w.wait(50*time.Second, "it was rescued", func() bool { return w.see(b.ID).Fence > 1 })
		require.Equal(t, build.Success, w.ended(time.Minute, b.ID).State)

		deploy = w.ask("deploy", store.Request{Pipeline: "deploy"})
		w.wait(time.Minute, "it is deployed", func() bool { return len(w.see(deploy.ID).Once) > 0 })
		one.start()
		time.Sleep(7 * time.Second)
		two.kill()
		deploy = w.ended(2*time.Minute, deploy.ID)
		require.Equal(t, build.Lost, deploy.State)
		require.Contains(t, deploy.Reason, "after deploy, which must not run twice, had been started")
	}, pipelines()...)
}

// A short outage is nobody's death, and a long one ends what runs.
func TestTheStoreIsAway(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.takes = func(id build.ID, _ string) time.Duration {
			return map[build.ID]time.Duration{"build-x": 2 * time.Minute, "build-y": time.Hour}[id]
		}
		one, two := w.host("one", nil), w.host("two", nil)
		one.start()
		two.start()
		b := w.ask("x", store.Request{Pipeline: "unit"})
		w.wait(10*time.Second, "it runs", func() bool { return len(w.ran(b.ID)) > 0 })
		one.link.part(time.Minute)
		two.link.part(time.Minute)
		require.Equal(t, build.Success, w.ended(4*time.Minute, b.ID).State)
		require.Len(t, w.ran(b.ID), 1)
		require.Zero(t, w.rescues)

		b = w.ask("y", store.Request{Pipeline: "unit"})
		w.wait(10*time.Second, "it runs", func() bool { return len(w.ran(b.ID)) > 0 })
		one.link.part(15 * time.Minute)
		two.link.part(15 * time.Minute)
		time.Sleep(12 * time.Minute)
		require.False(t, w.ran(b.ID)[0].ended.IsZero(), "its agent gave it up")
		w.wait(10*time.Minute, "it runs again", func() bool { return len(w.ran(b.ID)) > 1 })
	}, pipeline("unit", step("test")))
}

// Who can write that he lives, and not read what he has, is as good as cut off.
func TestTheStoreShowsNothing(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.takes = func(build.ID, string) time.Duration { return time.Hour }
		one := w.host("one", nil)
		one.start()
		b := w.ask("x", store.Request{Pipeline: "unit"})
		w.wait(10*time.Second, "it runs", func() bool { return len(w.ran(b.ID)) > 0 })
		one.link.mu.Lock()
		one.link.blind = true
		one.link.mu.Unlock()
		time.Sleep(9 * time.Minute)
		require.True(t, w.ran(b.ID)[0].ended.IsZero())
		w.wait(2*time.Minute, "it is given up", func() bool { return !w.ran(b.ID)[0].ended.IsZero() })
	}, pipeline("unit", step("test")))
}

// An agent that was paused past its lease finds itself buried, kills what it runs
// and starts anew.
func TestTheBuriedStartAnew(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.takes = func(build.ID, string) time.Duration { return 10 * time.Minute }
		one, two := w.host("one", nil), w.host("two", nil)
		one.start()
		b := w.ask("x", store.Request{Pipeline: "unit"})
		w.wait(10*time.Second, "it runs", func() bool { return len(w.ran(b.ID)) > 0 })
		two.start()
		time.Sleep(10 * time.Second)
		one.link.part(2 * time.Minute)
		w.wait(90*time.Second, "the other one runs it", func() bool { return len(w.ran(b.ID)) == 2 })
		w.wait(2*time.Minute, "it sees that", func() bool { return !w.ran(b.ID)[0].ended.IsZero() })
		require.Equal(t, build.Success, w.ended(time.Hour, b.ID).State)
		require.Len(t, w.ran(b.ID), 2)
		agents, err := w.Agents(t.Context())
		require.NoError(t, err)
		require.Len(t, agents, 2, "it is back")
	}, pipeline("unit", step("test")))
}

func TestAnAgentDrains(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.takes = func(id build.ID, _ string) time.Duration {
			return map[build.ID]time.Duration{"build-short": 20 * time.Second}[id] + 10*time.Second
		}
		h := w.host("one", func(a *Agent) { a.Timings.Drain = time.Minute })
		h.start()
		short := w.ask("short", store.Request{Pipeline: "unit"})
		w.wait(10*time.Second, "it runs", func() bool { return len(w.ran(short.ID)) > 0 })
		next := w.ask("next", store.Request{Pipeline: "unit"})
		require.NoError(t, h.drain())
		require.Equal(t, build.Success, w.see(short.ID).State, "it was waited for")
		require.Equal(t, build.Queued, w.see(next.ID).State)

		w.takes = func(build.ID, string) time.Duration { return time.Hour }
		h.start()
		w.wait(10*time.Second, "it runs", func() bool { return len(w.ran(next.ID)) > 0 })
		began := time.Now()
		owner := w.see(next.ID).Owner
		ends := make(chan bool, 1)
		time.AfterFunc(30*time.Second, func() {
			one, err := w.Agent(t.Context(), owner)
			ends <- err == nil && one.Draining && one.Ending
		})
		require.NoError(t, h.drain())
		require.True(t, <-ends, "the others know that it will not take builds again")
		require.Less(t, time.Since(began), 70*time.Second)
		b := w.see(next.ID)
		require.Equal(t, build.Queued, b.State, "it was given back")
		require.False(t, w.ran(next.ID)[0].ended.IsZero())

		hurry := make(chan struct{})
		h.change = func(a *Agent) { a.Timings.Drain, a.Hurry = time.Hour, hurry }
		h.start()
		w.wait(30*time.Second, "it runs", func() bool { return w.see(next.ID).State == build.Running })
		time.AfterFunc(10*time.Second, func() { close(hurry) })
		began = time.Now()
		require.NoError(t, h.drain())
		require.Less(t, time.Since(began), 20*time.Second)
		require.Equal(t, build.Queued, w.see(next.ID).State, "it was given back")
		h.change = nil

		// From far away it only stops claiming.
		h.start()
		w.wait(30*time.Second, "it runs", func() bool { return w.see(next.ID).State == build.Running })
		require.NoError(t, w.Drain(t.Context(), w.see(next.ID).Owner, true))
		time.Sleep(10 * time.Second)
		_, err := w.Change(t.Context(), next.ID, store.RequestCancel{Cancel: store.Cancel{By: "ann"}, At: now()})
		require.NoError(t, err)
		other := w.ask("other", store.Request{Pipeline: "unit"})
		time.Sleep(time.Minute)
		require.Equal(t, build.Queued, w.see(other.ID).State)
		agents, err := w.Agents(t.Context())
		require.NoError(t, err)
		require.NoError(t, w.Drain(t.Context(), agents[0].ID, false))
		w.wait(30*time.Second, "it claims again", func() bool { return w.see(other.ID).State == build.Running })
		h.kill()
	}, pipeline("unit", step("test")))
}

// A runner that dies is another attempt, and the third is the last.
func TestTheRunnerDies(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		deaths := 2
		w.host("one", func(a *Agent) {
			real := a.Runner
			a.Runner = runs(func(ctx context.Context, j Job, h Handler) error {
				if deaths--; deaths >= 0 {
					return errCut
				}
				return real.Run(ctx, j, h)
			})
		}).start()
		b := w.ended(time.Minute, w.ask("x", store.Request{Pipeline: "unit"}).ID)
		require.Equal(t, build.Success, b.State)
		require.Equal(t, 3, b.Attempt)
		deaths = 3
		b = w.ended(time.Minute, w.ask("y", store.Request{Pipeline: "unit"}).ID)
		require.Equal(t, build.Lost, b.State)
		require.Equal(t, "its runner ended early (the runner died) 3 times", b.Reason)
	}, pipeline("unit", step("test")))
}

type runs func(ctx context.Context, j Job, h Handler) error

func (r runs) Run(ctx context.Context, j Job, h Handler) error { return r(ctx, j, h) }

// What was not recorded has not happened.
func TestTheRecordIsLost(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		full := true
		w.host("one", func(a *Agent) {
			records := a.Record
			a.Record = func(b store.Build) (Record, error) {
				r, err := records(b)
				if full {
					full = false
					return lossy{r.(*record.Record)}, err
				}
				return r, err
			}
		}).start()
		b := w.ended(time.Minute, w.ask("x", store.Request{Pipeline: "unit"}).ID)
		require.Equal(t, build.Success, b.State)
		require.Equal(t, 2, b.Attempt)
		require.Equal(t, 1, w.rescues)
	}, pipeline("unit", step("test")))
}

type (
	keeper = record.Record // or its field would hide its method
	lossy  struct{ *keeper }
)

func (lossy) Flush(context.Context) error { return errors.New("the spool is full") }

// An owner that does not end what it was asked to end, and yet lives.
func TestACancelIsForcedInTheEnd(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.host("one", func(a *Agent) {
			a.Runner = runs(func(ctx context.Context, j Job, h Handler) error {
				<-ctx.Done()
				return ctx.Err()
			})
		}).start()
		b := w.ask("x", store.Request{Pipeline: "unit"})
		w.wait(10*time.Second, "it runs", func() bool { return w.see(b.ID).State == build.Running })
		cancel := func(force bool) {
			_, err := w.Change(t.Context(), b.ID, store.RequestCancel{Cancel: store.Cancel{By: "ann", Reason: "stuck", Force: force}, At: now()})
			require.NoError(t, err)
		}
		cancel(false)
		time.Sleep(2 * time.Minute)
		require.Equal(t, build.Running, w.see(b.ID).State, "it may clean up")
		cancel(true)
		b = w.ended(time.Minute, b.ID)
		require.Equal(t, build.Cancelled, b.State)
		require.Equal(t, "stuck", b.Reason)
		require.Equal(t, build.Rejected, w.ended(time.Minute, w.ask("y", store.Request{Pipeline: "none"}).ID).State, "its slot is free again")
	}, pipeline("unit", step("test")))
}
