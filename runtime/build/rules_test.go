package build

import (
	"encoding/json"
	"slices"
	"strings"
	"time"

	"github.com/piper-build/piper/runtime/plan"
	"github.com/stretchr/testify/require"
)

// The rules of the package, written a second time for TestAnyBuild: plainly,
// slowly, and of what can be seen from outside as far as that goes.

func ended(s State) bool { return s != Waiting && s != Running }

// bad reports whether what happened to a node keeps success-nodes from running.
func (r *run) bad(i int) bool {
	s := r.b.Node(i)
	n := r.p.Nodes[i]
	if s.State == Skipped {
		// Cut off by its group, or by a service; other skips only hand on what
		// was before. Of an expand only the reason tells which came first.
		if n.Expand() != nil && !r.hasResult(i) && strings.HasPrefix(s.Reason, "needs ") {
			return false
		}
		if r.serviceFailed(i) && (n.RunOn() != plan.Failure || r.badAbove(i)) {
			return true
		}
		return r.failedGroup(i) && n.RunOn() != plan.Failure && !r.badAbove(i)
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
	n := r.p.Nodes[i]
	return r.forced || (r.cancelled || r.late) && n.RunOn() != plan.Always && !n.IsService()
}

// hasResult reports whether what an expand comes after has succeeded.
func (r *run) hasResult(i int) bool {
	step, ok := r.b.Step(r.p.Nodes[i].Expand().After)
	return ok && step.State == Success
}

// serviceFailed reports whether a service that a step lists has failed.
func (r *run) serviceFailed(i int) bool {
	return r.anyService(i, func(s Step) bool { return s.State == Failed })
}

// servicesReady reports whether all services that a step lists can be used.
func (r *run) servicesReady(i int) bool {
	return !r.anyService(i, func(s Step) bool { return s.State != Running || s.Ready.IsZero() })
}

func (r *run) anyService(i int, is func(Step) bool) bool {
	n := r.p.Nodes[i]
	if n.Step == nil {
		return false // an expand only keeps them
	}
	for _, name := range n.Step.Services {
		s, ok := r.b.Step(name)
		require.True(r, ok)
		if is(s) {
			return true
		}
	}
	return false
}

// isHeld reports whether a node that lists the service i has not ended. What
// is to be skipped has ended already, as far as that goes.
func (r *run) isHeld(i int) bool {
	for j, n := range r.p.Nodes {
		if slices.Contains(n.Services(), r.p.Nodes[i].Name) && !ended(r.b.Node(j).State) && r.b.nodes[j].phase != doomed {
			return true
		}
	}
	return false
}

// isWanted reports whether a step that lists the service i could start but for
// its services.
func (r *run) isWanted(i int) bool {
	for j, n := range r.p.Nodes {
		if n.Step != nil && slices.Contains(n.Step.Services, r.p.Nodes[i].Name) && r.b.Node(j).State == Waiting &&
			r.aboveEnded(j) && r.mayRun(j) == "" && !r.serviceFailed(j) {
			return true
		}
	}
	return false
}

// listsEnded reports whether something in x lists a service that has ended
// well or was never needed.
func (r *run) listsEnded(x *plan.Expansion) bool {
	for _, n := range x.Nodes {
		for _, name := range n.Services() {
			i, ok := r.b.Lookup(name)
			if !ok {
				continue
			}
			switch s := r.b.Node(i); {
			case s.State == Failed || s.State == Cancelled:
			case ended(s.State), !r.isHeld(i) && (s.State == Running || r.b.nodes[i].phase == doomed) && !r.b.forced:
				return true
			case r.b.nodes[i].verdict == usedUp: // and then the cancel was forced
				return true
			}
		}
	}
	return false
}

func (r *run) aboveEnded(i int) bool {
	for j, above := range r.above[i] {
		if above && !ended(r.b.Node(j).State) {
			return false
		}
	}
	return true
}

// mayRun returns what keeps a node whose ancestors have ended from running,
// its services apart, or "".
func (r *run) mayRun(i int) string {
	n := r.p.Nodes[i]
	if r.calledOff(i) {
		return "the build was called off"
	}
	switch n.RunOn() {
	case plan.Always:
	case plan.Failure:
		if !r.badAbove(i) {
			return "nothing failed"
		}
	default:
		if r.badAbove(i) {
			return "something failed"
		}
		if r.failedGroup(i) {
			return "its group was stopped"
		}
	}
	if n.Expand() != nil && !r.hasResult(i) {
		return "it is given no result"
	}
	return ""
}

// checkDecided checks that a node may run for all that its ancestors and its
// services did.
func (r *run) checkDecided(i int) {
	n := r.p.Nodes[i]
	if n.IsService() {
		require.True(r, r.isWanted(i), "%s starts and no step wants it", n.Name)
		require.False(r, r.forced, "%s starts though the build was called off", n.Name)
		return
	}
	for j, above := range r.above[i] {
		if above {
			require.True(r, ended(r.b.Node(j).State), "%s runs before %s has ended", n.Name, r.p.Nodes[j].Name)
		}
	}
	require.Empty(r, r.mayRun(i), "%s runs", n.Name)
	require.True(r, r.servicesReady(i), "%s runs without its services", n.Name)
}

// checkSkip checks that a node must not run (again).
func (r *run) checkSkip(i int) {
	n := r.p.Nodes[i]
	if n.IsService() {
		require.True(r, !r.isHeld(i) || r.forced, "%s is skipped while something lists it", n.Name)
		return
	}
	require.True(r, r.mayRun(i) != "" || r.serviceFailed(i), "%s is skipped for nothing: %s", n.Name, r.b.Why(i))
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
			require.True(r, r.calledOff(a.Node) || r.failedGroup(a.Node) || r.p.Nodes[a.Node].IsService() && !r.isHeld(a.Node))
		}
	}
	busy := 0
	for i, n := range r.p.Nodes {
		s := r.b.Node(i)
		if s.State == Running {
			busy++
			if r.calledOff(i) || n.IsService() && !r.isHeld(i) {
				require.Contains(r, stops(actions), i, "%s is not stopped", n.Name)
			}
		}
		if s.State == Waiting {
			require.NotEmpty(r, r.b.Why(i), n.Name)
		}
		if starts+skips > 0 || s.State != Waiting || s.NotBefore.After(r.now) || !r.fits(i) || n.Step != nil && !n.IsService() && r.free() <= 0 {
			continue
		}
		if n.IsService() {
			require.True(r, r.isHeld(i), "%s could be skipped: %s", n.Name, r.b.Why(i))
			require.False(r, r.isWanted(i), "%s could start: %s", n.Name, r.b.Why(i))
			continue
		}
		require.False(r, r.aboveEnded(i) && r.servicesReady(i), "%s could start: %s", n.Name, r.b.Why(i))
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
		if n.RunOn() == plan.Always && !r.forced && !r.serviceFailed(i) {
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
	folded, err := Fold(r.first, events)
	require.NoError(r, err)
	require.True(r, r.b.Equal(folded))
	require.Equal(r, r.b.Steps(), folded.Steps())
}
