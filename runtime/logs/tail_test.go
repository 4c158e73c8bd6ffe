package logs

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestTail(t *testing.T) {
	tests := []struct {
		name         string
		lines, bytes int
		writes       []string
		first        int64
		want         []string
		cut          bool
	}{
		{"nothing", 3, 100, nil, 0, nil, false},
		{"an empty line", 3, 100, []string{"\n"}, 1, []string{""}, false},
		{"one without end", 3, 100, []string{"a"}, 1, []string{"a"}, false},
		{"fewer", 3, 100, []string{"a\n", "b\n"}, 1, []string{"a", "b"}, false},
		{"more", 3, 100, []string{"a\nb\nc\n", "d\n"}, 2, []string{"b", "c", "d"}, false},
		{"the last grows", 3, 100, []string{"a\nb\nc\nd", "e"}, 2, []string{"b", "c", "de"}, false},
		{"too long", 3, 5, []string{"abcdefgh\n"}, 1, []string{"efgh"}, true},
		{"too long, in pieces", 3, 5, []string{"abc", "def", "ghi", "jkl", "mno"}, 1, []string{"klmno"}, true},
		{"just fits", 3, 5, []string{"x\n", "abcd\n"}, 2, []string{"abcd"}, false},
		{"just fits after a move", 3, 5, []string{"xxxx\n", "yyyy\n", "abcd\n"}, 3, []string{"abcd"}, false},
		{"no lines", 0, 5, []string{"a\n"}, 0, nil, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			tail := NewTail(test.lines, test.bytes)
			w := open(t, tail, "a", 1)
			total := 0
			for _, p := range test.writes {
				write(t, w, 0, p)
				total += len(p)
			}
			got := tail.Last("a", 1)
			var text []string
			for _, l := range got.Lines {
				text = append(text, string(l))
			}
			require.Equal(t, test.want, text)
			require.Equal(t, test.first, got.First)
			require.Equal(t, test.cut, got.Cut)
			require.EqualValues(t, total, got.Bytes)
			require.LessOrEqual(t, cap(w.(*tailWriter).kept), 64+4*test.bytes)
		})
	}
}

func TestTailProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lines, limit := rapid.IntRange(1, 4).Draw(t, "lines"), rapid.IntRange(1, 12).Draw(t, "bytes")
		tail := NewTail(lines, limit)
		w := open(t, tail, "a", 1)
		all := ""
		for _, p := range rapid.SliceOf(rapid.StringMatching(`[ab\n]{0,15}`)).Draw(t, "writes") {
			write(t, w, 0, p)
			all += p
		}
		whole := strings.Split(strings.TrimSuffix(all, "\n"), "\n")
		kept := strings.Split(strings.TrimSuffix(all[max(len(all)-limit, 0):], "\n"), "\n")
		kept = kept[max(len(kept)-lines, 0):]
		if all == "" {
			whole, kept = nil, nil
		}
		got := tail.Last("a", 1)
		require.Len(t, got.Lines, len(kept))
		for i, l := range got.Lines {
			require.Equal(t, kept[i], string(l))
		}
		if len(kept) > 0 {
			require.EqualValues(t, len(whole)-len(kept)+1, got.First)
			require.Equal(t, kept[0] != whole[len(whole)-len(kept)], got.Cut)
		}
	})
}

func TestTailForgets(t *testing.T) {
	tail := NewTail(3, 100)
	for i := range 2 * keepClosed {
		w := open(t, tail, fmt.Sprint(i), 1)
		write(t, w, 0, "text\n")
		require.NoError(t, w.Close())
	}
	running := open(t, tail, "running", 1)
	write(t, running, 0, "text\n")
	require.Len(t, tail.attempts, keepClosed+1)
	require.Empty(t, tail.Last(fmt.Sprint(keepClosed-1), 1).Lines)
	require.Len(t, tail.Last(fmt.Sprint(keepClosed), 1).Lines, 1)
	require.Len(t, tail.Last("running", 1).Lines, 1)
	require.Empty(t, tail.Last("running", 2).Lines)

	tail.Forget("running", 1)
	require.Empty(t, tail.Last("running", 1).Lines)
	write(t, running, 0, "nobody listens\n")
	require.NoError(t, running.Close())
	require.NoError(t, tail.Close())
	require.Len(t, tail.Last(fmt.Sprint(2*keepClosed-1), 1).Lines, 1, "a report comes after the end")
}
