package plan

import (
	"fmt"
	"slices"
)

// A Lineage knows in which plan each expand stands: in the one that there was
// at first, with all that the expands before it have found. What others have
// found is not in it, so whether an Expansion fits does not depend on the order
// in which expands are asked.
//
// Of the plans it keeps only a few, and what was found of all: a plan for each
// of many expands would take memory with the square of their number. The
// others are grown anew when they are missed.
type Lineage struct {
	standsIn map[string]*generation // by the names of expands
	recent   []*generation          // those whose plan is kept, the newest last; the first is kept anyway
}

// A generation is what an expand has found, or the plan that there was at
// first.
type generation struct {
	outer *generation // nil for the first
	by    string      // the expand
	found Expansion
	plan  *Plan // nil: not kept
}

// maxRecent is how many plans a Lineage keeps beside the first.
const maxRecent = 8

// NewLineage returns the Lineage of p.
func NewLineage(p *Plan) *Lineage {
	l := &Lineage{standsIn: make(map[string]*generation)}
	l.note(p.Nodes, &generation{plan: p})
	return l
}

// Has reports whether there is an expand of that name.
func (l *Lineage) Has(expand string) bool { return l.standsIn[expand] != nil }

// Add holds what an expand has found against the plan that it stands in, as
// Grow and Validate do. When it fits, the expands in it are there from now on.
// What an expand finds a second time takes the place of what it had found.
func (l *Lineage) Add(expand string, x Expansion, maxNodes int) (Diagnostics, error) {
	outer := l.standsIn[expand]
	if outer == nil {
		return nil, fmt.Errorf("grow plan: there is no expand %s", excerpt(expand))
	}
	p, err := l.plan(outer)
	if err == nil {
		p, err = Grow(p, expand, x)
	}
	if err != nil {
		return nil, err
	}
	if wrong := Validate(p, maxNodes); len(wrong) > 0 {
		return wrong, nil
	}
	if g := (&generation{outer: outer, by: expand, found: x}); l.note(x.Nodes, g) {
		l.keep(g, p)
	}
	return nil, nil
}

// note notes that the expands among nodes stand in the plan of g, and reports
// whether there are any.
func (l *Lineage) note(nodes []Node, g *generation) (some bool) {
	for i := range nodes {
		if nodes[i].Expand() != nil {
			l.standsIn[nodes[i].Name] = g
			some = true
		}
	}
	return some
}

// plan returns the plan of g.
func (l *Lineage) plan(g *generation) (*Plan, error) {
	if g.plan != nil {
		return g.plan, nil
	}
	var missing []*generation // the newest first
	at := g
	for ; at.plan == nil; at = at.outer {
		missing = append(missing, at)
	}
	p := at.plan
	for _, m := range slices.Backward(missing) {
		var err error
		if p, err = Grow(p, m.by, m.found); err != nil {
			return nil, err
		}
	}
	l.keep(g, p)
	return p, nil
}

// keep keeps p as the plan of g, in place of the oldest that is kept.
func (l *Lineage) keep(g *generation, p *Plan) {
	if len(l.recent) == maxRecent {
		l.recent[0].plan = nil
		l.recent = slices.Delete(l.recent, 0, 1)
	}
	g.plan = p
	l.recent = append(l.recent, g)
}
