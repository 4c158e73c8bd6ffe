package format

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/starlark"
)

func TestLayout(t *testing.T) {
	archive, err := txtar.ParseFile("testdata/layout.txtar")
	require.NoError(t, err)
	files := map[string]string{}
	for _, f := range archive.Files {
		files[f.Name] = string(f.Data)
	}
	for _, f := range archive.Files {
		if strings.HasSuffix(f.Name, " => layout") {
			continue
		}
		t.Run(f.Name, func(t *testing.T) {
			want, ok := files[f.Name+" => layout"]
			if !ok {
				want = string(f.Data)
			}
			got, err := Source("x.star", f.Data)
			require.NoError(t, err)
			require.Equal(t, want, string(got))
			again, err := Source("x.star", got)
			require.NoError(t, err)
			require.Equal(t, want, string(again))

			windows, err := Source("x.star", []byte(strings.ReplaceAll(string(f.Data), "\n", "\r\n")))
			require.NoError(t, err)
			require.Equal(t, want, string(windows))
		})
	}
}

func TestRefused(t *testing.T) {
	for _, test := range []struct{ name, text, code, message string }{
		{"syntax", "x = (\n", "syntax", "this ( is not closed"},
		{"while", "while True:\n    pass\n", "syntax", "while"},
		{"a habit of Python", "import os\n", "syntax", "no import statement"},
		{"not UTF-8", "x = \"\xff\"\n", "bad-encoding", "not UTF-8"},
		{"a NUL byte", "x = \"\x00\"\n", "bad-encoding", "NUL"},
		{"characters that turn text around", "# \u202e\n", "bad-encoding", "direction"},
		{"large", strings.Repeat("#", 1<<20) + "\n", "too-large", "more than"},
		{"deep", "x = " + strings.Repeat("(", 5000) + "1" + strings.Repeat(")", 5000), "syntax", "nesting"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := Source("x.star", []byte(test.text))
			require.Nil(t, got)
			var wrong plan.Diagnostics
			require.ErrorAs(t, err, &wrong)
			require.Equal(t, test.code, wrong[0].Code)
			require.Contains(t, wrong[0].Message, test.message)
		})
	}
}

// What Source compares does tell texts apart.
func TestMeaning(t *testing.T) {
	read := func(text string) *starlark.Source {
		s, wrong := starlark.ReadSource("x.star", []byte(text))
		require.Empty(t, wrong)
		return s
	}
	for _, pair := range [][2]string{
		{"x = a + (b + c)", "x = a + b + c"},
		{"x = a[1:]", "x = a[:1]"},
		{"x = 1", "x = 1.0"},
		{"x = 'a'", "x = b'a'"},
		{"x = ' a'", "x = 'a'"},
		{"x += 1", "x -= 1"},
		{"f(a, b)", "f(a)(b)"},
		{"f(a, b)", "f((a, b))"},
		{"[a for b in c]", "[a for b in c if c]"},
		{"if a:\n  b\n  c", "if a:\n  b\nelse:\n  c"},
		{"def f():\n  return\n  x", "def f():\n  return x"},
		{"def f(a, b): pass", "def f(a, *, b): pass"},
		{"x = lambda a: b", "x = lambda: a"},
		{"x = -1", "x = +1"},
		{"pass", ""},
		{"for i in x:\n  break", "for i in x:\n  continue"},
	} {
		require.NotEqual(t, meaning(read(pair[0]).File), meaning(read(pair[1]).File), "%q and %q", pair[0], pair[1])
	}
	for _, pair := range [][2]string{
		{"x = ((a))", "x = a"},
		{"x = 'a'", `x = "a"`},
		{"def f():\n  '''a\n  b'''", "def f():\n    '''a\n    b'''"},
	} {
		require.Equal(t, meaning(read(pair[0]).File), meaning(read(pair[1]).File), "%q and %q", pair[0], pair[1])
	}
	require.NotEqual(t, comments(read("# a\nx").File), comments(read("x").File))
	require.Equal(t, comments(read("#a\nx # b").File), comments(read("# a\n# b\nx").File))
}

// corpus is every text of Starlark there is around here.
func corpus(t testing.TB) map[string]string {
	texts := map[string]string{}
	for _, pattern := range []string{"../testdata/*.star", "../testdata/*.txtar", "testdata/*.txtar", "../../stdlib/*.star", "../../*.star", "../../testdata/bench/*.star", "../../testdata/examples/*/*.star"} {
		names, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, name := range names {
			data, err := os.ReadFile(name)
			require.NoError(t, err)
			for _, f := range txtar.Parse(data).Files {
				texts[name+"/"+f.Name] = string(f.Data)
			}
			if strings.HasSuffix(name, ".star") {
				texts[name] = string(data)
				for i, chunk := range strings.Split(string(data), "\n---\n") {
					texts[name+string(rune('a'+i))] = chunk
				}
			}
		}
	}
	return texts
}

// stays fails the test unless text, once formatted, stays as it is. That it
// means what it meant is checked by Source itself.
func stays(t *testing.T, text string) {
	before, wrong := starlark.ReadSource("x.star", []byte(text))
	got, err := Source("x.star", []byte(text))
	if len(wrong) > 0 {
		require.Error(t, err)
		return
	}
	if err != nil { // a text that the printer would spoil is left alone
		require.Contains(t, err.Error(), "cannot be formatted")
		return
	}
	after, wrong := starlark.ReadSource("x.star", got)
	require.Empty(t, wrong)
	require.Equal(t, meaning(before.File), meaning(after.File))
	again, err := Source("x.star", got)
	require.NoError(t, err)
	require.Equal(t, string(got), string(again))
}

func TestCorpusStays(t *testing.T) {
	formatted := 0
	for name, text := range corpus(t) {
		stays(t, text)
		got, err := Source("x.star", []byte(text))
		if err == nil {
			formatted++
		} else {
			require.NotContains(t, err.Error(), "cannot be formatted", name)
		}
		if err == nil && !strings.Contains(name, "../testdata/") && !strings.Contains(name, ".txtar") || strings.Contains(name, "../../testdata/") {
			require.Equal(t, text, string(got), "%s is formatted", name)
		}
	}
	require.Greater(t, formatted, 100)
}

func FuzzSource(f *testing.F) {
	for _, text := range corpus(f) {
		f.Add(text)
	}
	f.Fuzz(stays)
}
