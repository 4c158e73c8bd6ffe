package starlark

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/piper-build/piper/builtins"
	"github.com/piper-build/piper/runtime/plan"
)

// A Test is one function of a file of tests.
type Test struct {
	Name string
	Pos  plan.Pos
}

// Tests returns the tests of the file r.File, in the order in which they are
// written: its functions test_*(t). Nothing of it is executed. The error is
// plan.Diagnostics when the file, or one that it loads, is at fault; a file
// without a test is.
func Tests(r Request) ([]Test, error) {
	close, err := r.open()
	if err != nil {
		return nil, err
	}
	defer close()
	e := newTestEvaluation(&r, idle{})
	e.load()
	var tests []Test
	if len(e.found) == 0 {
		tests = e.main.tests(&e.found)
	}
	if len(tests) == 0 && len(e.found) == 0 {
		e.usage("no-tests", "there is no test in the file", "write a function: def test_something(t):")
	}
	if len(e.found) > 0 {
		e.found.Sort()
		return nil, e.found
	}
	return tests, nil
}

// RunTest executes the file r.File and what it loads from the beginning, and
// calls its test of that name. So a test sees nothing of the others. The error
// is plan.Diagnostics when the test fails.
func RunTest(ctx context.Context, r Request, name string, bench builtins.Bench) error {
	close, err := r.open()
	if err != nil {
		return err
	}
	defer close()
	e := newTestEvaluation(&r, bench)
	defer e.bound(ctx)()
	e.load()
	e.execute()
	var rejected *builtins.Rejection
	if len(e.found) == 0 && len(e.words.Problems()) == 0 && e.machine == nil {
		rejected = e.call(name)
	}
	_, err = e.result(ctx)
	if found, ok := err.(plan.Diagnostics); ok && rejected != nil {
		err = append(found, rejected.Found...)
	}
	if stop := e.stopped.Load(); err == nil && stop != nil { // when nothing was left to do
		e.usage(stop.code, stop.message, stop.hint)
		err = e.found
	}
	return err
}

// newTestEvaluation is newEvaluation for a file of tests.
func newTestEvaluation(r *Request, bench builtins.Bench) *evaluation {
	e := newEvaluation(r)
	e.subject, e.longer = "the test", "--timeout"
	e.words.Bench = bench
	e.names = e.words.Predeclared()
	e.loader.known = e.names.Has
	return e
}

// call calls the test of that name. When it ended because a pipeline could not
// be planned, call returns why.
func (e *evaluation) call(name string) (rejected *builtins.Rejection) {
	test, ok := e.main.globals[name].(*starlark.Function)
	if !ok {
		e.usage("no-tests", fmt.Sprintf("there is no test %s in the file", name), "")
		return nil
	}
	if _, err := starlark.Call(e.thread, test, starlark.Tuple{e.words.T()}, nil); err != nil {
		e.failed(err)
		errors.As(err, &rejected)
	}
	return rejected
}

// tests returns the functions of s that are tests. One that cannot be called as
// one, or not any more, is a problem.
func (s *source) tests(found *plan.Diagnostics) []Test {
	var tests []Test
	first := map[string]plan.Pos{}
	for _, stmt := range s.tree().Stmts {
		def, ok := stmt.(*syntax.DefStmt)
		if !ok || !strings.HasPrefix(def.Name.Name, "test_") {
			continue
		}
		at := place{def.Name.NamePos.Line, def.Name.NamePos.Col}
		pos := plan.Pos{File: s.name, Line: at.line, Column: at.column}
		if before, twice := first[def.Name.Name]; twice {
			*found = append(*found, s.diagnose(at, "duplicate-test", fmt.Sprintf("%s is there already, and would never run", def.Name.Name), fmt.Sprintf("the first one is at %s", before)))
			continue
		}
		first[def.Name.Name] = pos
		if len(def.Params) != 1 {
			*found = append(*found, s.diagnose(at, "bad-test", fmt.Sprintf("%s is given one argument, and takes %d", def.Name.Name, len(def.Params)), fmt.Sprintf("write def %s(t):", def.Name.Name)))
			continue
		}
		tests = append(tests, Test{def.Name.Name, pos})
	}
	return tests
}

// idle is the bench of a file that is only read.
type idle struct{ builtins.Bench }
