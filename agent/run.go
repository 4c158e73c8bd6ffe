package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"

	"github.com/piper-build/piper/runtime"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/placement"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

// A run is one build in the hands of this agent, from its claim on. One goroutine
// takes it to its end; the runner calls in from others (handler.go).
type run struct {
	*life
	of  build.ID
	log *slog.Logger
	dir string // its workspace; "" before there is one

	cleaned bool // it was seen to; work's

	ctx  context.Context // done when the build is not to go on here, for whatever reason
	kill context.CancelCauseFunc

	called  chan struct{} // closed once it is to be cancelled
	cancels chan runtime.Cancel

	mu      sync.Mutex // guards what follows
	build   store.Build
	granted int64 // the fence; 0 while it is being claimed
	wish    *store.Cancel
	holding bool // a slot
}

func newRun(l *life, b store.Build) *run {
	r := &run{life: l, of: b.ID, build: b, holding: true, called: make(chan struct{}), cancels: make(chan runtime.Cancel, 2),
		log: l.log.With("build", b.ID, "number", b.Number)}
	r.ctx, r.kill = context.WithCancelCause(l.ctx)
	return r
}

// claimed notes that the claim was granted.
func (r *run) claimed(b store.Build) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.build, r.granted = b, b.Fence
	r.dir = r.life.dir.workspace(b.ID, b.Fence)
	r.log = r.log.With("fence", b.Fence)
	r.log.Info("build claimed", "project", b.Request.Project, "pipeline", b.Request.Pipeline, "attempt", b.Attempt)
}

// occupies is the fence under which the build takes a slot, if it does.
func (r *run) occupies() (fence int64, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.granted, r.granted > 0 && r.holding
}

// verify is T3 for one build: b is what the store has of it.
func (r *run) verify(b store.Build) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.granted == 0 || b.Fence < r.granted: // read before it was claimed
	case b.Fence > r.granted || b.State != build.Running || b.Owner != r.id:
		r.kill(errLost)
	case b.Cancel != nil && (r.wish == nil || b.Cancel.Force && !r.wish.Force):
		r.log.Info("build is to be cancelled", "by", b.Cancel.By, "force", b.Cancel.Force)
		if r.wish == nil {
			close(r.called)
		}
		r.wish = b.Cancel
		r.cancels <- runtime.Cancel{By: b.Cancel.By, Reason: b.Cancel.Reason, Force: b.Cancel.Force} // there is room: it is asked for twice at most
	}
}

// work takes the build to its end, or to that of this agent's part in it.
func (r *run) work() {
	defer r.exit(r)
	defer r.kill(nil)
	defer r.giveSlot()
	go r.until(r.ctx, r.of, r.Timings.Report, func(b store.Build) bool { r.verify(b); return false })

	change := r.guarded()
	if change == nil {
		r.log.Warn("build dropped", "why", context.Cause(r.ctx))
		r.clean(build.Lost)
		return
	}
	b, err := r.life.change(r.life.ctx, r.of, change)
	if err != nil {
		r.log.Warn("build dropped", "why", err)
		r.clean(build.Lost)
		return
	}
	r.log.Info("build leaves", "state", b.State, "reason", b.Reason)
	r.giveSlot()
	r.clean(b.State)
	if b.Terminal() {
		r.shipLater(b.ID)
		r.signLater(b)
		r.settle(r.life.ctx, b)
	}
	r.look()
}

// clean removes the workspace, or keeps it.
func (r *run) clean(end build.State) {
	if r.cleaned {
		return
	}
	r.cleaned = true
	if r.dir == "" {
		return
	}
	defer r.life.dir.remove(Tree{Dir: r.dir}.Temp())
	switch {
	case !r.KeepFailed || end != build.Failed && end != build.TimedOut:
	case r.spilled() != nil:
		r.log.Warn("workspace not kept", "why", r.spilled())
	default:
		kept, err := r.life.dir.keep(r.dir)
		if err == nil {
			r.log.Info("workspace kept", "dir", kept)
			return
		}
		r.log.Warn("keep workspace", "error", err)
	}
	r.life.dir.remove(r.dir)
}

// guarded is attempt, which fails the build when it panics, and not the agent.
func (r *run) guarded() (change store.Change) {
	defer func() {
		if p := recover(); p != nil {
			r.log.Error("agent is broken", "panic", p, "stack", string(debug.Stack()))
			change = r.complete(build.Failed, fmt.Sprintf("the agent is broken: %v", p))
		}
	}()
	return r.attempt()
}

// attempt does all that there is to do about the build here, and returns the
// change that ends that. Nil says that the build is not this agent's any more.
func (r *run) attempt() store.Change {
	// Until the runner has it, a cancel ends whatever is done.
	ctx, stop := context.WithCancel(r.ctx)
	defer stop()
	go func() {
		select {
		case <-r.called:
			stop()
		case <-ctx.Done():
		}
	}()

	tree, err := r.checkOut(ctx)
	if err != nil {
		return r.failed(ctx, err)
	}
	p, expand, err := r.planned(ctx, tree)
	if err != nil {
		return r.failed(ctx, err)
	}
	switch change, err := r.placed(ctx); {
	case err != nil:
		return r.failed(ctx, err)
	case change != nil:
		return change
	}
	secrets, err := r.secrets(ctx, p.Secrets())
	if err != nil {
		return r.failed(ctx, err)
	}
	if ctx.Err() != nil {
		return r.failed(ctx, ctx.Err())
	}
	return r.execute(p, expand, tree, secrets)
}

// secrets finds those that the build is given.
func (r *run) secrets(ctx context.Context, names []string) (map[string]string, error) {
	if r.Secrets == nil {
		return nil, nil
	}
	values, err := r.Secrets(ctx, r.now(), names)
	if err != nil {
		return nil, fmt.Errorf("find secrets: %w", err)
	}
	return values, nil
}

// execute hands the plan to the runner.
func (r *run) execute(p *plan.Plan, expand Expander, tree Tree, secrets map[string]string) store.Change {
	record, err := r.Record(r.now())
	if err != nil {
		return r.failed(r.ctx, fmt.Errorf("open record: %w", err))
	}
	defer record.Close()
	h := newHandler(r, p, expand, record)
	reports := make(chan struct{})
	ctx, stop := context.WithCancel(r.ctx)
	go func() {
		defer close(reports)
		r.every(ctx, "report "+string(r.of), r.Timings.Report, h.report)
	}()
	me := r.me()
	err = r.Runner.Run(r.ctx, Job{Build: r.now(), Plan: p, Tree: tree, Secrets: secrets, Facts: placement.Values(&me), Cancels: r.cancels}, h)
	stop()
	<-reports
	h.close()
	r.quarantined(err)
	state, reason, progress := h.outcome()
	if r.ctx.Err() == nil && !ended(state) {
		return r.giveBack(fmt.Sprintf("its runner ended early (%v)", errors.Join(err, h.failure)))
	}
	if r.ctx.Err() == nil && err != nil {
		r.log.Warn("runner", "error", err)
	}
	err = record.Flush(r.ctx)
	switch spill := r.spilled(); {
	case spill != nil:
		if !ended(state) || state == build.Cancelled { // else it ended by itself
			state, reason = build.Failed, spill.Error()
		}
		r.clean(state) // first: the store may need the room
		ctx, stop := context.WithTimeout(r.life.ctx, r.Timings.GiveUp)
		defer stop()
		if err := record.Flush(ctx); err != nil {
			r.log.Warn("not all that happened in the build is kept", "error", err)
		}
	case r.ctx.Err() != nil:
		return r.failed(r.ctx, r.ctx.Err())
	case err != nil:
		return r.giveBack(fmt.Sprintf("what happened in it could not be kept (%v)", err))
	}
	done := r.complete(state, reason)
	done.Progress = progress
	return done
}

// giveSlot gives back the slot, if the build has one.
func (r *run) giveSlot() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.holding {
		r.holding = false
		r.slots.give()
	}
}

// takeSlot waits for a slot, if the build has none.
func (r *run) takeSlot(ctx context.Context) error {
	if _, ok := r.occupies(); ok {
		return nil
	}
	if err := r.slots.take(ctx); err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.holding {
		r.slots.give() // another of its nodes was faster
	}
	r.holding = true
	return nil
}

// seizeSlot takes a slot, if the build has none, whether one is free or not.
func (r *run) seizeSlot() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.holding {
		r.holding = true
		r.slots.seize()
	}
}

func ended(s build.State) bool { return s != build.Queued && s != build.Running }

// now is the build as this agent knows it.
func (r *run) now() store.Build {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.build
}

// fence is the one that the build was claimed under.
func (r *run) fence() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.granted
}

// change takes the build through c. Refused, it is not ours any more, unless c
// itself is not to be.
func (r *run) change(ctx context.Context, c store.Change) (store.Build, error) {
	b, err := r.life.change(ctx, r.of, c)
	if errors.Is(err, store.ErrFenced) || errors.Is(err, store.ErrNotFound) {
		r.kill(errLost)
	}
	return b, err
}

// complete is T7.
func (r *run) complete(state build.State, reason string) store.Complete {
	return store.Complete{Agent: r.id, Fence: r.fence(), State: state, Reason: reason, At: r.clock()}
}

// giveBack is T8 for a build of this agent's own: another attempt may go better.
func (r *run) giveBack(why string) store.Change {
	r.log.Warn("build given back", "why", why)
	return store.Rescue{Owner: r.id, Fence: r.fence(), Max: r.MaxAttempts, At: r.clock(), Why: why}
}

// handOver gives the build to one who can run it.
func (r *run) handOver(to store.AgentID) store.Change {
	r.log.Info("build handed over", "to", to)
	return store.HandOver{Agent: r.id, Fence: r.fence(), Nonce: string(r.Agent.id()), To: to, At: r.clock()}
}

// failed is what becomes of the build when err ended what was done under ctx.
func (r *run) failed(ctx context.Context, err error) store.Change {
	r.quarantined(err)
	var wrong plan.Diagnostics
	switch cause := context.Cause(r.ctx); {
	case r.spilled() != nil:
		r.clean(build.Failed) // first: the store may need the room
		return r.complete(build.Failed, cause.Error())
	case errors.Is(cause, errDrained):
		return r.giveBack(errDrained.Error())
	case cause != nil, errors.Is(err, store.ErrFenced):
		return nil
	case ctx.Err() != nil: // then it was cancelled
		r.mu.Lock()
		wish := *r.wish
		r.mu.Unlock()
		return r.complete(build.Cancelled, wish.Reason)
	case errors.As(err, &wrong):
		done := r.complete(build.Rejected, fmt.Sprintf("its PIPER.star has %d errors", len(wrong)))
		if len(wrong) == 1 {
			done.Reason = wrong[0].Message
		}
		done.Diagnostics = wrong
		return done
	case errors.Is(err, ErrRejected):
		return r.complete(build.Rejected, err.Error())
	}
	return r.complete(build.Failed, err.Error())
}
