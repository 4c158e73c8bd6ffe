package logs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Each file of testdata/errors is what tools write, with a "!" before each line
// that matters.
func TestErrors(t *testing.T) {
	files, err := filepath.Glob("testdata/errors/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	control := strings.NewReplacer(`\e`, "\x1b", `\a`, "\a", `\r`, "\r")
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			var f errorFinder
			for i, line := range strings.Split(strings.TrimSuffix(string(data), "\n"), "\n") {
				if got := f.matters([]byte(control.Replace(line[2:]))); got != (line[0] == '!') {
					t.Errorf("%s:%d: it matters: %t: %s", file, i+1, got, line[2:])
				}
			}
		})
	}
}

// What never ends is not looked at for ever, and a traceback that is cut off hides
// nothing for long.
func TestErrorsAreBounded(t *testing.T) {
	var f errorFinder
	require.False(t, f.matters([]byte(strings.Repeat("x", mostOfLine)+" error: x")))
	require.True(t, f.matters([]byte("error: x"+strings.Repeat("x", 1<<20))))
	require.False(t, f.matters([]byte("Traceback (most recent call last):")))
	for range mostTraceback {
		require.False(t, f.matters([]byte(" error: x")))
	}
	require.True(t, f.matters([]byte(" error: x")))
	require.False(t, f.matters(nil))
}

func TestSearchErrors(t *testing.T) {
	k := newKeeper()
	k.chunk(t, 1, "fine\nx.c:1:1: error: a\nfine\n\x1b[31mpanic: b\x1b[0m\n0 errors\nFAIL\n")
	search := func(q Query) (Count, []string) {
		var found []string
		count, err := k.reader().Search(t.Context(), "n", 1, q, func(m Match) bool {
			require.Equal(t, [][2]int{{0, len(m.Text)}}, m.Spans)
			found = append(found, fmt.Sprintf("%d %s", m.Number, m.Text))
			for _, l := range append(m.Before, m.After...) {
				found = append(found, fmt.Sprintf("(%d)", l.Number))
			}
			return true
		})
		require.NoError(t, err)
		return count, found
	}
	count, found := search(Query{Errors: true})
	require.Equal(t, Count{3, 3}, count)
	require.Equal(t, []string{"2 x.c:1:1: error: a", "4 \x1b[31mpanic: b\x1b[0m", "6 FAIL"}, found)
	count, found = search(Query{Errors: true, From: 3, Context: 2})
	require.Equal(t, Count{3, 3}, count, "all are counted")
	require.Equal(t, []string{"4 \x1b[31mpanic: b\x1b[0m", "(2)", "(3)", "(5)", "6 FAIL"}, found)
	_, err := k.reader().Search(t.Context(), "n", 1, Query{Errors: true, Text: "x"}, nil)
	require.ErrorContains(t, err, "for one of")
}

// BenchmarkErrors is over what a build that goes well writes.
func BenchmarkErrors(b *testing.B) {
	for name, line := range map[string]string{
		"time": "2026-03-01T12:00:00Z compiling package number 17 of 300", "no mark": "  copied 3 files to dist/app.js, 40 kB",
		"a mark": "ok  	example.com/errors	0.010s", "marks": "    ✓ shows errors and failed things (3 ms)", "colour": "\x1b[32mok\x1b[0m  	example.com/x",
	} {
		b.Run(name, func(b *testing.B) {
			var f errorFinder
			b.SetBytes(int64(len(line)))
			for b.Loop() {
				f.matters([]byte(line))
			}
		})
	}
}
