package agent

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/logs"
	"github.com/piper-build/piper/runtime/logs/logstest"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

// indexes gives an agent an index.
func indexes(x *logstest.Index) func(*Agent) { return func(a *Agent) { a.Index = x } }

// indexedLines counts what of a build is found.
func indexedLines(x *logstest.Index, id build.ID) int {
	page, err := x.Search(context.Background(), logs.Wide{Query: logs.Query{Regex: "."}, Build: id}, "", 1000)
	if err != nil {
		return -1
	}
	return len(page.Hits)
}

func (w *world) whole(x *logstest.Index, id build.ID) func() bool {
	return func() bool {
		known, err := x.Finished(context.Background(), []build.ID{id})
		return err == nil && known[id]
	}
}

func TestWhatABuildWritesIsShipped(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		x := &logstest.Index{}
		w.host("one", indexes(x)).start()
		w.takes = func(build.ID, string) time.Duration { return time.Hour }
		b := w.ask("x", store.Request{Pipeline: "unit"})
		w.wait(time.Minute, "a step of a build that runs is found", func() bool { return indexedLines(x, b.ID) > 0 })
		require.Equal(t, build.Running, w.see(b.ID).State)
		require.False(t, w.whole(x, b.ID)())
		_, err := w.Change(t.Context(), b.ID, store.RequestCancel{At: now()})
		require.NoError(t, err)
		w.ended(time.Minute, b.ID)
		w.wait(time.Minute, "all of it is", w.whole(x, b.ID))
		require.Equal(t, 1, indexedLines(x, b.ID))

		// What ends while the index is away is kept until it is back, and found then.
		x.Away("it is unplugged")
		w.takes = func(build.ID, string) time.Duration { return time.Second }
		b = w.ended(time.Minute, w.ask("y", store.Request{Pipeline: "unit"}).ID)
		require.Equal(t, build.Success, b.State, "builds do not wait for it")
		time.Sleep(time.Hour)
		x.Away("")
		w.wait(time.Minute, "it is found", w.whole(x, b.ID))
		require.Equal(t, 2, indexedLines(x, b.ID))
		require.Equal(t, int64(3), x.Health().Sent)
	}, pipeline("unit", step("lint"), step("test", needs("lint"))))
}

// What an agent that died has not shipped, another one does.
func TestAnotherAgentShipsWhatWasLeft(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		x := &logstest.Index{}
		x.Away("it is unplugged")
		one := w.host("one", indexes(x))
		one.start()
		var ended []store.Build
		for i := range 150 { // more than are listed at once
			ended = append(ended, w.ended(time.Minute, w.ask(fmt.Sprint(i), store.Request{Pipeline: "unit"}).ID))
		}
		one.kill()
		x.Away("")
		for _, name := range []string{"two", "three"} {
			w.host(name, indexes(x)).start()
		}
		for _, b := range ended {
			w.wait(time.Hour, "all of each build is found", w.whole(x, b.ID))
			require.Equal(t, 1, indexedLines(x, b.ID))
		}
	}, pipeline("unit", step("test")))
}

// However many builds end while the index is away, and however many are asked for
// after them, it has them soon after it is back.
func TestAllIsShippedOnceTheIndexIsBack(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		x := &logstest.Index{}
		x.Away("it is unplugged")
		w.host("one", indexes(x)).start()
		var ended []store.Build
		for i := range 150 { // more than are listed at once
			ended = append(ended, w.ended(time.Minute, w.ask(fmt.Sprint(i), store.Request{Pipeline: "unit"}).ID))
		}
		x.Away("")
		w.wait(15*time.Second, "all of each build is found", func() bool {
			return !slices.ContainsFunc(ended, func(b store.Build) bool { return !w.whole(x, b.ID)() })
		})
	}, pipeline("unit", step("test")))
}

// A choosy index does not take one build.
type choosy struct {
	*logstest.Index
	not atomic.Value // build.ID
}

func (x *choosy) Finish(ctx context.Context, b store.Build, fence int64) error {
	if x.not.Load() == b.ID {
		return errBroken
	}
	return x.Index.Finish(ctx, b, fence)
}

// A build that the index does not take keeps none of the others from it, and is tried
// again.
func TestOneBuildIsNotTakenByTheIndex(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		x := &choosy{Index: &logstest.Index{}}
		x.Away("it is unplugged")
		w.host("one", func(a *Agent) { a.Index = x }).start()
		bad := w.ended(time.Minute, w.ask("bad", store.Request{Pipeline: "unit"}).ID)
		good := w.ended(time.Minute, w.ask("good", store.Request{Pipeline: "unit"}).ID)
		x.not.Store(bad.ID)
		x.Away("")
		w.wait(5*time.Second, "the other one is found", w.whole(x.Index, good.ID))
		require.False(t, w.whole(x.Index, bad.ID)())
		x.not.Store(build.ID(""))
		w.wait(5*time.Second, "it is found, too", w.whole(x.Index, bad.ID))
	}, pipeline("unit", step("test")))
}

// While the agent that ran a build is there, the others leave it to that.
func TestShipper(t *testing.T) {
	l := &life{Agent: &Agent{}, id: "a"}
	l.self = store.Agent{ID: "a"}
	l.seen = &view{Overview: store.Overview{Agents: []store.Agent{{ID: "b"}, {ID: "c"}}}}
	require.Equal(t, store.AgentID("b"), l.shipper(&store.Build{ID: "x", Last: "b"}))
	count := map[store.AgentID]int{}
	for i := range 300 {
		b := &store.Build{ID: build.ID(fmt.Sprint(i)), Last: "gone"}
		first := l.shipper(b)
		count[first]++
		other := &life{Agent: &Agent{}, id: "b"}
		other.self, other.seen = store.Agent{ID: "b"}, &view{Overview: store.Overview{Agents: []store.Agent{{ID: "c"}, {ID: "a"}}}}
		require.Equal(t, first, other.shipper(b), "all agents agree")
	}
	for _, id := range []store.AgentID{"a", "b", "c"} {
		require.Greater(t, count[id], 50)
	}
}

// Builds that the index would drop at once are not shipped.
func TestOldBuildsAreNotShipped(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		old, x := &logstest.Index{}, &logstest.Index{Kept: 24 * time.Hour}
		one := w.host("one", indexes(old))
		one.start()
		first := w.ended(time.Minute, w.ask("x", store.Request{Pipeline: "unit"}).ID)
		w.wait(time.Minute, "it is found", w.whole(old, first.ID))
		require.NoError(t, one.drain())
		time.Sleep(25 * time.Hour)
		w.host("two", indexes(x)).start()
		second := w.ended(time.Minute, w.ask("y", store.Request{Pipeline: "unit"}).ID)
		w.wait(time.Minute, "the other is found", w.whole(x, second.ID))
		time.Sleep(time.Hour)
		require.False(t, w.whole(x, first.ID)())
		require.Zero(t, indexedLines(x, first.ID))
	}, pipeline("unit", step("test")))
}

// What is deleted is deleted from the index first, and waits while that is away.
func TestRetentionWaitsForTheIndex(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		x := &logstest.Index{}
		w.host("one", indexes(x)).start()
		b := w.ended(time.Minute, w.ask("x", store.Request{Pipeline: "unit"}).ID)
		w.ended(time.Minute, w.ask("y", store.Request{Pipeline: "unit"}).ID) // the newest that succeeded stays
		w.wait(time.Minute, "it is found", w.whole(x, b.ID))
		x.Away("it is unplugged")
		p, err := w.Project(t.Context(), "shop")
		require.NoError(t, err)
		p.Retention = store.Retention{Age: plan.Duration(time.Hour)}
		_, err = w.PutProject(t.Context(), p)
		require.NoError(t, err)
		time.Sleep(5 * time.Hour)
		require.False(t, w.see(b.ID).Collected)
		x.Away("")
		w.wait(time.Hour, "it is deleted", func() bool { return w.see(b.ID).Collected })
		require.Zero(t, indexedLines(x, b.ID))
	}, pipeline("unit", step("test")))
}
