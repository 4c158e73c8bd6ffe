package agent

import (
	"time"

	"github.com/piper-build/piper/runtime/store"
)

// A watch tells from heartbeats who is dead, on the watcher's own clock: no two
// clocks are ever compared. An agent is when its Beat has stood still for lease,
// over three reads at least. When the reads themselves have a gap the watcher was
// asleep, or the store away, and what it knew counts for nothing.
type watch struct {
	lease, gap time.Duration
	last       time.Time
	seen       map[store.AgentID]pulse
}

// A pulse is a Beat, since when it has been that, and in how many more reads.
type pulse struct {
	beat  int64
	since time.Time
	reads int
}

// observe is told of one good read, and returns who is dead.
func (w *watch) observe(at time.Time, agents []store.Agent) (dead []store.Agent) {
	if at.Sub(w.last) > w.gap {
		w.seen = nil
	}
	w.last = at
	seen := make(map[store.AgentID]pulse, len(agents))
	for _, a := range agents {
		p, known := w.seen[a.ID]
		if !known || p.beat != a.Beat {
			seen[a.ID] = pulse{beat: a.Beat, since: at}
			continue
		}
		p.reads++
		seen[a.ID] = p
		if p.reads >= 3 && at.Sub(p.since) >= w.lease {
			dead = append(dead, a)
		}
	}
	w.seen = seen
	return dead
}
