package logs

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestSanitize(t *testing.T) {
	tests := []struct{ name, in, out string }{
		{"plain", "hello, world\t!", "hello, world\t!"},
		{"empty", "", ""},
		{"other scripts", "naïve 日本 🙂 e\u0301", "naïve 日本 🙂 e\u0301"},
		{"not UTF-8", "a\xffb\xe6\x97", "a�b�"},
		{"UTF-16", "h\x00i\x00", "h␀i␀"},
		{"control characters", "\x00\x01\v\f\x1f\x7f", "␀␁␋␌␟␡"},
		{"bell", "a\ab", "ab"},
		{"C1 as characters", "a\u009b31mb\u0085", "a�31mb�"},
		{"C1 as bytes", "a\x9b31mb", "a�31mb"},
		{"direction of writing", "a\u202eb\u2066c\u200fd\u2028e", "abcde"},

		{"colour", "\x1b[31mred\x1b[0m not", "\x1b[0;31mred\x1b[0m not"},
		{"colour left on", "\x1b[31mred", "\x1b[0;31mred\x1b[0m"},
		{"colour of nothing", "a\x1b[31m", "a"},
		{"short reset", "\x1b[1;4;44mx\x1b[my", "\x1b[0;1;4;44mx\x1b[0my"},
		{"bright", "\x1b[97;100mx", "\x1b[0;97;100mx\x1b[0m"},
		{"palette", "\x1b[38;5;208;48;5;17mx", "\x1b[0;38;5;208;48;5;17mx\x1b[0m"},
		{"exact", "\x1b[38;2;1;2;3;1mx", "\x1b[0;1;38;2;1;2;3mx\x1b[0m"},
		{"colons", "\x1b[38:5:9;48:2::1:2:3mx\x1b[48:2:4:5:6my", "\x1b[0;38;5;9;48;2;1;2;3mx\x1b[0;38;5;9;48;2;4;5;6my\x1b[0m"},
		{"off again", "\x1b[1;3;31;42mx\x1b[22;23;39;49my", "\x1b[0;1;3;31;42mx\x1b[0my"},
		{"underlines", "\x1b[4:3mx\x1b[4:0my\x1b[21mz\x1b[58;5;1mz", "\x1b[0;4mx\x1b[0my\x1b[0;4mzz\x1b[0m"},
		{"blink and conceal", "\x1b[5;6;8mx", "x"},
		{"colours that are none", "\x1b[38;5;256mx\x1b[38;9;1my\x1b[38mz\x1b[999999999999mx", "x\x1b[0;1myzx\x1b[0m"},
		{"no SGR", "\x1b[>4;2mx\x1b[?1mx\x1b[1$mx", "xxx"},

		{"cursor moves", "a\x1b[1000000000Cb\x1b[5A\x1b[Hc\x1b[2Jd", "abcd"},
		{"modes", "\x1b[?1049h\x1b[?2004ha\x1b[?25lb\x1bcc\x1b(Bd\x1b7\x1b8\x1b=", "abcd"},
		{"title", "\x1b]0;title\aa\x1b]2;title\x1b\\b", "ab"},
		{"clipboard", "\x1b]52;c;aGk=\aa", "a"},
		{"link", "\x1b]8;;javascript:x\x1b\\text\x1b]8;;\x1b\\", "text"},
		{"string without end", "a\x1b]0;title and all that", "a"},
		{"string cut short", "\x1b]0;title\x18a\x1bPq\x1ab", "ab"},
		{"string ended by a sequence", "\x1b]0;title\x1b[31mred", "\x1b[0;31mred\x1b[0m"},
		{"string ended by C1", "\x1b]0;t\u009ca", "a"},
		{"sixel", "\x1bPq#0;2;0;0;0~~@@\x1b\\a", "a"},
		{"other strings", "\x1bXx\x1b\\a\x1b^x\x1b\\b\x1b_x\x1b\\c", "abc"},
		{"sequence without end", "a\x1b[31", "a"},
		{"lone escape", "a\x1b", "a"},
		{"escape and something", "a\x1b\x1b[1mb\x1b\tc\x1béd", "a\x1b[0;1mb\tcéd\x1b[0m"},
		{"control character in a sequence", "ab\x1b[3\r1mc", "\x1b[0;31mc\x1b[0mb"},
		{"sequence broken off", "a\x1b[3éb\x1b[\x7fc", "aéb␡c"},
		{"long parameters", "\x1b[" + strings.Repeat("1;", 100) + "mx", "x"},

		{"carriage return", "10%\r100%", "100%"},
		{"carriage return at the end", "windows\r", "windows"},
		{"shorter than before", "100%\r 5%", " 5%%"},
		{"erase", "100%\r\x1b[K 5%", " 5%"},
		{"erase all", "100%\x1b[2K 5%", " 5%"},
		{"erase otherwise", "100%\x1b[1K!", "100%!"},
		{"column", "100%\x1b[1G\x1b[0K5%\x1b[Gx\x1b[7Gy", "xy"},
		{"backspace", "abc\b\bX\b\b\b\b\bY", "YXc"},
		{"colour goes with its text", "\x1b[31mab\x1b[0m\rx", "x\x1b[0;31mb\x1b[0m"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			require.Equal(t, test.out, Sanitize([]byte(test.in)))
			for size := 1; size <= 5; size++ {
				require.Equal(t, []string{"0:" + test.out, "9:end"}, sanitizeInPieces(t, test.in+"\n\x1b[mend", size)[:2], "in pieces of %d", size)
			}
		})
	}
}

// sanitizeInPieces writes text in pieces; the arrival is 0 until the first
// line end, then 9.
func sanitizeInPieces(t *testing.T, text string, size int) []string {
	var got []string
	s := Sanitizer{Line: func(at time.Time, text []byte) error {
		got = append(got, fmt.Sprintf("%d:%s", at.UnixMilli(), text))
		return nil
	}}
	at := 0
	for i := 0; i < len(text); i += size {
		if i > 0 && strings.Contains(text[:i], "\n") {
			at = 9
		}
		piece := text[i:min(i+size, len(text))]
		if before, after, ok := strings.Cut(piece, "\n"); ok {
			require.NoError(t, s.Write(ms(at), []byte(before+"\n")))
			at, piece = 9, after
		}
		require.NoError(t, s.Write(ms(at), []byte(piece)))
	}
	require.NoError(t, s.Close())
	return append(got, "")
}

func TestSanitizerLines(t *testing.T) {
	var got []string
	s := Sanitizer{Line: func(at time.Time, text []byte) error {
		got = append(got, fmt.Sprintf("%d:%s", at.UnixMilli(), text))
		return nil
	}}
	for i, p := range []string{"one\ntw", "o\n\n", "\x1b[31mred\n", "still\n\x1b[mnot\n", "\x1b]0;no end\nseen\n", "", "no end"} {
		require.NoError(t, s.Write(ms(i), []byte(p)))
	}
	require.Equal(t, []string{
		"0:one", "0:two", "1:", "2:\x1b[0;31mred\x1b[0m", "3:\x1b[0;31mstill\x1b[0m", "3:not", "4:", "4:seen",
	}, got)
	require.NoError(t, s.Close())
	require.Equal(t, "6:no end", got[len(got)-1])
	require.NoError(t, s.Close())
	require.Len(t, got, 9)
}

func TestSanitizerLongLines(t *testing.T) {
	var got []string
	s := Sanitizer{Line: func(at time.Time, text []byte) error {
		got = append(got, string(text))
		return nil
	}}
	full := strings.Repeat("é", maxColumns)
	require.NoError(t, s.Write(ms(0), []byte(full+"\n"+full+"x\rlast\n")))
	require.NoError(t, s.Close())
	require.Equal(t, []string{full, full, "last"}, got)
	require.Equal(t, "x", Sanitize([]byte(full+"x")))
}

func TestSanitizerReturnsErrors(t *testing.T) {
	broken := errors.New("terminal gone")
	calls := 0
	fail := func(time.Time, []byte) error { calls++; return broken }
	for _, text := range []string{"text\n", "\x1b[1mtext\n", strings.Repeat("é", maxColumns+1)} {
		s := Sanitizer{Line: fail}
		require.ErrorIs(t, s.Write(ms(0), []byte(text)), broken)
		require.ErrorIs(t, s.Write(ms(0), []byte(text)), broken)
		require.ErrorIs(t, s.Close(), broken)
	}
	require.Equal(t, 3, calls)
	s := Sanitizer{Line: fail}
	require.NoError(t, s.Write(ms(0), []byte("text")))
	require.ErrorIs(t, s.Close(), broken)
}

// safe checks that text could not drive a terminal.
func safe(t *testing.T, text string) {
	require.True(t, utf8.ValidString(text))
	for len(text) > 0 {
		if strings.HasPrefix(text, "\x1b[") {
			end := strings.TrimLeft(text[2:], "0123456789;")
			require.True(t, strings.HasPrefix(end, "m"), "%q", text)
			text = end[1:]
			continue
		}
		r, size := utf8.DecodeRuneInString(text)
		require.False(t, r < ' ' && r != '\t' || 0x7f <= r && r < 0xa0, "%q", text)
		text = text[size:]
	}
}

func FuzzSanitize(f *testing.F) {
	f.Add("\x1b[31mred\r\x1b]0;t\a\b\xff\n\x1b[K", 1)
	f.Fuzz(func(t *testing.T, text string, size int) {
		if size < 1 || size > 100 {
			size = 3
		}
		whole, pieces := "", ""
		for _, run := range []struct {
			into *string
			size int
		}{{&whole, len(text) + 1}, {&pieces, size}} {
			s := Sanitizer{Line: func(_ time.Time, line []byte) error {
				safe(t, string(line))
				*run.into += string(line) + "\n"
				return nil
			}}
			for p := text; len(p) > 0; {
				n := min(run.size, len(p))
				require.NoError(t, s.Write(ms(0), []byte(p[:n])))
				p = p[n:]
			}
			require.NoError(t, s.Close())
			require.LessOrEqual(t, cap(s.line), 2*maxColumns)
		}
		require.Equal(t, whole, pieces)
		safe(t, Sanitize([]byte(strings.ReplaceAll(text, "\n", ""))))
	})
}

func BenchmarkSanitize(b *testing.B) {
	for name, unit := range map[string]string{
		"plain":           "2024-05-06T07:08:09Z INFO compile package github.com/example (cached) 0.123s\n",
		"colour":          "\x1b[32mok\x1b[0m  \tgithub.com/example/project/internal/thing\t(cached)\n",
		"progress bar":    "\rdownloading 12% [===>           ]",
		"cursor moves":    "\x1b[1000000000C",
		"erase":           "\x1b[2Kx",
		"styles":          "\x1b[1mx\x1b[2mx",
		"title, no end":   "\x1b]0;titletitletitletitletitle",
		"parameters":      "\x1b[1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1m",
		"nothing but NUL": "\x00",
	} {
		b.Run(name, func(b *testing.B) {
			text := []byte(strings.Repeat(unit, 1<<20/len(unit)))
			b.SetBytes(int64(len(text)))
			s := Sanitizer{Line: func(time.Time, []byte) error { return nil }}
			for b.Loop() {
				require.NoError(b, s.Write(ms(0), text))
			}
		})
	}
}
