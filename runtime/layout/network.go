package layout

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"
	"strconv"

	"github.com/piper-build/piper/runtime/plan"
)

// A network is what is drawn: the nodes of a plan by their place in it, after
// them joints, and the edges between all of them. No edge is there twice, and
// there is no cycle.
type network struct {
	plan   *plan.Plan
	joints []string
	edges  []edge
	layer  []int32 // by vertex: its column, among those that edges join it with
}

type edge struct{ from, to int32 }

func newNetwork(p *plan.Plan) *network {
	n := &network{plan: p}
	g := plan.NewGraph(p)
	n.needs(g)
	n.reduce()
	n.unite()
	n.services(g)
	n.rank()
	return n
}

func (n *network) len() int { return len(n.plan.Nodes) + len(n.joints) }

func (n *network) name(v int32) string {
	if int(v) < len(n.plan.Nodes) {
		return n.plan.Nodes[v].Name
	}
	return n.joints[int(v)-len(n.plan.Nodes)]
}

func (n *network) joint(name string) int32 {
	n.joints = append(n.joints, name)
	return int32(n.len() - 1)
}

func (n *network) join(from, to int32) { n.edges = append(n.edges, edge{from, to}) }

// worth reports whether as many edges as lead from each of in to each of out are
// better led through a joint.
func worth(in, out int) bool { return in*out > in+out }

// needs adds the edges of g, with joints for groups.
func (n *network) needs(g *plan.Graph) {
	nodes, all := int32(len(n.plan.Nodes)), int32(g.Len())
	nested := nest(g)
	wanted := make([]bool, all) // by group: something waits for it, or for a group that ends with it
	ends := make([]bool, all)   // the group that it stands in is wanted and ends with it
	for v := nodes; v < all; v++ {
		ends[v] = nested.ends(v, wanted)
		wanted[v] = ends[v] || len(g.Users(v)) > 0
	}
	last := make([][]int32, all) // by group: what it ends with
	for _, v := range g.Order() {
		from := []int32{v}
		if v < nodes {
			ends[v] = nested.ends(v, wanted)
		} else if wanted[v] {
			out := len(g.Users(v))
			if ends[v] {
				out++
			}
			if from = last[v]; worth(len(from), out) {
				j := n.joint(g.Name(v))
				for _, f := range from {
					n.join(f, j)
				}
				from = []int32{j}
			}
		}
		for _, u := range g.Users(v) {
			for _, f := range from {
				n.join(f, u)
			}
		}
		if ends[v] {
			into := &last[g.Group(v)]
			if len(from) > len(*into) {
				from, *into = *into, from // so that not all is copied for each group around it
			}
			*into = append(*into, from...)
		}
	}
}

// A nesting is which groups are inside which. Groups are numbered so that those
// inside one follow it.
type nesting struct {
	*plan.Graph
	number []int32
	size   []int32 // how many there are inside, and it
}

func nest(g *plan.Graph) nesting {
	nodes, all := int32(len(g.Plan.Nodes)), int32(g.Len())
	n := nesting{g, make([]int32, all), make([]int32, all)}
	for v := all - 1; v >= nodes; v-- {
		n.size[v]++
		if outer := n.outer(v); outer >= 0 {
			n.size[outer] += n.size[v]
		}
	}
	next, free := make([]int32, all), int32(0)
	for v := nodes; v < all; v++ {
		number := &free
		if outer := n.outer(v); outer >= 0 {
			number = &next[outer]
		}
		n.number[v] = *number
		next[v] = n.number[v] + 1
		*number += n.size[v]
	}
	return n
}

// outer is the group around a group, which comes before it in a valid plan; -1 if
// there is none.
func (n nesting) outer(group int32) int32 {
	if outer := n.Group(group); outer < group {
		return outer
	}
	return -1
}

// ends reports whether v is among what a wanted group ends with: it stands there,
// and nothing else inside waits for it.
func (n nesting) ends(v int32, wanted []bool) bool {
	group := n.Group(v)
	if group < 0 || !wanted[group] {
		return false
	}
	for _, u := range n.Users(v) {
		if in := n.Group(u); in >= 0 && n.number[group] <= n.number[in] && n.number[in] < n.number[group]+n.size[group] {
			return false
		}
	}
	return true
}

// maxReduced bounds the space that reduce takes, which grows with the square of it.
const maxReduced = 4096

// reduce takes away edges that say nothing, as others lead the same way: whoever
// waits for c, which waits for a, waits for a. Of a network that is too large only
// its bigger picture can be looked at, and all are left.
func (n *network) reduce() {
	if n.len() > maxReduced {
		return
	}
	into := incoming(n.len(), n.edges)
	words := (n.len() + 63) / 64
	before := make([]uint64, n.len()*words) // by vertex: a bit for each that it comes after, and it
	place := make([]int32, n.len())
	kept := make([]edge, 0, len(n.edges))
	var from []int32
	for i, v := range n.sorted() {
		place[v] = int32(i)
		mine := before[int(v)*words:][:words]
		from = from[:0]
		for _, e := range into.of(v) {
			from = append(from, n.edges[e].from)
		}
		slices.SortFunc(from, func(a, b int32) int { return cmp.Compare(place[b], place[a]) }) // none comes after the next
		for _, f := range from {
			if mine[f/64]&(1<<(f%64)) == 0 {
				kept = append(kept, edge{f, v})
				for w, bits := range before[int(f)*words:][:words] {
					mine[w] |= bits
				}
			}
		}
		mine[v/64] |= 1 << (v % 64)
	}
	n.edges = kept
}

// sorted lists the vertices so that each comes after those that it waits for. Those
// on a cycle, or behind one, are left out.
func (n *network) sorted() []int32 {
	out := outgoing(n.len(), n.edges)
	waits := make([]int32, n.len())
	for _, e := range n.edges {
		waits[e.to]++
	}
	order := make([]int32, 0, n.len())
	for v := range waits {
		if waits[v] == 0 {
			order = append(order, int32(v))
		}
	}
	for i := 0; i < len(order); i++ {
		for _, e := range out.of(order[i]) {
			to := n.edges[e].to
			if waits[to]--; waits[to] == 0 {
				order = append(order, to)
			}
		}
	}
	return order
}

// unite takes away edges that are there twice, and has vertices that wait for the
// same many wait for a joint of these.
func (n *network) unite() {
	into := incoming(n.len(), n.edges)
	seen := make([]int32, n.len()) // by vertex: the last that an edge from it leads to, and one
	first := map[string]int32{}    // by what they wait for: the first vertex that does
	same := make([][]int32, n.len())
	from := make([][]int32, n.len())
	all := make([]int32, 0, len(n.edges)) // what from holds
	var key []byte
	for v := range int32(len(from)) {
		for _, e := range into.of(v) {
			if f := n.edges[e].from; seen[f] != v+1 {
				seen[f] = v + 1
				all = append(all, f)
			}
		}
		from[v], all = all, all[len(all):]
		if slices.Sort(from[v]); len(from[v]) > 1 {
			key = key[:0]
			for _, f := range from[v] {
				key = binary.LittleEndian.AppendUint32(key, uint32(f))
			}
			u, ok := first[string(key)]
			if !ok {
				u = v
				first[string(key)] = v
			}
			same[u] = append(same[u], v)
		}
	}
	n.edges = n.edges[:0]
	for v, users := range same {
		if !worth(len(from[v]), len(users)) {
			continue
		}
		j := n.joint("#" + strconv.Itoa(len(n.joints)+1))
		for _, f := range from[v] {
			n.join(f, j)
		}
		for _, u := range users {
			from[u] = []int32{j}
		}
	}
	for v := range from {
		for _, f := range from[v] {
			n.join(f, int32(v))
		}
	}
}

// services adds an edge from each service to who lists it.
func (n *network) services(g *plan.Graph) {
	seen := make([]int32, len(n.plan.Nodes)) // by service: the last that lists it, and one
	for i := range n.plan.Nodes {
		for _, name := range n.plan.Nodes[i].Services() {
			v, ok := g.Lookup(name)
			if ok && g.IsNode(v) && n.plan.Nodes[v].IsService() && seen[v] != int32(i)+1 {
				seen[v] = int32(i) + 1
				n.join(v, int32(i))
			}
		}
	}
}

// rank finds the layers: each vertex is one further than the furthest that it
// waits for, and a service right before the first that uses it. Edges on a cycle
// and behind it are left out.
func (n *network) rank() {
	out := outgoing(n.len(), n.edges)
	n.layer = make([]int32, n.len())
	ranked := make([]bool, n.len())
	for _, v := range n.sorted() {
		ranked[v] = true
		for _, e := range out.of(v) {
			to := n.edges[e].to
			n.layer[to] = max(n.layer[to], n.layer[v]+1)
		}
	}
	n.edges = slices.DeleteFunc(n.edges, func(e edge) bool { return !ranked[e.to] })
	out = outgoing(n.len(), n.edges)
	for i := range n.plan.Nodes {
		if uses := out.of(int32(i)); n.plan.Nodes[i].IsService() && len(uses) > 0 {
			n.layer[i] = math.MaxInt32
			for _, e := range uses {
				n.layer[i] = min(n.layer[i], n.layer[n.edges[e].to]-1)
			}
		}
	}
}

// parts lists what edges join, in the order of the plan: the vertices of each part
// and its edges; and apart from them the nodes that nothing is joined with.
func (n *network) parts() (parts []*part, single []int32) {
	root := make([]int32, n.len()) // by vertex: one before it in the same part, or itself
	for v := range root {
		root[v] = int32(v)
	}
	find := func(v int32) int32 {
		for root[v] != v {
			root[v] = root[root[v]]
			v = root[v]
		}
		return v
	}
	joined := make([]bool, n.len())
	for _, e := range n.edges {
		a, b := find(e.from), find(e.to)
		root[max(a, b)] = min(a, b)
		joined[e.from], joined[e.to] = true, true
	}
	of := make([]*part, n.len())
	for v := range int32(n.len()) {
		switch r := find(v); {
		case joined[v]:
			if of[r] == nil {
				of[r] = &part{network: n}
				parts = append(parts, of[r])
			}
			of[v] = of[r]
			of[v].vertices = append(of[v].vertices, v)
		case int(v) < len(n.plan.Nodes):
			single = append(single, v)
		}
	}
	for i, e := range n.edges {
		of[e.from].edges = append(of[e.from].edges, int32(i))
	}
	return parts, single
}

// links are the edges of each vertex, by their place among all.
type links struct{ first, edges []int32 }

func (l links) of(v int32) []int32 { return l.edges[l.first[v]:l.first[v+1]] }

func outgoing(vertices int, edges []edge) links {
	return link(vertices, edges, func(e edge) int32 { return e.from })
}

func incoming(vertices int, edges []edge) links {
	return link(vertices, edges, func(e edge) int32 { return e.to })
}

func link(vertices int, edges []edge, end func(edge) int32) links {
	l := links{make([]int32, vertices+1), make([]int32, len(edges))}
	for _, e := range edges {
		l.first[end(e)]++
	}
	for v := range vertices {
		l.first[v+1] += l.first[v]
	}
	for i, e := range slices.Backward(edges) {
		v := end(e)
		l.first[v]--
		l.edges[l.first[v]] = int32(i)
	}
	return l
}
