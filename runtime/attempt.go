package runtime

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
)

// resolve fills in the task of a step: everything that is known only now.
func (r *run) resolve(t *Task, outputDir string) error {
	step := t.Node.Step
	var err error
	if t.Argv, err = r.argv(step); err != nil {
		return err
	}
	t.OutputDir = outputDir
	if t.Env, err = r.env.of(r, t); err != nil {
		return err
	}
	t.Workspace = r.Workspace
	t.Dir = step.Dir
	t.Timeout = time.Duration(step.Timeout)
	t.Grace = time.Duration(step.Grace)
	if t.Grace == 0 {
		t.Grace = time.Duration(plan.DefaultGrace)
	}
	t.TTY = step.TTY
	t.Kill = r.killed
	return nil
}

// argv is the command of a step: its own arguments, or a shell with its script.
func (r *run) argv(step *plan.Step) ([]string, error) {
	if len(step.Argv) > 0 {
		argv := make([]string, len(step.Argv))
		for i, arg := range step.Argv {
			var err error
			if argv[i], err = r.text(arg); err != nil {
				return nil, err
			}
		}
		return argv, nil
	}
	if step.Shell == "" && r.Plain != nil {
		if argv, ok := r.Plain(step.Script); ok {
			return argv, nil
		}
	}
	shell := step.Shell
	if shell == "" {
		shell = "/bin/sh" // as system(3) has it: no search, and no step can put another one in its place
	}
	return []string{shell, "-e", "-c", step.Script}, nil
}

// text is what t reads, now that the build runs.
func (r *run) text(t plan.Text) (string, error) {
	if t.Known() {
		return t.Literal, nil
	}
	var s string
	for _, p := range t.Parts {
		switch {
		case p.Secret != "":
			if r.Secret == nil {
				return "", fmt.Errorf("secret %q is not available here", p.Secret)
			}
			v, err := r.Secret(p.Secret)
			if err != nil {
				return "", err
			}
			s += v
		case p.Output != nil:
			v, err := r.output(p.Output)
			if err != nil {
				return "", err
			}
			s += v
		default:
			s += p.Literal
		}
	}
	return s, nil
}

// params are the parameters of a trigger, now that the build runs.
func (r *run) params(t *plan.Trigger) (map[string]string, error) {
	params := make(map[string]string, len(t.Params))
	for _, v := range t.Params {
		s, err := r.text(v.Value)
		if err != nil {
			return nil, fmt.Errorf("parameter %s: %w", v.Name, err)
		}
		params[v.Name] = s
	}
	return params, nil
}

// work runs the steps that are handed to s.
//
// It yields now and then. Go's monitor takes the processor from a goroutine
// that was not scheduled anew for 10 ms at its every system call, and does not
// sleep longer than 20 µs meanwhile.
func (r *run) work(s *slot) {
	const turn = 5 * time.Millisecond
	yielded := time.Now()
	for a := range s.tasks {
		r.report(result{attempt: a, event: r.step(a)})
		if now := time.Now(); now.Sub(yielded) >= turn {
			yielded = now
			runtime.Gosched()
		}
	}
}

// step runs one attempt of a step from its requirements to its outputs.
func (r *run) step(a *attempt) build.Event {
	res := r.execute(a, r.Executor.Execute)
	outputs, clean, err := collect(a.slot.dir, r.Leaks)
	if err != nil && res.State == build.Success {
		res.State, res.Reason = build.Failed, err.Error()
	}
	if !clean {
		// What the step left may not even be removable, so the next one gets
		// another.
		if err := a.slot.renew(); err != nil {
			res = Result{State: build.Failed, Reason: err.Error(), Infra: true}
		}
	}
	return ending(res, outputs)
}

// ending is the event that res stands for.
func ending(res Result, outputs map[string]string) build.Event {
	return build.Event{State: res.State, Exit: res.Exit, Signal: res.Signal, Reason: res.Reason, Infra: res.Infra, Final: res.Final, Outputs: outputs}
}

// execute has do carry out the task of a, if this machine meets what it
// requires, with a log.
func (r *run) execute(a *attempt, do func(context.Context, Task) Result) Result {
	t := &a.task
	if r.Meets != nil && len(a.needs) > 0 {
		if err := r.Meets(a.ctx, a.needs); err != nil {
			return Result{State: build.Failed, Reason: err.Error(), Final: true}
		}
	}
	t.Output = discard{}
	if r.Output != nil {
		out, err := r.Output(t.Node, t.Attempt)
		if err != nil {
			return Result{State: build.Failed, Reason: fmt.Sprintf("open log: %v", err), Infra: true}
		}
		t.Output = out
	}
	res := r.intended(a, do)
	if err := t.Output.Close(); err != nil && res.State == build.Success {
		res = Result{State: build.Failed, Reason: fmt.Sprintf("close log: %v", err), Infra: true}
	}
	return res
}

// intended has do carry out the task of a, once it is known that it may be.
func (r *run) intended(a *attempt, do func(context.Context, Task) Result) Result {
	if a.task.Node.Step.Once && r.Intend != nil {
		if err := r.Intend(a.ctx, a.task.Node); err != nil {
			if a.ctx.Err() != nil {
				return Result{State: build.Cancelled}
			}
			return Result{State: build.Failed, Reason: fmt.Sprintf("note that it starts: %v", err), Infra: true, Final: true}
		}
	}
	return do(a.ctx, a.task)
}

// requires is what a step and its environment ask of the machine.
func (r *run) requires(step *plan.Step) []plan.Requirement {
	env := r.plan.EnvironmentOf(step)
	if env == nil || len(env.Requires) == 0 {
		return step.Requires
	}
	return append(env.Requires[:len(env.Requires):len(env.Requires)], step.Requires...)
}

func (r *run) trigger(a *attempt, params map[string]string) (build.Event, error) {
	if r.Trigger == nil {
		return build.Event{State: build.Success, Reason: "no build was triggered"}, nil
	}
	var child build.ID
	state, err := r.Trigger(a.ctx, a.task.Node, params, func(id build.ID) {
		child = id
		r.report(result{attempt: a, event: build.Event{Kind: build.NodeTriggered, Child: id}})
	})
	if err != nil {
		return build.Event{}, err
	}
	ev := build.Event{State: state, Child: child}
	switch {
	case child == "":
		ev.Reason = "no build was triggered"
	case state != build.Success:
		ev.Reason = fmt.Sprintf("build %s of %s is %s", child, a.task.Node.Trigger().Pipeline, state)
	}
	if state != build.Success && state != build.Cancelled {
		ev.State = build.Failed
	}
	return ev, nil
}

func (r *run) approve(a *attempt) build.Event {
	if r.Approve == nil {
		return failed("there is nobody to approve it here")
	}
	answer, err := r.Approve(a.ctx, a.task.Node)
	switch {
	case a.ctx.Err() != nil:
		return build.Event{State: build.Cancelled}
	case err != nil:
		return failed(err.Error())
	case !answer.Approved:
		return build.Event{State: build.Failed, Reason: answer.Reason, By: answer.By}
	}
	return build.Event{State: build.Success, Reason: answer.Reason, By: answer.By}
}

// discard is the output that nobody reads.
type discard struct{}

func (discard) Write(time.Time, []byte) error { return nil }
func (discard) Close() error                  { return nil }
