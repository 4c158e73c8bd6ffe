package agent

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/piper-build/piper/runtime/facts"
)

// An Undying is the error of a Runner of whose build something lives on, whatever
// was done to end it. It may hold what the next build needs.
type Undying interface {
	error
	Living() []string // what does, by now
}

// A quarantine keeps the slots of builds of which something lives on, one for each,
// from other builds. It outlasts a life.
type quarantine struct {
	mu   sync.Mutex
	held []Undying
	told int // how many the others know of
}

// slots is how many it keeps.
func (q *quarantine) slots() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.held)
}

// living is what lives on, in words.
func (q *quarantine) living() string {
	q.mu.Lock()
	defer q.mu.Unlock()
	var all []string
	for _, u := range q.held {
		all = append(all, u.Living()...)
	}
	return strings.Join(all, ", ")
}

// release lets go of the slots of those that have ended. It returns how many, and
// whether the others are to be told of a change.
func (q *quarantine) release() (n int, changed bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	before := len(q.held)
	q.held = slices.DeleteFunc(q.held, func(u Undying) bool { return len(u.Living()) == 0 })
	changed = q.told != len(q.held)
	q.told = len(q.held)
	return before - len(q.held), changed
}

// quarantined keeps the slot of the build if err says that something of it lives on.
func (r *run) quarantined(err error) {
	var u Undying
	if !errors.As(err, &u) {
		return
	}
	r.log.Error("a slot is held back until what is left of the build has ended", "processes", u.Living())
	r.seizeSlot()
	r.mu.Lock()
	r.holding = false
	r.mu.Unlock()
	r.quarantine.mu.Lock()
	r.quarantine.held = append(r.quarantine.held, u)
	r.quarantine.mu.Unlock()
}

// freeQuarantined gives back the slots of what has ended after all, and tells the others
// what is held back now.
func (l *life) freeQuarantined(ctx context.Context) {
	n, changed := l.quarantine.release()
	for range n {
		l.slots.give()
	}
	if n > 0 {
		l.log.Info("slots are free again", "slots", n)
	}
	if changed {
		go l.describe(ctx, nil) // which may take longer than a heartbeat should
	}
}

// withUndying are facts, and what lives on.
func (l *life) withUndying(found map[string]string) map[string]string {
	living := l.quarantine.living()
	if living == "" {
		return found
	}
	all := map[string]string{facts.Unkillable: living}
	maps.Copy(all, found)
	return all
}
