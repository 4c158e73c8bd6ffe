package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/placement"
	"github.com/piper-build/piper/runtime/store"
)

// Why a build is killed though it was not cancelled, or an agent stops.
var (
	errBuried  = errors.New("the others thought this agent dead")
	errLost    = errors.New("another agent has the build by now")
	errDrained = errors.New("its agent gave it back")
	errAway    = errors.New("the store was away too long")
)

// A life is the time of an agent under one ID.
type life struct {
	*Agent
	dir     *directory
	id      store.AgentID
	log     *slog.Logger
	slots   slots
	topic   topics
	kick    chan struct{} // somebody should look at the queue
	stir    chan struct{} // and that he may in a while
	shown   chan struct{} // somebody has looked around
	tell    chan struct{} // the others are to hear what there is here
	telling chan struct{} // taken by who tells them

	ctx context.Context // ends with the life
	die context.CancelCauseFunc

	met      strangers        // by the vigil
	working  sync.WaitGroup   // the builds
	unsigned chan store.Build // that have ended

	mu        sync.Mutex // guards what follows
	self      store.Agent
	seen      *view     // the last one; nobody changes it
	blind     time.Time // since when no look has succeeded; zero is that the last one did
	keys      []string  // of facts that somebody asked for
	told      bool      // the others know of toldSlots and toldFacts
	toldSlots int
	toldFacts map[string]string
	draining  bool
	runs      map[build.ID]*run
	catalogs  catalogs

	unshipped []build.ID // that ended, and may not be whole in the index of logs
}

func newLife(a *Agent, dir *directory) *life {
	if a.quarantine == nil {
		a.quarantine = &quarantine{}
	}
	l := &life{Agent: a, dir: dir, id: a.id(), kick: make(chan struct{}, 1), stir: make(chan struct{}, 1), shown: make(chan struct{}, 1),
		tell: make(chan struct{}, 1), telling: make(chan struct{}, 1), told: true,
		seen: &view{}, unsigned: make(chan store.Build, maxUnsigned), runs: map[build.ID]*run{}}
	l.log = a.Log.With("agent", l.id)
	l.slots = slots{free: a.Slots, withheld: a.quarantine.slots(), freed: l.look}
	l.toldSlots = l.offered() // by joining
	return l
}

// look has the queue be looked at soon.
func (l *life) look() {
	select {
	case l.kick <- struct{}{}:
	default:
	}
}

// glance has the queue be looked at, but not at once: something happened that is
// most likely for another agent.
func (l *life) glance() {
	select {
	case l.stir <- struct{}{}:
	default:
	}
}

// A view is an overview, and when whoever has it began to look.
type view struct {
	store.Overview
	at time.Time
}

// show has the other loops see what was looked at.
func (l *life) show(v *view) {
	l.mu.Lock()
	l.seen, l.blind = v, time.Time{}
	l.mu.Unlock()
	select {
	case l.shown <- struct{}{}:
	default:
	}
}

// view is what was looked at last.
func (l *life) view() *view {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.seen
}

// live is the whole of it. The error is errBuried when another life has to
// follow.
func (l *life) live(ctx context.Context) error {
	l.ctx, l.die = context.WithCancelCause(context.WithoutCancel(ctx))
	defer l.die(nil)
	if err := l.begin(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // it was told to stop before it began
		}
		return err
	}
	l.log.Info("agent started", "name", l.Name, "slots", l.Slots)

	loops, stop := context.WithCancel(l.ctx)
	defer stop()
	var looping sync.WaitGroup
	for _, loop := range []func(context.Context){l.heartbeats, l.feed, l.claims, l.spills, l.vigil, l.sweeps, l.schedules, l.retention, l.ships, l.signs, l.factfinding} {
		looping.Go(func() { loop(loops) })
	}
	select {
	case <-ctx.Done():
		l.drain()
	case <-l.ctx.Done():
	}
	stop()
	looping.Wait()
	l.working.Wait()
	if l.ctx.Err() != nil {
		return context.Cause(l.ctx)
	}
	return l.leave()
}

// begin takes over from whoever had the directory before, and joins the others.
func (l *life) begin(ctx context.Context) error {
	last, err := l.dir.last()
	if err != nil {
		return fmt.Errorf("read who had %s before: %w", l.Dir, err)
	}
	if last != "" {
		// The lock is ours, so it is dead, and its runners with it.
		if err := persist(ctx, func() error { return l.warn("take over", l.inherit(ctx, last)) }); err != nil {
			return fmt.Errorf("take over from agent %s: %w", last, err)
		}
	}
	if err := l.dir.remember(l.id); err != nil {
		return fmt.Errorf("keep the agent's id: %w", err)
	}
	l.self = store.Agent{ID: l.id, Name: l.Name, Host: l.Host, Version: l.Version, Started: l.clock(), Slots: l.toldSlots,
		Labels: maps.Clone(l.Labels), Seen: l.clock()}
	asked := false
	err = persist(ctx, func() error {
		err := l.Store.Join(ctx, l.self)
		if asked && errors.Is(err, store.ErrConflict) {
			return nil // the answer was lost
		}
		asked = true
		return l.warn("join", err)
	})
	if err != nil {
		return fmt.Errorf("join: %w", err)
	}
	return nil
}

// warn passes on why the agent has not begun yet: it is tried again, and people
// wonder.
func (l *life) warn(what string, err error) error {
	if err != nil && !refused(err) {
		l.log.Warn(what, "error", err)
	}
	return err
}

// drain waits for the builds, and gives back those that take too long.
func (l *life) drain() {
	l.log.Info("agent drains", "builds", l.holds(), "for", l.Timings.Drain)
	l.mu.Lock()
	l.draining = true
	l.mu.Unlock()
	// The others see it sooner or later; what counts is that no build is claimed.
	if err := l.Store.End(l.ctx, l.id); err != nil {
		l.log.Warn("tell that the agent ends", "error", err)
	}
	done := make(chan struct{})
	go func() {
		l.working.Wait()
		close(done)
	}()
	timer := time.NewTimer(max(l.Timings.Drain, 0))
	defer timer.Stop()
	select {
	case <-done:
		return
	case <-l.ctx.Done():
	case <-l.Hurry:
		l.giveBack()
	case <-timer.C:
		l.giveBack()
	}
	<-done
}

// giveBack ends all builds, for others to run.
func (l *life) giveBack() {
	for _, r := range l.all() {
		r.kill(errDrained)
	}
}

// leave tells the others not to wait for this agent.
func (l *life) leave() error {
	ctx, cancel := context.WithTimeout(l.ctx, l.Timings.Lease)
	defer cancel()
	if err := persist(ctx, func() error { return l.Store.Bury(ctx, l.id) }); err != nil {
		return fmt.Errorf("leave: %w", err) // they will find out
	}
	if err := l.dir.remember(""); err != nil {
		return fmt.Errorf("leave: %w", err)
	}
	l.log.Info("agent left")
	return nil
}

// claiming reports whether the agent takes builds at all.
func (l *life) claiming() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.draining && !l.self.Draining
}

// enter notes that r is this agent's, or is about to be. It reports whether there
// was nothing in the way.
func (l *life) enter(r *run) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.runs[r.of] != nil || l.draining || l.self.Draining || l.ctx.Err() != nil {
		return false
	}
	l.runs[r.of] = r
	l.working.Add(1)
	return true
}

// exit forgets r.
func (l *life) exit(r *run) {
	l.mu.Lock()
	delete(l.runs, r.of)
	l.mu.Unlock()
	l.working.Done()
}

// all returns what is run, in no order.
func (l *life) all() []*run {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Values(l.runs))
}

func (l *life) holds() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.runs)
}

// running is the run of a build, if it is this agent's.
func (l *life) running(id build.ID) *run {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.runs[id]
}

// everybody is all agents: the others as they were seen last, this one as it is.
func (l *life) everybody() []store.Agent {
	occupied := l.occupied()
	l.mu.Lock()
	defer l.mu.Unlock()
	me := l.self
	me.Running, me.Draining = occupied, me.Draining || l.draining
	others := slices.DeleteFunc(slices.Clone(l.seen.Agents), func(a store.Agent) bool { return a.ID == l.id })
	return append(others, me)
}

// me is what this agent tells of itself.
func (l *life) me() store.Agent {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.self
}

// change takes a build through c, however often the store has to be asked.
func (l *life) change(ctx context.Context, id build.ID, c store.Change) (b store.Build, err error) {
	err = persist(ctx, func() (err error) { b, err = l.Store.Change(ctx, id, c); return err })
	return b, err
}

// enqueue makes a build, unless there is one of that ID. It does not matter
// whether that was asked for with the same words: whoever made it had them first.
func (l *life) enqueue(ctx context.Context, id build.ID, r store.Request) error {
	number, err := l.Store.NextNumber(ctx)
	if err != nil {
		return fmt.Errorf("draw a number: %w", err)
	}
	b := store.NewBuild(id, number, r, l.clock())
	b.FirstChoice = placement.FirstChoice(&b, l.everybody())
	switch got, err := l.Store.Enqueue(ctx, b); {
	case errors.Is(err, store.ErrConflict):
		l.log.Warn("a build is there that was asked for with other words", "build", id)
	case err != nil:
		return fmt.Errorf("enqueue build %s: %w", id, err)
	case got.Number == number:
		l.log.Info("build made", "build", id, "number", number, "project", r.Project, "pipeline", r.Pipeline, "cause", r.Cause.Kind)
	}
	return nil
}
