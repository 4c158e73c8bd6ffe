package main

import (
	"bufio"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/starlark"
)

// A planExplained is what there is to know about the plan of a pipeline.
type planExplained struct {
	Pipeline     string              `json:"pipeline"`
	Doc          string              `json:"doc,omitempty"`
	Project      plan.Project        `json:"project"`
	Pos          plan.Pos            `json:"pos,omitzero"`
	Digest       string              `json:"digest"`
	Params       map[string]any      `json:"params,omitempty"`
	On           []plan.On           `json:"on,omitempty"`
	Triggers     []string            `json:"triggers,omitempty"` // what it triggers, in words
	Nodes        map[string]int      `json:"nodes"`              // by kind, how many there are
	Timeout      plan.Duration       `json:"timeout,omitempty"`
	Concurrency  string              `json:"concurrency,omitempty"`
	Environment  string              `json:"environment,omitempty"` // of steps that name none
	Environments []string            `json:"environments,omitempty"`
	Secrets      map[string][]string `json:"secrets,omitempty"` // by name, the steps that are given it
	PassEnv      []string            `json:"pass_env,omitempty"`
	Inputs       []plan.Input        `json:"inputs"`
}

// explainPlan explains the plan that was made.
func (e *explainer) explainPlan(result starlark.Result) *planExplained {
	p := result.Plan
	x := &planExplained{Pipeline: p.Pipeline, Project: p.Project, Digest: p.Digest(), Params: p.Params, Nodes: map[string]int{},
		Timeout: p.Timeout, Concurrency: p.Concurrency, Environment: p.Environment, Secrets: map[string][]string{}, PassEnv: p.PassEnv, Inputs: p.Inputs}
	for _, entry := range result.Catalog.Pipelines {
		if entry.Name == p.Pipeline {
			x.Doc, x.Pos, x.On = entry.Doc, entry.Pos, entry.On
		}
	}
	for i := range p.Environments {
		x.Environments = append(x.Environments, environmentText(&p.Environments[i]))
	}
	for i := range p.Nodes {
		n := &p.Nodes[i]
		x.Nodes[n.Kind()]++
		if n.Trigger() != nil {
			x.Triggers = append(x.Triggers, triggerText(n.Trigger()))
		}
		if n.Step == nil {
			continue
		}
		for _, secret := range secretsOf(p, p.EnvironmentOf(n.Step), n) {
			x.Secrets[secret.Name] = append(x.Secrets[secret.Name], n.Name)
		}
	}
	return x
}

// onText is an entry of on as "push to main, release/*".
func onText(on plan.On) string {
	text := on.Kind
	add := func(word string, list ...string) {
		if list = slices.DeleteFunc(list, func(s string) bool { return s == "" }); len(list) > 0 {
			text += " " + word + strings.Join(list, ", ")
		}
	}
	add("", slices.Clone(on.Tags)...)
	add("to ", slices.Clone(on.Branches)...)
	add("that changes ", slices.Clone(on.Paths)...)
	add("", on.Schedule)
	add("", on.Name)
	add("", on.Pipeline)
	add("of ", on.Project)
	add("that is ", on.State)
	return text
}

// write prints x for people.
func (x *planExplained) write(to io.Writer) error {
	w := newParagraphs(to)
	head := "pipeline " + x.Pipeline
	if x.Project.Name != "" {
		head += " of project " + x.Project.Name
	}
	if x.Doc != "" {
		head += ": " + firstLine(x.Doc)
	}
	w.head(head)
	w.lines("defined", x.Pos.String())
	w.lines("digest", x.Digest)
	for _, name := range slices.Sorted(maps.Keys(x.Params)) {
		w.lines("params", name+"="+plan.FormatParam(x.Params[name]))
	}
	for _, on := range x.On {
		w.lines("started by", onText(on))
	}
	w.lines("triggers", x.Triggers...)
	var counts []string
	for _, kind := range slices.Sorted(maps.Keys(x.Nodes)) {
		counts = append(counts, counted(x.Nodes[kind], kind))
	}
	w.words("holds", counts...)
	if x.Timeout > 0 {
		w.lines("runs", "for at most "+x.Timeout.String())
	}
	if x.Concurrency != "" {
		w.lines("runs", "one build at a time of concurrency "+x.Concurrency)
	}
	w.lines("environment", x.Environment)
	w.lines("uses", x.Environments...)
	for _, name := range slices.Sorted(maps.Keys(x.Secrets)) {
		w.words("secrets", name+" for "+strings.Join(x.Secrets[name], ", "))
	}
	w.words("pass_env", x.PassEnv...)
	w.inputs(x.Inputs)
	return w.Flush()
}

// Paragraphs are lines with a label in front of the first of each kind.
type paragraphs struct {
	*bufio.Writer
	last string
}

func newParagraphs(w io.Writer) *paragraphs { return &paragraphs{Writer: bufio.NewWriter(w)} }

func (p *paragraphs) head(text string) { p.WriteString(text + "\n\n") }

// lines writes a line for each text that is not empty, and one for each line in
// it.
func (p *paragraphs) lines(label string, texts ...string) {
	const width = len("environment  ")
	for _, text := range texts {
		if text == "" {
			continue
		}
		for line := range strings.SplitSeq(text, "\n") {
			shown := label
			if label == p.last {
				shown = ""
			}
			p.last = label
			p.WriteString(shown + strings.Repeat(" ", width-len(shown)) + line + "\n")
		}
	}
}

// words writes texts on one line.
func (p *paragraphs) words(label string, texts ...string) {
	p.lines(label, strings.Join(texts, ", "))
}

// inputs says what a plan was made from, by kind.
func (p *paragraphs) inputs(list []plan.Input) {
	var kinds []string
	byKind := map[string][]string{}
	for _, in := range list {
		if byKind[in.Kind] == nil {
			kinds = append(kinds, in.Kind)
		}
		byKind[in.Kind] = append(byKind[in.Kind], in.Key)
	}
	for _, kind := range kinds {
		keys := byKind[kind]
		const most = 20
		if len(keys) > most {
			keys = append(keys[:most:most], "…")
		}
		p.lines("made from", kind+" "+strings.Join(keys, ", "))
	}
}
