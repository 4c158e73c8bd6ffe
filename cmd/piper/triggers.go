package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/piper-build/piper/cmd/piper/progress"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
)

// path is the chain of pipelines that led to j, its own last.
func (j *job) path() []string {
	if j == nil {
		return nil
	}
	return append(j.parent.path(), j.plan.Pipeline)
}

// elsewhere says why a trigger cannot be run from this checkout, or "".
func (e *execution) elsewhere(p *plan.Plan, t *plan.Trigger) string {
	switch {
	case t.Project != "" && t.Project != p.Project.Name:
		return fmt.Sprintf("it belongs to the project %s", t.Project)
	case t.Ref != "":
		return fmt.Sprintf("it is for %s, not for this checkout", t.Ref)
	}
	return ""
}

// loop is the error of a chain of triggers that bites its tail.
func loop(path []string, next string) error {
	return &usageError{
		message: fmt.Sprintf("pipelines trigger each other without end: %s → %s", strings.Join(path, " → "), next),
		hint:    "--triggers=show runs only the first",
	}
}

// checkTriggers plans what p triggers, and what that triggers, as far as the
// parameters are known by now. So most mistakes come to light before anything
// has run.
func (e *execution) checkTriggers(ctx context.Context, p *plan.Plan) error {
	seen := map[string]bool{}
	var check func(p *plan.Plan, path []string) error
	check = func(p *plan.Plan, path []string) error {
		for _, n := range p.Nodes {
			if n.Trigger() == nil || e.elsewhere(p, n.Trigger()) != "" {
				continue
			}
			if slices.Contains(path, n.Trigger().Pipeline) {
				return loop(path, n.Trigger().Pipeline)
			}
			params, known := knownParams(n.Trigger())
			key := fmt.Sprintf("%q %q", n.Trigger().Pipeline, params)
			if !known || seen[key] {
				continue
			}
			seen[key] = true
			next, err := e.triggeredJob(ctx, n.Trigger(), params)
			if err != nil {
				return fmt.Errorf("%s: trigger %s: %w", n.Pos, n.Name, err)
			}
			if err := check(next.plan, append(slices.Clone(path), next.plan.Pipeline)); err != nil {
				return err
			}
		}
		return nil
	}
	return check(p, []string{p.Pipeline})
}

// knownParams returns the parameters of t, and false when some are not known
// before the build runs.
func knownParams(t *plan.Trigger) (params map[string]string, known bool) {
	params = map[string]string{}
	for _, v := range t.Params {
		if !v.Value.Known() {
			return nil, false
		}
		params[v.Name] = v.Value.Literal
	}
	return params, true
}

// triggeredJob is the build of a pipeline that is triggered with params.
func (e *execution) triggeredJob(ctx context.Context, t *plan.Trigger, params map[string]string) (*job, error) {
	q := &question{file: e.question.file, branch: e.question.branch, tag: e.question.tag}
	if q.branch != "" || q.tag != "" {
		q.kind = "manual" // or they would make it a push
	}
	for _, name := range slices.Sorted(maps.Keys(params)) {
		q.params = append(q.params, name+"="+params[name])
	}
	args := []string{t.Pipeline}
	// Its expands may be asked when ctx, that of the trigger, is done.
	life, end := context.WithCancel(e.life)
	keep := context.AfterFunc(ctx, end)
	result, err := e.planned(life, e.project, q, args)
	keep()
	if err != nil {
		return nil, err
	}
	return &job{plan: result.Plan, expand: result.Expand, question: q, args: args}, nil
}

// trigger is what a trigger of j does when its turn has come.
func (e *execution) trigger(ctx context.Context, display progress.Display, j *job, node *plan.Node, params map[string]string, made func(build.ID)) (build.State, error) {
	t := node.Trigger()
	text := t.Pipeline
	for _, name := range slices.Sorted(maps.Keys(params)) {
		text += " " + name + "=" + quoted(params[name])
	}
	if reason := e.elsewhere(j.plan, t); reason != "" {
		if e.triggers == "run" && t.Wait {
			return "", fmt.Errorf("cannot wait for %s: %s", t.Pipeline, reason)
		}
		j.show(node, text+", but not from here: "+reason)
		return build.Success, nil
	}
	if e.triggers != "run" {
		j.show(node, text)
		return build.Success, nil
	}

	if path := j.path(); slices.Contains(path, t.Pipeline) {
		return "", loop(path, t.Pipeline)
	}
	next, err := e.triggeredJob(ctx, t, params)
	if err != nil {
		return "", errors.New(firstLine(err.Error()))
	}
	next.id, next.parent, next.node, next.later = build.NewID(time.Now()), j, node.Name, !t.Wait
	if j.logDir != "" {
		next.logDir = filepath.Join(j.logDir, "triggered", t.Pipeline+"-"+string(next.id))
	}
	made(next.id)
	j.mu.Lock()
	if j.jobs == nil {
		j.jobs = map[string]*job{}
	}
	j.jobs[node.Name] = next
	j.mu.Unlock()
	if !t.Wait {
		return build.Success, nil
	}

	// The display of a build that waits gives way to that of the other.
	j.turn.Lock()
	defer j.turn.Unlock()
	defer progress.Suspend(display)()
	if _, err := e.runAll(ctx, next); err != nil {
		return "", err
	}
	return next.build.State(), nil
}

// show notes what a node would trigger.
func (j *job) show(node *plan.Node, text string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.shown == nil {
		j.shown = map[string]string{}
	}
	j.shown[node.Name] = text
}

// showTriggers tells what j and the builds after it would have triggered, in
// the order of their plans, and reports whether that was anything.
func (j *job) showTriggers(w io.Writer) (any bool) {
	for _, n := range j.nodes() {
		if text, ok := j.shown[n.Name]; ok {
			fmt.Fprintf(w, "piper: would trigger %s\n", text)
			any = true
		}
	}
	for _, next := range j.triggered() {
		any = next.showTriggers(w) || any
	}
	return any
}
