package agent

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/piper-build/piper/runtime/facts"
)

// An Undying is an error that says that something of a build lives on, whatever was
// done to end it. It may hold what the next build needs.
type Undying interface {
	error
	Living() []string // what does, by now
}

// A quarantine is what lives on of builds. For each of them no build is claimed that
// would take a slot; those that run here get theirs. It outlasts a life.
type quarantine struct {
	mu   sync.Mutex
	held []Undying
}

func (q *quarantine) add(u Undying) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.held = append(q.held, u)
}

// slots is how many it withholds.
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

// release forgets what has ended, and returns of how many builds that was.
func (q *quarantine) release() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	before := len(q.held)
	q.held = slices.DeleteFunc(q.held, func(u Undying) bool { return len(u.Living()) == 0 })
	return before - len(q.held)
}

// quarantined withholds a slot if err says that something of the build lives on.
func (r *run) quarantined(err error) {
	var u Undying
	if errors.As(err, &u) {
		r.log.Error("a slot is held back until what is left of the build has ended", "processes", u.Living())
		r.quarantine.add(u)
		r.slots.withhold(1)
		r.retell()
	}
}

// freeQuarantined has the slots of what has ended after all taken again.
func (l *life) freeQuarantined() {
	if n := l.quarantine.release(); n > 0 {
		l.log.Info("slots are free again", "slots", n)
		l.slots.withhold(-n)
		l.retell()
	}
}

// withUndying are facts, and what lives on.
func (l *life) withUndying(found map[string]string) map[string]string {
	if living := l.quarantine.living(); living != "" {
		all := map[string]string{}
		maps.Copy(all, found)
		all[facts.Unkillable] = living
		return all
	}
	return found
}
