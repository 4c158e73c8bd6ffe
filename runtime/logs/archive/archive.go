// Package archive is what a build wrote as a file, whole: JSON objects, one a
// line, the kind of each in its "kind".
//
//	header   once, first: the version of this format, and the build
//	plan     once: the build's plan, as it was made
//	event    what happened in the build, in order
//	line     a line of output, one attempt of a step after the other
//	output   after the lines of each attempt: how many, and the digest of their bytes
//	end      once, last: the counts of all, and the digest of all bytes before it
//
// A line has its text, or, where that is not UTF-8, its bytes in base64. One that is
// longer than 64 KiB is several, each with the offset at which it stands in the line;
// partial says that no line end follows. Where a store left something out because
// there was too much of it, a line tells how much. The two streams of a step are one,
// in the order in which they were written, as everywhere in Piper.
//
// Fields may be added to a schema; whoever reads passes over what he does not know.
// What changes the meaning of one is another schema, which an older reader refuses.
package archive

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

// Schema is the version of the format.
const Schema = 1

var (
	// ErrBroken says that a file is not as it was written.
	ErrBroken = errors.New("it is not as it was exported")

	// ErrSchema says that a newer piper wrote a file.
	ErrSchema = errors.New("a newer piper wrote it")
)

// A Header begins a file.
type Header struct {
	Kind   string `json:"kind"`
	Schema int    `json:"schema"`
	Piper  string `json:"piper,omitempty"` // the version that wrote it
	Build  Build  `json:"build"`
}

// A Build is what there is to tell of a build that has ended.
type Build struct {
	ID          build.ID          `json:"id"`
	Number      int64             `json:"number"`
	Project     string            `json:"project"`
	Pipeline    string            `json:"pipeline,omitempty"`
	Environment string            `json:"environment,omitempty"`
	Params      map[string]string `json:"params,omitempty"`
	Ref         string            `json:"ref,omitempty"`
	Commit      string            `json:"commit,omitempty"`
	Cause       store.Cause       `json:"cause,omitzero"`
	State       build.State       `json:"state"`
	Reason      string            `json:"reason,omitempty"`
	Attempt     int               `json:"attempt,omitempty"`
	Fence       int64             `json:"fence"` // under which it wrote what follows
	Progress    build.Progress    `json:"progress"`
	PlanDigest  string            `json:"plan_digest"`
	Created     time.Time         `json:"created"`
	Started     time.Time         `json:"started,omitzero"`
	Ended       time.Time         `json:"ended"`
}

// A plan is the canonical JSON of one.
type planRecord struct {
	Kind string          `json:"kind"`
	Plan json.RawMessage `json:"plan"`
}

type eventRecord struct {
	Kind  string      `json:"kind"`
	Event build.Event `json:"event"`
}

// A Line is a line of output, a piece of one, or tells of what was left out.
type Line struct {
	Kind     string    `json:"kind"`
	Step     string    `json:"step"`
	Attempt  int       `json:"attempt"`
	Line     int64     `json:"line"`           // from 1
	Time     time.Time `json:"time,omitzero"`  // when its first byte arrived
	Text     *string   `json:"text,omitempty"` // without the line end
	Raw      []byte    `json:"raw,omitempty"`  // in place of Text, when that would not be UTF-8
	Offset   int64     `json:"offset,omitempty"`
	Partial  bool      `json:"partial,omitempty"`
	Cut      int64     `json:"cut,omitempty"`       // bytes that were left out here; there is no Text then
	CutLines int64     `json:"cut_lines,omitempty"` // how many lines end in them
}

// Bytes are what stands for the line in the output.
func (l *Line) Bytes() []byte {
	if l.Text != nil {
		return []byte(*l.Text)
	}
	return l.Raw
}

// An output ends the lines of an attempt.
type outputRecord struct {
	Kind    string `json:"kind"`
	Step    string `json:"step"`
	Attempt int    `json:"attempt"`
	Lines   int64  `json:"lines"` // objects of that kind
	Bytes   int64  `json:"bytes"`
	Digest  string `json:"digest"` // of the bytes, but for what was left out
}

// A Sum is what there is in a file.
type Sum struct {
	Events  int64  `json:"events"`
	Outputs int64  `json:"outputs"`
	Lines   int64  `json:"lines"` // objects of that kind
	Bytes   int64  `json:"bytes"` // of output
	Digest  string `json:"digest"`
}

type endRecord struct {
	Kind string `json:"kind"`
	Sum
}

// String is the sum for a person.
func (s Sum) String() string {
	return fmt.Sprintf("%d lines (%d bytes) of %d outputs and %d events, %s", s.Lines, s.Bytes, s.Outputs, s.Events, s.Digest)
}
