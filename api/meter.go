package api

import (
	"errors"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/logs"
	"github.com/piper-build/piper/runtime/store"
)

// measureEvery is how often at most it is told that an output grows.
const measureEvery = 100 * time.Millisecond

// A tap is a step's output whose growth a stream tells.
type tap struct {
	build build.ID
	step  string
	rung  int64     // the build's bell when it was measured
	next  time.Time // it is not measured before that; zero: it never was
	told  Growth
}

// tap reads BUILD:STEP of a topic. Of a build that was not planned yet, whether
// there is such a step will be seen.
func (c *call) tap(word string) (t tap, err error) {
	ref, step, _ := strings.Cut(word, ":")
	if t.step, err = url.QueryUnescape(step); err != nil || t.step == "" {
		return t, badField("topics", quote("log:"+word)+" is no log:ID:STEP with the STEP percent-encoded")
	}
	b, err := c.buildNamed(ref)
	if err != nil {
		return t, err
	}
	t.build = b.ID
	f, err := c.fold(&b)
	switch {
	case err != nil:
		return t, err
	case f == nil && b.Terminal():
		return t, notPlanned(&b)
	case f == nil:
		return t, nil
	}
	return t, among("step", t.step, f.Build.Plan().NodeNames())
}

// measure tells of outputs that have grown. later comes when one that was told of
// a moment ago is to be looked at again; nil is that there is none.
func (f *follower) measure() (later <-chan time.Time, ok bool) {
	now, wait := time.Now(), time.Duration(0)
	for i := range f.taps {
		t := &f.taps[i]
		rung := f.hub.rung(t.build)
		switch {
		case !t.next.IsZero() && rung == t.rung:
			continue
		case now.Before(t.next):
			wait = t.next.Sub(now)
			continue
		}
		// All who listen look at the same moment: what one finds is for all.
		t.rung, t.next = rung, now.Add(measureEvery-time.Duration(now.UnixNano())%measureEvery)
		g, known, err := f.grown(t.build, t.step, rung)
		if err != nil && f.ctx.Err() == nil {
			f.log().Warn("log is not followed", "build", t.build, "error", err) // the next bell tries again
		}
		if !known || g == t.told {
			continue
		}
		t.told = g
		if !f.out.send(MessageLog, f.at.String(), g) {
			return nil, false
		}
	}
	if wait > 0 {
		later = time.After(wait)
	}
	return later, true
}

// A meter is what the steps of a build have written. All who follow them have it
// in common: however many they are, the store is asked once.
type meter struct {
	mu     sync.Mutex
	rung   int64             // the build's bell when it was read
	grown  map[string]Growth // as of that, by step; nil: it was not read
	plan   string            // the digest of the plan of inside
	inside *folded           // nil: the build was not planned
	ended  bool              // the build has
}

// grown is how much a step has written, at least as of a ring of its build's bell.
// false is that there is no such step, or not yet.
func (c *call) grown(id build.ID, step string, rung int64) (g Growth, known bool, err error) {
	m := c.hub.meterOf(id)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.grown == nil || m.rung < rung {
		m.grown = nil
		if err := m.read(c, id); err != nil {
			return g, false, err
		}
		m.rung, m.grown = rung, map[string]Growth{}
	}
	if g, known = m.grown[step]; known || m.inside == nil {
		return g, known, nil
	}
	s, known := m.inside.Step(step)
	if !known {
		return g, false, nil
	}
	g = Growth{Build: id, Step: step, Attempt: max(1, s.Attempt), Fence: m.inside.fence}
	g.Ended = m.ended || saidAll(s, g.Attempt)
	size, err := logs.NewReader(c.Store, id, g.Fence).Size(c.ctx, step, g.Attempt)
	if err != nil && !errors.Is(err, logs.ErrNoOutput) {
		return g, false, err
	}
	g.Total, g.Bytes = size.Lines, size.Bytes
	m.grown[step] = g
	return g, true, nil
}

// read reads what happened in the build since it was read. Whoever has ended then
// has written all.
func (m *meter) read(c *call, id build.ID) error {
	b, err := c.Store.Build(c.ctx, id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if err != nil || b.Plan == "" || b.Collected {
		m.inside = nil
		return nil
	}
	m.ended = b.Terminal()
	fence, err := logs.Fence(c.ctx, &c.past, &b)
	if err != nil {
		return err
	}
	if m.inside != nil && m.inside.fence == fence && m.plan == b.Plan {
		return c.past.goOn(c.ctx, &b, m.inside)
	}
	m.plan = b.Plan
	m.inside, err = c.fold(&b)
	return err
}
