package builtins

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
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
	for name, lines := range map[string]int{"compared": 1000, "too many to compare": 4000} {
		long := strings.Repeat("a\nb\n", lines/2)
		shown := diff(long, strings.ReplaceAll(long, "a", "c"))
		require.Contains(t, shown, "- a\n", name)
		require.Contains(t, shown, "+ c\n", name)
		require.Contains(t, shown, " more lines", name)
		require.LessOrEqual(t, strings.Count(shown, "\n"), maxLines, name)
	}
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
