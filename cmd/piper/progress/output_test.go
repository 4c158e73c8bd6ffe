package progress

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/piper-build/piper/runtime/build"
)

// However a stream is cut into writes, its lines come out whole or in bounded
// pieces, in order, and no byte is lost.
func TestLines(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := []byte(strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{
			"a", "b", "\n", "\n", "日本", "\xff", "\xe6", "\r", strings.Repeat("x", maxLine-1), strings.Repeat("é", maxLine), strings.Repeat("\x80", maxLine+9),
		}), 0, 12).Draw(t, "text"), ""))

		var l lines
		var got [][]byte
		emit := func(line []byte, is piece) {
			require.LessOrEqual(t, len(line), maxLine)
			if utf8.Valid(text) {
				require.True(t, utf8.Valid(line), "a piece cuts through no character")
			}
			if is == whole {
				got = append(got, nil)
			}
			last := &got[len(got)-1]
			*last = append(*last, line...)
		}
		for rest := text; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "write")
			l.add(rest[:n], emit)
			rest = rest[n:]
			require.LessOrEqual(t, cap(l.part), 2*maxLine)
		}
		if l.pending() {
			emit(l.part, l.next)
		} else if len(text) > 0 {
			got = append(got, nil)
		}
		require.Equal(t, string(text), string(bytes.Join(got, newline)))
	})
}

// The tail is the same however a stream is cut into writes, and the same as
// that of all lines.
func TestTail(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var a attempt
		var want []string
		for range rapid.IntRange(0, 6).Draw(t, "writes") {
			var w strings.Builder
			for range rapid.IntRange(0, 50).Draw(t, "lines") {
				line := rapid.SampledFrom([]string{"", "a", "line", "日本"}).Draw(t, "line") + strconv.Itoa(len(want))
				want = append(want, line)
				w.WriteString(line + "\n")
			}
			text := []byte(w.String())
			cut := rapid.IntRange(0, len(text)).Draw(t, "cut")
			a.keep(text[:cut], false)
			a.keep(text[cut:], false)
		}
		require.Equal(t, len(want), a.tail.n)
		require.Equal(t, append([]string{}, want[max(0, len(want)-tailSize):]...), texts(a.tail.last(tailSize)))
	})
}

// Of a line in pieces the tail has the beginning, of one that draws over
// itself what stands there now.
func TestTailOfLongLines(t *testing.T) {
	for name, test := range map[string]struct{ text, want string }{
		"cut through a colour": {strings.Repeat("x", maxTail-2) + "\x1b[31mred\n", strings.Repeat("x", maxTail-2) + "\x1b[0m…"},
		"cut in a colour":      {"\x1b[31m" + strings.Repeat("x", maxTail) + "\n", "\x1b[0;31m" + strings.Repeat("x", maxTail-7) + "\x1b[0m…"},
		"long":                 {strings.Repeat("é", 10*maxLine) + "end\n", strings.Repeat("é", maxTail/2) + "…"},
		"progress bar":         {strings.Repeat("\r working", 10*maxLine) + "\rdone    \n", "done"},
	} {
		t.Run(name, func(t *testing.T) {
			var a attempt
			a.keep([]byte(test.text), true)
			require.Equal(t, 1, a.tail.n)
			require.Equal(t, test.want, strings.TrimSpace(string(a.tail.last(1)[0])))
		})
	}
}

// A line of a gigabyte is shown in pieces as it comes, whole, and held
// nowhere.
func TestEndlessLine(t *testing.T) {
	const size = 16 << 20
	var shown int64
	out := writer(func(p []byte) (int, error) {
		require.LessOrEqual(t, len(p), 2*maxHold)
		shown += int64(bytes.Count(p, []byte("x")))
		return len(p), nil
	})
	s := open(t, "plain", Options{Out: out}, parallelPlan(1))
	s.start(0)
	chunk := strings.Repeat("x", 64<<10)
	for range size / len(chunk) {
		s.output(0, chunk)
	}
	a := s.d.(*plain).of(&s.p.Nodes[0], 1, time.Now())
	require.Less(t, cap(a.lines.part)+cap(a.held)+cap(a.shown), 8*maxHold)
	s.finish(0, build.Success)
	s.end(build.Success)
	require.EqualValues(t, size, shown)
}

// A group of GitHub's is not held for ever.
func TestGroupInParts(t *testing.T) {
	var out bytes.Buffer
	frozen := func() time.Time { return time.Time{} }
	s := open(t, "github", Options{Out: &out, Now: frozen}, parallelPlan(1))
	s.start(0)
	for i := range 100_000 {
		s.output(0, fmt.Sprintf("line %d\n", i))
		if i%1000 == 0 {
			require.LessOrEqual(t, len(s.d.(*github).of(&s.p.Nodes[0], 1, time.Now()).held), maxGroup)
		}
	}
	s.finish(0, build.Failed)
	s.end(build.Failed)
	text := out.String()
	require.Equal(t, 5, strings.Count(text, "::group::"))
	require.Equal(t, 1, strings.Count(text, "::group::… step-000 still running, part 1 of its output\n"))
	require.Equal(t, 1, strings.Count(text, ": exit 1 (the rest)\n"))
	body, _, _ := strings.Cut(text, "::error ")
	require.Equal(t, 100_000, strings.Count(body, "\n│ line "))
}

func BenchmarkOutput(b *testing.B) {
	chunk := []byte(strings.Repeat("an ordinary line of output, as a compiler or a test runner prints them all day\n", 400))
	for _, mode := range []string{"plain", "tty", "json", "quiet", "github"} {
		b.Run(mode, func(b *testing.B) {
			d, err := New(mode, Options{Out: io.Discard, Results: io.Discard})
			require.NoError(b, err)
			p := parallelPlan(1)
			d.Begin(p, build.New(p))
			b.SetBytes(int64(len(chunk)))
			now := time.Now()
			for b.Loop() {
				d.Output(&p.Nodes[0], 1, now, chunk)
			}
			d.End(build.New(p))
		})
	}
}
