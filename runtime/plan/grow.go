package plan

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// Grow returns the plan that p becomes once its expand called node has found
// x. p and x stay as they are, and share with the result what is the same.
//
// What p has keeps its place, so an index into its Nodes, Groups or
// Environments goes on to mean the same; what x has comes after it. The nodes
// and groups of x that stand in no group, services apart, stand in a made group
// now, FoundBy(node), which stands where the expand does, and every node that
// needs the expand needs that group as well. A node of x that needs nothing
// else of x needs the expand. A service or an environment that p has already,
// in the same words, is not added again.
//
// The error says that p has no such expand, or that x has no group that one of
// its nodes stands in. Whether what comes out can be run is for Validate to say. Grow takes time in proportion to the size of p: the
// nodes of a plan are one slice that never changes, so they have to be copied.
func Grow(p *Plan, node string, x Expansion) (*Plan, error) {
	var expand *Node
	for i := range p.Nodes {
		if p.Nodes[i].Name == node {
			expand = &p.Nodes[i]
			break
		}
	}
	switch {
	case expand == nil:
		return nil, fmt.Errorf("grow plan: there is no node %s", excerpt(node))
	case expand.Expand() == nil:
		return nil, fmt.Errorf("grow plan: %s %s is no expand", expand.Kind(), excerpt(node))
	}
	found := Group{Name: FoundBy(node), Group: expand.Group, Pos: expand.Pos}
	if outside := x.outside(); outside != "" {
		return nil, fmt.Errorf("grow plan: what expand %s found stands in group %s, which it did not find", excerpt(node), excerpt(outside))
	}

	grown := *p
	grown.Nodes = make([]Node, len(p.Nodes), len(p.Nodes)+len(x.Nodes))
	copy(grown.Nodes, p.Nodes)
	for i := range grown.Nodes {
		if n := &grown.Nodes[i]; slices.Contains(n.Needs, node) {
			n.Needs = append(slices.Clip(n.Needs), found.Name)
		}
	}
	grown.Groups = append(slices.Clip(p.Groups), found)
	for _, g := range x.Groups {
		if g.Group == "" {
			g.Group = found.Name
		}
		grown.Groups = append(grown.Groups, g)
	}
	growing := newGrowing(p, expand, x)
	for _, n := range x.Nodes {
		if n.IsService() {
			if growing.has(&n) {
				continue
			}
		} else {
			if n.Group == "" {
				n.Group = found.Name
			}
			n.Needs = growing.needs(n.Needs)
		}
		grown.Nodes = append(grown.Nodes, n)
	}

	grown.Environments = slices.Clip(p.Environments)
	for i := range x.Environments {
		same := func(e Environment) bool {
			return e.Name == x.Environments[i].Name && equal(&e, &x.Environments[i], (*encoder).environment)
		}
		if !slices.ContainsFunc(p.Environments, same) {
			grown.Environments = append(grown.Environments, x.Environments[i])
		}
	}
	grown.Inputs = slices.Clip(p.Inputs)
	known := make(map[Input]bool, len(p.Inputs))
	for _, in := range p.Inputs {
		known[in] = true
	}
	for _, in := range x.Inputs {
		if !known[in] {
			grown.Inputs = append(grown.Inputs, in)
		}
	}
	return &grown, nil
}

// outside returns the first group that something in x stands in and that is not
// in x, or "".
func (x *Expansion) outside() string {
	groups := map[string]bool{"": true}
	for i := range x.Groups {
		groups[x.Groups[i].Name] = true
	}
	for i := range x.Groups {
		if !groups[x.Groups[i].Group] {
			return x.Groups[i].Group
		}
	}
	for i := range x.Nodes {
		if !groups[x.Nodes[i].Group] {
			return x.Nodes[i].Group
		}
	}
	return ""
}

// FoundBy returns the name of the group of what the expand called node finds.
func FoundBy(node string) string { return node + "#" }

// growing is what the nodes of an Expansion are held against.
type growing struct {
	expand    *Node
	inside    map[string]bool   // what stands in the expansion: its nodes, and its groups that hold some
	enclosing map[string]string // by a group that the plan has: the one around it
	services  map[string]*Node  // that the plan has
}

func newGrowing(p *Plan, expand *Node, x Expansion) *growing {
	g := &growing{
		expand:    expand,
		inside:    make(map[string]bool, len(x.Nodes)+len(x.Groups)),
		enclosing: make(map[string]string, len(p.Groups)),
		services:  map[string]*Node{},
	}
	for i := range p.Groups {
		g.enclosing[p.Groups[i].Name] = p.Groups[i].Group
	}
	for i := range p.Nodes {
		if n := &p.Nodes[i]; n.IsService() {
			g.services[n.Name] = n
		}
	}
	for i := range x.Nodes {
		g.inside[x.Nodes[i].Name] = true
		g.inside[x.Nodes[i].Group] = true
	}
	for i := len(x.Groups) - 1; i >= 0; i-- { // from the inside out
		if g.inside[x.Groups[i].Name] {
			g.inside[x.Groups[i].Group] = true
		}
	}
	delete(g.inside, "")
	return g
}

// has reports whether the plan has the service n already.
func (g *growing) has(n *Node) bool {
	known := g.services[n.Name]
	return known != nil && equal(known, n, (*encoder).node)
}

// needs returns what a node of the expansion needs in the plan: the expand,
// unless it comes after something that does, and of another expand what that
// one has found.
func (g *growing) needs(needs []string) []string {
	after := false
	for _, need := range needs {
		after = after || need == g.expand.Name || g.inside[need]
		if _, grown := g.enclosing[FoundBy(need)]; grown && !g.within(FoundBy(need)) && !slices.Contains(needs, FoundBy(need)) {
			needs = append(slices.Clip(needs), FoundBy(need))
		}
	}
	if !after {
		needs = append([]string{g.expand.Name}, needs...)
	}
	return needs
}

// within reports whether the expand stands in group, which then cannot be
// waited for.
func (g *growing) within(group string) bool {
	for at := g.expand.Group; at != ""; at = g.enclosing[at] {
		if at == group {
			return true
		}
	}
	return false
}

// equal reports whether a and b have the same canonical text.
func equal[T any](a, b *T, write func(*encoder, *T)) bool {
	var x, y encoder
	write(&x, a)
	write(&y, b)
	return bytes.Equal(x.buf, y.buf)
}

// foundBy returns the name of the expand that found what stands in a group of
// this name, or "" when no expand did.
func foundBy(group string) string {
	name, ok := strings.CutSuffix(group, "#")
	if !ok {
		return ""
	}
	return name
}
