package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/piper-build/piper/runtime/facts"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/starlark"
	"github.com/piper-build/piper/starlark/test"
)

// A testRun is what the flags of "piper test" say.
type testRun struct {
	*app
	pattern string
	verbose bool
	json    bool
	junit   string
	cover   bool
	profile string
	update  bool
	list    bool
	timeout time.Duration
}

func (a *app) testCommand() *command {
	c := a.newCommand("test", "[file or directory]... [flags]")
	c.ShortHelp = "Test the pipelines: run the tests in *_test.star files."
	c.LongHelp = `A test is a function test_*(t). "piper doc t" and "piper doc assert" say what it
can do. Nothing that a pipeline would run is run. Files below a directory
testdata are left out unless they are named.

With --json each line is an object with a kind: "test_ended" (file, line, test,
state "passed" or "failed", seconds, output, updated, diagnostics), "coverage"
(file, ran, missed: line numbers), "diagnostic" for a file that cannot be run,
and "summary" (passed, failed, seconds) at the end; with --list only "test"
(file, line, test).

With --isolate each test runs in a process of its own, with all that it plans. It
may take as much memory as an evaluation.

It exits with 1 when a test fails, and with 2 when a file cannot be run, holds
no test, or nothing matches.`
	c.examples = `
piper test
piper test ci                    # the files below ci
piper test --run publish -v      # tests with publish in their name, and what they print
piper test --cover               # which lines no test ran
piper test --update              # write golden files anew
piper test --junit report.xml
`
	r := &testRun{app: a}
	c.FlagSet.StringVar(&r.pattern, "run", "", "run only tests whose name matches `REGEXP`")
	c.FlagSet.BoolVar(&r.verbose, "verbose", false, "name every test, and show what it prints")
	c.letter("v", "verbose")
	c.FlagSet.BoolVar(&r.json, "json", false, "print a JSON object for each test, on a line of its own")
	c.FlagSet.StringVar(&r.junit, "junit", "", "write a JUnit XML report to `FILE` as well")
	c.FlagSet.BoolVar(&r.cover, "cover", false, "say which lines of .star files no test ran")
	c.FlagSet.StringVar(&r.profile, "cover-profile", "", "write them to `FILE`, in the format of lcov")
	c.FlagSet.BoolVar(&r.update, "update", false, "write the golden files of t.golden instead of comparing with them")
	c.FlagSet.BoolVar(&r.list, "list", false, "list the tests and run none")
	c.FlagSet.DurationVar(&r.timeout, "timeout", test.Timeout, "how long a test may take: `DURATION`")
	c.lists["junit"], c.lists["cover-profile"] = files, files
	c.isolates()
	c.settings, c.max, c.args = true, -1, files
	c.Exec = r.exec
	return c
}

func (r *testRun) exec(ctx context.Context, args []string) error {
	if r.json {
		r.problems = asLines
	}
	if r.timeout <= 0 {
		return usagef("--timeout %s: want more than 0s", r.timeout)
	}
	pattern, err := regexp.Compile(r.pattern)
	if err != nil {
		return usagef("--run %q: %s", r.pattern, strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
	limits := r.settings.limits(!r.isolate)
	limits.Time = r.timeout
	r.prepare(limits)
	p, err := r.openProject(ctx, "")
	if err != nil {
		return err
	}
	o := r.options(p)
	all, err := p.files()
	if err != nil {
		return err
	}
	names, err := r.pick(p, all, args)
	if err != nil {
		return err
	}
	tests, err := test.List(ctx, o, names, pattern)
	switch {
	case err != nil:
		return err
	case len(tests) == 0:
		return &usageError{message: fmt.Sprintf("no test matches --run %q", r.pattern), hint: `"piper test --list" lists them`}
	case r.list:
		return r.printTests(tests)
	}
	return r.runTests(ctx, o, tests, all)
}

// options are what tests run with.
func (r *testRun) options(p *project) test.Options {
	o := test.Options{
		Root: p.root, Piper: releaseVersion(), Limits: r.settings.limits(!r.isolate), Timeout: r.timeout,
		Cache: r.userDir("XDG_CACHE_HOME", ".cache"), Meets: meets, Update: r.update,
	}
	if p.repo != nil {
		o.Files = p.repo.Files
	}
	if r.isolate {
		o.Tests, o.RunTest = r.isolated.Tests, r.isolated.RunTest
	}
	return o
}

// files are the files of the project's tree.
func (p *project) files() ([]string, error) {
	if p.repo != nil {
		return p.repo.Files()
	}
	dir, err := starlark.OpenDir(p.root, nil)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	return dir.Files()
}

// pick returns the files of tests that args name: files, and what is below
// directories. Without any it is all there are.
func (r *testRun) pick(p *project, all, args []string) ([]string, error) {
	found := test.Find(all)
	if len(args) == 0 {
		if len(found) == 0 {
			return nil, &usageError{message: fmt.Sprintf("there is no file *%s in %s", test.Suffix, p.root), hint: "write one beside the PIPER.star, with a function: def test_something(t):"}
		}
		return found, nil
	}
	var picked []string
	for _, arg := range args {
		below, err := filepath.Rel(p.root, r.path(arg))
		if err != nil || !filepath.IsLocal(below) {
			return nil, usagef("%s is not below %s", arg, p.root)
		}
		name := filepath.ToSlash(below)
		info, err := os.Stat(r.path(arg))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, &usageError{message: fmt.Sprintf("there is no %s", arg), hint: didYouMean(nearest(name, found), "")}
		case err != nil:
			return nil, usagef("%s: %w", arg, err)
		case !info.IsDir() && !strings.HasSuffix(name, test.Suffix):
			return nil, &usageError{message: fmt.Sprintf("%s is no file of tests", arg), hint: "its name has to end with " + test.Suffix}
		case !info.IsDir():
			picked = append(picked, name)
			continue
		}
		inside := slices.DeleteFunc(slices.Clone(found), func(f string) bool { return name != "." && !strings.HasPrefix(f, name+"/") })
		if len(inside) == 0 {
			return nil, usagef("there is no file *%s below %s", test.Suffix, arg)
		}
		picked = append(picked, inside...)
	}
	slices.Sort(picked)
	return slices.Compact(picked), nil
}

// meets holds requirements against facts that a test made up. What it does not
// say of its machine, that machine has not.
func meets(ctx context.Context, known map[string]string, requirements []plan.Requirement) error {
	static := map[string]string{}
	var note func(rs []plan.Requirement)
	note = func(rs []plan.Requirement) {
		for _, r := range rs {
			if r.Key != "" {
				static[r.Key] = known[r.Key]
			}
			note(r.Of)
		}
	}
	note(requirements)
	return facts.Check(ctx, &facts.Machine{Static: static, Environ: []string{}}, requirements)
}

// runTests runs tests and reports of them in every form that was asked for.
func (r *testRun) runTests(ctx context.Context, o test.Options, tests []test.Test, all []string) error {
	if r.cover || r.profile != "" {
		o.Coverage = &starlark.Coverage{}
		if err := include(o, all); err != nil {
			return err
		}
	}
	report := r.newReport(tests)
	if err := test.Run(ctx, o, tests, report.test); err != nil {
		return err
	}
	if err := report.end(o.Coverage); err != nil {
		return err
	}
	if report.failed > 0 {
		return exitStatus(exitFailed)
	}
	return nil
}

// include has the files of the language noted that are no tests themselves.
func include(o test.Options, all []string) error {
	dir, err := starlark.OpenDir(o.Root, nil)
	if err != nil {
		return err
	}
	defer dir.Close()
	for _, name := range all {
		if path.Ext(name) != ".star" || strings.HasSuffix(name, test.Suffix) || slices.Contains(strings.Split(name, "/"), "testdata") {
			continue
		}
		file, err := dir.Open(name)
		if err != nil {
			continue // no test can load it either
		}
		text, err := io.ReadAll(file)
		file.Close()
		if err != nil {
			return fmt.Errorf("measure coverage: %w", err)
		}
		o.Coverage.Include(name, text)
	}
	return nil
}
