package simulate_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/process"
	"github.com/piper-build/piper/runtime/runner"
	"github.com/piper-build/piper/runtime/simulate"
)

func TestMain(m *testing.M) {
	if process.IsGuard() {
		os.Exit(process.GuardMain())
	}
	os.Exit(m.Run())
}

// when is a display that calls a function once a node has started.
type when struct {
	node string
	then func()
}

func (when) Begin(*plan.Plan, *build.Build)            {}
func (when) End(*build.Build)                          {}
func (when) Output(*plan.Node, int, time.Time, []byte) {}
func (w when) Event(ev build.Event, _ *build.Build) {
	if ev.Kind == build.AttemptStarted && ev.Node == w.node {
		w.then()
	}
}

// TestReplay runs builds with real processes, takes from their events how the
// world answered, and has the simulator decide again: the events are the same,
// to the byte, when their times are put on its clock.
func TestReplay(t *testing.T) {
	script := func(s string) func(*plan.Node) { return step(func(to *plan.Step) { to.Script = s }) }
	in := func(group string) func(*plan.Node) { return func(n *plan.Node) { n.Group = group } }
	allow := func(n *plan.Node) { n.Own().AllowFailure = "known" }
	alone := step(func(s *plan.Step) { s.Concurrency = "one" })
	needs1 := plan.Requirement{Op: "has", Key: "tools.no-such-tool"}

	whole := plans(
		node("db", service),
		node("l1", in("limited"), script("sleep 0.03")), node("l2", in("limited")), node("l3", in("limited"), script("sleep 0.01"), uses("db")), node("l4", in("limited")),
		node("flaky", retry(3, 100*time.Millisecond), script(`[ "$PIPER_ATTEMPT" = 3 ]`)),
		node("at-once", retry(2, 0, "7"), script("exit 7")),
		node("late", needs("at-once")),
		node("slow", timeout(50*time.Millisecond), script("sleep 60"), allow),
		node("wrong-machine", step(func(s *plan.Step) { s.Requires = []plan.Requirement{needs1} }), allow),
		node("one", alone), node("two", alone, script("kill -9 $$"), allow),
		node("f1", in("fast"), script("sleep 60")), node("f2", in("fast"), script("exit 3")), node("f3", in("fast"), needs("f1")),
		node("list", needs("limited"), script(`echo "a b c" >"$PIPER_OUTPUT/shards"`)),
		node("list/expand", expand("list")),
		node("ask", needs("list/expand"), approve),
		node("deploy", needs("ask"), trigger(true, plan.Var{Name: "shards", Value: plan.Text{Parts: []plan.Part{{Output: &plan.Output{Step: "list", Key: "shards"}}}}})),
		node("tell", needs("ask"), trigger(false)),
		node("failed", needs("deploy"), runOn(plan.Failure)),
		node("always", needs("deploy", "fast", "late"), runOn(plan.Always)),
	)
	whole.Nodes[0].Step.Script = "sleep 60"
	// What waits for a retry waits alone: whether it is due when something else
	// ends would be for the machine's speed to say.
	for i := range whole.Nodes {
		if n := &whole.Nodes[i]; n.Name != "flaky" && n.Name != "db" && len(n.Needs) == 0 {
			n.Needs = []string{"flaky"}
		}
	}
	whole.Groups = []plan.Group{{Name: "limited", Limit: 2}, {Name: "fast", FailFast: true}}

	stopped := plans(
		node("db", service, script("sleep 60")),
		node("a", uses("db")), node("b", needs("a"), script("sleep 60")), node("b2", needs("a"), script("sleep 60")),
		node("c", needs("b")), node("z", needs("c"), uses("db"), runOn(plan.Always), script("sleep 0.01")),
	)
	for i := range stopped.Nodes {
		stopped.Nodes[i].Step.Grace = plan.Duration(300 * time.Millisecond) // a process that is only about to start may take it whole
	}
	late := *stopped
	late.Timeout = plan.Duration(400 * time.Millisecond)

	for name, test := range map[string]struct {
		plan   *plan.Plan
		cancel string // once this node has started
	}{
		"all kinds of ends": {plan: whole},
		"cancelled":         {plan: stopped, cancel: "b2"},
		"too long":          {plan: &late},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.NoError(t, plan.Validate(test.plan, 0).Err())
			found := func(name string, outputs map[string]string) (x plan.Expansion, err error) {
				for _, shard := range strings.Fields(outputs["shards"]) {
					x.Nodes = append(x.Nodes, node("test/"+shard, needs(name)))
				}
				return x, nil
			}
			ctx, cancel := context.WithCancelCause(t.Context())
			defer cancel(nil)
			var events recorder
			o := runner.Options{
				Plan: test.plan, Workspace: t.TempDir(), Recorder: &events, Environ: os.Environ(), Parallel: 3,
				Display: when{test.cancel, func() { cancel(errors.New("enough")) }},
				Approve: func(context.Context, *plan.Node) (runtime.Approval, error) {
					return runtime.Approval{Approved: true, By: "ann"}, nil
				},
				Trigger: func(_ context.Context, n *plan.Node, params map[string]string, made func(build.ID)) (build.State, error) {
					made(build.ID("child-of-" + n.Name))
					return build.Failed, nil
				},
				Expand: func(_ context.Context, n *plan.Node, outputs map[string]string) (plan.Expansion, error) {
					return found(n.Name, outputs)
				},
			}
			real, err := runner.Run(ctx, o)
			require.NoError(t, err)

			start := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
			retime(t, test.plan, events, start)
			again, err := simulate.Run(t.Context(), test.plan, simulate.Options{
				Outcomes: answers(test.plan, events), Cancel: cancels(events), Slots: o.Parallel, Start: start,
				Expand: func(_ context.Context, name string, outputs map[string]string) (plan.Expansion, error) {
					return found(name, outputs)
				},
			})
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(lines(t, events), lines(t, again.Events)))
			require.Equal(t, real.State(), again.Build.State())
			folded, err := build.Fold(test.plan, events)
			require.NoError(t, err)
			require.True(t, folded.Equal(again.Build))
		})
	}
}

// A recorder keeps events.
type recorder []build.Event

func (r *recorder) Record(events []build.Event) error {
	*r = append(*r, events...)
	return nil
}

func lines(t *testing.T, events []build.Event) (lines []string) {
	for _, ev := range events {
		line, err := json.Marshal(ev)
		require.NoError(t, err)
		lines = append(lines, string(line))
	}
	return lines
}

// retime puts events on a clock that no machine's speed is in: whatever came
// from outside took a millisecond, what followed from it no time, and a retry
// or a time-out as long as the plan says.
func retime(t *testing.T, p *plan.Plan, events []build.Event, now time.Time) {
	start := now
	b := build.New(p)
	for i := range events {
		ev := &events[i]
		switch ev.Kind {
		case build.AttemptEnded, build.NodeTriggered, build.NodeReady, build.CancelRequested:
			now = now.Add(time.Millisecond)
		case build.DeadlinePassed:
			now = start.Add(time.Duration(p.Timeout))
		case build.AttemptStarted:
			if s, _ := b.Step(ev.Node); s.NotBefore.After(now) {
				now = s.NotBefore
			}
		}
		ev.Time = now
		require.NoError(t, b.Apply(*ev), fmt.Sprint(i))
	}
}

// answers are the outcomes that events tell of.
func answers(p *plan.Plan, events []build.Event) map[string][]simulate.Outcome {
	waits := map[string]bool{}
	for _, n := range p.Nodes {
		waits[n.Name] = n.Trigger() != nil && n.Trigger().Wait
	}
	started := map[string]time.Time{}
	out := map[string][]simulate.Outcome{}
	for _, ev := range events {
		last := len(out[ev.Node]) - 1
		took := ev.Time.Sub(started[ev.Node])
		switch ev.Kind {
		case build.AttemptStarted:
			started[ev.Node] = ev.Time
			out[ev.Node] = append(out[ev.Node], simulate.Outcome{Unready: true})
		case build.NodeReady:
			out[ev.Node][last].Ready, out[ev.Node][last].Unready = took, false
		case build.NodeTriggered:
			o := simulate.Outcome{Child: ev.Child, Ready: took}
			if !waits[ev.Node] {
				o.Duration = &took
			}
			out[ev.Node][last] = o
		case build.AttemptEnded:
			o := &out[ev.Node][last]
			o.State, o.Exit, o.Signal, o.Reason, o.Infra, o.Final, o.By = ev.State, ev.Exit, ev.Signal, ev.Reason, ev.Infra, ev.Final, ev.By
			o.Duration = &took
			if o.Outputs = ev.Outputs; o.Outputs == nil {
				o.Outputs = map[string]string{} // it wrote none
			}
		}
	}
	return out
}

// cancels is the cancel that events tell of, or nil.
func cancels(events []build.Event) *simulate.Cancel {
	for _, ev := range events {
		if ev.Kind == build.CancelRequested {
			return &simulate.Cancel{After: ev.Time.Sub(events[0].Time), By: ev.By, Reason: ev.Reason, Force: ev.Force}
		}
	}
	return nil
}
