package layout

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/piper-build/piper/runtime/plan"
)

var update = flag.Bool("update", false, "rewrite the drawings in testdata")

// TestDrawings draws the plans of testdata/drawings.txt. A case is a headline
// "=== what it shows", the plan in short (see parse), an empty line and the
// drawing.
func TestDrawings(t *testing.T) {
	const file = "testdata/drawings.txt"
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	var out strings.Builder
	for text := range strings.SplitSeq(strings.TrimPrefix(string(data), "=== "), "=== ") {
		title, body, _ := strings.Cut(text, "\n")
		t.Run(title, func(t *testing.T) {
			short, want, _ := strings.Cut(body, "\n\n")
			p := parse(t, short)
			require.Empty(t, plan.Validate(p, 0))
			check(t, p)
			got := drawn(New(p))
			fmt.Fprintf(&out, "=== %s\n%s\n\n%s", title, strings.TrimSpace(short), got)
			if !*update {
				require.Equal(t, want, got)
			}
		})
	}
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(out.String()), 0o666))
	}
}

// parse reads a line for each node, "name kind @group <need <need +service", or
// group, "name group @outer".
func parse(t *testing.T, text string) *plan.Plan {
	p := &plan.Plan{Format: plan.Format, Project: plan.Project{Name: "p"}, Pipeline: "build"}
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		n := plan.Node{Name: words[0], Step: &plan.Step{Script: "true"}}
		for _, w := range words[1:] {
			switch {
			case w[0] == '@':
				n.Group = w[1:]
			case w[0] == '<':
				n.Needs = append(n.Needs, w[1:])
			case w[0] == '+':
				n.Step.Services = append(n.Step.Services, w[1:])
			case w == "service":
				n.Step.Service = &plan.Service{}
			case w == "approve":
				n.Step, n.More = nil, &plan.More{Approve: &plan.Approve{}}
			case w == "trigger":
				n.Step, n.More = nil, &plan.More{Trigger: &plan.Trigger{Pipeline: "other"}}
			case w == "expand":
				n.Step, n.More = nil, &plan.More{Expand: &plan.Expand{}}
			case w == "group":
				n.Step = nil
			default:
				require.Fail(t, "no such word", w)
			}
		}
		switch {
		case n.Expand() != nil:
			n.Expand().After = n.Needs[0]
			p.Nodes = append(p.Nodes, n)
		case n.Step == nil && n.More == nil:
			p.Groups = append(p.Groups, plan.Group{Name: n.Name, Group: n.Group})
			if strings.Contains(n.Name, "#") {
				p.Groups[len(p.Groups)-1].Pos = plan.Pos{File: "PIPER.star", Line: 1, Column: 1}
			}
		default:
			p.Nodes = append(p.Nodes, n)
		}
	}
	return p
}

// drawn is g in text.
func drawn(g *Graph) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%dx%d\n", g.Width, g.Height)
	for _, n := range g.Nodes {
		fmt.Fprintf(&b, "%s %s %d,%d %dx%d\n", n.Kind, n.Name, n.X, n.Y, n.Width, n.Height)
	}
	for _, e := range g.Edges {
		fmt.Fprintf(&b, "%s -> %s", e.From, e.To)
		for _, at := range e.Points {
			fmt.Fprintf(&b, " %d,%d", at[0], at[1])
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// check holds what is promised of every drawing.
func check(t require.TestingT, p *plan.Plan) *Graph {
	g := New(p)
	require.Equal(t, g, New(p), "the same plan is drawn in the same way")
	require.Len(t, g.Nodes, len(p.Nodes))
	boxes := map[string]Node{}
	for i, n := range g.Nodes {
		require.Equal(t, p.Nodes[i].Name, n.Name)
		require.Equal(t, boxHeight, n.Height)
		require.GreaterOrEqual(t, n.Width, len([]rune(Label(n.Name)))*cellWidth)
		require.True(t, n.X >= margin && n.Y >= margin && n.X+n.Width <= g.Width-margin && n.Y+n.Height <= g.Height-margin, "%+v is outside", n)
		boxes[n.Name] = n
	}
	inside := func(n Node, left, top, right, bottom int) bool {
		return left < n.X+n.Width && n.X < right && top < n.Y+n.Height && n.Y < bottom
	}
	for i, a := range g.Nodes {
		for _, b := range g.Nodes[:i] {
			require.False(t, inside(a, b.X-1, b.Y-1, b.X+b.Width+1, b.Y+b.Height+1), "%+v and %+v touch", a, b)
		}
	}
	joints := map[string][2]int{}
	at := func(name string, point [2]int) {
		if was, ok := joints[name]; ok {
			require.Equal(t, was, point, "the edges of joint %s do not meet", name)
		}
		joints[name] = point
	}
	leads := map[string][]string{}
	for _, e := range g.Edges {
		require.GreaterOrEqual(t, len(e.Points), 2)
		first, last := e.Points[0], e.Points[len(e.Points)-1]
		if n, ok := boxes[e.From]; ok {
			require.Equal(t, [2]int{n.X + n.Width, n.Y + n.Height/2}, first, "%+v", e)
		} else {
			at(e.From, first)
		}
		if n, ok := boxes[e.To]; ok {
			require.Equal(t, [2]int{n.X, n.Y + n.Height/2}, last, "%+v", e)
		} else {
			at(e.To, last)
		}
		for i, b := range e.Points[1:] {
			a := e.Points[i]
			require.Less(t, a[0], b[0], "%+v leads back", e)
			for _, n := range g.Nodes {
				require.False(t, inside(n, a[0], min(a[1], b[1])-1, b[0], max(a[1], b[1])+1), "%+v leads through %+v", e, n)
			}
			require.True(t, a[1] >= margin && a[1] <= g.Height-margin && b[1] >= margin && b[1] <= g.Height-margin)
		}
		leads[e.From] = append(leads[e.From], e.To)
	}
	for _, tos := range leads {
		require.Len(t, slices.Compact(slices.Sorted(slices.Values(tos))), len(tos), "an edge is there twice")
	}
	require.Equal(t, follows(p), reached(p, leads))
	return g
}

// follows says of each node of a plan what it comes after, its services included.
func follows(p *plan.Plan) map[string][]string {
	leads := map[string][]string{}
	g := plan.NewGraph(p)
	for v := range int32(g.Len()) {
		for _, u := range g.Users(v) {
			leads[g.Name(v)] = append(leads[g.Name(v)], g.Name(u))
		}
		if group := g.Group(v); group >= 0 {
			leads[g.Name(v)] = append(leads[g.Name(v)], g.Name(group))
		}
	}
	for i := range p.Nodes {
		for _, s := range p.Nodes[i].Services() {
			leads[s] = append(leads[s], p.Nodes[i].Name)
		}
	}
	return reached(p, leads)
}

// reached says of each node which nodes one gets to from it.
func reached(p *plan.Plan, leads map[string][]string) map[string][]string {
	nodes := map[string]bool{}
	for _, name := range p.NodeNames() {
		nodes[name] = true
	}
	all := map[string][]string{}
	for name := range nodes {
		seen := map[string]bool{}
		var walk func(string)
		walk = func(at string) {
			for _, to := range leads[at] {
				if !seen[to] {
					seen[to] = true
					if nodes[to] {
						all[name] = append(all[name], to)
					}
					walk(to)
				}
			}
		}
		walk(name)
		slices.Sort(all[name])
	}
	return all
}

func TestProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &plan.Plan{Pipeline: "build"}
		var groups []string
		services := rapid.IntRange(0, 2).Draw(t, "services")
		for i := range services {
			p.Nodes = append(p.Nodes, plan.Node{Name: fmt.Sprintf("db%d", i), Step: &plan.Step{Service: &plan.Service{}}})
		}
		for i := range rapid.IntRange(0, 5).Draw(t, "groups") {
			g := plan.Group{Name: fmt.Sprintf("g%d", i)}
			if len(groups) > 0 && rapid.Bool().Draw(t, "nested") {
				g.Group = rapid.SampledFrom(groups).Draw(t, "outer")
			}
			groups = append(groups, g.Name)
			p.Groups = append(p.Groups, g)
		}
		names := slices.Clone(groups)
		for i := range rapid.IntRange(0, 40).Draw(t, "nodes") {
			n := plan.Node{Name: strings.Repeat("n", rapid.IntRange(1, 40).Draw(t, "long")) + fmt.Sprint(i), Step: &plan.Step{}}
			if len(groups) > 0 {
				n.Group = rapid.SampledFrom(append(groups, "")).Draw(t, "group")
			}
			if len(names) > 0 {
				n.Needs = rapid.SliceOfN(rapid.SampledFrom(names), 0, 4).Draw(t, "needs")
			}
			if services > 0 && rapid.Bool().Draw(t, "uses") {
				n.Step.Services = []string{"db0", fmt.Sprintf("db%d", services-1)}
			}
			names = append(names, n.Name)
			p.Nodes = append(p.Nodes, n)
		}
		if len(plan.NewGraph(p).Order()) < len(p.Nodes)+len(p.Groups) {
			New(p) // which is no valid plan, and no reason to break
			return
		}
		check(t, p)
	})
}

// layered is a plan of so many nodes in stages that each wait for some of the last
// ones.
func layered(nodes, stage int) *plan.Plan {
	r := rand.New(rand.NewPCG(1, 2))
	p := &plan.Plan{Pipeline: "build"}
	for i := range nodes {
		n := plan.Node{Name: fmt.Sprintf("step/%d", i), Step: &plan.Step{}}
		if i >= stage {
			for range 1 + r.IntN(3) {
				back := 1 + r.IntN(2)*r.IntN(3)
				n.Needs = append(n.Needs, fmt.Sprintf("step/%d", max(0, (i/stage-back)*stage+(i+r.IntN(5)-2+stage)%stage)))
			}
		}
		p.Nodes = append(p.Nodes, n)
	}
	return p
}

// What is big stays in proportion.
func TestBig(t *testing.T) {
	numbered := func(p *plan.Plan, n int, needs ...string) (names []string) {
		for range n {
			node := plan.Node{Name: fmt.Sprintf("n%d", len(p.Nodes)), Needs: needs, Step: &plan.Step{}}
			p.Nodes = append(p.Nodes, node)
			names = append(names, node.Name)
		}
		return names
	}
	for name, test := range map[string]struct {
		make   func(p *plan.Plan)
		edges  int
		points int // at most
	}{
		"alone":     {func(p *plan.Plan) { numbered(p, 1000) }, 0, 0},
		"fan in":    {func(p *plan.Plan) { numbered(p, 1, numbered(p, 100_000)...) }, 100_000, 200_000},
		"bipartite": {func(p *plan.Plan) { numbered(p, 300, numbered(p, 300)...) }, 600, 1200},
		"nearly bipartite": {func(p *plan.Plan) {
			first := numbered(p, 300)
			for i := range 300 {
				numbered(p, 1, append(slices.Clone(first[:i]), first[i+1:]...)...)
			}
		}, 300 * 299, 300 * 299 * 2},
		"chain": {func(p *plan.Plan) {
			last := numbered(p, 1)
			for range 19_999 {
				last = numbered(p, 1, last...)
			}
		}, 19_999, 2 * 19_999},
		"chain that all need the first of": {func(p *plan.Plan) {
			last := numbered(p, 1)
			for range 9_999 {
				last = numbered(p, 1, last[len(last)-1], "n0")
			}
		}, 2*9_999 - 1, 200_000},
		"short chain that all need the first of": {func(p *plan.Plan) {
			last := numbered(p, 1)
			for range 1_000 {
				last = numbered(p, 1, last[0], "n0")
			}
		}, 1_000, 2_000},
		"chain of which all is needed": {func(p *plan.Plan) {
			var all []string
			for range 10_000 {
				all = append(all, numbered(p, 1, all[max(0, len(all)-1):]...)...)
			}
			numbered(p, 1, all...)
		}, 2*9_999 + 1, 200_000},
		"pairs": {func(p *plan.Plan) {
			for range 10_000 {
				numbered(p, 1, numbered(p, 1)...)
			}
		}, 10_000, 20_000},
		"nested": {func(p *plan.Plan) {
			for i := range 5_000 {
				p.Groups = append(p.Groups, plan.Group{Name: fmt.Sprintf("g%d", i)})
				if i > 0 {
					p.Groups[i].Group = p.Groups[i-1].Name
				}
				numbered(p, 2)
				p.Nodes[2*i].Group, p.Nodes[2*i+1].Group = p.Groups[i].Name, p.Groups[i].Name
			}
			numbered(p, 2, "g0")
		}, 10_002, 200_000},
	} {
		t.Run(name, func(t *testing.T) {
			p := &plan.Plan{}
			test.make(p)
			g := New(p)
			require.Len(t, g.Edges, test.edges)
			points := 0
			for _, e := range g.Edges {
				points += len(e.Points)
			}
			require.LessOrEqual(t, points, test.points)
		})
	}
	check(t, layered(300, 20))
	g := New(&plan.Plan{Nodes: layered(1000, 1000).Nodes})
	require.Less(t, g.Width, 2*g.Height, "a grid")
	require.Less(t, g.Height, 2*g.Width, "a grid")
}

func TestLabel(t *testing.T) {
	for name, want := range map[string]string{
		"":                                   "",
		"compile/linux-amd64":                "compile/linux-amd64",
		strings.Repeat("x", 32):              strings.Repeat("x", 32),
		strings.Repeat("x", 33):              strings.Repeat("x", 31) + "…",
		strings.Repeat("世", 16):              strings.Repeat("世", 16),
		"x" + strings.Repeat("世", 16):        "x" + strings.Repeat("世", 15) + "…",
		"a\u202eb\x00c\n\xff":                "a\uFFFDb\uFFFDc\uFFFD\uFFFD",
		"e" + strings.Repeat("\u0301", 1000): "e" + strings.Repeat("\u0301", 30) + "…",
		"שלום":                               "שלום",
	} {
		require.Equal(t, want, Label(name))
	}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.String().Draw(t, "name")
		require.True(t, utf8.ValidString(Label(name)))
		require.LessOrEqual(t, boxWidth(name), maxLabel*cellWidth+2*padding)
	})
}

func BenchmarkNew(b *testing.B) {
	for _, n := range []int{100, 1_000, 10_000} {
		p := layered(n, n/25)
		b.Run(fmt.Sprintf("%d nodes", n), func(b *testing.B) {
			for b.Loop() {
				New(p)
			}
		})
	}
}
