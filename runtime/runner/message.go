package runner

import (
	"bytes"
	"encoding/json"
	"errors"
	"time"

	"github.com/piper-build/piper/runtime"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
)

// How a child and its parent talk: the child hears a Job and then messages, and
// says a stream (package stream) with messages in it.

// The kinds of messages.
const (
	// From the child.
	ask      = "ask"      // a question, to be answered by its ID
	withdraw = "withdraw" // nobody needs that answer any more; it is to come all the same
	report   = "report"   // Text is what Options.Report is told
	exited   = "exited"   // the last line: nothing of the build runs any more; Error is Run's

	// From the parent.
	answer = "answer" // to a question
	made   = "made"   // of a trigger: it has made the build Child
	cancel = "cancel" // see runtime.Cancel
)

// What a child asks.
const (
	askApprove = "approve"
	askTrigger = "trigger"
	askExpand  = "expand"
	askIntend  = "intend"
	askFiles   = "files"
)

// A message is a line of either side that is no event and no output. A kind
// that does not use a field leaves it out.
type message struct {
	Kind string `json:"kind"`
	ID   int64  `json:"id,omitempty"` // of the question that it is or belongs to

	What    string            `json:"what,omitempty"`
	Node    string            `json:"node,omitempty"`
	Params  map[string]string `json:"params,omitempty"`  // of a trigger
	Outputs map[string]string `json:"outputs,omitempty"` // that an expand gets

	Approval    runtime.Approval `json:"approval,omitzero"`
	State       build.State      `json:"state,omitempty"`
	Child       build.ID         `json:"child,omitempty"`
	Expansion   plan.Expansion   `json:"expansion,omitzero"`
	Secrets     secretValues     `json:"secrets,omitempty"` // of the expansion
	Files       []byte           `json:"files,omitempty"`   // a list
	Error       string           `json:"error,omitempty"`
	Diagnostics plan.Diagnostics `json:"diagnostics,omitempty"` // that the error is

	Cancel runtime.Cancel `json:"cancel,omitzero"`
	Text   string         `json:"text,omitempty"`
}

// failed makes err the error of m, ready to be sent.
func (m *message) failed(err error) {
	if err != nil {
		m.Error = err.Error()
		errors.As(err, &m.Diagnostics)
	}
}

// err is what was given to failed, as far as anybody asks.
func (m *message) err() error {
	switch {
	case m.Error == "":
		return nil
	case len(m.Diagnostics) > 0:
		return &sent{m.Error, m.Diagnostics}
	}
	return errors.New(m.Error)
}

// sent is an error that came with diagnostics.
type sent struct {
	text string
	is   plan.Diagnostics
}

func (e *sent) Error() string { return e.text }
func (e *sent) Unwrap() error { return e.is }

// A jobLine is the line that a child hears first. What may be no UTF-8 is in
// bytes, as JSON would not keep it.
type jobLine struct {
	Plan      json.RawMessage          `json:"plan"` // for plan.Decode
	Workspace []byte                   `json:"workspace"`
	ID        build.ID                 `json:"id,omitempty"`
	Commit    string                   `json:"commit,omitempty"`
	Branch    string                   `json:"branch,omitempty"`
	Parallel  int                      `json:"parallel,omitempty"`
	MaxNodes  int                      `json:"max_nodes,omitempty"`
	Environ   []byte                   `json:"environ,omitempty"` // a list
	PassEnv   []string                 `json:"pass_env,omitempty"`
	Keep      bool                     `json:"keep,omitempty"`
	Temp      string                   `json:"temp,omitempty"`
	History   map[string]time.Duration `json:"history,omitempty"`
	Facts     map[string]string        `json:"facts,omitempty"`
	Secrets   secretValues             `json:"secrets,omitempty"`
	Files     bool                     `json:"files,omitempty"` // there is somebody to ask for them
}

// line is j, ready to be sent.
func (j *Job) line() jobLine {
	return jobLine{
		Plan: j.Plan.Canonical(), Workspace: []byte(j.Workspace), ID: j.ID, Commit: j.Commit, Branch: j.Branch,
		Parallel: j.Parallel, MaxNodes: j.MaxNodes, Environ: list(j.Environ), PassEnv: j.PassEnv, Keep: j.Keep, Temp: j.Temp,
		History: j.History, Facts: j.Facts, Secrets: sendSecrets(j.Secrets), Files: j.Files != nil,
	}
}

// options are those that were sent, but for the secrets.
func (l *jobLine) options() (Options, error) {
	p, err := plan.Decode(l.Plan)
	return Options{
		Plan: p, Workspace: string(l.Workspace), ID: l.ID, Commit: l.Commit, Branch: l.Branch,
		Parallel: l.Parallel, MaxNodes: l.MaxNodes, Environ: unlist(l.Environ), PassEnv: l.PassEnv, Keep: l.Keep, Temp: l.Temp,
		History: l.History, Facts: l.Facts,
	}, err
}

// secretValues are secrets by name. A value need not be UTF-8.
type secretValues map[string][]byte

func sendSecrets(values map[string]string) secretValues {
	sent := make(secretValues, len(values))
	for name, value := range values {
		sent[name] = []byte(value)
	}
	return sent
}

// list makes one text of many, none of which has a NUL or need be UTF-8.
func list(texts []string) []byte {
	var b []byte
	for _, text := range texts {
		b = append(append(b, text...), 0)
	}
	return b
}

func unlist(b []byte) (texts []string) {
	for text := range bytes.SplitAfterSeq(b, []byte{0}) {
		if text, ok := bytes.CutSuffix(text, []byte{0}); ok {
			texts = append(texts, string(text))
		}
	}
	return texts
}
