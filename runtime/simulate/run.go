package simulate

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
)

// A run is one simulation. Its loop is the engine's: what was asked for, what
// the state calls for, and then one thing that happens, with the clock moved on
// to it.
type run struct {
	Options
	b   *build.Build
	now time.Time

	attempts map[int]*attempt // that run, by node
	busy     int              // slots
	coming   agenda
	made     int // how many things were put on the agenda
	deadline time.Time
	cancelAt time.Time
	stopAt   time.Time // when a cancel is forced; zero while none was asked

	events    []build.Event
	order     []string
	triggered []Triggered
	asked     map[string][]string // by step, the outputs that others ask of it
	askedOf   *plan.Plan          // the plan that asked was made for
}

// An attempt is one node at work.
type attempt struct {
	node    int
	number  int
	started time.Time
	stopped bool    // it was asked to end,
	forced  bool    // and by force
	outcome Outcome // its State is set
	slot    bool    // it holds one
	void    int     // what was put on the agenda up to this number does not happen
}

// loop takes the build to its end.
func (r *run) loop(ctx context.Context) error {
	r.attempts = make(map[int]*attempt)
	p := r.b.Plan()
	if err := r.apply(build.Event{Kind: build.BuildStarted}); err != nil {
		return err
	}
	if p.Timeout > 0 {
		r.deadline = r.now.Add(time.Duration(p.Timeout))
	}
	if r.Cancel != nil && r.Cancel.During == "" {
		r.cancelAt = r.now.Add(r.Cancel.After)
	}
	for {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("simulate %s: %w", p.Pipeline, err)
		}
		if len(r.events) > maxEvents {
			return fmt.Errorf("simulate %s: more than %d events", p.Pipeline, maxEvents)
		}
		wake, err := r.act(ctx)
		if err != nil {
			return err
		}
		if !r.b.Ended().IsZero() {
			return nil
		}
		if err := r.advance(wake); err != nil {
			return err
		}
	}
}

// advance moves the clock to what comes next, and has it happen. At one and the
// same moment what ends comes before what is asked for.
func (r *run) advance(wake time.Time) error {
	for len(r.coming) > 0 && r.coming[0].number <= r.coming[0].attempt.void {
		heap.Pop(&r.coming)
	}
	var first time.Time
	if len(r.coming) > 0 {
		first = r.coming[0].at
	}
	at := earliest(first, r.cancelAt, r.stopAt, r.deadline, wake)
	if at.IsZero() {
		return errors.New("simulate: nothing runs, and the build has not ended")
	}
	if at.After(r.now) {
		r.now = at
	}
	due := func(t time.Time) bool { return !t.IsZero() && !t.After(r.now) }
	switch {
	case due(first):
		return r.happen(heap.Pop(&r.coming).(happening))
	case due(r.cancelAt):
		r.cancelAt = time.Time{}
		return r.cancel(*r.Cancel)
	case due(r.stopAt):
		return r.cancel(Cancel{Reason: fmt.Sprintf("cleaning up took longer than %s", build.CleanupLimit), Force: true})
	case due(r.deadline):
		r.deadline = time.Time{}
		r.stopAt = r.now.Add(build.CleanupLimit)
		return r.apply(build.Event{Kind: build.DeadlinePassed, Reason: "timed out after " + time.Duration(r.b.Plan().Timeout).String()})
	}
	return nil // a retry is due, which Next knows
}

// act carries out all that the state calls for, and returns when it may call
// for more by itself.
func (r *run) act(ctx context.Context) (wake time.Time, err error) {
	for {
		actions, next := r.b.Next(r.now, r.Slots-r.busy)
		wake = next
		progressed := false
		for _, a := range actions {
			switch a.Verb {
			case build.Start:
				progressed = true
				err = r.start(ctx, a.Node)
			case build.Skip:
				progressed = true
				err = r.apply(build.Event{Kind: build.NodeSkipped, Node: r.b.Plan().Nodes[a.Node].Name, State: a.State, Reason: a.Reason})
			case build.Stop:
				r.stop(a.Node)
			case build.End:
				progressed = true
				err = r.apply(build.Event{Kind: build.BuildEnded, State: a.State, Reason: a.Reason})
			}
			if err != nil {
				return wake, err
			}
		}
		if !progressed {
			return wake, nil
		}
	}
}

// cancel asks the build to end.
func (r *run) cancel(c Cancel) error {
	if c.Force {
		r.stopAt = time.Time{}
	} else if r.stopAt.IsZero() {
		r.stopAt = r.now.Add(build.CleanupLimit)
	}
	return r.apply(build.Event{Kind: build.CancelRequested, By: c.By, Reason: c.Reason, Force: c.Force})
}

// apply folds ev into the build and keeps it.
func (r *run) apply(ev build.Event) error {
	ev.Seq, ev.Time = r.b.Seq()+1, r.now
	if err := r.b.Apply(ev); err != nil {
		return err
	}
	r.events = append(r.events, ev)
	return nil
}

// start begins an attempt, and puts on the agenda what will come of it.
func (r *run) start(ctx context.Context, i int) error {
	node := &r.b.Plan().Nodes[i]
	a := &attempt{node: i, number: r.b.Node(i).Attempt + 1, started: r.now}
	if node.Step != nil && !node.IsService() {
		a.slot = true
		r.busy++
	}
	if script := r.Outcomes[node.Name]; len(script) > 0 {
		a.outcome = script[min(a.number, len(script))-1]
	}
	if a.outcome.State == "" {
		a.outcome.State = build.Success
	}
	if why := a.outcome.misfit(node); why != "" {
		return &OutcomeError{node.Name, why}
	}
	if a.number == 1 {
		r.order = append(r.order, node.Name)
	}
	r.attempts[i] = a
	if err := r.apply(build.Event{Kind: build.AttemptStarted, Node: node.Name, Attempt: a.number}); err != nil {
		return err
	}
	if r.Cancel != nil && r.Cancel.During == node.Name && a.number == 1 {
		r.cancelAt = r.now.Add(r.Cancel.After)
	}
	switch {
	case node.Trigger() != nil:
		return r.trigger(a, node)
	case node.Expand() != nil:
		return r.expand(ctx, a, node)
	case node.Approve() != nil:
		r.end(a, a.took(), a.ended())
		return nil
	}
	r.step(ctx, a, node)
	return nil
}

// stop ends a running attempt that is to end: now, unless its outcome tells of
// such an end and says when.
func (r *run) stop(node int) {
	a := r.attempts[node]
	_, forced := r.b.Cancelled()
	if a == nil || a.stopped && a.forced == forced {
		return
	}
	a.stopped, a.forced = true, forced
	ev := build.Event{State: build.Cancelled}
	if !forced && r.b.Plan().Nodes[node].IsService() {
		ev.State = build.Success
	}
	in := time.Duration(0)
	if a.outcome.State == ev.State {
		ev = a.ended()
		if a.outcome.Duration != nil && !forced {
			in = max(0, a.started.Add(a.took()).Sub(r.now))
		}
	}
	a.void = r.made
	r.end(a, in, ev)
}

// A happening is something that an attempt will do.
type happening struct {
	at      time.Time
	number  int
	attempt *attempt
	event   build.Event
}

// later puts on the agenda what a does so long from now.
func (r *run) later(a *attempt, in time.Duration, kind build.Kind, ev build.Event) {
	ev.Kind = kind
	r.made++
	heap.Push(&r.coming, happening{r.now.Add(in), r.made, a, ev})
}

// end puts the end of a on the agenda.
func (r *run) end(a *attempt, in time.Duration, ev build.Event) {
	r.later(a, in, build.AttemptEnded, ev)
}

// happen folds in what an attempt does.
func (r *run) happen(h happening) error {
	node := &r.b.Plan().Nodes[h.attempt.node]
	ev := h.event
	ev.Node, ev.Attempt = node.Name, h.attempt.number
	if ev.Kind == build.AttemptEnded || ev.Kind == build.NodeTriggered && !node.Trigger().Wait {
		delete(r.attempts, h.attempt.node)
		if h.attempt.slot {
			r.busy--
		}
	}
	if ev.Expansion != nil {
		if err := r.b.CheckExpansion(ev.Node, ev.Expansion, r.MaxNodes); err != nil {
			ev.State, ev.Final, ev.Reason, ev.Expansion = build.Failed, true, err.Error(), nil
		}
	}
	return r.apply(ev)
}

// An agenda is a heap of what is to come: the earliest first, and of two at the
// same time the one that was known first.
type agenda []happening

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	if !a[i].at.Equal(a[j].at) {
		return a[i].at.Before(a[j].at)
	}
	return a[i].number < a[j].number
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)   { *a = append(*a, x.(happening)) }
func (a *agenda) Pop() any {
	last := (*a)[len(*a)-1]
	*a = (*a)[:len(*a)-1]
	return last
}

func earliest(times ...time.Time) (first time.Time) {
	for _, t := range times {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}
