package isolate_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/process"
	"github.com/piper-build/piper/starlark"
	"github.com/piper-build/piper/starlark/isolate"
)

// A taken is a child that was taken over: it says what it likes.
type taken struct {
	io.Reader
	heard bytes.Buffer // what it was told
}

func (c *taken) Write(p []byte) (int, error)               { return c.heard.Write(p) }
func (c *taken) Pid() int                                  { return 0 }
func (c *taken) Kill()                                     {}
func (c *taken) Interrupt()                                {}
func (c *taken) Wait() (syscall.WaitStatus, string, error) { return 0, "", nil }

// takeOver has r evaluated by a child that says these frames. heard is what the
// child was told.
func takeOver(ctx context.Context, r starlark.Request, says io.Reader) (result starlark.Result, heard string, err error) {
	c := &taken{Reader: says}
	e := isolate.Evaluator{Start: func(env, argv []string) (isolate.Process, error) { return c, nil }}
	result, err = e.Evaluate(ctx, r)
	return result, c.heard.String(), err
}

// frames puts frames together: each is its kind, then its payload.
func frames(list ...string) io.Reader {
	var b bytes.Buffer
	for _, f := range list {
		b.WriteByte(f[0])
		binary.Write(&b, binary.BigEndian, uint32(len(f)-1))
		b.WriteString(f[1:])
	}
	return &b
}

// TestTakenOver: whatever a child says, the parent comes to no harm and says
// what is wrong.
func TestTakenOver(t *testing.T) {
	valid := plan.Plan{Format: plan.Format, Pipeline: "p", Nodes: []plan.Node{{Name: "a", Step: &plan.Step{Script: "true"}}}}
	invalid := valid
	invalid.Nodes = []plan.Node{{Name: "a", Step: &plan.Step{Script: "true"}, Needs: []string{"a"}}}
	part := func(p *plan.Plan) string {
		var b strings.Builder
		require.NoError(t, p.WriteCanonical(&b))
		return `r{"plan":` + b.String() + `}`
	}
	end := func(p *plan.Plan) string { return fmt.Sprintf(`o{"digest":%q}`, p.Digest()) }
	many := func(n int, text string) string { return "[" + strings.Repeat(text+",", n) + text + "]" }

	for _, test := range []struct {
		name string
		says io.Reader
		want string // "" is no error
	}{
		{"the truth", frames(`h{}`, part(&valid), end(&valid)), ""},
		{"nothing", frames(), "exited with status 0"},
		{"hello, and no more", frames(`h{}`), "exited with status 0"},
		{"half a frame", strings.NewReader("r\x00\x00\x01\x00{"), "exited with status 0"},
		{"what is no frame", strings.NewReader("HTTP/1.1 200 OK\r\n\r\n"), "a frame 'H' of"},
		{"a frame of 4 GiB", strings.NewReader("r\xff\xff\xff\xff"), "of 4294967295 bytes"},
		{"a frame of its parent", frames(`a{}`), "a frame 'a'"},
		{"what is no JSON", frames(`r{`), "unexpected end"},
		{"another question", frames(`q{"ask":"shell","name":"id"}`), "is not understood"},
		{"questions without end", endless(`q{"ask":"environ","name":"A"}`), "asks for too much"},
		{"questions to git without end", endless(`q{"ask":"describe","flags":["--tags"]}`), "asks for too much"},
		{"files without end", endless(`q{"ask":"files"}`), "asks for too much"},
		{"prints without end", endless(`p{"message":"` + strings.Repeat("x", 1000) + `"}`), "more than may be printed"},
		{"prints of nothing without end", endless(`p{}`), "more than may be printed"},
		{"a result without end", endless(part(&valid)), "too large"},
		{"a catalog that swells", frames(`r{"catalog":{"environments":` + many(100_000, "{}") + `}}`), "too large"},
		{"needs that swell", frames(`r{"catalog":{"pipelines":[{"on":[{"paths":` + many(500_000, `""`) + `}]}]}}`), "too large"},
		{"a catalog that swells bit by bit", endless(`r{"catalog":{"environments":` + many(1000, "{}") + `}}`), "too large"},
		{"warnings without end", endless(`r{"warnings":` + many(1000, "{}") + `}`), "too large"},
		{"excerpts that come again", endless(`r{"warnings":[{"excerpt":"` + strings.Repeat("eHh4", 100_000) + `"}]}`), "too large"},
		{"JSON that nests", frames(`r` + strings.Repeat(`{"catalog":`, 100_000)), "too large"},
		{"lists that nest", frames(`r{"plan":` + strings.Repeat(`[`, 100_000)), "is not understood"},
		{"another plan than its digest", frames(part(&valid), end(&invalid)), "not what its digest says"},
		{"no plan and no error", frames(`h{}`, `o{}`), "is not understood: no plan"},
		{"a digest without a plan", frames(end(&valid)), "not what its digest says"},
		{"a plan of another format", frames(`r{"plan":{"format":99}}`), "format 99"},
		{"a plan that is not valid", frames(part(&invalid), end(&invalid)), "a plan that is not valid"},
		{"an error without a problem", frames(`o{"wrong":true}`), "an error without a problem"},
		{"a failure", frames(`o{"failure":"\u001b[31mall is well"}`), `\x1b[31mall is well`},
		{"problems that steer a terminal", frames(`r{"problems":[{"file":"\u001b[31m","severity":"\u001b","code":"\u001b","message":"\u001b]0;x\u0007","hint":"\u202e"}]}`, `o{"wrong":true}`), `error: \x1b]0;x\a`},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := request(t, "", &txtar.Archive{Files: []txtar.File{{Name: "a", Data: []byte("x")}}})
			r.Print = func(plan.Pos, string) {}
			result, _, err := takeOver(t.Context(), r, test.says)
			if test.want == "" {
				require.NoError(t, err)
				require.Equal(t, valid.Digest(), result.Plan.Digest())
				return
			}
			require.Nil(t, result.Plan)
			require.ErrorContains(t, err, test.want)
			require.NotContains(t, err.Error(), "\x1b")
			require.Less(t, len(err.Error()), 2000)
		})
	}
}

// endless says a frame again and again.
func endless(f string) io.Reader {
	one, _ := io.ReadAll(frames(f))
	return &again{one: one}
}

type again struct {
	one, rest []byte
}

func (a *again) Read(p []byte) (int, error) {
	if len(a.rest) == 0 {
		a.rest = a.one
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}

// TestWhatATakenChildReads: it is given no more than an honest one could ask
// for.
func TestWhatATakenChildReads(t *testing.T) {
	r := request(t, "", &txtar.Archive{Files: []txtar.File{
		{Name: "PIPER.star", Data: []byte("hidden root")},
		{Name: "seen", Data: []byte("seen text")},
		{Name: "ignored", Data: []byte("hidden ignored")},
		{Name: "ignored.star", Data: []byte("seen star")},
		{Name: ".git/config", Data: []byte("hidden config")},
		{Name: "sub/.GIT/x.star", Data: []byte("hidden inner")},
		{Name: "out", Data: []byte("symlink /etc/passwd")},
		{Name: "out.star", Data: []byte("symlink /etc/passwd")},
	}})
	r.File = "other.star"
	r.Files = func() ([]string, error) { return []string{"out", "seen"}, nil }
	r.Environ = func(name string) (string, bool) { return "value", true }
	for _, test := range []struct{ ask, want string }{
		{`{"ask":"open","name":"seen"}`, "seen text"},
		{`{"ask":"open","name":"ignored.star"}`, "seen star"},
		{`{"ask":"open","name":"ignored"}`, "git ignores it"},
		{`{"ask":"open","name":"./ignored"}`, "git ignores it"},
		{`{"ask":"open","name":".git/config"}`, "is in .git"},
		{`{"ask":"open","name":"sub/../.git/config"}`, "is in .git"},
		{`{"ask":"open","name":"sub/.GIT/x.star"}`, "is in .git"},
		{`{"ask":"names","name":".git"}`, "is in .git"},
		{`{"ask":"names","name":"."}`, "PIPER.star\x00ignored.star\x00out.star\x00"},
		{`{"ask":"names","name":"../.."}`, "invalid argument"},
		{`{"ask":"open","name":"out"}`, "leads out of the tree"},
		{`{"ask":"open","name":"out.star"}`, "leads out of the tree"},
		{`{"ask":"open","name":"/etc/passwd"}`, "leads out of the tree"},
		{`{"ask":"open","name":"../x.star"}`, "leads out of the tree"},
		{`{"ask":"environ","name":"A"}`, `"yes":true`},
		{`{"ask":"environ","name":"PIPER_TOKEN"}`, `a{}`},
		{`{"ask":"environ","name":"PIPER_SECRET_X"}`, `a{}`},
	} {
		t.Run(test.ask, func(t *testing.T) {
			_, heard, err := takeOver(t.Context(), r, frames(`q`+test.ask))
			require.Error(t, err)
			// The request is the first frame.
			skip := 5 + binary.BigEndian.Uint32([]byte(heard[1:5]))
			heard = strings.ReplaceAll(heard[skip:], "a\x00\x00\x00\x02", "a")
			require.Contains(t, heard, test.want)
			require.NotContains(t, heard, "hidden")
			require.NotContains(t, heard, "root:")
		})
	}
}

// TestExpandOfATakenChild: what an expand finds must fit.
func TestExpandOfATakenChild(t *testing.T) {
	p := plan.Plan{Format: plan.Format, Pipeline: "p", Nodes: []plan.Node{
		{Name: "a", Step: &plan.Step{Script: "true"}},
		{Name: "a/expand", Needs: []string{"a"}, More: &plan.More{Expand: &plan.Expand{After: "a"}}},
	}}
	var text strings.Builder
	require.NoError(t, p.WriteCanonical(&text))
	begin := []string{`r{"plan":` + text.String() + `}`, fmt.Sprintf(`o{"digest":%q,"expands":true}`, p.Digest())}
	for _, test := range []struct{ name, says, want string }{
		{"nothing", `o{}`, ""},
		{"a step", `r{"expansion":{"nodes":[{"name":"b","step":{"script":"true"}}]}}`, ""},
		{"a cycle", `r{"expansion":{"nodes":[{"name":"b","needs":["b"],"step":{"script":"true"}}]}}`, "not valid"},
		{"the same name", `r{"expansion":{"nodes":[{"name":"a","step":{"script":"true"}}]}}`, "is not understood"},
		{"a question", `q{"ask":"open","name":"PIPER.star"}`, "exited with status 0"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := request(t, "", &txtar.Archive{Files: []txtar.File{{Name: "PIPER.star"}}})
			list := append(begin[:2:2], test.says)
			if test.want == "" && test.says[0] != 'o' {
				list = append(list, `o{}`)
			}
			if strings.HasPrefix(test.want, "not valid") || strings.HasPrefix(test.want, "is not") {
				list = append(list, `o{}`)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			result, _, err := takeOver(ctx, r, frames(list...))
			require.NoError(t, err)
			_, err = result.Expand(ctx, "a/expand", nil)
			if test.want != "" {
				require.ErrorContains(t, err, test.want)
				return
			}
			require.NoError(t, err)
		})
	}
}

// TestChildThatHangs: it is killed, however it hangs.
func TestChildThatHangs(t *testing.T) {
	for name, script := range map[string]string{
		"stopped":           `kill -STOP $$`,
		"silent":            `while :; do :; done`,
		"deaf":              `exec 0<&-; sleep 1000`,
		"without its pipes": `exec 0<&- 1>&- 2>&-; sleep 1000`,
		"loud":              `while :; do echo xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx >&2; done`,
		"with children":     `sleep 1000 & sleep 1000`,
		"stubborn":          `trap "" TERM INT HUP XCPU; while :; do :; done`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := isolate.Evaluator{Grace: time.Millisecond, Start: func(env, argv []string) (isolate.Process, error) {
				return process.Converse([]string{"PATH=/usr/bin:/bin"}, []string{"/bin/sh", "-c", script})
			}}
			r := starlark.Request{Root: t.TempDir(), Source: []byte(calm), Limits: starlark.Limits{Time: 50 * time.Millisecond}}
			_, err := e.Evaluate(t.Context(), r)
			var found plan.Diagnostics
			if !errors.As(err, &found) { // it has closed its output, or cannot be written to
				require.ErrorContains(t, err, "the process that evaluates")
				return
			}
			require.Equal(t, "too-slow", found[0].Code)
			require.Equal(t, "PIPER.star", found[0].File)
		})
	}
}

// TestChildThatDies says what its end means.
func TestChildThatDies(t *testing.T) {
	for _, test := range []struct{ script, want string }{
		{`kill -XCPU $$`, "evaluation takes longer than 5s of processor time"},
		{`kill -KILL $$`, "ended without an answer (killed)"},
		{`echo "fatal error: runtime: out of memory" >&2; exit 2`, "memory limit of 256 MiB"},
		{`echo "SIGSEGV: segmentation violation" >&2; exit 2`, "memory limit of 256 MiB"},
		{`echo "panic: a nil pointer [signal SIGSEGV: segmentation violation]" >&2; exit 2`, "exited with status 2: panic"},
		{`printf '\033[31mpanic: mistake\nand more' >&2; exit 2`, `exited with status 2: \x1b[31mpanic: mistake`},
		{`exit 1`, "exited with status 1"},
	} {
		t.Run(test.script, func(t *testing.T) {
			e := isolate.Evaluator{Grace: time.Hour, Start: func(env, argv []string) (isolate.Process, error) {
				return process.Converse(nil, []string{"/bin/sh", "-c", test.script})
			}}
			_, err := e.Evaluate(t.Context(), starlark.Request{Root: t.TempDir(), Source: []byte(calm)})
			require.ErrorContains(t, err, test.want)
		})
	}
}

// TestNoChild: what cannot be started is the machine's fault.
func TestNoChild(t *testing.T) {
	gone := errors.New("no more processes")
	e := isolate.Evaluator{Start: func(env, argv []string) (isolate.Process, error) { return nil, gone }}
	_, err := e.Evaluate(t.Context(), starlark.Request{Root: t.TempDir(), Source: []byte(calm)})
	require.ErrorIs(t, err, gone)
	_, err = e.Probe(t.Context())
	require.ErrorIs(t, err, gone)
	e.Prepare(starlark.Limits{})
	e.Close()
	_, err = e.Evaluate(t.Context(), starlark.Request{Root: "/none"})
	require.ErrorContains(t, err, "open the tree")
}

// TestCancelled: a context that is done ends the child.
func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r := starlark.Request{Root: t.TempDir(), Source: []byte("print('go')\nfor i in range(1 << 40):\n    pass\n"),
		Limits: starlark.Limits{Time: time.Hour, Steps: 1 << 60}, Print: func(plan.Pos, string) { cancel() }}
	_, err := evaluator().Evaluate(ctx, r)
	require.ErrorIs(t, err, context.Canceled)
	_, err = evaluator().Evaluate(ctx, r)
	require.ErrorIs(t, err, context.Canceled)
}

// TestExpandIsBoundedToo: by time and memory of its own, as long as the context
// of the evaluation lives.
func TestExpandIsBoundedToo(t *testing.T) {
	const source = `
def _more(ctx, result):
    if result.outputs["do"] == "hang":
        x = 3
        for _ in range(60):
            x = x * x
    if result.outputs["do"] == "bomb":
        x = [0] * ((1 << 30) - 1)
    return [step("more", run = "true")]

first = step("first", run = "true")
pipeline(name = "p", steps = [first, expand(first, impl = _more)])
`
	if raceEnabled {
		t.Skip("the race detector takes memory of its own")
	}
	for do, want := range map[string]string{"hang": "takes longer than 1s", "bomb": "memory limit", "": ""} {
		t.Run(do, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			e := isolate.Evaluator{Start: start, Grace: time.Minute} // the limits of the child come first
			result, err := e.Evaluate(ctx, starlark.Request{Root: t.TempDir(), Source: []byte(source), Limits: starlark.Limits{Time: time.Second}})
			require.NoError(t, err)
			for range 3 {
				found, err := result.Expand(ctx, "first/expand", map[string]string{"do": "nothing"})
				require.NoError(t, err)
				require.Len(t, found.Nodes, 1)
			}
			if want != "" {
				_, err = result.Expand(ctx, "first/expand", map[string]string{"do": do})
				require.ErrorContains(t, err, want)
			}
			if do == "bomb" { // the child is gone
				_, err = result.Expand(ctx, "first/expand", map[string]string{"do": "nothing"})
				require.ErrorContains(t, err, "memory limit")
			}
			cancel()
			_, err = result.Expand(t.Context(), "first/expand", nil)
			require.ErrorIs(t, err, context.Canceled)
		})
	}
}

// FuzzParent: whatever a child says, the parent ends without a panic, with a
// plan that is valid or with an error.
func FuzzParent(f *testing.F) {
	for _, list := range [][]string{
		{`h{}`, `p{"pos":"PIPER.star:1:1","message":"x"}`, `o{}`},
		{`q{"ask":"open","name":"PIPER.star"}`, `q{"ask":"changed","name":"main"}`, `q{"ask":"names","name":"."}`, `q{"ask":"files"}`},
		{`r{"catalog":{"project":{"name":"x"},"pipelines":[{"name":"p","params":[{"name":"a","type":"int","default":1}]}]}}`, `o{}`},
		{`r{"plan":{"format":1,"nodes":[{"name":"a","step":{"script":"x"}}],"pipeline":"p","project":{"name":""}}}`, `o{"digest":"sha256:"}`},
		{`r{"problems":[{"file":"a","line":1,"column":1,"severity":"error","code":"x","message":"m","excerpt":"eA=="},{"again":true}]}`, `o{"wrong":true}`},
	} {
		data, err := io.ReadAll(frames(list...))
		require.NoError(f, err)
		f.Add(data)
	}
	root := f.TempDir()
	f.Fuzz(func(t *testing.T, says []byte) {
		r := starlark.Request{Root: root, Source: []byte(calm), Git: fakeGit{}, Print: func(_ plan.Pos, message string) {
			require.NotContains(t, message, "\x1b")
		}}
		result, _, err := takeOver(t.Context(), r, bytes.NewReader(says))
		if err == nil && result.Plan != nil {
			require.Empty(t, plan.Validate(result.Plan, plan.MaxNodes))
		}
		if err != nil {
			require.NotContains(t, err.Error(), "\x1b")
		}
	})
}

// TestExpandPrintsTooMuch: a child says so too, and is not taken for another.
func TestExpandPrintsTooMuch(t *testing.T) {
	last := ""
	r := starlark.Request{Root: t.TempDir(), Limits: starlark.Limits{Output: 20}, Print: func(_ plan.Pos, message string) { last = message },
		Source: []byte(`
a = step("a", run = "true")
def _f(ctx, result):
    print("x" * 9)
    print("x" * 99)
    return []
pipeline(name = "p", steps = [a, expand(a, _f)])
`)}
	result, err := evaluator().Evaluate(t.Context(), r)
	require.NoError(t, err)
	_, err = result.Expand(t.Context(), "a/expand", nil)
	require.NoError(t, err)
	require.Contains(t, last, "truncated")
}

// manyGit counts what it is asked.
type manyGit struct{ asked *int }

func (g manyGit) Commit() (string, error)            { *g.asked++; return "cafe", nil }
func (g manyGit) Branch() (string, error)            { *g.asked++; return "main", nil }
func (g manyGit) Tag() (string, error)               { *g.asked++; return "", nil }
func (g manyGit) Dirty() (bool, error)               { *g.asked++; return false, nil }
func (g manyGit) Describe(...string) (string, error) { *g.asked++; return "v1", nil }
func (g manyGit) Changed(string) ([]string, error)   { *g.asked++; return []string{"a"}, nil }

// TestGitIsAskedOnce: a file may ask the same in each of many steps.
func TestGitIsAskedOnce(t *testing.T) {
	asked := 0
	result, err := evaluator().Evaluate(t.Context(), starlark.Request{Root: t.TempDir(), Git: manyGit{&asked}, Source: []byte(`
pipeline(name = "p", steps = [
    step("s%d" % i, run = " ".join([git.commit(), git.branch(), git.tag(), git.describe(), str(git.dirty())] + git.changed("main")))
    for i in range(1100)
])
`)})
	require.NoError(t, err)
	require.Len(t, result.Plan.Nodes, 1100)
	require.Equal(t, "cafe main  v1 False a", result.Plan.Nodes[1099].Step.Script)
	require.LessOrEqual(t, asked, 6)
}
