package plan

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// placed is graph with a place for every line: nodes at 101:1, 102:1 …, groups
// at 1:1, 2:1 ….
func placed(lines string) *Plan {
	p := graph(lines)
	p.Format, p.Pipeline = Format, "release"
	for i := range p.Groups {
		p.Groups[i].Pos = Pos{"P", int32(i + 1), 1}
	}
	for i := range p.Nodes {
		p.Nodes[i].Pos = Pos{"P", int32(i + 101), 1}
	}
	return p
}

func TestValidateNames(t *testing.T) {
	tests := []struct{ name, graph, want string }{
		{"nothing wrong", "group g\ngroup h@g\na@h:\nb@g: a\nc: g", ``},
		{"names of every kind", "0:\nbuild/linux-amd64:\nA_b.c:\n" + strings.Repeat("n", 200) + ":", ``},
		{"bad names", "-a:\n../x:\na\u00a0b:\né:\na#b:\n" + strings.Repeat("n", 201) + ":", `
P:101:1: error: "-a" is no name
hint: a name starts with a letter or digit, goes on with letters, digits and any of . _ / - and has at most 200 bytes
P:102:1: error: "../x" is no name
hint: a name starts with a letter or digit, goes on with letters, digits and any of . _ / - and has at most 200 bytes
P:103:1: error: "a\u00a0b" is no name
hint: a name starts with a letter or digit, goes on with letters, digits and any of . _ / - and has at most 200 bytes
P:104:1: error: "é" is no name
hint: a name starts with a letter or digit, goes on with letters, digits and any of . _ / - and has at most 200 bytes
P:105:1: error: "a#b" is no name
hint: a name starts with a letter or digit, goes on with letters, digits and any of . _ / - and has at most 200 bytes
P:106:1: error: "` + strings.Repeat("n", 60) + `"… is no name
hint: a name starts with a letter or digit, goes on with letters, digits and any of . _ / - and has at most 200 bytes`},
		{"no name", ":", `
P:101:1: error: a step has no name
hint: a name starts with a letter or digit, goes on with letters, digits and any of . _ / - and has at most 200 bytes`},
		{"made group names", "group parallel#1\ngroup a/b#2@parallel#1\na@a/b#2:", ``},
		{"duplicates", "group unit\ngroup g\ngroup g\nunit:\nlint:\nlint:\nlint:", `
P:1:1: error: group "unit" has the name of step "unit" (P:101:1)
P:3:1: error: group "g" has the name of group "g" (P:2:1)
P:102:1: error: step "lint" has the name of step "lint" (P:103:1)`},
		{"unknown needs", "unit:\nlint:\ndeploy: unti lint\npush: qqqqqqq unti unti", `
P:103:1: error: step "unti" is not defined in pipeline "release"
hint: did you mean "unit" (P:101:1)?
P:104:1: error: step "qqqqqqq" is not defined in pipeline "release"
P:104:1: error: step "unti" is not defined in pipeline "release"
hint: did you mean "unit" (P:101:1)?`},
		{"a made name is not proposed", "group parallel#1\na@parallel#1:\nb: parallel1", `
P:102:1: error: step "parallel1" is not defined in pipeline "release"`},
		{"unknown groups", "group g@nowhere\ngroup h@a\na@h:\nb@nowhere:\nc@a:", `
P:1:1: error: group "g" stands in group "nowhere", which is not defined
P:2:1: error: group "h" stands in group "a", which is not defined
P:102:1: error: step "b" stands in group "nowhere", which is not defined
P:103:1: error: step "c" stands in group "a", which is not defined`},
		{"a group before the one around it", "group in@out\ngroup out\na@in:", `
P:1:1: error: group "in" comes before group "out" (P:2:1), which encloses it`},
		{"a group in itself", "group g@g\na@g:", `
P:1:1: error: group "g" comes before group "g" (P:1:1), which encloses it
P:1:1: error: group "g" needs itself`},

		{"a node that needs itself", "a: a", `
P:101:1: error: step "a" needs itself`},
		{"a cycle", "a: c\nb: a\nc: b\nd: c", `
P:101:1: error: step "a" waits for itself: step "a" (P:101:1) needs step "c" (P:103:1) needs step "b" (P:102:1) needs step "a"
hint: take away one depends_on, or move a step to another place in the flow`},
		{"the shortest way round", "a: b c\nb: d\nc: a\nd: a", `
P:101:1: error: step "a" waits for itself: step "a" (P:101:1) needs step "c" (P:103:1) needs step "a"
hint: take away one depends_on, or move a step to another place in the flow`},
		{"a cycle through groups", "group out\ngroup parallel#1@out\nx: out\na@parallel#1: b\nb: x", `
P:101:1: error: step "x" waits for itself: step "x" (P:101:1) needs group "out" (P:1:1) holds the group at P:2:1 holds step "a" (P:102:1) needs step "b" (P:103:1) needs step "x"
hint: take away one depends_on, or move a step to another place in the flow`},
		{"a node that needs its own group", "group g\na@g: g", `
P:101:1: error: step "a" waits for itself: step "a" (P:101:1) needs group "g" (P:1:1) holds step "a"
hint: take away one depends_on, or move a step to another place in the flow`},
		{"two cycles", "a: b\nb: a\nc: d a\nd: c\ne: d", `
P:101:1: error: step "a" waits for itself: step "a" (P:101:1) needs step "b" (P:102:1) needs step "a"
hint: take away one depends_on, or move a step to another place in the flow
P:103:1: error: step "c" waits for itself: step "c" (P:103:1) needs step "d" (P:104:1) needs step "c"
hint: take away one depends_on, or move a step to another place in the flow`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := placed(test.graph)
			if test.name == "duplicates" {
				p.Nodes[2].Pos, p.Nodes[1].Pos = p.Nodes[1].Pos, p.Nodes[2].Pos // the later may stand before
				p.Nodes = p.Nodes[:3]
			}
			require.Equal(t, strings.TrimPrefix(test.want, "\n"), Validate(p, 0).Error())
		})
	}
}

func TestValidateFields(t *testing.T) {
	type change = func(*Plan, *Node)
	step := func(f func(*Step)) change { return func(_ *Plan, n *Node) { f(n.Step) } }
	tests := []struct {
		name   string
		change change
		want   string // codes and messages; "" is nothing wrong
	}{
		{"as it is", func(*Plan, *Node) {}, ""},
		{"all of it", func(p *Plan, n *Node) {
			p.Params = map[string]any{"s": "", "b": false, "i": int64(0), "l": []string{}}
			p.Environments = []Environment{{Name: "e", Kind: "venv", Path: ".venv"}, {Name: "c", Kind: "container", Image: "x"}}
			p.Environment = "e"
			*n.Own() = More{RunOn: Always, AllowFailure: "known"}
			*n.Step = Step{
				Argv: []Text{Lit("x"), Lit("")}, Dir: "a/../b", Env: Env{{"A", Text{Parts: []Part{{Secret: "s"}}}}}, Environment: "c",
				Retry: &Retry{Attempts: 100, Backoff: 1, On: []string{"1", "255", "timeout", "signal"}}, Inputs: []string{"**/*.go"},
				Requires: []Requirement{{Op: "all_of", Of: []Requirement{{Op: "has", Key: "k"}, {Op: "not", Of: []Requirement{{Op: "eq", Key: "k"}}}}}},
			}
		}, ""},

		{"no kind", func(_ *Plan, n *Node) { n.Step = nil }, `bad-node: node "a" must be exactly one of a step, a trigger, an approval and an expand`},
		{"two kinds", func(_ *Plan, n *Node) { n.Own().Trigger = &Trigger{Pipeline: "x"} }, `bad-node: node "a" must be exactly one of a step, a trigger, an approval and an expand`},
		{"run_on", func(_ *Plan, n *Node) { n.Own().RunOn = "sometimes" }, `bad-value: step "a": run_on is "sometimes"`},
		{"nothing to run", step(func(s *Step) { s.Script = "" }), `bad-value: step "a" has nothing to run`},
		{"two things to run", step(func(s *Step) { s.Argv = []Text{Lit("x")} }), `bad-value: step "a" has both a script and an argument list to run`},
		{"no program", step(func(s *Step) { s.Script, s.Argv = "", []Text{Lit("")} }), `bad-value: step "a": the program to run has no name`},
		{"attempts 0", step(func(s *Step) { s.Retry = &Retry{} }), `bad-value: step "a": retry attempts is 0: want 1 to 100`},
		{"attempts 101", step(func(s *Step) { s.Retry = &Retry{Attempts: 101} }), `bad-value: step "a": retry attempts is 101: want 1 to 100`},
		{"retry on", step(func(s *Step) { s.Retry = &Retry{Attempts: 2, On: []string{"0", "256", "+7", "07", "oom"}} }), `
bad-value: step "a": retry on "0": want an exit code from 1 to 255, "timeout" or "signal"
bad-value: step "a": retry on "256": want an exit code from 1 to 255, "timeout" or "signal"
bad-value: step "a": retry on "+7": want an exit code from 1 to 255, "timeout" or "signal"
bad-value: step "a": retry on "07": want an exit code from 1 to 255, "timeout" or "signal"
bad-value: step "a": retry on "oom": want an exit code from 1 to 255, "timeout" or "signal"`},
		{"negative durations", step(func(s *Step) {
			s.Timeout, s.Grace, s.Retry = -1, Duration(-time.Second), &Retry{Attempts: 1, Backoff: Duration(-time.Minute)}
		}), `
bad-value: step "a": timeout is -1ns: want a positive duration
bad-value: step "a": grace is -1s: want a positive duration
bad-value: step "a": retry backoff is -1m: want a positive duration`},
		{"negative durations of the build", func(p *Plan, _ *Node) { p.Timeout, p.QueueTimeout = -1, -1 }, `
bad-value: pipeline "release": timeout is -1ns: want a positive duration
bad-value: pipeline "release": queue_timeout is -1ns: want a positive duration`},
		{"a negative limit", func(p *Plan, _ *Node) { p.Groups = []Group{{Name: "g", Limit: -2}} }, `bad-value: group "g": limit is -2: want at least 1`},
		{"dirs", step(func(s *Step) { s.Dir = ".." }), `outside-tree: step "a": dir ".." leaves the tree`},
		{"dirs", step(func(s *Step) { s.Dir = "a/../../b" }), `outside-tree: step "a": dir "a/../../b" leaves the tree`},
		{"dirs", step(func(s *Step) { s.Dir = "/etc" }), `outside-tree: step "a": dir "/etc" leaves the tree`},
		{"dirs", step(func(s *Step) { s.Dir = "..." }), ``},
		{"globs", step(func(s *Step) { s.Inputs, s.Outputs = []string{"/etc/**"}, []string{"ok", "**/../../*"} }), `
outside-tree: step "a": inputs "/etc/**" leaves the tree
outside-tree: step "a": outputs "**/../../*" leaves the tree`},
		{"an unknown environment", func(p *Plan, n *Node) {
			p.Environments = []Environment{{Name: "linux", Kind: "host"}}
			p.Environment, n.Step.Environment = "windows", "linus"
		}, `
unknown-environment: pipeline "release" runs in environment "windows", which is not defined
unknown-environment: step "a" runs in environment "linus", which is not defined
	did you mean "linux"?`},
		{"environments", func(p *Plan, _ *Node) {
			p.Environments = []Environment{
				{Name: "a", Kind: "host"}, {Name: "a", Kind: "host"}, {Name: "b", Kind: "vm"}, {Name: "c", Kind: "container"},
				{Kind: "host"}, {Name: "v", Kind: "venv", Path: "/opt", Requirements: []string{"../r.txt"}},
				{Name: "s", Kind: "host", Env: Env{{"A", Text{Parts: []Part{{Output: &Output{"a", "k"}}}}}}},
			}
		}, `
duplicate-name: environment "a" is defined twice
bad-value: environment "b" has the kind "vm"
bad-value: environment "c" is a container without an image
bad-name: "" is no name of an environment
outside-tree: environment "v": path "/opt" leaves the tree
outside-tree: environment "v": requirements "../r.txt" leaves the tree
misplaced-output: environment "s": A cannot hold the output "k" of step "a"`},
		{"requirements", step(func(s *Step) {
			s.Requires = []Requirement{{Op: "eq"}, {Op: "near", Key: "x"}, {Op: "any_of"}, {Op: "not", Of: []Requirement{{Op: "has", Key: "x"}, {Op: "what"}}}}
		}), `
bad-value: step "a": the requirement "eq" wants the key of a fact and nothing inside
bad-value: step "a": there is no requirement "near"
bad-value: step "a": the requirement "any_of" holds 0 requirements
bad-value: step "a": the requirement "not" holds 2 requirements
bad-value: step "a": there is no requirement "what"`},
		{"a trigger of nothing", func(_ *Plan, n *Node) { n.Step, n.Own().Trigger = nil, &Trigger{} }, `bad-value: trigger "a" names no pipeline`},
		{"parameters", func(p *Plan, _ *Node) { p.Params = map[string]any{"f": 1.5, "a": 1, "n": nil} }, `
bad-value: parameter "a" is a int: want string, bool, int64 or []string
bad-value: parameter "f" is a float64: want string, bool, int64 or []string
bad-value: parameter "n" is a <nil>: want string, bool, int64 or []string`},

		{"not UTF-8", step(func(s *Step) { s.Script = "a\xff" }), `bad-text: step "a": run is not UTF-8: "a\xff"`},
		{"NUL", step(func(s *Step) { s.Env = Env{{"A", Lit("a\x00b")}} }), `bad-text: step "a": A holds a NUL byte: "a\x00b"`},
		{"names of values", step(func(s *Step) { s.Env = Env{{"", Lit("")}, {"A=B", Lit("")}, {"C\x00", Lit("")}, {"\xff", Lit("")}} }), `
bad-name: step "a": "" is no name of a value
bad-name: step "a": "A=B" is no name of a value
bad-name: step "a": "C\x00" is no name of a value
bad-name: step "a": "\xff" is no name of a value`},
		{"values twice", step(func(s *Step) { s.Env = Env{{"B", Lit("")}, {"B", Lit("")}, {"A", Lit("")}} }), `
bad-value: step "a": the value "B" is named twice or not in order
bad-value: step "a": the value "A" is named twice or not in order`},
		{"secrets", func(p *Plan, n *Node) {
			secret := Text{Parts: []Part{{Secret: "s"}}}
			n.Step.Script, n.Step.Argv = "", []Text{Lit("x"), secret}
			n.Step.Env = Env{{"A", Text{Parts: []Part{{Literal: "x"}, {Secret: "s"}}}}}
			p.Env = Env{{"A", secret}}
			p.Nodes = append(p.Nodes, Node{Name: "t", More: &More{Trigger: &Trigger{Pipeline: "x", Params: Env{{"p", secret}}}}})
		}, `
misplaced-secret: step "a": run cannot hold the secret "s"
	give it to a step by env
misplaced-secret: step "a": the secret "s" must be the whole of A
	give it a variable of its own
misplaced-secret: trigger "t": p cannot hold the secret "s"
	give it to a step by env`},
		{"texts that are two things", step(func(s *Step) {
			s.Env = Env{{"A", Text{Literal: "x", Parts: []Part{{Secret: "s"}}}}, {"B", Text{Parts: []Part{{Secret: "s", Literal: "x"}}}}}
		}), `
bad-value: step "a": A is both a literal and made of parts
bad-value: step "a": a part of B is more than one thing`},
		{"outputs of the plan", func(p *Plan, _ *Node) { p.Env = Env{{"A", Text{Parts: []Part{{Output: &Output{"a", "k"}}}}}} },
			`misplaced-output: pipeline "release": A cannot hold the output "k" of step "a"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := &Plan{Format: Format, Pipeline: "release", Nodes: []Node{{Name: "a", Step: &Step{Script: "true"}}}}
			test.change(p, &p.Nodes[0])
			var got strings.Builder
			for _, d := range Validate(p, 0) {
				fmt.Fprintf(&got, "\n%s: %s", d.Code, d.Message)
				if strings.HasPrefix(d.Hint, "did you") || strings.HasPrefix(d.Hint, "give") {
					fmt.Fprintf(&got, "\n\t%s", d.Hint)
				}
				require.Equal(t, "error", d.Severity)
			}
			require.Equal(t, strings.TrimPrefix(test.want, "\n"), strings.TrimPrefix(got.String(), "\n"))
		})
	}
}

func TestValidateOutputs(t *testing.T) {
	const lines = `
		group g
		group in@g
		a:
		b: a
		c: b
		x@in: c
		y@g: x
		z: g
		beside:
		asks:`
	tests := []struct{ node, of, want string }{
		{"b", "a", ""},
		{"c", "a", ""},
		{"y", "a", ""},
		{"z", "y", ""},
		{"z", "x", ""},
		{"z", "a", ""},
		{"a", "b", `P:101:1: error: step "a" uses the output "k" of step "b" (P:102:1), which need not have ended by then
hint: put "a" after "b", which waits for it now`},
		{"z", "beside", `P:106:1: error: step "z" uses the output "k" of step "beside" (P:107:1), which need not have ended by then
hint: add depends_on = ["beside"] to "z"`},
		{"x", "y", `P:104:1: error: step "x" uses the output "k" of step "y" (P:105:1), which need not have ended by then
hint: put "x" after "y", which waits for it now`},
		{"a", "a", `P:101:1: error: step "a" uses its own output "k"`},
		{"z", "besides", `P:106:1: error: step "besides" is not defined in pipeline "release"
hint: did you mean "beside" (P:107:1)?`},
		{"z", "g", `P:106:1: error: step "z" uses the output "k" of group "g", and only steps have outputs`},
		{"z", "asks", `P:106:1: error: step "z" uses the output "k" of approval "asks", and only steps have outputs`},
	}
	for _, test := range tests {
		t.Run(test.node+" of "+test.of, func(t *testing.T) {
			text := Text{Parts: []Part{{Literal: "v"}, {Output: &Output{test.of, "k"}}}}
			for where, use := range map[string]func(*Node){
				"argv":   func(n *Node) { n.Step.Script, n.Step.Argv = "", []Text{Lit("x"), text} },
				"env":    func(n *Node) { n.Step.Env = Env{{"A", text}} },
				"params": func(n *Node) { n.Step, n.Own().Trigger = nil, &Trigger{Pipeline: "x", Params: Env{{"p", text}}} },
			} {
				p := placed(lines)
				last := &p.Nodes[len(p.Nodes)-1]
				last.Step, last.Own().Approve = nil, &Approve{}
				i, _ := NewGraph(p).Lookup(test.node)
				use(&p.Nodes[i])
				want := test.want
				if where == "params" {
					if test.node == test.of {
						continue // no step any more
					}
					want = strings.Replace(want, `error: step "`+test.node+`"`, `error: trigger "`+test.node+`"`, 1)
				}
				require.Equal(t, want, Validate(p, 0).Error(), where)
			}
		})
	}
}

// More steps than fit into one pass, right ones and wrong ones.
func TestValidateManyOutputs(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	p := &Plan{Format: Format}
	for i := range 500 {
		n := Node{Name: fmt.Sprint(i), Step: &Step{Script: "true"}}
		for range min(i, 2) {
			n.Needs = append(n.Needs, fmt.Sprint(rng.IntN(i)))
		}
		p.Nodes = append(p.Nodes, n)
	}
	above := ancestors(p)
	wrong := 0
	for i := range p.Nodes {
		var env Env
		for k := range 3 {
			of := fmt.Sprint(rng.IntN(500))
			env = append(env, Var{fmt.Sprint(k), Text{Parts: []Part{{Output: &Output{of, "k"}}}}})
			if !above[fmt.Sprint(i)][of] {
				wrong++
			}
		}
		p.Nodes[i].Step.Env = env
		p.Nodes[i].Pos = Pos{"P", int32(i), 1}
	}
	found := Validate(p, 0)
	require.Greater(t, wrong, 500)
	require.InDelta(t, wrong, len(found), 10) // the same one named twice by a node is said once
	for _, d := range found {
		require.Equal(t, "not-before", d.Code)
	}
}

func TestValidateNodeLimit(t *testing.T) {
	require.Empty(t, Validate(wide(MaxNodes), 0))
	p := wide(MaxNodes + 1)
	p.Nodes[7].Name = "-"
	d := Validate(p, 0)
	require.Len(t, d, 1)
	require.Equal(t, `PIPER.star:20001:5: error: pipeline "build" has 20001 nodes, and the limit is 20000
hint: split the pipeline, or raise the setting max_nodes (20000)`, d.Error())
	require.Equal(t, "too-many-nodes", d[0].Code)
	require.Len(t, Validate(wide(3), 2), 1)
	require.Empty(t, Validate(wide(2), 2))
}

// A long cycle is cut, and many bad names cost no more than few.
func TestValidateLargePlans(t *testing.T) {
	p := &Plan{Format: Format}
	for i := range 20_000 {
		p.Nodes = append(p.Nodes, Node{Name: fmt.Sprint(i), Needs: []string{fmt.Sprint((i + 1) % 20_000)}, Step: &Step{Script: "true"}})
	}
	d := Validate(p, 0)
	require.Len(t, d, 1)
	require.Contains(t, d[0].Message, `step "0" waits for itself: step "0" needs step "1" needs`)
	require.Contains(t, d[0].Message, `needs step "19" needs … 19980 more … step "0"`)

	for i := range p.Nodes {
		p.Nodes[i].Needs = []string{p.Nodes[i].Name + "x"}
	}
	d = Validate(p, 0)
	require.Len(t, d, 20_000)
	hints := 0
	for _, d := range d {
		if d.Hint != "" {
			hints++
		}
	}
	require.LessOrEqual(t, hints, 10)
}

func TestValidateIsDeterministic(t *testing.T) {
	p := placed("group g@x\na: zz\nb@q: b\nb:\nc: d\nd: c")
	p.Params = map[string]any{"b": 1, "a": 2, "c": 3}
	want := Validate(p, 0).Error()
	for range 20 {
		require.Equal(t, want, Validate(p, 0).Error())
	}
}

func TestGraphOrder(t *testing.T) {
	g := NewGraph(graph("group g\ngroup e\nlast: g e\nx@g: first\nfirst:\nloop: loop\nbehind: loop"))
	names := func(vertices []int32) (names []string) {
		for _, v := range vertices {
			names = append(names, g.Name(v))
		}
		return names
	}
	require.Equal(t, []string{"first", "e", "x", "g", "last"}, names(g.Order()))
	require.Equal(t, []string{"last"}, names(g.Users(5)))
	require.True(t, g.Whole())
	require.False(t, NewGraph(graph("a: b")).Whole())
	require.False(t, NewGraph(graph("a:\na:")).Whole())

	g = NewGraph(graph("group g\na@g:\nb: a\nc: g\nd: c b"))
	require.Equal(t, []float32{1114, 1010, 1100, 1000, 1110}[1:4], g.Longest(g.Order(), func(i int) float32 { return []float32{4, 10, 100, 1000}[i] })[1:4])
	require.Equal(t, float32(1104), g.Longest(g.Order(), func(i int) float32 { return []float32{4, 10, 100, 1000}[i] })[0])
}

func BenchmarkValidate(b *testing.B) {
	chain := func(n int) *Plan { // each step uses the output of the first: 1 source; and of one 7 before: n sources
		p := wide(n)
		for i := range p.Nodes {
			if i > 0 {
				p.Nodes[i].Needs = []string{p.Nodes[i-1].Name}
			}
			if i > 7 {
				p.Nodes[i].Step.Env = Env{{"A", Text{Parts: []Part{{Output: &Output{p.Nodes[i-7].Name, "k"}}}}}}
			}
		}
		return p
	}
	for _, n := range []int{2000, 20_000} {
		for name, p := range map[string]*Plan{"wide": wide(n), "outputs": chain(n)} {
			b.Run(fmt.Sprintf("%s/%d", name, n), func(b *testing.B) {
				for b.Loop() {
					if d := Validate(p, 0); len(d) > 0 {
						b.Fatal(d)
					}
				}
			})
		}
	}
}
