package agent

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

// vigil looks again and again at what all agents look at, and shows it to the other
// loops. Itself it sees to what this agent has, to the others, and to those builds
// that were to be cancelled and are not.
func (l *life) vigil(ctx context.Context) {
	pause := l.Timings.Heartbeat
	w := watch{lease: l.Timings.Lease, gap: 3 * pause * 6 / 5} // a pause may be a fifth longer
	doomed := doomed{wait: l.Timings.Grace + l.Timings.Lease}
	l.lookAround(ctx, &w, &doomed)
	l.every(ctx, "vigil", pause, func(ctx context.Context) { l.lookAround(ctx, &w, &doomed) })
}

func (l *life) lookAround(ctx context.Context, w *watch, doomed *doomed) {
	v := view{at: time.Now()}
	var err error
	if v.Overview, err = store.Look(ctx, l.Store, unsettledAtOnce, wholeQueue); err != nil {
		l.mu.Lock()
		if l.blind.IsZero() {
			l.blind = v.at
		}
		l.mu.Unlock()
		l.log.Warn("look around", "error", err)
		return
	}
	l.met = l.met.meet(l.log, l.me(), v.Agents, l.clock())
	l.show(&v)
	// At once: what was seen grows old while the others of these ask the store.
	l.takeFromTheDead(ctx, w.observe(time.Now(), v.Agents), v.Agents, v.Running)
	if err := l.verify(ctx, v.Running); err != nil {
		l.log.Warn("look for a build", "error", err)
	}
	for _, b := range doomed.due(time.Now(), v.Running) {
		l.force(ctx, b)
	}
}

// verify is T3: it holds what this agent runs against what it had when the store was
// read.
func (l *life) verify(ctx context.Context, running []store.Build) error {
	has := map[build.ID]bool{}
	for _, b := range running {
		if b.Owner != l.id {
			continue
		}
		has[b.ID] = true
		if r := l.running(b.ID); r != nil {
			r.verify(b)
			continue
		}
		// It is ours and nobody works at it: a claim whose answer was given up,
		// or a build that was.
		l.rescue(ctx, b, errDrained.Error())
	}
	for _, r := range l.all() {
		if has[r.of] {
			continue
		}
		switch b, err := l.Store.Build(ctx, r.of); {
		case errors.Is(err, store.ErrNotFound):
			r.kill(errLost)
		case err != nil:
			return err
		default:
			r.verify(b)
		}
	}
	return nil
}

// takeFromTheDead buries agents, and rescues what they ran and what those ran who
// were buried before.
func (l *life) takeFromTheDead(ctx context.Context, dead, agents []store.Agent, running []store.Build) {
	for _, a := range dead {
		if a.ID == l.id {
			continue // the heartbeat sees to that
		}
		l.log.Warn("agent is thought dead", "other", a.ID, "name", a.Name, "seen", a.Seen)
		if err := l.Store.Bury(ctx, a.ID); err != nil {
			l.log.Warn("bury agent", "other", a.ID, "error", err)
			continue // its builds, too, the next time
		}
		agents = slices.DeleteFunc(slices.Clone(agents), func(o store.Agent) bool { return o.ID == a.ID })
	}
	for _, b := range running {
		alive := slices.ContainsFunc(agents, func(a store.Agent) bool { return a.ID == b.Owner })
		if !alive && b.Owner != l.id && b.Request.Here == "" { // one that runs here is looked after where that is
			l.rescue(ctx, b, "")
		}
	}
}

// rescue is T8. The chores of what ends by that are left to the sweep, as they may
// take long.
func (l *life) rescue(ctx context.Context, b store.Build, why string) error {
	got, err := l.Store.Change(ctx, b.ID, store.Rescue{Owner: b.Owner, Fence: b.Fence, Max: l.MaxAttempts, At: l.clock(), Why: why})
	switch {
	case refused(err):
		return nil // it is somebody else's by now
	case err != nil:
		l.log.Warn("rescue build", "build", b.ID, "error", err)
		return err
	}
	l.log.Warn("build rescued", "build", b.ID, "number", b.Number, "from", b.Owner, "fence", b.Fence, "state", got.State)
	l.look()
	return nil
}

// inherit takes over from the agent that had this one's directory, which is dead.
func (l *life) inherit(ctx context.Context, last store.AgentID) error {
	running, err := l.Store.Running(ctx, last)
	if err != nil {
		return err
	}
	for _, b := range running {
		if err := l.rescue(ctx, b, ""); err != nil {
			return err
		}
	}
	return l.Store.Bury(ctx, last)
}

// Doomed are the running builds that were asked to end, and since when that has
// been seen.
type doomed struct {
	wait  time.Duration
	since map[build.ID]sentence
}

// A sentence is under which fence a build has to end, and how.
type sentence struct {
	fence int64
	force bool
	since time.Time
}

// due returns those whose owner had time enough: to kill them when it was asked
// to, and else to let them clean up, too.
func (d *doomed) due(at time.Time, running []store.Build) (due []store.Build) {
	since := map[build.ID]sentence{}
	for _, b := range running {
		if b.Cancel == nil {
			continue
		}
		s, known := d.since[b.ID]
		if !known || s.fence != b.Fence || s.force != b.Cancel.Force {
			s = sentence{b.Fence, b.Cancel.Force, at}
		}
		since[b.ID] = s
		wait := d.wait
		if !s.force {
			wait += build.CleanupLimit
		}
		if at.Sub(s.since) > wait {
			due = append(due, b)
		}
	}
	d.since = since
	return due
}

// force is T10.
func (l *life) force(ctx context.Context, b store.Build) {
	_, err := l.Store.Change(ctx, b.ID, store.ForceCancel{Fence: b.Fence, At: l.clock()})
	switch {
	case refused(err):
	case err != nil:
		l.log.Warn("force cancel", "build", b.ID, "error", err)
	default:
		l.log.Warn("build cancelled by force", "build", b.ID, "number", b.Number, "from", b.Owner)
	}
}
