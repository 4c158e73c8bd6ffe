package store

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
)

// MaxAttempts is how often a build is claimed unless a setting says otherwise.
const MaxAttempts = 3

// A Build is what the store keeps of one build: what was asked for, who has it,
// how it ended, and what is still to be done about it. What happened inside is
// in its events, so a Build stays small however many steps there are.
type Build struct {
	ID      build.ID `json:"id"`
	Number  int64    `json:"number"` // for people
	Rev     int64    `json:"rev"`    // grows with each change
	Hash    string   `json:"hash"`   // of Request
	Request Request  `json:"request,omitzero"`

	State  build.State `json:"state"` // Queued, Running, or an end
	Reason string      `json:"reason,omitempty"`

	Diagnostics plan.Diagnostics `json:"diagnostics,omitempty"` // why it was rejected, when its PIPER.star is at fault

	Fence       int64   `json:"fence,omitempty"`
	Attempt     int     `json:"attempt,omitempty"` // how often it was claimed, hand-overs not counted
	Owner       AgentID `json:"owner,omitempty"`   // while it runs
	Last        AgentID `json:"last,omitempty"`    // who had it when it ended; "" for one that ran where it was asked for
	Nonce       string  `json:"nonce,omitempty"`   // of the change that claimed it or gave it back
	FirstChoice AgentID `json:"first_choice"`      // a hint: who should claim it

	Commit   string             `json:"commit,omitempty"` // that is built: pinned when it is planned
	Plan     string             `json:"plan,omitempty"`   // its digest; "" until it was planned
	Requires []plan.Requirement `json:"requires,omitempty"`
	Groups   []string           `json:"groups,omitempty"`   // it runs only while it holds these
	Patience plan.Duration      `json:"patience,omitempty"` // how long it may be queued; 0 is a default
	Progress build.Progress     `json:"progress,omitzero"`

	Cancel    *Cancel             `json:"cancel,omitempty"`
	Once      map[string]int64    `json:"once,omitempty"` // by node: the fence under which it was about to start
	Approvals map[string]Approval `json:"approvals,omitempty"`
	Outbox    map[string]Outgoing `json:"outbox,omitempty"`  // by trigger node
	Pending   []Chore             `json:"pending,omitempty"` // what is to be done whatever becomes of its agent

	// Pinned is set while somebody wants the build kept.
	Pinned bool `json:"pinned,omitempty"`

	Created time.Time `json:"created,omitzero"`
	Started time.Time `json:"started,omitzero"` // of the newest attempt
	Ended   time.Time `json:"ended,omitzero"`

	// Collected is set once all but what names the build was deleted. What is
	// left keeps a late insert of the same ID from running it again.
	Collected bool `json:"collected,omitempty"`
}

// A Request is what was asked for. It never changes.
type Request struct {
	Project     string            `json:"project"`
	Pipeline    string            `json:"pipeline,omitempty"` // "" is the project's default
	Environment string            `json:"environment,omitempty"`
	Params      map[string]string `json:"params,omitempty"`
	Ref         string            `json:"ref,omitempty"`    // as it was asked for
	Commit      string            `json:"commit,omitempty"` // "" is what Ref names when it is planned
	Patch       string            `json:"patch,omitempty"`  // the digest of uncommitted changes
	Select      plan.Selection    `json:"select,omitzero"`  // the part of the plan that is to run
	Event       plan.Event        `json:"event,omitzero"`
	Priority    int               `json:"priority,omitempty"`
	Cause       Cause             `json:"cause,omitzero"`
	Here        AgentID           `json:"here,omitempty"` // nobody else may claim it: it runs where it was asked for
}

// A Cause is why there is a build.
type Cause struct {
	Kind   string   `json:"kind"`             // as an event's, or "trigger" or "rerun"
	Build  build.ID `json:"build,omitempty"`  // that triggered it, or that it runs again
	Number int64    `json:"number,omitempty"` // of that build; 0 in those made before this was kept
	Node   string   `json:"node,omitempty"`   // of that build
	By     string   `json:"by,omitempty"`     // the name of a person or a token
	Trust  string   `json:"trust,omitempty"`  // "fork": it is given no secrets
}

// A Cancel is the wish that a build end.
type Cancel struct {
	By     string `json:"by,omitempty"`
	Reason string `json:"reason,omitempty"`
	Force  bool   `json:"force,omitempty"`
}

// An Approval is what a person said to an approve node.
type Approval struct {
	Approved bool      `json:"approved"`
	By       string    `json:"by"`
	Reason   string    `json:"reason,omitempty"`
	At       time.Time `json:"at"`
}

// An Outgoing is a build that a trigger node makes. Its ID is derived, so
// making it twice makes one.
type Outgoing struct {
	Child   build.ID `json:"child"`
	Request Request  `json:"request"`
	Wait    bool     `json:"wait,omitempty"`
}

// A Chore is something that has to be done about a build, by any agent. Doing
// it twice does no harm.
type Chore struct {
	Verb   string `json:"verb"`             // one of those below
	Target string `json:"target,omitempty"` // a key of Outbox, or a group
}

// The verbs of a Chore.
const (
	EnqueueChild = "enqueue" // insert the child of Outbox[Target]
	CancelChild  = "cancel"  // cancel it, as nobody waits for it any more
	Release      = "release" // give back the group Target
	StartAfter   = "after"   // insert the builds of what comes after it, in any project
)

// NewBuild returns the build that r asks for, as it is enqueued.
func NewBuild(id build.ID, number int64, r Request, at time.Time) Build {
	return Build{ID: id, Number: number, Hash: r.Hash(), Request: r, State: build.Queued, Created: at}
}

// Hash tells requests apart.
func (r Request) Hash() string {
	text, err := json.Marshal(r)
	if err != nil {
		panic(fmt.Sprintf("store: a request that is not JSON: %v", err)) // it holds strings and numbers only
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:])
}

// Derive returns the ID of something that must exist once: the same parts give
// the same ID. It is a UUID of version 8 (RFC 9562) made of their SHA-256, and does not sort by time.
func Derive(parts ...string) build.ID {
	hash := sha256.New()
	for _, part := range parts {
		fmt.Fprintf(hash, "%d:%s", len(part), part) // no two lists of parts are written alike
	}
	u := hash.Sum(nil)[:16]
	u[6] = u[6]&0x0f | 0x80
	u[8] = u[8]&0x3f | 0x80
	return build.ID(fmt.Sprintf("%x-%x-%x-%x-%x", u[0:4], u[4:6], u[6:8], u[8:10], u[10:16]))
}

// Terminal reports whether the build has ended.
func (b *Build) Terminal() bool { return b.State != build.Queued && b.State != build.Running }

// Priority is how urgent the build is: higher is claimed first.
func (b *Build) Priority() int { return b.Request.Priority }

// clone returns a copy that a Change may write to. What no Change writes into is
// shared.
func (b Build) clone() Build {
	b.Once = maps.Clone(b.Once)
	b.Approvals = maps.Clone(b.Approvals)
	b.Outbox = maps.Clone(b.Outbox)
	b.Pending = slices.Clone(b.Pending)
	return b
}

// Changed returns b after c, and whether it differs; a store then writes it if
// the one it has still is of b's Rev. b stays as it is.
func (b Build) Changed(c Change) (after Build, differs bool, err error) {
	after = b.clone()
	differs, err = c.Apply(&after)
	if err != nil || !differs {
		return b, false, err
	}
	after.Rev++
	return after, true, nil
}
