package build

import (
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/piper-build/piper/runtime/plan"
	"github.com/stretchr/testify/require"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestNewRefusesWhatIsNoGraph(t *testing.T) {
	step := &plan.Step{Script: "true"}
	tests := map[string][]plan.Node{
		"a need that is not there": {{Name: "a", Needs: []string{"b"}, Step: step}},
		"a name twice":             {{Name: "a", Step: step}, {Name: "a", Step: step}},
		"a cycle":                  {{Name: "a", Needs: []string{"b"}, Step: step}, {Name: "b", Needs: []string{"a"}, Step: step}},
	}
	for name, nodes := range tests {
		t.Run(name, func(t *testing.T) {
			require.Panics(t, func() { New(&plan.Plan{Nodes: nodes}) })
		})
	}
}

func TestApplyErrors(t *testing.T) {
	p := parsePlan(t, "a:\nb: a")
	start := Event{Seq: 1, Time: t0, Kind: BuildStarted}
	began := Event{Seq: 2, Time: t0, Kind: AttemptStarted, Node: "a", Attempt: 1}
	over := Event{Seq: 3, Time: t0, Kind: AttemptEnded, Node: "a", Attempt: 1, State: Success}
	tests := []struct {
		name   string
		before []Event
		ev     Event
		is     error
		want   string
	}{
		{"a gap", nil, Event{Seq: 2, Kind: BuildStarted}, ErrSequence, `apply event 2, "build_started": out of sequence: want 1`},
		{"again", []Event{start}, start, ErrSequence, `apply event 1, "build_started": out of sequence: want 2`},
		{"a node that has ended", []Event{start, began, over}, Event{Seq: 4, Kind: AttemptStarted, Node: "a", Attempt: 2}, ErrEnded,
			`apply event 4, "attempt_started" of "a": the node has ended already: success`},
		{"a build that has ended", []Event{{Seq: 1, Kind: BuildEnded, State: Rejected}}, Event{Seq: 2, Kind: BuildStarted}, ErrEnded,
			`apply event 2, "build_started": the build has ended already: rejected`},
		{"what cannot be", []Event{start}, Event{Seq: 2, Kind: AttemptStarted, Node: "b", Attempt: 1}, ErrImpossible,
			`apply event 2, "attempt_started" of "b": cannot have happened: the node waits for a`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b, err := Fold(p, test.before)
			require.NoError(t, err)
			err = b.Apply(test.ev)
			require.ErrorIs(t, err, test.is)
			require.EqualError(t, err, test.want)
			_, err = Fold(p, append(test.before, test.ev))
			require.ErrorIs(t, err, test.is)
			for _, other := range []error{ErrSequence, ErrEnded, ErrImpossible} {
				require.Equal(t, other == test.is, errors.Is(err, other))
			}
		})
	}
}

func TestBackoff(t *testing.T) {
	tests := []struct {
		backoff time.Duration
		attempt int
		want    time.Duration
	}{
		{0, 1, 0}, {0, 99, 0},
		{10 * time.Second, 1, 10 * time.Second},
		{10 * time.Second, 2, 20 * time.Second},
		{10 * time.Second, 5, 160 * time.Second},
		{10 * time.Second, 9, 2560 * time.Second},
		{10 * time.Second, 10, time.Hour},
		{1, 100, time.Hour},
		{2 * time.Hour, 1, time.Hour},
		{1<<63 - 1, 100, time.Hour},
	}
	for _, test := range tests {
		require.Equal(t, test.want, Backoff(&plan.Retry{Backoff: plan.Duration(test.backoff)}, test.attempt), "%s, attempt %d", test.backoff, test.attempt)
	}
}

// A retry is due at a whole millisecond, as the times of events are kept in
// them: never early, and never late by more than one.
func TestRetryIsDueAtAWholeMillisecond(t *testing.T) {
	p := parsePlan(t, "a: attempts=2 backoff=1500us")
	b, err := Fold(p, []Event{
		{Seq: 1, Time: t0, Kind: BuildStarted},
		{Seq: 2, Time: t0, Kind: AttemptStarted, Node: "a", Attempt: 1},
		{Seq: 3, Time: t0.Add(999 * time.Microsecond), Kind: AttemptEnded, Node: "a", Attempt: 1, State: Failed},
	})
	require.NoError(t, err)
	due := t0.Add(2 * time.Millisecond)
	require.Equal(t, due, b.Node(0).NotBefore)
	actions, wake := b.Next(due.Add(-1), 1)
	require.Empty(t, actions)
	require.Equal(t, due, wake)
	actions, wake = b.Next(due, 1)
	require.Equal(t, []Action{{Verb: Start, Node: 0}}, actions)
	require.Zero(t, wake)

	// A clock that went back does not take it away again.
	actions, _ = b.Next(t0, 1)
	require.Len(t, actions, 1)
}

func TestExpect(t *testing.T) {
	p := parsePlan(t, "a:\nb:\nc:\nd: a")
	order := func(durations map[string]time.Duration) (names []string) {
		b := New(p)
		b.Expect(durations)
		require.NoError(t, b.Apply(Event{Seq: 1, Kind: BuildStarted}))
		actions, _ := b.Next(t0, 10)
		for _, a := range actions {
			names = append(names, p.Nodes[a.Node].Name)
		}
		return names
	}
	require.Equal(t, []string{"a", "b", "c"}, order(nil))
	require.Equal(t, []string{"a", "b", "c"}, order(map[string]time.Duration{"gone": time.Hour, "b": -1}))
	require.Equal(t, []string{"c", "a", "b"}, order(map[string]time.Duration{"a": time.Second, "b": time.Second, "c": time.Hour, "d": time.Second}))
	// b is told nothing of: the mean of the others is more than c.
	require.Equal(t, []string{"a", "b", "c"}, order(map[string]time.Duration{"a": 9 * time.Second, "c": time.Second, "d": time.Second}))

	p = parsePlan(t, "a:\nb:\nc:\nd: a\ndb: kind=service\nweb: b services=db")
	// A service takes as long as its steps, which says nothing of b.
	require.Equal(t, []string{"c", "b", "a"}, order(map[string]time.Duration{"a": time.Second, "c": 5 * time.Second, "d": time.Second, "web": time.Second, "db": time.Hour}))

	b := New(p)
	require.NoError(t, b.Apply(Event{Seq: 1, Kind: BuildStarted}))
	require.Panics(t, func() { b.Expect(nil) })
}

func TestAccessors(t *testing.T) {
	p := parsePlan(t, "group g\na@g: attempts=2\nask: kind=approve")
	b := New(p)
	require.Same(t, p, b.Plan())
	require.Equal(t, Queued, b.State())
	require.Zero(t, b.Seq())
	require.Zero(t, b.Started())
	actions, wake := b.Next(t0, 9)
	require.Empty(t, actions)
	require.Zero(t, wake)
	require.Equal(t, Step{State: Waiting}, b.Node(0))

	exit := 3
	outputs := map[string]string{"url": "x"}
	for i, ev := range []Event{
		{Kind: BuildStarted, Time: t0},
		{Kind: AttemptStarted, Time: t0.Add(time.Second), Node: "a", Attempt: 1},
		{Kind: AttemptStarted, Time: t0.Add(time.Second), Node: "ask", Attempt: 1},
		{Kind: CancelRequested, Time: t0.Add(2 * time.Second), By: "ann", Reason: "oops"},
		{Kind: AttemptEnded, Time: t0.Add(3 * time.Second), Node: "a", Attempt: 1, State: Failed, Exit: &exit, Signal: "killed", Infra: true, Outputs: outputs, Reason: "no disk"},
	} {
		ev.Seq = int64(i + 1)
		require.NoError(t, b.Apply(ev))
	}
	require.Equal(t, Running, b.State())
	require.Equal(t, int64(5), b.Seq())
	require.Equal(t, t0, b.Started())
	require.Zero(t, b.Ended())
	asked, force := b.Cancelled()
	require.True(t, asked)
	require.False(t, force)
	require.Equal(t, "cancelled by ann: oops", b.Reason())
	require.Equal(t, Progress{Total: 2, Running: 1, Done: 1, Failed: 1, Asking: 1}, b.Progress())

	want := Step{
		State: Failed, Attempt: 1, Started: t0.Add(time.Second), Ended: t0.Add(3 * time.Second),
		Exit: &exit, Signal: "killed", Infra: true, Outputs: outputs, Reason: "no disk",
	}
	got, ok := b.Step("a")
	require.True(t, ok)
	require.Equal(t, want, got)
	_, ok = b.Step("b")
	require.False(t, ok)
	_, ok = b.Lookup("g")
	require.False(t, ok, "a group is no node")
	i, ok := b.Lookup("ask")
	require.True(t, ok)
	require.Equal(t, 1, i)

	data, err := json.Marshal(b.Steps())
	require.NoError(t, err)
	require.JSONEq(t, `{
		"a": {"state": "failed", "attempt": 1, "started": "2026-01-02T03:04:06Z", "ended": "2026-01-02T03:04:08Z",
			"exit": 3, "signal": "killed", "reason": "no disk", "infra": true, "outputs": {"url": "x"}},
		"ask": {"state": "running", "attempt": 1, "started": "2026-01-02T03:04:06Z"}}`, string(data))
	require.Equal(t, "running after event 5: {Total:2 Running:1 Done:1 Failed:1 Skipped:0 Asking:1}", b.String())
}

func TestEqual(t *testing.T) {
	text := "group g fail_fast=yes\na@g: attempts=2 backoff=1s\nb@g:"
	p := parsePlan(t, text)
	events := []Event{
		{Kind: BuildStarted, Time: t0},
		{Kind: AttemptStarted, Time: t0, Node: "a", Attempt: 1},
		{Kind: AttemptStarted, Time: t0, Node: "b", Attempt: 1},
		{Kind: AttemptEnded, Time: t0, Node: "a", Attempt: 1, State: Failed, Reason: "x", Outputs: map[string]string{"k": "v"}},
		{Kind: AttemptEnded, Time: t0, Node: "b", Attempt: 1, State: Failed, Reason: "y"},
		{Kind: CancelRequested, Time: t0, By: "ann"},
		{Kind: NodeSkipped, Time: t0, Node: "a", State: Cancelled, Reason: "z"},
		{Kind: BuildEnded, Time: t0, State: Failed},
	}
	for i := range events {
		events[i].Seq = int64(i + 1)
	}
	fold := func(p *plan.Plan, events []Event) *Build {
		b, err := Fold(p, events)
		require.NoError(t, err)
		return b
	}
	for n := range len(events) + 1 {
		b := fold(p, events[:n])
		require.True(t, b.Equal(fold(p, events[:n])))
		require.True(t, b.Equal(fold(parsePlan(t, text), events[:n])), "the same plan, read twice")
		for m := range n {
			require.False(t, b.Equal(fold(p, events[:m])), "%d events and %d", n, m)
		}
		if 3 < n && n < 7 { // until the skip replaces the reason
			other := append([]Event(nil), events[:n]...)
			other[3].Reason = "another"
			require.False(t, b.Equal(fold(p, other)))
			other[3] = events[3]
			other[3].Outputs = map[string]string{"k": "w"}
			require.False(t, b.Equal(fold(p, other)))
		}
	}
	require.False(t, New(p).Equal(New(parsePlan(t, "a:"))))

	// Whether a retry was found to be due is no part of the state.
	b := fold(p, events[:4])
	b.Next(t0.Add(time.Hour), 1)
	require.True(t, b.Equal(fold(p, events[:4])))
}

// Wide and deep plans end in time that grows with their size: each of these
// would take minutes otherwise.
func TestLargePlans(t *testing.T) {
	for _, shape := range shapes {
		t.Run(shape.name, func(t *testing.T) {
			for _, state := range []State{Success, Failed} {
				b := runAll(t, shape.plan(20_000), state)
				require.Equal(t, 20_000, b.Progress().Done)
				require.Equal(t, state, b.State())
			}
		})
	}
}

func TestReason(t *testing.T) {
	p := parsePlan(t, "plan timeout=1h\na:")
	fold := func(events ...Event) string {
		for i := range events {
			events[i].Seq = int64(i + 1)
		}
		b, err := Fold(p, events)
		require.NoError(t, err)
		return b.Reason()
	}
	start := Event{Kind: BuildStarted}
	require.Equal(t, "", fold())
	require.Equal(t, "", fold(start))
	require.Equal(t, "cancelled", fold(start, Event{Kind: CancelRequested}))
	require.Equal(t, "cancelled by bob: now", fold(start, Event{Kind: CancelRequested, By: "ann"}, Event{Kind: CancelRequested, By: "bob", Reason: "now", Force: true}))
	require.Equal(t, "the build ran longer than 1h", fold(start, Event{Kind: DeadlinePassed}))
	require.Equal(t, "agent gone", fold(start, Event{Kind: CancelRequested}, Event{Kind: BuildEnded, State: Lost, Reason: "agent gone"}))
}
