package plan

import "time"

// A Catalog is what a PIPER.star registers at its top level, before any
// pipeline is evaluated: enough to list, to complete a command line and to
// draw a form.
type Catalog struct {
	Project      Project       `json:"project"`
	Pipelines    []Pipeline    `json:"pipelines"` // in the order they were written
	Environments []Environment `json:"environments,omitempty"`
}

// A Pipeline is one entry of a Catalog.
type Pipeline struct {
	Name   string  `json:"name"`
	Doc    string  `json:"doc,omitempty"`
	Params []Param `json:"params,omitempty"` // in the order they were written
	On     []On    `json:"on,omitempty"`
	Pos    Pos     `json:"pos,omitzero"`
}

// Complete reports whether params has all that p requires.
func (p *Pipeline) Complete(params map[string]string) bool {
	for i := range p.Params {
		if _, given := params[p.Params[i].Name]; p.Params[i].Required && !given {
			return false
		}
	}
	return true
}

// A Param is a typed parameter of a pipeline.
type Param struct {
	Name     string   `json:"name"`
	Type     string   `json:"type"` // "string", "int", "bool", "enum" or "list"
	Doc      string   `json:"doc,omitempty"`
	Default  any      `json:"default,omitempty"` // string, bool, int64 or []string; nil when there is none
	Required bool     `json:"required,omitempty"`
	Pattern  string   `json:"pattern,omitempty"` // an RE2 expression that a string, or each member of a list, must match; ^ and $ make that the whole of it
	Choices  []string `json:"choices,omitempty"`
}

// An On says which events start a pipeline by themselves.
type On struct {
	Kind     string   `json:"kind"` // "push", "tag", "change_request", "cron", "webhook", "manual" or "after"
	Branches []string `json:"branches,omitempty"`
	Tags     []string `json:"tags,omitempty"`
	Paths    []string `json:"paths,omitempty"`
	Schedule string   `json:"schedule,omitempty"` // cron
	Overlap  string   `json:"overlap,omitempty"`  // cron
	CatchUp  string   `json:"catch_up,omitempty"` // cron
	Name     string   `json:"name,omitempty"`     // webhook
	Pipeline string   `json:"pipeline,omitempty"` // after
	Project  string   `json:"project,omitempty"`  // after
	State    string   `json:"state,omitempty"`    // after
}

// An Event is what a pipeline is evaluated for.
type Event struct {
	Kind    string    `json:"kind"` // as On.Kind; "" is "manual"
	Branch  string    `json:"branch,omitempty"`
	Tag     string    `json:"tag,omitempty"`
	Commit  string    `json:"commit,omitempty"`
	Base    string    `json:"base,omitempty"` // the branch or commit a change is held against
	Number  int       `json:"number,omitempty"`
	Title   string    `json:"title,omitempty"`
	Author  string    `json:"author,omitempty"`
	Payload string    `json:"payload,omitempty"` // a webhook's body
	Time    time.Time `json:"time,omitzero"`
}
