package layout

// A part is what edges join. While it is laid out its vertices have numbers of
// their own: first those of the network, then bends, one for each layer that an
// edge leads through. All edges from a vertex share their bends.
type part struct {
	*network
	vertices []int32 // of the network
	edges    []int32 // of the network, by their place there

	local      []int32 // by vertex of the network: its number here
	layer      []int32 // by number, as all that follows
	bends      []int32 // the first of its bends; those of further layers follow it
	height     []int
	segments   []edge // between layers that are next to each other
	up, down   links  // those that come from the layer before, and those that lead to the next
	ups, downs links  // the vertices at the other ends of these, as arrange needs them
	span       int32  // edges over more layers lead around all others

	order [][]int32 // by layer: its vertices from the top
	pos   []int32   // where it is in there
	y     []int     // the middle of it

	width int
	depth int // height of it all
}

// maxBends is how many bends all edges of a part may have together. The longest
// are led around all else beyond that, as nobody would make out so many lines.
func (p *part) maxBends() int { return 1000 + 8*len(p.vertices) }

// draw gives each vertex a spot, and each edge its line, from 0, 0 on.
func (p *part) draw(d *drawing) {
	p.split(d)
	p.arrange()
	p.level()
	p.place(d)
}

// split numbers the vertices, and splits edges into segments.
func (p *part) split(d *drawing) {
	p.local = d.local
	for i, v := range p.vertices {
		p.local[v] = int32(i)
		p.layer = append(p.layer, p.network.layer[v])
		p.height = append(p.height, d.at[v].height)
	}
	far := p.far()
	p.bends = make([]int32, len(p.vertices))
	for v := range int32(len(far)) {
		p.bends[v] = int32(len(p.layer))
		at := v
		for l := int32(1); l < far[v]; l++ {
			bend := int32(len(p.layer))
			p.layer = append(p.layer, p.layer[v]+l)
			p.height = append(p.height, 0)
			p.segments = append(p.segments, edge{at, bend})
			at = bend
		}
	}
	for _, i := range p.edges {
		from, to := p.ends(i)
		if span := p.layer[to] - p.layer[from]; span <= p.span {
			p.segments = append(p.segments, edge{p.before(from, span), to})
		}
	}
	p.up, p.down = incoming(len(p.layer), p.segments), outgoing(len(p.layer), p.segments)
	p.ups, p.downs = links{p.up.first, make([]int32, len(p.segments))}, links{p.down.first, make([]int32, len(p.segments))}
	for i, s := range p.up.edges {
		p.ups.edges[i] = p.segments[s].from
	}
	for i, s := range p.down.edges {
		p.downs.edges[i] = p.segments[s].to
	}
}

// far is how far the furthest edge of each vertex leads. It finds the greatest
// span, halving it, with which there are not too many bends.
func (p *part) far() []int32 {
	far := make([]int32, len(p.vertices))
	for _, i := range p.edges {
		from, to := p.ends(i)
		p.span = max(p.span, p.layer[to]-p.layer[from])
	}
	for ; ; p.span /= 2 {
		clear(far)
		bends := 0
		for _, i := range p.edges {
			from, to := p.ends(i)
			if span := p.layer[to] - p.layer[from]; span <= p.span {
				far[from] = max(far[from], span)
				bends += int(span) - 1
			}
		}
		if bends <= p.maxBends() {
			return far
		}
	}
}

// ends are the numbers of what an edge of the network joins.
func (p *part) ends(i int32) (from, to int32) {
	e := p.network.edges[i]
	return p.local[e.from], p.local[e.to]
}

// before is what comes on an edge right before its end: a bend, or its beginning.
func (p *part) before(from, span int32) int32 {
	if span == 1 {
		return from
	}
	return p.bends[from] + span - 2
}

func (p *part) isBend(v int32) bool { return int(v) >= len(p.vertices) }

// place finds the columns, now that the heights are known, and draws.
func (p *part) place(d *drawing) {
	top, bottom := 0, 0
	for v, y := range p.y {
		if v == 0 {
			top, bottom = y, y
		}
		top, bottom = min(top, y-p.height[v]/2), max(bottom, y+p.height[v]/2)
	}
	around := false
	for _, i := range p.edges {
		from, to := p.ends(i)
		around = around || p.layer[to]-p.layer[from] > p.span
	}
	if around {
		top -= 2 * lineGap
	}
	p.depth = bottom - top

	left, right := make([]int, len(p.order)), make([]int, len(p.order))
	x := 0
	for l, column := range p.order {
		wide, rise := 0, 0
		for _, v := range column {
			p.y[v] -= top
			if !p.isBend(v) {
				wide = max(wide, d.at[p.vertices[v]].width)
			}
		}
		for _, v := range column {
			for _, s := range p.up.of(v) {
				dy := p.y[v] - p.y[p.segments[s].from]
				rise = max(rise, dy, -dy)
			}
		}
		if l > 0 {
			x += min(max(minColumnGap, 24+rise/6), maxColumnGap)
		}
		left[l], right[l] = x, x+wide
		x += wide
	}
	p.width = x

	for v, of := range p.vertices {
		at := &d.at[of]
		at.x, at.y = left[p.layer[v]], p.y[v]-at.height/2
		if at.height > 0 {
			at.width = right[p.layer[v]] - at.x // a column's boxes are equally wide
		}
	}
	for _, i := range p.edges {
		from, to := p.ends(i)
		l, end := p.layer[from], p.layer[to]
		var line line
		line.to(left[l]+d.at[p.vertices[from]].width, p.y[from])
		line.to(right[l], p.y[from])
		if end-l > p.span {
			line.to((right[l]+left[l+1])/2, 0)
			line.to((right[end-1]+left[end])/2, 0)
		} else {
			for span := int32(2); span <= end-l; span++ {
				bend := p.before(from, span)
				line.to(left[l+span-1], p.y[bend])
				line.to(right[l+span-1], p.y[bend])
			}
		}
		line.to(left[end], p.y[to])
		d.line[i] = line
	}
}

// A line leads through points from left to right.
type line [][2]int

// to adds a point, and leaves out what lies on the way straight to it.
func (l *line) to(x, y int) {
	switch n := len(*l); {
	case n > 0 && (*l)[n-1] == [2]int{x, y}:
	case n > 1 && (*l)[n-1][1] == y && (*l)[n-2][1] == y:
		(*l)[n-1][0] = x
	default:
		*l = append(*l, [2]int{x, y})
	}
}

// move moves what was drawn.
func (p *part) move(d *drawing, x, y int) {
	for _, v := range p.vertices {
		d.at[v].x += x
		d.at[v].y += y
	}
	for _, i := range p.edges {
		for j := range d.line[i] {
			d.line[i][j][0] += x
			d.line[i][j][1] += y
		}
	}
}
