package test_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/builtins"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/process"
	"github.com/piper-build/piper/starlark"
	"github.com/piper-build/piper/starlark/isolate"
	"github.com/piper-build/piper/starlark/test"
)

// tree writes a tree: shop.star as its PIPER.star, and the files of an archive.
func tree(t testing.TB, archive string) string {
	t.Helper()
	root := t.TempDir()
	shop, err := os.ReadFile("testdata/shop.star")
	require.NoError(t, err)
	files := append([]txtar.File{{Name: "PIPER.star", Data: shop}}, txtar.Parse([]byte(archive)).Files...)
	for _, f := range files {
		name := filepath.Join(root, f.Name)
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o777))
		require.NoError(t, os.WriteFile(name, f.Data, 0o666))
	}
	return root
}

// TestMain makes this test binary a process to evaluate in, too.
func TestMain(m *testing.M) {
	if isolate.IsChild() {
		os.Exit(isolate.ChildMain())
	}
	os.Exit(m.Run())
}

// run runs the tests of a file, in this process and in others: what comes of
// them must be the same, as must be what coverage and golden files say.
func run(t testing.TB, o test.Options, file string) []test.Result {
	t.Helper()
	again := o
	if o.Evaluate != nil || o.Timeout == briefly {
		return runHere(t, o, file) // which is not told to another process; which ends by chance
	}
	if _, measured := t.(*testing.B); measured {
		return runHere(t, o, file)
	}
	again.Root = t.TempDir()
	require.NoError(t, os.CopyFS(again.Root, os.DirFS(o.Root)))
	o.Coverage, again.Coverage = cover(t, o.Root), cover(t, o.Root)
	e := &isolate.Evaluator{Start: func(env, argv []string) (isolate.Process, error) { return process.Converse(env, argv) }}
	again.Tests, again.RunTest = e.Tests, e.RunTest

	results, isolated := runHere(t, o, file), runHere(t, again, file)
	require.Equal(t, results, isolated)
	require.Equal(t, o.Coverage.Files(), again.Coverage.Files())
	require.Equal(t, goldens(t, o.Root), goldens(t, again.Root))
	return results
}

func runHere(t testing.TB, o test.Options, file string) []test.Result {
	t.Helper()
	tests, err := test.List(t.Context(), o, []string{file}, nil)
	require.NoError(t, err)
	var results []test.Result
	require.NoError(t, test.Run(t.Context(), o, tests, func(r test.Result) error {
		require.Positive(t, r.Duration)
		r.Duration = 0
		results = append(results, r)
		return nil
	}))
	require.Len(t, results, len(tests))
	return results
}

// cover has the files of a tree noted that are no tests.
func cover(t testing.TB, root string) *starlark.Coverage {
	c := &starlark.Coverage{}
	each(t, root, func(name string, text []byte) {
		if strings.HasSuffix(name, ".star") && !strings.HasSuffix(name, test.Suffix) {
			c.Include(name, text)
		}
	})
	return c
}

// goldens returns the golden files of a tree.
func goldens(t testing.TB, root string) map[string]string {
	kept := map[string]string{}
	each(t, root, func(name string, text []byte) {
		if strings.HasSuffix(name, ".golden") {
			kept[name] = string(text)
		}
	})
	return kept
}

// each calls yield for each file of a tree.
func each(t testing.TB, root string, yield func(name string, text []byte)) {
	require.NoError(t, fs.WalkDir(os.DirFS(root), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(filepath.Join(root, name))
		yield(name, text)
		return err
	}))
}

// one runs lines as the body of a test.
func one(t testing.TB, o test.Options, body string) test.Result {
	t.Helper()
	if o.Root == "" {
		o.Root = tree(t, "-- notes.txt --\nhello\n")
	}
	text := "def test_it(t):\n    " + strings.ReplaceAll(strings.Trim(body, "\n"), "\n", "\n    ") + "\n"
	require.NoError(t, os.WriteFile(filepath.Join(o.Root, "it_test.star"), []byte(text), 0o666))
	return run(t, o, "it_test.star")[0]
}

// TestExamples runs the example of every word that tests have.
func TestExamples(t *testing.T) {
	for _, b := range builtins.Table() {
		if !b.TestOnly {
			continue
		}
		t.Run(b.Name, func(t *testing.T) {
			result := one(t, test.Options{Update: true}, b.Example)
			require.Empty(t, result.Failure)
		})
	}
}

// TestPasses holds what tests can rely on, in testdata/passes.star.
func TestPasses(t *testing.T) {
	text, err := os.ReadFile("testdata/passes.star")
	require.NoError(t, err)
	root := tree(t, "-- passes_test.star --\n"+string(text)+"-- VERSION --\n1.0.0\n-- docs/index.md --\n# Hi\n")
	o := test.Options{Root: root, Meets: func(_ context.Context, facts map[string]string, requirements []plan.Requirement) error {
		for _, r := range requirements {
			if facts[r.Key] == "" {
				return errors.New("needs " + r.Key)
			}
		}
		return nil
	}}
	for _, result := range run(t, o, "passes_test.star") {
		t.Run(result.Name, func(t *testing.T) { require.Empty(t, result.Failure.Error()) })
	}
}

// TestFails has every way to fail, with what is said.
func TestFails(t *testing.T) {
	// Steps end what has no end, on a machine of any speed.
	o := test.Options{Timeout: time.Hour, Limits: starlark.Limits{Steps: 100_000, Time: time.Hour}}
	for body, want := range map[string]string{
		`assert.eq(1, 2)`:                                            `:5: error: assert.eq: got 1, want 2`,
		`assert.eq("1", 1, message = "the count")`:                   `assert.eq: the count: got "1", want 1`,
		`assert.eq("a\nb\n", "a\nc\n")`:                              "(-want +got)\n      \"\"\"a\n    - c\n    + b\n",
		`assert.eq(t.ok(), t.ok())`:                                  `got <outcome t.ok>, an outcome; want an outcome, which looks the same`,
		`assert.ne([1], [1])`:                                        `assert.ne: both are [1]`,
		`assert.true([])`:                                            `assert.true: got []`,
		`assert.false("x", message = "no")`:                          `assert.false: no: got "x"`,
		`assert.lt(2, 2)`:                                            `assert.lt: 2 is not less than 2`,
		`assert.lt(2, "a")`:                                          `int < string not implemented`,
		`assert.contains([1], 2)`:                                    `assert.contains: no 2 in [1]`,
		`assert.contains("abc", "d")`:                                `assert.contains: no "d" in "abc"`,
		`assert.contains(1, 2)`:                                      `assert.contains: an int cannot hold an int`,
		`assert.fails(lambda: 1)`:                                    `assert.fails: there was no error`,
		`assert.fails(lambda: fail("a"), "b")`:                       `assert.fails: the error "a" does not match "b"`,
		`assert.fails(1)`:                                            `function is an int, want a function`,
		`assert.fails(lambda: 1, "(")`:                               `pattern "(" is not a regular expression`,
		`assert.fail("x")`:                                           `assert has no .fail; it has .contains, .eq, .fails, .false, .lt, .ne, .true`,
		`assert.eq(1)`:                                               `assert.eq needs want`,
		`t.plam()`:                                                   `t has no .plam`,
		`t.plan("tset")`:                                             `:12: error: the pipeline cannot be planned`,
		`t.plan(event = "push")`:                                     `event is a string, want an event`,
		`t.plan("deploy")`:                                           `needs the parameter "url", which was not given`,
		`t.plan("test", params = {"x": 1.5})`:                        `params["x"] is a float, want a string, an int, a bool or a list of strings`,
		`t.plan("test", params = [])`:                                `params is a list, want a dict`,
		`t.plan("test").step("untt")`:                                `hint: did you mean "unit"?`,
		`t.plan("test").stepz`:                                       `plan has no .stepz`,
		`t.simulate("test").state("x")`:                              `the plan of test has no node "x"`,
		`t.simulate("test").stat`:                                    `run has no .stat`,
		`t.simulate("test", outcomes = {"unti": t.ok()})`:            `hint: did you mean "unit"?`,
		`t.simulate("test", cancel = t.cancel(during = "unti"))`:     `the plan has no node "unti"`,
		`t.simulate("test", outcomes = {"unit": [t.ok(), t.ok()]})`:  `unit has 2 outcomes, but only one attempt`,
		`t.simulate("test", outcomes = {"lint": t.times_out()})`:     `lint has no time-out, so it cannot time out`,
		`t.simulate("test", outcomes = {"lint": t.refused()})`:       `lint is no approval, so nobody is asked`,
		`t.simulate("test", outcomes = {"unit": "fails"})`:           `outcomes["unit"] is a string, want an outcome or a list of them`,
		`t.simulate("test", outcomes = {"unit": []})`:                `outcomes["unit"] is an empty list`,
		`t.simulate("test", outcomes = {"unit": [1]})`:               `outcomes["unit"][0]`,
		`t.simulate("test", outcomes = [])`:                          `outcomes is a list, want a dict`,
		`t.simulate("test", cancel = "1m")`:                          `cancel is a string, want what t.cancel returns`,
		`t.simulate("test", slots = 0)`:                              `slots is 0, want 1 to`,
		`t.cancel()`:                                                 `t.cancel needs after or during`,
		`t.fails(exit = 3, kind = "signal")`:                         `exit is given, but a failure of kind "signal" has no exit code`,
		`t.fails(exit = 0)`:                                          `exit is 0, want 1 to 255`,
		`t.fails(kind = "sgnal")`:                                    `hint: did you mean "signal"?`,
		`t.ok(duration = "soon")`:                                    `duration is "soon", which is not a duration`,
		`t.cron(time = "noon")`:                                      `time is "noon", which is not a time`,
		`t.files({"../x": "y"})`:                                     `"../x" is not a path below the root of the tree`,
		`t.files({".git/config": "y"})`:                              `is not a path below the root of the tree`,
		`t.files(["x"])`:                                             `files is a list, want a dict of strings`,
		`t.golden("../x", 1)`:                                        `name "../x" is not one for a file`,
		`t.golden("x", 1)`:                                           `there is no testdata/x.golden yet; piper test --update writes it`,
		`pipeline(name = "x", steps = [])`:                           `pipeline`,
		"for i in range(1 << 40):\n    pass":                         `the test takes more than 100000 steps of the interpreter`,
		"for i in range(1 << 40):\n    assert.fails(lambda: 1 // 0)": `the test takes more than 100000 steps of the interpreter`,
		"t.files({\"PIPER.star\": \"x = \"})\nt.plan()":              `PIPER.star:1:4: error:`,
		"t.files({\"PIPER.star\": \"for i in range(1 << 40):\\n    pass\\n\"})\nt.plan()": `evaluation takes more than 100000 steps`,
		`step("a b", run = "x")`: `name "a b"`,
	} {
		t.Run(body, func(t *testing.T) {
			require.Contains(t, one(t, o, body).Failure.Error(), want)
		})
	}
}

// briefly is too short for what has no end, and may be for anything else.
const briefly = 50 * time.Millisecond

// TestTimeIsBounded has tests that ask for too much: for many small things, and
// for one that has no end by itself. Wherever its time ends, a test says so.
func TestTimeIsBounded(t *testing.T) {
	endless := func(ctx context.Context, _ starlark.Request) (starlark.Result, error) {
		<-ctx.Done()
		return starlark.Result{}, ctx.Err()
	}
	for name, o := range map[string]test.Options{
		"for i in range(1 << 40): t.simulate(\"test\", slots = 1 + i % 7)": {Limits: starlark.Limits{Steps: 1 << 60}},
		"t.plan(\"test\")": {Evaluate: endless},
		"assert.fails(lambda: t.simulate(\"test\"), \"\")": {Evaluate: endless},
	} {
		t.Run(name, func(t *testing.T) {
			o.Timeout = briefly
			result := one(t, o, name)
			require.Contains(t, result.Failure.Error(), "the test takes longer than 50ms")
			require.Contains(t, result.Failure.Error(), "raise --timeout (50ms)")
			require.NotContains(t, result.Failure.Error(), "context")
		})
	}
}

func TestCancelledFromOutside(t *testing.T) {
	root := tree(t, "-- a_test.star --\ndef test_a(t): pass\n")
	o := test.Options{Root: root}
	tests, err := test.List(t.Context(), o, []string{"a_test.star"}, nil)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, test.Run(ctx, o, tests, func(test.Result) error { return nil }), context.Canceled)

	full := errors.New("disk full")
	require.ErrorIs(t, test.Run(t.Context(), o, tests, func(test.Result) error { return full }), full)
}

// TestIsolated: no test sees another one, and each is reported in its place.
func TestIsolated(t *testing.T) {
	root := tree(t, `
-- a_test.star --
load("//lib.star", "state")

print("loaded")

def test_one(t):
    t.files({"VERSION": "1"})
    assert.eq(t.plan("version").step("v").run, ["echo", "1"])
    print("one")

def test_two(t):
    assert.eq(t.plan("version").step("v").run, ["echo", "0"])

def test_frozen(t):
    assert.fails(lambda: state.append(1), "frozen")

def testing(t):
    fail("this is no test")
-- lib.star --
state = []
`)
	results := run(t, test.Options{Root: root, Parallel: 3}, "a_test.star")
	var names []string
	for _, r := range results {
		names = append(names, r.Name)
		require.Empty(t, r.Failure)
		require.Equal(t, "a_test.star:4: loaded", strings.Replace(r.Output[0], ":3:", ":4:", 1))
	}
	require.Equal(t, []string{"test_one", "test_two", "test_frozen"}, names)
	require.Equal(t, []string{"a_test.star:3: loaded", "a_test.star:8: one"}, results[0].Output)
}

func TestGolden(t *testing.T) {
	root := tree(t, "-- sub/a_test.star --\n"+`
def test_a(t):
    t.golden("plan", t.plan("test"))
    t.golden("deep/text", "no line break at the end")
def test_b(t):
    t.golden("plan", t.plan("release"))
`)
	o := test.Options{Root: root, Update: true, Parallel: 1}
	results := run(t, o, "sub/a_test.star")
	require.Empty(t, results[0].Failure)
	require.Equal(t, []string{"sub/testdata/plan.golden", "sub/testdata/deep/text.golden"}, results[0].Updated)
	require.Contains(t, results[1].Failure.Error(), "sub/testdata/plan.golden is to hold two different values")
	text, err := os.ReadFile(filepath.Join(root, "sub/testdata/deep/text.golden"))
	require.NoError(t, err)
	require.Equal(t, "no line break at the end\n", string(text))

	o.Update = false
	results = run(t, o, "sub/a_test.star")
	require.Empty(t, results[0].Failure)
	require.Contains(t, results[1].Failure.Error(), `-   "pipeline": "test",`)

	// A link does not lead out of the tree.
	require.NoError(t, os.RemoveAll(filepath.Join(root, "sub/testdata")))
	require.NoError(t, os.Symlink(t.TempDir(), filepath.Join(root, "sub/testdata")))
	o.Update = true
	results = run(t, o, "sub/a_test.star")
	require.Contains(t, results[0].Failure.Error(), "golden file")
}

// TestGoldenFiles: what stands in the place of a golden file is no file to read,
// or to write over.
func TestGoldenFiles(t *testing.T) {
	for want, put := range map[string]func(path string) error{
		"is a directory":        func(path string) error { return os.Mkdir(path, 0o777) },
		"is not a regular file": func(path string) error { return syscall.Mkfifo(path, 0o666) },
		"has more than 8388608 bytes": func(path string) error {
			return errors.Join(os.WriteFile(path, nil, 0o666), os.Truncate(path, 1<<40))
		},
	} {
		for _, update := range []bool{false, true} {
			root := tree(t, "-- a_test.star --\ndef test_a(t): t.golden('x', 1)\n-- testdata/y --\n")
			require.NoError(t, put(filepath.Join(root, "testdata/x.golden")))
			results := runHere(t, test.Options{Root: root, Update: update}, "a_test.star")
			require.Contains(t, results[0].Failure.Error(), "read golden file testdata/x.golden: "+want)
		}
	}
}

// TestGoldenNames: a test that is run elsewhere may call for any name.
func TestGoldenNames(t *testing.T) {
	root := tree(t, "-- a_test.star --\ndef test_a(t): pass\n")
	tests, err := test.List(t.Context(), test.Options{Root: root}, []string{"a_test.star"}, nil)
	require.NoError(t, err)
	for _, name := range []string{"../x", "a/../../x", "", "/etc/x", "a\x00", "-x"} {
		o := test.Options{Root: root, Update: true, RunTest: func(_ context.Context, j test.Job) error {
			_, err := j.Golden(name, "text")
			return err
		}}
		err := test.Run(t.Context(), o, tests, func(test.Result) error { return nil })
		require.ErrorContains(t, err, "is no name for a golden file")
	}
	require.NoDirExists(t, filepath.Join(root, "testdata"))
}

func TestFind(t *testing.T) {
	require.Equal(t, []string{"PIPER_test.star", "ci/a_test.star"},
		test.Find([]string{"PIPER.star", "PIPER_test.star", "ci/a_test.star", "testdata/b_test.star", "x/testdata/y/b_test.star", "ci/a_test.py"}))
}

// TestList: all that is wrong is said, and once.
func TestList(t *testing.T) {
	root := tree(t, `
-- a_test.star --
load("//bad.star", "x")
def test_a(t): pass
-- b_test.star --
load("//bad.star", "x")
def test_b(t): pass
-- c_test.star --
def test_c(): pass
def test_c(a, b): pass
-- bad.star --
x = (
-- ok_test.star --
def test_ok(t): pass
def test_other(t): pass
def helper(): pass
`)
	o := test.Options{Root: root}
	_, err := test.List(t.Context(), o, []string{"a_test.star", "b_test.star", "c_test.star", "none_test.star"}, nil)
	var found plan.Diagnostics
	require.ErrorAs(t, err, &found)
	var places []string
	for _, d := range found {
		places = append(places, d.File+" "+d.Code)
	}
	require.Equal(t, []string{"bad.star syntax", "c_test.star bad-test", "c_test.star duplicate-test", "none_test.star no-such-file"}, places)

	tests, err := test.List(t.Context(), o, []string{"ok_test.star"}, regexp.MustCompile("o.h"))
	require.NoError(t, err)
	require.Len(t, tests, 1)
	require.Equal(t, "test_other", tests[0].Name)
	require.Equal(t, "ok_test.star:2:5", tests[0].Pos.String())
}

// TestEvaluator: pipelines go through the evaluator that is given, and an error
// of its machine is told as one.
func TestEvaluator(t *testing.T) {
	asked := 0
	o := test.Options{Evaluate: func(ctx context.Context, r starlark.Request) (starlark.Result, error) {
		if asked++; r.Pipeline == "release" {
			return starlark.Result{}, errors.New("the child was killed")
		}
		return starlark.Evaluate(ctx, r)
	}}
	result := one(t, o, `
t.plan("test")
t.simulate("test")
t.files({"x": "y"})
t.plan("test")
t.plan("release")
`)
	require.Contains(t, result.Failure.Error(), "it_test.star:6")
	require.Contains(t, result.Failure.Error(), "the child was killed")
	require.Equal(t, 3, asked, "the same question is asked once, while no file changes")
}

// BenchmarkSimulate is 1,000 simulations of 50 steps, asked for by a test.
func BenchmarkSimulate(b *testing.B) {
	root := tree(b, `
-- many.star --
steps = [step("s%d" % i, run = "true", retry = retry(attempts = 2)) for i in range(50)]
pipeline(name = "many", steps = [parallel(steps[:20], limit = 4), parallel(steps[20:])])
-- many_test.star --
def _many(t, n):
    for i in range(n):
        run = t.simulate("many", file = "many.star", outcomes = {"s%d" % (i % 50): [t.fails(), t.ok()]})
        assert.eq(run.state(), "success")

def test_a(t): _many(t, 250)
def test_b(t): _many(t, 250)
def test_c(t): _many(t, 250)
def test_d(t): _many(t, 250)
`)
	o := test.Options{Root: root}
	for b.Loop() {
		for _, r := range run(b, o, "many_test.star") {
			require.Empty(b, r.Failure)
		}
	}
}

// TestLinesAreBounded: what is kept of a test that prints many empty lines is
// bounded by what they take, not by what stands in them.
func TestLinesAreBounded(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(root, "a_test.star"), []byte("def test_a(t):\n    for _ in range(1000):\n        print()\n"), 0o666))
	o := test.Options{Root: root, Limits: starlark.Limits{Output: 2000}}
	tests, err := test.List(t.Context(), o, []string{"a_test.star"}, nil)
	require.NoError(t, err)
	require.NoError(t, test.Run(t.Context(), o, tests, func(r test.Result) error {
		require.Empty(t, r.Failure)
		require.Less(t, len(r.Output), 50)
		require.Contains(t, r.Output[len(r.Output)-1], "truncated")
		return nil
	}))
}
