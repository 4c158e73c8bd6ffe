package starlark

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/piper-build/piper/builtins"
	"github.com/piper-build/piper/runtime/plan"
)

// Evaluate evaluates r in this process. It is an Evaluator.
//
// Steps, output, nodes and source are bounded exactly. Time is bounded between
// two instructions only, and memory not at all: evaluate files that are not
// the caller's own in a child process.
func Evaluate(ctx context.Context, r Request) (Result, error) {
	close, err := r.open()
	if err != nil {
		return Result{}, err
	}
	defer close()
	defer garbage.relax()()
	e := newEvaluation(&r)
	result, err := e.answered(ctx)
	if e.words.NeedsStacks {
		// Something is wrong with what a call made before. Which calls led to
		// it is kept the second time only: it is slow, and rarely of use.
		r.Print = nil
		e = newEvaluation(&r)
		e.words.KeepStacks = true
		return e.run(ctx)
	}
	return result, err
}

// open gives r a tree when it has none, until the function it returns is
// called.
func (r *Request) open() (close func() error, err error) {
	if r.Tree != nil {
		return func() error { return nil }, nil
	}
	dir, err := OpenDir(r.Root, r.Files)
	if err != nil {
		return nil, err
	}
	r.Tree = dir
	return dir.Close, nil
}

// An evaluation is one run of Evaluate. Its methods are its stages; each does
// what it can of what the stages before have left.
type evaluation struct {
	*Request
	loader  loader
	words   *builtins.Evaluation
	names   starlark.StringDict // what every file can name
	thread  *starlark.Thread
	main    *source
	printed int
	taken   uint64 // steps of the interpreter, by the top level

	stopped  atomic.Pointer[stop] // why the thread was cancelled
	found    plan.Diagnostics
	warnings plan.Diagnostics
	plan     *plan.Plan
	machine  error   // ends it all
	recent   *source // where position last looked
	subject  string  // what is evaluated, for the limits' messages
	longer   string  // what gives it more time, for the same
}

// A stop is why an evaluation was ended from outside.
type stop struct{ code, message, hint string }

func newEvaluation(r *Request) *evaluation {
	r.Limits = r.Limits.WithDefaults()
	if r.File == "" {
		r.File = "PIPER.star"
	}
	r.File = path.Clean(filepath.ToSlash(r.File))
	e := &evaluation{Request: r, subject: "evaluation", longer: "the setting max_time"}
	files := &tree{Tree: r.Tree}
	e.words = &builtins.Evaluation{
		Event: r.Event, Piper: r.Piper, Git: r.Git, Tree: files, Environ: r.Environ,
		Print: e.print, Pos: e.position, Made: garbage.made,
	}
	e.names = e.words.Predeclared()
	e.loader = loader{
		tree: files, limits: r.Limits, cache: openCache(r.Cache),
		known: e.names.Has, names: func() []string { return append(e.names.Keys(), starlark.Universe.Keys()...) }, sources: make(map[string]*source), cover: r.Coverage,
	}
	return e
}

// run does it all.
func (e *evaluation) run(ctx context.Context) (Result, error) {
	stop := e.bound(ctx)
	defer stop()
	e.load()
	e.execute()
	e.choose(ctx)
	return e.result(ctx)
}

// WithDefaults returns l with its zero fields set.
func (l Limits) WithDefaults() Limits {
	if l.Steps == 0 {
		l.Steps = 10_000_000
	}
	if l.Time == 0 {
		l.Time = 5 * time.Second
	}
	if l.Output == 0 {
		l.Output = 1 << 20
	}
	if l.Nodes == 0 {
		l.Nodes = plan.MaxNodes
	}
	if l.Source == 0 {
		l.Source = 1 << 20
	}
	if l.Memory == 0 {
		l.Memory = 256 << 20
	}
	return l
}

// bound makes a thread, which is stopped when it runs into a limit or ctx ends,
// as is what a test has begun. The function it returns ends the watch.
func (e *evaluation) bound(ctx context.Context) func() {
	thread := &starlark.Thread{Name: "evaluate", Load: e.module}
	e.thread, e.printed = thread, 0
	e.stopped.Store(nil)
	alive, end := context.WithCancel(ctx)
	e.words.Alive = alive
	halt := func(why stop) {
		e.stopped.CompareAndSwap(nil, &why)
		thread.Cancel(why.message)
		end() // after it is known why
	}
	steps := e.Coverage.steps(e.Limits.Steps)
	thread.SetMaxExecutionSteps(steps - min(e.taken, steps))
	thread.OnMaxSteps = func(*starlark.Thread) {
		halt(stop{"too-many-steps", fmt.Sprintf("%s takes more than %d steps of the interpreter", e.subject, e.Limits.Steps),
			fmt.Sprintf("is there a loop that is too long? Or raise the setting max_steps (%d)", e.Limits.Steps)})
	}
	timer := time.AfterFunc(e.Limits.Time, func() {
		halt(stop{"too-slow", fmt.Sprintf("%s takes longer than %s", e.subject, e.Limits.Time),
			fmt.Sprintf("is there a loop that is too long? Or raise %s (%s)", e.longer, e.Limits.Time)})
	})
	unwatch := context.AfterFunc(ctx, func() { halt(stop{code: "cancelled", message: "cancelled"}) })
	return func() { timer.Stop(); unwatch(); end() }
}

// load reads and compiles every file.
func (e *evaluation) load() {
	e.main = e.loader.root(e.File, e.Source)
	e.found = append(e.found, e.loader.found...)
	for _, s := range e.loader.order {
		e.words.SawDigest("file", s.name, s.digest())
	}
	if e.main != nil {
		copy(e.words.Seed[:], e.main.sum[:])
	}
}

// execute runs the top level of every file, the root's last.
func (e *evaluation) execute() {
	if len(e.found) > 0 {
		return
	}
	for _, s := range e.loader.order {
		e.words.MayRegister = s == e.main
		globals, err := s.program.Init(e.thread, e.loader.cover.names(s, e.names))
		e.words.MayRegister = false
		s.globals = globals
		if err != nil {
			e.failed(err)
			return
		}
		if e.freeze(s); len(e.found) > 0 {
			return
		}
	}
	if main, ok := e.main.globals["main"].(*starlark.Function); ok && len(e.words.Pipelines()) == 0 {
		e.words.RegisterMain(main)
	} else if ok && e.words.Ignored(main) {
		pos := main.Position()
		d := e.main.diagnose(place{pos.Line, pos.Col}, "ignored-main", "main(ctx) is a pipeline only where no other one is registered", `write pipeline(name = "main", impl = main), or give the function another name`)
		d.Severity = "warning"
		e.warnings = append(e.warnings, d)
	}
	e.words.CheckAfter()
}

// freeze freezes the globals of s.
func (e *evaluation) freeze(s *source) {
	for _, name := range s.globals.Keys() {
		culprit, ok := builtins.Freeze(s.globals[name])
		switch {
		case ok:
		case culprit != nil:
			pos := culprit.Position()
			e.found = append(e.found, e.loader.sources[pos.Filename()].diagnose(place{pos.Line, pos.Col}, "too-deep",
				fmt.Sprintf("%s holds the function %s, which holds itself or values that nest too deep", name, culprit.Name()), "define it at the top level"))
		default:
			e.found = append(e.found, s.diagnose(s.assigned(name), "too-deep", fmt.Sprintf("%s holds values that nest too deep", name), ""))
		}
	}
}

// module implements load: the file was executed before.
func (e *evaluation) module(thread *starlark.Thread, label string) (starlark.StringDict, error) {
	from := thread.CallFrame(0).Pos.Filename()
	if s := e.loader.sources[from]; s != nil {
		for _, load := range s.loads {
			if load.label == label && load.from != nil {
				return load.from.globals, nil
			}
		}
	}
	return nil, errors.New("not loaded")
}

// choose evaluates the pipeline that was asked for, or all of them.
func (e *evaluation) choose(ctx context.Context) {
	if e.CatalogOnly || e.main == nil || e.main.globals == nil || len(e.found) > 0 {
		return
	}
	if !e.All || len(e.words.Pipelines()) == 0 {
		if p := e.pipeline(); p != nil {
			e.plan = e.make(p, e.Params)
		}
		return
	}
	e.taken = e.thread.ExecutionSteps()
	for _, p := range e.words.Pipelines() {
		if !p.Complete(e.Params) {
			continue
		}
		given := maps.Clone(e.Params)
		maps.DeleteFunc(given, func(name, _ string) bool {
			return !slices.ContainsFunc(p.Params, func(param plan.Param) bool { return param.Name == name })
		})
		stop := e.bound(ctx) // as if it was the only one
		e.make(p, given)
		stop()
	}
}

// make returns the plan of p with the parameters that are given.
func (e *evaluation) make(p *builtins.Pipeline, given map[string]string) *plan.Plan {
	before := len(e.found)
	params := e.params(p, given)
	if len(e.found) > before {
		return nil // what impl would say of them is no news
	}
	environment := e.Environment
	if environment == "local" {
		environment = ""
	}
	made, err := e.words.Plan(e.thread, p, params, environment, e.Limits.Nodes)
	if err != nil {
		e.failed(err)
		return nil
	}
	if environment != "" && !slices.ContainsFunc(made.Environments, func(v plan.Environment) bool { return v.Name == environment }) {
		e.unknownEnvironment(environment)
	}
	if e.words.Sound() && len(e.found) == before {
		e.found = append(e.found, e.excerpts(plan.Validate(made, e.Limits.Nodes))...)
	}
	return made
}

// usage reports a request that the file cannot answer. The file is not at
// fault, so it points nowhere into it.
func (e *evaluation) usage(code, message, hint string) {
	e.found = append(e.found, plan.Diagnostic{File: e.File, Severity: "error", Code: code, Message: message, Hint: hint})
}

// offer returns a hint at the name that was meant, or at all there are.
func offer(name string, names []string) string {
	if near, ok := plan.Nearest(name, names); ok {
		return fmt.Sprintf("did you mean %q?", near)
	}
	switch len(names) {
	case 0:
		return "there is none"
	case 1:
		return "there is only " + names[0]
	}
	return "there are " + strings.Join(names, ", ")
}

// unknownEnvironment reports the environment that was asked for.
func (e *evaluation) unknownEnvironment(name string) {
	var names []string
	for _, v := range e.words.Catalog().Environments {
		names = append(names, v.Name)
	}
	e.usage("unknown-environment", fmt.Sprintf("environment %q was asked for, and is not defined", builtins.Visible(name)), offer(name, names))
}

// pipeline returns the pipeline that was asked for, or nil.
func (e *evaluation) pipeline() *builtins.Pipeline {
	all := e.words.Pipelines()
	names := make([]string, len(all))
	for i, p := range all {
		names[i] = p.Name
	}
	name := e.Pipeline
	if name == "" {
		name = "build"
		if len(all) == 1 {
			name = names[0]
		}
	}
	if p := e.words.Pipeline(name); p != nil {
		return p
	}
	switch {
	case len(e.words.Problems()) > 0: // it may be one that could not be registered
	case len(all) == 0:
		e.usage("unknown-pipeline", "no pipeline is defined", `write pipeline(name = "build", steps = [...])`)
	case e.Pipeline == "":
		e.usage("unknown-pipeline", `there is no pipeline "build", so one has to be named`, offer("build", names))
	default:
		e.usage("unknown-pipeline", fmt.Sprintf("pipeline %q is not defined", builtins.Visible(name)), offer(name, names))
	}
	return nil
}

// params returns the value of each of p's parameters.
func (e *evaluation) params(p *builtins.Pipeline, given map[string]string) map[string]any {
	if len(p.Params) == 0 && len(given) == 0 {
		return nil
	}
	definition := fmt.Sprintf("pipeline %q (%s)", p.Name, p.Pos)
	values := make(map[string]any, len(p.Params))
	names := make([]string, len(p.Params))
	for i, param := range p.Params {
		names[i] = param.Name
	}
	wrong := len(e.words.Problems()) > 0 // what is missing may not be meant to be required
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if !slices.Contains(names, name) {
			e.usage("unknown-param", fmt.Sprintf("%s has no parameter %q", definition, builtins.Visible(name)), offer(name, names))
			wrong = true // it may be the one that is missing
		}
	}
	for _, param := range p.Params {
		text, ok := given[param.Name]
		switch {
		case ok:
			v, err := param.Parse(text)
			if err != nil {
				e.usage("bad-param", fmt.Sprintf("%s: %v", definition, err), param.Doc)
				break
			}
			values[param.Name] = v
			continue
		case param.Required && wrong:
		case param.Required:
			e.usage("missing-param", fmt.Sprintf("%s needs the parameter %q, which was not given", definition, param.Name), param.Doc)
		case param.Default != nil:
			values[param.Name] = param.Default
			continue
		}
		values[param.Name] = builtins.Zero(param)
	}
	return values
}

// failed records an error that ended the execution.
func (e *evaluation) failed(err error) {
	var failure *starlark.EvalError
	switch {
	case errors.Is(err, builtins.ErrTooManyProblems), errors.Is(err, builtins.ErrReported):
	case errors.As(err, &failure) && e.notOffered(failure):
	case errors.As(err, &failure):
		e.found = append(e.found, e.runtimeError(failure))
	default:
		e.machine = err
	}
}

// result puts together what there is.
func (e *evaluation) result(ctx context.Context) (Result, error) {
	r := Result{Catalog: e.words.Catalog(), Warnings: e.warnings}
	if err := ctx.Err(); err != nil {
		return r, fmt.Errorf("evaluate %s: %w", e.File, err)
	}
	if e.machine != nil {
		return r, fmt.Errorf("evaluate %s: %w", e.File, e.machine)
	}
	for _, p := range e.words.Problems() {
		e.found = append(e.found, e.locate(p))
	}
	if len(e.found) > 0 {
		return r, once(e.found)
	}
	r.Plan = e.plan
	r.Expand = e.expander(ctx)
	return r, nil
}

// once returns list in order, without what stands in it twice: two pipelines may
// have a mistake in common.
func once(list plan.Diagnostics) plan.Diagnostics {
	type place struct {
		file         string
		line, column int
		message      string
	}
	known := make(map[place]bool, len(list))
	list.Sort()
	return slices.DeleteFunc(list, func(d plan.Diagnostic) bool {
		at := place{d.File, d.Line, d.Column, d.Message}
		had := known[at]
		known[at] = true
		return had
	})
}

// print passes on what a file prints, up to the limit.
func (e *evaluation) print(pos plan.Pos, message string) {
	before := e.printed
	e.printed += len(message) + 1
	switch {
	case e.printed <= e.Limits.Output:
		if e.Print != nil {
			e.Print(pos, message)
		}
	case before <= e.Limits.Output:
		d := plan.Diagnostic{File: pos.File, Line: int(pos.Line), Column: int(pos.Column), Severity: "warning", Code: "too-much-output",
			Message: fmt.Sprintf("more than %d bytes are printed; the rest is dropped (truncated)", e.Limits.Output),
			Hint:    fmt.Sprintf("print less, or raise the setting max_output (%d)", e.Limits.Output)}
		e.warnings = append(e.warnings, d)
	}
}

// position turns a position of the interpreter into one for people: that of a
// call is its first character, not its parenthesis.
func (e *evaluation) position(pos syntax.Position) plan.Pos {
	name := pos.Filename()
	s := e.recent
	if s == nil || s.name != name {
		s = e.loader.sources[name]
		e.recent = s
	}
	at := place{pos.Line, pos.Col}
	if s != nil {
		at = s.callee(at)
	}
	return plan.Pos{File: name, Line: at.line, Column: at.column}
}
