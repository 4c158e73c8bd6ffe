package isolate

import (
	"errors"
	"fmt"
	"reflect"

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
}

func newResult(r *starlark.Request) *result {
	return &result{limits: r.Limits, catalog: plan.Catalog{Pipelines: []plan.Pipeline{}}}
}

// maxWeight is how many bytes of memory a result may take. The largest plan
// that max_nodes allows by itself takes them, when its steps are plain.
const maxWeight = 15 << 20

var errTooLarge = fmt.Errorf("%w: a result that is too large", errFrame)

// add adds a piece.
func (r *result) add(f frame) error {
	if r.sent += len(f.payload); r.sent > maxParts || swells(f.payload) {
		return errTooLarge
	}
	var p piece
	if err := f.decode(part, &p); err != nil {
		return err
	}
	if p.Plan != nil {
		if err := r.addPlan(p.Plan); err != nil {
			return err
		}
	}
	if c := p.Catalog; c != nil {
		r.weight += weigh(reflect.ValueOf(c))
		if r.catalog.Project == (plan.Project{}) {
			r.catalog.Project = c.Project
		}
		r.catalog.Pipelines = append(r.catalog.Pipelines, c.Pipelines...)
		r.catalog.Environments = append(r.catalog.Environments, c.Environments...)
	}
	if x := p.Expansion; x != nil {
		r.weight += weigh(reflect.ValueOf(x))
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

// addPlan adds a part of a plan, the first of which holds what is no list.
func (r *result) addPlan(text []byte) error {
	p, err := plan.Decode(text)
	if err != nil {
		return fmt.Errorf("%w: %w", errFrame, err)
	}
	r.weight += weigh(reflect.ValueOf(p))
	if r.plan == nil {
		r.plan = p
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
	r.weight += weigh(reflect.ValueOf(&m.Diagnostic))
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
	return invalid(r.plan, r.limits.Nodes)
}

// invalid says what is wrong with a plan.
func invalid(p *plan.Plan, nodes int) error {
	if wrong := plan.Validate(p, nodes); len(wrong) > 0 {
		return fmt.Errorf("%w: a plan that is not valid: %s", errFrame, builtins.Visible(wrong[0].Message))
	}
	return nil
}

// swells reports whether JSON may take far more memory than text: a value in
// it can be three bytes there and three hundred here.
func swells(text []byte) bool {
	const most = 4 << 20
	size, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			quoted = !quoted
		case quoted && c == '\\':
			i++
		case quoted:
		case c == '{':
			size += 384
		case c == '[' || c == ',':
			size += 32
		}
	}
	return size > most
}

// weigh returns how much memory a value takes, with all that it points to.
func weigh(v reflect.Value) int {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return 0
		}
		return int(v.Elem().Type().Size()) + weigh(v.Elem())
	case reflect.String:
		return (v.Len() + 15) &^ 15
	case reflect.Slice:
		size := v.Cap() * int(v.Type().Elem().Size())
		for i := range v.Len() {
			size += weigh(v.Index(i))
		}
		return size
	case reflect.Map:
		size := 0
		for each := v.MapRange(); each.Next(); {
			size += 2*int(v.Type().Key().Size()+v.Type().Elem().Size()) + weigh(each.Key()) + weigh(each.Value())
		}
		return size
	case reflect.Struct:
		size := 0
		for i := range v.NumField() {
			size += weigh(v.Field(i))
		}
		return size
	}
	return 0
}
