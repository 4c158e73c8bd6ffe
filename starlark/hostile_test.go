package starlark

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/plan"
)

// TestHostile evaluates files that mean harm, as far as one process can hold
// them: each ends with a located error, or does no harm.
func TestHostile(t *testing.T) {
	repeat := strings.Repeat
	for _, test := range []struct {
		name, source, want string // want "" is no error
	}{
		{"endless loop", "for i in range(1 << 40):\n    pass\n", "more than 10000000 steps"},
		{"nested comprehension", "x = [0 for a in range(100000) for b in range(100000) if False]\n", "more than 10000000 steps"},
		{"recursion", "def f():\n    f()\nf()\n", "called recursively"},
		{"mutual recursion", "def f():\n    g()\ndef g():\n    f()\nf()\n", "called recursively"},
		{"Y combinator", "y = lambda f: (lambda x: x(x))(lambda x: f(lambda v: x(x)(v)))\ny(lambda f: lambda n: f(n))(3)\n", "called recursively"},
		{"parentheses", repeat("(", 500_000), "excessive nesting"},
		{"brackets", repeat("[", 1_000_000), "excessive nesting"},
		{"braces", repeat("{", 1_000_000), "excessive nesting"},
		{"lambdas", repeat("lambda:", 140_000), "excessive nesting"},
		{"nots", repeat("not ", 250_000), "excessive nesting"},
		{"minuses", "x = " + repeat("-", 1_000_000), "excessive nesting"},
		{"sum", "x = 1" + repeat("+1", 500_000), "too deep"},
		{"sum in an argument", "f(0, [1" + repeat("+1", 500_000) + "])", "too deep"},
		{"sum in brackets", "x = " + repeat("(", 50) + "1" + repeat(repeat("+1", 9_000)+")", 50), "too deep"},
		{"calls", "x = f" + repeat("()", 500_000), "too deep"},
		{"attributes", "def f():\n    if x:\n        return x" + repeat(".a", 500_000), "too deep"},
		{"conditions", "x = 1" + repeat(" if 1 else 1", 80_000), "excessive nesting"},
		{"list in itself", "x = []\nx.append(x)\ny = str(x)\nx == [x]\n", "recursion depth"},
		{"change while iterating", "x = [1]\nfor i in x:\n    x.append(i)\n", "during iteration"},
		{"deep JSON", "json.decode('[' * 1000000)\n", "json.decode"},
		{"deep YAML", "yaml.decode('[' * 10000)\n", "yaml.decode"},
		{"large number", "step('a', run = 'x', retry = retry(attempts = 1 << 400))\n", "want 1 to 100"},
		{"not a number", "step('a', run = 'x', timeout = float('nan'))\n", "want a duration"},
		{"long time", "step('a', run = 'x', timeout = '9000h')\n", "at most 8760h"},
		{"many at once", "parallel(limit = 1000000000)\n", "limit is 1000000000"},
		{"nodes", "pipeline(name = 'p', steps = [step('s%d' % i, run = 'x') for i in range(20001)])\n", "more than 20000 nodes"},
		{"braces in a glob", "fs.glob('{a,b}' * 40)\n", "too long a pattern"},
		{"stars in a glob", "fs.glob('*' * 10000)\n", "too long a pattern"},
		{"slow glob", "fs.glob('**/' * 8 + 'x')\n", ""},
		{"wide lists", "x = []\nfor i in range(40):\n    x = [x, x]\npipeline(name = 'p', steps = x)\n", "more than 20000 nodes"},
		{"deep lists", "x = []\nfor i in range(200):\n    x = [x]\npipeline(name = 'p', steps = x)\n", "nests more than 100 deep"},
		{"escape sequences", "fail('\\x1b]0;pwn\\x07')\n", `\x1b]0;pwn\a`},
		{"one long line", "x = '" + repeat("a", 1_000_000) + "'\nundefined\n", "undefined is not defined"},
		{"long name", "step('" + repeat("x", 100_000) + "', run = 'x')\n", "longer than 200 bytes"},
		{"many errors", repeat("undefined\n", 100_000), "undefined is not defined"},
		{"many functions", manyFunctions(30_000), ""},
		{"random", "random()\n", "random is not defined"},
		{"clock", "x = time.now()\nif str(x) != '0001-01-01 00:00:00 +0000 UTC':\n    fail(x)\n", ""},
		{"time zone", "time.now().in_location('Local')\n", "UTC"},
		{"surrogates", "step('a', run = '\\ud800')\n", "invalid Unicode code point"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Evaluate(context.Background(), Request{Root: t.TempDir(), Source: []byte(test.source), CatalogOnly: !strings.Contains(test.source, "pipeline("), Limits: Limits{Time: time.Hour}})
			if test.want == "" {
				require.NoError(t, err)
				return
			}
			var found plan.Diagnostics
			require.ErrorAs(t, err, &found)
			require.Contains(t, found.Error(), test.want)
			require.Equal(t, "PIPER.star", found[0].File)
			require.NotContains(t, found.Error(), "\x1b")
			require.Less(t, len(found.Error()), 1<<20)
		})
	}
}

func manyFunctions(n int) string {
	var b strings.Builder
	b.WriteString("def f0():\n    pass\n")
	for i := range n {
		fmt.Fprintf(&b, "def f%d():\n  f%d()\n", i+1, i)
	}
	return b.String()
}

// TestManyFiles: each file is loaded once, and no more than 64, 16 in a row.
func TestManyFiles(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666))
	}
	write("d0.star", "x = 1\n")
	for i := 1; i <= 14; i++ { // each loads the one below it twice
		write(fmt.Sprintf("d%d.star", i), fmt.Sprintf("load('//d%d.star', a = 'x')\nload('./d%d.star', b = 'x')\nx = a + b\n", i-1, i-1))
	}
	result, err := Evaluate(context.Background(), Request{Root: dir, Source: []byte("load('//d14.star', 'x')\npipeline(name = str(x), steps = [])\n")})
	require.NoError(t, err)
	require.Equal(t, fmt.Sprint(1<<14), result.Plan.Pipeline)

	for i := range 1000 {
		write(fmt.Sprintf("c%d.star", i), fmt.Sprintf("load('//c%d.star', 'x')\n", i+1))
	}
	found := problems(t, Request{Root: dir, Source: []byte("load('//c0.star', 'x')\n")})
	require.Contains(t, found.Error(), "more than 16 files load each other in a row")

	var many strings.Builder
	for i := range 100 {
		write(fmt.Sprintf("m%d.star", i), "x = 1\n")
		fmt.Fprintf(&many, "load('//m%d.star', x%d = 'x')\n", i, i)
	}
	found = problems(t, Request{Root: dir, Source: []byte(many.String())})
	require.Contains(t, found.Error(), "more than 64 files are loaded")
}

// FuzzLoadPath: whatever a label is, it names a file of the tree or of the
// standard library, and one that leads out of the tree is not read.
func FuzzLoadPath(f *testing.F) {
	for _, label := range []string{"//lib.star", "./lib.star", "@piper//go.star", "//sub/lib.star", "../outside.star", "//../outside.star",
		"//sub/../../outside.star", "/etc/passwd", "//out.star", "//outside/outside.star", "//.git/config", "//sub/.git/x", `//a\b`, "//a\x00b", "//fifo", "//.", "//",
		"https://example.org/x.star", "@other//x.star", "./../outside.star", "//sub//lib.star", "//ｆ.star"} {
		f.Add(label, "PIPER.star")
		f.Add(label, "sub/PIPER.star")
		f.Add(label, "@piper//go.star")
	}
	const secret = "outside_of_the_tree"
	dir := f.TempDir()
	root := filepath.Join(dir, "root")
	for name, text := range map[string]string{
		"outside.star": secret, "root/lib.star": "x = 1\n", "root/sub/lib.star": "x = 1\n",
		"root/.git/config": secret, "root/sub/.git/x": "x = 1\n",
	} {
		require.NoError(f, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o777))
		require.NoError(f, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o666))
	}
	require.NoError(f, os.Symlink("../outside.star", filepath.Join(root, "out.star")))
	require.NoError(f, os.Symlink("..", filepath.Join(root, "outside")))
	require.NoError(f, syscall.Mkfifo(filepath.Join(root, "fifo"), 0o666))
	files, err := OpenDir(root, nil)
	require.NoError(f, err)
	f.Cleanup(func() { files.Close() })
	f.Fuzz(func(t *testing.T, label, from string) {
		if strings.Contains(from, "\x00") {
			t.Skip("no file that loads is called that")
		}
		if name, problem, _ := resolveLabel(label, from); problem == "" {
			inside, _ := strings.CutPrefix(name, "@piper//")
			require.True(t, fs.ValidPath(inside), name)
			require.NotContains(t, inside, "\x00")
			text, err := (&tree{Tree: files}).read(name, 1000)
			require.False(t, err == nil && strings.Contains(string(text), secret), "%q gives %s", label, text)
		}
		source := []byte(fmt.Sprintf("load(%s, 'x')\n", strconv.Quote(label)))
		_, err := Evaluate(context.Background(), Request{Tree: files, Source: source, CatalogOnly: true, Limits: Limits{Time: time.Minute}})
		if err != nil {
			require.NotContains(t, err.Error(), secret)
		}
	})
}

// FuzzEvaluate: whatever the source, evaluation ends without a panic, each
// diagnostic points into a file, and a plan is valid.
func FuzzEvaluate(f *testing.F) {
	names, err := filepath.Glob("testdata/*.star")
	require.NoError(f, err)
	for _, name := range names {
		text, err := os.ReadFile(name)
		require.NoError(f, err)
		for chunk := range strings.SplitSeq(string(text), "\n---\n") {
			source, _ := cutExpectation(chunk)
			f.Add(source)
		}
	}
	dir := f.TempDir()
	require.NoError(f, os.WriteFile(filepath.Join(dir, "lib.star"), []byte("x = 1\n"), 0o666))
	f.Fuzz(func(t *testing.T, source string) {
		result, err := Evaluate(context.Background(), Request{
			Root: dir, Source: []byte(source), Git: fakeGit{},
			Limits: Limits{Steps: 50_000, Nodes: 1000, Time: time.Minute},
		})
		if err == nil {
			require.Empty(t, plan.Validate(result.Plan, 1000))
			require.NotEmpty(t, result.Plan.Digest())
			return
		}
		var found plan.Diagnostics
		require.True(t, errors.As(err, &found), "%v", err)
		lines := strings.Split(source, "\n")
		for _, d := range found {
			require.NotEmpty(t, d.Message)
			require.NotEmpty(t, d.Code)
			if d.File == "PIPER.star" && d.Line > 0 {
				require.LessOrEqual(t, d.Line, len(lines))
				require.Greater(t, d.Column, 0)
				require.Greater(t, d.End, d.Column)
			}
		}
	})
}
