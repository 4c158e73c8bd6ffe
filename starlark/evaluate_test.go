package starlark

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/builtins"
	"github.com/piper-build/piper/runtime/plan"
)

// tree writes files, a txtar archive, into a new directory.
func writeTree(t testing.TB, files string) string {
	t.Helper()
	dir := t.TempDir()
	for _, f := range txtar.Parse([]byte(files)).Files {
		name := filepath.Join(dir, f.Name)
		require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o777))
		require.NoError(t, os.WriteFile(name, f.Data, 0o666))
	}
	return dir
}

// problems returns the diagnostics that an evaluation ends with.
func problems(t testing.TB, r Request) plan.Diagnostics {
	t.Helper()
	_, err := Evaluate(context.Background(), r)
	var found plan.Diagnostics
	require.ErrorAs(t, err, &found)
	require.NotEmpty(t, found)
	return found
}

// TestExamples evaluates the example of every builtin.
func TestExamples(t *testing.T) {
	dir := writeTree(t, "-- VERSION --\n1.0.0\n-- ci/a.sh --\ntrue\n")
	for _, b := range builtins.Table() {
		if b.TestOnly { // package test runs them
			continue
		}
		t.Run(b.Name, func(t *testing.T) {
			r := Request{
				Root: dir, Source: []byte(b.Example), Piper: "0.3.0", Git: fakeGit{}, CatalogOnly: true,
				Event: plan.Event{Time: time.Unix(0, 0)},
			}
			result, err := Evaluate(context.Background(), r)
			require.NoError(t, err)
			r.CatalogOnly = false
			for _, p := range result.Catalog.Pipelines {
				r.Pipeline = p.Name
				result, err := Evaluate(context.Background(), r)
				require.NoError(t, err)
				require.NotNil(t, result.Plan)
			}
		})
	}
}

// TestEveryWordIsDefined: what the table names, a file can name.
func TestEveryWordIsDefined(t *testing.T) {
	for _, b := range builtins.Table() {
		if strings.HasPrefix(b.Name, "ctx.") || strings.HasPrefix(b.Name, "<") || b.TestOnly {
			continue
		}
		_, err := Evaluate(context.Background(), Request{Root: t.TempDir(), Source: []byte("x = " + b.Name), CatalogOnly: true})
		require.NoError(t, err, b.Name)
	}
}

func TestPrint(t *testing.T) {
	var out strings.Builder
	r := Request{
		Root:        t.TempDir(),
		Source:      []byte("b = step('b', run = 'x')\nprint('a', 1, [\"x\"])\nprint('\\x1b[31m', b.output('v'), sep = '|')\n"),
		CatalogOnly: true,
		Print:       func(pos plan.Pos, message string) { fmt.Fprintf(&out, "%s %s\n", pos, message) },
	}
	_, err := Evaluate(context.Background(), r)
	require.NoError(t, err)
	require.Equal(t, "PIPER.star:2:1 a 1 [\"x\"]\nPIPER.star:3:1 \\x1b[31m|<output v of b>\n", out.String())
}

func TestPrintIsBounded(t *testing.T) {
	printed := 0
	r := Request{
		Root: t.TempDir(), Source: []byte("for i in range(100):\n    print('x' * 99)\n"), CatalogOnly: true,
		Limits: Limits{Output: 1000}, Print: func(_ plan.Pos, message string) { printed += len(message) + 1 },
	}
	result, err := Evaluate(context.Background(), r)
	require.NoError(t, err)
	require.Equal(t, 1000, printed)
	require.Len(t, result.Warnings, 1)
	require.Equal(t, "too-much-output", result.Warnings[0].Code)
	require.Contains(t, result.Warnings[0].Hint, "max_output")
}

func TestTimeIsBounded(t *testing.T) {
	r := Request{
		Root: t.TempDir(), Source: []byte("for i in range(1 << 40):\n    pass\n"),
		Limits: Limits{Time: time.Millisecond, Steps: 1 << 60},
	}
	found := problems(t, r)
	require.Equal(t, "too-slow", found[0].Code)
	require.Contains(t, found[0].Hint, "max_time")
	require.Equal(t, 1, found[0].Line)
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	r := Request{
		Root: t.TempDir(), Source: []byte("print('go')\nfor i in range(1 << 40):\n    pass\n"),
		Limits: Limits{Time: time.Hour, Steps: 1 << 60}, Print: func(plan.Pos, string) { cancel() },
	}
	_, err := Evaluate(ctx, r)
	require.ErrorIs(t, err, context.Canceled)
	var found plan.Diagnostics
	require.False(t, errors.As(err, &found))
}

func TestRootFile(t *testing.T) {
	dir := writeTree(t, `
-- sub/PIPER.star --
load("./lib.star", "name")
pipeline(name = name, steps = [])
-- sub/lib.star --
name = "here"
-- dir/PIPER.star/x --
`)
	result, err := Evaluate(context.Background(), Request{Root: dir, File: "./sub/PIPER.star"})
	require.NoError(t, err)
	require.Equal(t, "here", result.Plan.Pipeline)

	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "fifo"), 0o666))
	require.NoError(t, os.Symlink("/etc/hostname", filepath.Join(dir, "out")))
	for file, want := range map[string]string{
		"":               "PIPER.star is not there",
		"dir/PIPER.star": "is a directory",
		"fifo":           "is not a regular file",
		"out":            "out of the tree",
		"../x":           "out of the tree",
	} {
		found := problems(t, Request{Root: dir, File: file})
		require.Contains(t, found[0].Message, want)
		require.Equal(t, "error", found[0].Severity)
	}

	_, err = Evaluate(context.Background(), Request{Root: filepath.Join(dir, "gone")})
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestLoadOfWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, syscall.Mkfifo(filepath.Join(dir, "fifo.star"), 0o666))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "big.star"), make([]byte, 1<<20+1), 0o666))
	found := problems(t, Request{Root: dir, Source: []byte("load('//fifo.star', 'x')\nload('//big.star', 'y')\n")})
	require.Len(t, found, 2)
	require.Contains(t, found[0].Message, "is not a regular file")
	require.Contains(t, found[1].Message, "more than 1048576 bytes")
	require.Contains(t, found[1].Hint, "max_source")
}

func TestEncodings(t *testing.T) {
	for _, test := range []struct {
		source, want string
		line, column int
	}{
		{"\xef\xbb\xbfx = 1\n", "byte order mark", 1, 1},
		{"\xff\xfex\x00", "UTF-16", 1, 1},
		{"x = 1\ny = 'é\xff'\n", "not UTF-8", 2, 7},
		{"x = 1\x00\n", "NUL", 1, 6},
		{"x = 'a\u202eb'\n", "direction", 1, 7},
		{"x = 1\r\ny = 2 # \rz = 3\r\n", "carriage return", 2, 9},
	} {
		found := problems(t, Request{Root: t.TempDir(), Source: []byte(test.source)})
		require.Len(t, found, 1)
		require.Contains(t, found[0].Message, test.want)
		require.Equal(t, [2]int{test.line, test.column}, [2]int{found[0].Line, found[0].Column})
	}
	// Lines may end in CR LF, and columns count characters.
	found := problems(t, Request{Root: t.TempDir(), Source: []byte("x = 1\r\ny = ['é', step(1)]\r\n")})
	require.Equal(t, "y = ['é', step(1)]", found[0].Excerpt)
	require.Equal(t, [3]int{2, 11, 15}, [3]int{found[0].Line, found[0].Column, found[0].End})
}

// TestFiles: fs sees what it is given, and nothing outside it.
func TestFiles(t *testing.T) {
	dir := writeTree(t, "-- a --\na\n-- ignored --\nx\n-- .git/config --\nx\n-- d/b --\nb\n-- latin --\n\xff\n")
	require.NoError(t, os.Symlink("/etc/hostname", filepath.Join(dir, "out")))
	require.NoError(t, os.Symlink("a", filepath.Join(dir, "link")))
	source := "print(fs.walk(), fs.exists('ignored'), fs.exists('.git/config'), fs.read('link') if fs.exists('link') else '')\n"
	var out string
	r := Request{Root: dir, Source: []byte(source), CatalogOnly: true, Print: func(_ plan.Pos, m string) { out = m }}
	_, err := Evaluate(context.Background(), r)
	require.NoError(t, err)
	require.Equal(t, "[\"a\", \"d/b\", \"ignored\", \"latin\", \"link\", \"out\"] True False a\n", out)

	r.Files = func() ([]string, error) { return []string{"a", "d/b", "gone", "latin", "out"}, nil }
	_, err = Evaluate(context.Background(), r)
	require.NoError(t, err)
	require.Equal(t, "[\"a\", \"d/b\", \"gone\", \"latin\", \"out\"] False False ", out)

	r.Source = []byte("fs.read('gone')\nfs.read('out')\nfs.read('ignored')\nfs.read('latin')\n")
	found := problems(t, r)
	require.Len(t, found, 4)
	for i, want := range []string{"not exist", "out of the tree", "not a file of this tree", "not valid UTF-8"} {
		require.Contains(t, found[i].Message, want)
	}

	broken := errors.New("git is broken")
	r.Files = func() ([]string, error) { return nil, broken }
	found = problems(t, r)
	require.Contains(t, found[0].Message, "git is broken")
}

// TestInputs: what was looked at is in the plan with the digest of what was
// seen, sorted, once.
func TestInputs(t *testing.T) {
	dir := writeTree(t, "-- VERSION --\n1\n")
	r := Request{Root: dir, Source: []byte("fs.read('VERSION')\nfs.exists('VERSION')\nos.environ('A')\nos.environ('B', '')\npipeline(name = 'p', steps = [])\n"),
		Environ: func(name string) (string, bool) { return "", name == "B" }}
	digests := func() map[string]string {
		result, err := Evaluate(context.Background(), r)
		require.NoError(t, err)
		seen := map[string]string{}
		for _, in := range result.Plan.Inputs {
			seen[in.Kind+" "+in.Key] = in.Digest
		}
		require.Len(t, seen, len(result.Plan.Inputs))
		return seen
	}
	first := digests()
	require.Len(t, first, 5)
	require.Equal(t, "sha256:4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865", first["file VERSION"])
	require.NotEqual(t, first["environ A"], first["environ B"], "not set is not empty")

	require.NoError(t, os.WriteFile(filepath.Join(dir, "VERSION"), []byte("2\n"), 0o666))
	second := digests()
	require.NotEqual(t, first["file VERSION"], second["file VERSION"])
	require.Equal(t, first["exists VERSION"], second["exists VERSION"])
}

// TestOneDigest: the same source, parameters and event give the same plan.
func TestOneDigest(t *testing.T) {
	dir := writeTree(t, "-- ci/lib.star --\ndef lib(x):\n    return x\n")
	source := []byte(`
load("//ci/lib.star", "lib")
project("p", version = git.describe())
env = environment("e", kind = temp_dir())
environment("f")

pipeline(name = "t", params = {"v": param.string(), "w": param.int()}, steps = [])

def _impl(ctx):
    b = step("b", run = "x", env = {"Z": "1", "A": "2", "M": secret("s")}, environment = env)
    m = {str(k): k for k in set([3, 1, 2])}
    return [b, parallel([step("s%d" % i, run = ["x", "%s" % b.output("k"), str(sorted(m.values()))], environment = "f") for i in range(5)], limit = 2),
            trigger("t", params = {"v": b.output("v"), "w": ctx.params.n}), str(ctx.event.time)[:0] == "" and lib([])]

pipeline(name = "p", params = {"n": param.int(default = 3), "l": param.list()}, impl = _impl)
`)
	rounds := 10_000
	if testing.Short() || raceEnabled {
		rounds = 500
	}
	var first string
	for i := range rounds {
		result, err := Evaluate(context.Background(), Request{Root: dir, Source: source, Git: fakeGit{}, Pipeline: "p", Params: map[string]string{"l": "a,b"}})
		require.NoError(t, err)
		digest := result.Plan.Digest()
		if i == 0 {
			first = digest
		}
		require.Equal(t, first, digest)
	}
}

// TestTwoEvaluationsShareNothing runs some at once; the race detector looks.
func TestTwoEvaluationsShareNothing(t *testing.T) {
	dir := t.TempDir()
	source := []byte("xs = []\nxs.append(1)\npipeline(name = 'p' + str(len(xs)), steps = [step('a', run = 'a')])\n")
	done := make(chan error)
	for range 4 {
		go func() {
			result, err := Evaluate(context.Background(), Request{Root: dir, Source: source})
			if err == nil && result.Plan.Pipeline != "p1" {
				err = fmt.Errorf("pipeline %s", result.Plan.Pipeline)
			}
			done <- err
		}()
	}
	for range 4 {
		require.NoError(t, <-done)
	}
}

func TestTooManyProblems(t *testing.T) {
	found := problems(t, Request{Root: t.TempDir(), Source: []byte("for i in range(100000):\n    step('x', run = 'x', dir = '../%d' % i)\n")})
	require.LessOrEqual(t, len(found), 110)
}

func TestMachineErrors(t *testing.T) {
	_, err := Evaluate(context.Background(), Request{Root: ""})
	require.ErrorContains(t, err, "open the tree")
}

// TestCache: what is kept gives the same plan; what is damaged is not used.
func TestCache(t *testing.T) {
	dir, kept := t.TempDir(), filepath.Join(t.TempDir(), "cache")
	source := steps(1000)
	require.Greater(t, len(source), minCached)
	evaluate := func(source string) string {
		result, err := Evaluate(context.Background(), Request{Root: dir, Source: []byte(source), Cache: kept})
		require.NoError(t, err)
		return result.Plan.Digest()
	}
	first := evaluate(source)
	entries, err := filepath.Glob(kept + "/*")
	require.NoError(t, err)
	require.Len(t, entries, 1)
	info, err := os.Stat(kept)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o700), info.Mode().Perm())

	require.Equal(t, first, evaluate(source))
	good, err := os.ReadFile(entries[0])
	require.NoError(t, err)
	for name, bad := range map[string][]byte{
		"empty": {}, "short": good[:10], "cut": good[:len(good)/2], "changed": append(bytes.Clone(good[:len(good)-1]), good[len(good)-1]^1),
	} {
		require.NoError(t, os.WriteFile(entries[0], bad, 0o600))
		require.Equal(t, first, evaluate(source), name)
		again, err := os.ReadFile(entries[0])
		require.NoError(t, err)
		require.Equal(t, good, again, "%s is replaced", name)
	}

	// An error in a kept file is shown as in any other.
	r := Request{Root: dir, Source: []byte(source + "step(3, run = 'x')\nfail('no')\n"), Cache: kept}
	fresh := problems(t, r)
	require.Equal(t, fresh, problems(t, r))
	require.Equal(t, "step(3, run = 'x')", fresh[0].Excerpt)

	for i := range maxEntries + 5 {
		evaluate(fmt.Sprintf("%s# %d\n", source, i))
	}
	entries, err = filepath.Glob(kept + "/*")
	require.NoError(t, err)
	require.Len(t, entries, maxEntries)

	// A directory that cannot be made is no error.
	require.NoError(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o666))
	kept = filepath.Join(dir, "file", "cache")
	require.Equal(t, first, evaluate(source))
}

func TestWritersAtOnce(t *testing.T) {
	dir, kept := t.TempDir(), t.TempDir()
	source := []byte(steps(700))
	done := make(chan error)
	for range 8 {
		go func() {
			_, err := Evaluate(context.Background(), Request{Root: dir, Source: source, Cache: kept})
			done <- err
		}()
	}
	for range 8 {
		require.NoError(t, <-done)
	}
	entries, err := filepath.Glob(kept + "/*")
	require.NoError(t, err)
	require.Len(t, entries, 1)
}
