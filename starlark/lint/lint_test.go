package lint

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/starlark"
	"github.com/piper-build/piper/stdlib"
)

// TestChecks runs the files of testdata. In each part of them the comments after
// ### are the warnings that there are, and all there are.
func TestChecks(t *testing.T) {
	for _, name := range []string{"checks", "safe", "unsafe"} {
		text, err := os.ReadFile("testdata/" + name + ".star")
		require.NoError(t, err)
		for i, part := range strings.Split(string(text), "\n---\n") {
			title, _, _ := strings.Cut(part, "\n")
			t.Run(fmt.Sprintf("%s/%d %s", name, i, title), func(t *testing.T) { check(t, part) })
		}
	}
}

func check(t *testing.T, text string) {
	found := lintText(t, text)
	for i, line := range strings.Split(text, "\n") {
		for _, want := range strings.Split(line, "###")[1:] {
			code, words, _ := strings.Cut(strings.TrimSpace(want), " ")
			hit := -1
			for j, d := range found {
				if lineIn("x.star", d) == i+1 && d.Code == code && strings.Contains(d.String(), words) {
					hit = j
				}
			}
			require.GreaterOrEqual(t, hit, 0, "line %d: want %s %s; left are:\n%v", i+1, code, words, found)
			require.Equal(t, "warning", found[hit].Severity)
			require.NotEmpty(t, found[hit].Excerpt)
			found = append(found[:hit], found[hit+1:]...)
		}
	}
	for _, d := range found { // another value on the way to the same place
		require.Contains(t, strings.Split(text, "\n")[lineIn("x.star", d)-1], "### "+d.Code, d.String())
	}
}

// lineIn is the line of a file in which d was caused.
func lineIn(file string, d plan.Diagnostic) int {
	if d.File == file {
		return d.Line
	}
	for _, frame := range d.Stack {
		if frame.Pos.File == file {
			return int(frame.Pos.Line)
		}
	}
	return 0
}

func lintText(t testing.TB, text string) plan.Diagnostics {
	found, err := Run(Request{Files: []string{"x.star"}, Read: func(name string) ([]byte, error) {
		if name == "x.star" {
			return []byte(text), nil
		}
		return readFrom("testdata")(name)
	}})
	require.NoError(t, err)
	return found
}

func readFrom(dir string) func(string) ([]byte, error) {
	return func(name string) ([]byte, error) {
		if inside, ok := strings.CutPrefix(name, "@piper//"); ok {
			return stdlib.Files.ReadFile(inside)
		}
		return os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
	}
}

// Nothing is wrong with what comes with Piper, and with its own file.
func TestOwnFiles(t *testing.T) {
	for dir, pattern := range map[string]string{
		"../../stdlib": "*.star", "../..": "*.star", "../../testdata/bench": "*.star", "../../testdata/examples": "*/*.star", "testdata": "lib.star",
	} {
		paths, err := filepath.Glob(filepath.Join(dir, pattern))
		require.NoError(t, err)
		require.NotEmpty(t, paths)
		for _, path := range paths {
			below, err := filepath.Rel(dir, path)
			require.NoError(t, err)
			found, err := Run(Request{Files: []string{filepath.ToSlash(below)}, Read: readFrom(dir)})
			require.NoError(t, err)
			require.Empty(t, found, path)
		}
	}
}

// Every check has been seen to find something, and says what it is for.
func TestTable(t *testing.T) {
	text := ""
	for _, name := range []string{"checks", "unsafe"} {
		data, err := os.ReadFile("testdata/" + name + ".star")
		require.NoError(t, err)
		text += string(data)
	}
	last := ""
	for _, c := range Checks() {
		require.Less(t, last, c.Code)
		require.Contains(t, text, "### "+c.Code)
		require.Regexp(t, `[.?]$`, c.Doc)
		last = c.Code
	}
}

func TestProblems(t *testing.T) {
	found := lintText(t, "x = (\n")
	require.Len(t, found, 1)
	require.Equal(t, "error", found[0].Severity)
	require.Equal(t, "syntax", found[0].Code)

	// What is loaded, and cannot be, is for piper check to say.
	require.Empty(t, lintText(t, "load(\"//missing.star\", \"a\")\nprint(a)\n"))
	require.Empty(t, lintText(t, "load(\"../bad\", \"a\")\nprint(a)\n"))

	missing := errors.New("not there")
	_, err := Run(Request{Files: []string{"x.star"}, Read: func(string) ([]byte, error) { return nil, missing }})
	require.ErrorIs(t, err, missing)
}

// A warning about the standard library is shown where it is called.
func TestStandardLibrary(t *testing.T) {
	found := lintText(t, `load("@piper//shell.star", "shell")

pipeline(name = "a", impl = lambda ctx: [shell.syntax(run = "echo " + ctx.event.branch), shell.check(files = [ctx.event.branch])])
`)
	for _, d := range found {
		require.Equal(t, "x.star", d.File)
	}
}

// Files that would take long are left before they do.
func TestBounds(t *testing.T) {
	nested := ""
	for i := range 60 {
		nested += strings.Repeat(" ", i) + "for i in range(2):\n"
	}
	calls := "def f0(x):\n    return [x, x]\n"
	for i := range 60 {
		calls += fmt.Sprintf("def f%d(x):\n    return [f%d(x), f%d(x)]\n", i+1, i, i)
	}
	doubled := "x = [git.branch()]\n" + strings.Repeat("x = [x, x]\n", 60) + "step(\"a\", run = \" \".join(x))\n"
	for name, text := range map[string]string{
		"loops":     nested + strings.Repeat(" ", 60) + "print(i)\n",
		"calls":     calls + "f60(git.branch())\n",
		"doubling":  doubled,
		"recursion": "def f(x):\n    return f(x)\n\ndef g(x):\n    return h(x)\n\ndef h(x):\n    return g(x)\n\nf(1)\ng(1)\n",
	} {
		t.Run(name, func(t *testing.T) { lintText(t, text) })
	}
	require.Contains(t, lintText(t, doubled).Error(), "becomes a part", "what is too large to follow is still known to be there")
}

func FuzzRun(f *testing.F) {
	for _, name := range []string{"checks", "safe", "unsafe"} {
		text, err := os.ReadFile("testdata/" + name + ".star")
		require.NoError(f, err)
		for part := range strings.SplitSeq(string(text), "\n---\n") {
			f.Add(part)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		found, err := Run(Request{Files: []string{"x.star"}, Read: func(name string) ([]byte, error) {
			if name != "x.star" {
				return nil, fs.ErrNotExist
			}
			return []byte(text), nil
		}})
		require.NoError(t, err)
		if _, wrong := starlark.ReadSource("x.star", []byte(text)); len(wrong) == 0 {
			require.False(t, found.HasErrors())
		}
	})
}
