package build

import "github.com/piper-build/piper/runtime/plan"

// A service is what is known of a service beside its node.
//
// Nothing in the graph leads to or from it. Its node stays blocked until a
// step that lists it waits for nothing else, is then ready and runs, and is
// doomed or stopped when the last that lists it has ended.
type service struct {
	users   []int32 // the steps that list it, in the order of the plan
	holders int32   // how many of the steps and expands that list it have not ended
	wanted  int32   // how many of its users are held; of no interest once it is ready
	ready   int64   // since when it is, in milliseconds
}

// addServices notes the services, and who lists them, of the nodes from first
// on.
func (b *Build) addServices(first int) {
	nodes := b.plan.Nodes
	for i := first; i < len(nodes); i++ {
		if nodes[i].IsService() {
			if b.services == nil {
				b.services = map[int32]*service{}
			}
			b.services[int32(i)] = &service{}
		}
	}
	if b.services == nil {
		return
	}
	for i := first; i < len(nodes); i++ {
		for _, name := range nodes[i].Services() {
			s := b.services[b.serviceNamed(name)]
			s.holders++
			if nodes[i].Step != nil {
				s.users = append(s.users, int32(i))
			}
		}
	}
}

// serviceNamed returns the node of a service that another node lists.
func (b *Build) serviceNamed(name string) int32 {
	v, _ := b.graph.Lookup(name)
	return v
}

// hold keeps a step that may run for all that it needs waiting until the
// services that it lists are ready, and calls for those that do not run. It
// reports whether the step is not to start now. A step whose service has
// failed is doomed.
func (b *Build) hold(v int32) bool {
	step := b.plan.Nodes[v].Step
	if b.services == nil || step == nil {
		return false
	}
	waits := int32(0)
	for _, name := range step.Services {
		s := b.serviceNamed(name)
		if b.nodes[s].phase == failed {
			b.doomFor(v, s)
			return true
		}
		if b.nodes[s].flags&isReady == 0 {
			waits++
		}
	}
	if waits == 0 {
		return false
	}
	b.nodes[v].phase, b.nodes[v].waits = held, waits
	for _, name := range step.Services {
		s := b.serviceNamed(name)
		n := &b.nodes[s]
		b.services[s].wanted++
		if n.phase == blocked {
			n.phase = ready
			b.ready.add(s)
		}
	}
	return true
}

// unhold takes back what a held step has called for. A service that has not
// started and is wanted by no other goes back to where it was.
func (b *Build) unhold(v int32) {
	for _, name := range b.plan.Nodes[v].Step.Services {
		s := b.serviceNamed(name)
		n := &b.nodes[s]
		if b.services[s].wanted--; b.services[s].wanted == 0 && n.phase == ready {
			b.ready.remove(s)
			n.phase = blocked
		}
	}
}

// nodeReady lets those start that have waited for the service v alone.
func (b *Build) nodeReady(v int32, ev Event) error {
	n, s := &b.nodes[v], b.services[v]
	switch {
	case s == nil:
		return impossible("the node is no service")
	case n.phase != running:
		return impossible("the node %s", b.whyNot(v))
	case n.flags&isReady != 0:
		return impossible("the service was ready before")
	}
	n.flags |= isReady
	s.ready = ev.Time.UnixMilli()
	for _, user := range s.users {
		u := &b.nodes[user]
		if u.phase != held {
			continue
		}
		if u.waits--; u.waits == 0 {
			u.phase = ready
			b.ready.add(user)
		}
	}
	return nil
}

// letGo notes that v, which has ended, holds its services no longer.
func (b *Build) letGo(v int32) {
	for _, name := range b.plan.Nodes[v].Services() {
		s := b.serviceNamed(name)
		if b.services[s].holders--; b.services[s].holders == 0 {
			b.retire(s)
		}
	}
}

// retire ends a service that nothing holds.
func (b *Build) retire(v int32) {
	switch n := &b.nodes[v]; {
	case n.phase == running && n.verdict == free:
		n.verdict = usedUp
		b.stopping = append(b.stopping, v)
	case n.phase != blocked: // it has ended, is to be skipped, or was stopped before
	case b.halted(v) != free:
		b.doom(v, b.halted(v))
	default:
		b.doom(v, unused)
	}
}

// endOfService returns how a service ends, and why: well when it was asked to
// because it had done its duty, whatever came of its process, and badly when
// nobody had asked.
func (n *node) endOfService(reason string) (phase, string) {
	switch {
	case n.verdict == usedUp:
		return success, reason
	case n.verdict != free:
		return cancelled, reason
	case reason != "":
		return failed, reason
	case n.flags&isReady == 0:
		return failed, "it ended before it was ready"
	default:
		return failed, "it ended while it was needed"
	}
}

// serviceFailed dooms the users of v that do not run. Those that are blocked
// still come to it in their turn, and those that run go on.
func (b *Build) serviceFailed(v int32) {
	for _, user := range b.services[v].users {
		switch b.nodes[user].phase {
		case held, ready, delayed:
			b.doomFor(user, v)
		}
	}
}

// doomFor dooms a step because its service s has failed.
func (b *Build) doomFor(v, s int32) {
	b.doom(v, needFailed)
	b.nodes[v].cause = s
}

// lost reports whether a service of p has failed, so that trying it again
// cannot help.
func (b *Build) lost(p *plan.Node) bool {
	if b.services == nil {
		return false
	}
	for _, name := range p.Services() {
		if b.nodes[b.serviceNamed(name)].phase == failed {
			return true
		}
	}
	return false
}
