package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/simulate"
	"github.com/piper-build/piper/starlark"
	"github.com/piper-build/piper/starlark/repl"
)

// commands are those of a repl that are about pipelines.
func (t *conversation) commands() []repl.Command {
	return []repl.Command{
		{Name: "doc", Args: "[NAME]", Doc: "explain a word of the language, or a function", Run: t.doc, Complete: t.docNames},
		{Name: "plan", Args: "[PIPELINE] [ENVIRONMENT] [NAME=VALUE...]", Doc: "show what a pipeline would do", Run: t.showPlan, Complete: t.pipelineNames},
		{Name: "run", Args: "STEP [PIPELINE] [NAME=VALUE...]", Doc: "run one step of a pipeline, or what an expression gives", Run: t.runStep, Complete: t.stepNames},
		{Name: "simulate", Args: "[PIPELINE] [NAME=VALUE...] [STEP:OUTCOME...]", Doc: "play a build; the outcome of an attempt is ok, fail, an exit code, timeout or OUTPUT=VALUE, with commas that of several", Run: t.simulate, Complete: t.simulateWords},
	}
}

// An order is the arguments of a command that plans.
type order struct {
	starlark.Question
	outcomes map[string][]simulate.Outcome
}

// order reads the arguments of a command. What was asked for on the command
// line of piper holds as far as the pipeline has use for it.
func (t *conversation) order(words []string) (order, error) {
	o := order{Question: starlark.Question{Pipeline: t.asked.Pipeline, Params: map[string]string{}}}
	given := map[string]string{}
	bare := 0
	for _, word := range words {
		if step, script, ok := strings.Cut(word, ":"); ok && !strings.Contains(step, "=") {
			if err := o.script(step, script); err != nil {
				return o, err
			}
			continue
		}
		if name, value, ok := strings.Cut(word, "="); ok {
			given[name] = value
			continue
		}
		switch bare++; bare {
		case 1:
			o.Pipeline = word
		case 2:
			o.Environment = word
		default:
			return o, usagef("unexpected argument %q", word)
		}
	}
	catalog := t.session.Catalog()
	for _, p := range catalog.Pipelines {
		if p.Name != pipelineName(catalog, repeatedWord(o.Pipeline)) {
			continue
		}
		for _, param := range p.Params {
			if value, ok := t.asked.Params[param.Name]; ok {
				o.Params[param.Name] = value
			}
		}
	}
	maps.Copy(o.Params, given)
	return o, nil
}

// repeatedWord is word as a list: none when it is empty.
func repeatedWord(word string) []string {
	if word == "" {
		return nil
	}
	return []string{word}
}

// script reads how the attempts of a step are to end.
func (o *order) script(step, script string) error {
	for word := range strings.SplitSeq(script, ",") {
		var outcome simulate.Outcome
		key, value, output := strings.Cut(word, "=")
		switch code, err := strconv.Atoi(word); {
		case output:
			outcome.Outputs = map[string]string{key: value}
		case word == "ok", err == nil && code == 0:
		case word == "timeout":
			outcome.State = build.TimedOut
		case word == "fail":
			code = 1
			fallthrough
		case err == nil && 0 < code && code < 256:
			outcome.State, outcome.Exit = build.Failed, &code
			outcome.Reason = fmt.Sprintf("exit %d", code)
		default:
			return &usageError{message: fmt.Sprintf("%s:%s: %q is no outcome", step, script, word), hint: "want ok, fail, an exit code, timeout or OUTPUT=VALUE"}
		}
		if o.outcomes == nil {
			o.outcomes = map[string][]simulate.Outcome{}
		}
		o.outcomes[step] = append(o.outcomes[step], outcome)
	}
	return nil
}

// doc explains a name.
func (t *conversation) doc(_ context.Context, args string) error {
	words := strings.Fields(args)
	if len(words) > 0 {
		if text := t.session.Doc(words[0]); text != "" {
			fmt.Fprintln(t.stdout, text)
			return nil
		}
		if word := t.session.Word(words[0]); word != "" {
			words = []string{word}
		}
	}
	picked, err := askedBuiltins(words)
	var unknown *usageError
	if errors.As(err, &unknown) {
		unknown.hint = didYouMean(nearest(words[0], append(t.session.Names(), builtinNames()...)), ":doc lists the words")
	}
	if err != nil {
		return err
	}
	return t.printBuiltins(words, picked)
}

// showPlan prints the plan of a pipeline.
func (t *conversation) showPlan(ctx context.Context, args string) error {
	o, err := t.order(strings.Fields(args))
	if err != nil {
		return err
	}
	result, err := t.session.Plan(ctx, o.Question)
	if err != nil {
		return err
	}
	t.warn()
	return writePlan(t.stdout, result.Plan)
}

// runStep runs a step of a pipeline, or else the steps that an expression is.
func (t *conversation) runStep(ctx context.Context, args string) error {
	words := strings.Fields(args)
	if len(words) == 0 {
		return usagef(":run needs a step")
	}
	var result starlark.Result
	var found bool
	o, wrong := t.order(words[1:])
	// What is planned may be asked for more after ctx is done, while the build
	// ends.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	keep := context.AfterFunc(ctx, end)
	var err error
	if wrong == nil && plan.ValidName(words[0]) { // or else it is an expression
		result, found, err = t.planWith(life, o.Question, words[0])
	}
	if err == nil && !found {
		result, err = t.session.PlanFlow(life, t.repl.InPlace(args), t.repl.Line(args))
		var wrong plan.Diagnostics
		if errors.As(err, &wrong) && wrong[0].Code == "undefined-name" && len(words) == 1 {
			return &usageError{
				message: fmt.Sprintf("no pipeline has a step %q", words[0]),
				hint:    didYouMean(nearest(words[0], t.stepNames(ctx, "")), ":plan lists the steps"),
			}
		}
	}
	keep()
	if err != nil {
		return err
	}
	return t.run(ctx, result, ":run "+args)
}

// planWith looks for a pipeline with a step of that name: the one that is asked
// for, or else each that can be planned. It returns the part of its plan that
// --only would leave.
func (t *conversation) planWith(ctx context.Context, q starlark.Question, step string) (result starlark.Result, found bool, err error) {
	names := []string{q.Pipeline}
	if q.Pipeline == "" {
		names = t.pipelineNames(ctx, "")
	}
	for _, name := range names {
		q.Pipeline = name
		result, err := t.session.Plan(ctx, q)
		if err != nil && len(names) == 1 {
			return result, true, err
		}
		if err != nil || !slices.Contains(stepNames(result.Plan), step) {
			continue
		}
		result.Plan, err = narrow(result.Plan, plan.Selection{Only: []string{step}})
		return result, true, err
	}
	return starlark.Result{}, false, ctx.Err()
}

// run runs what a line asked for, as exec does.
func (t *conversation) run(ctx context.Context, planned starlark.Result, line string) error {
	t.warn()
	e := t.execution
	e.life = ctx
	ctx, e.signals = catch(ctx)
	defer e.signals.stop()
	j := &job{plan: planned.Plan, expand: planned.Expand, question: t.question, args: []string{planned.Plan.Pipeline}, typed: line}
	code, err := e.runAll(ctx, j)
	if err != nil {
		return err
	}
	j.showTriggers(e.stderr)
	if code != exitOK {
		return exitStatus(code)
	}
	return nil
}

// simulate plays a build of a pipeline, and tells how it went.
func (t *conversation) simulate(ctx context.Context, args string) error {
	o, err := t.order(strings.Fields(args))
	if err != nil {
		return err
	}
	planned, err := t.session.Plan(ctx, o.Question)
	if err != nil {
		return err
	}
	t.warn()
	result, err := simulate.Run(ctx, planned.Plan, simulate.Options{Outcomes: o.outcomes, Expand: planned.Expand})
	var unknown *simulate.UnknownNodeError
	var left *simulate.LeftOverError
	var outcome *simulate.OutcomeError
	switch {
	case errors.As(err, &unknown):
		return &usageError{message: err.Error(), hint: didYouMean(unknown.Near, ":plan lists the steps")}
	case errors.As(err, &left), errors.As(err, &outcome):
		return usagef("%w", err)
	case err != nil:
		return err
	}
	b := result.Build
	fmt.Fprintf(t.stdout, "pipeline %s: %s after %s\n\n", b.Plan().Pipeline, b.State(), b.Ended().Sub(b.Started()).Round(time.Millisecond))
	w := tabwriter.NewWriter(t.stdout, 0, 0, 2, ' ', 0)
	for i, node := range b.Plan().Nodes {
		step := b.Node(i)
		remark := firstLine(step.Reason)
		if step.Attempt > 1 {
			remark = strings.TrimPrefix(fmt.Sprintf("%s; %d attempts", remark, step.Attempt), "; ")
		}
		row(w, node.Name, string(step.State), remark)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, triggered := range result.Triggered {
		fmt.Fprintf(t.stdout, "would trigger %s\n", triggerText(triggered.Trigger))
	}
	return nil
}

func (t *conversation) docNames(context.Context, string) []string {
	names := append(t.session.Names(), builtinNames()...)
	slices.Sort(names)
	return slices.Compact(names)
}

// pipelineNames returns the pipelines that there are, the one that is meant
// without a name first.
func (t *conversation) pipelineNames(context.Context, string) []string {
	catalog := t.session.Catalog()
	var names []string
	for _, p := range catalog.Pipelines {
		names = append(names, p.Name)
	}
	if i := slices.Index(names, pipelineName(catalog, repeatedWord(t.asked.Pipeline))); i > 0 {
		names = slices.Insert(slices.Delete(names, i, i+1), 0, catalog.Pipelines[i].Name)
	}
	return names
}

// stepNames returns the steps of all pipelines that can be planned.
func (t *conversation) stepNames(ctx context.Context, _ string) []string {
	var names []string
	for _, name := range t.pipelineNames(ctx, "") {
		o, err := t.order([]string{name})
		if err != nil {
			continue
		}
		if result, err := t.session.Plan(ctx, o.Question); err == nil {
			names = append(names, stepNames(result.Plan)...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// simulateWords returns what may follow :simulate.
func (t *conversation) simulateWords(ctx context.Context, word string) []string {
	step, _, outcome := strings.Cut(word, ":")
	if outcome {
		return []string{step + ":ok", step + ":fail", step + ":timeout"}
	}
	names := t.pipelineNames(ctx, "")
	for _, step := range t.stepNames(ctx, "") {
		names = append(names, step+":")
	}
	return names
}
