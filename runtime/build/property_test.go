package build

import (
	"fmt"
	"slices"
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
		r := &run{T: t, first: p, p: p, b: New(p), now: time.UnixMilli(1_000_000).UTC(), above: ancestors(p)}
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
	for i := range rapid.IntRange(0, 2).Draw(t, "services") {
		p.Nodes = append(p.Nodes, drawService(t, i))
	}
	for i := range rapid.IntRange(0, 12).Draw(t, "nodes") {
		n := drawNode(t, p, i)
		p.Nodes = append(p.Nodes, n)
		if g := plan.NewGraph(p); len(g.Order()) < g.Len() { // it closed a cycle
			n := &p.Nodes[len(p.Nodes)-1]
			n.Group, n.Needs = "", nil
			if n.Expand() != nil {
				n.Needs = []string{n.Expand().After}
			}
		}
	}
	return p
}

func drawService(t *rapid.T, number int) plan.Node {
	return plan.Node{Name: fmt.Sprintf("s%d", number), Step: &plan.Step{Script: "true", Service: &plan.Service{}}}
}

func rare(t *rapid.T, what string) bool { return rapid.IntRange(0, 4).Draw(t, what) == 0 }

// drawNode draws the node of that number, which may need any node and group of
// p and stand in any group.
func drawNode(t *rapid.T, p *plan.Plan, number int) plan.Node {
	n := plan.Node{Name: fmt.Sprintf("n%d", number)}
	n.Own().RunOn = rapid.SampledFrom([]plan.RunOn{"", "", "", plan.Success, plan.Failure, plan.Always}).Draw(t, "run_on")
	if rare(t, "allow") {
		n.Own().AllowFailure = "known"
	}
	var services, others []string
	for _, m := range p.Nodes {
		switch {
		case !m.IsService():
			others = append(others, m.Name)
		case rare(t, "lists"):
			services = append(services, m.Name)
		}
	}
	switch kind := rapid.IntRange(0, 10).Draw(t, "kind"); {
	case kind == 0:
		n.Own().Trigger = &plan.Trigger{Pipeline: "x", Wait: rapid.Bool().Draw(t, "wait")}
	case kind == 1:
		n.Own().Approve = &plan.Approve{}
	case kind <= 3 && len(others) > 0:
		n.Own().Expand = &plan.Expand{After: rapid.SampledFrom(others).Draw(t, "after"), Services: services}
		n.Own().RunOn = ""
		n.Needs = append(n.Needs, n.Expand().After)
	default:
		n.Step = &plan.Step{Script: "true", Services: services}
		if rare(t, "key") {
			n.Step.Concurrency = rapid.SampledFrom([]string{"db", "net"}).Draw(t, "key name")
		}
		if rare(t, "retry") {
			n.Step.Retry = &plan.Retry{
				Attempts: rapid.IntRange(1, 3).Draw(t, "attempts"),
				Backoff:  plan.Duration(rapid.IntRange(0, 3).Draw(t, "backoff")) * plan.Duration(time.Second),
				On:       rapid.SampledFrom([][]string{nil, {"timeout"}, {"signal", "7"}}).Draw(t, "on"),
			}
		}
	}
	for _, other := range others {
		if rare(t, "edge") {
			n.Needs = append(n.Needs, other)
		}
	}
	if len(p.Groups) > 0 {
		if rapid.Bool().Draw(t, "grouped") {
			n.Group = rapid.SampledFrom(p.Groups).Draw(t, "group").Name
		}
		// A group may be needed from outside, by what comes after all of it.
		if rare(t, "needs group") {
			n.Needs = append(n.Needs, rapid.SampledFrom(p.Groups).Draw(t, "needed").Name)
		}
	}
	return n
}

// drawExpansion draws what an expand of p may find. It fits into p but for the
// services that it lists, which may have ended.
func drawExpansion(t *rapid.T, p *plan.Plan, expand string) *plan.Expansion {
	x := &plan.Expansion{}
	if rare(t, "finds a group") {
		x.Groups = append(x.Groups, plan.Group{
			Name: fmt.Sprintf("g%d", len(p.Groups)), Limit: rapid.IntRange(0, 1).Draw(t, "limit"), FailFast: rapid.Bool().Draw(t, "fail fast"),
		})
	}
	if rare(t, "finds a service") {
		x.Nodes = append(x.Nodes, drawService(t, len(p.Nodes)))
	}
	for i := range rapid.IntRange(0, 3).Draw(t, "finds") {
		// Everything that it may need or list, with its own groups alone to stand in.
		n := drawNode(t, &plan.Plan{Nodes: append(slices.Clone(p.Nodes), x.Nodes...), Groups: x.Groups}, len(p.Nodes)+i+1)
		x.Nodes = append(x.Nodes, n)
		grown, err := plan.Grow(p, expand, *x)
		require.NoError(t, err)
		if len(plan.Validate(grown, 0)) > 0 { // it closed a cycle
			n.Group, n.Needs = "", nil
			if n.Expand() != nil {
				n.Expand().After = expand
			}
			x.Nodes[len(x.Nodes)-1] = n
		}
	}
	return x
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
	first  *plan.Plan // as it was before any expand
	p      *plan.Plan // as it is
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
	r.applied(ev)
}

// applied notes an event, and holds a plan that has grown against the one
// before it.
func (r *run) applied(ev Event) {
	r.events = append(r.events, ev)
	if r.b.Plan() == r.p {
		return
	}
	expand, ok := r.b.Lookup(ev.Node)
	require.True(r, ok && ev.Expansion != nil, "the plan has grown by nothing")
	was, before := r.p, r.above
	r.p = r.b.Plan()
	r.above = ancestors(r.p)
	require.Empty(r, plan.Validate(r.p, 0))
	for i, n := range was.Nodes {
		require.Equal(r, n.Name, r.p.Nodes[i].Name, "a node has lost its place")
		for j := range was.Nodes {
			require.True(r, r.above[i][j] || !before[i][j], "%s does not wait for %s any more", n.Name, was.Nodes[j].Name)
		}
	}
	for found := len(was.Nodes); found < len(r.p.Nodes); found++ {
		if r.p.Nodes[found].IsService() {
			continue
		}
		require.True(r, r.above[found][expand], "%s does not wait for the expand that found it", r.p.Nodes[found].Name)
		for i := range was.Nodes {
			require.True(r, r.above[i][found] || !before[i][expand], "%s does not wait for what was found", was.Nodes[i].Name)
		}
	}
}

func (r *run) free() int {
	free := r.slots
	for i, n := range r.p.Nodes {
		if n.Step != nil && !n.IsService() && r.b.Node(i).State == Running {
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
	folded, err := Fold(r.first, r.events)
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
	if n.Trigger() != nil && step.Child == "" && rapid.Bool().Draw(r.T, "triggers") {
		r.apply(Event{Kind: NodeTriggered, Node: n.Name, Child: "child"})
		return
	}
	if n.IsService() && step.Ready.IsZero() && rapid.IntRange(0, 3).Draw(r.T, "gets ready") > 0 {
		r.apply(Event{Kind: NodeReady, Node: n.Name})
		return
	}
	if n.IsService() && !r.stopped[i] && !rare(r.T, "ends by itself") {
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
	} else if n.Expand() != nil && rapid.IntRange(0, 3).Draw(r.T, "finds anything") > 0 {
		ev.Expansion = drawExpansion(r.T, r.p, n.Name)
		err := r.b.CheckExpansion(n.Name, ev.Expansion, 0)
		require.Equal(r, r.listsEnded(ev.Expansion), err != nil, "%v", err)
		if err != nil {
			ev.Seq, ev.Time = r.b.Seq()+1, r.now
			require.ErrorIs(r, r.b.Apply(ev), ErrExpansion)
			ev.State, ev.Reason, ev.Final, ev.Expansion = Failed, err.Error(), true, nil
		}
	}
	held, forced := r.isHeld(i), r.forced
	r.apply(ev)
	if n.IsService() {
		switch state := r.b.Node(i).State; {
		case held && !forced:
			require.Equal(r, Failed, state)
			require.NotEmpty(r, r.b.Node(i).Reason)
		case !forced:
			require.Equal(r, Success, state)
		default: // unless it had done its duty before that
			require.Contains(r, []State{Cancelled, Success}, state)
		}
	}
}

// nonsense tries an event that may or may not be possible. When it is refused
// nothing may have changed.
func (r *run) nonsense() {
	ev := Event{
		Kind:    rapid.SampledFrom([]Kind{BuildStarted, AttemptStarted, AttemptEnded, NodeReady, NodeSkipped, NodeTriggered, BuildEnded, "x"}).Draw(r.T, "kind"),
		Node:    rapid.SampledFrom([]string{"n", "n", "n", "s"}).Draw(r.T, "of") + fmt.Sprint(rapid.IntRange(0, 12).Draw(r.T, "node")),
		Attempt: rapid.IntRange(0, 3).Draw(r.T, "attempt"),
		State:   rapid.SampledFrom([]State{Success, Failed, Skipped, Cancelled, Waiting, ""}).Draw(r.T, "state"),
		Seq:     r.b.Seq() + int64(rapid.SampledFrom([]int{1, 1, 1, 0, 2}).Draw(r.T, "seq")),
		Time:    r.now,
	}
	if rare(r.T, "with an expansion") {
		ev.Expansion = &plan.Expansion{Nodes: []plan.Node{{Name: rapid.SampledFrom([]string{"n0", "new"}).Draw(r.T, "found"), Step: &plan.Step{Script: "true"}}}}
	}
	before, err := Fold(r.first, r.events)
	require.NoError(r, err)
	if r.b.Apply(ev) != nil {
		require.True(r, r.b.Equal(before), "an error has changed the state")
		return
	}
	r.applied(ev)
	if ev.Kind == AttemptStarted {
		i, _ := r.b.Lookup(ev.Node)
		r.checkDecided(i)
		require.True(r, r.fits(-1), "a limit is broken") // slots are no business of Apply's
	}
}
