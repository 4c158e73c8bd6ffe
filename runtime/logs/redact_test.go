package logs

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var chunkings = flag.Int("chunkings", 100_000, "how many random chunkings the redactor's property test tries")

// A recording is a Writer that keeps everything.
type recording struct {
	bytes.Buffer
	writes []string // "ms:text"
	closed int
	err    error
}

func (r *recording) Write(at time.Time, p []byte) error {
	r.Buffer.Write(p)
	r.writes = append(r.writes, fmt.Sprintf("%d:%s", at.UnixMilli(), p))
	return r.err
}

func (r *recording) Close() error { r.closed++; return r.err }

func ms(n int) time.Time { return time.UnixMilli(int64(n)) }

func redactor(t require.TestingT, values ...string) *Redactor {
	secrets := make(map[string]string)
	for i, v := range values {
		secrets[fmt.Sprint("s", i)] = v
	}
	r, err := NewRedactor(secrets)
	require.NoError(t, err)
	return r
}

func TestRedactString(t *testing.T) {
	tests := []struct {
		name    string
		secrets []string
		in, out string
	}{
		{"none", nil, "hunter22", "hunter22"},
		{"plain", []string{"hunter22"}, "a hunter22 b", "a *** b"},
		{"alone", []string{"hunter22"}, "hunter22", "***"},
		{"not quite", []string{"hunter22"}, "hunter2 hunter222", "hunter2 ***2"},
		{"twice", []string{"hunter22"}, "hunter22 hunter22", "*** ***"},
		{"in a row", []string{"hunter22"}, "hunter22hunter22", "***"},
		{"four bytes", []string{"abcd"}, "xabcdxabcabcd", "x***xabc***"},
		{"nested", []string{"bcde", "abcdef"}, "abcdef abcde bcdef", "*** a*** ***f"},
		{"overlapping", []string{"abcdef", "defghi"}, "abcdefghi abcdefgh", "*** ***gh"},
		{"overlapping itself", []string{"aabaa"}, "aabaabaa", "***"},
		{"a prefix of another", []string{"hunter22", "hunter22-and-more"}, "hunter22-and-mor hunter22-and-more", "***-and-mor ***"},
		{"several lines", []string{"first\nsecond\nno\n"}, "first\nsecond\nno\n first\nsecond!", "*** ***\n***!"},
		{"short lines stay", []string{"first\nno\nlast"}, "no last first", "no *** ***"},
		{"indentation stays", []string{"{\n    \"key\": 1\n}"}, "    x\n    \"key\": 1\n", "    x\n    ***\n"},
		{"through a terminal", []string{"first\nsecond\n"}, "first\r\nsecond\r\n", "***"},
		{"not text", []string{"\xff\xfe\x01\x80"}, "\xff\xff\xfe\x01\x80\x80", "\xff***\x80"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := redactor(t, test.secrets...)
			require.Equal(t, test.out, r.String(test.in))
			require.Equal(t, test.in != test.out, r.Contains(test.in))
			for size := 1; size <= len(test.in); size++ {
				require.Equal(t, test.out, redactInPieces(t, r, test.in, func() int { return size }), "in pieces of %d", size)
			}
		})
	}
}

// Every way of printing a secret that is promised to be masked.
func TestRedactEncodings(t *testing.T) {
	values := []string{
		"hunter22", "abcd", "p@ss w/rd+~*", `it's "quoted" \ $HOME & <b>`, "naïve-日本-🙂", "tab\tand\x01bell\x07\b\f",
		"-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj\nMzEfYyjiWA4R4/M2bS1GB4t7NXp98C3SC6dVMvDuictGeurT8jNbvJZHtCSuYEvu\n-----END KEY-----\n",
	}
	marshal := func(v any, html bool) string {
		var b bytes.Buffer
		e := json.NewEncoder(&b)
		e.SetEscapeHTML(html)
		require.NoError(t, e.Encode(v))
		return b.String()
	}
	printed := map[string]func(v string) string{
		"plain":         func(v string) string { return v },
		"hex":           func(v string) string { return hex.EncodeToString([]byte(v)) },
		"HEX":           func(v string) string { return fmt.Sprintf("%X", v) },
		"query":         url.QueryEscape,
		"path":          url.PathEscape,
		"user info":     func(v string) string { return url.UserPassword("u", v).String() },
		"percent lower": func(v string) string { return lowerPercent(url.QueryEscape(v)) },
		"percent 20":    func(v string) string { return strings.ReplaceAll(url.QueryEscape(v), "+", "%20") },
		"json":          func(v string) string { return marshal(v, true) },
		"json plain":    func(v string) string { return marshal(map[string]string{"k": v}, false) },
		"json ascii":    func(v string) string { return pythonJSON(v) },
		"shell":         func(v string) string { return "'" + strings.ReplaceAll(v, "'", `'\''`) + "'" },
		"shlex":         func(v string) string { return "'" + strings.ReplaceAll(v, "'", `'"'"'`) + "'" },
		"go":            func(v string) string { return fmt.Sprintf("%q", v) },
		"go ascii":      func(v string) string { return fmt.Sprintf("%+q", v) },
		"wrapped 76":    func(v string) string { return wrap(base64.StdEncoding.EncodeToString([]byte(v)), 76) },
		"wrapped 64":    func(v string) string { return wrap(base64.StdEncoding.EncodeToString([]byte(v)), 64) },
		"echo base64":   func(v string) string { return wrap(base64.StdEncoding.EncodeToString([]byte(v+"\n")), 76) },
	}
	for name, alphabet := range map[string]*base64.Encoding{
		"std": base64.StdEncoding, "raw std": base64.RawStdEncoding, "url": base64.URLEncoding, "raw url": base64.RawURLEncoding,
	} {
		printed["base64 "+name] = func(v string) string { return alphabet.EncodeToString([]byte(v)) }
	}
	for _, v := range values {
		r := redactor(t, v)
		for name, print := range printed {
			shown := print(v)
			got := r.String("before " + shown + " after")
			before, after := "before ", " after"
			switch { // what is not the value's own text stays
			case strings.HasPrefix(name, "json"), strings.HasPrefix(name, "go"), name == "shell", name == "shlex", name == "user info":
				require.Contains(t, got, mask, "%s of %q", name, v)
				quoted := strings.Trim(strings.TrimSpace(shown), `'"{}:k`)
				require.NotContains(t, got, quoted, "%s of %q", name, v)
				require.Less(t, len(got), len(before)+len(after)+20, "%s of %q: %s", name, v, got)
			default:
				require.Equal(t, before+mask+after, strings.Replace(got, "***\n", "***", -1), "%s of %q", name, v)
			}
		}

		// Inside a longer text, base64 hides the value at one of three places.
		for _, alphabet := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding} {
			for before := range 7 {
				for after := range 4 {
					text := strings.Repeat("<", before) + v + strings.Repeat(">", after)
					got := r.String(alphabet.EncodeToString([]byte(text)))
					require.Contains(t, got, mask)
					// At most one character at either end tells less than a byte.
					require.LessOrEqual(t, len(got), len(mask)+(before*8+5)/6+(after*8+5)/6+4, "%d %q %d: %s", before, v, after, got)
				}
			}
		}
	}
}

func lowerPercent(s string) string {
	b := []byte(s)
	for i := 0; i+2 < len(b); i++ {
		if b[i] == '%' {
			copy(b[i+1:], bytes.ToLower(b[i+1:i+3]))
		}
	}
	return string(b)
}

// pythonJSON is what Python's json.dumps does.
func pythonJSON(s string) string {
	return `"` + jsonEscape(s, "", true, true, "0123456789abcdef") + `"`
}

func wrap(s string, width int) string {
	var b strings.Builder
	for len(s) > width {
		b.WriteString(s[:width] + "\n")
		s = s[width:]
	}
	return b.String() + s
}

func TestRedactorRefusesShortValues(t *testing.T) {
	_, err := NewRedactor(map[string]string{"ok": "hunter22", "pin": "123"})
	require.EqualError(t, err, `mask secret "pin": value is shorter than 4 bytes`)
}

func TestRedactorWithoutSecretsCostsNothing(t *testing.T) {
	empty, err := NewRedactor(nil)
	require.NoError(t, err)
	for _, r := range []*Redactor{nil, empty} {
		to := new(recording)
		require.Same(t, to, r.Writer(to))
		require.Equal(t, "text", r.String("text"))
		require.False(t, r.Contains("text"))
		sink := new(memory)
		require.Same(t, sink, r.Sink(sink))
	}
}

// What may begin a secret waits for the next write; nothing else does.
func TestRedactorHoldsBackOnlyWhatItMust(t *testing.T) {
	tests := []struct {
		name   string
		writes []string // the n-th arrives at n ms
		want   []string
	}{
		{"a lone line", []string{"hello\n", "world\n"}, []string{"0:hello\n", "1:world\n"}},
		{"no prefix at the end", []string{"hunter2 \n", "x"}, []string{"0:hunter2 \n", "1:x"}},
		{"a prefix at the end", []string{"say hunt", "er21\n"}, []string{"0:say ", "0:hunt", "1:er21\n"}},
		{"a shorter prefix remains", []string{"ahunthu", "nt", "s"}, []string{"0:ahunt", "0:hunt", "2:s"}},
		{"split", []string{"say hun", "ter", "22!\n"}, []string{"0:say ", "0:***", "2:!\n"}},
		{"never more", []string{"say hunter2"}, []string{"0:say ", "0:hunter2"}},
		{"masked at once", []string{"hunter22"}, []string{"0:***"}},
		{"in a row", []string{"hunter22", "hunter22", "."}, []string{"0:***", "2:."}},
		{"the first line of two", []string{"first\n", "second", "\n"}, []string{"0:***", "2:\n"}},
		{"another second line", []string{"first\n", "2nd\n"}, []string{"0:***", "0:\n", "1:2nd\n"}},
	}
	r := redactor(t, "hunter22", "first\nsecond")
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			to := new(recording)
			w := r.Writer(to)
			for i, p := range test.writes {
				require.NoError(t, w.Write(ms(i), []byte(p)))
			}
			require.NoError(t, w.Close())
			require.Equal(t, 1, to.closed)
			require.Equal(t, test.want, to.writes)
		})
	}
}

func TestRedactorReturnsErrors(t *testing.T) {
	full := errors.New("disk full")
	r := redactor(t, "hunter22")
	for _, text := range []string{"text", "a hunter22", "hunter22 b"} {
		require.ErrorIs(t, r.Writer(&recording{err: full}).Write(ms(0), []byte(text)), full)
	}
	to := new(recording)
	w := r.Writer(to)
	require.NoError(t, w.Write(ms(0), []byte("hunt")))
	to.err = full
	require.ErrorIs(t, w.Write(ms(0), []byte("!")), full)
	require.ErrorIs(t, w.Close(), full)

	_, err := r.Sink(brokenSink{full}).Open("a", 1)
	require.ErrorIs(t, err, full)
}

// A large write is looked at in windows; a secret may lie across two.
func TestRedactLargeWrites(t *testing.T) {
	m := new(memory)
	w := open(t, redactor(t, "hunter22").Sink(m), "a", 1)
	before := strings.Repeat("x", window-3)
	write(t, w, 1, before+"hunter22"+before+before)
	require.NoError(t, w.Close())
	require.Equal(t, before+mask+before+before, m.writers["a#1"].String())

	full := errors.New("disk full")
	w = redactor(t, "hunter22").Writer(&recording{err: full})
	require.ErrorIs(t, w.Write(ms(1), []byte(before+before)), full)
}

// redactInPieces writes text in pieces of next() bytes.
func redactInPieces(t require.TestingT, r *Redactor, text string, next func() int) string {
	to := new(recording)
	w := r.Writer(to)
	for p := []byte(text); len(p) > 0; {
		n := min(next(), len(p))
		piece := bytes.Clone(p[:n])
		require.NoError(t, w.Write(ms(0), piece))
		for i := range piece {
			piece[i] = '#' // a Writer must not keep it
		}
		p = p[n:]
	}
	require.NoError(t, w.Close())
	return to.String()
}

// redactSlowly is what a Redactor does, in the plainest way.
func redactSlowly(patterns []string, text string) string {
	covered := make([]bool, len(text))
	for _, p := range patterns {
		for from := 0; ; from++ {
			i := strings.Index(text[from:], p)
			if i < 0 {
				break
			}
			from += i
			for j := range len(p) {
				covered[from+j] = true
			}
		}
	}
	var b strings.Builder
	for i := range len(text) {
		switch {
		case !covered[i]:
			b.WriteByte(text[i])
		case i == 0 || !covered[i-1]:
			b.WriteString(mask)
		}
	}
	return b.String()
}

// Random secrets in random encodings between random text, in random pieces:
// nothing leaks, and every other byte is what it was.
func TestRedactProperty(t *testing.T) {
	const perText = 50
	rounds := max(*chunkings/perText, 1)
	seed := rand.Uint64()
	t.Log("seed", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	for range rounds {
		values, patterns := randomSecrets(rng)
		r := redactor(t, values...)
		text := randomText(rng, patterns)
		want := redactSlowly(patterns, text)
		for _, p := range patterns {
			require.NotContains(t, want, p)
		}
		require.Equal(t, want, r.String(text))
		for range perText {
			largest := 1 + rng.IntN(len(text)+1)
			got := redactInPieces(t, r, text, func() int { return 1 + rng.IntN(largest) })
			if got != want {
				require.Equal(t, want, got, "secrets %q text %q", values, text)
			}
		}
	}
}

func randomSecrets(rng *rand.Rand) (values, patterns []string) {
	alphabets := []string{"ab", "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", "a'\"\\<&/+ \n%=", "aé日🙂\x00\xff\x80"}
	for range 1 + rng.IntN(4) {
		alphabet := alphabets[rng.IntN(len(alphabets))]
		length := minPattern + rng.IntN(12)
		if rng.IntN(5) == 0 {
			length += rng.IntN(100)
		}
		value := make([]byte, length)
		for i := range value {
			value[i] = alphabet[rng.IntN(len(alphabet))]
		}
		values = append(values, string(value))
		patterns = append(patterns, encodings(string(value))...)
	}
	return values, patterns
}

// randomText mixes whole patterns, pieces of them and other bytes.
func randomText(rng *rand.Rand, patterns []string) string {
	var b strings.Builder
	for range rng.IntN(20) {
		p := patterns[rng.IntN(len(patterns))]
		switch rng.IntN(5) {
		case 0:
			b.WriteString(p)
		case 1:
			b.WriteString(p[:rng.IntN(len(p))])
		case 2:
			b.WriteString(p[rng.IntN(len(p)):])
		case 3:
			b.WriteString("plain text, ab 12\n")
		case 4:
			b.WriteByte(byte(rng.Uint32()))
		}
	}
	return b.String()
}

// The same with cases that shrink, so that a failure is short.
func TestRedactRapid(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.StringMatching(`[ab\n'"]{4,9}`), 1, 3).Draw(t, "secrets")
		var patterns []string
		for _, v := range values {
			patterns = append(patterns, encodings(v)...)
		}
		var text strings.Builder
		for _, piece := range rapid.SliceOfN(rapid.OneOf(rapid.SampledFrom(patterns), rapid.StringMatching(`[ab\n'"]{0,6}`)), 0, 6).Draw(t, "text") {
			text.WriteString(piece)
		}
		r := redactor(t, values...)
		want := redactSlowly(patterns, text.String())
		require.Equal(t, want, r.String(text.String()))
		sizes := rapid.IntRange(1, 12)
		require.Equal(t, want, redactInPieces(t, r, text.String(), func() int { return sizes.Draw(t, "size") }))
	})
}

func FuzzRedact(f *testing.F) {
	f.Add("hunter22", "first\nsecond", "say hunter22 and aHVudGVyMjI= first\nsecond", uint64(7))
	f.Fuzz(func(t *testing.T, a, b, text string, seed uint64) {
		if len(a) < minPattern || len(b) < minPattern || len(a)+len(b) > 200 || len(text) > 2000 {
			t.Skip()
		}
		r := redactor(t, a, b)
		want := redactSlowly(append(encodings(a), encodings(b)...), text)
		require.Equal(t, want, r.String(text))
		rng := rand.New(rand.NewPCG(seed, 1))
		require.Equal(t, want, redactInPieces(t, r, text, func() int { return 1 + rng.IntN(9) }))
	})
}

// "prefixes" is the worst a step can do: the beginning of a secret, again and
// again.
func BenchmarkRedact(b *testing.B) {
	rng := rand.New(rand.NewPCG(1, 2))
	random := func(n int) string {
		v := make([]byte, n)
		for i := range v {
			v[i] = byte('!' + rng.IntN(94))
		}
		return string(v)
	}
	line := "2024-05-06T07:08:09Z INFO compile package github.com/example/project/internal/thing (cached) 0.123s\n"
	clean := []byte(strings.Repeat(line, (1<<20)/len(line)))
	noise := make([]byte, 1<<20)
	for i := range noise {
		noise[i] = byte(rng.Uint32())
	}
	key := "-----BEGIN KEY-----\n" + strings.Repeat(strings.ReplaceAll(random(64), "\\", "x")+"\n", 50)
	few := []string{random(20), random(40)}
	many := []string{key}
	for range 50 {
		many = append(many, random(32))
	}
	prefix := []byte(strings.Repeat(few[0][:19], (1<<20)/19))
	for _, bench := range []struct {
		name    string
		secrets []string
		text    []byte
	}{
		{"clean/2 secrets", few, clean},
		{"clean/51 secrets", many, clean},
		{"clean/4 byte secret", []string{"q7Zx"}, clean},
		{"noise/2 secrets", few, noise},
		{"noise/51 secrets", many, noise},
		{"prefixes/2 secrets", few, prefix},
		{"nothing but secrets", few, []byte(strings.Repeat(few[0], (1<<20)/20))},
	} {
		r := redactor(b, bench.secrets...)
		b.Run(bench.name, func(b *testing.B) {
			b.SetBytes(int64(len(bench.text)))
			b.ReportAllocs()
			w := r.Writer(discard{})
			for b.Loop() {
				require.NoError(b, w.Write(ms(0), bench.text))
			}
		})
	}
	b.Run("build/2 secrets", func(b *testing.B) {
		for b.Loop() {
			redactor(b, few...)
		}
	})
	b.Run("build/51 secrets", func(b *testing.B) {
		for b.Loop() {
			redactor(b, many...)
		}
	})
}

type discard struct{}

func (discard) Write(time.Time, []byte) error { return nil }
func (discard) Close() error                  { return nil }

type brokenSink struct{ err error }

func (s brokenSink) Open(string, int) (Writer, error) { return nil, s.err }
func (s brokenSink) Close() error                     { return s.err }
