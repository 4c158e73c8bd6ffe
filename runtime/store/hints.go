package store

import (
	"sync"

	"github.com/piper-build/piper/runtime/build"
)

// Watched is of what hints are wanted. The zero Watched is all builds.
type Watched struct {
	Agent AgentID  // those that this agent has to know of
	Build build.ID // that one
}

// A Hint says that a build is to be looked at.
type Hint struct {
	Build  build.ID // "" is all
	Others bool     // what has happened is most likely for another agent
}

// Hints are those who listen to what Builds.Watch tells. It is for stores. The
// zero Hints is ready.
type Hints struct {
	mu        sync.Mutex
	listeners map[chan Hint]Watched
}

// Listen adds one who listens, until Drop or Close.
func (h *Hints) Listen(to Watched) chan Hint {
	c := make(chan Hint, 64)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.listeners == nil {
		h.listeners = map[chan Hint]Watched{}
	}
	h.listeners[c] = to
	return c
}

// Drop closes the channel of one who listens, and says how many are left.
func (h *Hints) Drop(c chan Hint) (left int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, listens := h.listeners[c]; listens {
		delete(h.listeners, c)
		close(c)
	}
	return len(h.listeners)
}

// Tell passes on a hint. Whoever is slow misses it, and will look at
// everything anyway.
func (h *Hints) Tell(hint Hint) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c, to := range h.listeners {
		if to.Build != "" && hint.Build != "" && hint.Build != to.Build {
			continue
		}
		select {
		case c <- hint:
		default:
		}
	}
}

// Close closes all channels.
func (h *Hints) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.listeners {
		delete(h.listeners, c)
		close(c)
	}
}
