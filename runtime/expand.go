package runtime

import (
	"errors"
	"maps"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
)

// launchExpand has a goroutine of its own ask what a finds.
func (r *run) launchExpand(a *attempt) {
	after, _ := r.b.Step(a.task.Node.Expand().After)
	outputs := maps.Clone(after.Outputs)
	go func() { r.report(result{attempt: a, event: r.expand(a, outputs)}) }()
}

// expand asks what a finds, given what the node before it wrote.
func (r *run) expand(a *attempt, outputs map[string]string) build.Event {
	if r.Expand == nil {
		return hopeless("there is nothing here that could run its function")
	}
	found, err := r.Expand(a.ctx, a.task.Node, outputs)
	switch {
	case a.ctx.Err() != nil:
		return build.Event{State: build.Cancelled}
	case errors.As(err, new(plan.Diagnostics)):
		return hopeless(err.Error())
	case err != nil:
		return build.Event{State: build.Failed, Reason: err.Error(), Infra: true, Final: true}
	}
	ev := build.Event{State: build.Success}
	if len(found.Nodes)+len(found.Groups)+len(found.Environments)+len(found.Inputs) > 0 {
		ev.Expansion = &found
	}
	return ev
}
