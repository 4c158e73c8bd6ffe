package agent

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

// More waits than a view shows, and nobody can run it. What is behind that is run
// all the same: by whom it was offered to, or after it was offered to somebody.
func TestWhatIsBehindTheViewIsRun(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.host("one", nil).start()
		time.Sleep(time.Second)
		agents, err := w.Agents(t.Context())
		require.NoError(t, err)
		for i := range wholeQueue + 10 {
			w.ask(fmt.Sprint(i), store.Request{Pipeline: "big", Here: "elsewhere"})
		}
		mine, orphan := w.ask("mine", store.Request{Pipeline: "unit"}), w.ask("orphan", store.Request{Pipeline: "unit"})
		for id, to := range map[build.ID]store.AgentID{mine.ID: agents[0].ID, orphan.ID: "dead"} {
			_, err := w.Change(t.Context(), id, store.Offer{To: to})
			require.NoError(t, err)
		}
		require.Equal(t, build.Success, w.ended(30*time.Second, mine.ID).State)
		require.Equal(t, build.Success, w.ended(time.Minute, orphan.ID).State)
	}, pipeline("unit", step("test")))
}

// A chore is done by who has seen it in two views: one that changed is likely to be in
// somebody's hands. The same view twice is one.
func TestAViewIsSweptOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := store.NewMemory()
		_, err := s.Enqueue(t.Context(), store.NewBuild("x", 1, store.Request{Project: "shop", Patch: "patch"}, now()))
		require.NoError(t, err)
		for _, c := range []store.Change{
			store.Claim{Agent: "a", Nonce: "n", Max: 3}, store.Planned{Agent: "a", Fence: 1, Plan: "plan", Groups: []string{"shop/live"}},
			store.Complete{Agent: "a", Fence: 1, State: build.Failed, At: now()},
		} {
			_, err := s.Change(t.Context(), "x", c)
			require.NoError(t, err)
		}
		look := func() *view {
			o, err := store.Look(t.Context(), s, 10, 10)
			require.NoError(t, err)
			return &view{o, time.Now()}
		}
		require.NotEmpty(t, look().Unsettled)
		a := Agent{Store: s, Log: slog.New(slog.DiscardHandler), Timings: Timings{}.withDefaults(), draw: draws(t.Name())}
		l := newLife(&a, nil)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); l.sweeps(ctx) }()
		l.show(look())
		time.Sleep(10 * a.Timings.Sweep)
		require.NotEmpty(t, look().Unsettled)
		l.show(look())
		time.Sleep(2 * a.Timings.Sweep)
		require.Empty(t, look().Unsettled)
		stop()
		<-done
	})
}

// A view that is older than what was seen since does not keep the queue from being
// looked at when that is due.
func TestAnOldViewChangesNothing(t *testing.T) {
	for name, call := range map[string]func(*life){
		"all of it is to be looked at": func(l *life) { l.look() },
		"it is to be looked at later":  func(l *life) { l.glance() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				asked := &askedQueue{Memory: store.NewMemory()}
				a := Agent{Store: asked, Slots: 1, Log: slog.New(slog.DiscardHandler), Timings: Timings{}.withDefaults(), draw: draws(t.Name()),
					Free: func(string) (uint64, uint64, error) { return 1 << 40, 1 << 40, nil }}
				l := newLife(&a, nil)
				l.seen = &view{Overview: store.Overview{Agents: make([]store.Agent, 9)}}
				ctx, stop := context.WithCancel(t.Context())
				done := make(chan struct{})
				go func() { defer close(done); l.claims(ctx) }()
				l.look()
				time.Sleep(50 * time.Millisecond)
				old := view{Overview: l.seen.Overview, at: time.Now()}
				time.Sleep(50 * time.Millisecond)
				call(l)
				time.Sleep(50 * time.Millisecond)
				looks := asked.own.Load()
				l.show(&old)
				time.Sleep(time.Second)
				require.Greater(t, asked.own.Load(), looks)
				stop()
				<-done
			})
		})
	}
}

// Who was stopped for long, and nobody took its builds, runs them on.
func TestAnAgentThatWasStoppedIsNotBlind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := store.NewMemory()
		a := Agent{Store: s, Log: slog.New(slog.DiscardHandler), Timings: Timings{}.withDefaults(), draw: draws(t.Name())}
		l := newLife(&a, nil)
		l.ctx, l.die = context.WithCancelCause(t.Context())
		require.NoError(t, s.Join(t.Context(), store.Agent{ID: l.id}))
		l.show(&view{at: time.Now()})
		r := newRun(l, store.Build{ID: "x"})
		require.True(t, l.enter(r))
		time.Sleep(2 * a.Timings.GiveUp) // and nothing was looked at
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); l.heartbeats(ctx) }()
		time.Sleep(3 * a.Timings.Heartbeat)
		require.NoError(t, r.ctx.Err())
		stop()
		<-done
		l.exit(r)
		l.die(nil)
	})
}

// An agent joins before it owns anything, so who looks at the agents last takes no
// build from one that has only just come.
func TestLookReadsAgentsLast(t *testing.T) {
	s := store.NewMemory()
	late := lateComer{s}
	_, err := s.Enqueue(t.Context(), store.NewBuild("x", 1, store.Request{Project: "shop"}, now()))
	require.NoError(t, err)
	for range 2 {
		o, err := store.Look(t.Context(), late, 10, 10)
		require.NoError(t, err)
		known := map[store.AgentID]bool{}
		for _, a := range o.Agents {
			known[a.ID] = true
		}
		for _, b := range o.Running {
			require.True(t, known[b.Owner], "build %s", b.ID)
		}
	}
}

// A lateComer is a store to which an agent comes, and claims a build, between any two
// reads.
type lateComer struct{ *store.Memory }

func (s lateComer) come(ctx context.Context) {
	s.Memory.Join(ctx, store.Agent{ID: "late"})
	s.Memory.Change(ctx, "x", store.Claim{Agent: "late", Nonce: "n", Max: 3})
}
func (s lateComer) Running(ctx context.Context, owner store.AgentID) ([]store.Build, error) {
	defer s.come(ctx)
	return s.Memory.Running(ctx, owner)
}
func (s lateComer) Agents(ctx context.Context) ([]store.Agent, error) {
	defer s.come(ctx)
	return s.Memory.Agents(ctx)
}
