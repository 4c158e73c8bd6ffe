package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/piper-build/piper/runtime/plan"
)

// A drawing gives the nodes and groups of a plan names that a graph language
// can take. Waiting for a group is drawn as one arrow into and one out of a
// point where the group ends, so that wide stages stay readable.
type drawing struct {
	plan   *plan.Plan
	node   map[string]int
	group  map[string]int
	needed map[string]bool // groups that something waits for
}

func draw(p *plan.Plan) *drawing {
	d := &drawing{plan: p, node: map[string]int{}, group: map[string]int{}, needed: map[string]bool{}}
	for i, g := range p.Groups {
		d.group[g.Name] = i
	}
	for i, n := range p.Nodes {
		d.node[n.Name] = i
		for _, need := range n.Needs {
			if _, ok := d.group[need]; ok {
				d.needed[need] = true
			}
		}
	}
	return d
}

// id is the name of a node, or of the end of a group.
func (d *drawing) id(name string) string {
	if i, ok := d.node[name]; ok {
		return fmt.Sprintf("n%d", i)
	}
	return fmt.Sprintf("g%dend", d.group[name])
}

// edges calls edge for each arrow to draw, into what waits.
func (d *drawing) edges(edge func(from, to string)) {
	for _, n := range d.plan.Nodes {
		for _, need := range n.Needs {
			edge(d.id(need), d.id(n.Name))
		}
		for g := n.Group; g != ""; g = d.plan.Groups[d.group[g]].Group {
			if d.needed[g] {
				edge(d.id(n.Name), d.id(g))
			}
		}
	}
}

// uses calls edge for each service that a node lists.
func (d *drawing) uses(edge func(service, user string)) {
	for _, n := range d.plan.Nodes {
		for _, service := range n.Services() {
			edge(d.id(service), d.id(n.Name))
		}
	}
}

// walk calls visit for what stands directly in group: nodes first, then groups.
func (d *drawing) walk(group string, node func(i int), inner func(i int)) {
	for i, n := range d.plan.Nodes {
		if n.Group == group {
			node(i)
		}
	}
	for i, g := range d.plan.Groups {
		if g.Group == group {
			inner(i)
		}
	}
}

// label is what to write on a group: nothing for one without a name.
func label(g plan.Group) string {
	if strings.Contains(g.Name, "#") {
		return ""
	}
	return g.Name
}

// writeDot draws p in the language of Graphviz.
func writeDot(w io.Writer, p *plan.Plan) {
	d := draw(p)
	fmt.Fprintf(w, "digraph %s {\n  rankdir=LR\n  node [shape=box, style=rounded]\n", dotString(p.Pipeline))
	var in func(group, indent string)
	in = func(group, indent string) {
		d.walk(group, func(i int) {
			n := &p.Nodes[i]
			shape := ""
			switch {
			case n.Trigger() != nil:
				shape = ", shape=cds"
			case n.Approve() != nil:
				shape = ", shape=octagon"
			case n.Expand() != nil:
				shape = ", shape=folder"
			case n.IsService():
				shape = ", shape=cylinder"
			}
			fmt.Fprintf(w, "%sn%d [label=%s, tooltip=%s%s]\n", indent, i, dotString(n.Name), dotString(nodeText(n)), shape)
		}, func(i int) {
			g := p.Groups[i]
			fmt.Fprintf(w, "%ssubgraph cluster_%d {\n%s  label=%s\n", indent, i, indent, dotString(label(g)))
			in(g.Name, indent+"  ")
			fmt.Fprintf(w, "%s}\n", indent)
			if d.needed[g.Name] {
				fmt.Fprintf(w, "%s%s [shape=point, label=\"\"]\n", indent, d.id(g.Name))
			}
		})
	}
	in("", "  ")
	d.edges(func(from, to string) { fmt.Fprintf(w, "  %s -> %s\n", from, to) })
	d.uses(func(service, user string) { fmt.Fprintf(w, "  %s -> %s [style=dashed]\n", service, user) })
	fmt.Fprintln(w, "}")
}

// dotString quotes s: only the quote itself and the backslash mean something.
func dotString(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}

// writeMermaid draws p in the language of Mermaid, which forges show in
// Markdown.
func writeMermaid(w io.Writer, p *plan.Plan) {
	d := draw(p)
	fmt.Fprintln(w, "flowchart LR")
	var in func(group, indent string)
	in = func(group, indent string) {
		d.walk(group, func(i int) {
			n := &p.Nodes[i]
			open, close := "[", "]"
			switch {
			case n.Trigger() != nil:
				open, close = "[[", "]]"
			case n.Approve() != nil:
				open, close = "{{", "}}"
			case n.Expand() != nil:
				open, close = "[/", "/]"
			case n.IsService():
				open, close = "[(", ")]"
			}
			fmt.Fprintf(w, "%sn%d%s%s%s\n", indent, i, open, mermaidString(n.Name), close)
		}, func(i int) {
			g := p.Groups[i]
			title := label(g)
			if title == "" {
				title = " " // Mermaid shows the id when there is no title
			}
			fmt.Fprintf(w, "%ssubgraph g%d[%s]\n", indent, i, mermaidString(title))
			in(g.Name, indent+"  ")
			fmt.Fprintf(w, "%send\n", indent)
			if d.needed[g.Name] {
				fmt.Fprintf(w, "%s%s(( ))\n", indent, d.id(g.Name))
			}
		})
	}
	in("", "  ")
	d.edges(func(from, to string) { fmt.Fprintf(w, "  %s --> %s\n", from, to) })
	d.uses(func(service, user string) { fmt.Fprintf(w, "  %s -.-> %s\n", service, user) })
}

// mermaidString quotes s. Names of steps and groups hold nothing that would
// need more.
func mermaidString(s string) string {
	return `"` + strings.ReplaceAll(s, `"`, "#quot;") + `"`
}
