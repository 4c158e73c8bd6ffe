package build

import (
	"slices"

	"github.com/piper-build/piper/runtime/plan"
)

// How an end travels through the graph, and what is decided on its way.
//
// A node is decided when the last edge that leads to it is gone. A node that
// is decided against is doomed: what comes after it is decided at once, so
// that one failure dooms a whole branch in one go, while it stays Waiting
// until its NodeSkipped is applied. Nothing starts before all of those are.

// decide says what becomes of a node whose needs have all ended.
func (b *Build) decide(v int32) {
	if verdict := b.verdict(v); verdict != free {
		b.doom(v, verdict)
		return
	}
	if b.hold(v) {
		return
	}
	b.nodes[v].phase = ready
	b.ready.add(v)
}

// verdict returns why a node whose needs have all ended must not run.
func (b *Build) verdict(v int32) verdict {
	verdict := b.halted(v)
	if verdict == buildOff {
		return verdict
	}
	tainted := b.nodes[v].cause >= 0
	p := &b.plan.Nodes[v]
	switch p.RunOn() {
	case plan.Always:
		return verdict
	case plan.Failure:
		if !tainted {
			return notCalled
		}
	default:
		if tainted {
			return needFailed
		}
	}
	if verdict == free && p.Expand() != nil {
		if after, _ := b.graph.Lookup(p.Expand().After); b.nodes[after].phase != success {
			return noResult // which is allowed: nothing is tainted
		}
	}
	return verdict
}

// halted returns why a node must not go on, whatever it needs.
func (b *Build) halted(v int32) verdict {
	runOn := b.plan.Nodes[v].RunOn()
	switch {
	case b.forced, b.halt != notHalted && runOn != plan.Always && b.services[v] == nil:
		return buildOff
	case runOn == plan.Failure || runOn == plan.Always:
		return free
	}
	if group := b.graph.Group(v); group >= 0 && b.group(group).halt >= 0 {
		return groupFailed
	}
	return free
}

func (b *Build) group(v int32) *group { return &b.groups[int(v)-len(b.nodes)] }

// doom decides that a node which does not run shall not start (again).
func (b *Build) doom(v int32, verdict verdict) {
	n := &b.nodes[v]
	switch n.phase {
	case ready:
		b.ready.remove(v)
	case held:
		b.unhold(v)
	}
	n.phase = doomed
	n.verdict = verdict
	if verdict == groupFailed || verdict == buildOff {
		n.cause = v
		b.noteCut(v)
	}
	b.pending = append(b.pending, v)
	b.unspread = append(b.unspread, v)
}

// noteCut notes that v, which does not succeed, was kept from it by a cancel.
func (b *Build) noteCut(v int32) {
	if b.cancelled && b.halted(v) == buildOff {
		b.cut = true
	}
}

// skippedAs returns the state that a doomed node ends in.
func (n *node) skippedAs() State {
	if n.verdict == buildOff || n.attempt > 0 {
		return Cancelled
	}
	return Skipped
}

// leave gives back what a running node holds.
func (b *Build) leave(v int32) {
	b.ready.use(v, -1)
	b.progress.Running--
	if b.plan.Nodes[v].Approve() != nil {
		b.progress.Asking--
	}
	if i := slices.Index(b.stopping, v); i >= 0 {
		b.stopping = slices.Delete(b.stopping, i, i+1)
	}
}

// finish ends a running node for good.
func (b *Build) finish(v int32, end phase) {
	n := &b.nodes[v]
	b.leave(v)
	b.progress.Done++
	n.phase = end
	if end != success {
		b.noteCut(v)
	}
	switch {
	case end == success:
	case end == cancelled && n.verdict != free: // it was asked to
		n.cause = v
	case b.plan.Nodes[v].AllowFailure() != "":
		n.flags |= allowed
	default:
		b.fail(v)
		if b.services[v] != nil {
			b.serviceFailed(v)
		}
	}
	b.unspread = append(b.unspread, v)
	b.spread()
}

// fail counts a failure against the build and every fail_fast group around it.
func (b *Build) fail(v int32) {
	b.nodes[v].cause = v
	b.progress.Failed++
	if b.firstBad < 0 {
		b.firstBad = v
	}
	for g := b.graph.Group(v); g >= 0; g = b.graph.Group(g) {
		if b.plan.Groups[int(g)-len(b.nodes)].FailFast {
			b.haltGroup(g, v)
		}
	}
}

// spread tells the users of every vertex in unspread that it has ended, and
// decides those that have waited for nothing else.
func (b *Build) spread() {
	for i := 0; i < len(b.unspread); i++ { // deciding may append
		v := b.unspread[i]
		if b.services != nil && b.graph.IsNode(v) {
			b.letGo(v)
		}
		cause := b.causeOf(v)
		for _, user := range b.graph.Users(v) {
			n := &b.nodes[user]
			if n.cause < 0 {
				n.cause = cause
			}
			if n.waits--; n.waits == 0 {
				b.decide(user)
			}
		}
		if outer := b.graph.Group(v); outer >= 0 {
			g := b.group(outer)
			if g.cause < 0 {
				g.cause = cause
			}
			if g.waits--; g.waits == 0 {
				b.unspread = append(b.unspread, outer)
			}
		}
	}
	b.unspread = b.unspread[:0]
}

// causeOf returns the failure that a vertex which has ended hands on, or -1.
func (b *Build) causeOf(v int32) int32 {
	if b.graph.IsNode(v) {
		return b.nodes[v].cause
	}
	return b.group(v).cause
}

// enforce stops or dooms a node that a halt concerns. A node that is blocked
// is left to be decided in its turn.
func (b *Build) enforce(v int32) {
	n := &b.nodes[v]
	verdict := b.halted(v)
	if verdict == free {
		return
	}
	switch n.phase {
	case held, ready, delayed:
		b.doom(v, verdict)
	case running:
		if n.verdict == free {
			b.stopping = append(b.stopping, v)
		}
		if n.verdict != usedUp {
			n.verdict = verdict
		}
	}
}

// haltGroup stops what is inside a group because the node by failed. A group
// that was halted before needs no second look, nor does anything inside it, so
// all halts together see each node once.
func (b *Build) haltGroup(group, by int32) {
	todo := []int32{group}
	for len(todo) > 0 {
		g := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		if b.group(g).halt >= 0 {
			continue
		}
		b.group(g).halt = by
		for _, v := range b.members(g).all {
			if b.graph.IsNode(v) {
				b.enforce(v)
			} else {
				todo = append(todo, v)
			}
		}
	}
}

func (b *Build) members(group int32) *members {
	if b.inside == nil {
		b.inside = make([]members, len(b.groups))
		for v := range int32(b.graph.Len()) {
			if g := b.graph.Group(v); g >= 0 {
				m := &b.inside[int(g)-len(b.nodes)]
				m.all = append(m.all, v)
			}
		}
	}
	return &b.inside[int(group)-len(b.nodes)]
}

func (b *Build) cancelRequested(ev Event) {
	if !b.cancelled || ev.Force && !b.forced { // the first, and then who insists
		b.by, b.asked = ev.By, ev.Reason
	}
	if b.halt == notHalted {
		b.halt = byCancel
	}
	b.cancelled = true
	b.forced = b.forced || ev.Force
	b.enforceAll()
}

func (b *Build) deadlinePassed() error {
	switch {
	case b.plan.Timeout == 0:
		return impossible("the plan has no time-out")
	case b.late:
		return impossible("it has passed already")
	}
	if b.halt == notHalted {
		b.halt = byDeadline
	}
	b.late = true
	b.enforceAll()
	return nil
}

func (b *Build) enforceAll() {
	for i := range b.nodes {
		b.enforce(int32(i))
	}
	b.spread()
}
