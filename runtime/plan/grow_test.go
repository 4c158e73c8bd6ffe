package plan

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

// expansion reads an Expansion from the lines of graph.
func expansion(text string) Expansion {
	p := graph(text)
	return Expansion{Nodes: p.Nodes, Groups: p.Groups}
}

func TestGrow(t *testing.T) {
	const list = "find:\nmore: find ?find\nuse: more\n"
	tests := []struct{ name, plan, expand, found, want string }{
		{"nothing", list, "more", "", "group more#\nfind:\nmore: find ?find\nuse: more more#\n"},
		{"a sequence", list, "more", "a:\nb: a", "group more#\nfind:\nmore: find ?find\nuse: more more#\na@more#: more\nb@more#: a\n"},
		{"groups", list, "more", "group more#p\ngroup in@more#p\na@more#p:\nb@in:\nc: more#p", `
group more#
group more#p@more#
group in@more#p
find:
more: find ?find
use: more more#
a@more#p: more
b@in: more
c@more#: more#p
`},
		{"what needs an empty group needs the expand", list, "more", "group e\ngroup f@e\na: e\ngroup g\ngroup h@g\nb@h:\nc: g", `
group more#
group e@more#
group f@e
group g@more#
group h@g
find:
more: find ?find
use: more more#
a@more#: more e
b@h: more
c@more#: g
`},
		{"the group stands where the expand does", "group g\nfind:\nmore@g: find ?find\nuse: g", "more", "a: more find\nb: find", `
group g
group more#@g
find:
more@g: find ?find
use: g
a@more#: more find
b@more#: more find
`},
		{"services stand apart", "service db:\na: +db\nmore: a ?a +db", "more", "service db:\nservice web:\nx: +db +web", `
group more#
service db:
a: +db
more: a ?a +db
service web:
x@more#: more +db +web
`},
		{"an expand inside", list, "more", "deep: more ?more", "group more#\nfind:\nmore: find ?find\nuse: more more#\ndeep@more#: more ?more\n"},
		{"and what that finds", "group more#\nfind:\nmore: find ?find\nuse: more more#\ndeep@more#: more ?more", "deep", "a: more", `
group more#
group deep#@more#
find:
more: find ?find
use: more more#
deep@more#: more ?more
a@deep#: deep more
`},
		{"what needs another expand needs what that has found", "group more#\nfind:\nmore: find ?find\nother: find ?find", "other", "a: more\nb: a more more#", `
group more#
group other#
find:
more: find ?find
other: find ?find
a@other#: other more more#
b@other#: a more more#
`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p, x := graph(test.plan), expansion(test.found)
			got, err := Grow(p, test.expand, x)
			require.NoError(t, err)
			require.Equal(t, strings.TrimPrefix(test.want, "\n"), lines(got))
			got.Format = Format
			require.Empty(t, Validate(got, 0))

			require.Empty(t, cmp.Diff(graph(test.plan), p), "the plan was changed")
			require.Empty(t, cmp.Diff(expansion(test.found), x), "the expansion was changed")
			for i, n := range p.Nodes {
				require.Equal(t, n.Name, got.Nodes[i].Name, "a node has lost its place")
			}
			again, err := Grow(p, test.expand, x) // a second time, from the same arrays
			require.NoError(t, err)
			require.Equal(t, lines(got), lines(again))
		})
	}
}

// Two expands of one plan must not write into each other's arrays.
func TestGrowTwiceFromOnePlan(t *testing.T) {
	p := graph("group g\na:\nx: a ?a\ny: a ?a\nuse: x y")
	p.Groups, p.Inputs, p.Environments = append(make([]Group, 0, 9), p.Groups...), make([]Input, 0, 9), make([]Environment, 0, 9)
	p.Nodes[3].Needs = append(make([]string, 0, 9), "x", "y")
	of := func(name string) *Plan {
		x := expansion(name + "1:")
		x.Environments, x.Inputs = []Environment{{Name: name}}, []Input{{Key: name}}
		got, err := Grow(p, name, x)
		require.NoError(t, err)
		return got
	}
	first := of("x")
	second := of("y")
	require.Equal(t, "group g\ngroup x#\na:\nx: a ?a\ny: a ?a\nuse: x y x#\nx1@x#: x\n", lines(first))
	require.Equal(t, "group g\ngroup y#\na:\nx: a ?a\ny: a ?a\nuse: x y y#\ny1@y#: y\n", lines(second))
	require.Equal(t, "x", first.Environments[0].Name)
	require.Equal(t, "y", second.Inputs[0].Key)
}

func TestGrowAddsWhatIsNew(t *testing.T) {
	p := graph("a:\nx: a ?a")
	p.Format, p.Timeout = Format, 7
	p.Environments = []Environment{{Name: "e", Kind: "host", PassEnv: []string{"A"}}}
	p.Inputs = []Input{{"file", "a", "sha256:1"}}
	x := Expansion{
		Environments: []Environment{{Name: "e", Kind: "host", PassEnv: []string{"A"}, Env: Env{}}, {Name: "f", Kind: "host"}},
		Inputs:       []Input{{"file", "a", "sha256:1"}, {"file", "b", "sha256:2"}},
	}
	got, err := Grow(p, "x", x)
	require.NoError(t, err)
	require.Equal(t, Duration(7), got.Timeout)
	require.Equal(t, []Environment{p.Environments[0], {Name: "f", Kind: "host"}}, got.Environments)
	require.Equal(t, []Input{{"file", "a", "sha256:1"}, {"file", "b", "sha256:2"}}, got.Inputs)
	require.Empty(t, Validate(got, 0))

	x.Environments[0].PassEnv = nil // another one of the same name
	got, err = Grow(p, "x", x)
	require.NoError(t, err)
	require.Equal(t, `error: environment "e" is defined twice`, Validate(got, 0).Error())
}

func TestGrowErrors(t *testing.T) {
	p := graph("a:\nx: a ?a")
	for node, want := range map[string]string{"y": `grow plan: there is no node "y"`, "a": `grow plan: step "a" is no expand`} {
		_, err := Grow(p, node, Expansion{})
		require.EqualError(t, err, want)
	}
	for _, found := range []string{"b@g:", "group h@g\nb@h:", "b@x#:"} {
		_, err := Grow(graph("group g\na@g:\nx@g: a ?a"), "x", expansion(found))
		require.ErrorContains(t, err, `grow plan: what expand "x" found stands in group "`)
		require.ErrorContains(t, err, `", which it did not find`)
	}
}

// What an impl may return that does not fit into the plan is for Validate.
func TestValidateGrown(t *testing.T) {
	const before = "a:\nmore: a ?a\nlast: more"
	tests := []struct{ name, found, want string }{
		{"nothing wrong", "b: a\nc: b", ``},
		{"a name that is there", "b:\na:", `
P:202:1: error: step "a" has the name of step "a" (P:101:1)`},
		{"the same name twice", "b:\nb:", `
P:202:1: error: step "b" has the name of step "b" (P:201:1)`},
		{"another service of the same name", "service db:\nb: +db\nservice db: a", `
P:203:1: error: service "db" has the name of service "db" (P:201:1)
P:203:1: error: service "db" has what only a step can have: needs
hint: the steps that list it say when it runs`},
		{"a cycle inside", "b: c\nc: b", `
P:201:1: error: step "b" waits for itself: step "b" (P:201:1) needs step "c" (P:202:1) needs step "b"
hint: take away one depends_on, or move a step to another place in the flow`},
		{"a cycle through what comes after", "b: last", `
P:103:1: error: step "last" waits for itself: step "last" (P:103:1) needs what "more" found holds step "b" (P:201:1) needs step "last"
hint: take away one depends_on, or move a step to another place in the flow`},
		{"a name that is not there", "b: q", `
P:201:1: error: step "q" is not defined in pipeline "release"`},
		{"an expand of itself", "b: ?b", `
P:201:1: error: expand "b" uses its own result`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p, found := placed(before), placed(test.found)
			for i := range found.Nodes {
				found.Nodes[i].Pos.Line += 100
			}
			grown, err := Grow(p, "more", Expansion{Nodes: found.Nodes, Groups: found.Groups})
			require.NoError(t, err)
			require.Equal(t, strings.TrimPrefix(test.want, "\n"), Validate(grown, 0).Error())
		})
	}
}
