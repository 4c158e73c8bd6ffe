package store

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
)

// The model of planning and of groups: two builds that turn out to need the same
// group, and an approval. Whoever claims one plans it, and hands it back unless
// it holds the group by then; a build that was planned is claimed only once it
// holds it. What ends leaves a chore behind, to give the group back.

// A yard is one state of that model.
type yard struct {
	rules  *yardRules
	builds [2]Build
	group  Group
	crew   [2]hand
	net    []note
	left   yardBudget
	broken string
	how    *step
}

// yardRules are what may be taken out.
type yardRules struct {
	claimAnyway  bool // a planned build is claimed without its group
	anyHandOver  bool // a hand-over checks no fence
	planTwice    bool // a plan may take the place of another one
	leaveEarly   bool // a build gives the group back when it is handed over
	stuckHolder  bool // nobody takes the group from a build that has ended
	settleFirst  bool // the chore is struck off before the group was given back
	lastApproval bool // the last word on an approval counts, not the first
}

type yardBudget struct{ kills, rescues, doubles, cancels, plans int8 }

// A hand is one agent.
type hand struct {
	life  int8
	doing job
	build int8
	fence int64
	chore int8 // the build whose group it gives back; -1 is none
}

type job int8

const (
	free job = iota
	asking
	planning
	planned // it has a plan, and looks at the group
	handing
	working // with the group
	ending
)

// A note is a request under way.
type note struct {
	verb  int8
	from  int8
	life  int8
	build int8
	fence int64
	plan  string
}

const (
	noteClaim int8 = iota
	notePlan
	noteHandOver
	noteComplete
	noteAcquire
	noteLeave
	noteSettle
	noteRescue
	noteCancel
	noteYes
	noteNo
)

var noteNames = [...]string{"claim", "plan", "hand over", "complete", "acquire", "leave", "settle", "rescue", "cancel", "approve", "refuse"}

func newYard(r *yardRules, left yardBudget) *yard {
	y := &yard{rules: r, left: left}
	for i := range y.builds {
		y.builds[i] = NewBuild(build.ID(fmt.Sprint("b", i)), int64(i+1), Request{Project: "p"}, time.Time{})
	}
	for i := range y.crew {
		y.crew[i].chore = -1
	}
	return y
}

func (y *yard) then(what string, do func(y *yard)) *yard {
	n := *y
	n.net = slices.Clone(y.net)
	n.how = &step{what, y.how}
	do(&n)
	return &n
}

func (y *yard) id(agent int) AgentID { return names[agent][y.crew[agent].life] }

func (y *yard) waiter(b int8) Waiter {
	return Waiter{Number: y.builds[b].Number, Build: y.builds[b].ID}
}

func (y *yard) send(n note) { y.net = append(y.net, n) }

// owes reports whether the group is still to be given back.
func owes(b *Build) bool { return slices.Contains(b.Pending, Chore{Release, "g"}) }

// under reports whether a request like n is under way already: to send it again
// and again would change nothing but the model's size.
func (y *yard) under(n note) bool { return slices.Contains(y.net, n) }

// next implements state.
func (y *yard) next() (all []state) {
	add := func(what string, do func(y *yard)) { all = append(all, y.then(what, do)) }
	for i, a := range y.crew {
		from := note{from: int8(i), life: a.life, build: a.build, fence: a.fence}
		begin := func(doing job, verb int8, plan string) func(*yard) {
			return func(y *yard) {
				y.crew[i].doing = doing
				n := from
				n.verb, n.plan = verb, plan
				y.send(n)
			}
		}
		switch a.doing {
		case free:
			for bi := range y.builds {
				b := &y.builds[bi]
				if b.State != build.Queued {
					continue
				}
				if b.Plan == "" || y.group.Holder == b.ID || y.rules.claimAnyway {
					add(fmt.Sprintf("agent %d claims %d", i, bi), func(y *yard) {
						y.crew[i].doing, y.crew[i].build, y.crew[i].fence = asking, int8(bi), b.Fence
						y.send(note{verb: noteClaim, from: int8(i), life: a.life, build: int8(bi), fence: b.Fence})
					})
				} else if n := (note{verb: noteAcquire, from: -1, build: int8(bi)}); !y.under(n) {
					add(fmt.Sprintf("agent %d asks for the group of %d", i, bi), func(y *yard) { y.send(n) })
				}
			}
		case planning:
			if y.left.plans > 0 {
				add("agent plans", begin(planning, notePlan, "x"))
				add("agent plans otherwise", func(y *yard) {
					y.left.plans--
					begin(planning, notePlan, "y")(y)
				})
			} else {
				add("agent plans", begin(planning, notePlan, "x"))
			}
		case planned:
			if y.group.Holder == y.builds[a.build].ID {
				add("agent works", func(y *yard) { y.crew[i].doing = working })
				break
			}
			add("agent asks for the group, and hands over", func(y *yard) {
				y.send(note{verb: noteAcquire, from: -1, build: a.build})
				if y.rules.leaveEarly {
					y.send(note{verb: noteLeave, from: -1, build: a.build})
				}
				begin(handing, noteHandOver, "")(y)
			})
		case working:
			add("agent completes", begin(ending, noteComplete, ""))
		}
		if a.doing > asking {
			if b := &y.builds[a.build]; b.State != build.Running || b.Owner != y.id(i) || b.Fence != a.fence {
				add("agent sees that it has it no more", func(y *yard) { y.crew[i].doing = free })
			}
		}
		for bi := range y.builds {
			b := &y.builds[bi]
			verb := noteLeave
			switch {
			case a.chore >= 0:
				continue
			case owes(b):
				if y.rules.settleFirst {
					verb = noteSettle
				}
			case b.Terminal() && y.group.Holder == b.ID && !y.rules.stuckHolder:
			default:
				continue
			}
			add(fmt.Sprintf("agent %d is about to give back the group of %d", i, bi), func(y *yard) {
				y.crew[i].chore = int8(bi)
				y.send(note{verb: verb, from: int8(i), life: a.life, build: int8(bi)})
			})
		}
		if y.left.kills > 0 {
			add("agent is killed and started again", func(y *yard) {
				y.left.kills--
				y.crew[i] = hand{life: a.life + 1, chore: -1}
			})
		}
	}
	for bi := range y.builds {
		b := &y.builds[bi]
		if b.State == build.Running && y.left.rescues > 0 {
			add("its agent is thought dead", func(y *yard) {
				y.left.rescues--
				y.send(note{verb: noteRescue, from: -1, build: int8(bi), fence: b.Fence, plan: string(b.Owner)})
			})
		}
		if !b.Terminal() && y.left.cancels > 0 {
			add("a person cancels", func(y *yard) {
				y.left.cancels--
				y.send(note{verb: noteCancel, from: -1, build: int8(bi)})
			})
			add("two persons have a say", func(y *yard) {
				y.left.cancels--
				y.send(note{verb: noteYes, from: -1, build: int8(bi)})
				y.send(note{verb: noteNo, from: -1, build: int8(bi)})
			})
		}
	}
	for i, n := range y.net {
		deliver := func(y *yard) {
			y.net = slices.Delete(y.net, i, i+1)
			y.deliver(n)
		}
		add("arrives: "+noteNames[n.verb], deliver)
		if y.left.doubles > 0 {
			add("arrives, and will again: "+noteNames[n.verb], func(y *yard) {
				y.left.doubles--
				y.net = append(y.net, n)
				deliver(y)
			})
		}
	}
	return all
}

// deliver has a request reach the store, and its answer the one who waits.
func (y *yard) deliver(n note) {
	var a *hand
	if n.from >= 0 && y.crew[n.from].life == n.life {
		a = &y.crew[n.from]
	}
	owner := AgentID("")
	if n.from >= 0 {
		owner = names[n.from][n.life]
	}
	b := &y.builds[n.build]
	var c Change
	var during, then job
	switch n.verb {
	case noteAcquire:
		y.group, _ = y.group.Changed(Acquire{y.waiter(n.build)})
		return
	case noteLeave:
		y.group, _ = y.group.Changed(Leave{y.waiter(n.build)})
		if a != nil && a.chore == n.build {
			if a.chore = -1; owes(b) {
				a.chore = n.build
				y.send(note{verb: noteSettle, from: n.from, life: n.life, build: n.build})
			}
		}
		return
	case noteSettle:
		y.change(n, Settle{Chore{Release, "g"}})
		if a != nil && a.chore == n.build {
			if a.chore = -1; y.rules.settleFirst {
				a.chore = n.build
				y.send(note{verb: noteLeave, from: n.from, life: n.life, build: n.build})
			}
		}
		return
	case noteClaim:
		c, during, then = Claim{Agent: owner, Fence: n.fence, Nonce: fmt.Sprint(owner, n.fence), Max: modelAttempts}, asking, planning
	case notePlan:
		c, during, then = Planned{Agent: owner, Fence: n.fence, Plan: n.plan, Groups: []string{"g"}}, planning, planned
	case noteHandOver:
		c, during, then = HandOver{Agent: owner, Fence: n.fence, Nonce: fmt.Sprint("over", owner, n.fence)}, handing, free
	case noteComplete:
		c, during, then = Complete{Agent: owner, Fence: n.fence, State: build.Success}, ending, free
	case noteRescue:
		c = Rescue{Owner: AgentID(n.plan), Fence: n.fence, Max: modelAttempts}
	case noteCancel:
		c = RequestCancel{Cancel: Cancel{By: "someone"}}
	case noteYes:
		c = Approve{Node: "ok", Approval: Approval{Approved: true, By: "one"}}
	case noteNo:
		c = Approve{Node: "ok", Approval: Approval{By: "other"}}
	}
	err := y.change(n, c)
	if a == nil || a.doing != during || a.build != n.build || a.fence != n.fence {
		return
	}
	if err != nil {
		a.doing = free
		return
	}
	switch a.doing = then; n.verb {
	case noteClaim:
		a.fence++
		if b.Plan != "" {
			a.doing = planned
			if y.rules.claimAnyway {
				a.doing = working
			}
		}
	}
}

// change takes a build through c, and holds what came out against what must
// always be.
func (y *yard) change(n note, c Change) error {
	before := y.builds[n.build]
	lie := before
	switch {
	case y.rules.anyHandOver && n.verb == noteHandOver && before.State == build.Running:
		lie.Owner, lie.Fence = names[n.from][n.life], n.fence
	case y.rules.planTwice && n.verb == notePlan:
		lie.Plan = ""
	case y.rules.lastApproval && (n.verb == noteYes || n.verb == noteNo):
		lie.Approvals = nil
	}
	after, differs, err := lie.Changed(c)
	if err != nil || !differs {
		return err
	}
	if y.rules.anyHandOver && n.verb == noteHandOver {
		after.Fence = before.Fence + 1
	}
	y.builds[n.build] = after
	carries := n.verb <= noteComplete || n.verb == noteRescue
	said, had := before.Approvals["ok"]
	switch {
	case before.Terminal() && after.State != before.State:
		y.broken = fmt.Sprintf("a build that was %s became %s", before.State, after.State)
	case carries && n.fence < before.Fence:
		y.broken = "a message of an old fence changed the build"
	case before.Plan != "" && after.Plan != before.Plan:
		y.broken = "a build got another plan"
	case after.Attempt < 0:
		y.broken = "a hand-over gave back an attempt that was never made"
	case had && after.Approvals["ok"] != said:
		y.broken = "a word that was given was changed"
	}
	return nil
}

// look implements state.
func (y *yard) look() string {
	if y.broken != "" {
		return y.broken
	}
	for i, a := range y.crew {
		b := &y.builds[a.build]
		if a.doing == working && b.State == build.Running && b.Owner == y.id(i) && b.Fence == a.fence && y.group.Holder != b.ID {
			return "a build runs without its group"
		}
	}
	for i := range y.builds {
		b := &y.builds[i]
		if y.group.Holder != b.ID || !b.Terminal() || owes(b) {
			continue
		}
		leaves := slices.ContainsFunc(y.net, func(n note) bool { return n.verb == noteLeave && n.build == int8(i) })
		late := slices.ContainsFunc(y.crew[:], func(h hand) bool { return h.chore == int8(i) })
		if y.rules.stuckHolder && !leaves && !late { // else an agent finds it
			return "a group is held for ever"
		}
	}
	return ""
}

// way implements state.
func (y *yard) way() string { return y.how.String() }

// key implements state.
func (y *yard) key(buf []byte) []byte {
	for i := range y.builds {
		b := &y.builds[i]
		buf = append(buf, b.State[0], b.State[1], byte(b.Fence), byte(b.Attempt), byte(len(b.Pending)), byte(len(b.Plan)), byte(len(b.Approvals)))
		buf = append(append(append(append(append(buf, b.Plan...), b.Owner...), ';'), b.Nonce...), ';')
		buf = fmt.Append(buf, b.Cancel != nil, b.Approvals["ok"].Approved)
	}
	buf = append(append(buf, y.group.Holder...), ';')
	for _, w := range y.group.Queue {
		buf = append(buf, byte(w.Number))
	}
	for _, a := range y.crew {
		if a.doing == free {
			a.build, a.fence = 0, 0 // of no matter any more
		}
		buf = append(buf, '|', byte(a.life), byte(a.doing), byte(a.build), byte(a.fence), byte(a.chore+1))
	}
	l := &y.left
	buf = append(buf, byte(l.kills), byte(l.rescues), byte(l.doubles), byte(l.cancels), byte(l.plans))
	slices.SortFunc(y.net, func(a, b note) int {
		return cmp.Or(cmp.Compare(a.verb, b.verb), cmp.Compare(a.from, b.from), cmp.Compare(a.life, b.life), cmp.Compare(a.build, b.build), cmp.Compare(a.fence, b.fence), cmp.Compare(a.plan, b.plan))
	})
	for _, n := range y.net {
		buf = append(append(buf, byte(n.verb), byte(n.from), byte(n.life), byte(n.build), byte(n.fence)), n.plan...)
	}
	return buf
}

func TestGroupsHoldInEveryStateOfTheModel(t *testing.T) {
	most := *modelStates / 4
	if testing.Short() {
		most /= 20
	}
	seen, all, wrong := explore(newYard(&yardRules{}, yardBudget{kills: 1, rescues: 1, doubles: 1, cancels: 1, plans: 1}), most)
	require.Empty(t, wrong)
	require.True(t, all || seen >= most, "the model ran dry")
	t.Logf("%d states, all of them: %v", seen, all)
}

func TestGroupsNeedEachOfTheirGuards(t *testing.T) {
	for _, c := range []struct {
		without string
		rules   yardRules
		left    yardBudget
		wrong   string
	}{
		{"waiting for the group", yardRules{claimAnyway: true}, yardBudget{}, "without its group"},
		{"the fence in a hand-over", yardRules{anyHandOver: true}, yardBudget{doubles: 1}, "old fence"},
		{"one plan for a build", yardRules{planTwice: true}, yardBudget{rescues: 1, plans: 1}, "another plan"},
		{"keeping the place in a queue", yardRules{leaveEarly: true}, yardBudget{}, "without its group"},
		{"taking the group from what has ended", yardRules{stuckHolder: true}, yardBudget{cancels: 1}, "held for ever"},
		{"giving back before settling", yardRules{settleFirst: true, stuckHolder: true}, yardBudget{kills: 1}, "held for ever"},
		{"the first word on an approval", yardRules{lastApproval: true}, yardBudget{cancels: 1}, "word that was given"},
	} {
		t.Run(c.without, func(t *testing.T) {
			_, _, wrong := explore(newYard(&yardRules{}, c.left), *modelStates/20)
			require.Empty(t, wrong, "with the guard all is well")
			seen, _, wrong := explore(newYard(&c.rules, c.left), *modelStates)
			require.Contains(t, wrong, c.wrong)
			t.Logf("after %d states: %s", seen, wrong)
		})
	}
}
