package build

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/piper-build/piper/runtime/plan"
	"github.com/stretchr/testify/require"
)

// expanding returns a build whose expand "more" runs. Event 5 is its next.
func expanding(t *testing.T) *Build {
	p := parsePlan(t, "find:\nmore: find kind=expand after=find\nlast: more\nbeside: find")
	require.Empty(t, plan.Validate(p, 0))
	b, err := Fold(p, []Event{
		{Seq: 1, Time: t0, Kind: BuildStarted},
		{Seq: 2, Time: t0, Kind: AttemptStarted, Node: "find", Attempt: 1},
		{Seq: 3, Time: t0, Kind: AttemptEnded, Node: "find", Attempt: 1, State: Success},
		{Seq: 4, Time: t0, Kind: AttemptStarted, Node: "more", Attempt: 1},
	})
	require.NoError(t, err)
	return b
}

func expansion(t *testing.T, lines string) *plan.Expansion {
	p := parsePlan(t, lines)
	return &plan.Expansion{Nodes: p.Nodes, Groups: p.Groups}
}

func TestPlanGrows(t *testing.T) {
	b := expanding(t)
	was := b.Plan()
	digest := was.Digest()
	ev := Event{
		Seq: 5, Time: t0.Add(time.Second), Kind: AttemptEnded, Node: "more", Attempt: 1, State: Success, Reason: "two", Outputs: map[string]string{"n": "2"},
		Expansion: expansion(t, "a:\nb: a"),
	}
	data, err := json.Marshal(ev)
	require.NoError(t, err)
	var read Event
	require.NoError(t, json.Unmarshal(data, &read))
	again, err := json.Marshal(read)
	require.NoError(t, err)
	require.Equal(t, string(data), string(again))

	require.NoError(t, b.CheckExpansion("more", ev.Expansion, 0))
	require.Same(t, was, b.Plan(), "looking has changed it")
	require.NoError(t, b.Apply(ev))
	require.Equal(t, digest, was.Digest())
	require.NotSame(t, was, b.Plan())
	require.Equal(t, Progress{Total: 6, Done: 2}, b.Progress())
	for i, name := range []string{"find", "more", "last", "beside", "a", "b"} {
		require.Equal(t, name, b.Plan().Nodes[i].Name)
		at, ok := b.Lookup(name)
		require.True(t, ok)
		require.Equal(t, i, at)
	}
	step, _ := b.Step("more")
	require.Equal(t, Step{State: Success, Attempt: 1, Started: t0, Ended: t0.Add(time.Second), Reason: "two", Outputs: ev.Outputs}, step)
	require.Len(t, b.Steps(), 6)

	other := expanding(t)
	read.Expansion.Nodes[1].Step.Script = "false"
	require.NoError(t, other.Apply(read))
	require.False(t, b.Equal(other), "they have found other things")
}

func TestExpansionsThatAreRefused(t *testing.T) {
	tests := []struct {
		name string
		ev   Event
		is   error
		want string
	}{
		{"of a step", Event{Node: "find"}, ErrEnded, `the node has ended already: success`},
		{"of an expand that failed", Event{Node: "more", State: Failed}, ErrImpossible, `cannot have happened: only an expand that succeeds finds nodes`},
		{"of the wrong attempt", Event{Node: "more", Attempt: 2}, ErrImpossible, `cannot have happened: attempt 2 is not attempt 1, which runs`},
		{"that does not fit", Event{Node: "more", Expansion: expansion(t, "a: b")}, ErrExpansion,
			`what it found does not fit into the plan: PIPER.star:1:1: error: step "b" is not defined in pipeline "test"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b, before := expanding(t), expanding(t)
			ev := test.ev
			ev.Seq, ev.Time, ev.Kind = 5, t0, AttemptEnded
			if ev.Attempt == 0 {
				ev.Attempt = 1
			}
			if ev.State == "" {
				ev.State = Success
			}
			if ev.Expansion == nil {
				ev.Expansion = expansion(t, "a:")
			}
			err := b.Apply(ev)
			require.ErrorIs(t, err, test.is)
			require.EqualError(t, err, fmt.Sprintf(`apply event 5, "attempt_ended" of %q: %s`, ev.Node, test.want))
			require.True(t, b.Equal(before))

			var problems plan.Diagnostics
			require.Equal(t, test.is == ErrExpansion, errors.As(err, &problems))
			if err := b.CheckExpansion(ev.Node, ev.Expansion, 0); test.is == ErrExpansion {
				require.Equal(t, problems, err)
			}
		})
	}

	b := expanding(t)
	require.NoError(t, b.Apply(Event{Seq: 5, Time: t0, Kind: AttemptStarted, Node: "beside", Attempt: 1}))
	err := b.Apply(Event{Seq: 6, Time: t0, Kind: AttemptEnded, Node: "beside", Attempt: 1, State: Success, Expansion: expansion(t, "a:")})
	require.ErrorIs(t, err, ErrImpossible)
	require.EqualError(t, b.CheckExpansion("beside", expansion(t, "a:"), 0), `grow plan: step "beside" is no expand`)
}

// How many nodes there may be is for CheckExpansion: an event that was recorded
// under another limit must fold for ever.
func TestTooManyNodesAreFound(t *testing.T) {
	b := expanding(t)
	few := expansion(t, "a:\nb:")
	require.NoError(t, b.CheckExpansion("more", few, 6))
	require.EqualError(t, b.CheckExpansion("more", few, 5), `PIPER.star:2:1: error: pipeline "test" has 6 nodes, and the limit is 5
hint: split the pipeline, or raise the setting max_nodes (5)`)

	many := &plan.Expansion{}
	for i := range plan.MaxNodes {
		many.Nodes = append(many.Nodes, stepNode(i))
	}
	require.ErrorContains(t, b.CheckExpansion("more", many, 0), "has 20004 nodes, and the limit is 20000")
	require.NoError(t, b.Apply(Event{Seq: 5, Time: t0, Kind: AttemptEnded, Node: "more", Attempt: 1, State: Success, Expansion: many}))
	require.Equal(t, 20_004, b.Progress().Total)
}

func TestReadyIsKept(t *testing.T) {
	p := parsePlan(t, "db: kind=service\na: services=db")
	events := []Event{
		{Seq: 1, Time: t0, Kind: BuildStarted},
		{Seq: 2, Time: t0, Kind: AttemptStarted, Node: "db", Attempt: 1},
		{Seq: 3, Time: t0.Add(time.Second), Kind: NodeReady, Node: "db"},
	}
	b, err := Fold(p, events)
	require.NoError(t, err)
	require.Equal(t, Step{State: Running, Attempt: 1, Started: t0, Ready: t0.Add(time.Second)}, b.Node(0))

	events[2].Time = t0
	other, err := Fold(p, events)
	require.NoError(t, err)
	require.False(t, b.Equal(other))
}
