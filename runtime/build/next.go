package build

import (
	"container/heap"
	"time"
)

// Next returns what the state calls for, in the order it is to be carried out,
// and when to ask again though nothing has happened: when the next retry is
// due, or never for the zero time. slots is how many more steps may be
// started; triggers, approvals, expands and services take none.
//
// Skips come first, as nothing starts before them; then stops, starts, and at
// last the end of the build. A Stop is there until the attempt has ended. Next
// changes nothing that can be seen: until an event is applied, the same now
// and slots give the same answer. A now before the one it was given last
// counts as that one.
//
// It costs O(log nodes) for each action and each limited group around its
// node, however many nodes there are.
func (b *Build) Next(now time.Time, slots int) (actions []Action, wake time.Time) {
	if b.state != Running {
		return nil, time.Time{}
	}
	if b.progress.Done == b.progress.Total {
		outcome := b.outcome()
		return []Action{{Verb: End, Node: -1, State: outcome, Reason: b.outcomeReason(outcome)}}, time.Time{}
	}
	if n := len(b.pending) - b.settled + len(b.stopping); n > 0 {
		actions = make([]Action, 0, n)
	}
	var reasons reasons
	for _, v := range b.pending[b.settled:] {
		if n := &b.nodes[v]; n.phase == doomed {
			actions = append(actions, Action{Verb: Skip, Node: int(v), State: n.skippedAs(), Reason: reasons.of(b, v)})
		}
	}
	for _, v := range b.stopping {
		actions = append(actions, Action{Verb: Stop, Node: int(v), Reason: reasons.of(b, v)})
	}

	wake = b.promote(now)
	start := len(actions)
	for {
		v := b.urgent(slots > 0)
		if v < 0 {
			break
		}
		if b.ready.lane(v) == steps {
			slots--
		}
		b.ready.remove(v)
		b.ready.use(v, 1)
		actions = append(actions, Action{Verb: Start, Node: int(v)})
	}
	// As it was before: they have not started yet.
	for _, a := range actions[start:] {
		b.ready.use(int32(a.Node), -1)
		b.ready.add(int32(a.Node))
	}
	return actions, wake
}

// urgent returns the node to start next, or -1.
func (b *Build) urgent(slot bool) int32 {
	v := b.ready.first(others)
	if slot {
		if step := b.ready.first(steps); v < 0 || step >= 0 && b.ready.less(step, v, steps) {
			v = step
		}
	}
	return v
}

// promote makes the retries that are due ready, and returns when the next one
// will be.
func (b *Build) promote(now time.Time) time.Time {
	// Rounded down: a retry is due once its whole millisecond has come.
	b.latest = max(b.latest, now.UnixMilli())
	for len(b.delayed) > 0 {
		w := b.delayed[0]
		n := &b.nodes[w.node]
		waits := n.phase == delayed && b.more[n.more].notBefore == w.at
		if waits && w.at > b.latest {
			return clock(w.at)
		}
		heap.Pop((*wakeups)(&b.delayed))
		if waits {
			n.phase = ready
			b.ready.add(w.node)
		}
	}
	return time.Time{}
}

// A wakeup is when a retry is due. One whose node has gone on since, to
// another attempt or to its end, is void.
type wakeup struct {
	at   int64
	node int32
}

type wakeups []wakeup

func (w wakeups) Len() int           { return len(w) }
func (w wakeups) Less(i, j int) bool { return w[i].at < w[j].at }
func (w wakeups) Swap(i, j int)      { w[i], w[j] = w[j], w[i] }
func (w *wakeups) Push(x any)        { *w = append(*w, x.(wakeup)) }
func (w *wakeups) Pop() any {
	last := (*w)[len(*w)-1]
	*w = (*w)[:len(*w)-1]
	return last
}
