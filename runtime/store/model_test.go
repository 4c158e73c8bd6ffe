package store

import (
	"cmp"
	"flag"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
)

var modelStates = flag.Int("model.states", 1_000_000, "how many states of the protocol the model visits")

// The model is the whole of a small world: one build that triggers a child and
// has a step that must not run twice, two agents that are killed, thought dead
// and come back, and a network that delays, doubles and loses. Its states are
// explored breadth first. Each change of the build is made by the function that
// the stores use; what the model adds is who may send what, and what must hold
// whatever happens.

// A world is one state of the model.
type world struct {
	rules *rules

	build    Build
	children []child // that the trigger made
	agents   [2]worker
	net      []message // under way, in no order
	starts   int       // of the step that must not run twice
	made     int       // children that did not exist before
	granted  []AgentID // by fence
	left     budget
	broken   string // what must never be
	how      *step  // the way here
}

// A step is one thing that happened, and what was before.
type step struct {
	what   string
	before *step
}

// A budget bounds the mischief, and with it the number of states.
type budget struct{ kills, rescues, doubles, losses, cancels, forces, collects, handOvers int8 }

// A child is a build that was triggered.
type child struct {
	id   int8
	gone bool // collected: what is left is a tombstone
}

// A phase is what an agent is about with the build. It waits for an answer in
// those that end in "ing".
type phase int8

const (
	idle phase = iota
	claiming
	running
	firing
	intending
	completing
	handingOver
)

// A worker is one agent, as far as it knows.
type worker struct {
	life    int8 // how often it was killed
	phase   phase
	fence   int8 // of the build as it saw it, or as it has it
	fired   bool
	started bool // the step that must not run twice, in this claim
	sweep   int8 // 0: nothing, 1: it inserts the child, 2: it strikes the chore off
}

func (w *world) id(agent int) AgentID {
	return names[agent][w.agents[agent].life]
}

var names = [2][3]AgentID{{"a0", "a1", "a2"}, {"b0", "b1", "b2"}}

// A verb is what a message asks for.
type verb int8

const (
	claim verb = iota
	fire
	intend
	complete
	handOver
	rescue
	askCancel
	forceCancel
	insertChild
	settle
	collectChild
)

// A message is a request under way.
type message struct {
	verb  verb
	from  int8 // the agent that waits for the answer, or -1
	life  int8
	fence int8
	owner AgentID
	child int8
}

// rules are what may be taken out of the protocol, one at a time.
type rules struct {
	completeAnyFence bool // complete checks the owner but not the fence
	completeAnyState bool
	rescueAnyFence   bool
	cancelAnyState   bool
	randomChild      bool
	settleFirst      bool // the outbox is marked before the insert
	forgetChild      bool // collection leaves no tombstone
	cancelForgotten  bool // what is handed over is queued, cancelled or not
	noIntent         bool // the step is started without saying so before
	onceRetried      bool // rescue takes no account of the step
}

const modelAttempts = 3

// mischief is what may happen in the whole of the model.
var mischief = budget{kills: 1, rescues: 2, doubles: 1, losses: 1, cancels: 1, forces: 1, collects: 1, handOvers: 1}

func newWorld(r *rules, left budget) *world {
	return &world{
		rules:   r,
		build:   NewBuild("parent", 1, Request{Project: "p"}, time.Time{}),
		granted: []AgentID{""},
		left:    left,
	}
}

// then returns the world after do.
func (w *world) then(what string, do func(w *world)) *world {
	n := *w
	n.children = slices.Clone(w.children)
	n.net = slices.Clone(w.net)
	n.how = &step{what, w.how}
	do(&n)
	return &n
}

// next implements state.
func (w *world) next() (all []state) {
	add := func(what string, do func(w *world)) { all = append(all, w.then(what, do)) }
	b := &w.build

	for i, a := range w.agents {
		send := func(m message) func(*world) {
			return func(w *world) {
				m.from, m.life = int8(i), a.life
				w.net = append(w.net, m)
			}
		}
		become := func(p phase, m message) func(*world) {
			return func(w *world) {
				w.agents[i].phase = p
				send(m)(w)
			}
		}
		mine := message{fence: a.fence, owner: w.id(i)}
		with := func(v verb) message { m := mine; m.verb = v; return m }
		switch a.phase {
		case idle:
			if b.State == build.Queued {
				add("agent sees it queued and claims", func(w *world) {
					w.agents[i].phase, w.agents[i].fence = claiming, int8(b.Fence)
					send(message{verb: claim, fence: int8(b.Fence), owner: w.id(i)})(w)
				})
			}
		case running:
			if !a.fired {
				add("agent fires the trigger", become(firing, with(fire)))
			}
			switch {
			case a.started:
			case w.rules.noIntent:
				add("agent starts the step", func(w *world) {
					w.agents[i].started = true
					w.starts++
				})
			default:
				add("agent intends the step", become(intending, with(intend)))
			}
			add("agent completes", become(completing, with(complete)))
			if w.left.handOvers > 0 && !a.started {
				add("agent hands it over", func(w *world) {
					w.left.handOvers--
					become(handingOver, with(handOver))(w)
				})
			}
		}
		if a.phase >= running && (b.State != build.Running || b.Owner != w.id(i) || b.Fence != int64(a.fence)) {
			add("agent sees that it has it no more", func(w *world) { w.agents[i] = worker{life: a.life, sweep: a.sweep} })
		}
		if a.phase != idle && w.left.losses > 0 && w.waits(i) {
			// The answer does not come: it asks again, with the same words.
			add("agent asks again", func(w *world) {
				w.left.losses--
				for _, m := range w.net {
					if int(m.from) == i && m.life == a.life && m.verb < rescue {
						w.net = append(w.net, m)
						return
					}
				}
			})
		}
		if a.sweep == 0 && len(b.Pending) > 0 && b.Pending[0].Verb == EnqueueChild {
			add("agent finds the chore", func(w *world) {
				w.agents[i].sweep = 1
				v := insertChild
				if w.rules.settleFirst {
					v = settle
				}
				id := int8(1)
				if w.rules.randomChild {
					id = int8(1 + len(w.children))
				}
				send(message{verb: v, child: id})(w)
			})
		}
		if w.left.kills > 0 {
			add("agent is killed and started again", func(w *world) {
				w.left.kills--
				w.agents[i] = worker{life: a.life + 1}
			})
		}
	}

	if b.State == build.Running && w.left.rescues > 0 {
		add("its agent is thought dead", func(w *world) {
			w.left.rescues--
			w.net = append(w.net, message{verb: rescue, from: -1, fence: int8(b.Fence), owner: b.Owner})
		})
	}
	if w.left.cancels > 0 {
		add("a person cancels", func(w *world) {
			w.left.cancels--
			w.net = append(w.net, message{verb: askCancel, from: -1})
		})
	}
	if b.State == build.Running && b.Cancel != nil && w.left.forces > 0 {
		add("the cancel is forced", func(w *world) {
			w.left.forces--
			w.net = append(w.net, message{verb: forceCancel, from: -1, fence: int8(b.Fence)})
		})
	}
	for c := range w.children {
		if !w.children[c].gone && w.left.collects > 0 && b.Terminal() && len(b.Pending) == 0 {
			add("the child has ended long ago and is collected", func(w *world) {
				w.left.collects--
				w.children[c].gone = true
				if w.rules.forgetChild {
					w.children = slices.Delete(w.children, c, c+1)
				}
			})
		}
	}

	for i, m := range w.net {
		deliver := func(w *world) {
			w.net = slices.Delete(w.net, i, i+1)
			w.deliver(m)
		}
		add("arrives: "+m.verb.String(), deliver)
		if w.left.doubles > 0 {
			add("arrives, and will again: "+m.verb.String(), func(w *world) {
				w.left.doubles--
				w.net = append(w.net, m)
				deliver(w)
			})
		}
		if m.from < 0 || m.life != w.agents[m.from].life {
			add("is lost: "+m.verb.String(), func(w *world) { w.net = slices.Delete(w.net, i, i+1) })
		}
	}
	return all
}

// waits reports whether an agent has a request about its build under way.
func (w *world) waits(agent int) bool {
	return slices.ContainsFunc(w.net, func(m message) bool {
		return int(m.from) == agent && m.life == w.agents[agent].life && m.verb < rescue
	})
}

// deliver has a request reach the store, and the answer its sender, if that one
// still lives and waits for it.
func (w *world) deliver(m message) {
	var a *worker
	if m.from >= 0 && w.agents[m.from].life == m.life {
		a = &w.agents[m.from]
	}
	switch m.verb {
	case insertChild:
		if !slices.ContainsFunc(w.children, func(c child) bool { return c.id == m.child }) {
			w.children = append(w.children, child{id: m.child})
			if w.made++; w.made > 1 {
				w.broken = "the trigger made two builds"
			}
		}
		if a != nil && a.sweep == 1 {
			a.sweep = 0
			if !w.rules.settleFirst {
				a.sweep = 2
				w.net = append(w.net, message{verb: settle, from: m.from, life: m.life})
			}
		}
		return
	case settle:
		w.change(m, Settle{Chore{EnqueueChild, "trigger"}})
		if a != nil && w.rules.settleFirst && a.sweep == 1 {
			w.net = append(w.net, message{verb: insertChild, from: m.from, life: m.life, child: m.child})
		} else if a != nil {
			a.sweep = 0
		}
		return
	case askCancel:
		w.change(m, RequestCancel{Cancel: Cancel{By: "someone"}})
		return
	case forceCancel:
		w.change(m, ForceCancel{Fence: int64(m.fence)})
		return
	case rescue:
		w.change(m, Rescue{Owner: m.owner, Fence: int64(m.fence), Max: modelAttempts})
		return
	}

	var c Change
	var during phase
	switch m.verb {
	case claim:
		c, during = Claim{Agent: m.owner, Fence: int64(m.fence), Nonce: fmt.Sprint(m.owner, m.fence), Max: modelAttempts}, claiming
	case fire:
		c, during = Fire{Agent: m.owner, Fence: int64(m.fence), Node: "trigger", Outgoing: Outgoing{Child: "child"}}, firing
	case intend:
		c, during = Intend{Agent: m.owner, Fence: int64(m.fence), Node: "deploy"}, intending
	case complete:
		c, during = Complete{Agent: m.owner, Fence: int64(m.fence), State: build.Success}, completing
	case handOver:
		c, during = HandOver{Agent: m.owner, Fence: int64(m.fence), Nonce: fmt.Sprint(m.owner, m.fence, "over")}, handingOver
	}
	err := w.change(m, c)
	if a == nil || a.phase != during || a.fence != m.fence {
		return // nobody waits for this answer any more
	}
	switch {
	case err != nil: // it has no say any more
		*a = worker{life: a.life, sweep: a.sweep}
	case m.verb == claim:
		a.phase = running
		a.fence++
	case m.verb == fire:
		a.phase, a.fired = running, true
	case m.verb == intend:
		a.phase, a.started = running, true
		if w.starts++; w.starts > 1 {
			w.broken = "the step ran twice"
		}
	case m.verb == complete, m.verb == handOver:
		*a = worker{life: a.life, sweep: a.sweep}
	}
}

// change takes the build through c, and holds what came out against what must
// always be.
func (w *world) change(m message, c Change) error {
	before := w.build
	after, differs, err := w.rules.changed(before, c)
	if err != nil || !differs {
		return err
	}
	w.build = after
	carries := m.verb == fire || m.verb == intend || m.verb == complete || m.verb == handOver || m.verb == rescue || m.verb == forceCancel || m.verb == claim
	switch {
	case before.Terminal() && after.State != before.State:
		w.broken = fmt.Sprintf("a build that was %s became %s", before.State, after.State)
	case before.Terminal() && m.verb == complete:
		w.broken = "a second result was recorded"
	case after.Fence < before.Fence:
		w.broken = "a fence shrank"
	case carries && int64(m.fence) < before.Fence:
		w.broken = "a message of an old fence changed the build"
	case m.verb == claim:
		for int64(len(w.granted)) <= after.Fence {
			w.granted = append(slices.Clone(w.granted), "")
		}
		if had := w.granted[after.Fence]; had != "" && had != after.Owner {
			w.broken = "a fence was granted twice"
		}
		w.granted[after.Fence] = after.Owner
	}
	return nil
}

// changed is Build.Changed, less what r takes out.
func (r *rules) changed(b Build, c Change) (Build, bool, error) {
	lie := b
	switch c := c.(type) {
	case Complete:
		if r.completeAnyFence && b.Owner == c.Agent && b.State == build.Running {
			c.Fence = b.Fence
			return b.Changed(c)
		}
		if r.completeAnyState {
			lie.State, lie.Owner, lie.Fence = build.Running, c.Agent, c.Fence
			after, differs, err := lie.Changed(c)
			after.Fence = b.Fence
			return after, differs, err
		}
	case Rescue:
		if r.rescueAnyFence && b.State == build.Running {
			c.Owner, c.Fence = b.Owner, b.Fence
		}
		if r.onceRetried {
			lie.Once = nil
		}
		return lie.Changed(c)
	case Intend:
		if r.onceRetried {
			lie.Once = nil
		}
		return lie.Changed(c)
	case HandOver:
		if r.cancelForgotten {
			lie.Cancel = nil
		}
		after, differs, err := lie.Changed(c)
		after.Cancel = b.Cancel
		return after, differs, err
	case RequestCancel:
		if r.cancelAnyState && b.Terminal() {
			lie.State = build.Queued
		}
		return lie.Changed(c)
	}
	return b.Changed(c)
}

// look implements state.
func (w *world) look() string {
	switch {
	case w.broken != "":
		return w.broken
	case w.starts > 1:
		return "the step ran twice"
	case w.build.State == build.Queued && w.build.Cancel != nil:
		return "a build that was cancelled is queued"
	case len(w.build.Outbox) > 0 && len(w.build.Pending) == 0 && w.made == 0 &&
		!slices.ContainsFunc(w.net, func(m message) bool { return m.verb == insertChild }):
		return "the trigger will never make a build"
	}
	return ""
}

func (v verb) String() string {
	return [...]string{"claim", "fire", "intend", "complete", "hand over", "rescue", "cancel", "force", "insert child", "settle"}[v]
}

// way implements state.
func (w *world) way() string { return w.how.String() }

// key implements state.
func (w *world) key(buf []byte) []byte {
	b := &w.build
	flag := func(v bool) byte {
		if v {
			return 1
		}
		return 0
	}
	buf = append(buf, b.State[0], b.State[1], byte(b.Fence), byte(b.Attempt), flag(b.Cancel != nil), byte(len(b.Outbox)), byte(len(b.Pending)), byte(b.Once["deploy"]))
	buf = append(append(buf, b.Owner...), ';')
	buf = append(append(buf, b.Nonce...), ';')
	for _, p := range b.Pending {
		buf = append(buf, p.Verb[0])
	}
	for _, g := range w.granted {
		buf = append(append(buf, g...), ',')
	}
	for i := range w.agents {
		a := &w.agents[i]
		buf = append(buf, byte(a.life), byte(a.phase), byte(a.fence), flag(a.fired), flag(a.started), byte(a.sweep))
	}
	buf = append(buf, byte(w.starts), byte(w.made), byte(len(w.children)))
	for _, c := range w.children {
		buf = append(buf, byte(c.id), flag(c.gone))
	}
	l := &w.left
	buf = append(buf, byte(l.kills), byte(l.rescues), byte(l.doubles), byte(l.losses), byte(l.cancels), byte(l.forces), byte(l.collects), byte(l.handOvers))
	slices.SortFunc(w.net, func(a, b message) int {
		return cmp.Or(cmp.Compare(a.verb, b.verb), cmp.Compare(a.from, b.from), cmp.Compare(a.life, b.life), cmp.Compare(a.fence, b.fence), cmp.Compare(a.child, b.child), cmp.Compare(a.owner, b.owner))
	})
	for _, m := range w.net {
		buf = append(append(buf, byte(m.verb), byte(m.from), byte(m.life), byte(m.fence), byte(m.child)), m.owner...)
	}
	return buf
}

// A state is one of a model: what may follow it, what is wrong with it ("" is
// nothing), what tells it apart (two with the same key go on the same way), and
// how it came about.
type state interface {
	next() []state
	look() string
	key(buf []byte) []byte
	way() string
}

// explore visits states, the nearest first, until it finds a broken one or has
// seen as many as it may. It returns how many it saw, whether that was all of
// them, and what is wrong with the broken one and how it came about.
func explore(first state, most int) (seen int, all bool, wrong string) {
	seed := maphash.MakeSeed()
	known := make(map[uint64]struct{}, most)
	var buf []byte
	fresh := func(s state) bool {
		buf = s.key(buf[:0])
		h := maphash.Bytes(seed, buf)
		if _, ok := known[h]; ok {
			return false
		}
		known[h] = struct{}{}
		return true
	}
	fresh(first)
	for queue := []state{first}; len(queue) > 0; {
		s := queue[0]
		queue[0] = nil
		queue = queue[1:]
		for _, n := range s.next() {
			if wrong := n.look(); wrong != "" {
				return len(known), false, wrong + ":" + n.way()
			}
			if fresh(n) {
				queue = append(queue, n)
			}
		}
		if len(known) >= most {
			return len(known), false, ""
		}
	}
	return len(known), true, ""
}

// String tells the way from the beginning.
func (s *step) String() string {
	var lines []string
	for ; s != nil; s = s.before {
		lines = append(lines, "\n  "+s.what)
	}
	slices.Reverse(lines)
	return strings.Join(lines, "")
}

func TestProtocolHoldsInEveryStateOfTheModel(t *testing.T) {
	most := *modelStates
	if testing.Short() {
		most /= 20
	}
	seen, all, wrong := explore(newWorld(&rules{}, mischief), most)
	require.Empty(t, wrong)
	require.True(t, all || seen >= most, "the model ran dry")
	t.Logf("%d states, all of them: %v", seen, all)
}

// Each guard is there for a reason: without it the model finds what goes wrong,
// and it takes no more than the mischief that stands beside it.
func TestProtocolNeedsEachOfItsGuards(t *testing.T) {
	for _, c := range []struct {
		without string
		rules   rules
		left    budget
		wrong   string
	}{
		{"the fence in complete", rules{completeAnyFence: true}, budget{rescues: 1}, "old fence"},
		{"the state in complete", rules{completeAnyState: true}, budget{doubles: 1}, "second result"},
		{"the fence in rescue", rules{rescueAnyFence: true}, budget{rescues: 2}, "old fence"},
		{"the terminal check in cancel", rules{cancelAnyState: true}, budget{cancels: 1}, "became cancelled"},
		{"a child's id that is derived", rules{randomChild: true}, budget{}, "two builds"},
		{"inserting before settling", rules{settleFirst: true}, budget{kills: 1}, "never make a build"},
		{"the tombstone of a child", rules{forgetChild: true}, budget{doubles: 1, collects: 1}, "two builds"},
		{"the cancel in handing over", rules{cancelForgotten: true}, budget{cancels: 1, handOvers: 1}, "is queued"},
		{"saying that a step starts", rules{noIntent: true}, budget{rescues: 1}, "ran twice"},
		{"rescue's look at what started", rules{onceRetried: true}, budget{rescues: 1}, "ran twice"},
	} {
		t.Run(c.without, func(t *testing.T) {
			_, _, wrong := explore(newWorld(&rules{}, c.left), *modelStates)
			require.Empty(t, wrong, "with the guard all is well")
			seen, _, wrong := explore(newWorld(&c.rules, c.left), *modelStates)
			require.Contains(t, wrong, c.wrong)
			t.Logf("after %d states: %s", seen, wrong)
		})
	}
}
