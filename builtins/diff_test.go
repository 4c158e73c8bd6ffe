package builtins

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.starlark.net/starlark"
	"pgregory.net/rapid"
)

func TestDiff(t *testing.T) {
	many := func(from, to int) string {
		var b strings.Builder
		for i := from; i < to; i++ {
			fmt.Fprintln(&b, i)
		}
		return b.String()
	}
	for _, test := range []struct{ want, got, diff string }{
		{"a", "b", "- a\n+ b"},
		{"", "b", "- \n+ b"},
		{"a\nb\nc", "a\nc", "  a\n- b\n  c"},
		{"a\nc", "a\nb\nc", "  a\n+ b\n  c"},
		{"x\na\nb", "a\nb\ny", "- x\n  a\n  b\n+ y"},
		{"a\n", "a", "  a\n- "},
		{many(0, 20), many(0, 9) + "x\n" + many(10, 20), "  …\n  6\n  7\n  8\n- 9\n+ x\n  10\n  11\n  12\n  …"},
	} {
		require.Equal(t, test.diff, diff(test.want, test.got))
	}
	long := strings.Repeat("a\nb\n", 2000)
	require.Contains(t, diff(long, strings.ReplaceAll(long, "a", "c")), "- a\n")
}

// TestDiffHoldsBoth: what a diff keeps and takes away is the one text, what it
// keeps and adds the other.
func TestDiffHoldsBoth(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", ""}), 1, 12)
		a, b := text.Draw(t, "want"), text.Draw(t, "got")
		var want, got []string
		for _, line := range edit(a, b) {
			if line[0] != '+' {
				want = append(want, line[2:])
			}
			if line[0] != '-' {
				got = append(got, line[2:])
			}
		}
		require.Equal(t, a, want)
		require.Equal(t, b, got)
	})
}

func TestShow(t *testing.T) {
	wide := starlark.String(strings.Repeat("x", 60))
	dict := starlark.NewDict(2)
	require.NoError(t, dict.SetKey(starlark.String("k"), starlark.Tuple{wide, wide}))
	require.Equal(t, "{\n  \"k\": [\n    "+wide.String()+",\n    "+wide.String()+",\n  ],\n}", show(dict))
	require.Equal(t, `[1, 2]`, show(starlark.NewList([]starlark.Value{starlark.MakeInt(1), starlark.MakeInt(2)})))
	require.Equal(t, "\"\"\"a\nb\"\"\"", show(starlark.String("a\nb")))
	require.Equal(t, `"\x1b"`, show(starlark.String("\x1b")))
	loop := starlark.NewList(nil)
	require.NoError(t, loop.Append(wide))
	require.NoError(t, loop.Append(loop))
	require.NoError(t, loop.Append(loop))
	require.Less(t, len(show(loop)), maxShown+10, "a list that holds itself has an end, too")
	require.Less(t, len(show(starlark.String(strings.Repeat("é\n", maxShown)))), maxShown+10)
}
