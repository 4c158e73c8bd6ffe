// Package build is what happened to a plan, and what happens next.
//
// A Build is a fold over events: New gives the state before the first one,
// Apply takes the state one event further, and Next says what the state calls
// for: which nodes may start, which can never run and why, what must be
// stopped, whether the build is over. Nothing here looks at a clock, starts a
// process or reads a file. The engine, the agent, the stores, the web page and
// the simulator of piper test all fold the same events through the same code,
// so they cannot disagree.
//
// Apply is total. A state that has ended stays as it is, and an event that
// cannot have happened is an error that leaves the state untouched. The one who
// drives a build asks Next, applies and records the events that answer each
// action, in their order, carries the actions out, and asks again when
// something has happened or a retry is due.
//
// # When a node runs
//
// A node is decided once everything it needs has ended. By then all its
// ancestors have ended too, so run_on can look at the whole of them: a failure
// travels down the graph through nodes that were skipped, and through
// run_on = "always" nodes that succeeded. A node that was skipped because its
// own run_on did not call for it counts as succeeded. A failure that is allowed
// does not travel.
//
// A failure inside a fail_fast group stops what runs in the group and skips
// what waits in it. Cancelling a build, or passing its deadline, does the same
// to the whole build, only that what never ran ends Cancelled, not Skipped.
// Nodes with run_on "failure" or "always" are exempt from fail_fast, "always"
// nodes also from cancel and deadline: cleaning up is what they are for. A
// forced cancel exempts nothing. What is stopped or cut off counts as failed
// for what comes after it, and is skipped only in its turn, so that a cleanup
// still runs after everything it cleans up after.
//
// A limit counts the nodes that run anywhere inside its group, triggers and
// approvals too. Steps with the same concurrency key run one at a time. A step
// between two attempts holds no place.
//
// # Services
//
// A service is a node that nothing leads to and that leads nowhere: steps list
// it. It starts once a step that lists it waits for nothing else, and that step
// once NodeReady has said of each of its services that it can be used. A limit
// or a slot is taken by the step only then, by a service never.
//
// A service that ends though nobody has asked it to has failed, whatever the
// event says of it. The steps that list it and do not run are skipped then, with
// run_on = "always" too, those that run go on, and none of them is tried again.
// Once every step and expand that lists it has ended it is asked to stop, and
// has succeeded however it does; when none has called for it, it is skipped. An
// expand only keeps a service from being stopped: it neither starts it nor waits
// for it. So cancel, deadline and fail_fast reach a service by way of its users;
// only a forced cancel does so by itself.
//
// # What an expand finds
//
// The AttemptEnded of an expand brings an Expansion, and the plan grows by it:
// Plan returns another one, in which everything keeps its index. What was found
// stands in the place of the expand, so it is cut off by what cuts off the
// expand, and what comes after the expand comes after it. It may wait for any
// node of the plan, and list any service that has not been stopped. An expand is
// skipped without harm to what comes after it when the node whose result it
// takes was skipped, or failed and was allowed to.
//
// # Retries
//
// An attempt that failed or timed out is followed by another one while
// attempts are left and retry.on names how it ended; when the machine failed
// (Infra) whatever on says. What was asked to stop is not tried again, nor is
// an attempt that was cancelled, nor one that would only fail the same way
// (Final).
//
// # How a build ends
//
// Once all nodes have ended, with the first of these that holds: TimedOut when
// the deadline passed, Cancelled when someone asked for it and it kept a node
// from succeeding, Failed when a node failed that was not allowed to, Success.
// Of a deadline and a cancel that cut something the earlier counts. A node that
// ended Cancelled though nobody asked, such as a trigger whose build was
// cancelled, failed.
package build

import "time"

// CleanupLimit is how long nodes with run_on = "always" may take, all
// together, once a build was cancelled or passed its deadline. Past it whoever
// drives the build forces the cancel.
const CleanupLimit = 5 * time.Minute

// An ID names a build. It is a UUID, version 7, so ids sort by time.
type ID string

// A State is where a build or a node stands. The words are the same for both;
// a node is never Queued, Lost or Rejected, a build never Waiting or Skipped.
type State string

const (
	Queued    State = "queued"
	Waiting   State = "waiting"
	Running   State = "running"
	Success   State = "success"
	Failed    State = "failed"
	Skipped   State = "skipped"
	Cancelled State = "cancelled"
	TimedOut  State = "timed_out"
	Lost      State = "lost"
	Rejected  State = "rejected"
)

// A Step is what has happened to one node.
type Step struct {
	State     State             `json:"state"`
	Attempt   int               `json:"attempt,omitempty"`   // the newest; 0 when it never ran
	Started   time.Time         `json:"started,omitzero"`    // of the newest attempt
	Ready     time.Time         `json:"ready,omitzero"`      // of a service: when it could first be used
	Ended     time.Time         `json:"ended,omitzero"`      // of the newest attempt
	NotBefore time.Time         `json:"not_before,omitzero"` // when a retry may start
	Exit      *int              `json:"exit,omitempty"`      //
	Signal    string            `json:"signal,omitempty"`    //
	Reason    string            `json:"reason,omitempty"`    // why it failed or was skipped, in words
	Infra     bool              `json:"infra,omitempty"`     //
	Allowed   bool              `json:"allowed,omitempty"`   // it failed and was allowed to
	Outputs   map[string]string `json:"outputs,omitempty"`   //
	Child     ID                `json:"child,omitempty"`     //
	By        string            `json:"by,omitempty"`        //
}

// A Verb is what an Action asks for.
type Verb int

const (
	Start Verb = iota // start the node's next attempt
	Skip              // end the node without running it, in State, for Reason
	Stop              // stop the running node, for Reason
	End               // end the build, in State
)

// An Action is one thing that the state of a build calls for. Carrying it out
// means recording the event that answers it.
type Action struct {
	Verb   Verb
	Node   int // index into the plan's Nodes; -1 for End
	State  State
	Reason string
}

// Progress counts nodes.
type Progress struct {
	Total   int `json:"total"`
	Running int `json:"running"`
	Done    int `json:"done"`   // ended, in whatever state
	Failed  int `json:"failed"` // failed or timed out, and not allowed to
	Skipped int `json:"skipped"`
	Asking  int `json:"asking,omitempty"` // approvals that wait for a person
}
