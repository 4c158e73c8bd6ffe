package simulate_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/simulate"
)

// A step of a test's plan: node(step("a"), needs("b")).
func node(name string, set ...func(*plan.Node)) plan.Node {
	n := plan.Node{Name: name, Step: &plan.Step{Script: "true"}}
	for _, f := range set {
		f(&n)
	}
	return n
}

func needs(names ...string) func(*plan.Node) { return func(n *plan.Node) { n.Needs = names } }
func runOn(on plan.RunOn) func(*plan.Node)   { return func(n *plan.Node) { n.Own().RunOn = on } }
func step(set func(*plan.Step)) func(*plan.Node) {
	return func(n *plan.Node) { set(n.Step) }
}
func retry(attempts int, backoff time.Duration, on ...string) func(*plan.Node) {
	return step(func(s *plan.Step) {
		s.Retry = &plan.Retry{Attempts: attempts, Backoff: plan.Duration(backoff), On: on}
	})
}
func timeout(d time.Duration) func(*plan.Node) {
	return step(func(s *plan.Step) { s.Timeout = plan.Duration(d) })
}
func trigger(wait bool, params ...plan.Var) func(*plan.Node) {
	return func(n *plan.Node) {
		n.Step, n.Own().Trigger = nil, &plan.Trigger{Pipeline: "deploy", Wait: wait, Params: params}
	}
}
func service(n *plan.Node)                  { n.Step.Service = &plan.Service{} }
func uses(names ...string) func(*plan.Node) { return step(func(s *plan.Step) { s.Services = names }) }
func expand(after string) func(*plan.Node) {
	return func(n *plan.Node) {
		n.Step, n.Needs, n.Own().Expand = nil, []string{after}, &plan.Expand{After: after}
	}
}
func approve(n *plan.Node) { n.Step, n.Own().Approve = nil, &plan.Approve{} }

func plans(nodes ...plan.Node) *plan.Plan {
	return &plan.Plan{Format: plan.Format, Pipeline: "p", Nodes: nodes}
}

func lasts(d time.Duration) *time.Duration { return &d }
func exits(code int) *int                  { return &code }

var fails = simulate.Outcome{State: build.Failed, Exit: exits(1)}

func outcomes(pairs ...any) map[string][]simulate.Outcome {
	m := map[string][]simulate.Outcome{}
	name := ""
	for _, v := range pairs {
		switch v := v.(type) {
		case string:
			name = v
			m[name] = nil
		case simulate.Outcome:
			m[name] = append(m[name], v)
		}
	}
	return m
}

// story is the events of a simulation, each in a few words.
func story(r *simulate.Result) string {
	var b strings.Builder
	for _, ev := range r.Events {
		fmt.Fprintf(&b, "%s %s", ev.Time.Sub(r.Events[0].Time), strings.ReplaceAll(string(ev.Kind), "_", " "))
		for _, word := range []string{ev.Node, string(ev.State), ev.Reason} {
			if word != "" {
				b.WriteString(" " + word)
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

func TestRun(t *testing.T) {
	output := func(step, key string) plan.Text {
		return plan.Text{Parts: []plan.Part{{Literal: "v"}, {Output: &plan.Output{Step: step, Key: key}}}}
	}
	for name, test := range map[string]struct {
		plan    *plan.Plan
		options simulate.Options
		want    string
	}{
		"what has no outcome succeeds": {
			plans(node("a"), node("b", needs("a"))), simulate.Options{}, `
0s build started
0s attempt started a
1s attempt ended a success
1s attempt started b
2s attempt ended b success
2s build ended success
`},
		"the last outcome is that of all attempts that follow, and a retry waits": {
			plans(node("a", retry(3, time.Minute))), simulate.Options{Outcomes: outcomes("a", fails)}, `
0s build started
0s attempt started a
1s attempt ended a failed
1m1s attempt started a
1m2s attempt ended a failed
3m2s attempt started a
3m3s attempt ended a failed
3m3s build ended failed a failed
`},
		"one slot": {
			plans(node("a"), node("b")), simulate.Options{Slots: 1}, `
0s build started
0s attempt started a
1s attempt ended a success
1s attempt started b
2s attempt ended b success
2s build ended success
`},
		"a step that takes too long is timed out": {
			plans(node("a", timeout(3*time.Second))),
			simulate.Options{Outcomes: outcomes("a", simulate.Outcome{Duration: lasts(time.Hour)})}, `
0s build started
0s attempt started a
3s attempt ended a timed_out timed out after 3s
3s build ended failed a timed out
`},
		"one that is to time out does so at its time-out": {
			plans(node("a", timeout(3*time.Second))),
			simulate.Options{Outcomes: outcomes("a", simulate.Outcome{State: build.TimedOut})}, `
0s build started
0s attempt started a
3s attempt ended a timed_out timed out after 3s
3s build ended failed a timed out
`},
		"the build's time-out stops what runs, and what cleans up still does": {
			func() *plan.Plan {
				p := plans(node("a"), node("b", needs("a")), node("z", needs("b"), runOn(plan.Always)))
				p.Timeout = plan.Duration(10 * time.Second)
				return p
			}(), simulate.Options{Outcomes: outcomes("a", simulate.Outcome{Duration: lasts(time.Hour)})}, `
0s build started
0s attempt started a
10s deadline passed timed out after 10s
10s attempt ended a cancelled
10s node skipped b cancelled the build ran longer than 10s
10s attempt started z
11s attempt ended z success
11s build ended timed_out the build ran longer than 10s
`},
		"cleaning up is bounded": {
			plans(node("a"), node("z", needs("a"), runOn(plan.Always))),
			simulate.Options{
				Outcomes: outcomes("z", simulate.Outcome{Duration: lasts(time.Hour)}),
				Cancel:   &simulate.Cancel{During: "a", By: "ann"},
			}, `
0s build started
0s attempt started a
0s cancel requested
0s attempt ended a cancelled
0s attempt started z
5m0s cancel requested cleaning up took longer than 5m0s
5m0s attempt ended z cancelled
5m0s build ended cancelled cancelled: cleaning up took longer than 5m0s
`},
		"a cancel after a time, of what ends as it wants": {
			plans(node("a"), node("b", needs("a"))),
			simulate.Options{
				Outcomes: outcomes("a", simulate.Outcome{State: build.Cancelled, Signal: "interrupt", Duration: lasts(7 * time.Second)}),
				Cancel:   &simulate.Cancel{After: 2 * time.Second, By: "ann", Reason: "no"},
			}, `
0s build started
0s attempt started a
2s cancel requested no
7s attempt ended a cancelled
7s node skipped b cancelled cancelled by ann: no
7s build ended cancelled cancelled by ann: no
`},
		"a forced cancel": {
			plans(node("a"), node("z", needs("a"), runOn(plan.Always))),
			simulate.Options{Cancel: &simulate.Cancel{During: "a", Force: true}}, `
0s build started
0s attempt started a
0s cancel requested
0s attempt ended a cancelled
0s node skipped z cancelled cancelled
0s build ended cancelled cancelled
`},
		"a forced cancel of what ends as it wants": {
			func() *plan.Plan {
				p := plans(node("a"))
				p.Timeout = plan.Duration(time.Minute)
				return p
			}(),
			simulate.Options{
				Outcomes: outcomes("a", simulate.Outcome{State: build.Cancelled, Signal: "killed", Duration: lasts(time.Hour)}),
				Cancel:   &simulate.Cancel{After: 2 * time.Minute, Force: true},
			}, `
0s build started
0s attempt started a
1m0s deadline passed timed out after 1m0s
2m0s cancel requested
2m0s attempt ended a cancelled
2m0s build ended timed_out the build ran longer than 1m
`},
		"fail_fast": {
			func() *plan.Plan {
				in := func(n *plan.Node) { n.Group = "g" }
				p := plans(node("a", in), node("b", in))
				p.Groups = []plan.Group{{Name: "g", FailFast: true}}
				return p
			}(), simulate.Options{Outcomes: outcomes("a", fails, "b", simulate.Outcome{Duration: lasts(time.Hour)})}, `
0s build started
0s attempt started a
0s attempt started b
1s attempt ended a failed
1s attempt ended b cancelled
1s build ended failed a failed
`},
		"triggers": {
			plans(node("go", trigger(false)), node("wait", trigger(true)), node("after", needs("go", "wait"))), simulate.Options{Outcomes: outcomes("wait", fails)}, `
0s build started
0s attempt started go
0s attempt started wait
0s node triggered wait
1s node triggered go
1s attempt ended wait failed build 00000000-0000-7000-8000-000000000002 of deploy is failed
1s node skipped after skipped needs wait, which failed
1s build ended failed wait failed
`},
		"a trigger that cannot be made": {
			plans(node("go", trigger(false))), simulate.Options{Outcomes: outcomes("go", simulate.Outcome{State: build.Failed, Reason: "no such pipeline"})}, `
0s build started
0s attempt started go
1s attempt ended go failed no such pipeline
1s build ended failed go failed
`},
		"approvals": {
			plans(node("ok", approve), node("no", approve)), simulate.Options{Outcomes: outcomes("no", simulate.Outcome{State: build.Failed, By: "bob", Reason: "late"})}, `
0s build started
0s attempt started ok
0s attempt started no
1s attempt ended ok success
1s attempt ended no failed late
1s build ended failed no failed
`},
		"an output that was not written": {
			plans(node("a"), node("b", needs("a"), step(func(s *plan.Step) { s.Env = plan.Env{{Name: "V", Value: output("a", "url")}} })), node("c", needs("a"), trigger(true, plan.Var{Name: "v", Value: output("a", "url")}))),
			simulate.Options{Outcomes: outcomes("a", simulate.Outcome{Outputs: map[string]string{}})}, `
0s build started
0s attempt started a
1s attempt ended a success
1s attempt started b
1s attempt started c
1s attempt ended b failed env V: step a wrote no output "url": it has to write a file of that name into $PIPER_OUTPUT
1s attempt ended c failed parameter v: step a wrote no output "url": it has to write a file of that name into $PIPER_OUTPUT
1s build ended failed b failed and 1 more
`},
		"a service runs beside the steps that list it": {
			plans(node("db", service), node("a", uses("db")), node("b", needs("a"), uses("db"))),
			simulate.Options{Slots: 1, Outcomes: outcomes("db", simulate.Outcome{Ready: 4 * time.Second})}, `
0s build started
0s attempt started db
4s node ready db
4s attempt started a
5s attempt ended a success
5s attempt started b
6s attempt ended b success
6s attempt ended db success
6s build ended success
`},
		"a service that does not become ready": {
			plans(node("db", service), node("a", uses("db"))),
			simulate.Options{Outcomes: outcomes("db", simulate.Outcome{Unready: true, State: build.Failed, Exit: exits(1)})}, `
0s build started
0s attempt started db
1s attempt ended db failed ended before it was ready
1s node skipped a skipped needs db, which failed
1s build ended failed db failed
`},
		"a service that is ready too late": {
			plans(node("db", service), node("a", uses("db"))),
			simulate.Options{Outcomes: outcomes("db", simulate.Outcome{Ready: time.Hour})}, `
0s build started
0s attempt started db
1m0s attempt ended db failed was not ready within 1m
1m0s node skipped a skipped needs db, which failed
1m0s build ended failed db failed
`},
		"a service that ends by itself": {
			plans(node("db", service), node("a", uses("db")), node("b", needs("a"), uses("db"))),
			simulate.Options{Outcomes: outcomes("db", simulate.Outcome{Duration: lasts(500 * time.Millisecond)})}, `
0s build started
0s attempt started db
0s node ready db
0s attempt started a
500ms attempt ended db failed ended by itself
1s attempt ended a success
1s node skipped b skipped needs db, which failed
1s build ended failed db failed
`},
		"a service in a build that is cancelled": {
			plans(node("db", service), node("a", uses("db")), node("z", needs("a"), uses("db"), runOn(plan.Always))),
			simulate.Options{Cancel: &simulate.Cancel{During: "a"}}, `
0s build started
0s attempt started db
0s node ready db
0s attempt started a
0s cancel requested
0s attempt ended a cancelled
0s attempt started z
1s attempt ended z success
1s attempt ended db success
1s build ended cancelled cancelled
`},
		"an expand that finds nothing, and what it cannot find": {
			plans(node("a"), node("more", expand("a")), node("none", expand("a"))),
			simulate.Options{Expand: func(_ context.Context, name string, _ map[string]string) (plan.Expansion, error) {
				if name == "none" {
					return plan.Expansion{}, errors.New("gone")
				}
				return plan.Expansion{}, nil
			}}, `
0s build started
0s attempt started a
1s attempt ended a success
1s attempt started more
1s attempt started none
2s attempt ended more success
2s attempt ended none failed gone
2s build ended failed none failed
`},
		"an expand where nobody can run it": {
			plans(node("a"), node("more", expand("a"))), simulate.Options{}, `
0s build started
0s attempt started a
1s attempt ended a success
1s attempt started more
2s attempt ended more failed there is nothing here that could run its function
2s build ended failed more failed
`},
		"an expand that is to fail is not asked": {
			plans(node("a"), node("more", expand("a"))), simulate.Options{Outcomes: outcomes("more", fails)}, `
0s build started
0s attempt started a
1s attempt ended a success
1s attempt started more
2s attempt ended more failed
2s build ended failed more failed
`},
		"an agent that is lost": {
			plans(node("a", retry(2, 0, "7")), node("once", retry(2, 0), step(func(s *plan.Step) { s.Once = true }))),
			simulate.Options{Outcomes: outcomes("a", simulate.Outcome{State: build.Failed, Infra: true, Lost: true}, simulate.Outcome{},
				"once", simulate.Outcome{State: build.Failed, Infra: true, Lost: true})}, `
0s build started
0s attempt started a
0s attempt started once
1s attempt ended a failed
1s attempt started a
1s attempt ended once failed
2s attempt ended a success
2s build ended failed once failed
`},
	} {
		t.Run(name, func(t *testing.T) {
			require.NoError(t, plan.Validate(test.plan, 0).Err())
			r, err := simulate.Run(t.Context(), test.plan, test.options)
			require.NoError(t, err)
			require.Equal(t, strings.TrimPrefix(test.want, "\n"), story(r))
			b, err := build.Fold(test.plan, r.Events)
			require.NoError(t, err)
			require.True(t, b.Equal(r.Build))
			again, err := simulate.Run(t.Context(), test.plan, test.options)
			require.NoError(t, err)
			require.Equal(t, r.Events, again.Events)
		})
	}
}

func TestResult(t *testing.T) {
	made := plan.Text{Parts: []plan.Part{{Output: &plan.Output{Step: "b", Key: "url"}}, {Literal: "/x"}}}
	p := plans(node("b", retry(2, 0)), node("a"), node("go", needs("b"), trigger(true, plan.Var{Name: "at", Value: made})))
	r, err := simulate.Run(t.Context(), p, simulate.Options{Outcomes: outcomes("b", fails, simulate.Outcome{})})
	require.NoError(t, err)
	require.Equal(t, []string{"b", "a", "go"}, r.Order)
	require.Equal(t, []simulate.Triggered{{
		Node: "go", Trigger: p.Nodes[2].Trigger(), Params: map[string]string{"at": "<b.output url>/x"}, Child: "00000000-0000-7000-8000-000000000001",
	}}, r.Triggered)
	b, _ := r.Build.Step("b")
	require.Equal(t, map[string]string{"url": "<b.output url>"}, b.Outputs)
	require.Equal(t, 2, b.Attempt)
}

// TestGrow has a plan that grows: outcomes of nodes that are found count too.
func TestGrow(t *testing.T) {
	p := plans(node("list"), node("list/expand", expand("list")), node("end", needs("list/expand")))
	p.Nodes[0].Step.Concurrency = "x"
	asked := func(_ context.Context, name string, outputs map[string]string) (plan.Expansion, error) {
		var x plan.Expansion
		for _, shard := range strings.Fields(outputs["shards"]) {
			x.Nodes = append(x.Nodes, node("test/"+shard, needs(name)))
		}
		return x, nil
	}
	o := simulate.Options{Expand: asked, Outcomes: outcomes(
		"list", simulate.Outcome{Outputs: map[string]string{"shards": "a b c"}}, "test/b", fails)}
	r, err := simulate.Run(t.Context(), p, o)
	require.NoError(t, err)
	require.Equal(t, []string{"list", "list/expand", "test/a", "test/b", "test/c"}, r.Order)
	require.Len(t, r.Build.Plan().Nodes, 6)
	require.Equal(t, "test/b failed", r.Build.Reason())
	b, err := build.Fold(p, r.Events)
	require.NoError(t, err)
	require.True(t, b.Equal(r.Build))

	o.MaxNodes = 5
	r, err = simulate.Run(t.Context(), p, o)
	require.Equal(t, &simulate.UnknownNodeError{Node: "test/b"}, err)
	more, _ := r.Build.Step("list/expand")
	require.Equal(t, build.Failed, more.State)
	require.Contains(t, more.Reason, "has 6 nodes, and the limit is 5")
}

// TestMachine has a machine that meets not everything, and knows not every
// secret.
func TestMachine(t *testing.T) {
	p := plans(
		node("tool", step(func(s *plan.Step) { s.Requires = []plan.Requirement{{Op: "has", Key: "own"}} })),
		node("secret", retry(3, 0), step(func(s *plan.Step) {
			s.Env = plan.Env{{Name: "T", Value: plan.Text{Parts: []plan.Part{{Secret: "token"}}}}}
		})),
		node("plain"),
	)
	p.Environment = "box"
	p.Environments = []plan.Environment{{Name: "box", Kind: "host", Requires: []plan.Requirement{{Op: "has", Key: "box"}}, Env: plan.Env{{Name: "E", Value: plan.Text{Parts: []plan.Part{{Secret: "e"}}}}}}}
	var met, secrets []string
	r, err := simulate.Run(t.Context(), p, simulate.Options{
		Meets: func(_ context.Context, reqs []plan.Requirement) error {
			for _, r := range reqs {
				met = append(met, r.Key)
			}
			if len(reqs) > 1 {
				return errors.New("needs own")
			}
			return nil
		},
		Secret: func(name string) error {
			secrets = append(secrets, name)
			if name == "token" {
				return errors.New("no token")
			}
			return nil
		},
	})
	require.NoError(t, err)
	require.Equal(t, []string{"box", "own", "box"}, met)
	require.Equal(t, []string{"e", "e", "token", "e"}, secrets)
	for name, want := range map[string]build.Step{
		"tool":   {State: build.Failed, Attempt: 1, Reason: "needs own"},
		"secret": {State: build.Failed, Attempt: 1, Reason: "env T: no token"},
		"plain":  {State: build.Success, Attempt: 1},
	} {
		got, _ := r.Build.Step(name)
		require.Equal(t, want, build.Step{State: got.State, Attempt: got.Attempt, Reason: got.Reason}, name)
	}
}

func TestErrors(t *testing.T) {
	p := plans(node("unit", retry(2, 0)), node("lint"), node("pack", needs("unit")))
	for name, test := range map[string]struct {
		options simulate.Options
		want    error
		text    string
	}{
		"no such node": {
			simulate.Options{Outcomes: outcomes("unti", fails)},
			&simulate.UnknownNodeError{Node: "unti", Near: "unit"}, `the plan has no node "unti"`},
		"no such node to cancel in": {
			simulate.Options{Cancel: &simulate.Cancel{During: "zzz"}},
			&simulate.UnknownNodeError{Node: "zzz"}, `the plan has no node "zzz"`},
		"more outcomes than attempts": {
			simulate.Options{Outcomes: outcomes("unit", simulate.Outcome{}, fails)},
			&simulate.LeftOverError{Node: "unit", Outcomes: 2, Attempts: 1, State: build.Success}, "unit has 2 outcomes, but only one attempt"},
		"more outcomes than retries": {
			simulate.Options{Outcomes: outcomes("unit", fails, fails, fails)},
			&simulate.LeftOverError{Node: "unit", Outcomes: 3, Attempts: 2, State: build.Failed}, "unit has 3 outcomes, but only 2 attempts"},
		"an outcome of what never ran": {
			simulate.Options{Outcomes: outcomes("unit", fails, "pack", fails)},
			&simulate.LeftOverError{Node: "pack", Outcomes: 1, State: build.Skipped, Reason: "needs unit, which failed"},
			"pack has an outcome, but never ran (skipped: needs unit, which failed)"},
		"a time-out without one": {
			simulate.Options{Outcomes: outcomes("lint", simulate.Outcome{State: build.TimedOut})},
			&simulate.OutcomeError{Node: "lint", Why: "has no time-out, so it cannot time out"}, "lint has no time-out, so it cannot time out"},
		"an answer of a step": {
			simulate.Options{Outcomes: outcomes("lint", simulate.Outcome{Asked: true})},
			&simulate.OutcomeError{Node: "lint", Why: "is no approval, so nobody is asked"}, "lint is no approval, so nobody is asked"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := simulate.Run(t.Context(), p, test.options)
			require.Equal(t, test.want, err)
			require.EqualError(t, err, test.text)
			require.NotNil(t, r.Build)
		})
	}
	t.Run("who can time out", func(t *testing.T) {
		p := plans(node("db", service), node("a", uses("db"), timeout(time.Minute)), node("ok", approve), node("more", expand("a")), node("make", trigger(false)), node("wait", trigger(true)))
		for _, n := range p.Nodes {
			_, err := simulate.Run(t.Context(), p, simulate.Options{Outcomes: outcomes(n.Name, simulate.Outcome{State: build.TimedOut})})
			if n.Name == "a" || n.Name == "wait" {
				require.NoError(t, err, n.Name)
			} else {
				require.Equal(t, &simulate.OutcomeError{Node: n.Name, Why: "has no time-out, so it cannot time out"}, err)
			}
		}
	})
	t.Run("an end that is none", func(t *testing.T) {
		_, err := simulate.Run(t.Context(), p, simulate.Options{Outcomes: outcomes("lint", simulate.Outcome{State: "waiting"})})
		require.ErrorIs(t, err, build.ErrImpossible)
	})
	t.Run("cancelled from outside", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err := simulate.Run(ctx, p, simulate.Options{})
		require.ErrorIs(t, err, context.Canceled)
	})
	t.Run("no end", func(t *testing.T) {
		if testing.Short() {
			t.Skip("many events")
		}
		var nodes []plan.Node
		for i := range 1100 {
			nodes = append(nodes, node(fmt.Sprint("n", i), retry(100, 0)))
		}
		o := outcomes()
		for _, n := range nodes {
			o[n.Name] = []simulate.Outcome{fails}
		}
		_, err := simulate.Run(t.Context(), plans(nodes...), simulate.Options{Outcomes: o})
		require.EqualError(t, err, "simulate p: more than 200000 events")
	})
}

// BenchmarkRun is 1,000 builds of 50 steps: chains of five in groups of ten.
func BenchmarkRun(b *testing.B) {
	var nodes []plan.Node
	for i := range 50 {
		n := node(fmt.Sprint("n", i), retry(2, time.Second))
		if i >= 10 {
			needs(fmt.Sprint("n", i-10))(&n)
		}
		nodes = append(nodes, n)
	}
	p := plans(nodes...)
	o := simulate.Options{Slots: 4, Outcomes: outcomes("n3", fails, simulate.Outcome{}, "n17", fails)}
	for b.Loop() {
		for range 1000 {
			if _, err := simulate.Run(b.Context(), p, o); err != nil {
				b.Fatal(err)
			}
		}
	}
}
