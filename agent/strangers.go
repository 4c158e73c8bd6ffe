package agent

import (
	"log/slog"
	"time"

	"github.com/piper-build/piper/runtime/store"
)

// wrongClock is by how much two clocks may differ before people are told. Nothing
// depends on them but the times that are shown.
const wrongClock = time.Minute

// Strangers are the other agents, and what was said of them.
type strangers map[store.AgentID]stranger

type stranger struct {
	beat           int64
	named, clocked bool // it was told of its name, of its clock
}

// meet warns once of each agent with the name of this one, and of each whose clock
// shows something else. An agent has told the time just now if its Beat has moved
// since it was met before.
func (s strangers) meet(log *slog.Logger, me store.Agent, agents []store.Agent, now time.Time) strangers {
	next := make(strangers, len(agents))
	for _, a := range agents {
		if a.ID == me.ID {
			continue
		}
		known, again := s[a.ID]
		if a.Name == me.Name && !known.named {
			known.named = true
			log.Warn("another agent has the same name, unless it is one that died a moment ago: give each its own with --name", "name", a.Name, "other", a.ID, "host", a.Host, "seen", a.Seen)
		}
		if off := a.Seen.Sub(now); again && a.Beat != known.beat && off.Abs() > wrongClock && !known.clocked {
			known.clocked = true
			log.Warn("the clock of another agent shows something else, so times will be wrong: set the clocks", "name", a.Name, "other", a.ID, "host", a.Host, "ahead", off.Round(time.Second))
		}
		known.beat = a.Beat
		next[a.ID] = known
	}
	return next
}
