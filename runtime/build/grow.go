package build

import (
	"errors"
	"fmt"
	"math"

	"github.com/piper-build/piper/runtime/plan"
)

// ErrExpansion says of an event that what an expand found does not fit into the
// plan: its Expansion has the problems that CheckExpansion reports.
var ErrExpansion = errors.New("does not fit into the plan")

// CheckExpansion reports what keeps x from being what the expand called node
// has found; Apply refuses it for the same reasons. maxNodes is that of
// plan.Validate, which Apply does not look at: how many nodes there may be is
// for who runs the build to say.
//
// Problems in what the user wrote are plan.Diagnostics. It takes as long as
// Apply does: time in proportion to the whole plan.
func (b *Build) CheckExpansion(node string, x *plan.Expansion, maxNodes int) error {
	_, err := b.grown(node, x, maxNodes)
	return err
}

// grown returns the plan with x in it, which is valid.
func (b *Build) grown(node string, x *plan.Expansion, maxNodes int) (*plan.Plan, error) {
	p, err := plan.Grow(b.plan, node, *x)
	if err != nil {
		return nil, err
	}
	problems := plan.Validate(p, maxNodes)
	for i := len(b.nodes); i < len(p.Nodes); i++ {
		n := &p.Nodes[i]
		for _, name := range n.Services() {
			v, ok := b.Lookup(name)
			if !ok || b.nodes[v].verdict != unused && b.nodes[v].verdict != usedUp {
				continue
			}
			problems = append(problems, plan.Diagnostic{
				File: n.Pos.File, Line: int(n.Pos.Line), Column: int(n.Pos.Column), Severity: "error", Code: "service-ended",
				Message: fmt.Sprintf("%q lists the service %q, which had no user left and has ended", n.Name, name),
				Hint:    fmt.Sprintf("keep it running: expand(..., services = [%q])", name),
			})
		}
	}
	if len(problems) > 0 {
		return nil, problems
	}
	return p, nil
}

// grow goes on with p, which is the plan with what its running expand v has
// found. Nobody that needs v has been decided yet, nor has the group around it
// ended, so no more than the new edges have to be counted.
//
// It starts the graph and the queue anew, which takes time in proportion to
// the whole plan, as making p did.
func (b *Build) grow(v int32, p *plan.Plan) {
	nodes, groups := len(b.nodes), len(b.groups)
	was := b.plan
	b.plan, b.graph = p, plan.NewGraph(p)
	b.nodes = append(b.nodes, make([]node, len(p.Nodes)-nodes)...)
	b.groups = append(b.groups, make([]group, len(p.Groups)-groups)...)
	b.inside = nil // groups have other vertices now
	b.progress.Total = len(p.Nodes)

	for i := groups; i < len(b.groups); i++ { // an enclosing group comes first
		g := group{cause: -1, halt: -1}
		if outer := b.graph.Group(int32(len(b.nodes) + i)); outer >= 0 {
			b.group(outer).waits++
			g.halt = b.group(outer).halt
		}
		b.groups[i] = g
	}
	for i := nodes; i < len(b.nodes); i++ {
		n := &b.nodes[i]
		n.cause = -1
		for _, need := range p.Nodes[i].Needs {
			u, _ := b.graph.Lookup(need)
			old := int(u) < nodes || !b.graph.IsNode(u) && int(u) < len(b.nodes)+groups
			switch {
			case !old || !b.over(u):
				n.waits++
			case n.cause < 0:
				n.cause = b.causeOf(u)
			}
		}
		if g := b.graph.Group(int32(i)); g >= 0 {
			b.group(g).waits++
		}
	}
	found, _ := b.graph.Lookup(plan.FoundBy(was.Nodes[v].Name))
	for _, user := range b.graph.Users(found) { // those of the expand; nothing inside can be one
		b.nodes[user].waits++
	}

	b.addServices(nodes)
	b.ready = newQueue(b.graph)
	b.rank(b.graph.Order())
	for i := range nodes {
		switch b.nodes[i].phase {
		case running:
			b.ready.use(int32(i), 1)
		case ready:
			b.ready.add(int32(i))
		}
	}
	b.open(nodes, groups)
}

// addExpansion is grow for the running expand v of an event.
func (b *Build) addExpansion(v int32, x *plan.Expansion) error {
	p, err := b.grown(b.plan.Nodes[v].Name, x, math.MaxInt)
	if err != nil {
		return fmt.Errorf("what it found %w: %w", ErrExpansion, err)
	}
	b.grow(v, p)
	return nil
}
