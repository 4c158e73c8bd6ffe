package store

import (
	"sync"

	"github.com/piper-build/piper/runtime/build"
)

// A Hint says that a build is to be looked at.
type Hint struct {
	Build  build.ID // "" is all
	Others bool     // another agent is to run it, runs it, or has ended it
}

// Hints are those who listen to what Builds.Watch tells. It is for stores. The
// zero Hints is ready.
type Hints struct {
	mu        sync.Mutex
	listeners map[chan Hint]bool
}

// Listen adds one who listens, until Drop or Close.
func (h *Hints) Listen() chan Hint {
	c := make(chan Hint, 64)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.listeners == nil {
		h.listeners = map[chan Hint]bool{}
	}
	h.listeners[c] = true
	return c
}

// Drop closes the channel of one who listens, and says how many are left.
func (h *Hints) Drop(c chan Hint) (left int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.listeners[c] {
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
	for c := range h.listeners {
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
