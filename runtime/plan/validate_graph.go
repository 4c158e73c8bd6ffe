package plan

import (
	"fmt"
	"slices"
	"strings"
)

// cycles reports one cycle for each set of vertices that wait for each other.
// order is what Graph.Order could put in order.
func (v *validator) cycles(order []int32) {
	g := v.graph
	tangled := make([]bool, g.Len())
	for i := range tangled {
		tangled[i] = true
	}
	for _, vertex := range order {
		tangled[vertex] = false
	}
	from := make([]int32, g.Len()) // the vertex that led here; -1 for none yet
	for _, set := range g.tangles(tangled) {
		// The shortest way from the set's first vertex back to it. Sets do not
		// share vertices, so all these searches together are linear.
		for _, vertex := range set {
			from[vertex] = -1
		}
		start := slices.Min(set)
		queue := []int32{start}
		for i := 0; i < len(queue) && from[start] < 0; i++ {
			g.leads(queue[i], func(to int32) {
				if _, in := slices.BinarySearch(set, to); in && from[to] < 0 {
					from[to] = queue[i]
					queue = append(queue, to)
				}
			})
		}
		if from[start] < 0 {
			continue // a single vertex that does not lead to itself
		}
		path := []int32{start}
		for vertex := from[start]; vertex != start; vertex = from[vertex] {
			path = append(path, vertex)
		}
		v.cycle(append(path, start))
	}
}

// cycle reports a path on which each vertex waits for the next and the last is
// the first again.
func (v *validator) cycle(path []int32) {
	start := path[0]
	if len(path) == 2 {
		v.report(v.graph.Pos(start), "cycle", "", "%s needs itself", v.title(start))
		return
	}
	const shown = 20
	var b strings.Builder
	for i, vertex := range path[:len(path)-1] {
		if i == shown {
			fmt.Fprintf(&b, "… %d more … ", len(path)-1-shown)
			break
		}
		verb := "needs"
		if !v.graph.IsNode(vertex) {
			verb = "holds"
		}
		fmt.Fprintf(&b, "%s %s ", v.placed(vertex), verb)
	}
	v.report(v.graph.Pos(start), "cycle", "take away one depends_on, or move a step to another place in the flow",
		"%s waits for itself: %s%s", v.title(start), b.String(), v.title(start))
}

// leads calls yield for each edge that leaves v.
func (g *Graph) leads(v int32, yield func(to int32)) {
	for _, u := range g.Users(v) {
		yield(u)
	}
	if group := g.group[v]; group >= 0 {
		yield(group)
	}
}

// edge returns the i-th edge that leaves v, or -1 after the last.
func (g *Graph) edge(v, i int32) int32 {
	users := g.Users(v)
	switch {
	case int(i) < len(users):
		return users[i]
	case int(i) == len(users):
		return g.group[v]
	default:
		return -1
	}
}

// tangles returns the strongly connected sets among the vertices in, each
// sorted, in the order of their first vertices. It is Tarjan's algorithm with
// a stack of its own, as a plan can be deeper than a goroutine's.
func (g *Graph) tangles(in []bool) [][]int32 {
	var (
		sets   [][]int32
		number = make([]int32, g.Len()) // from 1, by first visit; 0 is not visited
		lowest = make([]int32, g.Len()) // the lowest number known to be reachable within the set
		edge   = make([]int32, g.Len()) // the next edge to follow
		open   = make([]bool, g.Len())  // visited, and in no set yet
		opened []int32
		calls  []int32
		count  int32
	)
	visit := func(v int32) {
		count++
		number[v], lowest[v], open[v] = count, count, true
		opened, calls = append(opened, v), append(calls, v)
	}
	for root := range int32(g.Len()) {
		if !in[root] || number[root] != 0 {
			continue
		}
		visit(root)
		for len(calls) > 0 {
			v := calls[len(calls)-1]
			if to := g.edge(v, edge[v]); to >= 0 {
				edge[v]++
				switch {
				case !in[to]:
				case number[to] == 0:
					visit(to)
				case open[to]:
					lowest[v] = min(lowest[v], number[to])
				}
				continue
			}
			calls = calls[:len(calls)-1]
			if len(calls) > 0 {
				caller := calls[len(calls)-1]
				lowest[caller] = min(lowest[caller], lowest[v])
			}
			if lowest[v] == number[v] {
				i := len(opened)
				for done := false; !done; {
					i--
					open[opened[i]] = false
					done = opened[i] == v
				}
				set := slices.Clone(opened[i:])
				opened = opened[:i]
				slices.Sort(set)
				sets = append(sets, set)
			}
		}
	}
	slices.SortFunc(sets, func(a, b []int32) int { return int(a[0] - b[0]) })
	return sets
}

// A use is a node that uses the output of another, or, with no key, an expand
// that is given all of them.
type use struct {
	node, of int32
	key      string
}

// outputs reports uses of an output that cannot be there yet, because the step
// that writes it is not among the ancestors. order is that of the whole graph.
func (v *validator) outputs(order []int32) {
	var open []use     // not settled by the node's own needs
	var needed []int32 // by vertex: the node that needs it, and 1; of the node that is looked at
	for i := range v.plan.Nodes {
		n, node := &v.plan.Nodes[i], int32(i)
		if n.Expand() != nil {
			if of, ok := v.after(n); ok {
				open = append(open, use{node: node, of: of})
			}
		}
		if n.IsService() {
			continue // it may use none
		}
		marked := false
		n.texts(func(t *Text) {
			for _, part := range t.Parts {
				if part.Output == nil {
					continue
				}
				of, ok := v.graph.Lookup(part.Output.Step)
				switch {
				case !ok:
					v.report(n.Pos, "unknown-step", v.didYouMean(part.Output.Step), "step %s is not defined in pipeline %q", excerpt(part.Output.Step), v.plan.Pipeline)
					continue
				case !v.graph.IsNode(of) || v.plan.Nodes[of].Step == nil || v.isService(of):
					v.report(n.Pos, "bad-value", "", "%s uses the output %q of %s, and only steps have outputs", v.title(node), part.Output.Key, v.title(of))
					continue
				}
				if needed == nil {
					needed = make([]int32, v.graph.Len())
				}
				if !marked {
					marked = true
					for _, need := range n.Needs {
						if vertex, ok := v.graph.Lookup(need); ok {
							needed[vertex] = node + 1
						}
					}
				}
				group := v.graph.Group(of)
				if needed[of] != node+1 && (group < 0 || needed[group] != node+1) {
					open = append(open, use{node, of, part.Output.Key})
				}
			}
		})
	}
	wrong := v.graph.unreachable(open, order)
	turned := make([]use, len(wrong)) // whether the other one waits for it
	for i, u := range wrong {
		turned[i] = use{node: u.of, of: u.node}
	}
	turned = v.graph.unreachable(turned, order)
	for _, u := range wrong {
		n, of := &v.plan.Nodes[u.node], &v.plan.Nodes[u.of]
		if u.node == u.of {
			what := fmt.Sprintf("output %q", u.key)
			if n.Expand() != nil {
				what = "result"
			}
			v.report(n.Pos, "not-before", "", "%s uses its own %s", v.title(u.node), what)
			continue
		}
		hint := fmt.Sprintf("add depends_on = [%q] to %q", of.Name, n.Name)
		if !slices.Contains(turned, use{node: u.of, of: u.node}) {
			hint = fmt.Sprintf("put %q after %q, which waits for it now", n.Name, of.Name)
		}
		what := fmt.Sprintf("the output %q of", u.key)
		if n.Expand() != nil {
			what = "the result of"
		}
		v.report(n.Pos, "not-before", hint,
			"%s uses %s %s, which need not have ended by then", v.title(u.node), what, v.placed(u.of))
	}
}

// texts calls yield for each text of n that may name outputs.
func (n *Node) texts(yield func(*Text)) {
	if n.Step != nil {
		for i := range n.Step.Argv {
			yield(&n.Step.Argv[i])
		}
		for i := range n.Step.Env {
			yield(&n.Step.Env[i].Value)
		}
	}
	if n.Trigger() != nil {
		for i := range n.Trigger().Params {
			yield(&n.Trigger().Params[i].Value)
		}
	}
}

// unreachable returns the uses whose node no path from the step leads to. It
// goes through the graph once for each 64 different steps, with a bit for each
// that is above a vertex, and no further than from the first of these steps to
// the last node that uses one.
func (g *Graph) unreachable(uses []use, order []int32) []use {
	if len(uses) == 0 {
		return nil
	}
	var wrong []use
	place := make([]int32, g.Len()) // in order
	for i, v := range order {
		place[v] = int32(i)
	}
	slices.SortStableFunc(uses, func(a, b use) int { return int(place[a.of] - place[b.of]) })
	above := make([]uint64, g.Len())
	own := make([]uint64, g.Len()) // the bit of a step that is looked for
	for len(uses) > 0 {
		batch, steps := 0, 0
		first, last := place[uses[0].of], place[uses[0].of]
		for ; batch < len(uses); batch++ {
			u := uses[batch]
			if own[u.of] == 0 {
				if steps == 64 {
					break
				}
				own[u.of] = 1 << steps
				steps++
			}
			last = max(last, place[u.node])
		}
		for _, v := range order[first : last+1] {
			if bits := above[v] | own[v]; bits != 0 {
				g.leads(v, func(to int32) { above[to] |= bits })
			}
		}
		for _, u := range uses[:batch] {
			if above[u.node]&own[u.of] == 0 {
				wrong = append(wrong, u)
			}
		}
		clear(above)
		for _, u := range uses[:batch] {
			own[u.of] = 0
		}
		uses = uses[batch:]
	}
	return wrong
}
