package api

import (
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

// A Build is one build as it stands.
type Build struct {
	ID          build.ID       `json:"id"`
	Number      int64          `json:"number"`
	Project     string         `json:"project"`
	Pipeline    string         `json:"pipeline,omitempty"` // "" is the project's default, until that was planned
	Environment string         `json:"environment,omitempty"`
	State       build.State    `json:"state"`
	Reason      string         `json:"reason,omitempty"`
	Commit      string         `json:"commit,omitempty"` // that is built; "" until it is known
	Ref         string         `json:"ref,omitempty"`    // as it was asked for
	Patch       string         `json:"patch,omitempty"`  // the digest of uncommitted changes
	Params      map[string]any `json:"params,omitempty"` // as the plan has them; as text, as they were asked for, in a list and until there is a plan
	PlanDigest  string         `json:"plan_digest,omitempty"`
	Parent      build.ID       `json:"parent,omitempty"` // that triggered it, or that it runs again
	Cause       Cause          `json:"cause"`
	Agent       *AgentRef      `json:"agent,omitempty"` // that has it, or had it when it ended
	Attempt     int            `json:"attempt,omitempty"`
	Fence       int64          `json:"fence,omitempty"` // under which Steps happened: what events and logs are found by
	Priority    int            `json:"priority,omitempty"`
	Here        bool           `json:"here,omitempty"` // it ran where it was asked for, by piper exec
	Progress    build.Progress `json:"progress"`
	UsualMS     int64          `json:"usual_ms,omitempty"` // how long builds of the pipeline take; not there when none succeeded lately
	Created     time.Time      `json:"created,omitzero"`
	Started     time.Time      `json:"started,omitzero"`
	Ended       time.Time      `json:"ended,omitzero"`
	Cancel      *Cancel        `json:"cancel,omitempty"` // somebody asked for it
	Pinned      bool           `json:"pinned,omitempty"` // it is kept whatever a retention says
	Rev         int64          `json:"rev"`              // grows with each change

	// What follows is told of one build, not in a list.

	Steps       []Step           `json:"steps,omitempty"`
	Triggered   []Triggered      `json:"triggered,omitempty"`
	Approvals   []Approval       `json:"approvals,omitempty"`
	Diagnostics plan.Diagnostics `json:"diagnostics,omitempty"` // why it was rejected
}

// Asked is what a build was asked for with: whoever has it, and the repository,
// can plan the same build again.
type Asked struct {
	Project     string            `json:"project"`
	Pipeline    string            `json:"pipeline,omitempty"`
	Environment string            `json:"environment,omitempty"`
	Params      map[string]string `json:"params,omitempty"`
	Ref         string            `json:"ref,omitempty"`
	Commit      string            `json:"commit,omitempty"` // that was built; "" until it is known
	Patch       string            `json:"patch,omitempty"`  // the digest of uncommitted changes
	Select      plan.Selection    `json:"select,omitzero"`  // the part of the plan that was to run
	Event       plan.Event        `json:"event,omitzero"`
	Trust       string            `json:"trust,omitempty"` // as in Cause
}

// A Cause is why there is a build.
type Cause struct {
	Kind   string   `json:"kind"` // "manual", "push", "tag", "change_request", "cron", "webhook", "after", "trigger" or "rerun"
	Build  build.ID `json:"build,omitempty"`
	Number int64    `json:"number,omitempty"` // of that build
	Node   string   `json:"node,omitempty"`
	By     string   `json:"by,omitempty"`
	Trust  string   `json:"trust,omitempty"` // "fork": it is given no secrets
}

// An AgentRef names an agent.
type AgentRef struct {
	ID   store.AgentID `json:"id"`
	Name string        `json:"name,omitempty"`
}

// A Step is what happened to one node of a build's plan.
type Step struct {
	Name string `json:"name"`
	build.Step
	Why string `json:"why,omitempty"` // why it waits
}

// A Triggered is a build that a node of another one made.
type Triggered struct {
	Node     string      `json:"node"`
	ID       build.ID    `json:"id"`
	Number   int64       `json:"number,omitempty"` // 0 until it was made
	Project  string      `json:"project"`
	Pipeline string      `json:"pipeline,omitempty"`
	State    build.State `json:"state,omitempty"` // "" until it was made
	Wait     bool        `json:"wait,omitempty"`  // the node ends as it does
}

// An Approval is a node that asks, or asked, a person.
type Approval struct {
	Node   string    `json:"node"`
	State  string    `json:"state"` // "waiting", "approved" or "refused"
	Prompt string    `json:"prompt,omitempty"`
	By     string    `json:"by,omitempty"`
	Reason string    `json:"reason,omitempty"`
	At     time.Time `json:"at,omitzero"`
}

// The states of an Approval.
const (
	ApprovalWaiting  = "waiting"
	ApprovalApproved = "approved"
	ApprovalRefused  = "refused"
)

// A Cancel is the wish that a build end.
type Cancel struct {
	By     string `json:"by,omitempty"`
	Reason string `json:"reason,omitempty"`
	Force  bool   `json:"force,omitempty"`
}

// A BuildRequest asks for a build.
type BuildRequest struct {
	Project     string            `json:"project"`
	Pipeline    string            `json:"pipeline,omitempty"` // "" is "build", or the only one there is
	Environment string            `json:"environment,omitempty"`
	Params      map[string]string `json:"params,omitempty"` // as text, the way --param takes them
	Ref         string            `json:"ref,omitempty"`    // a branch, a tag or a commit; "" is the project's
	Commit      string            `json:"commit,omitempty"` // that Ref is known to name; needed with a patch
	Patch       string            `json:"patch,omitempty"`  // a digest that POST /v1/patches answered with
	Only        []string          `json:"only,omitempty"`   // as --only, --from and --skip
	From        []string          `json:"from,omitempty"`
	Skip        []string          `json:"skip,omitempty"`
	Priority    int               `json:"priority,omitempty"`
}

// A RerunRequest asks for a build that was there before. At most one of Failed
// and From is set; with neither, all of it runs.
type RerunRequest struct {
	Failed bool              `json:"failed,omitempty"` // what did not succeed, and what comes after it
	From   []string          `json:"from,omitempty"`   // these steps, and what comes after them
	Params map[string]string `json:"params,omitempty"` // these instead of the ones it had
}

// A CancelRequest asks a build to end.
type CancelRequest struct {
	Reason string `json:"reason,omitempty"`
	Force  bool   `json:"force,omitempty"` // also without the steps that clean up
}

// An ApproveRequest answers an approval.
type ApproveRequest struct {
	Node   string `json:"node"`
	Refuse bool   `json:"refuse,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// A BuildFilter picks builds. A zero field picks all.
type BuildFilter struct {
	Project  string
	Pipeline string // of Project, which must be set then
	State    build.State
	Agent    store.AgentID
	Parent   build.ID
}

// A Patch is the answer to uncommitted changes.
type Patch struct {
	Digest string `json:"digest"`
}

// MaxPatch bounds the bytes of a patch.
const MaxPatch = 16 << 20

// A PinRequest has a build be kept, or lets it go again.
type PinRequest struct {
	Remove bool `json:"remove,omitempty"`
}
