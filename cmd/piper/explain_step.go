package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/piper-build/piper/runtime/facts"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/runner"
	"github.com/piper-build/piper/starlark"
)

// A stepExplained is what there is to know about one node of a plan.
type stepExplained struct {
	Name        string            `json:"name"`
	Kind        string            `json:"kind"`
	Doc         string            `json:"doc,omitempty"`
	Pipeline    string            `json:"pipeline"`
	Pos         plan.Pos          `json:"pos,omitzero"`
	Stack       []plan.Frame      `json:"stack,omitempty"` // innermost first
	Groups      []string          `json:"groups,omitempty"`
	Needs       []string          `json:"needs"`     // nodes that must have ended
	NeededBy    []string          `json:"needed_by"` // nodes that wait for it
	Services    []string          `json:"services,omitempty"`
	UsedBy      []string          `json:"used_by,omitempty"` // of a service
	When        []string          `json:"when"`              // in words
	Does        string            `json:"does,omitempty"`    // of what is no step
	Environment string            `json:"environment,omitempty"`
	Requires    []needExplained   `json:"requires,omitempty"`
	Secrets     []secretExplained `json:"secrets,omitempty"`
	Takes       []plan.Output     `json:"takes,omitempty"` // what other steps wrote
	Argv        []string          `json:"argv,omitempty"`
	Dir         string            `json:"dir,omitempty"`
	Env         []string          `json:"env,omitempty"`
	Inputs      []plan.Input      `json:"inputs,omitempty"` // that the whole plan was made from
}

// A needExplained is a requirement and whether this machine meets it.
type needExplained struct {
	Wants string `json:"wants"`
	Of    string `json:"of"` // "step", or the name of an environment
	Met   bool   `json:"met"`
	Why   string `json:"why,omitempty"` // it is not met
}

// A secretExplained is a secret and the variable that a step finds it in.
type secretExplained struct {
	Name string `json:"name"`
	As   string `json:"as"`
}

// explainStep explains the node of that name.
func (e *explainer) explainStep(ctx context.Context, result starlark.Result, name string) (*stepExplained, error) {
	p := result.Plan
	n := &p.Nodes[slices.Index(p.NodeNames(), name)]
	x := &stepExplained{Name: n.Name, Kind: n.Kind(), Pipeline: p.Pipeline, Pos: n.Pos, Services: n.Services(), Inputs: p.Inputs}
	x.Stack = e.calls(ctx, p.Pipeline, n)
	x.Groups = groupsAround(p, n)
	x.Needs, x.NeededBy = neighbours(p, n)
	x.When = when(n)
	for i := range p.Nodes {
		if slices.Contains(p.Nodes[i].Services(), name) {
			x.UsedBy = append(x.UsedBy, p.Nodes[i].Name)
		}
	}
	x.Takes = n.Uses()
	if n.Step == nil {
		x.Does = nodeText(n)
		return x, nil
	}
	x.Doc = n.Step.Doc
	if n.IsService() {
		x.Does = serviceText(n.Step.Service)
	}
	where := p.EnvironmentOf(n.Step)
	if where != nil {
		x.Environment = environmentText(where)
	}
	if err := e.requirements(ctx, x, n, where); err != nil {
		return nil, err
	}
	x.Secrets = secretsOf(p, where, n)
	event := e.project.event(e.question)
	task, err := runner.Preview(runner.Options{Plan: p, Workspace: e.project.root, Commit: event.Commit, Branch: event.Branch, Environ: e.environ, PassEnv: e.passEnv}, name)
	if err != nil {
		return nil, err
	}
	x.Argv, x.Env = task.Argv, task.Env
	if where != nil && where.Kind == "temp_dir" {
		task.Workspace = "<copy of the tree>"
	}
	x.Dir = filepath.Join(task.Workspace, filepath.FromSlash(task.Dir))
	return x, nil
}

// groupsAround describes the groups that n stands in, the innermost first.
func groupsAround(p *plan.Plan, n *plan.Node) []string {
	var groups []string
	for name := n.Group; name != ""; {
		i := slices.IndexFunc(p.Groups, func(g plan.Group) bool { return g.Name == name })
		if i < 0 {
			break
		}
		g := &p.Groups[i]
		text := g.Name
		if kind, _, made := strings.Cut(text, "#"); made {
			text = fmt.Sprintf("%s (%s)", kind, g.Pos)
		}
		if g.Limit > 0 {
			text += fmt.Sprintf(", of which at most %d run at once", g.Limit)
		}
		if g.FailFast {
			text += ", where a failure stops the rest"
		}
		groups = append(groups, text)
		name = g.Group
	}
	return groups
}

// neighbours returns the nodes that n waits for, groups as what is in them, and
// those that wait for n.
func neighbours(p *plan.Plan, n *plan.Node) (before, after []string) {
	around := map[string]string{}
	for _, g := range p.Groups {
		around[g.Name] = g.Group
	}
	waitsFor := func(user, needed *plan.Node) bool {
		for group := needed.Group; group != ""; group = around[group] {
			if slices.Contains(user.Needs, group) {
				return true
			}
		}
		return slices.Contains(user.Needs, needed.Name)
	}
	before, after = []string{}, []string{}
	for i := range p.Nodes {
		other := &p.Nodes[i]
		if waitsFor(n, other) {
			before = append(before, other.Name)
		}
		if waitsFor(other, n) {
			after = append(after, other.Name)
		}
	}
	return before, after
}

// when says in sentences when n runs, and for how long.
func when(n *plan.Node) []string {
	var words []string
	say := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }
	switch {
	case n.IsService():
		say("before the first step that lists it, until the last has ended")
		say("it has %s to get ready", cmp.Or(n.Step.Service.ReadyTimeout, plan.DefaultReadyTimeout))
	case n.RunOn() == plan.Failure:
		say("when all that comes before has ended, and something failed")
	case n.RunOn() == plan.Always:
		say("when all that comes before has ended, however it did")
	default:
		say("when all that comes before has succeeded")
	}
	if n.AllowFailure() != "" {
		say("its failure does not fail the build: %s", n.AllowFailure())
	}
	s := n.Step
	if s == nil {
		return words
	}
	grace := cmp.Or(s.Grace, plan.DefaultGrace)
	switch {
	case n.IsService():
		say("it is stopped by SIGTERM, and SIGKILL after %s", grace)
	case s.Timeout > 0:
		say("for at most %s; then SIGTERM, and SIGKILL after %s", s.Timeout, grace)
	default:
		say("for as long as it takes; when the build is cancelled SIGTERM, and SIGKILL after %s", grace)
	}
	if r := s.Retry; r != nil && r.Attempts > 1 {
		text := fmt.Sprintf("%d attempts", r.Attempts)
		if r.Backoff > 0 {
			text += fmt.Sprintf(", the second one %s after the first, each wait after that twice as long (at most %s)", r.Backoff, plan.Duration(time.Hour))
		}
		if len(r.On) > 0 {
			text += "; only after " + retriedOn(r.On)
		}
		words = append(words, text)
	}
	if s.Concurrency != "" {
		say("one at a time with the other steps of concurrency %q", s.Concurrency)
	}
	if s.Once {
		say("not a second time when an agent was lost")
	}
	return words
}

func retriedOn(on []string) string {
	words := make([]string, len(on))
	for i, reason := range on {
		switch reason {
		case "timeout":
			words[i] = "a time-out"
		case "signal":
			words[i] = "a signal"
		default:
			words[i] = "exit " + reason
		}
	}
	return strings.Join(words, ", ")
}

// environmentText is an environment as "ci: container alpine".
func environmentText(v *plan.Environment) string {
	text := v.Name + ": " + v.Kind
	switch {
	case v.Image != "":
		text += " " + v.Image
	case v.Path != "":
		text += " " + v.Path
	}
	if v.Doc != "" {
		text += " (" + firstLine(v.Doc) + ")"
	}
	return text
}

// requirements asks this machine for what n and where it runs require.
func (e *explainer) requirements(ctx context.Context, x *stepExplained, n *plan.Node, where *plan.Environment) error {
	machine := &facts.Machine{Environ: e.environ}
	ask := func(of string, list []plan.Requirement) error {
		for _, r := range list {
			need := needExplained{Wants: facts.Describe(r), Of: of, Met: true}
			err := facts.Check(ctx, machine, []plan.Requirement{r})
			var unmet facts.Unmet
			switch {
			case errors.As(err, &unmet):
				need.Met, need.Why = false, unmet.Error()
			case err != nil:
				return err
			}
			x.Requires = append(x.Requires, need)
		}
		return nil
	}
	if where != nil {
		if err := ask(where.Name, where.Requires); err != nil {
			return err
		}
	}
	return ask("step", n.Step.Requires)
}

// secretsOf returns the secrets that n is given, each with its variable.
func secretsOf(p *plan.Plan, where *plan.Environment, n *plan.Node) []secretExplained {
	last := map[string]plan.Text{} // the strongest comes last
	names := []string{}
	add := func(env plan.Env) {
		for _, v := range env {
			if _, had := last[v.Name]; !had {
				names = append(names, v.Name)
			}
			last[v.Name] = v.Value
		}
	}
	add(p.Env)
	if where != nil {
		add(where.Env)
	}
	add(n.Step.Env)
	slices.Sort(names)
	var secrets []secretExplained
	for _, name := range names {
		for _, part := range last[name].Parts {
			if part.Secret != "" {
				secrets = append(secrets, secretExplained{part.Secret, name})
			}
		}
	}
	return secrets
}

// write prints x for people.
func (x *stepExplained) write(to io.Writer) error {
	w := newParagraphs(to)
	head := x.Kind + " " + x.Name + " of pipeline " + x.Pipeline
	if x.Doc != "" {
		head += ": " + x.Doc
	}
	w.head(head)
	defined := []string{x.Pos.String()}
	for _, f := range x.Stack {
		defined = append(defined, fmt.Sprintf("called from %s (%s)", f.Name, f.Pos))
	}
	w.lines("defined", defined...)
	w.lines("does", x.Does)
	w.lines("group", x.Groups...)
	w.words("waits for", x.Needs...)
	w.words("before", x.NeededBy...)
	w.words("services", x.Services...)
	w.words("used by", x.UsedBy...)
	w.lines("runs", x.When...)
	w.lines("environment", x.Environment)
	for _, need := range x.Requires {
		text := need.Wants
		if need.Of != "step" {
			text += ", for environment " + need.Of
		}
		if need.Met {
			w.lines("requires", text+": this machine has it")
		} else {
			w.lines("requires", text+": NOT MET, "+need.Why)
		}
	}
	for _, secret := range x.Secrets {
		w.lines("secrets", secret.Name+", as "+secret.As)
	}
	for _, output := range x.Takes {
		w.lines("takes", output.Key+" of "+output.Step)
	}
	argv := make([]string, len(x.Argv))
	for i, arg := range x.Argv {
		argv[i] = quoted(arg)
	}
	w.lines("argv", strings.Join(argv, " "))
	w.lines("dir", x.Dir)
	w.lines("env", x.Env...)
	w.inputs(x.Inputs)
	return w.Flush()
}
