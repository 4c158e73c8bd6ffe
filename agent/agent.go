// Package agent runs builds, with nobody to tell it which: it looks at a store
// that it shares with others, takes what it can run, and looks after what they
// leave behind.
//
// There is no leader. Each agent does all of this by itself, in loops of their
// own that share little more than the store, and how it was seen last, which may be
// some seconds old: the guards of a change look at what is there.
//
//	heartbeat.go  says that it lives
//	rescue.go     looks around: what it still holds, who of the others died
//	claim.go      takes builds from the queue
//	spill.go      ends builds that fill the disk
//	sweep.go      does the chores that builds leave
//	queued.go     ends what waits in vain, and offers what nobody living is to take
//	cron.go       makes the builds of schedules
//	retain.go     deletes what nobody wants to keep
//	ship.go       brings what builds wrote to an index
//	sign.go       notes, for searches, what cannot be in that
//
// Whatever two agents do at once, they do under the guards of package store, and
// what must be made once has an ID that is derived from why it is made. So none
// of the loops has to know what the others do, or other agents do: at worst
// something is tried in vain.
//
// A life is the time under one AgentID. It ends when the agent is told to, or
// when it finds that the others buried it: then it kills what it runs and begins
// another one (life.go). What one build goes through is in run.go, how it gets to
// its runner in prepare.go, and what that asks meanwhile in handler.go.
//
// The package knows no database, no Starlark and no process. It is given them as
// the fields of Agent.
package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/piper-build/piper/runtime"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/logs"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

// An Agent is what it takes to run builds. Store, Sources, Plan, Runner, Record
// and Dir must be set. It must not be changed once Run was called.
type Agent struct {
	Store   store.Store
	Sources Sources
	Runner  Runner

	// Plan turns a tree into the plan of a build, and into what runs the
	// functions of its expands (nil when it has none), which works until ctx is
	// done. An error that is plan.Diagnostics is the user's.
	Plan func(ctx context.Context, t Tree, b store.Build) (*plan.Plan, Expander, error)

	// Record opens the place where what happens in a build is kept, under the
	// fence that the build has.
	Record func(b store.Build) (Record, error)

	// Live hears what steps write before the store has it; nil does not.
	Live *logs.Live

	// Index is where lines are found in what all builds wrote; nil is nowhere. All
	// agents of a store want the same.
	Index logs.Index

	// Secrets gives the values of those secrets of names that the build may have;
	// nil gives none. The error is the reason that the build fails with, or the
	// expand whose steps name them.
	Secrets func(ctx context.Context, b store.Build, names []string) (map[string]string, error)

	// Facts says what this machine has: what any machine does, and what stands
	// under keys beside that. Nil says nothing.
	Facts func(ctx context.Context, keys []string) (map[string]string, error)

	// Free says how much of the file system below dir is free; nil asks the
	// operating system.
	Free func(dir string) (free, total uint64, err error)

	Dir     string // of this agent alone: its lock, its workspaces
	Name    string // for people
	Host    string
	Version string
	Labels  map[string]string
	Slots   int // builds at once; 0 is 1

	// KeepFailed keeps the workspaces of builds that did not succeed, below
	// Dir/kept, until somebody deletes them.
	KeepFailed bool

	// Hurry, once it is closed, has an agent that drains give its builds back at once;
	// nil has it wait.
	Hurry <-chan struct{}

	MaxAttempts int // claims of one build; 0 is store.MaxAttempts
	Timings     Timings
	Log         *slog.Logger // nil is silence

	Now func() time.Time // what is written down as the time; nil is the real clock

	quarantine *quarantine
	unbounded  store.Store                                  // Store as it was given, which may keep more than a Store has to
	draw       func(what string) uint64                     // random numbers; a test's are the same for the same what
	held       func(ctx context.Context, dir string) uint64 // bytes below dir, as far as was seen before ctx was done
}

// Sources are the repositories of projects. An error that wraps ErrRejected, or
// is plan.Diagnostics, is the fault of what was asked for; any other one is the
// machine's, and is tried again.
type Sources interface {
	// Resolve finds the commit that ref names; "" is the project's Ref, and
	// when that is empty too the repository's default branch.
	Resolve(ctx context.Context, p store.Project, ref string) (commit string, err error)

	// Branches lists the branches that there are.
	Branches(ctx context.Context, p store.Project) ([]string, error)

	// Catalog is what the PIPER.star of a commit registers.
	Catalog(ctx context.Context, p store.Project, commit string) (plan.Catalog, error)

	// Checkout makes dir, with the tree of the commit and the request's patch in
	// it.
	Checkout(ctx context.Context, p store.Project, r store.Request, commit, dir string) (Tree, error)
}

// A Tree is what is built.
type Tree struct {
	Dir    string
	Commit string
}

// Temp is a directory for what is needed only while the build runs. Its Runner
// makes it; it is removed with the tree.
func (t Tree) Temp() string { return t.Dir + ".tmp" }

// An Expander runs the function of an expand node.
type Expander func(ctx context.Context, node string, outputs map[string]string) (plan.Expansion, error)

// A Runner runs a plan to its end, in a process of its own.
type Runner interface {
	// Run returns when nothing of the build runs any more. When ctx is done it
	// kills all of it. The error says why the build did not come to its end.
	Run(ctx context.Context, j Job, h Handler) error
}

// A Job is one build for a Runner.
type Job struct {
	Build   store.Build
	Plan    *plan.Plan
	Tree    Tree
	Secrets map[string]string
	Facts   map[string]string // that steps may require: what the build was placed by

	// Cancels asks the build to end, each time with more force than before.
	Cancels <-chan runtime.Cancel
}

// A Handler is what a Runner tells what happens, and whom it asks. A context that
// is done before there is an answer says that none is needed any more: as nobody
// asks (runtime.ErrWithdrawn is its cause), or as the Runner has ended. Its
// methods may be called at once, Event and Output one at a time.
type Handler interface {
	Event(ev build.Event) error
	Output(node string, attempt int, at time.Time, p []byte) error

	Approve(ctx context.Context, node string) (runtime.Approval, error)
	Trigger(ctx context.Context, node string, params map[string]string, made func(build.ID)) (build.State, error)

	// Expand also gives the secrets of what it found, by name.
	Expand(ctx context.Context, node string, outputs map[string]string) (plan.Expansion, map[string]string, error)

	// Intend is called before the process of a step starts that must not be
	// started twice. An error keeps it from starting.
	Intend(ctx context.Context, node string) error
}

// A Record keeps what happens in a build, and what its nodes write. An error that
// is store.ErrFenced says that the build is another agent's.
type Record interface {
	runtime.Recorder
	logs.Sink
	// Flush returns once all so far is kept, however long that takes. The error is
	// that of ctx, or says that something never will be.
	Flush(ctx context.Context) error
}

// ErrRejected says that the fault is in what was asked for: to try again cannot
// help.
var ErrRejected = errors.New("rejected")

// Timings are how often things are looked at, and how long is waited for what. A
// zero field is the default that stands beside it.
type Timings struct {
	Heartbeat time.Duration // 5s, and between two looks around
	Lease     time.Duration // 30s without a heartbeat, and an agent is thought dead
	Answer    time.Duration // a third of Lease for the store to answer, or it is asked again
	GiveUp    time.Duration // 10m without a store, and builds are killed
	Busy      time.Duration // 2s between two looks at the queue while something happens; else Heartbeat
	Unmoved   time.Duration // 2s, and a build that its first choice leaves may be taken
	Disk      time.Duration // 1s between two looks at the disk while builds run
	Sweep     time.Duration // 10s, but not without a look around
	Cron      time.Duration // 20s
	Catalog   time.Duration // 1m between two looks at a project's default branch
	Retain    time.Duration // 10m
	Ship      time.Duration // 1s
	Facts     time.Duration // 10m
	Report    time.Duration // 1s between two reports of how far a build got
	Grace     time.Duration // 10s for processes to end
	Patience  time.Duration // 1h, and a build that no agent could run is rejected
	Drain     time.Duration // 10m for builds to end once the agent was asked to; less than 0 gives them none
}

func (t Timings) withDefaults() Timings {
	for field, value := range map[*time.Duration]time.Duration{
		&t.Heartbeat: 5 * time.Second, &t.Lease: 30 * time.Second, &t.GiveUp: 10 * time.Minute,
		&t.Busy: 2 * time.Second, &t.Unmoved: 2 * time.Second,
		&t.Disk: time.Second, &t.Sweep: 10 * time.Second, &t.Cron: 20 * time.Second, &t.Catalog: time.Minute, &t.Retain: 10 * time.Minute, &t.Ship: time.Second,
		&t.Facts: 10 * time.Minute, &t.Report: time.Second, &t.Grace: 10 * time.Second,
		&t.Patience: time.Hour, &t.Drain: 10 * time.Minute,
	} {
		*field = cmp.Or(*field, value)
	}
	t.Answer = cmp.Or(t.Answer, t.Lease/3) // or a heartbeat that stalls would be the last
	return t
}

// Run works until ctx is done: then it takes no more builds, waits as long as
// Timings.Drain for those that it has, and gives the others back. The error says
// why it could not begin.
func (a Agent) Run(ctx context.Context) error {
	if a.draw == nil {
		a.draw = func(string) uint64 { return rand.Uint64() }
	}
	if a.Log == nil {
		a.Log = slog.New(slog.DiscardHandler)
	}
	if a.Free == nil {
		a.Free = diskFree
	}
	if a.held == nil {
		a.held = diskHeld
	}
	a.Timings = a.Timings.withDefaults()
	a.unbounded = a.Store
	a.Store = bounded{a.Store, a.Timings.Answer}
	a.Slots = max(a.Slots, 1)
	a.MaxAttempts = cmp.Or(a.MaxAttempts, store.MaxAttempts)
	dir, err := openDirectory(a.Dir, a.Log)
	if err != nil {
		return fmt.Errorf("start agent: %w", err)
	}
	defer dir.Close()
	for {
		err := newLife(&a, dir).live(ctx)
		if !errors.Is(err, errBuried) || ctx.Err() != nil {
			return err
		}
	}
}

// id draws an AgentID, which also serves as a nonce.
func (a *Agent) id() store.AgentID {
	return store.AgentID(fmt.Sprintf("%016x%016x", a.draw("id"), a.draw("id")))
}

// clock is what time it is, as it is written down. How long something took is
// measured otherwise, as clocks are set.
func (a *Agent) clock() time.Time {
	if a.Now != nil {
		return a.Now().UTC().Truncate(time.Millisecond)
	}
	return time.Now().UTC().Truncate(time.Millisecond)
}

// about is d, give or take a fifth: agents that started together drift apart. what
// it is for keeps random numbers apart.
func (a *Agent) about(what string, d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.8 + 0.4*float64(a.draw(what)>>11)/(1<<53)))
}

// every calls do again and again, about every so often, until ctx is done.
func (a *Agent) every(ctx context.Context, what string, pause time.Duration, do func(ctx context.Context)) {
	for sleep(ctx, a.about(what, pause)) {
		do(ctx)
	}
}

// sleep waits, and reports whether ctx was not done before.
func sleep(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return ctx.Err() == nil
	}
}

// refused reports whether err is a store's last word, and no accident.
func refused(err error) bool {
	return errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrFenced) || errors.Is(err, store.ErrNotFound)
}

// persist does what do does, as it may be done twice, until the store has an
// answer: nil, or that it refuses. While ctx lasts, no outage is too long.
func persist(ctx context.Context, do func() error) error {
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, 5*time.Second) {
		err := do()
		if err == nil || refused(err) {
			return err
		}
		if !sleep(ctx, pause) {
			return errors.Join(err, context.Cause(ctx))
		}
	}
}
