package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/piper-build/piper/runtime/layout"
	"github.com/piper-build/piper/runtime/plan"
)

// svgStyle has colours of its own for dark surroundings. Not all that show an SVG
// know variables of CSS.
const svgStyle = `
text { font: 13px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; text-anchor: middle; fill: #1f2328 }
.paper { fill: #ffffff }
.node rect { fill: #f6f8fa; stroke: #8c959f }
.service rect { stroke-dasharray: 4 3 }
.approve rect { stroke-width: 2 }
.edge { fill: none; stroke: #8c959f; stroke-width: 1.25 }
.use { stroke-dasharray: 4 3 }
.end { fill: #8c959f }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .paper { fill: #0d1117 }
  .node rect { fill: #161b22; stroke: #6e7681 }
  .edge { stroke: #6e7681 }
  .end { fill: #6e7681 }
}
`

// svgMarks stand before the names of what is no step.
var svgMarks = map[string]string{"trigger": "↗", "approve": "?", "service": "∞", "expand": "+"}

// writeSVG draws p as a picture that needs nothing else.
func writeSVG(w io.Writer, p *plan.Plan) {
	g := layout.New(p)
	title := svgText("pipeline " + p.Pipeline)
	fmt.Fprintf(w, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%d\" height=\"%d\" viewBox=\"0 0 %[1]d %[2]d\">\n<title>%s</title>\n<style>%s</style>\n", g.Width, g.Height, title, svgStyle)
	fmt.Fprint(w, `<marker id="end" class="end" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0.5L8 4L0 7.5Z"/></marker>`+"\n")
	fmt.Fprintf(w, "<rect class=\"paper\" width=\"%d\" height=\"%d\"/>\n", g.Width, g.Height)

	kinds := make(map[string]string, len(g.Nodes))
	for _, n := range g.Nodes {
		kinds[n.Name] = n.Kind
	}
	joints := map[string]bool{}
	for _, e := range g.Edges {
		class, end := "edge", ""
		if kinds[e.From] == "service" {
			class += " use"
		}
		if kinds[e.To] != "" {
			end = ` marker-end="url(#end)"`
		}
		fmt.Fprintf(w, "<path class=\"%s\" d=\"%s\"%s/>\n", class, svgPath(e.Points), end)
		if at := e.Points[len(e.Points)-1]; kinds[e.To] == "" && !joints[e.To] {
			joints[e.To] = true
			fmt.Fprintf(w, "<circle class=\"end\" cx=\"%d\" cy=\"%d\" r=\"3\"/>\n", at[0], at[1])
		}
	}
	for i, n := range g.Nodes {
		round := 6
		if n.Kind == "trigger" {
			round = n.Height / 2
		}
		y := n.Y + n.Height/2 + 4 // where the letters stand
		fmt.Fprintf(w, "<g class=\"node %s\"><title>%s</title><rect x=\"%d\" y=\"%d\" width=\"%d\" height=\"%d\" rx=\"%d\"/>", n.Kind, svgText(n.Name+"\n"+nodeText(&p.Nodes[i])), n.X, n.Y, n.Width, n.Height, round)
		if mark := svgMarks[n.Kind]; mark != "" {
			fmt.Fprintf(w, "<text x=\"%d\" y=\"%d\">%s</text>", n.X+11, y, mark)
		}
		fmt.Fprintf(w, "<text x=\"%d\" y=\"%d\">%s</text></g>\n", n.X+n.Width/2, y, svgText(layout.Label(n.Name)))
	}
	fmt.Fprintln(w, "</svg>")
}

// svgPath leads through points: straight between two at the same height, in a
// curve elsewhere.
func svgPath(points [][2]int) string {
	var b strings.Builder
	for i, at := range points {
		switch {
		case i == 0:
			fmt.Fprintf(&b, "M%d %d", at[0], at[1])
		case at[1] == points[i-1][1]:
			fmt.Fprintf(&b, "H%d", at[0])
		default:
			before := points[i-1]
			middle := (before[0] + at[0]) / 2
			fmt.Fprintf(&b, "C%d %d %[1]d %[3]d %d %[3]d", middle, before[1], at[1], at[0])
		}
	}
	return b.String()
}

// svgText is s as the text of an element. What has no look of its own, such as a
// mark that turns the direction of writing, is replaced.
func svgText(s string) string {
	return xmlText(strings.Map(func(r rune) rune {
		if r == '\n' || strconv.IsPrint(r) {
			return r
		}
		return '\uFFFD'
	}, s))
}
