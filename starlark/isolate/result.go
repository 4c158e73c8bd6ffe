package isolate

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"unsafe"

	"github.com/piper-build/piper/builtins"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/starlark"
)

// A result is what a child says of one evaluation, or of one call: it grows
// piece by piece, and is checked as a whole at the end.
type result struct {
	limits starlark.Limits

	catalog   plan.Catalog
	plan      *plan.Plan
	expansion plan.Expansion
	warnings  plan.Diagnostics
	problems  plan.Diagnostics
	expands   bool
	err       error // as an Evaluator's

	excerpt string // of the last remark
	sent    int    // bytes
	weight  int    // bytes of memory that all of it takes
	swept   int    // the sum of both when garbage was collected
}

func newResult(r *starlark.Request) *result {
	return &result{limits: r.Limits, catalog: plan.Catalog{Pipelines: []plan.Pipeline{}}}
}

var errTooLarge = fmt.Errorf("%w: a result that is too large", errFrame)

// litter is how many bytes of parts are read before garbage is collected: to
// read them makes many times as much, beside what is kept. So this process
// grows by what it keeps and little more. Few results are that large.
const litter = 512 << 10

// add adds a piece.
func (r *result) add(f frame) error {
	if r.sent += len(f.payload); r.sent > maxParts || swells(f.payload) {
		return errTooLarge
	}
	if all := r.sent + r.weight; all-r.swept > litter {
		r.swept = all
		runtime.GC()
	}
	var p piece
	if err := f.decode(part, &p); err != nil {
		return err
	}
	if p.Plan != nil {
		if err := r.addPlan(p.Plan, p.Nodes); err != nil {
			return err
		}
	}
	if c := p.Catalog; c != nil {
		r.weight += weigh(c)
		if r.catalog.Project == (plan.Project{}) {
			r.catalog.Project = c.Project
		}
		r.catalog.Pipelines = append(r.catalog.Pipelines, c.Pipelines...)
		r.catalog.Environments = append(r.catalog.Environments, c.Environments...)
	}
	if x := p.Expansion; x != nil {
		r.weight += weigh(x)
		r.expansion.Nodes = append(r.expansion.Nodes, x.Nodes...)
		r.expansion.Groups = append(r.expansion.Groups, x.Groups...)
		r.expansion.Environments = append(r.expansion.Environments, x.Environments...)
		r.expansion.Inputs = append(r.expansion.Inputs, x.Inputs...)
	}
	for _, m := range p.Warnings {
		r.warnings = append(r.warnings, r.diagnostic(m))
	}
	for _, m := range p.Problems {
		r.problems = append(r.problems, r.diagnostic(m))
	}
	if r.weight > maxWeight {
		return errTooLarge
	}
	return nil
}

// addPlan adds a part of a plan, the first of which holds what is no list, and
// says how many nodes there are: a list that grew would be held twice.
func (r *result) addPlan(text []byte, nodes int) error {
	p, err := plan.Decode(text)
	if err != nil {
		return fmt.Errorf("%w: %w", errFrame, err)
	}
	r.weight += weigh(p)
	if r.plan == nil {
		r.plan = p
		if nodes < 0 || nodes > maxWeight/int(unsafe.Sizeof(plan.Node{})) {
			return errTooLarge
		}
		p.Nodes = slices.Grow(p.Nodes, nodes)
		return nil
	}
	r.plan.Nodes = append(r.plan.Nodes, p.Nodes...)
	r.plan.Groups = append(r.plan.Groups, p.Groups...)
	r.plan.Environments = append(r.plan.Environments, p.Environments...)
	r.plan.Inputs = append(r.plan.Inputs, p.Inputs...)
	return nil
}

// diagnostic returns a diagnostic that is safe to show.
func (r *result) diagnostic(m remark) plan.Diagnostic {
	if !m.Again {
		r.excerpt = string(m.Excerpt)
		r.weight += len(r.excerpt)
	}
	d := m.Diagnostic
	d.Excerpt = r.excerpt
	r.weight += weigh(&m.Diagnostic)
	if d.Severity != "warning" {
		d.Severity = "error"
	}
	for _, text := range []*string{&d.File, &d.Code, &d.Message, &d.Hint} {
		*text = builtins.Visible(*text)
	}
	return d
}

// finish checks what was sent, now that it is all there.
func (r *result) finish(f frame) error {
	var end ending
	if err := f.decode(outcome, &end); err != nil {
		return err
	}
	switch {
	case end.Wrong:
		r.plan = nil
		if len(r.problems) == 0 {
			return fmt.Errorf("%w: an error without a problem", errFrame)
		}
		r.err = r.problems
		return nil
	case end.Failure != "":
		r.plan = nil
		r.err = errors.New(builtins.Visible(end.Failure))
		return nil
	}
	if r.plan == nil && end.Digest == "" {
		return nil
	}
	if r.plan == nil || r.plan.Digest() != end.Digest {
		return fmt.Errorf("%w: a plan that is not what its digest says", errFrame)
	}
	r.expands = end.Expands
	return invalid(plan.Validate(r.plan, r.limits.Nodes))
}

// invalid says what is wrong with a plan, if anything is.
func invalid(wrong plan.Diagnostics) error {
	if len(wrong) == 0 {
		return nil
	}
	return fmt.Errorf("%w: a plan that is not valid: %s", errFrame, builtins.Visible(wrong[0].Message))
}
