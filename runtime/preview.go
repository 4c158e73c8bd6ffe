package runtime

import (
	"fmt"
	"slices"

	"github.com/piper-build/piper/runtime/plan"
)

// Preview is the task that the first attempt of a step or service of p would
// be, without running anything: Argv and Env as the Executor would get them. A
// secret reads "***", the output of a step "<step.output key>", and what is made
// for each attempt or build stands in angle brackets too. It asks for no secret
// and needs no Executor.
func (e *Engine) Preview(p *plan.Plan, node string) (Task, error) {
	i := slices.IndexFunc(p.Nodes, func(n plan.Node) bool { return n.Name == node })
	switch {
	case i < 0:
		return Task{}, fmt.Errorf("preview %s: the plan has no such node", node)
	case p.Nodes[i].Step == nil:
		return Task{}, fmt.Errorf("preview %s: it is no step, so it starts nothing", node)
	}
	known := *e
	known.Secret = func(string) (string, error) { return "***", nil }
	if known.ID == "" {
		known.ID = "<id of the build>"
	}
	r := &run{Engine: &known, plan: p, env: newEnvirons(&known, p)}
	r.output = func(o *plan.Output) (string, error) { return fmt.Sprintf("<%s.output %s>", o.Step, o.Key), nil }
	t := Task{Node: &p.Nodes[i], Attempt: 1, Output: discard{}}
	if err := r.resolve(&t, "<directory of the attempt>"); err != nil {
		return Task{}, fmt.Errorf("preview %s: %w", node, err)
	}
	return t, nil
}
