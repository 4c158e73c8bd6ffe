package build

import (
	"container/heap"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/piper-build/piper/runtime/plan"
)

// What Apply's errors say of an event. Each comes wrapped, with its number,
// its kind and what is wrong with it.
var (
	ErrSequence   = errors.New("out of sequence")      // its Seq is not the next
	ErrEnded      = errors.New("has ended already")    // the build, or the node it is about
	ErrImpossible = errors.New("cannot have happened") // in this state of this plan
)

// Apply takes the build one event further. An error leaves it as it was.
//
// The times of events are kept and never judged: clocks go wrong, and no event
// is impossible because of one. Apply keeps ev.Outputs and what is in
// ev.Expansion.
//
// An event with an Expansion costs time in proportion to the whole plan, which
// it validates and makes anew. Every other one costs what it changes.
func (b *Build) Apply(ev Event) error {
	if err := b.apply(ev); err != nil {
		about := ""
		if ev.Node != "" {
			about = fmt.Sprintf(" of %q", ev.Node)
		}
		return fmt.Errorf("apply event %d, %q%s: %w", ev.Seq, ev.Kind, about, err)
	}
	b.seq++
	return nil
}

func impossible(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrImpossible, fmt.Sprintf(format, args...))
}

func (b *Build) apply(ev Event) error {
	switch {
	case ev.Seq != b.seq+1:
		return fmt.Errorf("%w: want %d", ErrSequence, b.seq+1)
	case b.state != Queued && b.state != Running:
		return fmt.Errorf("the build %w: %s", ErrEnded, b.state)
	case ev.Kind == BuildEnded:
		return b.buildEnded(ev)
	case (ev.Kind == BuildStarted) != (b.state == Queued):
		return impossible("the build is %s", b.state)
	}
	switch ev.Kind {
	case BuildStarted:
		b.buildStarted(ev)
		return nil
	case CancelRequested:
		b.cancelRequested(ev)
		return nil
	case DeadlinePassed:
		return b.deadlinePassed()
	case AttemptStarted, AttemptEnded, NodeReady, NodeSkipped, NodeTriggered:
	default:
		return impossible("there is no such kind")
	}

	i, ok := b.Lookup(ev.Node)
	if !ok {
		return impossible("the plan has no such node")
	}
	v := int32(i)
	if b.nodes[v].phase.ended() {
		return fmt.Errorf("the node %w: %s", ErrEnded, b.nodes[v].phase.state())
	}
	switch ev.Kind {
	case AttemptStarted:
		return b.attemptStarted(v, ev)
	case AttemptEnded:
		return b.attemptEnded(v, ev)
	case NodeReady:
		return b.nodeReady(v, ev)
	case NodeSkipped:
		return b.nodeSkipped(v, ev)
	default:
		return b.nodeTriggered(v, ev)
	}
}

func (b *Build) buildStarted(ev Event) {
	b.state = Running
	b.started = clock(ev.Time.UnixMilli())
	b.open(0, 0)
	b.spread()
}

// open decides the nodes and groups, from the given ones on, that wait for
// nothing.
func (b *Build) open(node, group int) {
	for i := node; i < len(b.nodes); i++ {
		switch s := b.services[int32(i)]; {
		case s != nil && s.holders == 0:
			b.retire(int32(i))
		case s == nil && b.nodes[i].waits == 0:
			b.decide(int32(i))
		}
	}
	for i := group; i < len(b.groups); i++ {
		if b.groups[i].waits == 0 { // nothing is inside
			b.unspread = append(b.unspread, int32(len(b.nodes)+i))
		}
	}
}

func (b *Build) buildEnded(ev Event) error {
	switch {
	case ev.State == Lost || ev.State == Rejected:
		// Said from outside, when nobody is left to say more.
	case b.state != Running:
		return impossible("the build is %s", b.state)
	case b.progress.Done < b.progress.Total:
		return impossible("%d nodes have not ended", b.progress.Total-b.progress.Done)
	case ev.State != b.outcome():
		return impossible("the build is not %q but %q", ev.State, b.outcome())
	}
	b.state = ev.State
	b.reason = ev.Reason
	b.ended = clock(ev.Time.UnixMilli())
	return nil
}

// outcome returns the state of a build whose nodes have all ended.
func (b *Build) outcome() State {
	switch {
	case b.halt == byDeadline:
		return TimedOut
	case b.cut:
		return Cancelled
	case b.late:
		return TimedOut
	case b.firstBad >= 0:
		return Failed
	default:
		return Success
	}
}

func (b *Build) attemptStarted(v int32, ev Event) error {
	n := &b.nodes[v]
	switch {
	case n.phase != ready && n.phase != delayed:
		return impossible("the node %s", b.whyNot(v))
	case b.settled < len(b.pending):
		return impossible("other nodes are to be skipped first")
	case ev.Attempt != int(n.attempt)+1:
		return impossible("attempt %d does not follow attempt %d", ev.Attempt, n.attempt)
	case b.ready.full(v) != nil:
		return impossible("the node %s", b.whyNot(v))
	}
	if n.phase == ready {
		b.ready.remove(v)
	}
	b.ready.use(v, 1)
	b.progress.Running++
	if b.plan.Nodes[v].Approve() != nil {
		b.progress.Asking++
	}
	n.phase = running
	n.attempt++
	n.started = ev.Time.UnixMilli()
	n.ended, n.exit, n.reason, n.flags = 0, 0, 0, 0
	if n.more != 0 {
		b.more[n.more] = more{} // of the attempt before
	}
	return nil
}

func (b *Build) attemptEnded(v int32, ev Event) error {
	n, p := &b.nodes[v], &b.plan.Nodes[v]
	switch {
	case n.phase != running:
		return impossible("the node %s", b.whyNot(v))
	case ev.Attempt != int(n.attempt):
		return impossible("attempt %d is not attempt %d, which runs", ev.Attempt, n.attempt)
	case ev.Exit != nil && (*ev.Exit < math.MinInt32 || *ev.Exit > math.MaxInt32):
		return impossible("no process exits with %d", *ev.Exit)
	case ev.Expansion != nil && (p.Expand() == nil || ev.State != Success):
		return impossible("only an expand that succeeds finds nodes")
	case ev.Child != "" && b.more[n.more].child != "" && b.more[n.more].child != ev.Child:
		return impossible("the node triggered build %s, not %s", b.more[n.more].child, ev.Child)
	}
	var end phase
	switch ev.State {
	case Success:
		end = success
	case Failed:
		end = failed
	case TimedOut:
		end = timedOut
	case Cancelled:
		end = cancelled
	default:
		return impossible("an attempt does not end %q", ev.State)
	}
	if ev.Expansion != nil {
		if err := b.addExpansion(v, ev.Expansion); err != nil {
			return err
		}
		n = &b.nodes[v]
	}

	n.ended = ev.Time.UnixMilli()
	n.flags |= hasEnded
	if ev.Exit != nil {
		n.exit = int32(*ev.Exit)
		n.flags |= hasExit
	}
	if ev.Infra {
		n.flags |= infra
	}
	if ev.Signal != "" || len(ev.Outputs) > 0 || ev.Child != "" || ev.By != "" {
		m := b.extra(n)
		m.signal, m.outputs, m.by = ev.Signal, ev.Outputs, ev.By
		if ev.Child != "" {
			m.child = ev.Child
		}
	}
	reason := ev.Reason
	if p.Approve() != nil && end == failed && ev.By != "" {
		reason = byWhom("refused", ev.By, ev.Reason)
	}
	if b.services[v] != nil {
		end, reason = n.endOfService(reason)
	}
	n.reason = b.text(reason)

	if n.verdict == free && b.retries(p, n, ev) && !b.lost(p) {
		b.leave(v)
		b.delay(v, p.Step.Retry)
		return nil
	}
	b.finish(v, end)
	return nil
}

// retries reports whether the attempt that ended with ev is to be followed by
// another one.
func (b *Build) retries(p *plan.Node, n *node, ev Event) bool {
	if p.Step == nil || p.Step.Retry == nil || ev.Final || ev.State != Failed && ev.State != TimedOut {
		return false
	}
	r := p.Step.Retry
	if int(n.attempt) >= min(r.Attempts, plan.MaxAttempts) {
		return false
	}
	if len(r.On) == 0 || ev.Infra {
		return true
	}
	switch {
	case ev.State == TimedOut:
		return slices.Contains(r.On, "timeout")
	case ev.Signal != "":
		return slices.Contains(r.On, "signal")
	default:
		return ev.Exit != nil && slices.Contains(r.On, strconv.Itoa(*ev.Exit))
	}
}

// Backoff returns how long r waits after the given attempt.
func Backoff(r *plan.Retry, attempt int) time.Duration {
	const most = time.Hour
	d := time.Duration(r.Backoff)
	for ; attempt > 1 && d < most; attempt-- {
		d *= 2
	}
	return min(d, most)
}

// delay puts a node off until its next attempt is due.
func (b *Build) delay(v int32, r *plan.Retry) {
	n := &b.nodes[v]
	wait := Backoff(r, int(n.attempt))
	if wait == 0 {
		n.phase = ready
		b.ready.add(v)
		return
	}
	at := n.ended + (wait + time.Millisecond - 1).Milliseconds()
	n.phase = delayed
	b.extra(n).notBefore = at
	heap.Push((*wakeups)(&b.delayed), wakeup{at, v})
}

func (b *Build) nodeSkipped(v int32, ev Event) error {
	n := &b.nodes[v]
	switch {
	case n.phase != doomed:
		return impossible("the node is not to be skipped: it %s", b.whyNot(v))
	case ev.State != n.skippedAs():
		return impossible("the node is not %q but %q", ev.State, n.skippedAs())
	}
	n.reason = b.text(ev.Reason)
	b.progress.Done++
	if n.skippedAs() == Cancelled {
		n.phase = cancelled
	} else {
		n.phase = skipped
		b.progress.Skipped++
	}
	for b.settled < len(b.pending) && b.nodes[b.pending[b.settled]].phase != doomed {
		b.settled++
	}
	if b.settled == len(b.pending) {
		b.pending, b.settled = b.pending[:0], 0
	}
	return nil
}

func (b *Build) nodeTriggered(v int32, ev Event) error {
	n, t := &b.nodes[v], b.plan.Nodes[v].Trigger()
	switch {
	case t == nil:
		return impossible("the node is no trigger")
	case n.phase != running:
		return impossible("the node %s", b.whyNot(v))
	case ev.Child == "":
		return impossible("it names no build")
	case b.more[n.more].child != "":
		return impossible("the node triggered build %s already", b.more[n.more].child)
	}
	b.extra(n).child = ev.Child
	if !t.Wait {
		n.ended = ev.Time.UnixMilli()
		n.flags |= hasEnded
		b.finish(v, success)
	}
	return nil
}
