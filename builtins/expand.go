package builtins

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.starlark.net/starlark"

	"github.com/piper-build/piper/runtime/plan"
)

// What is found while a build runs. The functions of expands run long after the
// plan was made, any of them first, maybe twice, maybe on another machine: so
// each begins with what its plan left, sees nothing that was not looked at
// before, and leaves nothing to another but to the expands that it returns.

func makeExpand(c *call) (starlark.Value, error) {
	const after, impl, name, services = 0, 1, 2, 3
	n := c.newNode()
	l := n.add()
	l.Expand = new(plan.Expand)
	switch v := c.args[after].(type) {
	case nil: // said by unpack
	case starlark.String:
		l.Expand.After = c.str(after)
		l.after = v
	case *node:
		if v.isService() {
			c.badHint(after, nil, "wrong-type", "have it kept for what is found: services = [...]", "after is %s, which ends after all that uses it", typeName(v))
			break
		}
		l.Expand.After = v.Name
		l.after = v
	default:
		c.badType(after, nil, "a step or the name of one", v)
	}
	l.impl = c.function(impl, "ctx", "result")
	if c.given(name) {
		c.name(n, name)
	} else if l.Expand.After != "" {
		n.Name = l.Expand.After + "/expand"
	}
	l.Expand.Services, l.services = c.services(services)
	return n, nil
}

// A scope is what a plan, or what an expand found, leaves to the expands in it.
type scope struct {
	outer        *scope
	flow         *flattening
	params       map[string]any
	marked       []plan.Part
	environments []*environment
	seen         recorder
}

// saw reports whether evaluation looked at something in s or outside of it.
func (s *scope) saw(r read) bool {
	if s == nil {
		return false
	}
	_, ok := s.seen[r]
	return ok || s.outer.saw(r)
}

// keep has s kept when there is an expand in its flow, and what their functions
// hold frozen: so that each call of one finds the same.
func (e *Evaluation) keep(s *scope) {
	for _, n := range s.flow.nodes {
		if n.rest().Expand == nil {
			continue
		}
		if e.expands == nil {
			e.expands = make(map[string]*scope)
		}
		if had := e.expands[n.Name]; had != nil && had.flow.expand != s.flow.expand {
			e.reportMade(n, Problem{Call: n.call, Param: "name", Index: -1, Code: "duplicate-name",
				Message: fmt.Sprintf("pipeline %s has the name %s twice (another expand found the other)", quote(s.flow.pipeline.Name), quote(n.Name))})
			continue
		}
		e.expands[n.Name] = s
		if impl := n.more.impl; impl != nil {
			if _, ok := Freeze(impl); !ok {
				e.reportMade(n, Problem{Call: n.call, Param: "impl", Index: 1, Code: "too-deep",
					Message: fmt.Sprintf("%s holds itself or values that nest too deep", impl.Name()), Hint: "define it at the top level"})
			}
		}
	}
}

// Expand calls the function of the expand of that name, which stands in the
// plan or in what an expand found that was asked before, with the outputs of
// the step it stands after. An error is the interpreter's; what else is wrong
// is among e.Problems, which are those of this call alone. No check of the plan
// that it adds to is made.
func (e *Evaluation) Expand(thread *starlark.Thread, name string, outputs map[string]string) (plan.Expansion, error) {
	outer := e.expands[name]
	if outer == nil {
		return plan.Expansion{}, fmt.Errorf("the plan has no expand %q; one that an expand finds is there once that was asked", name)
	}
	e.problems, e.reports, e.NeedsStacks = nil, 0, false
	e.marked, e.environments = slices.Clip(outer.marked), slices.Clip(outer.environments)
	s := &scope{outer: outer, params: outer.params, seen: make(recorder)}
	e.late, e.planning = s.seen, true
	e.earlier = e.nodes.made
	defer func() { e.late = nil }()

	n := outer.flow.node(name)
	flow, err := starlark.Call(thread, n.more.impl, starlark.Tuple{e.context(s.params), newOutcome(e, n.more.Expand.After, outputs)}, nil)
	if err != nil {
		return plan.Expansion{}, err
	}
	var out plan.Plan
	s.flow = &flattening{ev: e, pipeline: outer.flow.pipeline, outer: outer.flow, expand: n, max: outer.flow.max}
	if flow == starlark.None {
		s.flow.problem(Problem{Code: "wrong-type", Hint: "end it with: return [...]",
			Message: fmt.Sprintf("%s returned None, want the steps that expand %s found", n.more.impl.Name(), quote(name))})
	} else {
		s.flow.flatten(&out, flow)
	}
	if e.Sound() {
		e.checkTriggers(s.flow.pipeline, s.flow.nodes)
	}
	e.place(&out, s.flow.pipeline, "", s.flow.nodes)
	s.marked, s.environments = e.marked, e.environments
	if e.Sound() { // what is wrong takes the place of nothing
		e.keep(s)
	}
	return plan.Expansion{
		Nodes: out.Nodes, Groups: out.Groups,
		Environments: slices.DeleteFunc(out.Environments, func(v plan.Environment) bool { return outer.flow.places(v.Name) }),
		Inputs:       slices.DeleteFunc(s.seen.inputs(), func(in plan.Input) bool { return outer.saw(read{in.Kind, in.Key}) }),
	}, nil
}

// places reports whether the plan of f, or one outside, has an environment of
// that name.
func (f *flattening) places(name string) bool {
	for ; f != nil; f = f.outer {
		if slices.ContainsFunc(f.plan.Environments, func(v plan.Environment) bool { return v.Name == name }) {
			return true
		}
	}
	return false
}

// An outcome is the result that the function of an expand is given.
type outcome struct {
	ev      *Evaluation
	name    string
	outputs *starlark.Dict // frozen
}

func newOutcome(e *Evaluation, name string, outputs map[string]string) *outcome {
	o := &outcome{e, name, starlark.NewDict(len(outputs))}
	for _, key := range slices.Sorted(maps.Keys(outputs)) {
		o.outputs.SetKey(starlark.String(key), starlark.String(outputs[key])) // cannot fail
	}
	o.outputs.Freeze()
	return o
}

func (o *outcome) String() string        { return "<result of " + o.name + ">" }
func (o *outcome) Type() string          { return "result" }
func (o *outcome) Freeze()               {}
func (o *outcome) Truth() starlark.Bool  { return true }
func (o *outcome) Hash() (uint32, error) { return 0, fmt.Errorf("unhashable: result") }

// Attr implements starlark.HasAttrs.
func (o *outcome) Attr(name string) (starlark.Value, error) {
	switch name {
	case "name":
		return starlark.String(o.name), nil
	case "outputs":
		return o.outputs, nil
	case "output":
		return &method{o.ev, word("<result>.output"), o}, nil
	}
	return nil, noField("result", name, o.AttrNames())
}

// AttrNames implements starlark.HasAttrs.
func (o *outcome) AttrNames() []string { return []string{"name", "output", "outputs"} }

func resultOutput(c *call) (starlark.Value, error) {
	o, key := c.self.(*outcome), c.str(0)
	if c.wrong > 0 {
		return starlark.String(""), nil
	}
	if v, ok, _ := o.outputs.Get(starlark.String(key)); ok {
		return v, nil
	}
	var keys []string
	for key := range o.outputs.Entries() {
		keys = append(keys, string(key.(starlark.String)))
	}
	hint := "it has " + strings.Join(quoteAll(keys), ", ")
	if near, ok := plan.Nearest(key, keys); ok {
		hint = fmt.Sprintf("did you mean %s?", quote(near))
	} else if len(keys) == 0 {
		hint = `a step writes an output to a file in the directory "$PIPER_OUTPUT"`
	}
	c.badHint(0, nil, "unknown-output", hint, "step %s wrote no output %s", quote(o.name), quote(key))
	return nil, ErrReported // whatever stood for it would only be wrong again
}
