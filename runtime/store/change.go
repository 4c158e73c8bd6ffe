package store

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
)

// A Change is one way in which a build may change: a guard, and what becomes of
// the build where it holds.
//
// Apply is pure. It either refuses, with ErrConflict or ErrFenced; or finds its
// own trace and changes nothing; or changes b. It is given a copy that it may
// write to, maps and slices included.
type Change interface {
	Apply(b *Build) (changed bool, err error)
}

func conflict(b *Build, format string, args ...any) error {
	return fmt.Errorf("build %d %s: %w", b.Number, fmt.Sprintf(format, args...), ErrConflict)
}

// held is the guard of every change that only the owner may make.
func held(b *Build, owner AgentID, fence int64) error {
	if b.State != build.Running || b.Owner != owner || b.Fence != fence {
		return fmt.Errorf("build %d is not held under fence %d: it is %s under fence %d: %w", b.Number, fence, b.State, b.Fence, ErrFenced)
	}
	return nil
}

// Claim gives a queued build to an agent, under the next fence.
type Claim struct {
	Agent AgentID
	Fence int64  // of the build, as it was seen
	Nonce string // of this claim alone
	Max   int    // attempts
	At    time.Time
}

// Apply implements Change.
func (c Claim) Apply(b *Build) (bool, error) {
	switch {
	case b.State == build.Running && b.Owner == c.Agent && b.Nonce == c.Nonce:
		return false, nil
	case b.State != build.Queued:
		return false, conflict(b, "is %s", b.State)
	case b.Fence != c.Fence:
		return false, conflict(b, "has fence %d by now", b.Fence)
	case b.Cancel != nil:
		return false, conflict(b, "was cancelled")
	case b.Attempt >= c.Max:
		return false, conflict(b, "had %d attempts", b.Attempt)
	case b.Request.Here != "" && b.Request.Here != c.Agent:
		return false, conflict(b, "is for %s alone", b.Request.Here)
	}
	b.State = build.Running
	b.Fence++
	b.Attempt++
	b.Owner, b.Nonce, b.FirstChoice = c.Agent, c.Nonce, ""
	b.Started = c.At
	return true, nil
}

// Planned tells what the plan of a build asks for.
type Planned struct {
	Agent    AgentID
	Fence    int64
	Commit   string // that was planned
	Plan     string
	Requires []plan.Requirement
	Groups   []string
	Patience plan.Duration
	Total    int // nodes
}

// Apply implements Change.
func (c Planned) Apply(b *Build) (bool, error) {
	switch err := held(b, c.Agent, c.Fence); {
	case err != nil:
		return false, err
	case b.Plan == c.Plan:
		return false, nil
	case b.Plan != "":
		return false, conflict(b, "has plan %s already, not %s", b.Plan, c.Plan)
	}
	b.Commit, b.Plan, b.Requires, b.Groups, b.Patience = c.Commit, c.Plan, c.Requires, c.Groups, c.Patience
	b.Progress.Total = c.Total
	return true, nil
}

// HandOver gives a build back that the agent cannot run. It costs no attempt.
// One that was to be cancelled ends instead: nobody asks for that again.
type HandOver struct {
	Agent AgentID
	Fence int64
	Nonce string
	To    AgentID // the new first choice; "" is anyone
	At    time.Time
}

// Apply implements Change.
func (c HandOver) Apply(b *Build) (bool, error) {
	if b.State != build.Running && b.Nonce == c.Nonce {
		return false, nil
	}
	if err := held(b, c.Agent, c.Fence); err != nil {
		return false, err
	}
	b.Nonce = c.Nonce
	b.Fence++
	b.Attempt--
	if b.Cancel != nil {
		b.end(build.Cancelled, b.Cancel.Reason, c.At)
		return true, nil
	}
	b.State, b.Owner, b.FirstChoice = build.Queued, "", c.To
	return true, nil
}

// Report tells how far a build got.
type Report struct {
	Agent    AgentID
	Fence    int64
	Progress build.Progress
}

// Apply implements Change.
func (c Report) Apply(b *Build) (bool, error) {
	if err := held(b, c.Agent, c.Fence); err != nil || b.Progress == c.Progress {
		return false, err
	}
	b.Progress = c.Progress
	return true, nil
}

// Fire puts the build of a trigger node into the outbox.
type Fire struct {
	Agent AgentID
	Fence int64
	Node  string
	Outgoing
}

// Apply implements Change.
func (c Fire) Apply(b *Build) (bool, error) {
	if err := held(b, c.Agent, c.Fence); err != nil {
		return false, err
	}
	if had, ok := b.Outbox[c.Node]; ok {
		if had.Child != c.Child {
			return false, conflict(b, "triggered build %s by %s already", had.Child, c.Node)
		}
		return false, nil
	}
	if b.Outbox == nil {
		b.Outbox = make(map[string]Outgoing)
	}
	b.Outbox[c.Node] = c.Outgoing
	b.Pending = append(b.Pending, Chore{EnqueueChild, c.Node})
	return true, nil
}

// Settle strikes off a chore that was done.
type Settle struct{ Chore }

// Apply implements Change.
func (c Settle) Apply(b *Build) (bool, error) {
	i := slices.Index(b.Pending, c.Chore)
	if i < 0 {
		return false, nil
	}
	b.Pending = slices.Delete(b.Pending, i, i+1)
	if len(b.Pending) == 0 {
		b.Pending = nil // as it was before there was any
	}
	return true, nil
}

// Intend says that a step which must not be started twice is about to start.
type Intend struct {
	Agent AgentID
	Fence int64
	Node  string
}

// Apply implements Change.
func (c Intend) Apply(b *Build) (bool, error) {
	if err := held(b, c.Agent, c.Fence); err != nil {
		return false, err
	}
	if fence, ok := b.Once[c.Node]; ok {
		if fence != c.Fence {
			return false, conflict(b, "started %s once, under fence %d", c.Node, fence)
		}
		return false, nil
	}
	if b.Once == nil {
		b.Once = make(map[string]int64)
	}
	b.Once[c.Node] = c.Fence
	return true, nil
}

// Complete ends a build as its owner saw it end. All its events and chunks must
// have been acknowledged before.
type Complete struct {
	Agent    AgentID
	Fence    int64
	State    build.State
	Reason   string
	Progress build.Progress
	At       time.Time

	Diagnostics plan.Diagnostics // of one that is rejected
}

// Apply implements Change.
func (c Complete) Apply(b *Build) (bool, error) {
	// Whoever else ends a build gives it another fence.
	if b.Terminal() && b.Fence == c.Fence && b.State == c.State {
		return false, nil
	}
	if err := held(b, c.Agent, c.Fence); err != nil {
		return false, err
	}
	switch c.State {
	case build.Success, build.Failed, build.Cancelled, build.TimedOut, build.Rejected:
	default:
		return false, conflict(b, "does not end %q", c.State)
	}
	b.Progress, b.Diagnostics = c.Progress, c.Diagnostics
	b.end(c.State, c.Reason, c.At)
	return true, nil
}

// Rescue takes a build from an agent that is thought dead, or that gives it
// back: it is queued again, unless that cannot be.
type Rescue struct {
	Owner AgentID // as it was seen
	Fence int64
	Max   int // attempts
	At    time.Time
	Why   string // it is taken, in words that go on "... 3 times"; "" is "its agent was lost"
}

// Apply implements Change.
func (c Rescue) Apply(b *Build) (bool, error) {
	if err := held(b, c.Owner, c.Fence); err != nil {
		return false, err
	}
	b.Fence++
	why := cmp.Or(c.Why, "its agent was lost")
	switch {
	case b.Cancel != nil:
		b.end(build.Cancelled, b.Cancel.Reason, c.At)
	case len(b.Once) > 0:
		b.end(build.Lost, fmt.Sprintf("%s after %s, which must not run twice, had been started", why, slices.Sorted(maps.Keys(b.Once))[0]), c.At)
	case b.Request.Here != "":
		b.end(build.Lost, "the process that ran it is gone", c.At)
	case b.Attempt >= c.Max:
		b.end(build.Lost, fmt.Sprintf("%s %d times", why, b.Attempt), c.At)
	default:
		b.State, b.Owner, b.Nonce = build.Queued, "", ""
	}
	return true, nil
}

// RequestCancel asks a build to end. A queued one ends at once, a running one
// by its owner.
type RequestCancel struct {
	Cancel
	At time.Time
}

// Apply implements Change.
func (c RequestCancel) Apply(b *Build) (bool, error) {
	switch {
	case b.Terminal():
		return false, nil
	case b.State == build.Queued:
		b.Fence++
		wish := c.Cancel
		b.Cancel = &wish
		b.end(build.Cancelled, c.Reason, c.At)
	case b.Cancel == nil:
		wish := c.Cancel
		b.Cancel = &wish
	case c.Force && !b.Cancel.Force:
		wish := *b.Cancel
		wish.Force = true
		b.Cancel = &wish
	default:
		return false, nil
	}
	return true, nil
}

// ForceCancel ends a build whose owner was asked to end it and does not.
type ForceCancel struct {
	Fence int64
	At    time.Time
}

// Apply implements Change.
func (c ForceCancel) Apply(b *Build) (bool, error) {
	if b.State != build.Running || b.Fence != c.Fence || b.Cancel == nil {
		return false, conflict(b, "is %s under fence %d, with no cancel to be forced", b.State, b.Fence)
	}
	b.Fence++
	b.end(build.Cancelled, b.Cancel.Reason, c.At)
	return true, nil
}

// Expire ends a build that is over its budget of time.
type Expire struct {
	Fence  int64
	State  build.State // TimedOut, or Rejected for one that nobody could run
	Reason string
	At     time.Time
}

// Apply implements Change.
func (c Expire) Apply(b *Build) (bool, error) {
	switch {
	case b.Terminal() || b.Fence != c.Fence:
		return false, conflict(b, "is %s under fence %d, not %d", b.State, b.Fence, c.Fence)
	case c.State != build.TimedOut && c.State != build.Rejected:
		return false, conflict(b, "does not expire %q", c.State)
	}
	b.Fence++
	b.end(c.State, c.Reason, c.At)
	return true, nil
}

// Offer names another first choice.
type Offer struct {
	Fence int64
	To    AgentID
}

// Apply implements Change.
func (c Offer) Apply(b *Build) (bool, error) {
	if b.State != build.Queued || b.Fence != c.Fence {
		return false, conflict(b, "is %s under fence %d", b.State, b.Fence)
	}
	if b.FirstChoice == c.To {
		return false, nil
	}
	b.FirstChoice = c.To
	return true, nil
}

// Approve records what a person said. The first word counts.
type Approve struct {
	Node string
	Approval
}

// Apply implements Change.
func (c Approve) Apply(b *Build) (bool, error) {
	if had, ok := b.Approvals[c.Node]; ok {
		if had.Approved != c.Approved || had.By != c.By {
			return false, conflict(b, "has the word of %s on %s already", had.By, c.Node)
		}
		return false, nil
	}
	if b.Terminal() {
		return false, conflict(b, "is %s", b.State)
	}
	if b.Approvals == nil {
		b.Approvals = make(map[string]Approval)
	}
	b.Approvals[c.Node] = c.Approval
	return true, nil
}

// Pin has a build be kept until it is unpinned, or lets it go again.
type Pin struct{ Pinned bool }

// Apply implements Change.
func (c Pin) Apply(b *Build) (bool, error) {
	if b.Collected {
		return false, fmt.Errorf("build %d was deleted: %w", b.Number, ErrNotFound)
	}
	differs := b.Pinned != c.Pinned
	b.Pinned = c.Pinned
	return differs, nil
}

// Collect deletes all but what names a build. Its events and log go before.
type Collect struct{}

// Apply implements Change.
func (c Collect) Apply(b *Build) (bool, error) {
	switch {
	case b.Collected:
		return false, nil
	case !b.Terminal():
		return false, conflict(b, "is %s", b.State)
	case len(b.Pending) > 0:
		return false, conflict(b, "has %d things to be done", len(b.Pending))
	case b.Pinned:
		return false, conflict(b, "is pinned")
	}
	*b = Build{ID: b.ID, Number: b.Number, Rev: b.Rev, Hash: b.Hash, State: b.State, Fence: b.Fence, Created: b.Created, Ended: b.Ended,
		Request: Request{Project: b.Request.Project, Pipeline: b.Request.Pipeline}, Collected: true}
	return true, nil
}

// end closes b, and leaves to whoever finds them the things that have to follow.
func (b *Build) end(state build.State, reason string, at time.Time) {
	b.State, b.Reason, b.Ended = state, reason, at
	if b.Request.Here == "" {
		b.Last = b.Owner
	}
	b.Owner, b.FirstChoice = "", ""
	if state != build.Success {
		for _, node := range slices.Sorted(maps.Keys(b.Outbox)) {
			if b.Outbox[node].Wait {
				b.Pending = append(b.Pending, Chore{CancelChild, node})
			}
		}
	}
	for _, key := range b.Groups {
		b.Pending = append(b.Pending, Chore{Release, key})
	}
	if b.followed() {
		b.Pending = append(b.Pending, Chore{Verb: StartAfter})
	}
}

// followed reports whether the end of b may start other pipelines (on.after): one
// that never began, or that was somebody's try of changes that are nowhere else,
// is followed by nothing.
func (b *Build) followed() bool {
	return b.Plan != "" && b.State != build.Rejected && b.Request.Patch == "" && b.Request.Here == ""
}
