package simulate_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/simulate"
)

// TestAnyBuildEnds plays random builds in random worlds: each comes to an end,
// its events fold to it, and it goes the same way again.
func TestAnyBuildEnds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := randomPlan(t)
		if plan.Validate(p, 0).Err() != nil {
			t.Skip("it is no plan")
		}
		o := simulate.Options{Outcomes: map[string][]simulate.Outcome{}, Slots: rapid.IntRange(0, 3).Draw(t, "slots")}
		for _, n := range p.Nodes {
			for range rapid.IntRange(0, 2).Draw(t, "outcomes") {
				o.Outcomes[n.Name] = append(o.Outcomes[n.Name], randomOutcome(t, &n))
			}
		}
		if rapid.Bool().Draw(t, "cancelled") {
			o.Cancel = &simulate.Cancel{After: time.Duration(rapid.IntRange(0, 5000).Draw(t, "after")) * time.Millisecond, Force: rapid.Bool().Draw(t, "force")}
		}
		r, err := simulate.Run(t.Context(), p, o)
		if err != nil && !errors.As(err, new(*simulate.LeftOverError)) {
			t.Fatal(err)
		}
		require.Equal(t, build.BuildEnded, r.Events[len(r.Events)-1].Kind)
		folded, err := build.Fold(p, r.Events)
		require.NoError(t, err)
		require.True(t, folded.Equal(r.Build))
		again, _ := simulate.Run(t.Context(), p, o)
		require.Equal(t, r.Events, again.Events)
	})
}

func randomPlan(t *rapid.T) *plan.Plan {
	p := plans()
	p.Timeout = plan.Duration(rapid.SampledFrom([]time.Duration{0, 0, 3 * time.Second, time.Minute}).Draw(t, "timeout"))
	p.Groups = []plan.Group{{Name: "g", Limit: rapid.IntRange(0, 2).Draw(t, "limit"), FailFast: rapid.Bool().Draw(t, "fail_fast")}}
	p.Nodes = []plan.Node{node("db", service)}
	for i := range rapid.IntRange(1, 12).Draw(t, "nodes") {
		n := node(fmt.Sprint("n", i))
		for j := range i {
			if rapid.IntRange(0, 3).Draw(t, "edge") == 0 {
				n.Needs = append(n.Needs, fmt.Sprint("n", j))
			}
		}
		n.Own().RunOn = rapid.SampledFrom([]plan.RunOn{"", "", plan.Failure, plan.Always}).Draw(t, "run_on")
		if rapid.IntRange(0, 5).Draw(t, "allowed") == 0 {
			n.Own().AllowFailure = "known"
		}
		if rapid.Bool().Draw(t, "grouped") {
			n.Group = "g"
		}
		switch rapid.IntRange(0, 6).Draw(t, "kind") {
		case 0:
			trigger(rapid.Bool().Draw(t, "wait"))(&n)
		case 1:
			approve(&n)
		case 2:
			uses("db")(&n)
		case 3:
			retry(3, time.Duration(rapid.IntRange(0, 2).Draw(t, "backoff"))*time.Second)(&n)
		case 4:
			timeout(2 * time.Second)(&n)
		}
		p.Nodes = append(p.Nodes, n)
	}
	return p
}

func randomOutcome(t *rapid.T, n *plan.Node) simulate.Outcome {
	states := []build.State{build.Success, build.Failed, build.Cancelled}
	if n.Step != nil && n.Step.Timeout > 0 {
		states = append(states, build.TimedOut)
	}
	o := simulate.Outcome{
		State:   rapid.SampledFrom(states).Draw(t, "state"),
		Infra:   rapid.Bool().Draw(t, "infra"),
		Final:   rapid.Bool().Draw(t, "final"),
		Ready:   time.Duration(rapid.IntRange(0, 1500).Draw(t, "ready")) * time.Millisecond,
		Unready: rapid.Bool().Draw(t, "unready"),
	}
	if rapid.Bool().Draw(t, "timed") {
		o.Duration = lasts(time.Duration(rapid.IntRange(0, 4000).Draw(t, "took")) * time.Millisecond)
	}
	return o
}
