package build

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/piper-build/piper/runtime/plan"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestAnyBuild draws a plan, an engine's behaviour and everything that can
// happen to a build, and holds each state against the rules of the package,
// written a second time, plainly and slowly.
func TestAnyBuild(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPlan(t)
		require.Empty(t, plan.Validate(p, 0))
		r := &run{T: t, p: p, b: New(p), now: time.UnixMilli(1_000_000).UTC(), above: ancestors(p)}
		r.slots = rapid.IntRange(1, 4).Draw(t, "slots")
		r.apply(Event{Kind: BuildStarted})
		for r.b.State() == Running {
			r.turn()
		}
		r.checkEnd()
	})
}

func drawPlan(t *rapid.T) *plan.Plan {
	p := &plan.Plan{Format: plan.Format, Pipeline: "any"}
	if rapid.Bool().Draw(t, "timeout") {
		p.Timeout = plan.Duration(time.Hour)
	}
	for i := range rapid.IntRange(0, 4).Draw(t, "groups") {
		g := plan.Group{
			Name:     fmt.Sprintf("g%d", i),
			Limit:    rapid.IntRange(0, 2).Draw(t, "limit"),
			FailFast: rapid.IntRange(0, 2).Draw(t, "fail fast") == 0,
		}
		if i > 0 && rapid.Bool().Draw(t, "nested") {
			g.Group = fmt.Sprintf("g%d", rapid.IntRange(0, i-1).Draw(t, "outer"))
		}
		p.Groups = append(p.Groups, g)
	}
	rare := func(what string) bool { return rapid.IntRange(0, 4).Draw(t, what) == 0 }
	for i := range rapid.IntRange(0, 12).Draw(t, "nodes") {
		n := plan.Node{Name: fmt.Sprintf("n%d", i)}
		n.RunOn = rapid.SampledFrom([]plan.RunOn{"", "", "", plan.Success, plan.Failure, plan.Always}).Draw(t, "run_on")
		if rare("allow") {
			n.AllowFailure = "known"
		}
		switch rapid.IntRange(0, 9).Draw(t, "kind") {
		case 0:
			n.Trigger = &plan.Trigger{Pipeline: "x", Wait: rapid.Bool().Draw(t, "wait")}
		case 1:
			n.Approve = &plan.Approve{}
		default:
			n.Step = &plan.Step{Script: "true"}
			if rare("key") {
				n.Step.Concurrency = rapid.SampledFrom([]string{"db", "net"}).Draw(t, "key name")
			}
			if rare("retry") {
				n.Step.Retry = &plan.Retry{
					Attempts: rapid.IntRange(1, 3).Draw(t, "attempts"),
					Backoff:  plan.Duration(rapid.IntRange(0, 3).Draw(t, "backoff")) * plan.Duration(time.Second),
					On:       rapid.SampledFrom([][]string{nil, {"timeout"}, {"signal", "7"}}).Draw(t, "on"),
				}
			}
		}
		for j := range i {
			if rare("edge") {
				n.Needs = append(n.Needs, fmt.Sprintf("n%d", j))
			}
		}
		if len(p.Groups) > 0 {
			if rapid.Bool().Draw(t, "grouped") {
				n.Group = rapid.SampledFrom(p.Groups).Draw(t, "group").Name
			}
			// A group may be needed from outside, by what comes after all of it.
			if rare("needs group") {
				n.Needs = append(n.Needs, rapid.SampledFrom(p.Groups).Draw(t, "needed").Name)
			}
		}
		p.Nodes = append(p.Nodes, n)
		if g := plan.NewGraph(p); len(g.Order()) < g.Len() { // it closed a cycle
			p.Nodes[i].Group, p.Nodes[i].Needs = "", nil
		}
	}
	return p
}

// encloses reports whether a node or group named inner stands, directly or
// not, in the group named outer.
func encloses(p *plan.Plan, outer, group string) bool {
	for group != "" && group != outer {
		inner := group
		group = ""
		for _, g := range p.Groups {
			if g.Name == inner {
				group = g.Group
			}
		}
	}
	return group != ""
}

// ancestors returns for each node whether each other one is above it.
func ancestors(p *plan.Plan) [][]bool {
	above := make([][]bool, len(p.Nodes))
	for i := range above {
		above[i] = make([]bool, len(p.Nodes))
	}
	for changed := true; changed; {
		changed = false
		for i, n := range p.Nodes {
			for j, m := range p.Nodes {
				direct := false
				for _, need := range n.Needs {
					direct = direct || need == m.Name || encloses(p, need, m.Group)
				}
				if !direct {
					continue
				}
				for k := range p.Nodes {
					if (k == j || above[j][k]) && !above[i][k] {
						above[i][k] = true
						changed = true
					}
				}
			}
		}
	}
	return above
}

type run struct {
	*rapid.T
	p      *plan.Plan
	b      *Build
	now    time.Time
	slots  int
	events []Event
	above  [][]bool

	cancelled, forced, late bool
	stopped                 map[int]bool // nodes that Next wants stopped
}

func (r *run) apply(ev Event) {
	ev.Seq, ev.Time = r.b.Seq()+1, r.now
	require.NoError(r, r.b.Apply(ev))
	r.events = append(r.events, ev)
}

func (r *run) free() int {
	free := r.slots
	for i, n := range r.p.Nodes {
		if n.Step != nil && r.b.Node(i).State == Running {
			free--
		}
	}
	return free
}

// turn is what an engine does once: it asks, carries out some of the answer,
// and then something happens.
func (r *run) turn() {
	actions, wake := r.b.Next(r.now, r.free())
	again, wakeAgain := r.b.Next(r.now, r.free())
	require.Equal(r, actions, again)
	require.Equal(r, wake, wakeAgain)
	folded, err := Fold(r.p, r.events)
	require.NoError(r, err)
	require.True(r, r.b.Equal(folded))
	elsewhere, wakeElsewhere := folded.Next(r.now, r.free())
	require.Equal(r, actions, elsewhere, "the fold goes on in another way")
	require.Equal(r, wake, wakeElsewhere)
	r.checkAnswer(actions, wake)

	most := len(actions)
	if most > 0 && rapid.IntRange(0, 3).Draw(r.T, "carry out part") == 0 {
		most = rapid.IntRange(0, most).Draw(r.T, "part")
	}
	r.stopped = map[int]bool{}
	for i, a := range actions {
		if a.Verb == Stop {
			r.stopped[a.Node] = true
			continue
		}
		if i >= most {
			break
		}
		switch a.Verb {
		case Start:
			r.checkStart(a.Node)
			r.apply(Event{Kind: AttemptStarted, Node: r.p.Nodes[a.Node].Name, Attempt: r.b.Node(a.Node).Attempt + 1})
			r.checkLimits()
		case Skip:
			r.apply(Event{Kind: NodeSkipped, Node: r.p.Nodes[a.Node].Name, State: a.State, Reason: a.Reason})
		case End:
			r.apply(Event{Kind: BuildEnded, State: a.State, Reason: a.Reason})
		}
	}
	if r.b.State() == Running {
		r.happen(wake)
	}
}

// happen lets something happen that an engine does not decide.
func (r *run) happen(wake time.Time) {
	var busy []int
	for i := range r.p.Nodes {
		if r.b.Node(i).State == Running {
			busy = append(busy, i)
		}
	}
	switch rapid.IntRange(0, 30).Draw(r.T, "event") {
	case 0:
		force := rapid.Bool().Draw(r.T, "force")
		r.cancelled, r.forced = true, r.forced || force
		r.apply(Event{Kind: CancelRequested, By: "ann", Force: force})
		return
	case 1:
		if r.p.Timeout > 0 && !r.late {
			r.late = true
			r.apply(Event{Kind: DeadlinePassed})
			return
		}
	case 2:
		r.now = r.now.Add(time.Second)
		return
	case 3:
		r.nonsense()
		return
	}
	if len(busy) == 0 {
		if !wake.IsZero() {
			r.now = wake
		}
		return
	}
	i := rapid.SampledFrom(busy).Draw(r.T, "which")
	n, step := r.p.Nodes[i], r.b.Node(i)
	if n.Trigger != nil && step.Child == "" && rapid.Bool().Draw(r.T, "triggers") {
		r.apply(Event{Kind: NodeTriggered, Node: n.Name, Child: "child"})
		return
	}
	ev := Event{Kind: AttemptEnded, Node: n.Name, Attempt: step.Attempt, State: Success}
	if r.stopped[i] && rapid.IntRange(0, 3).Draw(r.T, "obeys") > 0 {
		ev.State = Cancelled
	} else if rapid.IntRange(0, 2).Draw(r.T, "fails") == 0 {
		ev.State = rapid.SampledFrom([]State{Failed, Failed, TimedOut, Cancelled}).Draw(r.T, "state")
		if ev.State == Failed {
			exit := rapid.SampledFrom([]int{1, 7}).Draw(r.T, "exit")
			ev.Exit = &exit
			ev.Infra = rapid.Bool().Draw(r.T, "infra")
		} else {
			ev.Signal = "killed"
		}
	}
	r.apply(ev)
}

// nonsense tries an event that may or may not be possible. When it is refused
// nothing may have changed.
func (r *run) nonsense() {
	ev := Event{
		Kind:    rapid.SampledFrom([]Kind{BuildStarted, AttemptStarted, AttemptEnded, NodeSkipped, NodeTriggered, BuildEnded, "x"}).Draw(r.T, "kind"),
		Node:    fmt.Sprintf("n%d", rapid.IntRange(0, 12).Draw(r.T, "node")),
		Attempt: rapid.IntRange(0, 3).Draw(r.T, "attempt"),
		State:   rapid.SampledFrom([]State{Success, Failed, Skipped, Cancelled, Waiting, ""}).Draw(r.T, "state"),
		Seq:     r.b.Seq() + int64(rapid.SampledFrom([]int{1, 1, 1, 0, 2}).Draw(r.T, "seq")),
		Time:    r.now,
	}
	before, err := Fold(r.p, r.events)
	require.NoError(r, err)
	if r.b.Apply(ev) != nil {
		require.True(r, r.b.Equal(before), "an error has changed the state")
		return
	}
	r.events = append(r.events, ev)
	if ev.Kind == AttemptStarted {
		i, _ := r.b.Lookup(ev.Node)
		r.checkDecided(i)
		require.True(r, r.fits(-1), "a limit is broken") // slots are no business of Apply's
	}
}

func ended(s State) bool { return s != Waiting && s != Running }

// bad reports whether what happened to a node keeps success-nodes from running.
func (r *run) bad(i int) bool {
	s := r.b.Node(i)
	if s.State == Skipped {
		// Cut off by its group; other skips only hand on what was before.
		return r.failedGroup(i) && r.p.Nodes[i].RunOn != plan.Failure && !r.badAbove(i)
	}
	return (s.State == Failed || s.State == TimedOut || s.State == Cancelled) && !s.Allowed
}

func (r *run) badAbove(i int) bool {
	for j, above := range r.above[i] {
		if above && r.bad(j) {
			return true
		}
	}
	return false
}

// failedGroup reports whether a fail_fast group around a node was stopped.
func (r *run) failedGroup(i int) bool {
	for _, g := range r.p.Groups {
		if !g.FailFast || !encloses(r.p, g.Name, r.p.Nodes[i].Group) {
			continue
		}
		for j, m := range r.p.Nodes {
			s := r.b.Node(j)
			asked := s.State == Cancelled && r.wasAsked(j)
			if encloses(r.p, g.Name, m.Group) && (s.State == Failed || s.State == TimedOut || s.State == Cancelled && !asked) && !s.Allowed {
				return true
			}
		}
	}
	return false
}

// wasAsked reports whether a cancelled node had been asked to stop, which only
// the state itself knows.
func (r *run) wasAsked(i int) bool { return r.b.nodes[i].verdict != free }

// calledOff reports whether the build was, as far as a node is concerned.
func (r *run) calledOff(i int) bool {
	return r.forced || (r.cancelled || r.late) && r.p.Nodes[i].RunOn != plan.Always
}

// checkDecided checks that a node may run for all that its ancestors did.
func (r *run) checkDecided(i int) {
	for j, above := range r.above[i] {
		if above {
			require.True(r, ended(r.b.Node(j).State), "%s runs before %s has ended", r.p.Nodes[i].Name, r.p.Nodes[j].Name)
		}
	}
	require.False(r, r.calledOff(i), "%s starts though the build was called off", r.p.Nodes[i].Name)
	switch r.p.Nodes[i].RunOn {
	case plan.Always:
	case plan.Failure:
		require.True(r, r.badAbove(i), "%s runs on no failure", r.p.Nodes[i].Name)
	default:
		require.False(r, r.badAbove(i), "%s runs after a failure", r.p.Nodes[i].Name)
		require.False(r, r.failedGroup(i), "%s runs in a group that was stopped", r.p.Nodes[i].Name)
	}
}

// checkSkip checks that a node must not run (again).
func (r *run) checkSkip(i int) {
	wanted := true
	switch r.p.Nodes[i].RunOn {
	case plan.Always:
	case plan.Failure:
		wanted = r.badAbove(i)
	default:
		wanted = !r.badAbove(i) && !r.failedGroup(i)
	}
	require.True(r, !wanted || r.calledOff(i), "%s is skipped for nothing: %s", r.p.Nodes[i].Name, r.b.Why(i))
}

func (r *run) checkStart(i int) {
	require.Equal(r, Waiting, r.b.Node(i).State)
	require.False(r, r.b.Node(i).NotBefore.After(r.now), "%s is tried again too soon", r.p.Nodes[i].Name)
	r.checkDecided(i)
}

// fits reports whether the limits leave room for one more of like, or hold as
// it is when like is -1.
func (r *run) fits(like int) bool {
	inside := map[string]int{}
	keys := map[string]int{}
	for i, n := range r.p.Nodes {
		if r.b.Node(i).State != Running && i != like {
			continue
		}
		for _, g := range r.p.Groups {
			if encloses(r.p, g.Name, n.Group) {
				inside[g.Name]++
			}
		}
		if n.Step != nil && n.Step.Concurrency != "" {
			keys[n.Step.Concurrency]++
		}
	}
	for _, g := range r.p.Groups {
		if g.Limit > 0 && inside[g.Name] > g.Limit {
			return false
		}
	}
	return keys["db"] <= 1 && keys["net"] <= 1
}

func (r *run) checkLimits() {
	require.True(r, r.fits(-1), "a limit is broken")
	require.GreaterOrEqual(r, r.free(), 0, "too few slots")
}

// checkAnswer checks that what Next does not start could not start, and that
// every action is one that the state calls for.
func (r *run) checkAnswer(actions []Action, wake time.Time) {
	phase := Verb(0)
	order := map[Verb]Verb{Skip: 1, Stop: 2, Start: 3, End: 4}
	starts, skips := 0, 0
	for _, a := range actions {
		require.GreaterOrEqual(r, order[a.Verb], phase, "out of order")
		phase = order[a.Verb]
		switch a.Verb {
		case Start:
			starts++
		case Skip:
			if skips == 0 { // what is above the others may be skipped only on paper
				r.checkSkip(a.Node)
			}
			skips++
			require.NotEmpty(r, a.Reason)
			require.Equal(r, a.Reason, r.b.Why(a.Node))
		case Stop:
			require.NotEmpty(r, a.Reason)
			require.Equal(r, Running, r.b.Node(a.Node).State)
			require.True(r, r.calledOff(a.Node) || r.failedGroup(a.Node))
		}
	}
	busy := 0
	for i, n := range r.p.Nodes {
		s := r.b.Node(i)
		if s.State == Running {
			busy++
			if r.calledOff(i) {
				require.Contains(r, stops(actions), i, "%s is not stopped", n.Name)
			}
		}
		if s.State == Waiting {
			require.NotEmpty(r, r.b.Why(i), n.Name)
		}
		if starts+skips > 0 || s.State != Waiting || s.NotBefore.After(r.now) || !r.fits(i) || n.Step != nil && r.free() <= 0 {
			continue
		}
		blocked := false
		for j, above := range r.above[i] {
			blocked = blocked || above && !ended(r.b.Node(j).State)
		}
		require.True(r, blocked, "%s could start: %s", n.Name, r.b.Why(i))
	}
	if len(actions) == 0 {
		require.True(r, busy > 0 || !wake.IsZero() || r.b.State() != Running, "nothing will ever happen")
	}
}

func stops(actions []Action) []int {
	var nodes []int
	for _, a := range actions {
		if a.Verb == Stop {
			nodes = append(nodes, a.Node)
		}
	}
	return nodes
}

func (r *run) checkEnd() {
	bad := 0
	var count Progress
	for i, n := range r.p.Nodes {
		s := r.b.Node(i)
		require.True(r, ended(s.State), "%s has not ended", n.Name)
		if n.RunOn == plan.Always && !r.forced {
			require.NotZero(r, s.Attempt, "%s did not run: %s", n.Name, s.Reason)
		}
		count.Total++
		count.Done++
		if s.State == Skipped {
			count.Skipped++
		}
		if !s.Allowed && (s.State == Failed || s.State == TimedOut || s.State == Cancelled && !r.wasAsked(i)) {
			bad++
		}
	}
	count.Failed = bad
	require.Equal(r, count, r.b.Progress())
	switch r.b.State() {
	case TimedOut:
		require.True(r, r.late)
	case Cancelled:
		require.True(r, r.cancelled)
	case Failed:
		require.NotZero(r, bad)
		require.False(r, r.late)
	case Success:
		require.Zero(r, bad)
		require.False(r, r.late)
	default:
		require.Fail(r, "ended in "+string(r.b.State()))
	}
	actions, wake := r.b.Next(r.now, 10)
	require.Empty(r, actions)
	require.Zero(r, wake)

	// What was recorded is enough to know it all again.
	data, err := json.Marshal(r.events)
	require.NoError(r, err)
	var events []Event
	require.NoError(r, json.Unmarshal(data, &events))
	folded, err := Fold(r.p, events)
	require.NoError(r, err)
	require.True(r, r.b.Equal(folded))
	require.Equal(r, r.b.Steps(), folded.Steps())
}
