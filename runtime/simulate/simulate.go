// Package simulate runs a build that nobody executes.
//
// It is the engine without a machine: the same Next says what is to happen and
// the same Apply takes it in, but in the place of processes, people and other
// builds stands a script of outcomes, and in the place of time a clock that
// jumps to whatever comes next. What is decided here is only what the world
// would have answered; everything else is package build. So what a simulation
// shows is what an agent would do.
//
// The same plan and options give the same events, to the byte.
package simulate

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
)

// Took is how long an attempt takes whose outcome does not say.
const Took = time.Second

// maxEvents is how many events a simulation may have. Nobody reads them, and a
// plan can ask for two million.
const maxEvents = 200_000

// Options say how the world answers. The zero value is a world in which all
// goes well, on a machine with room for every step.
type Options struct {
	// Outcomes is how the attempts of each node end, by its name: the first one
	// that of the first attempt, the last one that of all that follow. A node
	// without any succeeds.
	Outcomes map[string][]Outcome

	Start time.Time // 0 is the first moment of 2000, UTC
	Slots int       // steps at once; 0 is as many as there are

	// Meets checks what a step requires of the machine; nil has everything. The
	// error is the reason that the step fails with.
	Meets func(context.Context, []plan.Requirement) error
	// Secret says with an error that a secret cannot be had; nil has them all.
	Secret func(name string) error
	// Expand runs the function of an expand node; nil fails it.
	Expand func(ctx context.Context, node string, outputs map[string]string) (plan.Expansion, error)
	// MaxNodes is how many nodes the plan may grow to; 0 is plan.MaxNodes.
	MaxNodes int

	Cancel *Cancel // nil is nobody
}

// An Outcome is how one attempt ends. The zero value is a success that took a
// second.
type Outcome struct {
	State  build.State // Success, Failed, TimedOut or Cancelled; "" is Success
	Exit   *int
	Signal string
	Reason string
	Infra  bool // the machine failed, not the command
	Final  bool // trying again cannot help
	Lost   bool // the agent was lost: a step that may run only once is not tried again
	By     string
	Asked  bool // somebody was asked and said so, as only an approval does

	// Outputs is what a step wrote. nil makes up every output that the plan
	// asks for: "<step.output key>".
	Outputs map[string]string

	// Duration is from the start of the attempt to its end; nil is Took. A step
	// that takes longer than its time-out ends TimedOut. A service that succeeds
	// runs until it is stopped when it is nil.
	//
	// What is asked to stop ends at once, Cancelled, a service with Success. When
	// that is the outcome's State, the other fields say how, and when.
	Duration *time.Duration

	Ready   time.Duration // until a service is ready, or the build of a waiting trigger is made
	Unready bool          // a service that ends before it is ready

	Child build.ID // that a trigger made; "" makes one up
}

// A Cancel is when somebody asks the build to end: after a time, or, when
// During is set, that long after the node of that name has started.
type Cancel struct {
	After  time.Duration
	During string
	By     string
	Reason string
	Force  bool
}

// A Result is what happened.
type Result struct {
	Build     *build.Build
	Events    []build.Event
	Order     []string    // the nodes that started, in the order in which they first did
	Triggered []Triggered // in the order in which the builds were made
}

// A Triggered is a build that a trigger made.
type Triggered struct {
	Node    string
	Trigger *plan.Trigger
	Params  map[string]string
	Child   build.ID
}

// An UnknownNodeError is an outcome, or a cancel, of a node that the plan has
// not.
type UnknownNodeError struct {
	Node string
	Near string // the node that was meant; "" when none is near
}

func (e *UnknownNodeError) Error() string {
	return fmt.Sprintf("the plan has no node %q", e.Node)
}

// A LeftOverError is an outcome that no attempt used.
type LeftOverError struct {
	Node     string
	Outcomes int         // how many there were
	Attempts int         // how many were used
	State    build.State // of the node
	Reason   string      // why it is so
}

func (e *LeftOverError) Error() string {
	if e.Attempts > 0 {
		return fmt.Sprintf("%s has %d outcomes, but only %s", e.Node, e.Outcomes, attempts(e.Attempts))
	}
	why := string(e.State)
	if e.Reason != "" {
		why += ": " + e.Reason
	}
	return fmt.Sprintf("%s has an outcome, but never ran (%s)", e.Node, why)
}

func attempts(n int) string {
	if n == 1 {
		return "one attempt"
	}
	return fmt.Sprintf("%d attempts", n)
}

// An OutcomeError is an outcome that no such node can have.
type OutcomeError struct {
	Node string
	Why  string
}

func (e *OutcomeError) Error() string { return e.Node + " " + e.Why }

// Run simulates a build of p, which must be valid. The error is an
// UnknownNodeError, a LeftOverError or an OutcomeError when the options do not
// fit the plan; any other one is ctx's, or says that there is no end to it. The
// Result is filled as far as the build came even then.
func Run(ctx context.Context, p *plan.Plan, o Options) (*Result, error) {
	if o.Start.IsZero() {
		o.Start = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	if o.Slots <= 0 {
		o.Slots = max(1, len(p.Nodes))
		if o.Expand != nil {
			o.Slots = plan.MaxNodes
		}
	}
	r := &run{Options: o, b: build.New(p), now: o.Start.UTC().Truncate(time.Millisecond)}
	err := r.loop(ctx)
	result := &Result{Build: r.b, Events: r.events, Order: r.order, Triggered: r.triggered}
	// A name that is nowhere explains what else went wrong.
	if unknown := r.unknown(); unknown != nil && ctx.Err() == nil {
		return result, unknown
	}
	if err == nil {
		err = r.leftOver()
	}
	return result, err
}

// unknown looks for names that the plan has not, now that it is as large as it
// will be.
func (r *run) unknown() error {
	names := make([]string, 0, len(r.Outcomes)+1)
	for name := range r.Outcomes {
		names = append(names, name)
	}
	slices.Sort(names)
	if r.Cancel != nil && r.Cancel.During != "" {
		names = append(names, r.Cancel.During)
	}
	for _, name := range names {
		if _, ok := r.b.Lookup(name); ok {
			continue
		}
		near, _ := plan.Nearest(name, r.b.Plan().NodeNames())
		return &UnknownNodeError{name, near}
	}
	return nil
}

// leftOver looks for outcomes that were not used, in the order of the plan.
func (r *run) leftOver() error {
	if len(r.Outcomes) == 0 {
		return nil
	}
	nodes := r.b.Plan().Nodes
	for i := range nodes {
		n := len(r.Outcomes[nodes[i].Name])
		if step := r.b.Node(i); n > step.Attempt {
			return &LeftOverError{nodes[i].Name, n, step.Attempt, step.State, strings.TrimSpace(step.Reason)}
		}
	}
	return nil
}
