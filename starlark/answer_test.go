package starlark

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/plan"
)

// otherGit gives another answer to everything.
type otherGit struct{}

func (otherGit) Commit() (string, error)            { return "decade", nil }
func (otherGit) Branch() (string, error)            { return "dev", nil }
func (otherGit) Tag() (string, error)               { return "v2", nil }
func (otherGit) Dirty() (bool, error)               { return false, nil }
func (otherGit) Describe(...string) (string, error) { return "v2", nil }
func (otherGit) Changed(string) ([]string, error)   { return []string{"web/b.js"}, nil }

// large is a comment that makes a file worth keeping.
var large = strings.Repeat("# "+strings.Repeat("-", 78)+"\n", minCached/80)

// asked evaluates a request twice, and says whether the second time the answer
// was known. What both give, and print, is the same.
func asked(t *testing.T, r Request) (known bool) {
	t.Helper()
	var results [2]Result
	var prints [2][]string
	for i := range 2 {
		r.Print = func(pos plan.Pos, message string) { prints[i] = append(prints[i], fmt.Sprint(pos, message)) }
		var err error
		results[i], err = Evaluate(context.Background(), r)
		require.NoError(t, err)
	}
	require.Equal(t, results[0], results[1])
	require.Equal(t, prints[0], prints[1])
	return holds(t, r)
}

// holds reports whether the answer to r is known.
func holds(t *testing.T, r Request) bool {
	t.Helper()
	close, err := r.open()
	require.NoError(t, err)
	defer close()
	e := newEvaluation(&r)
	entry, ok := e.answerEntry()
	if ok {
		_, ok = e.known(entry)
	}
	return ok
}

// TestAnswer: an answer is known until something changes that it came from.
func TestAnswer(t *testing.T) {
	for name, test := range map[string]struct {
		source string
		change func(t *testing.T, r *Request)
	}{
		"loaded": {`load("//lib.star", "x")`, func(t *testing.T, r *Request) { put(t, r, "lib.star", "x = 2\n") }},
		"loaded and gone": {`load("//lib.star", "x")`, func(t *testing.T, r *Request) {
			require.NoError(t, os.Remove(filepath.Join(r.Root, "lib.star")))
		}},
		"read": {`fs.read("lib.star")`, func(t *testing.T, r *Request) { put(t, r, "lib.star", "x = 2\n") }},
		"read, not seen": {`load("//lib.star", "x")
fs.read("lib.star")`, func(_ *testing.T, r *Request) {
			r.Files = func() ([]string, error) { return []string{"PIPER.star"}, nil }
		}},
		"exists":     {`fs.exists("new")`, func(t *testing.T, r *Request) { put(t, r, "new", "") }},
		"is_dir":     {`fs.is_dir("new")`, func(t *testing.T, r *Request) { put(t, r, "new/file", "") }},
		"walk":       {`fs.walk("docs")`, func(t *testing.T, r *Request) { put(t, r, "docs/b.md", "") }},
		"walk all":   {`fs.walk()`, func(t *testing.T, r *Request) { put(t, r, "new", "") }},
		"glob":       {`fs.glob("docs/*.md", "*.txt", exclude = ["**/z*"])`, func(t *testing.T, r *Request) { put(t, r, "docs/b.md", "") }},
		"environ":    {`os.environ("A", "")`, func(_ *testing.T, r *Request) { r.Environ = func(string) (string, bool) { return "2", true } }},
		"no environ": {`os.environ("A", "")`, func(_ *testing.T, r *Request) { r.Environ = nil }},
		"commit":     {`git.commit()`, func(_ *testing.T, r *Request) { r.Git = otherGit{} }},
		"branch":     {`git.branch()`, func(_ *testing.T, r *Request) { r.Git = otherGit{} }},
		"tag":        {`git.tag()`, func(_ *testing.T, r *Request) { r.Git = otherGit{} }},
		"dirty":      {`git.dirty()`, func(_ *testing.T, r *Request) { r.Git = otherGit{} }},
		"describe":   {`git.describe(tags = True, match = "v*")`, func(_ *testing.T, r *Request) { r.Git = otherGit{} }},
		"changed":    {`git.changed("main")`, func(_ *testing.T, r *Request) { r.Git = otherGit{} }},
		"no git":     {`git.commit()`, func(_ *testing.T, r *Request) { r.Git = nil }},
		"time":       {`time.now()`, func(_ *testing.T, r *Request) { r.Event.Time = time.Unix(5, 0) }},
		"source":     {``, func(_ *testing.T, r *Request) { r.Source = append(r.Source, "x = 1\n"...) }},
		"parameter":  {``, func(_ *testing.T, r *Request) { r.Params = map[string]string{"p": "2"} }},
		"version":    {``, func(_ *testing.T, r *Request) { r.Piper = "1.0.0" }},
		"limit":      {``, func(_ *testing.T, r *Request) { r.Limits.Nodes = 5 }},
		"catalog":    {``, func(_ *testing.T, r *Request) { r.All, r.CatalogOnly = false, true }},
		"include": {`PLANS
def plans(ctx): return [step("a", run = str(ctx.changes.include("docs/**")))]`, func(_ *testing.T, r *Request) { r.Git = otherGit{} }},
		"only": {`PLANS
def plans(ctx): return [step("a", run = str(ctx.changes.only("docs/**", "web/**")))]`, func(_ *testing.T, r *Request) { r.Event.Base = "" }},
		"author": {`PLANS
def plans(ctx): return [step("a", run = "a" + ctx.event.author)]`, func(_ *testing.T, r *Request) { r.Event.Author = "me" }},
		"number": {`PLANS
def plans(ctx): return [step("a", run = str(ctx.event.number))]`, func(_ *testing.T, r *Request) { r.Event.Number++ }},
	} {
		t.Run(name, func(t *testing.T) {
			r := Request{
				Root: writeTree(t, "-- lib.star --\nx = 1\n-- docs/a.md --\n"), All: true, Cache: t.TempDir(),
				Git: fakeGit{}, Environ: func(string) (string, bool) { return "1", true },
				Event:  plan.Event{Base: "main", Number: 1, Time: time.Unix(1, 0)},
				Params: map[string]string{"p": "1"}, Piper: "0.1.0",
			}
			source, plans := strings.CutPrefix(test.source, "PLANS")
			r.Source = []byte(large + source + `
print("hello", "you")
pipeline(name = "build", steps = [step("s", run = "x")], params = {"p": param.string(default = "1", doc = "some")}, on = [on.tag("v*")])
environment("other", kind = temp_dir(keep = True), requires = [facts.eq("os", "linux")])
def main(ctx): return []
`)
			if plans {
				r.Source = append(r.Source, "pipeline(name = \"more\", impl = plans)\n"...)
			}
			require.True(t, asked(t, r))
			test.change(t, &r)
			require.False(t, holds(t, r))
		})
	}
}

// put writes a file into the tree of r.
func put(t *testing.T, r *Request, name, text string) {
	t.Helper()
	path := filepath.Join(r.Root, filepath.FromSlash(name))
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o777))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o666))
}

// TestNoAnswer: nothing is kept of what is wrong, or small, or a plan, or looks at
// what its name does not tell apart from something else.
func TestNoAnswer(t *testing.T) {
	const good = "pipeline(name = \"build\", steps = [step(\"s\", run = \"x\")])\n"
	for name, change := range map[string]func(r *Request){
		"wrong":            func(r *Request) { r.Source = append(r.Source, "step(1)\n"...) },
		"small":            func(r *Request) { r.Source = []byte(good) },
		"a plan":           func(r *Request) { r.All = false },
		"vague":            func(r *Request) { r.Source = append(r.Source, `fs.glob("a b", "c")`...) },
		"covered":          func(r *Request) { r.Coverage = new(Coverage) },
		"without a cache":  func(r *Request) { r.Cache = "" },
		"without its file": func(r *Request) { r.Source = nil },
	} {
		t.Run(name, func(t *testing.T) {
			r := Request{Root: t.TempDir(), Source: []byte(large + good), All: true, Cache: t.TempDir()}
			change(&r)
			for range 2 {
				Evaluate(context.Background(), r) // which may fail
			}
			require.False(t, holds(t, r))
			entries, err := filepath.Glob(filepath.Join(r.Cache, "*"+answers))
			require.NoError(t, err)
			require.Empty(t, entries)
		})
	}
}

// TestDamagedAnswer: an entry that is not what was written is replaced.
func TestDamagedAnswer(t *testing.T) {
	r := Request{Root: t.TempDir(), Source: []byte(large), All: true, Cache: t.TempDir(), Event: plan.Event{Kind: "manual"}}
	r.Source = append(r.Source, "pipeline(name = \"build\", steps = [step(\"s\", run = \"x\")])\n"...)
	require.True(t, asked(t, r))
	entries, err := filepath.Glob(filepath.Join(r.Cache, "*"+answers))
	require.NoError(t, err)
	require.Len(t, entries, 1)
	data, err := os.ReadFile(entries[0])
	require.NoError(t, err)
	data[len(data)-3] ^= 1
	require.NoError(t, os.WriteFile(entries[0], data, 0o600))
	require.False(t, holds(t, r))
	require.True(t, asked(t, r))

	openCache(r.Cache).write(entries[0], func(w io.Writer) error { _, err := io.WriteString(w, "no JSON"); return err })
	require.False(t, holds(t, r))
}
