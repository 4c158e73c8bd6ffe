package builtins

import (
	"maps"
	"slices"

	"go.starlark.net/starlark"

	"github.com/piper-build/piper/runtime/plan"
)

// What a session asks of its Evaluation: one that is executed piece by piece,
// in which a piece that is wrong must leave no trace.

// Context returns the ctx that an impl is given for params.
func (e *Evaluation) Context(params map[string]any) starlark.Value { return e.context(params) }

// Save forgets the problems and returns a function that takes back what is
// registered, read and found after it.
func (e *Evaluation) Save() (restore func()) {
	e.forget()
	project, planning := e.project, e.planning
	pipelines, environments, seen := slices.Clone(e.pipelines), slices.Clone(e.environments), maps.Clone(e.seen)
	return func() {
		e.forget()
		e.project, e.planning = project, planning
		e.pipelines, e.environments, e.seen = pipelines, environments, seen
	}
}

// forget forgets the problems, and that a plan was made: the next one begins
// with what there is by then.
func (e *Evaluation) forget() {
	e.problems, e.reports, e.top, e.wrong = nil, 0, nil, 0
}

// Restart forgets what was registered and read. The function it returns
// registers once more what came from the file named file, but for what has been
// registered anew.
func (e *Evaluation) Restart(file string) (again func()) {
	project, pipelines, environments := e.project, e.pipelines, e.environments
	e.forget()
	e.project, e.pipelines, e.environments, e.seen = nil, nil, nil, nil
	return func() {
		if project != nil && project.call.Filename() == file && e.project == nil {
			e.project = project
		}
		for _, p := range pipelines {
			if p.Pos.File == file && e.Pipeline(p.Name) == nil {
				e.pipelines = append(e.pipelines, p)
			}
		}
		for _, v := range environments {
			if v.Pos.File == file && e.environment(v.Name) == nil {
				e.environments = append(e.environments, v)
			}
		}
	}
}

// replace puts the new one of two things of the same name in the place of the
// old one, when that is allowed, and reports whether it is.
func replace[T comparable](e *Evaluation, list []T, had, v T) bool {
	if e.Replace {
		list[slices.Index(list, had)] = v
	}
	return e.Replace
}

// Flow returns a pipeline that is not registered, of the steps that v is. It is
// nil when v is no flow.
func (e *Evaluation) Flow(name string, v starlark.Value) *Pipeline {
	switch v.(type) {
	case *node, *group, *starlark.List, starlark.Tuple:
		return &Pipeline{ev: e, Pipeline: plan.Pipeline{Name: name}, flow: v}
	}
	return nil
}

// CallsOf returns the calls that led to the node of that name that was made at
// pos, the outermost first: those of its own call come last. It needs
// KeepStacks.
func (e *Evaluation) CallsOf(name string, pos plan.Pos) []plan.Frame {
	for v, calls := range e.stacks {
		if n, ok := v.(*node); ok && n.Name == name && n.pos() == pos {
			return calls
		}
	}
	return nil
}
