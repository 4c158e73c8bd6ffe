package starlark

import (
	"context"
	"maps"
	"slices"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/piper-build/piper/runtime/plan"
)

// Typed is the name of what is typed into a Session, in positions.
const Typed = "<stdin>"

// A Session evaluates a file and then, on top of it, what is typed, one input
// after the other. An input sees the names of the file and of all inputs before
// it, and ctx, which is what the file's pipeline would be given. It may register
// pipelines; those of a known name take the place of the old ones.
//
// Each input has the limits of an evaluation to itself. One with an error in it
// binds, registers and reads nothing. Errors are as an Evaluator's.
//
// A function sees the names of others as they were when it was typed: what is
// bound anew later it does not see.
type Session struct {
	asked    Request
	e        *evaluation
	close    func() error
	typed    *source             // all inputs, each in the lines where it was typed
	names    starlark.StringDict // what the next input can name
	fromFile starlark.StringDict // those of names that came from files
	loaded   []string            // the files that Load was told
	opened   bool
	after    func() // takes back what the last plan left, for expands to find
}

// A Value is what an expression gave, for people.
type Value struct {
	Text string // "" is None
	Type string
}

// Open begins a session on the tree of r, with nothing evaluated: Reload does
// that. Source is not looked at. Close ends it.
func Open(r Request) (*Session, error) {
	r.Source = nil
	close, err := r.open()
	if err != nil {
		return nil, err
	}
	s := &Session{asked: r, close: close}
	s.typed = &source{name: Typed, file: &syntax.File{}, globals: starlark.StringDict{}, lines: []int{0}}
	s.e = newEvaluation(&r)
	s.e.words.KeepStacks = true
	s.e.main = s.typed
	s.e.loader.sources[Typed] = s.typed
	s.names = maps.Clone(s.e.names)
	s.names["ctx"] = s.e.words.Context(nil)
	return s, nil
}

// Close gives back what s holds. It cannot be used any more.
func (s *Session) Close() error { return s.close() }

// Reload reads the file again, and all that was loaded. What was typed stays,
// unless the file has something of the same name now. After an error all is as
// it was before, or, the first time, as if the file were empty.
func (s *Session) Reload(ctx context.Context) error {
	s.settle()
	_, err := s.try(ctx, func() {
		e := s.e
		e.loader.sources, e.loader.order = map[string]*source{Typed: s.typed}, nil
		again := e.words.Restart(Typed)
		for name := range s.fromFile {
			delete(s.names, name)
		}
		s.fromFile = starlark.StringDict{}
		maps.Copy(s.names, s.e.names)

		seed := e.words.Seed
		e.load()
		if s.opened { // the markers in strings stay what they are
			e.words.Seed = seed
		}
		s.opened = true
		e.execute()
		if len(e.found) > 0 {
			return
		}
		s.adopt(e.main)
		for _, name := range s.loaded {
			s.load(name)
		}
		again()
		s.bindContext()
	})
	return err
}

// bindContext makes ctx what the pipeline that the request names is given, or
// the one that is meant without a name. A parameter that must be given, and is
// not, is empty.
func (s *Session) bindContext() {
	e := s.e
	var params map[string]any
	all := e.words.Pipelines()
	if e.Pipeline != "" || len(all) == 1 || e.words.Pipeline("build") != nil {
		if p := e.pipeline(); p != nil {
			params = e.params(p, e.Params)
		}
	}
	e.found = slices.DeleteFunc(e.found, func(d plan.Diagnostic) bool { return d.Code == "missing-param" })
	s.names["ctx"] = e.words.Context(params)
}

// Load binds all that a file of the tree defines, also what begins with _. name
// is as in load, or a path from the root of the tree.
func (s *Session) Load(ctx context.Context, name string) error {
	label := name
	if !strings.Contains(name, "//") && !strings.HasPrefix(name, "./") {
		label = "//" + name
	}
	file, problem, hint := resolveLabel(label, Typed)
	if problem != "" {
		return plan.Diagnostics{{Severity: "error", Code: "bad-label", Message: "load: " + problem, Hint: hint}}
	}
	if file == s.e.File {
		return s.Reload(ctx)
	}
	s.settle()
	_, err := s.try(ctx, func() { s.load(file) })
	if err == nil && !slices.Contains(s.loaded, file) {
		s.loaded = append(s.loaded, file)
	}
	return err
}

// load reads a file, also when it was read before.
func (s *Session) load(name string) {
	l := &s.e.loader
	text, err := l.read(name)
	if err != nil {
		message, hint := l.why(name, err)
		s.e.found = append(s.e.found, plan.Diagnostic{File: name, Severity: "error", Code: "unreadable-file", Message: message, Hint: hint})
		return
	}
	l.order = slices.DeleteFunc(l.order, func(old *source) bool { return old.name == name })
	file := l.add(name, text)
	l.follow(file, []*source{file})
	if s.execute() {
		s.adopt(file)
	}
}

// adopt binds what a file defines.
func (s *Session) adopt(file *source) {
	maps.Copy(s.names, file.globals)
	maps.Copy(s.fromFile, file.globals)
}

// execute runs the files that were loaded and have not run yet. It reports
// whether all is well.
func (s *Session) execute() bool {
	e := s.e
	e.found = append(e.found, e.loader.found...)
	if len(e.found) > 0 {
		return false
	}
	for _, file := range e.loader.order {
		if file.globals != nil {
			continue
		}
		e.words.SawDigest("file", file.name, file.digest())
		globals, err := file.program.Init(e.thread, e.names)
		file.globals = globals
		if err != nil {
			e.failed(err)
			return false
		}
		if e.freeze(file); len(e.found) > 0 {
			return false
		}
	}
	return true
}

// Run executes an input, which begins in a line of what is typed, and returns
// the value of the expression that it ends with. That is _ from then on, unless
// it is None.
func (s *Session) Run(ctx context.Context, text string, line int) (Value, error) {
	s.settle()
	var last starlark.Value
	_, err := s.input(ctx, text, line, func(v starlark.Value) { last = v })
	if err != nil || last == nil || last == starlark.None {
		return Value{}, err
	}
	return Value{s.e.words.Show(last), last.Type()}, nil
}

// Type returns the type of an expression. Nothing is bound or registered.
func (s *Session) Type(ctx context.Context, text string, line int) (string, error) {
	s.settle()
	defer s.back()()
	found := "NoneType"
	_, err := s.input(ctx, text, line, func(v starlark.Value) {
		found = v.Type()
		if f, ok := v.(*starlark.Function); ok {
			found += " " + s.signature(f)
		}
	})
	return found, err
}

// A Question is what Plan is asked for: the fields of a Request.
type Question struct {
	Pipeline    string
	Params      map[string]string
	Environment string
}

// Plan plans a pipeline, of the file or typed. The Result's Expand works until
// ctx is done or s is asked for something else.
func (s *Session) Plan(ctx context.Context, q Question) (Result, error) {
	s.settle()
	s.after = s.back()
	e := s.e
	e.Pipeline, e.Params, e.Environment = q.Pipeline, q.Params, q.Environment
	defer func() { e.Pipeline, e.Params, e.Environment = s.asked.Pipeline, s.asked.Params, s.asked.Environment }()
	return s.try(ctx, func() { e.choose(ctx) })
}

// PlanFlow plans a flow that an expression gives: a step, a list of some. The
// Result is as Plan's.
func (s *Session) PlanFlow(ctx context.Context, text string, line int) (Result, error) {
	s.settle()
	s.after = s.back()
	e := s.e
	wrong := func(found string) plan.Diagnostic {
		return s.typed.diagnose(place{int32(line), int32(1 + max(strings.IndexFunc(text, notSpace), 0))}, "wrong-type",
			"this is "+found+", want a step", `such as step("hello", run = "echo hello")`)
	}
	result, err := s.input(ctx, text, line, func(v starlark.Value) {
		if p := e.words.Flow("repl", v); p != nil {
			e.plan = e.make(p, nil)
		} else {
			e.found = append(e.found, wrong("of type "+v.Type()))
		}
	})
	if err == nil && result.Plan == nil {
		err = plan.Diagnostics{wrong("no expression")}
	}
	return result, err
}

func notSpace(r rune) bool { return r != ' ' }

// Catalog returns what is registered.
func (s *Session) Catalog() plan.Catalog {
	s.settle()
	return s.e.words.Catalog()
}

// Warnings returns the remarks about what was done last.
func (s *Session) Warnings() plan.Diagnostics { return s.e.warnings }

// settle puts away what the last plan left.
func (s *Session) settle() {
	if s.after != nil {
		s.after()
		s.after = nil
	}
}

// back returns a function that puts s back to what it is now, but for the lines
// that were typed.
func (s *Session) back() func() {
	e := s.e
	problems := e.words.Save()
	names, fromFile, main, sources, order := maps.Clone(s.names), s.fromFile, e.main, maps.Clone(e.loader.sources), slices.Clone(e.loader.order)
	return func() {
		problems()
		s.names, s.fromFile, e.main, e.loader.sources, e.loader.order = names, fromFile, main, sources, order
	}
}

// try does work within the limits of one input, and takes it back when anything
// was wrong.
func (s *Session) try(ctx context.Context, work func()) (Result, error) {
	back := s.back()
	s.fromFile = maps.Clone(s.fromFile)
	e := s.e
	e.found, e.warnings, e.loader.found, e.machine, e.plan = nil, nil, nil, nil, nil
	e.loader.tree.known = false // it may have other files by now
	stop := e.bound(ctx)
	defer stop()
	work()
	result, err := e.result(ctx)
	if err != nil {
		back()
	}
	return result, err
}
