package agent

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

// An agent that has nothing to do asks the store for little, however many builds
// there were, and writes no more than that it lives.
func TestAnIdleAgentAsksForLittle(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		for _, name := range []string{"one", "two", "three"} {
			w.host(name, func(a *Agent) { a.Store.(*link).seed = 1 }).start() // of those whose view is one read
		}
		for i := range 100 {
			w.ask(fmt.Sprint(i), store.Request{Pipeline: "unit"})
		}
		for i := range 100 {
			w.ended(time.Hour, build.ID(fmt.Sprint("build-", i)))
		}
		time.Sleep(time.Minute)
		before := w.asked()
		time.Sleep(time.Hour)
		after := w.asked()
		beats := after["heartbeat"] - before["heartbeat"]
		require.InDelta(t, 3*time.Hour/(5*time.Second), beats, 100)
		var reads uint64
		for op := range after {
			if n := after[op] - before[op]; n > 0 && op != "heartbeat" {
				require.Contains(t, []string{"overview", "running ", "unsettled", "queue ", "agents", "projects"}, op)
				reads += n
			}
		}
		require.LessOrEqual(t, reads, 2*beats)
	}, pipeline("unit", step("test")))
}

// asked is how often all agents asked for what.
func (w *world) asked() map[string]uint64 {
	all := map[string]uint64{}
	for _, h := range w.hosts {
		h.link.mu.Lock()
		for op, n := range h.link.calls {
			all[op] += n
		}
		h.link.mu.Unlock()
	}
	return all
}
