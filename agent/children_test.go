package agent

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

// An agent with one slot runs what its build waits for.
func TestWaitingTakesNoSlot(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.host("one", nil).start()
		parent := w.ask("x", store.Request{Pipeline: "release", Cause: store.Cause{Kind: "push", By: "ann", Trust: "fork"}, Event: plan.Event{Kind: "push", Branch: "main"}})
		b := w.ended(2*time.Minute, parent.ID)
		require.Equal(t, build.Success, b.State, b.Reason)
		child := w.see(b.Outbox["run-unit"].Child)
		require.Equal(t, build.Success, child.State)
		require.Equal(t, store.Cause{Kind: "trigger", Build: b.ID, Number: b.Number, Node: "run-unit", By: "ann", Trust: "fork"}, child.Request.Cause, "who is not trusted does not become so")
		require.Equal(t, "c0ffee", child.Request.Commit)
		require.Equal(t, "main", child.Request.Event.Branch)

		gate := w.ask("gate", store.Request{Pipeline: "gate"})
		w.wait(time.Minute, "it waits", func() bool { return w.see(gate.ID).Progress.Running == 1 })
		time.Sleep(5 * time.Second)
		require.Equal(t, build.Success, w.ended(time.Minute, w.ask("y", store.Request{Pipeline: "unit"}).ID).State)
		_, err := w.Change(t.Context(), gate.ID, store.Approve{Node: "go", Approval: store.Approval{Approved: true, By: "ann", At: now()}})
		require.NoError(t, err)
		require.Equal(t, build.Success, w.ended(time.Minute, gate.ID).State)
		no := w.ask("no", store.Request{Pipeline: "gate"})
		_, err = w.Change(t.Context(), no.ID, store.Approve{Node: "go", Approval: store.Approval{By: "bob", Reason: "not today", At: now()}})
		require.NoError(t, err)
		require.Equal(t, build.Failed, w.ended(time.Minute, no.ID).State)
	}, pipelines()...)
}

// Whoever waits for the build of another agent hears of its end, and need not find out.
func TestWhatIsWaitedForIsWatched(t *testing.T) {
	parent := pipeline("parent", trigger("child", true), step("mail", needs("run-child")))
	child := pipeline("child", step("train", requireLabel("gpu")))
	bubble(t, func(t *testing.T, w *world) {
		w.quiet = true
		w.takes = func(id build.ID, node string) time.Duration {
			return 7*time.Second + time.Duration(dice(1, id, node).Int64N(int64(3*time.Second)))
		}
		w.host("one", nil).start()
		w.host("two", func(a *Agent) { a.Labels = map[string]string{"gpu": "yes"}; a.Slots = 1 }).start()
		for i := range 5 {
			b := w.ended(2*time.Minute, w.ask(fmt.Sprint("x", i), store.Request{Pipeline: "parent"}).ID)
			require.Equal(t, build.Success, b.State, b.Reason)
			waited := w.ran(b.ID)[0].started.Sub(w.see(b.Outbox["run-child"].Child).Ended)
			require.Less(t, waited, time.Second)
		}
	}, parent, child)
}

func TestACancelReachesWhatIsWaitedFor(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.takes = func(build.ID, string) time.Duration { return time.Minute }
		w.host("one", nil).start()
		parent := w.ask("x", store.Request{Pipeline: "release"})
		w.wait(5*time.Minute, "its child runs", func() bool {
			child := w.see(parent.ID).Outbox["run-unit"].Child
			return child != "" && w.see(child).State == build.Running
		})
		_, err := w.Change(t.Context(), parent.ID, store.RequestCancel{Cancel: store.Cancel{By: "ann", Reason: "wrong tag"}, At: now()})
		require.NoError(t, err)
		b := w.ended(10*time.Second, parent.ID)
		require.Equal(t, build.Cancelled, b.State)
		require.Contains(t, b.Reason, "wrong tag")
		require.Equal(t, build.Cancelled, w.ended(10*time.Second, b.Outbox["run-unit"].Child).State)
		w.wait(30*time.Second, "nothing is left to be done", func() bool { return len(w.see(b.ID).Pending) == 0 })
	}, pipelines()...)
}

// The build is taken back and run again, and waits for the same child.
func TestTheEndOfARunnerIsNotThatOfWhatIsWaitedFor(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.takes = func(build.ID, string) time.Duration { return time.Minute }
		one := w.host("one", func(a *Agent) { a.Slots = 2 })
		one.start()
		parent := w.ask("x", store.Request{Pipeline: "release"})
		w.wait(5*time.Minute, "its child runs", func() bool {
			child := w.see(parent.ID).Outbox["run-unit"].Child
			return child != "" && w.see(child).State == build.Running
		})
		one.cutRunners()
		b := w.ended(10*time.Minute, parent.ID)
		require.Equal(t, build.Success, b.State, b.Reason)
		require.Equal(t, 2, b.Attempt)
		child := w.see(b.Outbox["run-unit"].Child)
		require.Equal(t, build.Success, child.State, child.Reason)
		require.Nil(t, child.Cancel)
	}, pipelines()...)
}

func TestACancelDuringTheCheckoutEndsIt(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.accidents = 1 << 20
		w.host("one", nil).start()
		b := w.ask("x", store.Request{Pipeline: "unit"})
		w.wait(10*time.Second, "it was claimed", func() bool { return w.see(b.ID).State == build.Running })
		_, err := w.Change(t.Context(), b.ID, store.RequestCancel{Cancel: store.Cancel{By: "ann", Reason: "never mind"}, At: now()})
		require.NoError(t, err)
		b = w.ended(5*time.Second, b.ID)
		require.Equal(t, build.Cancelled, b.State)
		require.Equal(t, "never mind", b.Reason)
	}, pipeline("unit", step("test")))
}

func TestBuildsOfOneGroupTakeTurns(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		w.host("one", func(a *Agent) { a.Slots = 4 }).start()
		w.host("two", func(a *Agent) { a.Slots = 4 }).start()
		var last store.Build
		for i := range 5 {
			last = w.ask(fmt.Sprint(i), store.Request{Pipeline: "deploy"})
		}
		w.ended(3*time.Minute, last.ID)
		for i := range 5 {
			b := w.ended(3*time.Minute, build.ID(fmt.Sprint("build-", i)))
			require.Equal(t, build.Success, b.State, b.Reason)
		}
		// Who is the first to know that it needs the group has it first. The
		// others stand in line.
		var order []build.ID
		var before process
		for _, p := range w.processes {
			if p.build != before.build {
				require.False(t, p.started.Before(before.ended), "one at a time")
				order = append(order, p.build)
			}
			before = *p
		}
		require.Len(t, order, 5)
		require.True(t, slices.IsSorted(order[1:]), order)
		g, err := w.Group(t.Context(), "shop/live")
		require.NoError(t, err)
		require.Empty(t, g.Holder)
		require.Empty(t, g.Queue)
		require.Zero(t, w.rescues)
	}, pipelines()...)
}

func TestWhatWouldWaitForEverIsRefused(t *testing.T) {
	inner, outer := pipeline("inner", step("x")), pipeline("outer", trigger("inner", true))
	inner.Concurrency, outer.Concurrency = "live", "live"
	bubble(t, func(t *testing.T, w *world) {
		w.host("one", nil).start()
		b := w.ended(time.Minute, w.ask("x", store.Request{Pipeline: "outer"}).ID)
		require.Equal(t, build.Failed, b.State)
		child := w.see(b.Outbox["run-inner"].Child)
		require.Equal(t, build.Rejected, child.State)
		require.Contains(t, child.Reason, "it would wait for shop/live, which build 1 holds, and that waits for it")

		b = w.ended(time.Minute, w.ask("loop", store.Request{Pipeline: "ping"}).ID)
		require.Equal(t, build.Failed, b.State)
		pong := w.see(b.Outbox["run-pong"].Child)
		events, err := w.Events(t.Context(), pong.ID, 1, 1, 100)
		require.NoError(t, err)
		require.Contains(t, fmt.Sprint(events), "pipelines start each other without end: ping → pong → ping")
	}, inner, outer, pipeline("ping", trigger("pong", true)), pipeline("pong", trigger("ping", true)))
}

func TestWhatComesAfter(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		_, err := w.PutProject(t.Context(), store.Project{Name: "docs", Repo: "https://example.com/docs.git", Ref: "stable"})
		require.NoError(t, err)
		w.on["mail"] = []plan.On{{Kind: "after", Pipeline: "unit", State: "ended"}}
		w.on["praise"] = []plan.On{{Kind: "after", Pipeline: "unit"}}
		w.on["alarm"] = []plan.On{{Kind: "after", Pipeline: "unit", State: "failed"}}
		w.on["pong"] = []plan.On{{Kind: "after", Pipeline: "mail"}}
		w.on["unit"] = []plan.On{{Kind: "after", Pipeline: "pong"}} // back to the beginning
		w.elsewhere = map[string][]plan.On{"publish": {{Kind: "after", Project: "shop", Pipeline: "unit"}}, "rest": {{Kind: "after", Pipeline: "unit"}}}
		w.host("one", nil).start()
		b := w.ended(time.Minute, w.ask("x", store.Request{Pipeline: "unit", Event: plan.Event{Kind: "push", Branch: "topic"}, Priority: 3}).ID)
		time.Sleep(time.Minute)
		children := w.children(b.ID)
		require.Len(t, children, 3)
		require.Equal(t, plan.Event{Kind: "after", Branch: "topic", Commit: "c0ffee", Time: b.Ended}, children["shop mail"].Request.Event)
		require.Equal(t, 3, children["shop praise"].Request.Priority)
		require.Equal(t, store.Request{Project: "docs", Pipeline: "publish", Ref: "stable", Priority: 3,
			Event: plan.Event{Kind: "after", Branch: "stable", Time: b.Ended}, Cause: store.Cause{Kind: "after", Build: b.ID, Number: b.Number}}, children["docs publish"].Request)
		pong := w.children(children["shop mail"].ID)["shop pong"]
		require.Equal(t, build.Success, pong.State)
		require.Empty(t, w.children(pong.ID), "it ends somewhere")

		w.ends = func(build.ID, string) build.State { return build.Failed }
		b = w.ended(time.Minute, w.ask("y", store.Request{Pipeline: "unit"}).ID)
		time.Sleep(time.Minute)
		require.Contains(t, w.children(b.ID), "shop alarm")
		require.NotContains(t, w.children(b.ID), "shop praise")
		b = w.ended(time.Minute, w.ask("patched", store.Request{Pipeline: "unit", Patch: "sha256:1"}).ID)
		time.Sleep(time.Minute)
		require.Empty(t, w.children(b.ID))
	}, pipeline("unit", step("test")), pipeline("mail", step("x")), pipeline("praise", step("x")), pipeline("alarm", step("x")), pipeline("pong", step("x")), pipeline("publish", step("x")))
}
