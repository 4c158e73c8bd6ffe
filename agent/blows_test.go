package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
	"github.com/piper-build/piper/runtime/store/fsck"
)

// An agent takes over from a dead one and does everything that an agent does. For
// each call that it makes of the store the same happens again, and that call
// fails, stalls, or loses its request or its answer: which must change nothing
// but how long it takes.
func TestOneCallOfTheStoreGoesWrong(t *testing.T) {
	var calls []call
	synctest.Test(t, func(t *testing.T) { calls = ordeal(t, nil) })
	missed, all := 0, 0
	for i, c := range calls {
		if c.nth > 2 && c.op != "overview" || testing.Short() && i%5 > 0 {
			continue // a loop asks the same again and again
		}
		for _, how := range blows {
			b := &blow{call: c, how: how}
			t.Run(fmt.Sprintf("%s %d %s", b.op, b.nth, how), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { ordeal(t, b) })
			})
			if all++; !b.hit {
				missed++
			}
		}
	}
	// Which call comes after which is not the same each time.
	require.Less(t, missed, all/10, "of so many blows")
}

// ordeal has an agent do everything, and returns what it asked the store.
func ordeal(t *testing.T, b *blow) []call {
	release := pipeline("release", step("build"), trigger("unit", true, needs("build")), step("publish", needs("run-unit")))
	release.Concurrency = "live"
	w := newWorld(t, release, pipeline("unit", step("test")), pipeline("notify", step("mail")))
	defer w.over()
	ctx := t.Context()
	w.on["notify"] = []plan.On{{Kind: "after", Pipeline: "release"}}
	w.on["unit"] = []plan.On{{Kind: "cron", Schedule: "2 * * * *"}}
	shop, err := w.Project(ctx, "shop")
	require.NoError(t, err)
	shop.Retention.Count = 2
	_, err = w.PutProject(ctx, shop)
	require.NoError(t, err)

	h := w.host("one", func(a *Agent) {
		a.Timings.Retain = time.Minute
		a.Store.(*link).blow = b
	})
	require.NoError(t, os.Mkdir(h.dir, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(h.dir, "lock"), []byte("dead"), 0o600))
	require.NoError(t, w.Join(ctx, store.Agent{ID: "dead", Slots: 1}))
	main := w.ask("main", store.Request{Pipeline: "release"})
	_, err = w.Change(ctx, main.ID, store.Claim{Agent: "dead", Nonce: "1", Max: store.MaxAttempts, At: now()})
	require.NoError(t, err)
	for i := range 2 {
		w.ask(fmt.Sprint("early", i), store.Request{Pipeline: "unit"})
	}
	h.start()

	settled := func(id build.ID) store.Build {
		w.wait(time.Hour, fmt.Sprintf("%s ends, and leaves nothing", id), func() bool { b := w.see(id); return b.Terminal() && len(b.Pending) == 0 })
		return w.see(id)
	}
	main = settled(main.ID)
	require.Equal(t, build.Success, main.State, main.Reason)
	children := w.children(main.ID)
	require.Len(t, children, 2)
	for name := range children {
		child := settled(children[name].ID)
		require.Equal(t, build.Success, child.State, child.Reason)
	}
	w.wait(time.Hour, "the oldest is deleted", func() bool { return w.see("build-early0").Collected })
	cron := store.Derive("cron", "shop", "unit", "2 * * * *", "2000-01-01T00:02:00Z")
	w.wait(time.Hour, "its time has come", func() bool { _, err := w.Build(ctx, cron); return err == nil })
	require.Equal(t, build.Success, settled(cron).State)
	for _, node := range []string{"build", "publish"} {
		chunks, err := w.Chunks(ctx, store.ChunkKey{Build: main.ID, Fence: main.Fence, Node: node, Attempt: 1}, 10)
		require.NoError(t, err)
		require.Len(t, chunks, 1)
		require.Equal(t, node+" runs\n", string(chunks[0].Data))
	}
	g, err := w.Group(ctx, "shop/live")
	require.NoError(t, err)
	require.Empty(t, g.Holder)
	_, err = fsck.Check(ctx, w.Memory, func(f fsck.Finding) { require.Fail(t, "fsck", f) })
	require.NoError(t, err)
	require.NoError(t, h.drain())
	agents, err := w.Agents(ctx)
	require.NoError(t, err)
	require.Empty(t, agents, "all have left")
	w.one.Lock()
	defer w.one.Unlock()
	require.Empty(t, w.broken)
	return h.link.order
}

// A heartbeat that stalls is followed by another one before the others think the
// agent dead.
func TestAStalledHeartbeatIsNobodysDeath(t *testing.T) {
	for nth := range uint64(4) {
		bubble(t, func(t *testing.T, w *world) {
			w.takes = func(build.ID, string) time.Duration { return 2 * time.Minute }
			b := &blow{call: call{"heartbeat", 2 + nth}, how: "stalls"}
			w.host("one", func(a *Agent) { a.Store.(*link).blow = b }).start()
			of := w.ask("x", store.Request{Pipeline: "unit"})
			w.wait(10*time.Second, "it runs", func() bool { return len(w.ran(of.ID)) > 0 })
			w.host("two", nil).start()
			of = w.ended(5*time.Minute, of.ID)
			require.True(t, b.hit)
			require.Equal(t, build.Success, of.State)
			require.Equal(t, 1, of.Attempt)
			require.Zero(t, w.rescues)
		}, pipeline("unit", step("test")))
	}
}
