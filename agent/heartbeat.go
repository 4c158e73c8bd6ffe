package agent

import (
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/facts"
	"github.com/piper-build/piper/runtime/placement"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

// heartbeats says again and again that the agent lives.
func (l *life) heartbeats(ctx context.Context) {
	heard := time.Now()
	l.every(ctx, "heartbeat", l.Timings.Heartbeat, func(ctx context.Context) {
		l.freeQuarantined()
		if l.untold() {
			l.retell()
		}
		err := l.heartbeat(ctx)
		if errors.Is(err, store.ErrNotFound) {
			l.log.Error("agent was buried: it kills what it runs and starts anew")
			l.die(errBuried)
			return
		}
		if err == nil {
			heard = time.Now()
		}
		l.mu.Lock()
		since := l.blind
		l.mu.Unlock()
		if since.IsZero() || heard.Before(since) {
			since = heard
		}
		switch {
		case ctx.Err() != nil:
		case time.Since(since) > l.Timings.GiveUp:
			l.log.Error("store is away", "since", since, "error", err)
			for _, r := range l.all() {
				r.kill(errAway)
			}
		case err != nil:
			l.log.Warn("heartbeat", "error", err)
		}
	})
}

// heartbeat is T2.
func (l *life) heartbeat(ctx context.Context) error {
	self, err := l.Store.Heartbeat(ctx, l.id, l.occupied(), l.clock())
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if self.Draining != l.self.Draining {
		l.log.Info("agent was told", "draining", self.Draining)
	}
	self.Facts = l.self.Facts // the answer may be older
	l.self = self
	return nil
}

// occupied are the builds that take a slot.
func (l *life) occupied() map[build.ID]int64 {
	running := map[build.ID]int64{}
	for _, r := range l.all() {
		if fence, ok := r.occupies(); ok {
			running[r.of] = fence
		}
	}
	return running
}

// factfinding keeps what this agent tells of its machine true. Finding it takes a
// while, as tools are asked for their versions; builds that require nothing are
// run meanwhile.
func (l *life) factfinding(ctx context.Context) {
	for {
		l.describe(ctx, nil)
		again := time.NewTimer(l.about("facts", l.Timings.Facts))
		select {
		case <-again.C:
		case <-l.tell:
			again.Stop()
		case <-ctx.Done():
			again.Stop()
			return
		}
	}
}

// retell has the others hear soon what there is here now.
func (l *life) retell() {
	select {
	case l.tell <- struct{}{}:
	default:
	}
}

// describe finds the facts anew, those that requires asks for among them, and
// tells them to the others.
func (l *life) describe(ctx context.Context, requires []plan.Requirement) {
	found, err := l.facts(ctx, facts.Keys(requires))
	if err != nil {
		if ctx.Err() == nil {
			l.log.Warn("find what this machine has", "error", err)
		}
		return
	}
	select {
	case l.telling <- struct{}{}: // or what was true before would be told last
		defer func() { <-l.telling }()
	case <-ctx.Done():
		return
	}
	found, slots := l.withUndying(found), l.offered()
	l.mu.Lock()
	l.self.Facts = found
	same := l.told && l.toldSlots == slots && maps.Equal(l.toldFacts, found)
	l.mu.Unlock()
	if same {
		return
	}
	err = l.Store.Describe(ctx, l.id, slots, l.Labels, found)
	if err != nil {
		l.log.Warn("describe this agent", "error", err) // with a heartbeat
	}
	l.mu.Lock()
	l.told, l.toldSlots, l.toldFacts = err == nil, slots, found
	l.mu.Unlock()
	l.look() // there may be something that it can run now
}

// untold reports whether the others could not be told what there is here.
func (l *life) untold() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.told
}

// offered is how many builds this agent would run at once.
func (l *life) offered() int { return max(0, l.Slots-l.quarantine.slots()) }

// facts finds those of every machine, and those that were ever asked for.
func (l *life) facts(ctx context.Context, keys []string) (map[string]string, error) {
	if l.Facts == nil {
		return nil, nil
	}
	l.mu.Lock()
	for _, key := range keys {
		if !slices.Contains(l.keys, key) {
			l.keys = append(l.keys, key)
		}
	}
	all := slices.Clone(l.keys)
	l.mu.Unlock()
	return l.Facts(ctx, all)
}

// asks reports whether requires asks for a fact that nobody has looked for yet.
// What this agent was told of itself is not looked for.
func (l *life) asks(requires []plan.Requirement) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.ContainsFunc(facts.Keys(requires), func(key string) bool {
		_, known := l.self.Facts[key]
		return !known && !slices.Contains(l.keys, key) && !placement.Told(key)
	})
}
