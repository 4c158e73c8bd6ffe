package build

import "github.com/piper-build/piper/runtime/plan"

// A queue holds the nodes that may start, the most urgent first: the one with
// the longest path before it, then the one that was written first.
//
// Limits make it a tree of gates. A gate stands for a group with a limit, or
// for the steps that share a concurrency key within such a group; the root
// stands for the build. Each holds a heap of the ready nodes and of the gates
// directly inside it, and lies in the heap around it only while it is open:
// while it has something ready and its quota has room. So a gate that is full
// hides all that is inside it at once, whatever is on top of the root can
// start, and no node is ever looked at twice in vain.
//
// Each gate has two heaps, as triggers, approvals, expands and services take no
// slot and must come out even when no step can.
//
// A start or an end costs O(log nodes) for each limited group around the node,
// and as much for each gate that shares its concurrency key.
type queue struct {
	graph  *plan.Graph
	rank   []float32 // by node: the weight of the longest path that starts with it
	gate   []int32   // by node: the gate it stands in
	place  []int32   // by node: where it is in that gate's heap, or -1
	gates  []gate    // the first is the root
	quotas []quota
}

type lane int

const (
	steps  lane = iota // nodes that take a slot
	others             // triggers, approvals, expands and services
	lanes
)

type gate struct {
	parent int32 // -1 for the root
	quota  int32 // -1 for the root
	heaps  [lanes]pile
}

// A pile is one heap of a gate. An item is a node, or a gate as ^gate.
type pile struct {
	items []int32
	best  int32 // the most urgent node; valid while there are items
	place int32 // of the gate in its parent's heap, or -1
}

// A quota says how many nodes may run behind the gates that share it.
type quota struct {
	used, most int
	gates      []int32
	group      int32 // the vertex of the group; -1 for a concurrency key
}

func newQueue(g *plan.Graph) queue {
	nodes := g.Plan.Nodes
	q := queue{
		graph: g,
		gate:  make([]int32, len(nodes)),
		place: make([]int32, len(nodes)),
	}
	q.addGate(-1, -1)
	// An enclosing group comes first, so its gate is there already.
	ofGroup := make([]int32, len(g.Plan.Groups))
	around := func(v int32) int32 {
		if outer := g.Group(v); outer >= 0 {
			return ofGroup[int(outer)-len(nodes)]
		}
		return 0
	}
	for i, group := range g.Plan.Groups {
		v := int32(len(nodes) + i)
		ofGroup[i] = around(v)
		if group.Limit > 0 {
			q.quotas = append(q.quotas, quota{most: group.Limit, group: v})
			ofGroup[i] = q.addGate(ofGroup[i], int32(len(q.quotas)-1))
		}
	}
	type shared struct {
		gate int32
		key  string
	}
	var (
		ofKey  map[string]int32 // its quota
		ofBoth map[shared]int32 // its gate within another
	)
	for i := range nodes {
		q.place[i] = -1
		q.gate[i] = around(int32(i))
		if nodes[i].Step == nil || nodes[i].Step.Concurrency == "" {
			continue
		}
		if ofKey == nil {
			ofKey, ofBoth = map[string]int32{}, map[shared]int32{}
		}
		both := shared{q.gate[i], nodes[i].Step.Concurrency}
		gate, ok := ofBoth[both]
		if !ok {
			quotaOf, known := ofKey[both.key]
			if !known {
				q.quotas = append(q.quotas, quota{most: 1, group: -1})
				quotaOf = int32(len(q.quotas) - 1)
				ofKey[both.key] = quotaOf
			}
			gate = q.addGate(both.gate, quotaOf)
			ofBoth[both] = gate
		}
		q.gate[i] = gate
	}
	return q
}

func (q *queue) addGate(parent, quota int32) int32 {
	g := gate{parent: parent, quota: quota}
	for l := range lanes {
		g.heaps[l].place = -1
	}
	q.gates = append(q.gates, g)
	i := int32(len(q.gates) - 1)
	if quota >= 0 {
		q.quotas[quota].gates = append(q.quotas[quota].gates, i)
	}
	return i
}

func (q *queue) lane(node int32) lane {
	if step := q.graph.Plan.Nodes[node].Step; step != nil && step.Service == nil {
		return steps
	}
	return others
}

// first returns the most urgent node of a lane that can start, or -1.
func (q *queue) first(l lane) int32 {
	if root := &q.gates[0].heaps[l]; len(root.items) > 0 {
		return q.best(root.items[0], l)
	}
	return -1
}

// full returns the innermost quota around node that has no room, or nil.
func (q *queue) full(node int32) *quota {
	for g := q.gate[node]; g != 0; g = q.gates[g].parent {
		if quota := &q.quotas[q.gates[g].quota]; quota.used >= quota.most {
			return quota
		}
	}
	return nil
}

// add puts a node in.
func (q *queue) add(node int32) {
	l := q.lane(node)
	q.push(q.gate[node], l, node)
	q.settle(q.gate[node])
}

// remove takes a node out without starting it.
func (q *queue) remove(node int32) {
	l := q.lane(node)
	q.cut(q.gate[node], l, q.place[node])
	q.settle(q.gate[node])
}

// use counts a node in (by 1) or out (by -1) of every quota around it.
func (q *queue) use(node int32, by int) {
	inner := q.gate[node]
	for g := inner; g != 0; g = q.gates[g].parent {
		q.quotas[q.gates[g].quota].used += by
	}
	q.settle(inner)
	if inner == 0 {
		return
	}
	for _, g := range q.quotas[q.gates[inner].quota].gates { // more than one only for a key
		if g != inner {
			q.settle(g)
		}
	}
}

// settle brings gate g, and then all around it, to where they belong.
func (q *queue) settle(g int32) {
	for ; g != 0; g = q.gates[g].parent {
		gate := &q.gates[g]
		quota := &q.quotas[gate.quota]
		for l := range lanes {
			heap := &gate.heaps[l]
			if len(heap.items) > 0 {
				heap.best = q.best(heap.items[0], l)
			}
			open := len(heap.items) > 0 && quota.used < quota.most
			switch {
			case open && heap.place < 0:
				q.push(gate.parent, l, ^g)
			case open:
				q.fix(gate.parent, l, heap.place)
			case heap.place >= 0:
				q.cut(gate.parent, l, heap.place)
			}
		}
	}
}

// The heap of one lane of one gate. Every item knows its place in it.

func (q *queue) best(item int32, l lane) int32 {
	if item >= 0 {
		return item
	}
	return q.gates[^item].heaps[l].best
}

func (q *queue) less(a, b int32, l lane) bool {
	a, b = q.best(a, l), q.best(b, l)
	if q.rank[a] != q.rank[b] {
		return q.rank[a] > q.rank[b]
	}
	return a < b
}

func (q *queue) set(items []int32, i, item int32, l lane) {
	items[i] = item
	if item >= 0 {
		q.place[item] = i
	} else {
		q.gates[^item].heaps[l].place = i
	}
}

func (q *queue) push(g int32, l lane, item int32) {
	heap := &q.gates[g].heaps[l]
	heap.items = append(heap.items, item)
	q.up(heap.items, int32(len(heap.items)-1), l)
}

// cut takes the item at place i out.
func (q *queue) cut(g int32, l lane, i int32) {
	heap := &q.gates[g].heaps[l]
	last := int32(len(heap.items) - 1)
	gone, moved := heap.items[i], heap.items[last]
	heap.items = heap.items[:last]
	if i < last {
		q.set(heap.items, i, moved, l)
		q.fix(g, l, i)
	}
	if gone >= 0 {
		q.place[gone] = -1
	} else {
		q.gates[^gone].heaps[l].place = -1
	}
}

// fix moves the item at place i to where it belongs.
func (q *queue) fix(g int32, l lane, i int32) {
	items := q.gates[g].heaps[l].items
	if q.up(items, i, l) == i {
		q.down(items, i, l)
	}
}

func (q *queue) up(items []int32, i int32, l lane) int32 {
	item := items[i]
	for i > 0 {
		parent := (i - 1) / 2
		if !q.less(item, items[parent], l) {
			break
		}
		q.set(items, i, items[parent], l)
		i = parent
	}
	q.set(items, i, item, l)
	return i
}

func (q *queue) down(items []int32, i int32, l lane) {
	item := items[i]
	for {
		child := 2*i + 1
		if child >= int32(len(items)) {
			break
		}
		if right := child + 1; right < int32(len(items)) && q.less(items[right], items[child], l) {
			child = right
		}
		if !q.less(items[child], item, l) {
			break
		}
		q.set(items, i, items[child], l)
		i = child
	}
	q.set(items, i, item, l)
}
