package store

import (
	"sync"

	"github.com/piper-build/piper/runtime/build"
)

// Hints are those who listen to what Builds.Watch tells. It is for stores. The
// zero Hints is ready.
type Hints struct {
	mu        sync.Mutex
	listeners map[chan build.ID]bool
}

// Listen adds one who listens, until Drop or Close.
func (h *Hints) Listen() chan build.ID {
	c := make(chan build.ID, 64)
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.listeners == nil {
		h.listeners = map[chan build.ID]bool{}
	}
	h.listeners[c] = true
	return c
}

// Drop closes the channel of one who listens, and says how many are left.
func (h *Hints) Drop(c chan build.ID) (left int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.listeners[c] {
		delete(h.listeners, c)
		close(c)
	}
	return len(h.listeners)
}

// Tell hints at a build; "" is any. Whoever is slow misses it, and will look at
// everything anyway.
func (h *Hints) Tell(id build.ID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for c := range h.listeners {
		select {
		case c <- id:
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
