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

// An account is all that may come of a call.
type account struct {
	starlark.Result
	Expansion plan.Expansion
	Value     starlark.Value
	Names     []string
	Tests     []starlark.Test
	Ran       []ran
	Expands   bool // the Result has an Expander, which cannot be sent
}

// A result is the account that a child gives of one call: it grows piece by
// piece, and is checked as a whole at the end.
type result struct {
	account
	limits   starlark.Limits
	problems plan.Diagnostics
	err      error // as an Evaluator's

	excerpt string // of the last remark
	sent    int    // bytes
	weight  int    // bytes of memory that all of it takes
	swept   int    // the sum of both when garbage was collected
}

func newResult(r *starlark.Request) *result {
	out := &result{limits: r.Limits}
	out.Catalog.Pipelines = []plan.Pipeline{}
	return out
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
		if r.Catalog.Project == (plan.Project{}) {
			r.Catalog.Project = c.Project
		}
		r.Catalog.Pipelines = append(r.Catalog.Pipelines, c.Pipelines...)
		r.Catalog.Environments = append(r.Catalog.Environments, c.Environments...)
	}
	if x := p.Expansion; x != nil {
		r.weight += weigh(x)
		r.Expansion.Nodes = append(r.Expansion.Nodes, x.Nodes...)
		r.Expansion.Groups = append(r.Expansion.Groups, x.Groups...)
		r.Expansion.Environments = append(r.Expansion.Environments, x.Environments...)
		r.Expansion.Inputs = append(r.Expansion.Inputs, x.Inputs...)
	}
	if v := p.Value; v != nil {
		r.weight += weigh(v)
		r.Value = starlark.Value{Text: builtins.Visible(string(v.Text)), Type: builtins.Visible(v.Type)}
	}
	r.weight += weigh(&p.Names) + weigh(&p.Tests)
	for _, name := range p.Names {
		r.Names = append(r.Names, builtins.Visible(name))
	}
	for _, t := range p.Tests {
		t.Name, t.Pos.File = builtins.Visible(t.Name), builtins.Visible(t.Pos.File)
		r.Tests = append(r.Tests, t)
	}
	if p.Ran != nil {
		r.weight += weigh(p.Ran)
		r.Ran = append(r.Ran, *p.Ran)
	}
	for _, m := range p.Warnings {
		r.Warnings = append(r.Warnings, r.diagnostic(m))
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
	if r.Plan == nil {
		r.Plan = p
		if nodes < 0 || nodes > maxWeight/int(unsafe.Sizeof(plan.Node{})) {
			return errTooLarge
		}
		p.Nodes = slices.Grow(p.Nodes, nodes)
		return nil
	}
	r.Plan.Nodes = append(r.Plan.Nodes, p.Nodes...)
	r.Plan.Groups = append(r.Plan.Groups, p.Groups...)
	r.Plan.Environments = append(r.Plan.Environments, p.Environments...)
	r.Plan.Inputs = append(r.Plan.Inputs, p.Inputs...)
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
		r.Plan = nil
		if len(r.problems) == 0 {
			return fmt.Errorf("%w: an error without a problem", errFrame)
		}
		r.err = r.problems
		return nil
	case end.Failure != "":
		r.Plan = nil
		r.err = errors.New(builtins.Visible(end.Failure))
		return nil
	}
	if r.Plan == nil && end.Digest == "" {
		return nil
	}
	if r.Plan == nil || r.Plan.Digest() != end.Digest {
		return fmt.Errorf("%w: a plan that is not what its digest says", errFrame)
	}
	r.Expands = end.Expands
	return invalid(plan.Validate(r.Plan, r.limits.Nodes))
}

// invalid says what is wrong with a plan, if anything is.
func invalid(wrong plan.Diagnostics) error {
	if len(wrong) == 0 {
		return nil
	}
	return fmt.Errorf("%w: a plan that is not valid: %s", errFrame, builtins.Visible(wrong[0].Message))
}
