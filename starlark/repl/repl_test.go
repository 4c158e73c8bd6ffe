package repl

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/process"
	"github.com/piper-build/piper/starlark"
	"github.com/piper-build/piper/starlark/isolate"
)

var update = flag.Bool("update", false, "rewrite the transcripts in testdata")

// TestMain makes this test binary a process to evaluate in, too.
func TestMain(m *testing.M) {
	if isolate.IsChild() {
		os.Exit(isolate.ChildMain())
	}
	os.Exit(m.Run())
}

// A way is one to evaluate what is typed.
type way func(starlark.Request) (planning, error)

// A planning is a Session for commands that plan.
type planning interface {
	Session
	Plan(context.Context, starlark.Question) (starlark.Result, error)
	PlanFlow(ctx context.Context, text string, line int) (starlark.Result, error)
	Close() error
}

func here(r starlark.Request) (planning, error) { return starlark.Open(r) }

func isolated(r starlark.Request) (planning, error) {
	e := isolate.Evaluator{Start: func(env, argv []string) (isolate.Process, error) { return process.Converse(env, argv) }}
	return e.Open(r)
}

// eachWay runs a test with every way: a conversation is the same with all.
func eachWay(t *testing.T, test func(*testing.T, way)) {
	for name, w := range map[string]way{"here": here, "isolated": isolated} {
		t.Run(name, func(t *testing.T) { test(t, w) })
	}
}

// TestTranscripts has each conversation of testdata/*.txt again. Lines that
// begin with a prompt are typed; the others are what is to be shown for them.
// The files after it are the tree.
func TestTranscripts(t *testing.T) { eachWay(t, testTranscripts) }

func testTranscripts(t *testing.T, w way) {
	names, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, names)
	for _, name := range names {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(name)
			require.NoError(t, err)
			archive := txtar.Parse(text)
			s := &script{}
			for line := range strings.Lines(string(archive.Comment)) {
				for _, prompt := range []string{first, follow} {
					if typed, ok := strings.CutPrefix(line, prompt); ok {
						s.lines = append(s.lines, strings.TrimSuffix(typed, "\n"))
					}
				}
			}
			r := open(t, w, archive.Files, s)
			require.NoError(t, r.Run(context.Background()))
			if *update {
				archive.Comment = []byte(s.shown.String())
				require.NoError(t, os.WriteFile(name, txtar.Format(archive), 0o666))
				return
			}
			require.Equal(t, string(archive.Comment), s.shown.String())
		})
	}
}

// A script is an Editor of lines that are known before, and shows all.
type script struct {
	lines []string
	shown strings.Builder
}

func (s *script) Line(prompt string) (string, error) {
	if len(s.lines) == 0 {
		return "", io.EOF
	}
	line := s.lines[0]
	s.lines = s.lines[1:]
	if line == "^C" {
		s.shown.WriteString(prompt + line + "\n")
		return "", ErrInterrupted
	}
	s.shown.WriteString(prompt + line + "\n")
	return line, nil
}

// open begins a conversation in a tree of files.
func open(t *testing.T, w way, files []txtar.File, s *script) *REPL {
	t.Helper()
	dir := t.TempDir()
	for _, f := range files {
		path := filepath.Join(dir, f.Name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o777))
		require.NoError(t, os.WriteFile(path, f.Data, 0o666))
	}
	session, err := w(starlark.Request{Root: dir, Event: plan.Event{Branch: "main"}, Limits: starlark.Limits{Steps: 100_000},
		Print: func(_ plan.Pos, message string) { fmt.Fprintln(&s.shown, message) }})
	require.NoError(t, err)
	t.Cleanup(func() { session.Close() })
	if len(files) > 0 {
		require.NoError(t, session.Reload(context.Background()))
	}
	r := &REPL{Session: session, Editor: s, Out: &s.shown, Report: func(err error) {
		fmt.Fprintln(&s.shown, strings.TrimRight(err.Error(), "\n"))
	}}
	r.Commands = []Command{
		{Name: "plan", Doc: "show the plan", Run: func(ctx context.Context, args string) error {
			result, err := session.Plan(ctx, starlark.Question{Pipeline: args})
			if err != nil {
				return err
			}
			for _, n := range result.Plan.Nodes {
				fmt.Fprintln(&s.shown, n.Name, n.Needs)
			}
			return nil
		}},
		{Name: "flow", Doc: "plan a flow", Run: func(ctx context.Context, args string) error {
			result, err := session.PlanFlow(ctx, r.InPlace(args), r.Line(args))
			if err != nil {
				return err
			}
			fmt.Fprintln(&s.shown, len(result.Plan.Nodes), "nodes")
			return nil
		}},
		{Name: "broken", Doc: "fail", Run: func(context.Context, string) error { return errors.New("it is broken") }},
	}
	return r
}

const projectFile = `
project(name = "shop")
lint = step("lint", run = "true")
_private = 1
def helper(first, second = 2):
    "Helps."
    return first
pipeline(name = "build", params = {"level": param.int(default = 3)}, steps = [lint])
`

func TestComplete(t *testing.T) { eachWay(t, testComplete) }

func testComplete(t *testing.T, w way) {
	r := open(t, w, []txtar.File{{Name: "PIPER.star", Data: []byte(projectFile)}, {Name: "ci/go.star", Data: []byte("x = 1\n")}, {Name: "main.go"}}, &script{})
	r.Commands = append(r.own(), r.Commands...)
	for _, test := range []struct {
		begun  string // lines before
		before string
		head   string
		want   []string // among what is found
		not    []string
		only   bool // nothing but want
	}{
		{before: "st", head: "", want: []string{"step", "str", "struct"}, only: true},
		{before: "hel", want: []string{"helper"}, only: true},
		{before: "", want: []string{"lint", "ctx", "def", "len"}, not: []string{"_private"}},
		{before: "_p", want: []string{"_private"}, only: true},
		{before: "ctx.", head: "ctx.", want: []string{"event", "params"}},
		{before: "x = ctx.params.", head: "x = ctx.params.", want: []string{"level"}, only: true},
		{before: "ctx.project.na", head: "ctx.project.", want: []string{"name"}, only: true},
		{before: "fs.g", head: "fs.", want: []string{"glob"}, only: true},
		{before: "lint.o", head: "lint.", want: []string{"output"}, only: true},
		{before: "nothing.", head: "nothing.", only: true},
		{before: `step("a", ti`, head: `step("a", `, want: []string{"timeout = ", "time"}, only: true},
		{before: `step("a", run = "b", ru`, head: `step("a", run = "b", `, want: []string{"run_on = "}, not: []string{"run = "}},
		{before: `step("a", run = li`, head: `step("a", run = `, want: []string{"lint", "list"}, only: true},
		{before: `step("a", env = {"A": li`, head: `step("a", env = {"A": `, want: []string{"lint", "list"}, only: true},
		{begun: `step("a",`, before: "  ti", head: "  ", want: []string{"timeout = ", "time"}, only: true},
		{before: "helper(se", head: "helper(", want: []string{"second = ", "secret"}, not: []string{"first"}},
		{before: "param.string(de", head: "param.string(", want: []string{"default = ", "def"}, only: true},
		{before: `"st`, head: `"st`, only: true},
		{begun: `x = """`, before: "st", head: "st", only: true},
		{begun: "def f():", before: "", head: "", want: []string{"    "}, only: true},
		{before: ":", want: []string{":help ", ":load ", ":quit ", ":reload ", ":type ", ":plan "}},
		{before: ":re", want: []string{":reload "}, only: true},
		{before: ":nope x", head: ":nope x", only: true},
		{before: ":type ctx.pa", head: ":type ctx.", want: []string{"params"}, only: true},
		{before: ":load ci", head: ":load ", want: []string{"ci/go.star"}, only: true},
		{before: ":load ", head: ":load ", want: []string{"ci/go.star", "PIPER.star"}, not: []string{"main.go"}},
	} {
		r.begun = &scan{}
		if test.begun != "" {
			r.begun.add(test.begun)
		}
		head, found := r.Complete(test.before)
		require.Equal(t, test.head, head, "%s|", test.before)
		for _, want := range test.want {
			require.Contains(t, found, want, "%s|", test.before)
		}
		for _, not := range test.not {
			require.NotContains(t, found, not, "%s|", test.before)
		}
		if test.only {
			require.Len(t, found, len(test.want), "%s| %q", test.before, found)
		}
	}
}

// TestCompleteLeavesNoTrace: what completion looks at is not read by the plan.
func TestCompleteLeavesNoTrace(t *testing.T) { eachWay(t, testCompleteLeavesNoTrace) }

func testCompleteLeavesNoTrace(t *testing.T, w way) {
	r := open(t, w, []txtar.File{{Name: "PIPER.star", Data: []byte(projectFile)}}, &script{})
	inputs := func() []plan.Input {
		result, err := r.Session.(planning).Plan(context.Background(), starlark.Question{})
		require.NoError(t, err)
		return result.Plan.Inputs
	}
	before := inputs()
	_, found := r.Complete("ctx.event.branch.up")
	require.Equal(t, []string{"upper"}, found)
	require.Equal(t, before, inputs())
	_, err := r.Session.Run(context.Background(), "ctx.event.branch", 1)
	require.NoError(t, err)
	require.True(t, slices.ContainsFunc(inputs(), func(i plan.Input) bool { return i.Kind == "event" && i.Key == "branch" }), "what an input reads is")
}

func TestInterrupted(t *testing.T) { eachWay(t, testInterrupted) }

func testInterrupted(t *testing.T, w way) {
	r := open(t, w, nil, &script{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	require.ErrorIs(t, r.do(ctx, "1 + 1"), ErrInterrupted)
	_, err := r.Session.Run(context.Background(), "1 + 1", 2)
	require.NoError(t, err)
}

// TestLarge: a value that would fill memory when it is written out is cut.
func TestLarge(t *testing.T) { eachWay(t, testLarge) }

func testLarge(t *testing.T, w way) {
	s := &script{lines: []string{"x = ()", "for i in range(60): x = (x, x)", "x", "def f(a = x): pass", "", ":type f",
		"[[i] * 300 for i in range(300)]", "b'x' * 1000000"}}
	r := open(t, w, nil, s)
	require.NoError(t, r.Run(context.Background()))
	require.NotContains(t, s.shown.String(), "error")
	require.Less(t, s.shown.Len(), 200<<10)
}

func TestReadFails(t *testing.T) {
	broken := errors.New("broken")
	r := open(t, here, nil, &script{})
	r.Editor = failing{broken}
	require.ErrorIs(t, r.Run(context.Background()), broken)
}

type failing struct{ err error }

func (f failing) Line(string) (string, error) { return "", f.err }

func TestPipe(t *testing.T) {
	long := strings.Repeat("x", maxInput)
	var asked strings.Builder
	p := NewPipe(strings.NewReader("a\r\n\n"+long+"y\nb\n"+long+"\nlast"), &asked)
	for _, want := range []string{"a", "", "too long", "b", "fits", "last"} {
		line, err := p.Line("> ")
		switch want {
		case "too long":
			require.ErrorIs(t, err, ErrTooLong)
		case "fits":
			require.ErrorIs(t, err, ErrTooLong) // with its end
		default:
			require.NoError(t, err)
			require.Equal(t, want, line)
		}
	}
	_, err := p.Line("> ")
	require.ErrorIs(t, err, io.EOF)
	require.Equal(t, strings.Repeat("> ", 7), asked.String())
}

func TestTooLong(t *testing.T) {
	s := &script{lines: []string{`x = """` + strings.Repeat("x", maxInput), "1 + 1"}}
	r := open(t, here, nil, s)
	require.NoError(t, r.Run(context.Background()))
	shown := s.shown.String()
	require.Contains(t, shown, "<stdin>:1:1: error: the input is too long\nhint: put it into a file, and :load that\n")
	require.True(t, strings.HasSuffix(shown, ">>> 1 + 1\n2\n"))

	// What is left of an input that is too long is not carried out by itself.
	for _, end := range []string{`"""`, ""} {
		s = &script{}
		r = open(t, here, nil, s)
		r.Editor = NewPipe(strings.NewReader("x = \"\"\"\n"+strings.Repeat(strings.Repeat("x", 1<<20)+"\n", 16)+"print('no')\n"+end+"\n1 + 1\n"), nil)
		require.NoError(t, r.Run(context.Background()))
		shown = s.shown.String()
		require.Equal(t, 1, strings.Count(shown, "error: the input is too long\n"))
		require.NotContains(t, shown, "no\n")
		require.Equal(t, end != "", strings.HasSuffix(shown, "\n2\n"))
	}
}

func TestHistory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state", "history")
	h := &history{path: path}
	require.Empty(t, h.read())
	h.add("first")
	require.NoError(t, os.Chmod(path, 0o644))
	h.add("second é")
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	require.Equal(t, []string{"first", "second é"}, h.read())

	var many strings.Builder
	for i := range 2500 {
		fmt.Fprintf(&many, "line %d\n\xff\n\n", i)
	}
	require.NoError(t, os.WriteFile(path, []byte(many.String()), 0o600))
	lines := h.read()
	require.Len(t, lines, 1000)
	require.Equal(t, "line 2499", lines[999])
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, strings.Join(lines, "\n")+"\n", string(data), "what is too old is gone")
	info, err = os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())

	nowhere := &history{}
	nowhere.add("x")
	require.Empty(t, nowhere.read())
	under := &history{path: filepath.Join(path, "below a file")}
	under.add("x")
	under.replace("x")
	require.Empty(t, under.read())
}

// FuzzInput: whatever is typed, the conversation goes on.
func FuzzInput(f *testing.F) {
	for _, seed := range []string{
		"1 + 1", "x = [1,\n2]\nx", "def f():\n  return 1\n\nf()", ":type 1 +\n:load x\n:r", "\"\"\"a\n", "\x00\xff", "load(\"//a.star\", \"b\")",
		"pipeline(\"p\", steps = [step(\"a\", run = \"b\")])\n:plan p", ":flow step('a', run = 'b')", " x\\\n", "if 1:\n  2\nelse:\n  3\n", "_ = secret('a')\n_",
		"x = []; x.append(x); x", "f = lambda: f\n:type f", "ctx.params.x\n\r\n\t:quit",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s := &script{lines: append(strings.Split(text, "\n"), "", "^C", `print("still %s" % "here")`)}
		r := open(t, here, nil, s)
		require.NoError(t, r.Run(context.Background()))
		if !r.leaving {
			require.True(t, strings.HasSuffix(s.shown.String(), "still here\n"), s.shown.String())
		}
		head, _ := r.Complete(text)
		require.True(t, strings.HasPrefix(text, head), "%q %q", text, head)
	})
}

// TestScanIsBounded: a scan counts what is open and keeps no more of it than
// anybody types.
func TestScanIsBounded(t *testing.T) {
	const many = 5000
	s := &scan{}
	s.add("f(" + strings.Repeat("a=1,", many))
	require.Len(t, s.brackets[0].given, maxKept)
	s.add(strings.Repeat("[", many))
	require.Len(t, s.brackets, maxKept)
	s.add(strings.Repeat("]", many))
	require.True(t, s.open())
	s.add(")")
	require.False(t, s.open())
}
