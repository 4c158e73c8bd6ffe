package api

import (
	"encoding/json"

	"github.com/piper-build/piper/runtime/build"
)

// A Message is one event of GET /v1/events.
type Message struct {
	ID   string          // what to go on after, in a Last-Event-ID
	Kind string          // a Message constant
	Data json.RawMessage // of that kind
}

// The kinds of a Message, and what their Data is.
const (
	MessageBuild   = "build"   // a Build, without its steps: it was made or changed. Several changes may come as one.
	MessageEvent   = "event"   // a BuildEvent, of a topic "build:ID"
	MessageLog     = "log"     // a Growth, of a topic "log:ID:STEP"
	MessageAgent   = "agent"   // an Agent: it came or changed
	MessageGone    = "gone"    // a Gone: it is not there any more
	MessageProject = "project" // a Project: it was made or changed
	MessageReset   = "reset"   // {}: what happened since Last-Event-ID is not known any more; what was listed must be listed again
)

// A BuildEvent is something that happened inside a build.
type BuildEvent struct {
	Build build.ID `json:"build"`
	Fence int64    `json:"fence"` // another one begins anew: what was lost with an agent runs again
	build.Event
}

// A Growth is how much the newest attempt of a step has written by now. It is told
// at first, and then when it is more, at most ten times a second.
type Growth struct {
	Build   build.ID `json:"build"`
	Step    string   `json:"step"`
	Attempt int      `json:"attempt"`
	Fence   int64    `json:"fence"`
	Total   int64    `json:"total"` // lines
	Bytes   int64    `json:"bytes"`
	Ended   bool     `json:"ended"` // there will be no more
}

// A Gone names what was deleted.
type Gone struct {
	Agent   string `json:"agent,omitempty"` // its ID
	Project string `json:"project,omitempty"`
}
