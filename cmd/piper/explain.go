package main

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/starlark"
)

// An explainer is one call of piper explain.
type explainer struct {
	*app
	question *question
	passEnv  []string
	asJSON   bool
	project  *project
}

func (a *app) explainCommand() *command {
	c := a.newCommand("explain", "[pipeline] [step] [flags]")
	c.ShortHelp = "Explain a step, or the plan of a pipeline."
	c.LongHelp = `Of a step: where it is defined and from where that was called, what it waits
for and what waits for it, when it runs, where, with which secrets, whether this
machine has what it requires, and the exact command and environment. Of a plan:
what it was made from, what starts it, and what it uses.

A single word is a step of the pipeline that is meant without a name, or else a
pipeline, or else a step of another one. Nothing is run.`
	c.examples = `
piper explain                # the plan
piper explain unit           # one of its steps
piper explain release publish -p version=v1.2
piper explain unit --json
`
	e := &explainer{app: a, question: c.asks()}
	c.FlagSet.Var(&listValue{&e.passEnv, true, passable}, "pass-env", "let the environment variables `NAMES` through to every step, as exec does; * and commas allowed")
	c.FlagSet.BoolVar(&e.asJSON, "json", false, "print a JSON object")
	c.max, c.args = 2, explainWords
	c.Exec = e.run
	return c
}

// run carries out the command.
func (e *explainer) run(ctx context.Context, args []string) error {
	if e.asJSON {
		e.problems = asArray
	}
	var err error
	if e.project, err = e.openProject(ctx, e.question.file); err != nil {
		return err
	}
	result, step, err := e.find(ctx, args)
	if err != nil {
		return err
	}
	if step == "" {
		x := e.explainPlan(result)
		if e.asJSON {
			return e.printJSON(x)
		}
		return x.write(e.stdout)
	}
	x, err := e.explainStep(ctx, result, step)
	if err != nil {
		return err
	}
	if e.asJSON {
		return e.printJSON(x)
	}
	return x.write(e.stdout)
}

// find plans the pipeline that args are about. step is "" when they are about
// all of it.
func (e *explainer) find(ctx context.Context, args []string) (result starlark.Result, step string, err error) {
	var pipeline []string
	switch {
	case len(args) == 2:
		pipeline, step = args[:1], args[1]
	case len(args) == 1:
		name, isStep, err := e.meant(ctx, args[0])
		if err != nil {
			return result, "", err
		}
		pipeline = []string{name}
		if isStep {
			step = args[0]
		}
	}
	result, err = e.planned(ctx, e.project, e.question, pipeline)
	if err == nil && step != "" && !hasNode(result.Plan, step) {
		err = &usageError{
			message: fmt.Sprintf("pipeline %q has no step %q", result.Plan.Pipeline, step),
			hint:    didYouMean(nearest(step, result.Plan.NodeNames()), fmt.Sprintf("\"piper plan %s\" lists its steps", result.Plan.Pipeline)),
		}
	}
	return result, step, err
}

// meant returns the pipeline that word is about, and whether word is a step of
// it: one of the pipeline that is meant without a name, or else of another one
// unless it is the name of a pipeline.
func (e *explainer) meant(ctx context.Context, word string) (pipeline string, isStep bool, err error) {
	quiet := *e.app // the one that is explained in the end is not
	quiet.stderr = io.Discard
	catalog, err := quiet.catalog(ctx, e.question)
	if err != nil {
		return "", false, err
	}
	usual := pipelineName(catalog, nil)
	var names, steps []string
	broken := ""
	for _, p := range catalog.Pipelines {
		names = append(names, p.Name)
	}
	slices.SortStableFunc(names, func(a, b string) int { // the usual one first, then what may be no step at all
		rank := func(name string) int {
			switch name {
			case usual:
				return 0
			case word:
				return 1
			}
			return 2
		}
		return rank(a) - rank(b)
	})
	for _, name := range names {
		result, err := quiet.planned(ctx, e.project, e.question, []string{name})
		switch {
		case err == nil && hasNode(result.Plan, word):
			return name, true, nil
		case name == word:
			return name, false, nil
		case err != nil && name == usual:
			return name, true, nil // to be told what is wrong with it
		case err == nil:
			steps = append(steps, result.Plan.NodeNames()...)
		case broken == "":
			broken = name
		}
	}
	message, hint := fmt.Sprintf("there is no step and no pipeline %q", word), `"piper list" lists the pipelines, "piper plan" the steps of one`
	if broken != "" {
		message += fmt.Sprintf(", as far as is known: pipeline %q cannot be planned", broken)
		hint = fmt.Sprintf(`"piper explain %s" says why`, quoted(broken))
	}
	return "", false, &usageError{message: message, hint: didYouMean(nearest(word, append(steps, names...)), hint)}
}

func hasNode(p *plan.Plan, name string) bool { return slices.Contains(p.NodeNames(), name) }

// calls returns the calls that led to n, the innermost first, without that of
// step itself. They are not in a plan, and an evaluation in another process does
// not hand them out: then there are none.
func (e *explainer) calls(ctx context.Context, pipeline string, n *plan.Node) []plan.Frame {
	if e.isolate {
		return nil
	}
	r, err := e.request(e.project, e.question)
	if err != nil {
		return nil
	}
	r.Print = nil // it has printed
	session, err := starlark.Open(r)
	if err != nil {
		return nil
	}
	defer session.Close()
	if session.Reload(ctx) != nil {
		return nil
	}
	if _, err := session.Plan(ctx, starlark.Question{Pipeline: pipeline, Params: r.Params}); err != nil {
		return nil
	}
	frames := session.CallsOf(n.Name, n.Pos)
	slices.Reverse(frames)
	return slices.DeleteFunc(frames, func(f plan.Frame) bool { return f.Pos == n.Pos })
}

// explainWords offers the steps of the usual pipeline and the pipelines, and
// then the steps of the pipeline that was typed.
func explainWords(ctx context.Context, l *line) []candidate {
	if len(l.args) > 1 {
		return nil
	}
	var found []candidate
	project, err := l.openProject(ctx, l.question().file)
	if err != nil {
		return nil
	}
	if p, err := l.plan(ctx, project, l.question(), l.args); err == nil {
		for i := range p.Nodes {
			c := candidate{value: p.Nodes[i].Name}
			if step := p.Nodes[i].Step; step != nil {
				c.doc = step.Doc
			}
			found = append(found, c)
		}
	}
	if len(l.args) == 0 {
		found = append(found, pipelineWords(ctx, l)...)
	}
	return found
}
