// Package layout says where the nodes of a plan stand when it is drawn.
//
// A drawing reads from left to right: each node stands to the right of all that
// it waits for, in the columns of what is called a layered drawing (Sugiyama,
// Tagawa and Toda, 1981). An edge that spans several columns is given a place in
// each of them, and the order in a column is found by sweeps that put each node
// in the middle of what it is joined with, as long as fewer lines cross. Brandes
// and Köpf's method (Fast and Simple Horizontal Coordinate Assignment, 2001) then
// finds heights at which most lines are straight. Parts that nothing joins are
// drawn one by one and put beside each other; single nodes go into a grid below.
//
// Groups are not drawn. What waits for a group waits for the last nodes in it:
// there is an edge from each, or, where that would be many times many, they all
// meet in a joint, a point from which edges lead on. What waits for something by way
// of something else has no edge from it. Joints, and bounds on how much is thought
// about long edges, keep time and space in proportion to the plan.
//
// The same plan gives the same drawing, on every machine.
package layout

import (
	"math"

	"github.com/piper-build/piper/runtime/plan"
)

// What things measure, in CSS px. Heights and gaps are even, so that a middle is
// a whole number.
const (
	boxHeight = 32
	boxGap    = 12 // between boxes of a column
	lineGap   = 10 // between a line and what is above or below it

	minColumnGap = 36 // between columns, where lines change their height
	maxColumnGap = 160

	partGap = 32 // between parts that nothing joins
	margin  = 16 // around it all
)

// A Graph is a drawing. Its coordinates are whole CSS px from the top left.
type Graph struct {
	Width  int    `json:"width"`
	Height int    `json:"height"`
	Nodes  []Node `json:"nodes"` // those of the plan, in its order
	Edges  []Edge `json:"edges"`
}

// A Node is the box of a node. Boxes do not overlap.
type Node struct {
	Name   string `json:"name"`
	Kind   string `json:"kind"` // "step", "trigger", "approve", "service" or "expand"
	X      int    `json:"x"`
	Y      int    `json:"y"`
	Width  int    `json:"width"`
	Height int    `json:"height"`
}

// An Edge leads from what is waited for to what waits, or from a service to who
// uses it. From and To are names of nodes, or of joints: where a group ends that
// many wait for (its name), or some other place where many wait for the same many
// (a name that begins with '#').
//
// Points lead from left to right, from the right side of From to the left side of
// To, and through no box. Where two points in a row have the same height the line
// between them is straight; elsewhere it crosses the gap between two columns, and
// may be drawn as a curve.
type Edge struct {
	From   string   `json:"from"`
	To     string   `json:"to"`
	Points [][2]int `json:"points"`
}

// New draws a plan. Edges on a cycle, which no valid plan has, are left out.
func New(p *plan.Plan) *Graph {
	net := newNetwork(p)
	d := drawing{
		at:    make([]spot, net.len()),
		line:  make([]line, len(net.edges)),
		local: make([]int32, net.len()),
	}
	for i := range p.Nodes {
		d.at[i].width = boxWidth(p.Nodes[i].Name)
		d.at[i].height = boxHeight
	}
	d.draw(net)

	g := &Graph{Width: d.width, Height: d.height, Nodes: make([]Node, len(p.Nodes)), Edges: make([]Edge, len(net.edges))}
	for i := range p.Nodes {
		at := d.at[i]
		g.Nodes[i] = Node{p.Nodes[i].Name, kind(&p.Nodes[i]), at.x, at.y, at.width, at.height}
	}
	for i, e := range net.edges {
		g.Edges[i] = Edge{net.name(e.from), net.name(e.to), d.line[i]}
	}
	return g
}

// kind is what n is, in the word that makes it.
func kind(n *plan.Node) string {
	if n.Approve() != nil {
		return "approve"
	}
	return n.Kind()
}

// A drawing is what New works on.
type drawing struct {
	at     []spot  // by vertex
	line   []line  // by edge
	local  []int32 // for parts to number their vertices
	width  int
	height int
}

// A spot is where a vertex stands; a joint has no size.
type spot struct{ x, y, width, height int }

// draw places each part by itself, and then the parts: in rows about as wide as
// the widest, and the nodes that nothing is joined with last.
func (d *drawing) draw(net *network) {
	parts, single := net.parts()
	area, widest := 0.0, 0
	for _, p := range parts {
		p.draw(d)
		area += float64(p.width+partGap) * float64(p.depth+partGap)
		widest = max(widest, p.width)
	}
	cell := 0
	for _, v := range single {
		cell = max(cell, d.at[v].width)
	}
	area += float64(len(single)) * float64(cell+partGap) * float64(boxHeight+boxGap)
	const shape = 1.6 // width by height, as of a screen
	target := max(widest, int(math.Sqrt(area*shape)))

	x, y, below := margin, margin, margin
	for _, p := range parts {
		if x > margin && x+p.width > margin+target {
			x, y = margin, below
		}
		p.move(d, x, y)
		d.extend(x+p.width, y+p.depth)
		x += p.width + partGap
		below = max(below, y+p.depth+partGap)
	}
	d.grid(single, target, cell, below)
	d.extend(0, 0)
	d.width += margin
	d.height += margin
}

// grid puts single nodes into rows, all boxes of a column equally wide.
func (d *drawing) grid(single []int32, target, cell, y int) {
	columns := max(1, min(len(single), (target+boxGap)/(cell+boxGap)))
	x := margin
	for first := range columns {
		wide := 0
		for i := first; i < len(single); i += columns {
			wide = max(wide, d.at[single[i]].width)
		}
		for i := first; i < len(single); i += columns {
			at := &d.at[single[i]]
			at.x, at.y, at.width = x, y+i/columns*(boxHeight+boxGap), wide
			d.extend(at.x+at.width, at.y+at.height)
		}
		x += wide + boxGap
	}
}

// extend makes the drawing reach a point.
func (d *drawing) extend(x, y int) {
	d.width, d.height = max(d.width, margin, x), max(d.height, margin, y)
}
