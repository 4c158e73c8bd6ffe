package isolate_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/starlark"
	"github.com/piper-build/piper/starlark/isolate"
	"github.com/piper-build/piper/starlark/test"
)

// That tests are the same in a child as here is held by package test.

// trials runs the tests of a file by e.
func trials(t *testing.T, e *isolate.Evaluator, text string, o test.Options) []test.Result {
	o.Root = t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(o.Root, "a_test.star"), []byte(text), 0o666))
	o.Tests, o.RunTest, o.Parallel = e.Tests, e.RunTest, 1
	tests, err := test.List(t.Context(), o, []string{"a_test.star"}, nil)
	require.NoError(t, err)
	var results []test.Result
	require.NoError(t, test.Run(t.Context(), o, tests, func(r test.Result) error {
		results = append(results, r)
		return nil
	}))
	return results
}

// unstoppable is lines of which the last is one step that has no end, and that
// nothing but the end of its process can stop.
const unstoppable = "x, y = ['a'], ['a']\nfor _ in range(8): x, y = [x] * 60, [y] * 60\nz = x == y\n"

// TestTestIsBounded: a test that takes more than it may fails, by itself.
func TestTestIsBounded(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector takes memory of its own")
	}
	e := evaluator()
	results := trials(t, e, "def test_equal(t):\n    "+strings.ReplaceAll(unstoppable, "\n", "\n    ")+`
def test_bomb(t):
    t.files({"PIPER.star": "x = [0] * ((1 << 30) - 1)"})
    t.plan()

def test_prints(t):
    t.files({"PIPER.star": "print('x' * 90)\npipeline('p', steps = [step('a', run = 'true')])"})
    print("y" * 90)
    t.plan()
    t.files({})
    t.plan()
    t.files({})
    t.plan()

def test_after(t):
    pass
`, test.Options{Timeout: time.Second, Limits: starlark.Limits{Output: 200}})
	require.Len(t, results, 4)
	require.Contains(t, results[0].Failure.Error(), "error: the test takes longer than 1s")
	require.Contains(t, results[0].Failure.Error(), "raise --timeout (1s)")
	require.Contains(t, results[1].Failure.Error(), "error: the test runs into the memory limit of 256 MiB")
	require.Empty(t, results[2].Failure)
	require.Len(t, results[2].Output, 3)
	require.Contains(t, results[2].Output[2], "truncated")
	require.Empty(t, results[3].Failure)
}

// TestTestTakenOver: whatever the child of a test says, the parent comes to no
// harm; that test has failed.
func TestTestTakenOver(t *testing.T) {
	golden := func(name string) string { return `q{"ask":"golden","name":"` + name + `","text":"eA=="}` }
	for _, c := range []struct {
		name string
		says []string
		want string // of what it was told, or of the failure
	}{
		{"a golden file", []string{golden("x"), `o{}`}, `{"text":"a2VwdA=="}`},
		{"a golden file that is not there", []string{golden("y"), `o{}`}, "there is no y"},
		{"a golden file without end", []string{golden("x"), golden("x")}, "ended without an answer"},
		{"facts that nobody made up", []string{`q{"ask":"meets","facts":{}}`}, "is not understood"},
		{"a question that swells", []string{`q{"ask":"meets","requires":` + swollen + `}`}, "asks for too much"},
		{"marks of no file", []string{`r{"ran":{"file":"b.star","marks":"AA=="}}`, `o{}`}, "there is no file"},
		{"too many marks", []string{`r{"ran":{"file":"a.star","marks":"AAAA"}}`, `o{}`}, "there is no file"},
		{"nothing", nil, "the test ended without an answer"},
		{"a result of another kind", []string{`r{"plan":[]}`}, "is not understood"},
		{"a failure that steers", []string{"o{\"failure\":\"\\u001b[31m\"}"}, `\x1b[31m`},
	} {
		t.Run(c.name, func(t *testing.T) {
			child := &taken{Reader: frames(c.says...)}
			e := isolate.Evaluator{Start: func(env, argv []string) (isolate.Process, error) { return child, nil }}
			covered := &starlark.Coverage{}
			covered.Include("a.star", []byte("x = 1\n"))
			err := e.RunTest(t.Context(), test.Job{
				Request: starlark.Request{Root: t.TempDir(), File: "a_test.star", Coverage: covered}, Name: "test_a",
				Golden: func(name, got string) (string, error) {
					if name != "x" {
						return "", errors.New("there is no " + name)
					}
					return "kept", nil
				},
			})
			told := child.heard.String()
			if err != nil {
				told += err.Error()
			}
			require.Contains(t, told, c.want)
			require.NotContains(t, told, "\x1b")
		})
	}
}

// swollen is a list that takes far more memory than text.
var swollen = "[" + strings.Repeat("{},", 100_000) + "{}]"

// TestTestsTakenOver: what is listed is safe to show.
func TestTestsTakenOver(t *testing.T) {
	child := &taken{Reader: frames("r{\"tests\":[{\"Name\":\"test_\\u001b[31m\",\"Pos\":\"\\u001b:1:1\"}]}", `o{}`)}
	e := isolate.Evaluator{Start: func(env, argv []string) (isolate.Process, error) { return child, nil }}
	tests, err := e.Tests(t.Context(), starlark.Request{Root: t.TempDir(), File: "a_test.star"})
	require.NoError(t, err)
	require.Equal(t, `test_\x1b[31m`, tests[0].Name)
	require.NotContains(t, tests[0].Pos.File, "\x1b")
}

// TestNoTestChild: that no child can be had is the machine's fault, and ends
// all tests; so does a context that is done.
func TestNoTestChild(t *testing.T) {
	gone := errors.New("no more processes")
	e := isolate.Evaluator{Start: func(env, argv []string) (isolate.Process, error) { return nil, gone }}
	r := starlark.Request{Root: t.TempDir(), File: "a_test.star"}
	_, err := e.Tests(t.Context(), r)
	require.ErrorIs(t, err, gone)
	require.ErrorIs(t, e.RunTest(t.Context(), test.Job{Request: r}), gone)
	r.Root = "/none"
	_, err = e.Tests(t.Context(), r)
	require.ErrorContains(t, err, "open the tree")

	ctx, cancel := context.WithCancel(t.Context())
	r = starlark.Request{Root: t.TempDir(), File: "a_test.star", Limits: starlark.Limits{Time: time.Hour, Steps: 1 << 60},
		Source: []byte("print('go')\nfor i in range(1 << 40):\n    pass\n"), Print: func(plan.Pos, string) { cancel() }}
	require.ErrorIs(t, evaluator().RunTest(ctx, test.Job{Request: r, Name: "test_a"}), context.Canceled)
}
