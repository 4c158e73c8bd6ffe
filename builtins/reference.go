package builtins

import (
	"fmt"
	"slices"
	"strings"

	"github.com/piper-build/piper/runtime/plan"
)

// What one pipeline says of another one of the same project is held against it:
// the pipelines are all known when the first plan is made.

// here reports whether project, as a trigger or on.after names it, is this one.
func (e *Evaluation) here(project string) bool {
	return project == "" || e.project != nil && project == e.project.Name
}

// CheckAfter looks at the pipelines that on.after names. Call it when all are
// registered.
func (e *Evaluation) CheckAfter() {
	if len(e.problems) > 0 { // what is not there may be what could not be registered
		return
	}
	for _, p := range e.pipelines {
		for n, on := range p.On {
			if on.Kind != "after" || !e.here(on.Project) {
				continue
			}
			at := Problem{Call: p.call, Param: "on", Index: -1, Path: []any{n}}
			if other := e.Pipeline(on.Pipeline); other == nil {
				e.reportUnknown(p, at, on.Pipeline, `on.after(..., project = "other")`)
			} else if other == p {
				at.Code, at.Message = "endless", fmt.Sprintf("pipeline %s comes after itself, which never ends", quote(p.Name))
				e.reportMade(p, at)
			}
		}
	}
}

// checkTriggers looks at what the nodes of p's flow trigger, when nothing else is
// wrong: a pipeline that is not there may be one that could not be registered.
// What another commit or another project has to offer is not known here.
func (e *Evaluation) checkTriggers(p *Pipeline, nodes []*node) {
	if e.triggers == 0 {
		return
	}
	for _, n := range nodes {
		t := n.rest().Trigger
		if t == nil || t.Ref != "" || !e.here(t.Project) {
			continue
		}
		at := Problem{Call: n.call, Param: "pipeline", Index: 0}
		switch other := e.Pipeline(t.Pipeline); other {
		case nil:
			e.reportUnknown(n, at, t.Pipeline, `trigger(..., project = "other")`)
		case p:
			at.Code, at.Message = "endless", fmt.Sprintf("pipeline %s triggers itself, which never ends", quote(p.Name))
			e.reportMade(n, at)
		default:
			e.checkParams(n, other)
		}
	}
}

func (e *Evaluation) reportUnknown(made any, at Problem, name, elsewhere string) {
	names := make([]string, len(e.pipelines))
	for i, p := range e.pipelines {
		names[i] = p.Name
	}
	at.Code, at.Message = "unknown-pipeline", fmt.Sprintf("pipeline %s is not defined", quote(name))
	at.Hint = "one of another project is named with it: " + elsewhere
	if near, ok := plan.Nearest(name, names); ok {
		at.Hint = fmt.Sprintf("did you mean %s (%s)?", quote(near), positionText(e.Pipeline(near).Pos))
	}
	e.reportMade(made, at)
}

// checkParams holds what a trigger gives against what p takes.
func (e *Evaluation) checkParams(n *node, p *Pipeline) {
	pipeline := fmt.Sprintf("pipeline %s (%s)", quote(p.Name), positionText(p.Pos))
	given := make(map[string]bool)
	for _, v := range n.more.Trigger.Params {
		given[v.Name] = true
		at := Problem{Call: n.call, Param: "params", Index: -1, Path: []any{v.Name}}
		i := slices.IndexFunc(p.Params, func(q plan.Param) bool { return q.Name == v.Name })
		if i < 0 {
			at.Key, at.Code, at.Message = true, "unknown-param", fmt.Sprintf("%s has no parameter %s", pipeline, quote(v.Name))
			at.Hint = p.paramHint(v.Name)
			e.reportMade(n, at)
		} else if v.Value.Known() {
			if _, err := p.Params[i].Parse(v.Value.Literal); err != nil {
				at.Code, at.Message = "bad-param", fmt.Sprintf("%s: %v", pipeline, err)
				e.reportMade(n, at)
			}
		}
	}
	for _, q := range p.Params {
		if q.Required && !given[q.Name] {
			e.reportMade(n, Problem{Call: n.call, Index: -1, Code: "missing-param",
				Message: fmt.Sprintf("%s needs the parameter %s", pipeline, quote(q.Name)),
				Hint:    fmt.Sprintf("write params = {%s: ...}", quote(q.Name))})
		}
	}
}

// paramHint says which parameter of p a name may be meant for.
func (p *Pipeline) paramHint(name string) string {
	names := make([]string, len(p.Params))
	for i, q := range p.Params {
		names[i] = q.Name
	}
	if near, ok := plan.Nearest(name, names); ok {
		return fmt.Sprintf("did you mean %s?", quote(near))
	}
	if len(names) == 0 {
		return "it has none"
	}
	return "it has " + strings.Join(names, ", ")
}
