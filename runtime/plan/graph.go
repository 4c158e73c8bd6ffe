package plan

import "slices"

// A Graph is a plan's order in numbers, which is what an algorithm wants.
//
// Its vertices are the nodes, by their place in Plan.Nodes, and after them the
// groups: group i is vertex len(Nodes)+i. There is an edge to each node from
// everything it needs, and to each group from every node and group that it
// directly encloses; so a group's vertex is reached once all that is inside it
// has been. A name that is not defined makes no edge, and of two that are the
// same the first counts: Validate reports both.
//
// Services make no edges: a step that lists one waits for it to be ready, not
// to have ended, and it may run for several at a time. Who draws a graph finds
// them in Node.Services.
type Graph struct {
	Plan *Plan

	byName *Names
	needs  int     // how many needs there are, those of names that are not defined included
	group  []int32 // by vertex: the vertex of the group it stands in, or -1
	start  []int32 // by vertex: where its dependents begin in users
	users  []int32 // the nodes that need it
}

// NewGraph reads the graph of p. It takes time and space in proportion to
// nodes, groups and needs.
func NewGraph(p *Plan) *Graph {
	n := len(p.Nodes)
	g := &Graph{
		Plan:  p,
		group: make([]int32, n+len(p.Groups)),
		start: make([]int32, n+len(p.Groups)+1),
	}
	g.byName = NewNames(g.Len(), g.Name)
	for v := range int32(g.Len()) {
		g.byName.Add(g.Name(v), v)
	}
	for i := range p.Nodes {
		g.needs += len(p.Nodes[i].Needs)
		if i > 0 && p.Nodes[i].Group == p.Nodes[i-1].Group {
			g.group[i] = g.group[i-1] // as of most
			continue
		}
		g.group[i] = g.groupNamed(p.Nodes[i].Group)
	}
	for i := range p.Groups {
		g.group[n+i] = g.groupNamed(p.Groups[i].Group)
	}

	// Count what needs each vertex, then sort the needs into place, the last one
	// first.
	needed := make([]int32, 0, g.needs) // by them all; -1 for a name that is not defined
	edges := 0
	for i := range p.Nodes {
		for _, need := range p.Nodes[i].Needs {
			v, ok := g.byName.Find(need)
			if ok {
				g.start[v]++
				edges++
			} else {
				v = -1
			}
			needed = append(needed, v)
		}
	}
	for v := 1; v < len(g.start); v++ {
		g.start[v] += g.start[v-1]
	}
	g.users = make([]int32, edges)
	for i := range slices.Backward(p.Nodes) {
		for range p.Nodes[i].Needs {
			last := len(needed) - 1
			if v := needed[last]; v >= 0 {
				g.start[v]--
				g.users[g.start[v]] = int32(i)
			}
			needed = needed[:last]
		}
	}
	return g
}

func (g *Graph) groupNamed(name string) int32 {
	if name != "" {
		if v, ok := g.byName.Find(name); ok && int(v) >= len(g.Plan.Nodes) {
			return v
		}
	}
	return -1
}

// Len returns how many vertices there are.
func (g *Graph) Len() int { return len(g.group) }

// Lookup returns the vertex of a node or group.
func (g *Graph) Lookup(name string) (v int32, ok bool) {
	return g.byName.Find(name)
}

// IsNode reports whether v is a node, not a group.
func (g *Graph) IsNode(v int32) bool { return int(v) < len(g.Plan.Nodes) }

// Name returns the name of v.
func (g *Graph) Name(v int32) string {
	if g.IsNode(v) {
		return g.Plan.Nodes[v].Name
	}
	return g.groupAt(v).Name
}

// Pos returns where v was written.
func (g *Graph) Pos(v int32) Pos {
	if g.IsNode(v) {
		return g.Plan.Nodes[v].Pos
	}
	return g.groupAt(v).Pos
}

func (g *Graph) groupAt(v int32) *Group { return &g.Plan.Groups[int(v)-len(g.Plan.Nodes)] }

// Group returns the vertex of the group that v stands in, or -1.
func (g *Graph) Group(v int32) int32 { return g.group[v] }

// Users returns the nodes that need v, in the order of the plan; a node that
// names v twice comes twice. The result must not be changed.
func (g *Graph) Users(v int32) []int32 { return g.users[g.start[v]:g.start[v+1]] }

// Whole reports whether every name that is needed is defined, and none twice.
func (g *Graph) Whole() bool { return g.needs == len(g.users) && g.byName.Len() == g.Len() }

// Waits returns how many edges lead to each vertex.
func (g *Graph) Waits() []int32 {
	waits := make([]int32, g.Len())
	for _, v := range g.users {
		waits[v]++
	}
	for _, v := range g.group {
		if v >= 0 {
			waits[v]++
		}
	}
	return waits
}

// Order returns the vertices so that each comes after all that lead to it.
// Those on a cycle, or behind one, are left out.
func (g *Graph) Order() []int32 {
	waits := g.Waits()
	order := make([]int32, 0, g.Len())
	for v, n := range waits {
		if n == 0 {
			order = append(order, int32(v))
		}
	}
	reach := func(v int32) {
		if waits[v]--; waits[v] == 0 {
			order = append(order, v)
		}
	}
	for i := 0; i < len(order); i++ {
		v := order[i]
		for _, u := range g.Users(v) {
			reach(u)
		}
		if group := g.group[v]; group >= 0 {
			reach(group)
		}
	}
	return order
}

// Longest returns for each vertex the weight of the heaviest path that begins
// with it. order is what Order gives, and must hold every vertex. weight is
// asked once for each node; a group weighs nothing.
func (g *Graph) Longest(order []int32, weight func(node int) float32) []float32 {
	longest := make([]float32, g.Len())
	for i := len(order) - 1; i >= 0; i-- {
		v := order[i]
		var after float32
		for _, u := range g.Users(v) {
			after = max(after, longest[u])
		}
		if group := g.group[v]; group >= 0 {
			after = max(after, longest[group])
		}
		if g.IsNode(v) {
			after += weight(int(v))
		}
		longest[v] = after
	}
	return longest
}
