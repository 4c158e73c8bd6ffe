package builtins

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.starlark.net/starlark"
	"pgregory.net/rapid"

	"github.com/piper-build/piper/runtime/plan"
)

func TestMarkers(t *testing.T) {
	e := &Evaluation{Seed: [8]byte{1, 2, 3, 255, 0, 128, 7, 9}}
	out := plan.Part{Output: &plan.Output{Step: "build", Key: "v"}}
	m := e.marker(out)
	require.Len(t, m, markerSize)
	require.Equal(t, m, e.marker(plan.Part{Output: &plan.Output{Step: "build", Key: "v"}}))
	require.NotEqual(t, m, e.marker(plan.Part{Secret: "s"}))

	text, err := e.unmark("a-" + m + "-" + m)
	require.NoError(t, err)
	require.Equal(t, []plan.Part{{Literal: "a-"}, out, {Literal: "-"}, out}, text.parts)

	other := &Evaluation{Seed: [8]byte{1}}
	_, err = other.unmark(m)
	require.ErrorIs(t, err, errPiece)
	_, err = e.unmark("a\x00")
	require.ErrorIs(t, err, errNUL)
	_, err = e.unmark("a\xff")
	require.ErrorIs(t, err, errNotUTF8)
	text, err = e.unmark("é 日本 \U000F0001")
	require.NoError(t, err)
	require.Empty(t, text.parts)
}

// TestMarkerPieces: no piece of a marker passes for other text.
func TestMarkerPieces(t *testing.T) {
	e := &Evaluation{}
	m := e.marker(plan.Part{Secret: "token"})
	rapid.Check(t, func(t *rapid.T) {
		from := rapid.IntRange(0, len(m)-1).Draw(t, "from")
		to := rapid.IntRange(from+1, len(m)).Draw(t, "to")
		text, err := e.unmark(rapid.StringMatching(`[a-zé]{0,3}`).Draw(t, "before") + m[from:to])
		require.True(t, err != nil || text.hasSecret, "%q passed", m[from:to])
	})
}

func TestTextOf(t *testing.T) {
	out := plan.Part{Output: &plan.Output{Step: "s", Key: "k"}}
	require.Equal(t, plan.Lit("ab"), textOf([]plan.Part{{Literal: "a"}, {}, {Literal: "b"}}))
	require.Equal(t, plan.Text{}, textOf(nil))
	require.Equal(t, plan.Text{Parts: []plan.Part{{Literal: "ab"}, out}}, textOf([]plan.Part{{Literal: "a"}, {Literal: "b"}, out, {}}))
}

func TestSplitWords(t *testing.T) {
	for _, test := range []struct {
		text  string
		words []string
		err   string
	}{
		{"", nil, ""},
		{"  a  b\tc\n", []string{"a", "b", "c"}, ""},
		{`'a b' "c d" e\ f`, []string{"a b", "c d", "e f"}, ""},
		{`a'b'"c"`, []string{"abc"}, ""},
		{`"a\"b\\c\d" ''`, []string{`a"b\c\d`, ""}, ""},
		{`'a`, nil, "is not closed"},
		{`"a`, nil, "is not closed"},
		{`a\`, nil, `ends with \`},
	} {
		words, err := splitWords(test.text)
		if test.err != "" {
			require.ErrorContains(t, err, test.err)
			continue
		}
		require.NoError(t, err, test.text)
		require.Equal(t, test.words, words, test.text)
	}
}

// TestQuoteRoundTrip: what quote wrote, split reads.
func TestQuoteRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		words := rapid.SliceOfN(rapid.StringMatching(`[a-z '"\\$\n]*`), 1, 4).Draw(t, "words")
		quoted := make([]string, len(words))
		for i, w := range words {
			quoted[i] = shellQuote(w)
		}
		got, err := splitWords(strings.Join(quoted, " "))
		require.NoError(t, err)
		require.Equal(t, words, got)
	})
}

func TestVersions(t *testing.T) {
	// As semver.org orders them.
	order := []string{"0.9", "1.0.0-alpha", "1.0.0-alpha.1", "v1.0.0-alpha.beta", "1.0.0-beta", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0-rc.1", "1.0.0", "1.0.1", "1.10", "2"}
	for i, a := range order {
		v, ok := parseVersion(a)
		require.True(t, ok, a)
		for j, b := range order {
			w, _ := parseVersion(b)
			require.Equal(t, i < j, v.compare(w) < 0, "%s < %s", a, b)
		}
	}
	for _, bad := range []string{"", "x", "1.x", "1.2.3.4", "1.", "1-", "1.0.0+", "-1", "1.0.0-a..b", "1 "} {
		_, ok := parseVersion(bad)
		require.False(t, ok, bad)
	}
}

func TestSatisfies(t *testing.T) {
	for _, test := range []struct {
		have, want string
		ok         bool
	}{
		{"0.3.0", ">=0.1", true}, {"0.3.0", ">=0.1, <0.3", false}, {"0.3.0", "0.3.0", true}, {"0.3.0", "==0.3", true},
		{"0.3.0", "!=0.3.0", false}, {"0.3.0", ">0.3.0", false}, {"0.3.0", "<=0.3.0", true}, {"devel", ">=9", true},
	} {
		ok, err := satisfies(test.have, test.want)
		require.NoError(t, err)
		require.Equal(t, test.ok, ok, "%s %s", test.have, test.want)
	}
	for _, bad := range []string{"", "~1", ">=x", "><1"} {
		_, err := satisfies("1", bad)
		require.Error(t, err, bad)
	}
}

func TestSchedules(t *testing.T) {
	for _, good := range []string{"* * * * *", "*/5 1-4,6 1 jan,feb mon-fri", "0 0 31 12 7", "0-30/10 * * * SUN"} {
		require.Empty(t, badSchedule(good), good)
	}
	for _, bad := range []string{"", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * * 13 *", "* * * * 8", "5-1 * * * *", "*/0 * * * *", "a * * * *", "* * * * mon-", "99999 * * * *"} {
		require.NotEmpty(t, badSchedule(bad), bad)
	}
}

func TestYAML(t *testing.T) {
	for _, test := range []struct{ text, want string }{
		{"", "None"},
		{"a: 1\nb: [x, 2.5, true, null, 0x10, '3']\n", `{"a": 1, "b": ["x", 2.5, True, None, 16, "3"]}`},
		{"- &a {x: 1}\n- *a\n", `[{"x": 1}, {"x": 1}]`},
		{"d: 2026-01-31\n", `{"d": "2026-01-31"}`},
		{"n: 18446744073709551615", `{"n": 18446744073709551615}`},
	} {
		v, err := decodeYAML(test.text)
		require.NoError(t, err, test.text)
		require.Equal(t, test.want, v.String())
	}
	bomb := "a: &a [x,x,x,x,x,x,x,x,x,x]\n"
	for c := 'b'; c < 'k'; c++ {
		bomb += string(c) + ": &" + string(c) + " [" + strings.Repeat("*"+string(c-1)+",", 9) + "*" + string(c-1) + "]\n"
	}
	for _, bad := range []string{"a: [", "a: 1\na: 2", "--- a\n--- b", "a: !!binary x", "<<: {a: 1}", "? [a]\n: 1", bomb, strings.Repeat("[", 2000)} {
		_, err := decodeYAML(bad)
		require.Error(t, err, shorten(bad))
	}
}

func TestVisible(t *testing.T) {
	require.Equal(t, "plain é\n\t", Visible("plain é\n\t"))
	require.Equal(t, `\x1b[31m \u202e \u0085`, Visible("\x1b[31m \u202e \u0085"))
}

func TestFirstBidi(t *testing.T) {
	for _, r := range "\u202a\u202e\u2066\u2069\u200e\u200f\u061c" {
		require.Equal(t, 2, FirstBidi([]byte("é"+string(r))))
	}
	require.Equal(t, -1, FirstBidi([]byte("é — “x” …\u2030 \u0620")))
}

// TestWithoutTree: an Evaluation without files has none.
func TestWithoutTree(t *testing.T) {
	e := &Evaluation{}
	glob, err := e.Predeclared()["fs"].(starlark.HasAttrs).Attr("glob")
	require.NoError(t, err)
	_, err = starlark.Call(&starlark.Thread{}, glob, starlark.Tuple{starlark.String("*")}, nil)
	require.ErrorIs(t, err, ErrNoTree)
}
