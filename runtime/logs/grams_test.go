package logs

import (
	"bufio"
	"bytes"
	"testing"

	"github.com/stretchr/testify/require"
)

// Where case is folded as much is known of a line: also of letters that have a case
// outside of ASCII.
func TestFoldedGrams(t *testing.T) {
	for _, word := range []string{"tests", "tasks", "disk", "stack"} {
		require.NotEmpty(t, Query{Text: word}.grams(), word)
		require.Equal(t, Query{Text: word}.grams(), Query{Text: word, Fold: true}.grams(), word)
	}
	require.Equal(t, Query{Text: "disk"}.grams(), Query{Text: "DI\u017f\u212a", Fold: true}.grams())
	require.NotEqual(t, Query{Text: "disk"}.grams(), Query{Text: "di\u017fk"}.grams(), "it is no s")
	require.Empty(t, Query{Text: "aßb", Fold: true}.grams(), "it has another case of other bytes")
}

// A signature lets a line be found by letters that stand for those of ASCII.
func TestSignatureFolds(t *testing.T) {
	var kept bytes.Buffer
	g := &signing{w: bufio.NewWriter(&kept)}
	g.line(Line{Number: 1, Text: []byte("a \u212aI\u017fS")})
	g.flush()
	require.NoError(t, g.w.Flush())
	b, err := (&signed{r: bufio.NewReader(&kept)}).next()
	require.NoError(t, err)
	require.True(t, b.may(Query{Text: "kiss", Fold: true}.grams()))
	require.True(t, b.may(Query{Text: "I\u017fS"}.grams()))
	require.False(t, b.may(Query{Text: "kist", Fold: true}.grams()))
}
