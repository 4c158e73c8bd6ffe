package starlark

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzSyntax: whatever does not parse is told in words of ours, at a place that
// is there.
func FuzzSyntax(f *testing.F) {
	for _, name := range []string{"testdata/syntax.star", "testdata/python.star"} {
		text, err := os.ReadFile(name)
		require.NoError(f, err)
		for chunk := range strings.SplitSeq(string(text), "\n---\n") {
			source, _ := cutExpectation(chunk)
			f.Add(source)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		if at, _, _ := unreadable([]byte(text)); at >= 0 || len(text) > 10_000 {
			return
		}
		_, found := ReadSource("a.star", []byte(text))
		for _, d := range found {
			require.NotEmpty(t, d.Message)
			require.NotContains(t, d.Message, "want ")
			require.Positive(t, d.Column)
			require.Positive(t, d.Line)
			require.LessOrEqual(t, d.Line, strings.Count(text, "\n")+1)
		}
	})
}
