package runtime

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
)

// ErrWithdrawn is the cause that ends the context of a question when its node was
// stopped. One that ends for another reason may be asked again.
var ErrWithdrawn = errors.New("nobody asks any more")

// An Engine runs builds. Executor and Workspace must be set; the zero value of
// every other field is usable.
type Engine struct {
	Executor Executor
	Recorder Recorder // keeps events; nil keeps none

	// Observe is told of each event once it is recorded. The build may already
	// be a few events further.
	Observe func(build.Event, *build.Build)

	// Output makes the place for what an attempt writes; nil drops it.
	Output func(node *plan.Node, attempt int) (Output, error)

	// Plain splits a script into the arguments that a shell would make of it
	// when nobody could tell the difference; nil always starts the shell.
	Plain func(script string) ([]string, bool)

	// Answers reports whether a port of this machine takes a TCP connection,
	// which is how some services are known to be ready; nil never does.
	Answers func(port int) bool

	// Meets checks what a step requires of this machine; nil requires nothing.
	// The error is the reason that the step fails with.
	Meets func(context.Context, []plan.Requirement) error

	// Secret gives the value of a secret; nil knows none.
	Secret func(name string) (string, error)

	// Leaks reports whether a text gives a secret away; nil finds none.
	Leaks func(text string) bool

	// Mask hides secrets in what is recorded of an attempt; nil hides nothing.
	Mask func(text string) string

	// Trigger starts the downstream build of a node and, when the node says
	// so, waits for it. It calls made as soon as that build exists. A nil
	// Trigger, or one that never calls made, triggers nothing.
	Trigger func(ctx context.Context, node *plan.Node, params map[string]string, made func(build.ID)) (build.State, error)

	// Approve asks a person; nil refuses.
	Approve func(ctx context.Context, node *plan.Node) (Approval, error)

	// Intend is asked before the process of a step that is once = True starts,
	// each time; nil lets it. An error keeps it from starting: the step has
	// failed, for the machine, and is not tried again.
	Intend func(ctx context.Context, node *plan.Node) error

	// Expand runs the function of an expand node; nil fails it. An error is
	// the reason that the node fails with: what the user wrote is at fault when
	// it is a plan.Diagnostics, and else the machine.
	Expand func(ctx context.Context, node *plan.Node, outputs map[string]string) (plan.Expansion, error)

	Lookup    func(name string) (string, bool) // the caller's environment, for PATH and its like; nil is empty
	Environ   func() []string                  // all of it, for the globs of pass_env; nil is empty
	PassEnv   []string                         // let through beside what the plan says
	Workspace string                           // absolute
	Temp      string                           // a directory of this build's own for $PIPER_OUTPUT
	Parallel  int                              // steps at once; 0 is the number of processors
	MaxNodes  int                              // of the plan, with all that expands find; 0 is plan.MaxNodes

	ID     build.ID
	Commit string // for $PIPER_COMMIT
	Branch string // for $PIPER_BRANCH

	Cancels <-chan Cancel    // asks the build to end, as a Run's ctx does, and says more; nil never asks
	Now     func() time.Time // nil is the real clock
}

// A Cancel asks a build to end.
type Cancel struct {
	By     string `json:"by,omitempty"`     // who asks
	Reason string `json:"reason,omitempty"` // why, for a person
	Force  bool   `json:"force,omitempty"`  // end now, without grace and without what would clean up
}

// An Approval is what a person said.
type Approval struct {
	Approved bool
	By       string
	Reason   string
}

// Run takes b from where it stands to its end. When ctx is done the build is
// cancelled; Run still returns only when nothing of it runs any more.
//
// The error is the machine's: an event that could not be recorded, a plan that
// cannot be run here. How the build ended is its State.
func (e *Engine) Run(ctx context.Context, b *build.Build) error {
	r := &run{Engine: e, ctx: ctx, b: b, plan: b.Plan(), running: map[int]*attempt{},
		asked: ctx.Done(), cancels: e.Cancels, killed: make(chan struct{}), stir: make(chan struct{}, 1)}
	r.output = func(o *plan.Output) (string, error) { return b.Output(*o) }
	return r.loop()
}

// A run is one call of Engine.Run. Whoever holds mu owns it: the goroutine of
// loop, which waits for what comes from outside, or a worker that has
// something to say. The worker goes on from there by itself, so a step that
// ends and the one after it need no hand-over between threads.
type run struct {
	*Engine
	ctx context.Context // asks for a cancel; nothing runs in it

	mu   sync.Mutex // guards what follows, and what workers share of it
	b    *build.Build
	plan *plan.Plan

	env     environs
	output  func(*plan.Output) (string, error) // what a step wrote
	idle    []*slot
	running map[int]*attempt
	batch   []build.Event

	asked    <-chan struct{} // closed to cancel; nil once that was seen
	cancels  <-chan Cancel   // nil when there come no more
	killed   chan struct{}   // closed to end now
	deadline time.Time       // zero when there is none, or it has passed
	stopAt   time.Time       // when a cancel is forced; zero while none was asked
	alarm    time.Time       // when to go on though nothing has happened; zero is never

	over bool          // nothing is started any more
	err  error         // why, when it is not the build's end
	stir chan struct{} // wakes loop
}

// A slot runs one step at a time.
type slot struct {
	base  string        // of its directories
	dirs  int           // how many it has had
	dir   string        // $PIPER_OUTPUT of its next attempt, empty
	tasks chan *attempt // holds one, so handing it over does not wait
}

// renew gives the slot another directory. The ones before go with the build.
func (s *slot) renew() error {
	s.dirs++
	s.dir = s.base + "-" + strconv.Itoa(s.dirs)
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		return fmt.Errorf("make output directory: %w", err)
	}
	return nil
}

// An attempt is one node at work.
type attempt struct {
	node    int
	task    Task
	ctx     context.Context
	cancel  context.CancelCauseFunc
	stopped bool
	slot    *slot              // nil for what takes none
	needs   []plan.Requirement // of this machine
}

// A result is what a worker has to say. Its event has a kind when the attempt
// goes on, and none when that is how it ended.
type result struct {
	*attempt
	event build.Event
}

// goesOn reports whether there is more to come.
func (r result) goesOn() bool { return r.event.Kind != "" }

// loop takes the build to its end.
func (r *run) loop() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	defer r.close()
	if err := r.open(); err != nil {
		return err
	}
	for r.turn(nil); !r.over; {
		timer, stop := r.timer(r.alarm)
		asked, cancels := r.asked, r.cancels
		var err error
		r.mu.Unlock()
		select {
		case <-r.stir:
		case <-asked:
		case c, more := <-cancels:
			r.mu.Lock()
			err = r.told(c, more)
			r.mu.Unlock()
		case <-timer:
		}
		stop()
		r.mu.Lock()
		r.turn(err)
	}
	return r.err
}

// close ends what runs: whatever ended the run, nothing of the build outlives
// it.
func (r *run) close() {
	r.over = true
	for _, a := range r.running {
		a.cancel(nil)
	}
	for len(r.running) > 0 {
		r.mu.Unlock()
		<-r.stir
		r.mu.Lock()
	}
	for _, s := range r.idle {
		close(s.tasks)
	}
}

// report folds in what a worker has to say and goes on from there.
func (r *run) report(res result) {
	r.mu.Lock()
	defer r.mu.Unlock()
	alarm := r.alarm
	switch {
	case !r.over:
		r.turn(r.take(res))
	case !res.goesOn():
		r.release(res.attempt)
	}
	if r.over || !r.alarm.Equal(alarm) {
		select {
		case r.stir <- struct{}{}:
		default: // it is about to look anyway
		}
	}
}

// turn takes the build as far as it goes by itself, unless err is in the way.
func (r *run) turn(err error) {
	if r.over {
		return
	}
	if err == nil {
		err = r.attend()
	}
	if err == nil {
		err = r.act()
	}
	r.err, r.over = err, err != nil || ended(r.b.State())
}

// attend sees to what was asked for, and to the time. That comes before
// anything new is started.
func (r *run) attend() error {
	if closed(r.asked) {
		r.asked = nil
		if err := r.cancel(Cancel{Reason: reasonOf(r.ctx)}); err != nil {
			return err
		}
	}
	for more := true; more; {
		select {
		case c, ok := <-r.cancels:
			if err := r.told(c, ok); err != nil {
				return err
			}
		default:
			more = false
		}
	}
	switch now := r.now(); {
	case !r.stopAt.IsZero() && !now.Before(r.stopAt):
		return r.cancel(Cancel{Reason: fmt.Sprintf("cleaning up took longer than %s", build.CleanupLimit), Force: true})
	case !r.deadline.IsZero() && !now.Before(r.deadline):
		r.deadline = time.Time{}
		r.stopAt = now.Add(build.CleanupLimit)
		return r.apply(build.Event{Kind: build.DeadlinePassed, Reason: "timed out after " + time.Duration(r.plan.Timeout).String()})
	}
	return nil
}

// open makes the slots, and starts the build.
func (r *run) open() error {
	n := r.Parallel
	if n <= 0 {
		n = runtime.NumCPU()
	}
	if !slices.ContainsFunc(r.plan.Nodes, func(n plan.Node) bool { return n.Expand() != nil }) { // or there will be more
		n = min(n, max(1, len(r.plan.Nodes)))
	}
	r.env = newEnvirons(r.Engine, r.plan)
	for i := range n {
		s := &slot{tasks: make(chan *attempt, 1), base: filepath.Join(r.Temp, "output-"+strconv.Itoa(i+1))}
		if err := s.renew(); err != nil {
			return err
		}
		r.idle = append(r.idle, s)
		go r.work(s)
	}
	started := r.now()
	if r.b.State() != build.Running {
		if err := r.apply(build.Event{Kind: build.BuildStarted}); err != nil {
			return err
		}
	} else {
		started = r.b.Started()
	}
	if r.plan.Timeout > 0 {
		r.deadline = started.Add(time.Duration(r.plan.Timeout))
	}
	return nil
}

// act carries out all that the state calls for, and sets the alarm. What is
// started was recorded before.
func (r *run) act() (err error) {
	var starts []*attempt
	for {
		actions, wake := r.b.Next(r.now(), len(r.idle)-countSteps(starts))
		r.alarm = earliest(wake, r.deadline, r.stopAt)
		progressed := false
		for _, a := range actions {
			switch a.Verb {
			case build.Start:
				progressed = true
				at := r.begin(a.Node)
				starts = append(starts, at)
				err = r.apply(build.Event{Kind: build.AttemptStarted, Node: at.task.Node.Name, Attempt: at.task.Attempt})
			case build.Skip:
				progressed = true
				err = r.apply(build.Event{Kind: build.NodeSkipped, Node: r.plan.Nodes[a.Node].Name, State: a.State, Reason: a.Reason})
			case build.Stop:
				if at := r.running[a.Node]; at != nil && !at.stopped {
					at.stopped = true
					at.cancel(errors.New(a.Reason))
				}
			case build.End:
				progressed = true
				err = r.apply(build.Event{Kind: build.BuildEnded, State: a.State, Reason: a.Reason})
			}
			if err != nil {
				return err
			}
		}
		if !progressed {
			break
		}
	}
	if err := r.flush(); err != nil {
		return err
	}
	for _, a := range starts {
		r.launch(a)
	}
	return nil
}

func countSteps(starts []*attempt) (n int) {
	for _, a := range starts {
		if node := a.task.Node; node.Step != nil && !node.IsService() {
			n++
		}
	}
	return n
}

// begin makes the attempt that is about to start.
func (r *run) begin(node int) *attempt {
	a := &attempt{node: node}
	a.task.Node = &r.plan.Nodes[node]
	if step := a.task.Node.Step; step != nil {
		a.needs = r.requires(step)
	}
	a.task.Attempt = r.b.Node(node).Attempt + 1
	// The build's own context only asks for a cancel; what is running is
	// stopped when the state says so.
	a.ctx, a.cancel = context.WithCancelCause(context.WithoutCancel(r.ctx))
	return a
}

// launch hands a to a worker.
func (r *run) launch(a *attempt) {
	r.running[a.node] = a
	switch {
	case a.task.Node.IsService():
		r.launchService(a)
	case a.task.Node.Step != nil:
		a.slot = r.idle[len(r.idle)-1]
		r.idle = r.idle[:len(r.idle)-1]
		if err := r.resolve(&a.task, a.slot.dir); err != nil {
			go func() { r.report(result{attempt: a, event: hopeless(err.Error())}) }()
			return
		}
		a.slot.tasks <- a
	case a.task.Node.Trigger() != nil:
		params, err := r.params(a.task.Node.Trigger())
		go func() {
			ev := failed("")
			if err == nil {
				ev, err = r.trigger(a, params)
			}
			if err != nil {
				ev = failed(err.Error())
			}
			r.report(result{attempt: a, event: ev})
		}()
	case a.task.Node.Expand() != nil:
		r.launchExpand(a)
	default:
		go func() { r.report(result{attempt: a, event: r.approve(a)}) }()
	}
}

// take folds in what a worker said.
func (r *run) take(res result) error {
	ev := res.event
	ev.Node, ev.Attempt = res.task.Node.Name, res.task.Attempt
	switch {
	case ev.Kind == build.NodeReady && res.stopped:
		return nil // nobody waits for it any more
	case res.goesOn():
		return r.apply(ev)
	}
	r.release(res.attempt)
	if t := res.task.Node.Trigger(); t != nil && ended(r.b.Node(res.node).State) {
		return nil // it waited for nothing, so it ended when the build was made
	}
	ev.Kind = build.AttemptEnded
	if ev.Expansion != nil {
		if err := r.b.CheckExpansion(ev.Node, ev.Expansion, r.MaxNodes); err != nil {
			ev.State, ev.Final, ev.Reason, ev.Expansion = build.Failed, true, err.Error(), nil
		}
	}
	if r.Mask != nil {
		ev.Reason = r.Mask(ev.Reason)
	}
	return r.apply(ev)
}

// release gives back what an attempt held.
func (r *run) release(a *attempt) {
	a.cancel(nil)
	delete(r.running, a.node)
	if a.slot != nil {
		r.idle = append(r.idle, a.slot)
	}
}

// told takes what Cancels said; more is false when it was closed.
func (r *run) told(c Cancel, more bool) error {
	switch {
	case !more:
		r.cancels = nil
	case !r.over:
		return r.cancel(c)
	}
	return nil
}

// cancel asks the build to end. A forced cancel takes the grace from what runs
// and is the last there is.
func (r *run) cancel(c Cancel) error {
	switch {
	case closed(r.killed): // there is no more to take away
	case c.Force:
		close(r.killed)
		r.stopAt = time.Time{}
	case r.stopAt.IsZero():
		r.stopAt = r.now().Add(build.CleanupLimit)
	}
	return r.apply(build.Event{Kind: build.CancelRequested, By: c.By, Reason: c.Reason, Force: c.Force})
}

// apply folds ev into the build and queues it for the recorder.
func (r *run) apply(ev build.Event) error {
	ev.Seq = r.b.Seq() + 1
	ev.Time = r.now()
	if err := r.b.Apply(ev); err != nil {
		return err
	}
	r.plan = r.b.Plan() // it may have grown
	r.env.plan = r.plan
	r.batch = append(r.batch, ev)
	return nil
}

// flush records what was queued, then tells the observer.
func (r *run) flush() error {
	if len(r.batch) == 0 {
		return nil
	}
	if r.Recorder != nil {
		if err := r.Recorder.Record(r.batch); err != nil {
			return fmt.Errorf("record build: %w", err)
		}
	}
	if r.Observe != nil {
		for _, ev := range r.batch {
			r.Observe(ev, r.b)
		}
	}
	r.batch = r.batch[:0]
	return nil
}

func (r *run) now() time.Time {
	if r.Now != nil {
		return r.Now().UTC().Truncate(time.Millisecond)
	}
	return time.Now().UTC().Truncate(time.Millisecond)
}

// timer fires at the given time; never when that is zero.
func (r *run) timer(at time.Time) (<-chan time.Time, func()) {
	if at.IsZero() {
		return nil, func() {}
	}
	t := time.NewTimer(max(at.Sub(r.now()), time.Millisecond))
	return t.C, func() { t.Stop() }
}

func earliest(times ...time.Time) (first time.Time) {
	for _, t := range times {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

func ended(s build.State) bool {
	switch s {
	case build.Queued, build.Waiting, build.Running:
		return false
	}
	return true
}

func reasonOf(ctx context.Context) string {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause.Error()
	}
	return "cancelled"
}

func failed(reason string) build.Event {
	return build.Event{State: build.Failed, Reason: reason}
}

// hopeless is a failure that another attempt would only repeat.
func hopeless(reason string) build.Event {
	return build.Event{State: build.Failed, Reason: reason, Final: true}
}
