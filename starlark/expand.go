package starlark

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/piper-build/piper/runtime/plan"
)

// An expanding evaluation is one that goes on after its plan was made, when the
// functions of expands are called. All that it needs is in memory.
type expanding struct {
	*evaluation
	alive context.Context // of the evaluation
	mu    sync.Mutex      // one call at a time
	known *plan.Lineage
}

// expander returns what runs the functions of e's plan, or nil when it has none.
func (e *evaluation) expander(alive context.Context) Expander {
	if e.plan == nil || !expands(e.plan.Nodes) {
		return nil
	}
	x := &expanding{evaluation: e, alive: alive, known: plan.NewLineage(e.plan)}
	return x.expand
}

func expands(nodes []plan.Node) bool {
	return slices.ContainsFunc(nodes, func(n plan.Node) bool { return n.Expand() != nil })
}

// expand is an Expander.
func (x *expanding) expand(ctx context.Context, node string, outputs map[string]string) (plan.Expansion, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	wrap := func(err error) error { return fmt.Errorf("expand %q: %w", node, err) }
	switch {
	case x.alive.Err() != nil:
		return plan.Expansion{}, wrap(fmt.Errorf("the evaluation that it belongs to has ended: %w", x.alive.Err()))
	case !x.known.Has(node):
		return plan.Expansion{}, wrap(fmt.Errorf("there is no such node; one that an expand finds is there once that was asked"))
	}
	found, err := x.call(ctx, node, outputs)
	if err != nil && x.words.NeedsStacks {
		// As in Evaluate: now with the calls that led to what is wrong.
		print := x.Print
		x.Print, x.words.KeepStacks = nil, true
		found, err = x.call(ctx, node, outputs)
		x.Print, x.words.KeepStacks = print, false
	}
	switch {
	case ctx.Err() != nil:
		return plan.Expansion{}, wrap(ctx.Err())
	case x.machine != nil:
		return plan.Expansion{}, wrap(x.machine)
	}
	return found, err
}

// call calls the function of a node once.
func (x *expanding) call(ctx context.Context, node string, outputs map[string]string) (plan.Expansion, error) {
	defer x.bound(ctx)()
	x.found, x.machine, x.warnings = nil, nil, nil
	found, err := x.words.Expand(x.thread, node, outputs)
	if err != nil {
		x.failed(err)
	}
	for _, w := range x.warnings { // which no Result takes any more
		if x.Print != nil {
			x.Print(plan.Pos{File: w.File, Line: int32(w.Line), Column: int32(w.Column)}, "warning: "+w.Message)
		}
	}
	for _, problem := range x.words.Problems() {
		x.found = append(x.found, x.locate(problem))
	}
	if len(x.found) > 0 || x.machine != nil {
		x.found.Sort()
		return plan.Expansion{}, x.found
	}
	wrong, err := x.known.Add(node, found, x.Limits.Nodes)
	switch {
	case err != nil:
		x.machine = err
		return plan.Expansion{}, err
	case len(wrong) > 0:
		return plan.Expansion{}, x.excerpts(wrong)
	}
	return found, nil
}
