package layout

import (
	"cmp"
	"math"
	"slices"
)

// level finds the heights, as Brandes and Köpf do: vertices that follow each other
// are put into blocks, in which edges are straight, and the blocks as far up as
// they can go. That is done four times, from each corner, and what counts is the
// mean of the two in the middle. Where a block stands is found as in dagre, by the
// longest way of blocks that must be apart, without the classes of the paper.
func (p *part) level() {
	for v := range int32(len(p.layer)) {
		byPlace := func(a, b int32) int { return cmp.Compare(p.pos[p.other(a, v)], p.pos[p.other(b, v)]) }
		slices.SortFunc(p.up.of(v), byPlace)
		slices.SortFunc(p.down.of(v), byPlace)
	}
	crossed := p.crossed()
	var all [4][]int
	var top, bottom [4]int
	narrow := 0
	for i := range all {
		all[i] = p.stack(i&1 != 0, i&2 != 0, crossed)
		top[i], bottom[i] = math.MaxInt, math.MinInt
		for v, y := range all[i] {
			top[i], bottom[i] = min(top[i], y-p.height[v]/2), max(bottom[i], y+p.height[v]/2)
		}
		if bottom[i]-top[i] < bottom[narrow]-top[narrow] {
			narrow = i
		}
	}
	p.y = make([]int, len(p.layer))
	for v := range p.y {
		var ys [4]int
		for i := range all {
			shift := top[narrow] - top[i]
			if i&2 != 0 {
				shift = bottom[narrow] - bottom[i]
			}
			ys[i] = all[i][v] + shift
		}
		slices.Sort(ys[:])
		p.y[v] = (ys[1] + ys[2]) >> 1 // as far apart as in each of them: both are rounded down
	}
}

// crossed marks the segments that are not to be straight, as a line between bends
// is: those that cross one, and those that branch off it.
func (p *part) crossed() []bool {
	crossed := make([]bool, len(p.segments))
	for l := 1; l < len(p.order); l++ {
		column := p.order[l]
		low, from := int32(0), 0
		for i, v := range column {
			high, inner := int32(len(p.order[l-1])), false
			if up := p.up.of(v); p.isBend(v) && p.isBend(p.other(up[0], v)) {
				high, inner = p.pos[p.other(up[0], v)], true
			}
			if !inner && i < len(column)-1 {
				continue
			}
			for ; from <= i; from++ {
				w := column[from]
				for _, s := range p.up.of(w) {
					u := p.other(s, w)
					if at := p.pos[u]; (at < low || at > high) && !(p.isBend(u) && p.isBend(w)) {
						crossed[s] = true
					}
				}
			}
			low = high
		}
	}
	for v := int32(len(p.vertices)); v < int32(len(p.layer)); v++ {
		if segments := p.down.of(v); len(p.onward(segments)) < len(segments) {
			for _, s := range segments {
				crossed[s] = crossed[s] || !p.isBend(p.segments[s].to)
			}
		}
	}
	return crossed
}

// onward is where a line goes on that leads from a bend to the next: of segments
// the one to a bend, or all if there is none.
func (p *part) onward(segments []int32) []int32 {
	for i, s := range segments {
		if p.isBend(p.segments[s].to) {
			return segments[i : i+1]
		}
	}
	return segments
}

// apart is how far the middles of two vertices are apart at least that follow each
// other in a layer.
func (p *part) apart(u, v int32) int {
	gap := lineGap
	if p.height[u] > 0 && p.height[v] > 0 {
		gap = boxGap
	}
	return (p.height[u]+p.height[v])/2 + gap
}

// stack finds heights, with blocks made along the segments to the next layer
// (back) or from the one before, in which the upper, or the lower (under), of two
// comes first.
func (p *part) stack(back, under bool, crossed []bool) []int {
	n := int32(len(p.layer))
	root, next := make([]int32, n), make([]int32, n) // of the block; and in it, in a circle
	for v := range n {
		root[v], next[v] = v, v
	}
	links := p.up
	if back {
		links = p.down
	}
	for l := range p.order {
		if back {
			l = len(p.order) - 1 - l
		}
		last := int32(-1)
		for i := range p.order[l] {
			v := p.nth(l, i, under)
			segments := links.of(v)
			if back && p.isBend(v) {
				segments = p.onward(segments)
			}
			d := len(segments)
			for m := (d - 1) / 2; d > 0 && m <= d/2 && next[v] == v; m++ {
				s := segments[m]
				if under {
					s = segments[d-1-m]
				}
				u := p.other(s, v)
				at := p.pos[u]
				if under {
					at = int32(len(p.order[p.layer[u]])) - 1 - at
				}
				if !crossed[s] && at > last {
					next[u], root[v], next[v] = v, root[u], root[u]
					last = at
				}
			}
		}
	}

	// Each block goes up until it meets another, and then down again until it
	// meets one below: it is near those that it was put beside.
	y := make([]int, n) // by root
	done := make([]bool, n)
	var up, down func(int32)
	up = func(r int32) {
		done[r] = true
		for v := r; ; {
			if u, ok := p.beside(v, -1, under); ok {
				if !done[root[u]] {
					up(root[u])
				}
				y[r] = max(y[r], y[root[u]]+p.apart(u, v))
			}
			if v = next[v]; v == r {
				return
			}
		}
	}
	down = func(r int32) {
		done[r] = true
		room := math.MaxInt
		for v := r; ; {
			if u, ok := p.beside(v, 1, under); ok {
				if !done[root[u]] {
					down(root[u])
				}
				room = min(room, y[root[u]]-p.apart(u, v))
			}
			if v = next[v]; v == r {
				break
			}
		}
		if room < math.MaxInt {
			y[r] = max(y[r], room)
		}
	}
	for _, move := range []func(int32){up, down} {
		clear(done)
		for v := range n {
			if root[v] == v && !done[v] {
				move(v)
			}
		}
	}
	of := make([]int, n)
	for v := range n {
		if of[v] = y[root[v]]; under {
			of[v] = -of[v]
		}
	}
	return of
}

// nth is a vertex of a layer, counted from above, or from below (under).
func (p *part) nth(l, i int, under bool) int32 {
	if under {
		i = len(p.order[l]) - 1 - i
	}
	return p.order[l][i]
}

// beside is the vertex that stands a place before v (-1) or after it (1).
func (p *part) beside(v int32, by int, under bool) (u int32, ok bool) {
	if under {
		by = -by
	}
	column, i := p.order[p.layer[v]], int(p.pos[v])+by
	if i < 0 || i >= len(column) {
		return 0, false
	}
	return column[i], true
}
