package plan_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/plan"
)

// told writes a diff in short: "+step a run=x", "~step b env.X:1>2".
func told(d plan.Diff) string {
	var lines []string
	for _, c := range d.Changes {
		line := map[string]string{"gained": "+", "lost": "-", "changed": "~"}[c.Change] + c.Kind + " " + c.Name
		for _, f := range c.Fields {
			switch {
			case f.Old == nil:
				line += fmt.Sprintf(" %s=%v", f.Name, f.New)
			case f.New == nil:
				line += fmt.Sprintf(" %s:%v>", f.Name, f.Old)
			default:
				line += fmt.Sprintf(" %s:%v>%v", f.Name, f.Old, f.New)
			}
		}
		if c.Like != "" {
			line += " like " + c.Like
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func TestCompare(t *testing.T) {
	run := func(name, script string, needs ...string) plan.Node {
		return plan.Node{Name: name, Needs: needs, Step: &plan.Step{Script: script}}
	}
	in := func(group string, n plan.Node) plan.Node {
		n.Group = group
		return n
	}
	with := func(n plan.Node, change func(*plan.Step)) plan.Node {
		change(n.Step)
		return n
	}
	p := func(nodes ...plan.Node) *plan.Plan {
		return &plan.Plan{Format: plan.Format, Project: plan.Project{Name: "x"}, Pipeline: "p", Nodes: nodes}
	}
	grouped := func(groups []plan.Group, nodes ...plan.Node) *plan.Plan {
		made := p(nodes...)
		made.Groups = groups
		return made
	}
	whole := func(change func(*plan.Plan)) *plan.Plan {
		made := p(run("a", "x"))
		change(made)
		return made
	}
	secret := plan.Text{Parts: []plan.Part{{Secret: "tok"}}}
	for _, test := range []struct {
		name     string
		old, new *plan.Plan
		want     string
	}{
		{"nothing", p(run("a", "x")), p(run("a", "x")), ""},
		{"no plans", nil, nil, ""},
		{"all is new", nil, p(run("a", "x")), "+step a run=x"},
		{"all is gone", p(run("a", "x")), nil, "-step a run:x>"},
		{"a place", p(run("a", "x")), p(plan.Node{Name: "a", Pos: plan.Pos{File: "f", Line: 1, Column: 1}, Step: &plan.Step{Script: "x"}}), ""},
		{"what was read", p(run("a", "x")), whole(func(p *plan.Plan) { p.Inputs = []plan.Input{{Kind: "file", Key: "f", Digest: "sha256:1"}} }), ""},
		{"a command", p(run("a", "x")), p(run("a", "y")), "~step a run:x>y"},
		{"a list for a script", p(run("a", "x")), p(plan.Node{Name: "a", Step: &plan.Step{Argv: []plan.Text{plan.Lit("x")}}}), "~step a run:x>[x]"},
		{"another name", p(run("a", "x"), run("b", "y")), p(run("c", "x"), run("b", "y")), "+step c run=x like a\n-step a run:x>"},
		{"one name for two", p(run("a", "x")), p(run("b", "x"), run("c", "x")), "+step b run=x like a\n+step c run=x\n-step a run:x>"},
		{"another kind", p(run("a", "x")), p(plan.Node{Name: "a", More: &plan.More{Approve: &plan.Approve{Prompt: "ok?"}}}), "+approval a prompt=ok?\n-step a run:x>"},
		{"a service", p(run("a", "x")), p(with(run("a", "x"), func(s *plan.Step) { s.Service = &plan.Service{Ready: plan.Ready{Port: 80}} })),
			"+service a ready.port=80 run=x\n-step a run:x>"},
		{"needs", p(run("a", "x"), run("b", "x", "a")), p(run("a", "x"), run("b", "x")), "~step b needs:[a]>"},
		{"the order of needs", p(run("a", "x"), run("b", "x"), run("c", "x", "a", "b")), p(run("a", "x"), run("b", "x"), run("c", "x", "b", "a")), ""},
		{"env", p(with(run("a", "x"), func(s *plan.Step) {
			s.Env = plan.Env{{Name: "K", Value: plan.Lit("1")}, {Name: "secret", Value: plan.Lit("1")}}
		})),
			p(with(run("a", "x"), func(s *plan.Step) { s.Env = plan.Env{{Name: "K", Value: plan.Lit("2")}, {Name: "T", Value: secret}} })),
			"~step a env.K:1>2 env.T=map[secret:tok] env.secret:1>"},
		{"requirements", p(run("a", "x")), p(with(run("a", "x"), func(s *plan.Step) { s.Requires = []plan.Requirement{{Op: "has", Key: "docker"}} })),
			"~step a requires=[map[key:docker op:has]]"},
		{"retry", p(run("a", "x")), p(with(run("a", "x"), func(s *plan.Step) { s.Retry = &plan.Retry{Attempts: 3} })), "~step a retry.attempts=3"},
		{"a trigger", p(plan.Node{Name: "t", More: &plan.More{Trigger: &plan.Trigger{Pipeline: "d"}}}),
			p(plan.Node{Name: "t", More: &plan.More{Trigger: &plan.Trigger{Pipeline: "d", Wait: true, Params: plan.Env{{Name: "v", Value: plan.Lit("1")}}}}}), "~trigger t params.v=1 wait=true"},
		{"an expand", p(run("a", "x"), plan.Node{Name: "e", Needs: []string{"a"}, More: &plan.More{Expand: &plan.Expand{After: "a"}}}), p(run("a", "x")), "-expand e after:a> needs:[a]>"},
		{"a parameter", whole(func(p *plan.Plan) { p.Params = map[string]any{"v": "1", "w": true} }), whole(func(p *plan.Plan) { p.Params = map[string]any{"v": "2", "l": []string{"a"}} }),
			"+param l value=[a]\n~param v value:1>2\n-param w value:true>"},
		{"the pipeline", p(run("a", "x")), whole(func(p *plan.Plan) { p.Timeout, p.Project.Version = plan.Duration(1e9), "2" }), "~pipeline p project.version=2 timeout=1s"},
		{"an environment", p(run("a", "x")), whole(func(p *plan.Plan) {
			p.Environments = []plan.Environment{{Name: "box", Kind: "container", Image: "go"}}
		}), "+environment box image=go kind=container"},
		{"a group without a name", p(run("a", "x"), run("b", "x"), run("c", "x", "a", "b")),
			grouped([]plan.Group{{Name: "parallel#1"}}, in("parallel#1", run("a", "x")), in("parallel#1", run("b", "x")), run("c", "x", "parallel#1")), ""},
		{"another number", grouped([]plan.Group{{Name: "parallel#1", Limit: 2}}, in("parallel#1", run("a", "x")), run("c", "x", "parallel#1")),
			grouped([]plan.Group{{Name: "parallel#7", Limit: 2}}, in("parallel#7", run("a", "x")), run("c", "x", "parallel#7")), ""},
		{"a member more", grouped([]plan.Group{{Name: "parallel#1", Limit: 2}}, in("parallel#1", run("a", "x")), run("c", "x", "parallel#1")),
			grouped([]plan.Group{{Name: "parallel#1", Limit: 3}}, in("parallel#1", run("a", "x")), in("parallel#1", run("b", "y")), run("c", "x", "parallel#1")),
			"~group a, b limit:2>3 members:[a]>[a b]\n+step b run=y\n~step c needs:[a]>[a b]"},
		{"a group with a name", grouped([]plan.Group{{Name: "g"}}, in("g", run("a", "x")), run("c", "x", "g")),
			grouped([]plan.Group{{Name: "g", FailFast: true}}, in("g", run("a", "x")), in("g", run("b", "x")), run("c", "x", "g")),
			"~group g fail_fast=true members:[a]>[a b]\n+step b run=x"},
	} {
		t.Run(test.name, func(t *testing.T) {
			d := plan.Compare(test.old, test.new)
			require.Equal(t, test.want, told(d))
			require.NotNil(t, d.Changes)
			if test.new != nil {
				require.Equal(t, test.new.Digest(), d.New)
				require.Empty(t, plan.Compare(test.new, test.new).Changes)
			}
			_, err := json.Marshal(d)
			require.NoError(t, err)

			// The way back loses what was gained.
			back := plan.Compare(test.new, test.old)
			require.Len(t, back.Changes, len(d.Changes))
		})
	}
}

func TestStarts(t *testing.T) {
	a, b := &plan.Plan{Pipeline: "p"}, &plan.Plan{Pipeline: "p", Priority: 1}
	d := plan.Compare(a, a)
	d.Starts(nil, nil)
	require.Empty(t, d.Changes)
	d.Starts([]plan.On{{Kind: "push"}}, []plan.On{{Kind: "tag"}})
	require.Equal(t, "~pipeline p on:[map[kind:push]]>[map[kind:tag]]", told(d))
	d = plan.Compare(a, b)
	d.Starts(nil, []plan.On{{Kind: "tag"}})
	require.Equal(t, "~pipeline p on=[map[kind:tag]] priority=1", told(d))
}

// Two wide stages in a row are compared in proportion to their sizes.
func TestCompareWide(t *testing.T) {
	wide := func(extra int) *plan.Plan {
		p := &plan.Plan{Pipeline: "p", Groups: []plan.Group{{Name: "parallel#1"}}}
		for i := range 5_000 + extra {
			p.Nodes = append(p.Nodes, plan.Node{Name: fmt.Sprintf("a%d", i), Group: "parallel#1", Step: &plan.Step{Script: "x"}})
		}
		for i := range 5_000 {
			p.Nodes = append(p.Nodes, plan.Node{Name: fmt.Sprintf("b%d", i), Needs: []string{"parallel#1"}, Step: &plan.Step{Script: "x"}})
		}
		return p
	}
	d := plan.Compare(wide(0), wide(1))
	require.Equal(t, 5_001, len(d.Changes))
	require.Equal(t, []plan.Field{{Name: "needs", Old: []any{"a0 to a4999 (5000)"}, New: []any{"a0 to a5000 (5001)"}}}, d.Changes[5_000].Fields)
}
