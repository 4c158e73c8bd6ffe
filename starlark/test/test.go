// Package test runs the tests of pipelines.
//
// A file *_test.star has functions test_*(t). Each of them is run by itself: its
// file is executed anew, and what it does to the tree it does to a tree of its
// own. What it asks t to plan goes through the evaluator that builds go
// through, and what it asks t to simulate through the scheduler (package
// simulate); the world around them is made up, and the same on every machine: git
// facts agree with the event, no environment variable is set, and the clock
// stands at the event's time. So a test that passes here passes everywhere.
package test

import (
	"context"
	"errors"
	"fmt"
	"path"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/starlark"
)

// Suffix is what the name of a file of tests ends with.
const Suffix = "_test.star"

// Timeout is how long a test may take unless Options say otherwise.
const Timeout = time.Minute

// Options say what to test and how. Root must be set.
type Options struct {
	Root  string                   // the tree, absolute
	Files func() ([]string, error) // what fs sees of it, as in a starlark.Request
	Piper string                   // the version of this program

	// Tests and RunTest are what reads a file of tests and runs one of them:
	// starlark.Tests and Job.Run in this process, or what does the same in
	// another. nil is here.
	Tests   func(context.Context, starlark.Request) ([]starlark.Test, error)
	RunTest func(context.Context, Job) error

	Evaluate starlark.Evaluator // of the pipelines, as in a Job
	Limits   starlark.Limits    // of each evaluation; Steps and Output also of each test
	Timeout  time.Duration      // of each test; 0 is Timeout
	Cache    string             // as in a starlark.Request
	Coverage *starlark.Coverage // notes what runs; nil notes nothing

	// Meets holds requirements against the facts that a test makes up. nil
	// meets them all.
	Meets func(ctx context.Context, facts map[string]string, requirements []plan.Requirement) error

	Update   bool // write golden files, where there is something new
	Parallel int  // tests at once; 0 is the number of processors
}

// A Test is one test.
type Test struct {
	File string // below the root
	starlark.Test
}

// A Result is how a test went.
type Result struct {
	Test
	Failure  plan.Diagnostics // none when it passed
	Output   []string         // the lines that were printed, each behind its place
	Updated  []string         // golden files that were written
	Duration time.Duration
}

// Passed reports whether the test passed.
func (r *Result) Passed() bool { return len(r.Failure) == 0 }

// Find returns the files of tests among all files of a tree. Those below a
// directory testdata are data: they belong to a tree of their own.
func Find(files []string) []string {
	return slices.DeleteFunc(slices.Clone(files), func(name string) bool {
		return !strings.HasSuffix(name, Suffix) || slices.Contains(strings.Split(path.Dir(name), "/"), "testdata")
	})
}

// List returns the tests of files whose names match pattern; nil matches all.
// The error is plan.Diagnostics when files are at fault, of all of them.
func List(ctx context.Context, o Options, files []string, pattern *regexp.Regexp) ([]Test, error) {
	read := o.Tests
	if read == nil {
		read = func(_ context.Context, r starlark.Request) ([]starlark.Test, error) { return starlark.Tests(r) }
	}
	var tests []Test
	var found plan.Diagnostics
	for _, file := range files {
		list, err := read(ctx, o.request(file))
		var wrong plan.Diagnostics
		switch {
		case errors.As(err, &wrong):
			for _, d := range wrong {
				if !slices.ContainsFunc(found, func(f plan.Diagnostic) bool { return f.String() == d.String() }) {
					found = append(found, d) // a file that several load is told once
				}
			}
		case err != nil:
			return nil, err
		}
		for _, t := range list {
			if pattern == nil || pattern.MatchString(t.Name) {
				tests = append(tests, Test{file, t})
			}
		}
	}
	if len(found) > 0 {
		return nil, found
	}
	return tests, nil
}

// request is what a file of tests is read and executed with.
func (o *Options) request(file string) starlark.Request {
	r := starlark.Request{
		Root: o.Root, Files: o.Files, File: file, Piper: o.Piper,
		Limits: o.Limits, Cache: o.Cache, Coverage: o.Coverage,
		Event: plan.Event{Kind: "manual", Time: time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)},
	}
	r.Limits.Time = o.Timeout
	if r.Limits.Time == 0 {
		r.Limits.Time = Timeout
	}
	return r
}

// Run runs tests, several at once, and tells report of each in their order. The
// error is ctx's, or the machine's; a test that fails is none.
func Run(ctx context.Context, o Options, tests []Test, report func(Result) error) error {
	if o.RunTest == nil {
		o.RunTest = func(ctx context.Context, j Job) error { return j.Run(ctx) }
	}
	if o.Files != nil {
		o.Files = sync.OnceValues(o.Files)
	}
	workers := o.Parallel
	switch {
	case o.Update: // which of two that write the same file comes first is not left to chance
		workers = 1
	case workers <= 0:
		workers = runtime.NumCPU()
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	type answer struct {
		result Result
		err    error
	}
	kept := newGoldens(o.Root, o.Update)
	answers := make([]chan answer, len(tests))
	for i := range answers {
		answers[i] = make(chan answer, 1)
	}
	next := make(chan int)
	var working sync.WaitGroup
	defer working.Wait()
	defer cancel()
	for range min(workers, len(tests)) {
		working.Go(func() {
			for i := range next {
				result, err := runOne(ctx, &o, tests[i], kept)
				answers[i] <- answer{result, err}
			}
		})
	}
	working.Go(func() {
		defer close(next)
		for i := range tests {
			select {
			case next <- i:
			case <-ctx.Done():
				return
			}
		}
	})
	for i := range tests {
		select {
		case a := <-answers[i]:
			if a.err != nil {
				return a.err
			}
			if err := report(a.result); err != nil {
				return err
			}
		case <-ctx.Done():
			return fmt.Errorf("run tests: %w", ctx.Err())
		}
	}
	return nil
}

// runOne runs one test.
func runOne(ctx context.Context, o *Options, t Test, kept *goldens) (Result, error) {
	started := time.Now()
	result := Result{Test: t}
	dir, err := starlark.OpenDir(o.Root, o.Files)
	if err != nil {
		return result, err
	}
	defer dir.Close()

	r := o.request(t.File)
	r.Tree = dir
	r.Print = result.printer(r.Limits.WithDefaults().Output)
	golden := func(name, got string) (string, error) {
		want, written, err := kept.compare(t.File, name, got)
		if written != "" {
			result.Updated = append(result.Updated, written)
		}
		return want, err
	}
	err = o.RunTest(ctx, Job{Request: r, Name: t.Name, Limits: o.Limits, Evaluate: o.Evaluate, Meets: o.Meets, Golden: golden})
	result.Duration = time.Since(started)
	if err != nil && !errors.As(err, &result.Failure) {
		return result, err
	}
	return result, nil
}

// printer returns what keeps lines as Output. Their places count, too: there may
// be as many lines as bytes are printed.
func (r *Result) printer(limit int) func(plan.Pos, string) {
	const header = 32 // bytes, about, that a line takes besides its text
	kept := 0
	return func(pos plan.Pos, message string) {
		place := fmt.Sprintf("%s:%d: ", pos.File, pos.Line)
		before := kept
		kept += len(place) + header
		switch {
		case kept <= limit:
			r.Output = append(r.Output, place+message)
		case before <= limit:
			r.Output = append(r.Output, place+"too many lines are printed; the rest is dropped (truncated)")
		}
	}
}
