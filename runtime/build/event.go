package build

import (
	"time"

	"github.com/piper-build/piper/runtime/plan"
)

// A Kind is what an Event tells.
type Kind string

const (
	// BuildStarted opens a build: it is the first event. Node fields are empty.
	BuildStarted Kind = "build_started"
	// AttemptStarted says that a node began: a step's process, a trigger's
	// request, an approval's wait. Node and Attempt are set. Nodes that are to
	// be skipped are skipped first.
	AttemptStarted Kind = "attempt_started"
	// NodeReady says that the service Node can be used: the steps that list it
	// may start. It comes while the service runs, once.
	NodeReady Kind = "node_ready"
	// AttemptEnded says how an attempt ended. State is Success, Failed,
	// TimedOut or Cancelled; Exit, Signal, Reason, Outputs, Child and By say
	// more. Whether the node is tried again is for Apply to work out. An
	// approval that was refused is Failed, with By. A service that nobody had
	// asked to stop is Failed, one that was is Success, whatever State says. Of
	// an expand that succeeded, Expansion is what it found; nil is nothing.
	AttemptEnded Kind = "attempt_ended"
	// NodeSkipped ends a node that does not run, or not again. State and Reason
	// are those of the Skip action that it answers.
	NodeSkipped Kind = "node_skipped"
	// NodeTriggered says that a trigger made the build Child. A node that waits
	// for that build goes on; one that does not has succeeded.
	NodeTriggered Kind = "node_triggered"
	// CancelRequested asks the build to end. By and Reason say who and why.
	// Force gives up on run_on = "always" nodes as well. It may come again.
	CancelRequested Kind = "cancel_requested"
	// DeadlinePassed says that the plan's time-out was reached.
	DeadlinePassed Kind = "deadline_passed"
	// BuildEnded closes a build. State and Reason are those of the End action
	// that it answers; or Lost or Rejected, which can be said from outside at any
	// time and leave the nodes where they are.
	BuildEnded Kind = "build_ended"
)

// An Event is one thing that happened to a build. It is flat: fields that a
// kind does not use stay zero. New fields may be added, none is ever reused.
type Event struct {
	Seq     int64             `json:"seq"`  // from 1, without gaps
	Time    time.Time         `json:"time"` // UTC, cut to milliseconds
	Kind    Kind              `json:"kind"`
	Node    string            `json:"node,omitempty"`
	Attempt int               `json:"attempt,omitempty"` // from 1
	State   State             `json:"state,omitempty"`
	Exit    *int              `json:"exit,omitempty"`   // of a process that exited by itself
	Signal  string            `json:"signal,omitempty"` // that ended the process, such as "killed"
	Reason  string            `json:"reason,omitempty"` // for a person
	Infra   bool              `json:"infra,omitempty"`  // the machine failed, not the command
	Final   bool              `json:"final,omitempty"`  // trying again cannot help
	Outputs map[string]string `json:"outputs,omitempty"`
	Child   ID                `json:"child,omitempty"` // the build that a trigger made
	By      string            `json:"by,omitempty"`    // who cancelled, approved or refused
	Force   bool              `json:"force,omitempty"`

	Expansion *plan.Expansion `json:"expansion,omitempty"`
}
