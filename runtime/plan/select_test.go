package plan

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// graph reads a plan from lines such as "c: a b" (c needs a and b),
// "c@g: a" (c stands in the group g) and "group h@g" (h stands in g). "service
// db:" is a service, "c: a +db" lists it, "x: a ?a" is an expand of a.
func graph(lines string) *Plan {
	p := &Plan{}
	for line := range strings.Lines(lines) {
		line = strings.TrimSpace(line)
		if line == "" {
			continue
		}
		if rest, ok := strings.CutPrefix(line, "group "); ok {
			name, group, _ := strings.Cut(rest, "@")
			p.Groups = append(p.Groups, Group{Name: name, Group: group})
			continue
		}
		head, words, _ := strings.Cut(line, ":")
		head, service := strings.CutPrefix(head, "service ")
		name, group, _ := strings.Cut(head, "@")
		n := Node{Name: name, Group: group, Needs: []string{}, Step: &Step{Script: "true"}}
		var services []string
		for _, word := range strings.Fields(words) {
			switch word[0] {
			case '+':
				services = append(services, word[1:])
			case '?':
				n.Step, n.Own().Expand = nil, &Expand{After: word[1:]}
			default:
				n.Needs = append(n.Needs, word)
			}
		}
		if n.Expand() != nil {
			n.Expand().Services = services
		} else {
			n.Step.Services = services
		}
		if service {
			n.Step.Service = &Service{}
		}
		p.Nodes = append(p.Nodes, n)
	}
	return p
}

// lines is the opposite of graph.
func lines(p *Plan) string {
	var b strings.Builder
	at := func(group string) string {
		if group == "" {
			return ""
		}
		return "@" + group
	}
	for _, g := range p.Groups {
		fmt.Fprintf(&b, "group %s%s\n", g.Name, at(g.Group))
	}
	for _, n := range p.Nodes {
		if n.IsService() {
			b.WriteString("service ")
		}
		words := n.Needs
		if n.Expand() != nil {
			words = append(slices.Clip(words), "?"+n.Expand().After)
		}
		for _, service := range n.Services() {
			words = append(slices.Clip(words), "+"+service)
		}
		b.WriteString(strings.TrimSpace(n.Name+at(n.Group)+": "+strings.Join(words, " ")) + "\n")
	}
	return b.String()
}

func TestSelect(t *testing.T) {
	const chain = `
		a:
		b: a
		c: b
		d: c`
	const stages = `
		group checks
		group builds
		lint@checks:
		unit@checks:
		build/linux@builds: checks
		build/darwin@builds: checks
		publish: builds
		notify: publish`
	const lanes = `
		group g
		group x@g
		first:
		x1@x: first
		x2@x: x1
		y@g: first
		last: g`

	const beside = `
		service web:
		service db:
		a: +db
		b: a +web +db
		more: a ?a +db`

	tests := []struct {
		name  string
		graph string
		sel   Selection
		want  string
	}{
		{"nothing asked", chain, Selection{}, "a:\nb: a\nc: b\nd: c\n"},
		{"only one", chain, Selection{Only: []string{"b"}}, "b:\n"},
		{"only two keeps their order", chain, Selection{Only: []string{"a", "d"}}, "a:\nd: a\n"},
		{"from", chain, Selection{From: []string{"c"}}, "c:\nd: c\n"},
		{"from does not run what is beside", stages, Selection{From: []string{"build/linux"}},
			"group builds\nbuild/linux@builds:\npublish: builds\nnotify: publish\n"},
		{"skip hands the order down", chain, Selection{Skip: []string{"b"}}, "a:\nc: a\nd: c\n"},
		{"skip the whole stage", stages, Selection{Skip: []string{"build/*"}},
			"group checks\nlint@checks:\nunit@checks:\npublish: checks\nnotify: publish\n"},
		{"skip part of a stage", stages, Selection{Skip: []string{"unit"}},
			"group checks\ngroup builds\nlint@checks:\nbuild/linux@builds: checks\nbuild/darwin@builds: checks\npublish: builds\nnotify: publish\n"},
		{"part of a stage still waits for what was before it", stages, Selection{Skip: []string{"build/linux"}},
			"group checks\ngroup builds\nlint@checks:\nunit@checks:\nbuild/darwin@builds: checks\npublish: builds checks\nnotify: publish\n"},
		{"a group is all that is inside", stages, Selection{Only: []string{"checks"}},
			"group checks\nlint@checks:\nunit@checks:\n"},
		{"glob over groups", stages, Selection{Only: []string{"check?"}},
			"group checks\nlint@checks:\nunit@checks:\n"},
		{"globs that overlap", stages, Selection{Only: []string{"build/*", "build/linux*"}},
			"group builds\nbuild/linux@builds:\nbuild/darwin@builds:\n"},
		{"only and from add up", chain, Selection{Only: []string{"a"}, From: []string{"d"}}, "a:\nd: a\n"},
		{"skip wins", chain, Selection{From: []string{"b"}, Skip: []string{"c"}}, "b:\nd: b\n"},
		{"inside a group nothing is said twice", lanes, Selection{Skip: []string{"x2"}},
			"group g\ngroup x@g\nfirst:\nx1@x: first\ny@g: first\nlast: g\n"},
		{"an empty group goes", lanes, Selection{Skip: []string{"x"}},
			"group g\nfirst:\ny@g: first\nlast: g first\n"},
		{"a step keeps its services", beside, Selection{Only: []string{"b"}}, "service web:\nservice db:\nb: +web +db\n"},
		{"a service of none that is kept goes", beside, Selection{Skip: []string{"b"}}, "service db:\na: +db\nmore: a ?a +db\n"},
		{"an expand keeps its services", beside, Selection{Only: []string{"a", "more"}}, "service db:\na: +db\nmore: a ?a +db\n"},
		{"a service that is skipped is not listed", beside, Selection{Skip: []string{"db"}}, "service web:\na:\nb: a +web\nmore: a ?a\n"},
		{"a service alone is nothing", beside, Selection{Only: []string{"db"}}, ""},
		{"a glob over services too", beside, Selection{Only: []string{"*b"}}, "service web:\nservice db:\nb: +web +db\n"},
		{"from a service", beside, Selection{From: []string{"web"}}, "service web:\nservice db:\nb: +web +db\n"},
		{"nothing left", chain, Selection{Only: []string{"a"}, Skip: []string{"a"}}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := graph(test.graph)
			before := lines(p)
			got, err := Select(p, test.sel)
			require.NoError(t, err)
			require.Equal(t, test.want, lines(got))
			require.Equal(t, before, lines(p), "the plan was changed")
		})
	}
}

func TestSelectUnknown(t *testing.T) {
	for _, s := range []Selection{{Only: []string{"unti"}}, {From: []string{"unti"}}, {Skip: []string{"a", "unti"}}, {Skip: []string{"[unti"}}} {
		_, err := Select(graph("a:\nunit:\n"), s)
		var unknown *UnknownNameError
		require.ErrorAs(t, err, &unknown)
		require.Contains(t, unknown.Name, "unti")
		require.Contains(t, err.Error(), "no step matches")
	}
}

func TestSelectOutputOfWhatIsLeftOut(t *testing.T) {
	use := Text{Parts: []Part{{Literal: "v"}, {Output: &Output{Step: "a", Key: "version"}}}}
	for name, give := range map[string]func(*Node){
		"argv": func(n *Node) { n.Step.Argv = []Text{use} },
		"env":  func(n *Node) { n.Step.Env = Env{{Name: "V", Value: use}} },
		"params": func(n *Node) {
			n.Step, n.Own().Trigger = nil, &Trigger{Pipeline: "p", Params: Env{{Name: "v", Value: use}}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := graph("a:\nb: a\n")
			give(&p.Nodes[1])
			_, err := Select(p, Selection{Only: []string{"b"}})
			var left *LeftOutError
			require.ErrorAs(t, err, &left)
			require.Equal(t, LeftOutError{Node: "b", Output: Output{Step: "a", Key: "version"}}, *left)
			require.EqualError(t, err, `step "b" uses the output "version" of step "a", which is left out`)

			_, err = Select(p, Selection{From: []string{"a"}})
			require.NoError(t, err)
		})
	}
}

func TestSelectFillsInOutputsThatAreKnown(t *testing.T) {
	output := func(step, key string) Part { return Part{Output: &Output{Step: step, Key: key}} }
	p := graph("version:\nname:\nbuild: version name\nship: build")
	p.Nodes[2].Step = &Step{Argv: []Text{Lit("make"), {Parts: []Part{{Literal: "v"}, output("version", "v")}}},
		Env: Env{{Name: "NAME", Value: Text{Parts: []Part{output("name", "n"), {Literal: "-"}, output("version", "v")}}}}}
	p.Nodes[3] = Node{Name: "ship", Needs: []string{"build"}, More: &More{Trigger: &Trigger{Pipeline: "ship", Params: Env{{Name: "v", Value: Text{Parts: []Part{output("version", "v")}}}}}}}
	before := p.Digest()

	got, err := Select(p, Selection{Skip: []string{"version"}, Outputs: map[string]map[string]string{"version": {"v": "1.2"}, "name": {"n": "not this one, it runs"}}})
	require.NoError(t, err)
	require.Equal(t, []string{"name", "build", "ship"}, got.NodeNames())
	build, ship := got.Nodes[1], got.Nodes[2]
	require.Equal(t, []Text{Lit("make"), Lit("v1.2")}, build.Step.Argv)
	require.Equal(t, []Part{output("name", "n"), {Literal: "-"}, {Literal: "1.2"}}, build.Step.Env[0].Value.Parts)
	require.Equal(t, Lit("1.2"), ship.Trigger().Params[0].Value)
	require.Equal(t, before, p.Digest(), "the plan that was selected from stays as it is")

	_, err = Select(p, Selection{Skip: []string{"version"}, Outputs: map[string]map[string]string{"version": {"other": "1.2"}}})
	require.Equal(t, &LeftOutError{Node: "build", Output: Output{Step: "version", Key: "v"}}, err)
}

func TestSelectExpandOfWhatIsLeftOut(t *testing.T) {
	p := graph("a:\nb: a\nx: b ?a\nc: x")
	for _, s := range []Selection{{Only: []string{"x"}}, {Skip: []string{"a"}}, {From: []string{"b"}}} {
		_, err := Select(p, s)
		var left *LeftOutError
		require.ErrorAs(t, err, &left)
		require.EqualError(t, err, `expand "x" takes the result of "a", which is left out`)
	}
	got, err := Select(p, Selection{Skip: []string{"b", "x"}})
	require.NoError(t, err)
	require.Equal(t, "a:\nc: a\n", lines(got))
}

func TestSelectRunsACleanupThatIsAskedFor(t *testing.T) {
	p := graph("a:\nclean: a\n")
	p.Nodes[1].Own().RunOn = Failure

	got, err := Select(p, Selection{Only: []string{"clean"}})
	require.NoError(t, err)
	require.Equal(t, Success, got.Nodes[0].RunOn())

	got, err = Select(p, Selection{Skip: []string{"a"}})
	require.NoError(t, err)
	require.Equal(t, Failure, got.Nodes[0].RunOn(), "nobody asked for it")
}

// What is left waits, directly or not, for exactly those of its former
// ancestors that are left too.
func TestSelectKeepsTheOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := &Plan{}
		for i := range rapid.IntRange(0, 3).Draw(t, "groups") {
			g := Group{Name: fmt.Sprintf("g%d", i)}
			if i > 0 && rapid.Bool().Draw(t, "nested") {
				g.Group = p.Groups[i-1].Name
			}
			p.Groups = append(p.Groups, g)
		}
		closed := map[string]bool{} // groups whose nodes all came before
		for i := range rapid.IntRange(1, 12).Draw(t, "nodes") {
			n := Node{Name: fmt.Sprintf("n%d", i), Step: &Step{}}
			if len(p.Groups) > 0 {
				if g := rapid.SampledFrom(p.Groups).Draw(t, "group").Name; !closed[g] && rapid.Bool().Draw(t, "grouped") {
					n.Group = g
				}
			}
			for _, before := range p.Nodes {
				if rapid.IntRange(0, 3).Draw(t, "edge") == 0 {
					n.Needs = append(n.Needs, before.Name)
				}
			}
			for _, g := range p.Groups {
				if n.Group == "" && rapid.IntRange(0, 4).Draw(t, "needs group") == 0 {
					n.Needs = append(n.Needs, g.Name)
					closed[g.Name] = true
					for _, inner := range p.Groups {
						closed[inner.Name] = closed[inner.Name] || closed[inner.Group]
					}
				}
			}
			p.Nodes = append(p.Nodes, n)
		}

		var skip []string
		for _, n := range p.Nodes {
			if rapid.Bool().Draw(t, "skip "+n.Name) {
				skip = append(skip, n.Name)
			}
		}
		got, err := Select(p, Selection{Skip: skip})
		require.NoError(t, err)
		require.Len(t, got.Nodes, len(p.Nodes)-len(skip))

		was, is := ancestors(p), ancestors(got)
		for _, n := range got.Nodes {
			want := map[string]bool{}
			for name := range was[n.Name] {
				if is[name] != nil {
					want[name] = true
				}
			}
			require.Equal(t, want, is[n.Name], n.Name)
		}
	})
}

// ancestors returns the nodes above each node of p.
func ancestors(p *Plan) map[string]map[string]bool {
	s := newSelecting(p)
	all := map[string]map[string]bool{}
	for _, n := range p.Nodes { // a node comes after what it needs here
		above := map[string]bool{}
		for _, need := range n.Needs {
			names := []string{need}
			if _, ok := s.node[need]; !ok {
				names = nil
				for _, i := range s.members[need] {
					names = append(names, p.Nodes[i].Name)
				}
			}
			for _, name := range names {
				above[name] = true
				for a := range all[name] {
					above[a] = true
				}
			}
		}
		all[n.Name] = above
	}
	return all
}
