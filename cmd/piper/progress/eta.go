package progress

import (
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
)

// An eta estimates when a build ends, from how long its nodes took in the
// past. Two things bound that: the work that is left, shared among as many
// steps as were ever seen to run at once, and the longest path through the
// graph that is left.
//
// A step without a past is taken for an average one. When most have none,
// there is no estimate.
type eta struct {
	known    bool
	history  map[string]time.Duration
	average  time.Duration
	work     time.Duration            // of nodes that have not ended
	after    map[string]time.Duration // by node or group: the longest path that begins once it has ended
	running  int
	parallel int // the most that ran at once
}

func newETA(p *plan.Plan, history map[string]time.Duration) eta {
	e := eta{history: history, after: map[string]time.Duration{}}
	steps, known := 0, 0
	var sum time.Duration
	for i := range p.Nodes {
		if p.Nodes[i].Step == nil || p.Nodes[i].IsService() {
			continue
		}
		steps++
		if took, ok := history[p.Nodes[i].Name]; ok {
			known++
			sum += took
		}
	}
	if known == 0 || 2*known < steps {
		return e
	}
	e.known = true
	e.average = sum / time.Duration(known)
	for i := range p.Nodes {
		e.work += e.takes(&p.Nodes[i])
	}
	e.paths(p)
	return e
}

// grow takes in what an expand found; p is the plan with it.
func (e *eta) grow(p *plan.Plan, x *plan.Expansion) {
	if !e.known {
		return
	}
	for i := range x.Nodes {
		e.work += e.takes(&x.Nodes[i])
	}
	clear(e.after)
	e.paths(p)
}

// takes is how long node is expected to. A service keeps nobody waiting for its
// end.
func (e *eta) takes(node *plan.Node) time.Duration {
	if node.IsService() {
		return 0
	}
	if took, ok := e.history[node.Name]; ok {
		return took
	}
	if node.Step == nil {
		return 0
	}
	return e.average
}

// paths fills after, in time proportional to nodes and edges.
func (e *eta) paths(p *plan.Plan) {
	needing := map[string][]*plan.Node{} // by what is needed, a node or a group
	for i := range p.Nodes {
		for _, need := range p.Nodes[i].Needs {
			needing[need] = append(needing[need], &p.Nodes[i])
		}
	}
	outer := map[string]string{}
	for _, g := range p.Groups {
		outer[g.Name] = g.Group
	}
	// after(name) is what waits for name itself, or for a group around it.
	var after func(name, group string) time.Duration
	after = func(name, group string) time.Duration {
		if longest, ok := e.after[name]; ok {
			return longest
		}
		var longest time.Duration
		for _, node := range needing[name] {
			longest = max(longest, e.takes(node)+after(node.Name, node.Group))
		}
		if group != "" {
			longest = max(longest, after(group, outer[group]))
		}
		e.after[name] = longest
		return longest
	}
	for i := range p.Nodes {
		after(p.Nodes[i].Name, p.Nodes[i].Group)
	}
}

func (e *eta) fold(ev build.Event, n note) {
	if n.node != nil && n.node.IsService() {
		return
	}
	switch ev.Kind {
	case build.AttemptStarted:
		e.running++
		e.parallel = max(e.parallel, e.running)
	case build.AttemptEnded:
		e.running--
		if n.sign != retried {
			e.work -= e.takes(n.node)
		}
	case build.NodeSkipped:
		e.work -= e.takes(n.node)
	}
}

// left is how long the build goes on. ok is false when nobody can tell: there
// is no past, a person is being waited for, or it should have ended by now.
func (e *eta) left(running []*attempt, now time.Time) (left time.Duration, ok bool) {
	if !e.known {
		return 0, false
	}
	work := e.work
	for _, a := range running {
		if a.node.Approve() != nil {
			return 0, false
		}
		a.mu.Lock()
		spent := min(now.Sub(a.began), e.takes(a.node))
		a.mu.Unlock()
		work -= spent
		left = max(left, e.takes(a.node)-spent+e.after[a.node.Name])
	}
	left = max(left, work/time.Duration(max(e.parallel, 1)))
	return left, left >= time.Second
}
