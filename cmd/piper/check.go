package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/piper-build/piper/runtime/plan"
)

func (a *app) checkCommand() *command {
	c := a.newCommand("check", "[pipeline] [flags]")
	c.ShortHelp = "Look for mistakes in the PIPER.star, and in what it loads."
	c.LongHelp = `Every pipeline is planned, or the one that is named. A pipeline with a required
parameter is planned only when --param gives it. Nothing is run. What is allowed,
and most likely a mistake or a danger, is found by "piper lint".`
	c.examples = `
piper check
piper check release --param version=v1.2
piper check --json   # diagnostics for an editor
`
	q := c.asks()
	asJSON := c.FlagSet.Bool("json", false, "print a JSON array of diagnostics")
	c.max, c.args = 1, pipelineWords
	c.Exec = func(ctx context.Context, args []string) error {
		found, planned, left, err := a.check(ctx, q, args)
		if err != nil {
			return err
		}
		failed := slices.ContainsFunc(found, func(d plan.Diagnostic) bool { return d.Severity == "error" })
		switch {
		case *asJSON:
			if err := a.printJSON(append(plan.Diagnostics{}, found...)); err != nil {
				return err
			}
		case failed:
			return found
		default:
			if len(found) > 0 {
				a.report(found)
			}
			if len(planned) > 0 {
				fmt.Fprintf(a.stdout, "ok: %s\n", strings.Join(planned, ", "))
			}
			if len(left) > 0 {
				fmt.Fprintf(a.stdout, "not planned, for want of a required parameter (--param NAME=VALUE): %s\n", strings.Join(left, ", "))
			}
		}
		if failed {
			return exitStatus(exitUsage)
		}
		return nil
	}
	return c
}

// check evaluates the catalog and every pipeline that can be planned, or the
// named one, and gathers what is wrong. It returns the pipelines that were
// planned, and those that were left out for want of a parameter.
func (a *app) check(ctx context.Context, q *question, args []string) (found plan.Diagnostics, planned, left []string, err error) {
	p, err := a.openProject(ctx, q.file)
	if err != nil {
		return nil, nil, nil, err
	}
	r, err := a.request(p, q)
	if err != nil {
		return nil, nil, nil, err
	}
	if len(args) > 0 {
		r.Pipeline = args[0]
	} else {
		r.All = true
	}
	result, err := a.evaluator()(ctx, r)
	if err != nil && !errors.As(err, &found) {
		return nil, nil, nil, err
	}
	if r.All && len(found) == 0 {
		planned, left, err = divide(result.Catalog.Pipelines, r.Params)
		if err != nil {
			return nil, nil, nil, err
		}
	} else if result.Plan != nil {
		planned = []string{result.Plan.Pipeline}
	}
	for _, d := range result.Warnings {
		if !slices.ContainsFunc(found, func(known plan.Diagnostic) bool { return same(known, d) }) {
			found = append(found, d)
		}
	}
	return found, planned, left, nil
}

// divide returns the pipelines that params has enough for, and the others. Each
// of params must be one of some pipeline.
func divide(pipelines []plan.Pipeline, params map[string]string) (complete, left []string, err error) {
	unused := maps.Clone(params)
	for _, pipeline := range pipelines {
		for _, param := range pipeline.Params {
			delete(unused, param.Name)
		}
		if pipeline.Complete(params) {
			complete = append(complete, pipeline.Name)
		} else {
			left = append(left, pipeline.Name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(unused)) {
		return nil, nil, usagef("no pipeline has a parameter %q", name)
	}
	return complete, left, nil
}

// same reports whether two diagnostics are one problem, found twice.
func same(a, b plan.Diagnostic) bool {
	return a.File == b.File && a.Line == b.Line && a.Column == b.Column && a.Code == b.Code && a.Message == b.Message
}

// counted is a number with its noun: "1 step", "2 steps".
func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	if strings.HasSuffix(noun, "ch") {
		noun += "e"
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
