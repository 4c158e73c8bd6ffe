package layout

import (
	"math"
	"math/bits"
	"slices"
)

// arrange finds the order in each layer: begun by walking along edges, so that
// what belongs together stands together, and then by sweeps over the layers, to
// and fro, of which the best counts.
func (p *part) arrange() {
	p.begin()
	best := p.crossings(math.MaxInt)
	found := make([][]int32, len(p.order))
	for l, column := range p.order {
		found[l] = slices.Clone(column)
	}
	for sweep, idle := 0, 0; best > 0 && idle < 4 && sweep < p.maxSweeps(); sweep++ {
		p.sweep(sweep%2 == 0)
		if n := p.crossings(best); n < best {
			best, idle = n, 0
			for l, column := range p.order {
				copy(found[l], column)
			}
		} else {
			idle++
		}
	}
	p.order = found
	for _, column := range p.order {
		p.number(column)
	}
}

// maxSweeps bounds the work.
func (p *part) maxSweeps() int { return min(max(2, 100_000/(1+len(p.segments))), 16) }

// number notes where the vertices of a layer are in it.
func (p *part) number(column []int32) {
	for i, v := range column {
		p.pos[v] = int32(i)
	}
}

// begin puts the vertices into their layers as a walk reaches them that begins
// with what waits for nothing, in the order of the plan.
func (p *part) begin() {
	layers := slices.Max(p.layer) + 1
	p.order = make([][]int32, layers)
	p.pos = make([]int32, len(p.layer))
	reached := make([]bool, len(p.layer))
	var ahead []int32
	for v := range int32(len(p.vertices)) {
		if len(p.up.of(v)) > 0 {
			continue
		}
		ahead = append(ahead, v)
		for len(ahead) > 0 {
			v := ahead[len(ahead)-1]
			ahead = ahead[:len(ahead)-1]
			if reached[v] {
				continue
			}
			reached[v] = true
			p.order[p.layer[v]] = append(p.order[p.layer[v]], v)
			for _, s := range slices.Backward(p.down.of(v)) {
				ahead = append(ahead, p.segments[s].to)
			}
		}
	}
	for _, column := range p.order {
		p.number(column)
	}
}

// sweep puts each vertex at the mean place of those that it is joined with in the
// layer before, from the first layer on, or in the next, from the last one on.
// Those that are joined with none there keep their place, and ties their order.
func (p *part) sweep(forth bool) {
	var keys []uint64 // of those that move: the mean place, and which it is of them
	var movers []int32
	for i := range p.order {
		column, links := p.order[i], p.ups
		if !forth {
			column, links = p.order[len(p.order)-1-i], p.downs
		}
		keys, movers = keys[:0], movers[:0]
		for _, v := range column {
			sum, others := uint64(0), links.of(v)
			for _, u := range others {
				sum += uint64(p.pos[u])
			}
			if n := uint64(len(others)); n > 0 {
				keys = append(keys, sum<<10/n<<32|uint64(len(movers)))
				movers = append(movers, v)
			}
		}
		slices.Sort(keys)
		next := 0
		for i, v := range column {
			if len(links.of(v)) > 0 {
				column[i] = movers[uint32(keys[next])]
				next++
			}
		}
		p.number(column)
	}
}

// other is what a segment joins v with.
func (p *part) other(s, v int32) int32 { return p.segments[s].from ^ p.segments[s].to ^ v }

// crossings counts how often segments cross, as Barth, Jünger and Mutzel do
// (Simple and Efficient Bilayer Cross Counting, 2002): those between two layers
// are gone through in the order of one end, and the other ends counted in a tree.
// It does not go on beyond most.
func (p *part) crossings(most int) int {
	crossings := 0
	var ends, tree []int32 // tree: a heap, of how many of the ends so far are in each part of the layer
	for l, column := range p.order[:len(p.order)-1] {
		if crossings >= most {
			break
		}
		leaves := 1 << bits.Len(uint(len(p.order[l+1])))
		tree = append(tree[:0], make([]int32, 2*leaves)...)
		for _, v := range column {
			ends = ends[:0]
			for _, u := range p.downs.of(v) {
				ends = append(ends, p.pos[u])
			}
			if len(ends) > 1 {
				slices.Sort(ends) // they cross none of each other
			}
			for _, end := range ends {
				i := leaves + int(end)
				for tree[i]++; i > 1; tree[i]++ {
					crossings += int(tree[i^1] &^ -int32(i&1)) // those further down, if this is the upper half
					i /= 2
				}
			}
		}
	}
	return crossings
}
