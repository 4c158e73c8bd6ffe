package agent

import (
	"context"
	"slices"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/placement"
	"github.com/piper-build/piper/runtime/store"
)

// How much of the queue is looked at, and how soon after the last time, when it
// goes on; a few calls are answered at once, as a build makes several of its own end.
// What is further back is offered to somebody, who finds it among its own.
const (
	ownQueue   = 64
	wholeQueue = 256
	soonest    = 2 * time.Millisecond
	glances    = 20 * time.Millisecond // of all agents together
	atOnce     = 8
	wholeAgain = 500 * time.Millisecond
)

// claims takes builds: those that this agent is the first choice for at once,
// others when whoever should have them does not come.
func (l *life) claims(ctx context.Context) {
	c := claimer{life: l}
	var calls pace
	for pause, since := l.Timings.Busy, time.Now(); ; since = time.Now() {
		timer := time.NewTimer(l.about("claim", pause))
		whole, stirs, shown := false, l.stir, (*view)(nil)
		for waits := true; waits; {
			waits = false
			select {
			case <-ctx.Done():
			case <-l.kick:
				sleep(ctx, calls.next(time.Now()))
			case <-stirs:
				if rest := min(pause, time.Duration(len(l.everybody()))*glances) - time.Since(since); rest > 0 {
					timer.Reset(rest)
					waits, stirs = true, nil
				}
			case <-l.shown:
				// Whoever calls, or has looked since, knows better.
				if v := l.view(); v.at.After(since) && len(l.kick) == 0 && stirs != nil {
					shown = v
				}
				waits = shown == nil
			case <-timer.C:
				whole = stirs != nil
			}
		}
		timer.Stop()
		if ctx.Err() != nil {
			return
		}
		pause = 2 * l.Timings.Heartbeat // the vigil shows it more often
		if busy := c.poll(ctx, whole, shown); busy || l.holds() > 0 {
			pause = l.Timings.Busy
		}
		if c.owes {
			pause = min(pause, wholeAgain)
		}
	}
}

// A pace answers calls: a few at once, and then one every soonest.
type pace struct {
	due time.Time // of the next call, if they come all the time
}

// next returns how long the call that came now has to wait.
func (p *pace) next(now time.Time) time.Duration {
	if earliest := now.Add(-(atOnce - 1) * soonest); p.due.Before(earliest) {
		p.due = earliest
	}
	wait := p.due.Sub(now)
	p.due = p.due.Add(soonest)
	return max(0, wait)
}

// A claimer is what the claiming loop keeps to itself.
type claimer struct {
	*life
	sights map[build.ID]sight
	looked time.Time     // at the whole queue
	owes   bool          // a look at it, as it was called too soon after the last one
	agents []store.Agent // at the time
	full   string        // why nothing is claimed
}

// A sight is a build in the queue, and since when it has been seen like that.
type sight struct {
	fence  int64
	choice store.AgentID
	since  time.Time
}

// poll looks at the queue, at all of it if whole or as somebody else has seen it, and
// reports whether there was something in it.
func (c *claimer) poll(ctx context.Context, whole bool, shown *view) (busy bool) {
	if !c.claiming() || c.tight() || len(c.view().Agents) == 0 {
		return false // the last is that nobody has looked around yet
	}
	c.agents = c.everybody()
	soon := !whole && shown == nil && time.Since(c.looked) < wholeAgain
	c.owes = soon
	for _, look := range []struct {
		choice store.AgentID
		limit  int
		skip   bool
	}{
		{c.id, ownQueue, shown != nil && len(shown.Queue) < wholeQueue}, // it is all in there
		{"", wholeQueue, soon},
	} {
		if look.skip || !c.slots.any() {
			continue
		}
		var queue []store.Build
		var err error
		if look.choice == "" && shown != nil {
			queue = shown.Queue
		} else if queue, err = c.Store.Queue(ctx, look.choice, look.limit); err != nil {
			c.log.Warn("look at the queue", "error", err)
			return true
		}
		if look.choice == "" {
			if shown == nil {
				c.looked = time.Now()
			}
			c.see(queue)
		}
		busy = busy || len(queue) > 0
		for i := range queue {
			if !c.slots.any() {
				c.looked = time.Time{} // there may be more for the next slot that is free
				return true
			}
			if b := &queue[i]; c.mine(ctx, b) {
				c.claim(ctx, b)
			}
		}
	}
	return busy
}

// tight reports whether the disk is too full, and says so when that changes.
func (c *claimer) tight() bool {
	why := c.Agent.full()
	if why != "" && c.full == "" {
		c.log.Warn("agent claims no builds", "why", why)
	}
	c.full = why
	return why != ""
}

// see notes since when builds stand in the queue as they do.
func (c *claimer) see(queue []store.Build) {
	sights := make(map[build.ID]sight, len(queue))
	for _, b := range queue {
		s := c.sights[b.ID]
		if s.since.IsZero() || s.fence != b.Fence || s.choice != b.FirstChoice {
			s = sight{b.Fence, b.FirstChoice, time.Now()}
		}
		sights[b.ID] = s
	}
	c.sights = sights
}

// mine reports whether this agent should try to get b.
func (c *claimer) mine(ctx context.Context, b *store.Build) bool {
	me := c.me()
	if b.Cancel != nil || b.Attempt >= c.MaxAttempts {
		return false
	}
	if !placement.Eligible(&me, b) {
		if b.Request.Here != "" || !c.asks(b.Requires) {
			return false
		}
		c.describe(ctx, b.Requires)
		if me = c.me(); !placement.Eligible(&me, b) {
			return false
		}
	}
	choice := b.FirstChoice
	if choice == "" {
		choice = placement.FirstChoice(b, c.agents)
	}
	i := slices.IndexFunc(c.agents, func(a store.Agent) bool { return a.ID == choice })
	s, seen := c.sights[b.ID]
	return choice == c.id || i < 0 || placement.Free(&c.agents[i]) == 0 || seen && time.Since(s.since) >= c.Timings.Unmoved
}

// claim is T1, for a build that holds its groups.
func (c *claimer) claim(ctx context.Context, b *store.Build) {
	held, err := c.acquire(ctx, *b)
	switch {
	case err != nil:
		c.log.Warn("acquire groups", "build", b.ID, "error", err)
		return
	case !held || !c.slots.try():
		return
	}
	r := newRun(c.life, *b)
	if !c.enter(r) {
		c.slots.give()
		return
	}
	// From here on verify knows that it may be ours.
	got, err := c.change(r.ctx, b.ID, store.Claim{Agent: c.id, Fence: b.Fence, Nonce: string(c.Agent.id()), Max: c.MaxAttempts, At: c.clock()})
	if err != nil {
		c.log.Debug("somebody was faster", "build", b.ID, "error", err)
		c.slots.give()
		c.exit(r)
		return
	}
	r.claimed(got)
	go r.work()
}
