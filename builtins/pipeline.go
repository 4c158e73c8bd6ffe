package builtins

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/piper-build/piper/runtime/plan"
)

// A project is what project(...) said.
type project struct {
	plan.Project
	call syntax.Position
}

// A Pipeline is one registered pipeline, with the flow that its entry of the
// catalog does not hold.
type Pipeline struct {
	plan.Pipeline
	ev    *Evaluation
	call  syntax.Position
	flow  starlark.Value    // steps; nil when there is an impl
	impl  starlark.Callable // nil when there are steps
	where *environment      // the environment given as a value
	rest  plan.Plan         // what a plan takes over as it is
}

// problem reports what is wrong with the argument param of p's definition.
func (p *Pipeline) problem(param, code, message, hint string) {
	p.ev.reportMade(p, Problem{Call: p.call, Param: param, Index: -1, Code: code, Message: message, Hint: hint})
}

// mayRegister reports whether the root file's top level runs, and says so when
// it does not.
func (c *call) mayRegister() bool {
	if !c.ev.MayRegister {
		p := Problem{Index: -1, Code: "not-at-top-level",
			Message: fmt.Sprintf("%s may only be called while the top level of the root file runs", c.Name),
			Hint:    "a loaded file offers functions and values; PIPER.star calls " + c.Name}
		if c.ev.planning {
			p.Hint = "impl returns the steps of its own pipeline; call " + c.Name + " at the top level"
		}
		c.report(p)
	}
	return c.ev.MayRegister
}

func makeProject(c *call) (starlark.Value, error) {
	const name, version, piper = 0, 1, 2
	p := &project{call: c.site()}
	p.Name, p.Version, p.Piper = c.str(name), c.str(version), c.str(piper)
	c.checkName(name, p.Name)
	if p.Piper != "" {
		switch ok, err := satisfies(c.ev.Piper, p.Piper); {
		case err != nil:
			c.badHint(piper, nil, "bad-value", `write ">=0.1"`, "piper is %s, which is not a condition on versions", quote(p.Piper))
		case !ok:
			c.badHint(piper, nil, "wrong-piper", "install another version of piper", "this project wants piper %s, and this is %s", p.Piper, c.ev.Piper)
		}
	}
	switch {
	case !c.mayRegister():
	case c.ev.project != nil && !c.ev.Replace:
		c.report(Problem{Index: -1, Code: "duplicate-name",
			Message: fmt.Sprintf("project is called twice (first at %s)", positionText(c.ev.position(c.ev.project.call)))})
	default:
		c.ev.project = p
	}
	return starlark.None, nil
}

// The parameters of pipeline, in the table's order.
const (
	pipelineName = iota
	pipelineDoc
	pipelineSteps
	pipelineImpl
	pipelineParams
	pipelineOn
	pipelineEnv
	pipelinePassEnv
	pipelineEnvironment
	pipelineTimeout
	pipelineQueueTimeout
	pipelineConcurrency
	pipelinePriority
)

func makePipeline(c *call) (starlark.Value, error) {
	p := &Pipeline{ev: c.ev, call: c.site()}
	p.Name, p.Doc, p.Pos = c.str(pipelineName), c.str(pipelineDoc), c.ev.position(c.site())
	c.made(p)
	named := c.wrong == 0
	c.checkName(pipelineName, p.Name)
	p.flow = c.steps(pipelineSteps)
	p.impl = c.function(pipelineImpl, "ctx")
	switch {
	case c.given(pipelineSteps) && c.given(pipelineImpl):
		c.bad(pipelineImpl, nil, "bad-value", "steps and impl exclude each other")
	case !c.given(pipelineSteps) && !c.given(pipelineImpl) && named:
		c.report(Problem{Index: -1, Code: "missing-argument", Message: "pipeline needs steps or impl", Hint: "write steps = [...]"})
	}
	p.Params = c.params(pipelineParams)
	p.On = c.on(pipelineOn)
	p.rest = plan.Plan{
		Env:          c.settled(c.env(pipelineEnv, true), pipelineEnv),
		PassEnv:      c.variables(pipelinePassEnv),
		Timeout:      c.duration(pipelineTimeout),
		QueueTimeout: c.duration(pipelineQueueTimeout),
		Concurrency:  c.str(pipelineConcurrency),
		Priority:     c.int(pipelinePriority, -1000, 1000),
	}
	if c.given(pipelineEnvironment) {
		p.rest.Environment, p.where = c.environment(pipelineEnvironment)
	}
	if !c.mayRegister() || p.Name == "" {
		return starlark.None, nil
	}
	if had := c.ev.Pipeline(p.Name); had != nil {
		if replace(c.ev, c.ev.pipelines, had, p) {
			return starlark.None, nil
		}
		c.bad(pipelineName, nil, "duplicate-name", "there are two pipelines named %s (the other is defined at %s)", quote(p.Name), positionText(had.Pos))
		return starlark.None, nil
	}
	c.ev.pipelines = append(c.ev.pipelines, p)
	return starlark.None, nil
}

// steps returns argument i, a flow.
func (c *call) steps(i int) starlark.Value {
	switch v := c.args[i].(type) {
	case nil, starlark.NoneType:
		return nil
	case *starlark.List, starlark.Tuple, *node, *group:
		return v
	case starlark.Callable:
		c.badHint(i, nil, "wrong-type", "write impl = "+v.Name(), "steps is a function, want a list of steps")
	default:
		c.badHint(i, nil, "wrong-type", `write steps = [step("name", run = "...")]`, "steps is %s, want a list of steps", typeName(v))
	}
	return starlark.NewList(nil)
}

// function returns argument i, which takes the parameters of these names.
func (c *call) function(i int, params ...string) starlark.Callable {
	if !c.given(i) {
		return nil
	}
	f, ok := c.args[i].(starlark.Callable)
	if !ok {
		hint := "write the name of a function, without ()"
		switch c.args[i].(type) {
		case *starlark.List, starlark.Tuple, *node, *group:
			hint = fmt.Sprintf("write %s = lambda %s: [...]", c.Params[i].Name, strings.Join(params, ", "))
			if c.Name == "pipeline" {
				hint = "write steps = [...], or " + strings.TrimPrefix(hint, "write ")
			}
		}
		c.badHint(i, nil, "wrong-type", hint, "%s is %s, want a function", c.Params[i].Name, typeName(c.args[i]))
		return nil
	}
	if def, ok := f.(*starlark.Function); ok && !takes(def, len(params)) {
		hint := fmt.Sprintf("write def %s(%s):", def.Name(), strings.Join(params, ", "))
		if def.Name() == "lambda" {
			hint = fmt.Sprintf("write lambda %s: ...", strings.Join(params, ", "))
		}
		c.badHint(i, nil, "bad-value", hint, "%s takes %s, want %s", def.Name(), count(def.NumParams(), "parameter"), strings.Join(params, " and "))
		return nil
	}
	return f
}

// takes reports whether def can be called with n positional arguments.
func takes(def *starlark.Function, n int) bool {
	positional := def.NumParams() - def.NumKwonlyParams()
	if def.HasKwargs() {
		positional--
	}
	if def.HasVarargs() {
		positional--
	}
	required := 0
	for i := range def.NumParams() {
		if name, _ := def.Param(i); name != "" && def.ParamDefault(i) == nil {
			required++
		}
	}
	return required <= n && (n <= positional || def.HasVarargs())
}

// variables returns argument i, names of environment variables or globs of
// them.
func (c *call) variables(i int) []string {
	list := c.strs(i)
	for n, s := range list {
		if why := badVariable(strings.ReplaceAll(s, "*", "_")); why != "" && !strings.HasPrefix(s, "PIPER") {
			c.bad(i, []any{n}, "bad-name", "%s %s", quote(s), why)
		} else if why != "" {
			c.bad(i, []any{n}, "bad-name", "%s belongs to piper, which sets it itself", quote(s))
		}
	}
	return list
}

// Pipelines returns what was registered, in the order in which it was written.
func (e *Evaluation) Pipelines() []*Pipeline { return e.pipelines }

// Pipeline returns the registered pipeline of that name, or nil.
func (e *Evaluation) Pipeline(name string) *Pipeline {
	i := slices.IndexFunc(e.pipelines, func(p *Pipeline) bool { return p.Name == name })
	if i < 0 {
		return nil
	}
	return e.pipelines[i]
}

// RegisterMain makes a function main(ctx), defined at pos, the pipeline
// "default".
func (e *Evaluation) RegisterMain(main *starlark.Function) {
	if !takes(main, 1) {
		e.report(Problem{Call: main.Position(), Index: -1, Code: "bad-value", Hint: "write def main(ctx):",
			Message: fmt.Sprintf("main takes %s, want ctx", count(main.NumParams(), "parameter"))})
		return
	}
	p := &Pipeline{ev: e, call: main.Position(), impl: main}
	p.Name, p.Doc, p.Pos = "default", main.Doc(), e.position(main.Position())
	e.pipelines = append(e.pipelines, p)
}

// Ignored reports whether main looks like a pipeline, main(ctx), and is none as
// others were registered.
func (e *Evaluation) Ignored(main *starlark.Function) bool {
	if main.NumParams() != 1 {
		return false
	}
	name, _ := main.Param(0)
	return name == "ctx" && !slices.ContainsFunc(e.pipelines, func(p *Pipeline) bool { return p.impl == main })
}

// Catalog returns what was registered.
func (e *Evaluation) Catalog() plan.Catalog {
	c := plan.Catalog{Pipelines: []plan.Pipeline{}}
	if e.project != nil {
		c.Project = e.project.Project
	}
	for _, p := range e.pipelines {
		c.Pipelines = append(c.Pipelines, p.Pipeline)
	}
	for _, env := range e.environments {
		c.Environments = append(c.Environments, env.Environment)
	}
	return c
}

// Sound reports whether nothing was found to be wrong by the top level and since
// the last call of Plan or Expand began: so that it is worth while to look at
// what came of that.
func (e *Evaluation) Sound() bool { return e.reports == 0 }

// Plan evaluates p with params, each of which p declares, and returns its plan.
// environment replaces p's own unless it is "". An error is the interpreter's;
// everything else that is wrong is among e.Problems. No check of the whole plan
// is made. Each call begins with what the top level left.
func (e *Evaluation) Plan(thread *starlark.Thread, p *Pipeline, params map[string]any, environment string, maxNodes int) (*plan.Plan, error) {
	if e.top == nil {
		e.top = &scope{marked: slices.Clip(e.marked), environments: slices.Clip(e.environments), seen: e.seen}
		e.wrong = e.reports
	}
	e.marked, e.environments, e.seen, e.expands = e.top.marked, e.top.environments, maps.Clone(e.top.seen), nil
	e.reports = e.wrong
	out := p.rest
	out.Format, out.Pipeline, out.Params = plan.Format, p.Name, params
	if e.project != nil {
		out.Project = e.project.Project
	}
	flow := p.flow
	if p.impl != nil {
		var err error
		e.planning = true
		flow, err = starlark.Call(thread, p.impl, starlark.Tuple{e.context(params)}, nil)
		if err != nil {
			return nil, err
		}
		if flow == starlark.None {
			p.problem("impl", "wrong-type", fmt.Sprintf("%s returned None, want the steps of pipeline %s", p.impl.Name(), quote(p.Name)), "end it with: return [...]")
			flow = nil
		}
	}
	f := &flattening{ev: e, pipeline: p, max: maxNodes}
	if flow != nil {
		f.flatten(&out, flow)
	}
	if e.Sound() {
		e.checkTriggers(p, f.nodes)
	}
	e.place(&out, p, environment, f.nodes)
	out.Inputs = e.seen.inputs()
	e.keep(&scope{flow: f, params: params, marked: e.marked, environments: e.environments, seen: e.seen})
	return &out, nil
}
