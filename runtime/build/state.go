package build

import (
	"fmt"
	"maps"
	"time"

	"github.com/piper-build/piper/runtime/plan"
)

// A Build is the state of one build of a plan. It belongs to one goroutine:
// also what only reads may tidy up inside.
//
// A large plan has many nodes, so what is kept for each is small: about 75
// bytes, the index by name included.
type Build struct {
	plan  *plan.Plan
	graph *plan.Graph

	seq            int64
	state          State
	reason         string
	started, ended time.Time

	nodes    []node
	more     []more // of some nodes; the first is of none
	groups   []group
	progress Progress
	firstBad int32 // the node that failed first of those that count, or -1

	halt      halt   // what first called the build off
	cancelled bool   // someone asked for it
	forced    bool   // and insisted
	by, asked string // who, and the reason given
	cut       bool   // the cancel kept some node from succeeding
	late      bool   // the deadline has passed

	ready    queue     // the nodes that may start
	delayed  []wakeup  // a heap of retries that are not due
	latest   int64     // the newest time that Next was given, in milliseconds
	pending  []int32   // nodes to be skipped, in order
	settled  int       // how many of them, from the front, have been
	stopping []int32   // running nodes to be stopped, in order
	unspread []int32   // vertices that have ended, and whose users do not know
	inside   []members // by group; made when first needed

	services map[int32]*service // by node; nil when the plan has none
	expected map[string]time.Duration

	texts  []string // reasons, each once; the first is ""
	textOf map[string]uint32
}

// A halt is what called a whole build off.
type halt uint8

const (
	notHalted halt = iota
	byCancel
	byDeadline
)

// A phase is a State, with Waiting told apart.
type phase uint8

const (
	blocked phase = iota // something it needs has not ended; a service: nobody calls for it
	held                 // some of its services, as many as it waits for, are not ready
	ready                // may start; is in the queue
	delayed              // waits for its next attempt to be due
	doomed               // is to be skipped, as the verdict says
	running
	success // this and what follows have ended
	failed
	skipped
	cancelled
	timedOut
)

func (p phase) ended() bool { return p >= success }

func (p phase) state() State {
	switch p {
	case running:
		return Running
	case success:
		return Success
	case failed:
		return Failed
	case skipped:
		return Skipped
	case cancelled:
		return Cancelled
	case timedOut:
		return TimedOut
	default:
		return Waiting
	}
}

// A verdict is why a node is skipped or stopped.
type verdict uint8

const (
	free        verdict = iota // it is not
	needFailed                 // run_on = "success", and an ancestor failed
	notCalled                  // run_on = "failure", and no ancestor failed
	groupFailed                // something in its fail_fast group failed
	buildOff                   // the build was cancelled, or ran too long
	noResult                   // an expand, and what it comes after did not succeed
	unused                     // a service that no step came to need
	usedUp                     // a service, and all that list it have ended
)

// A node is the state of one node of the plan. It holds no pointer, so that a
// garbage collector need not look at it.
type node struct {
	started, ended int64 // of the newest attempt, in milliseconds
	more           int32 // the place in Build.more of what few nodes have, or 0
	reason         uint32
	exit           int32
	waits          int32 // how many edges lead to it from what has not ended; while held, how many services
	cause          int32 // the node whose failure it inherits or is, or -1
	phase          phase
	verdict        verdict
	attempt        uint8
	flags          flags
}

type more struct {
	notBefore int64
	signal    string
	outputs   map[string]string
	child     ID
	by        string
}

type flags uint8

const (
	hasEnded flags = 1 << iota // the newest attempt has
	hasExit
	infra
	allowed
	isReady // a service
)

// A group is the state of one group of the plan.
type group struct {
	waits int32 // how many nodes and groups directly inside have not ended
	cause int32 // the first failure that came out of it, or -1
	halt  int32 // the node whose failure stopped it, or -1
}

// members are the nodes and groups directly inside a group.
type members struct {
	all  []int32
	over int // how many of them, from the front, are known to have ended
}

// New returns the state of a build of p before its first event. p must be
// valid, as plan.Validate says, and must not change any more. It panics when
// the graph of p is none.
func New(p *plan.Plan) *Build {
	b := &Build{
		plan:     p,
		graph:    plan.NewGraph(p),
		state:    Queued,
		nodes:    make([]node, len(p.Nodes)),
		more:     make([]more, 1),
		groups:   make([]group, len(p.Groups)),
		progress: Progress{Total: len(p.Nodes)},
		firstBad: -1,
		texts:    []string{""},
	}
	for v, waits := range b.graph.Waits() {
		if b.graph.IsNode(int32(v)) {
			b.nodes[v].waits, b.nodes[v].cause = waits, -1
		} else {
			b.groups[v-len(b.nodes)] = group{waits: waits, cause: -1, halt: -1}
		}
	}
	b.ready = newQueue(b.graph)
	order := b.graph.Order()
	if !b.graph.Whole() || len(order) < b.graph.Len() {
		panic("build: New of a plan that was not validated")
	}
	b.rank(order)
	b.addServices(0)
	return b
}

// Expect tells how long nodes took in the past, by name. Those on the longest
// remaining path start first; a node that is not told counts as the mean of
// the others. Without Expect all count the same. It must come before the first
// event, and durations must not change any more.
func (b *Build) Expect(durations map[string]time.Duration) {
	if b.seq > 0 {
		panic("build: Expect after the first event")
	}
	b.expected = durations
	b.rank(b.graph.Order())
}

// rank says how urgent each node is. The queue must be empty.
func (b *Build) rank(order []int32) {
	weight := func(int) float32 { return 1 }
	if len(b.expected) > 0 {
		weight = b.weights()
	}
	b.ready.rank = b.graph.Longest(order, weight)[:len(b.nodes)]
}

// weights returns how many seconds each node is expected to take.
func (b *Build) weights() func(i int) float32 {
	seconds := make([]float32, len(b.nodes))
	known, sum := 0, float32(0)
	for i := range b.nodes {
		seconds[i] = -1
		p := &b.plan.Nodes[i]
		// A service takes as long as the steps that list it.
		if d, ok := b.expected[p.Name]; ok && d >= 0 && !p.IsService() {
			seconds[i] = float32(d.Seconds())
			sum += seconds[i]
			known++
		}
	}
	mean := float32(1)
	if known > 0 {
		mean = sum / float32(known)
	}
	return func(i int) float32 {
		if seconds[i] < 0 {
			return mean
		}
		return seconds[i]
	}
}

// Fold returns the state of a build of p after events. The error is that of
// the first event that Apply refuses.
func Fold(p *plan.Plan, events []Event) (*Build, error) {
	b := New(p)
	for _, ev := range events {
		if err := b.Apply(ev); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// Plan returns the plan that is being built: the one that New was given, with
// what expands have found so far. It is another Plan after each expand that
// found something. What is in the one keeps its place in the next.
func (b *Build) Plan() *plan.Plan { return b.plan }

// State returns where the build stands: Queued before its first event, Running
// until BuildEnded.
func (b *Build) State() State { return b.state }

// Reason returns in words why the build ended as it did, or why it was called
// off; "" when there is nothing to say.
func (b *Build) Reason() string {
	if b.reason != "" || b.halt == notHalted {
		return b.reason
	}
	return b.haltReason()
}

// Seq returns the number of the newest event, 0 before the first.
func (b *Build) Seq() int64 { return b.seq }

// Started returns when the build started; the zero time says it has not.
func (b *Build) Started() time.Time { return b.started }

// Ended returns when the build ended; the zero time says it has not.
func (b *Build) Ended() time.Time { return b.ended }

// Cancelled reports whether someone asked to cancel the build, and whether
// by force.
func (b *Build) Cancelled() (asked, force bool) { return b.cancelled, b.forced }

// Progress counts the nodes.
func (b *Build) Progress() Progress { return b.progress }

// Lookup returns the place of a node in the plan.
func (b *Build) Lookup(name string) (i int, ok bool) {
	v, ok := b.graph.Lookup(name)
	if !ok || !b.graph.IsNode(v) {
		return 0, false
	}
	return int(v), true
}

// Step returns what has happened to the node called name.
func (b *Build) Step(name string) (Step, bool) {
	i, ok := b.Lookup(name)
	if !ok {
		return Step{}, false
	}
	return b.Node(i), true
}

// Node returns what has happened to the i-th node of the plan. Its Outputs
// must not be changed.
func (b *Build) Node(i int) Step {
	n := &b.nodes[i]
	s := Step{
		State:   n.phase.state(),
		Attempt: int(n.attempt),
		Reason:  b.texts[n.reason],
		Infra:   n.flags&infra != 0,
		Allowed: n.flags&allowed != 0,
	}
	if n.attempt > 0 {
		s.Started = clock(n.started)
	}
	if n.flags&hasEnded != 0 {
		s.Ended = clock(n.ended)
	}
	if n.flags&hasExit != 0 {
		exit := int(n.exit)
		s.Exit = &exit
	}
	if n.flags&isReady != 0 {
		s.Ready = clock(b.services[int32(i)].ready)
	}
	m := &b.more[n.more]
	s.Signal, s.Outputs, s.Child, s.By = m.signal, m.outputs, m.child, m.by
	if m.notBefore != 0 && (n.phase == delayed || n.phase == ready) {
		s.NotBefore = clock(m.notBefore)
	}
	return s
}

// Output returns what a step wrote, now that the build has come so far. The
// error says what the step has to do.
func (b *Build) Output(o plan.Output) (string, error) {
	step, _ := b.Step(o.Step)
	v, ok := step.Outputs[o.Key]
	if !ok {
		return "", fmt.Errorf("step %s wrote no output %q: it has to write a file of that name into $PIPER_OUTPUT", o.Step, o.Key)
	}
	return v, nil
}

// Steps returns what has happened to every node, by name.
func (b *Build) Steps() map[string]Step {
	steps := make(map[string]Step, len(b.nodes))
	for i := range b.nodes {
		steps[b.plan.Nodes[i].Name] = b.Node(i)
	}
	return steps
}

// Equal reports whether b and o are the same state of the same plan, so that
// what happens next is the same too.
func (b *Build) Equal(o *Build) bool {
	if b.plan != o.plan && b.plan.Digest() != o.plan.Digest() {
		return false
	}
	if b.seq != o.seq || b.state != o.state || b.reason != o.reason ||
		!b.started.Equal(o.started) || !b.ended.Equal(o.ended) ||
		b.halt != o.halt || b.cancelled != o.cancelled || b.forced != o.forced || b.by != o.by || b.asked != o.asked ||
		b.cut != o.cut || b.late != o.late ||
		b.progress != o.progress || b.firstBad != o.firstBad {
		return false
	}
	for i := range b.nodes {
		n, other := &b.nodes[i], &o.nodes[i]
		if !n.equal(other) || b.texts[n.reason] != o.texts[other.reason] || !b.more[n.more].equal(&o.more[other.more]) {
			return false
		}
	}
	for i := range b.groups {
		if b.groups[i] != o.groups[i] {
			return false
		}
	}
	for i, s := range b.services {
		if s.ready != o.services[i].ready {
			return false
		}
	}
	return true
}

// equal compares all but the reasons and what few nodes have, which each build
// numbers by itself, and whether a retry was already found to be due, which is
// Next's own business.
func (n *node) equal(o *node) bool {
	x, y := *n, *o
	x.reason, y.reason = 0, 0
	for _, z := range []*node{&x, &y} {
		if z.phase == delayed {
			z.phase = ready
		}
		z.more = 0
	}
	return x == y
}

func (m *more) equal(o *more) bool {
	return m.notBefore == o.notBefore && m.signal == o.signal && maps.Equal(m.outputs, o.outputs) && m.child == o.child && m.by == o.by
}

// extra returns the rare fields of n, to be written to.
func (b *Build) extra(n *node) *more {
	if n.more == 0 {
		n.more = int32(len(b.more))
		b.more = append(b.more, more{})
	}
	return &b.more[n.more]
}

// text returns the number of a reason.
func (b *Build) text(s string) uint32 {
	if s == "" {
		return 0
	}
	if b.textOf == nil {
		b.textOf = map[string]uint32{}
	}
	i, ok := b.textOf[s]
	if !ok {
		i = uint32(len(b.texts))
		b.texts = append(b.texts, s)
		b.textOf[s] = i
	}
	return i
}

func clock(ms int64) time.Time { return time.UnixMilli(ms).UTC() }

// String is for debugging.
func (b *Build) String() string {
	return fmt.Sprintf("%s after event %d: %+v", b.state, b.seq, b.progress)
}
