// Package stream is a build as a stream of lines: its events, and what its
// steps write.
//
// Each line is one JSON object. One with a "seq" is a build.Event, with its
// fields as they are:
//
//	{"seq":2,"time":"…","kind":"attempt_started","node":"test","attempt":1}
//
// and one of kind "output" is a piece of what an attempt wrote:
//
//	{"kind":"output","node":"test","attempt":1,"time":"…","data":"ok\n"}
//	{"kind":"output","node":"test","attempt":1,"time":"…","data_base64":"/w=="}
//
// An attempt's pieces in a row are its output, byte for byte, secrets masked.
// A piece is cut anywhere, not at lines, holds at most 16 KiB, and is in
// data_base64 when it is not UTF-8. All of them stand between the attempt's
// attempt_started and attempt_ended. The last event of a build that ended is its
// build_ended. Fields and kinds may be added, none changes its meaning.
//
// "piper exec --progress=json" prints such a stream. A runner talks to its
// parent in one, to which it adds kinds of its own (package runner).
package stream

import "time"

const (
	// MaxData is how many bytes of output one line has at most, so that readers
	// may bound their lines.
	MaxData = 16 << 10

	// MaxLine is how long a line may be that is read. The longest are events
	// with outputs, or with what an expand found.
	MaxLine = 128 << 20

	maxHold = 64 << 10 // bytes that are gathered before they are written
)

// The kinds of lines that are no event's.
const outputKind = "output"

// A chunk is a line of kind "output".
type chunk struct {
	Kind    string    `json:"kind"`
	Node    string    `json:"node"`
	Attempt int       `json:"attempt"`
	Time    time.Time `json:"time"`
	Data    *string   `json:"data,omitempty"`
	Base64  []byte    `json:"data_base64,omitempty"`
}
