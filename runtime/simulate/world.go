package simulate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
)

// What the world answers: a step's process, a service, another build, the
// function of an expand.

// took is how long the attempt takes.
func (a *attempt) took() time.Duration {
	if a.outcome.Duration == nil {
		return Took
	}
	return max(0, *a.outcome.Duration)
}

// ended is the event that ends the attempt as its outcome says.
func (a *attempt) ended() build.Event {
	o := &a.outcome
	return build.Event{State: o.State, Exit: o.Exit, Signal: o.Signal, Reason: o.Reason, Infra: o.Infra, Final: o.Final, By: o.By, Outputs: o.Outputs}
}

// misfit says why a node cannot end like that; "" when it can.
func (o *Outcome) misfit(node *plan.Node) string {
	timed := node.Trigger() != nil && node.Trigger().Wait // the build that it made was
	if node.Step != nil && !node.IsService() {
		timed = node.Step.Timeout > 0
	}
	switch {
	case o.State == build.TimedOut && !timed:
		return "has no time-out, so it cannot time out"
	case o.Asked && node.Approve() == nil:
		return "is no approval, so nobody is asked"
	}
	return ""
}

// hopeless is a failure that another attempt would only repeat.
func hopeless(reason string) build.Event {
	return build.Event{State: build.Failed, Reason: reason, Final: true}
}

// step begins an attempt of a step or a service.
func (r *run) step(ctx context.Context, a *attempt, node *plan.Node) {
	step := node.Step
	if err := r.resolve(step); err != nil {
		r.end(a, 0, hopeless(err.Error()))
		return
	}
	if reqs := requires(r.b.Plan(), step); r.Meets != nil && len(reqs) > 0 {
		if err := r.Meets(ctx, reqs); err != nil {
			r.end(a, 0, hopeless(err.Error()))
			return
		}
	}
	if step.Service != nil {
		r.serve(a, step.Service)
		return
	}
	took, ev := a.took(), a.ended()
	if limit := time.Duration(step.Timeout); ev.State == build.TimedOut || limit > 0 && took > limit && ev.State != build.Cancelled {
		if a.outcome.Duration == nil || took > limit {
			took = limit
		}
		if ev.State != build.TimedOut {
			ev = build.Event{Outputs: ev.Outputs}
		}
		ev.State = build.TimedOut
		if ev.Reason == "" {
			ev.Reason = "timed out after " + limit.String()
		}
	}
	if a.outcome.Lost && step.Once {
		ev.Final = true
	}
	if ev.State == build.Success && ev.Outputs == nil {
		ev.Outputs = r.makeUp(node.Name)
	}
	r.end(a, took, ev)
}

// serve begins an attempt of a service: it is ready, and then runs until it is
// stopped, unless its outcome ends it.
func (r *run) serve(a *attempt, service *plan.Service) {
	limit := time.Duration(service.ReadyTimeout)
	if limit == 0 {
		limit = time.Duration(plan.DefaultReadyTimeout)
	}
	o := &a.outcome
	ev := a.ended()
	if !ev.Infra {
		ev.State = build.Failed
	}
	switch {
	case !o.Unready && o.Ready > limit:
		r.end(a, limit, build.Event{State: build.Failed, Reason: also(fmt.Sprintf("was not ready within %s", plan.Duration(limit)), o.Reason)})
	case o.Unready:
		ev.Reason = also("ended before it was ready", ev.Reason)
		r.end(a, a.took(), ev)
	default:
		r.later(a, o.Ready, build.NodeReady, build.Event{})
		if o.Duration != nil || o.State != build.Success {
			ev.Reason = also("ended by itself", ev.Reason)
			r.end(a, max(a.took(), o.Ready), ev)
		}
	}
}

// also puts two reasons into one.
func also(a, b string) string {
	if a == "" || b == "" {
		return a + b
	}
	return a + "; " + b
}

// trigger makes the downstream build of a node, and waits for it if the node
// does.
func (r *run) trigger(a *attempt, node *plan.Node) error {
	t, o := node.Trigger(), &a.outcome
	params := make(map[string]string, len(t.Params))
	for _, v := range t.Params {
		s, err := r.text(v.Value)
		if err != nil {
			r.end(a, 0, build.Event{State: build.Failed, Reason: fmt.Sprintf("parameter %s: %v", v.Name, err)})
			return nil
		}
		params[v.Name] = s
	}
	if !t.Wait && o.State != build.Success {
		r.end(a, a.took(), a.ended()) // it could not be made
		return nil
	}
	child := o.Child
	if child == "" {
		child = build.ID(fmt.Sprintf("00000000-0000-7000-8000-%012d", len(r.triggered)+1))
	}
	r.triggered = append(r.triggered, Triggered{node.Name, t, params, child})
	if !t.Wait {
		r.later(a, a.took(), build.NodeTriggered, build.Event{Child: child})
		return nil
	}
	r.later(a, o.Ready, build.NodeTriggered, build.Event{Child: child})
	ev := a.ended()
	ev.Child = child
	if ev.State != build.Success && ev.Reason == "" {
		ev.Reason = fmt.Sprintf("build %s of %s is %s", child, t.Pipeline, ev.State)
	}
	if ev.State != build.Success && ev.State != build.Cancelled {
		ev.State = build.Failed
	}
	r.end(a, max(a.took(), o.Ready), ev)
	return nil
}

// expand runs the function of a node, unless its outcome says how it ends.
func (r *run) expand(ctx context.Context, a *attempt, node *plan.Node) error {
	ev := a.ended()
	if ev.State == build.Success && r.Expand == nil {
		ev = hopeless("there is nothing here that could run its function")
	}
	if ev.State == build.Success {
		before, _ := r.b.Step(node.Expand().After)
		found, err := r.Expand(ctx, node.Name, maps.Clone(before.Outputs))
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, new(plan.Diagnostics)):
			ev = hopeless(err.Error())
		case err != nil:
			ev = build.Event{State: build.Failed, Reason: err.Error(), Infra: true, Final: true}
		case len(found.Nodes)+len(found.Groups)+len(found.Environments)+len(found.Inputs) > 0:
			ev.Expansion = &found
		}
	}
	r.end(a, a.took(), ev)
	return nil
}

// resolve asks for all that a step is given when it starts.
func (r *run) resolve(step *plan.Step) error {
	for _, arg := range step.Argv {
		if _, err := r.text(arg); err != nil {
			return err
		}
	}
	if step.Service != nil {
		for _, arg := range step.Service.Ready.Argv {
			if _, err := r.text(arg); err != nil {
				return fmt.Errorf("ready: %w", err)
			}
		}
	}
	p := r.b.Plan()
	envs := []plan.Env{p.Env, nil, step.Env}
	if where := p.EnvironmentOf(step); where != nil {
		envs[1] = where.Env
	}
	for _, env := range envs {
		for _, v := range env {
			if _, err := r.text(v.Value); err != nil {
				return fmt.Errorf("env %s: %w", v.Name, err)
			}
		}
	}
	return nil
}

// text is what t reads, now that the build runs. A secret reads "***".
func (r *run) text(t plan.Text) (string, error) {
	if t.Known() {
		return t.Literal, nil
	}
	var s string
	for _, part := range t.Parts {
		switch {
		case part.Secret != "":
			if r.Secret != nil {
				if err := r.Secret(part.Secret); err != nil {
					return "", err
				}
			}
			s += "***"
		case part.Output != nil:
			v, err := r.b.Output(*part.Output)
			if err != nil {
				return "", err
			}
			s += v
		default:
			s += part.Literal
		}
	}
	return s, nil
}

// requires is what a step and its environment ask of the machine.
func requires(p *plan.Plan, step *plan.Step) []plan.Requirement {
	where := p.EnvironmentOf(step)
	if where == nil || len(where.Requires) == 0 {
		return step.Requires
	}
	return append(where.Requires[:len(where.Requires):len(where.Requires)], step.Requires...)
}

// makeUp returns an output for each one that the plan asks of a step.
func (r *run) makeUp(step string) map[string]string {
	if p := r.b.Plan(); r.askedOf != p {
		r.asked, r.askedOf = outputs(p), p
	}
	if len(r.asked[step]) == 0 {
		return nil
	}
	made := make(map[string]string)
	for _, key := range r.asked[step] {
		made[key] = fmt.Sprintf("<%s.output %s>", step, key)
	}
	return made
}

// outputs returns, by step, the outputs that the nodes of p are given.
func outputs(p *plan.Plan) map[string][]string {
	asked := make(map[string][]string)
	note := func(t plan.Text) {
		for _, part := range t.Parts {
			if o := part.Output; o != nil {
				asked[o.Step] = append(asked[o.Step], o.Key)
			}
		}
	}
	for i := range p.Nodes {
		n := &p.Nodes[i]
		var env plan.Env
		switch {
		case n.Step != nil:
			for _, arg := range n.Step.Argv {
				note(arg)
			}
			env = n.Step.Env
		case n.Trigger() != nil:
			env = n.Trigger().Params
		}
		for _, v := range env {
			note(v.Value)
		}
	}
	return asked
}
