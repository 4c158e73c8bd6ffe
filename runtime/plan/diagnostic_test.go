package plan

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDiagnosticString(t *testing.T) {
	tests := []struct {
		name string
		d    Diagnostic
		want string
	}{
		{"the look", Diagnostic{
			File: "PIPER.star", Line: 14, Column: 25, End: 31, Severity: "error", Message: `step "unti" is not defined in pipeline "release"`,
			Excerpt: `    depends_on = [lint, "unti"],`, Hint: `did you mean "unit" (PIPER.star:4:8)?`,
		}, `
PIPER.star:14:25: error: step "unti" is not defined in pipeline "release"
14 |     depends_on = [lint, "unti"],
   |                         ^^^^^^
hint: did you mean "unit" (PIPER.star:4:8)?`},
		{"no place", Diagnostic{Severity: "warning", Message: "m", Excerpt: "dropped"}, `
warning: m`},
		{"a file", Diagnostic{File: "a.star", Severity: "error", Message: "m"}, `
a.star: error: m`},
		{"a line", Diagnostic{File: "a.star", Line: 7, Severity: "error", Message: "m", Excerpt: "text\n"}, `
a.star:7: error: m
7 | text`},
		{"no end", Diagnostic{File: "f", Line: 1, Column: 3, Severity: "error", Message: "m", Excerpt: "abcdef"}, `
f:1:3: error: m
1 | abcdef
  |   ^`},
		{"tabs", Diagnostic{File: "f", Line: 1, Column: 3, End: 5, Severity: "error", Message: "m", Excerpt: "\t\tab\tc"}, `
f:1:3: error: m
1 |         ab    c
  |         ^^`},
		{"wide characters", Diagnostic{File: "f", Line: 1, Column: 5, End: 7, Severity: "error", Message: "m", Excerpt: `"日本" 語x`}, `
f:1:5: error: m
1 | "日本" 語x
  |       ^^^`},
		{"a wide mark", Diagnostic{File: "f", Line: 1, Column: 2, End: 4, Severity: "error", Message: "m", Excerpt: `"日本"`}, `
f:1:2: error: m
1 | "日本"
  |  ^^^^`},
		{"accents that take no room", Diagnostic{File: "f", Line: 1, Column: 3, Severity: "error", Message: "m", Excerpt: "e\u0301x"}, "\n" +
			"f:1:3: error: m\n1 | e\u0301x\n  |  ^"},
		{"what is not seen", Diagnostic{File: "f", Line: 1, Column: 5, End: 6, Severity: "error", Message: "m", Excerpt: "a\u202e\x1b\xffb\u200bc\u00a0"}, `
f:1:5: error: m
1 | a\u202e\x1b\xffb\u200bc\u00a0
  |                ^`},
		{"at the end of the line", Diagnostic{File: "f", Line: 1, Column: 4, End: 9, Severity: "error", Message: "m", Excerpt: "abc\r\n"}, `
f:1:4: error: m
1 | abc
  |    ^`},
		{"past the end of the line", Diagnostic{File: "f", Line: 1, Column: 99, Severity: "error", Message: "m", Excerpt: "abc"}, `
f:1:99: error: m
1 | abc
  |    ^`},
		{"an end that is none", Diagnostic{File: "f", Line: 1, Column: 2, End: 1, Severity: "error", Message: "m", Excerpt: "abc"}, `
f:1:2: error: m
1 | abc
  |  ^`},
		{"messages", Diagnostic{File: "a\x1bb", Severity: "error", Message: "one\ntwo\x07 \u202e\xff é 日\n\n", Hint: "\x1b]0;pwn\x07\ttab"}, `
a\x1bb: error: one
    two\a \u202e\xff é 日
hint: \x1b]0;pwn\a    tab`},
		{"calls", Diagnostic{
			File: "f", Line: 3, Column: 1, Severity: "error", Message: "m", Hint: "h", Stack: []Frame{
				{"<toplevel>", Pos{"g", 9, 1}}, {"outer", Pos{"g", 5, 2}}, {"inner", Pos{"f", 3, 1}},
			}}, `
f:3:1: error: m
called from outer (g:5:2)
called from <toplevel> (g:9:1)
hint: h`},
		{"many calls", Diagnostic{Severity: "error", Message: "m", Stack: make([]Frame, 12)}, `
error: m
… 2 more calls`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			require.Equal(t, strings.TrimPrefix(test.want, "\n"), test.d.String())
		})
	}
}

// A line of a megabyte is shown around the mark.
func TestDiagnosticOfALongLine(t *testing.T) {
	line := strings.Repeat("0123456789", 100_000)
	show := func(column, end int) []string {
		d := Diagnostic{File: "f", Line: 1, Column: column, End: end, Severity: "error", Message: "m", Excerpt: line}
		return strings.Split(d.String(), "\n")[1:]
	}
	for _, column := range []int{1, 61, 70, 500_000, 999_999, 1_000_000, 1_000_001} {
		got := show(column, column+3)
		require.Len(t, got, 2)
		require.Less(t, len(got[0]), 200)
		at := strings.IndexByte(got[1], '^')
		if column <= 1_000_000 {
			require.Equal(t, line[column-1], []byte(strings.ReplaceAll(got[0], "…", "."))[at], "column %d", column)
		}
	}
	require.True(t, strings.HasSuffix(show(1, 0)[0], "…"))
	require.True(t, strings.HasPrefix(show(1_000_000, 0)[0], "1 | …"))
	require.Less(t, len(show(5, 900_000)[1]), 200)
}

func TestDiagnostics(t *testing.T) {
	ds := Diagnostics{
		{File: "b", Line: 1, Column: 2, Severity: "error", Message: "1"},
		{File: "a", Line: 10, Column: 1, Severity: "warning", Message: "2"},
		{File: "a", Line: 9, Column: 7, Severity: "error", Message: "3"},
		{File: "a", Line: 9, Column: 3, Severity: "error", Message: "4"},
		{File: "a", Line: 9, Column: 3, Severity: "error", Message: "5"},
		{Severity: "error", Message: "6"},
	}
	ds.Sort()
	var order string
	for _, d := range ds {
		order += d.Message
	}
	require.Equal(t, "645321", order)
	require.True(t, ds.HasErrors())
	require.Equal(t, "error: 6\na:9:3: error: 4", ds[:2].Error())

	var found Diagnostics
	require.ErrorAs(t, error(ds), &found)
	require.ErrorAs(t, errors.Join(errors.New("x"), ds.Err()), &found)
	require.Len(t, found, 6)

	warnings := ds[4:5]
	require.False(t, warnings.HasErrors())
	require.NoError(t, warnings.Err())
	require.NoError(t, Diagnostics(nil).Err())
	require.Equal(t, "", Diagnostics(nil).Error())
}

func TestDiagnosticJSON(t *testing.T) {
	d := Diagnostic{File: "f", Line: 3, Severity: "error", Code: "c", Message: "m", Stack: []Frame{{"a", Pos{"g:h", 5, 2}}, {"b", Pos{}}}}
	data, err := json.Marshal(Diagnostics{d})
	require.NoError(t, err)
	require.JSONEq(t, `[{"file":"f","line":3,"severity":"error","code":"c","message":"m","stack":[{"name":"a","pos":"g:h:5:2"},{"name":"b","pos":""}]}]`, string(data))
	var back Diagnostics
	require.NoError(t, json.Unmarshal(data, &back))
	require.Equal(t, Diagnostics{d}, back)
}

func TestPosString(t *testing.T) {
	for want, p := range map[string]Pos{"": {}, "f": {File: "f"}, "f:3": {"f", 3, 0}, "f:3:4": {"f", 3, 4}} {
		require.Equal(t, want, p.String())
	}
}

func TestDuration(t *testing.T) {
	tests := []struct{ text, want string }{
		{"90s", "1m30s"}, {"1h30m", "1h30m"}, {"10m", "10m"}, {"60m", "1h"}, {"3600s", "1h"}, {"1h0m5s", "1h0m5s"},
		{"1.5s", "1.5s"}, {"100ms", "100ms"}, {"1ns", "1ns"}, {"20s", "20s"}, {"100h", "100h"}, {"2562047h", "2562047h"},
	}
	for _, test := range tests {
		d, err := ParseDuration(test.text)
		require.NoError(t, err)
		require.Equal(t, test.want, d.String())
		var back Duration
		require.NoError(t, back.UnmarshalText([]byte(d.String())))
		require.Equal(t, d, back)
	}
	for text, want := range map[string]string{
		"0s": "not positive", "-1s": "not positive", "0": "not positive",
		"": "is no duration", "NaN": "is no duration", "10": "is no duration", "1 h": "is no duration", "1e30s": "is no duration",
		"99999999999999999999s": "is no duration", "9223372037s": "is no duration",
	} {
		_, err := ParseDuration(text)
		require.ErrorContains(t, err, want, text)
	}
	require.Equal(t, "0s", Duration(0).String())
	var d Duration = 5
	require.NoError(t, d.UnmarshalText([]byte("0s")))
	require.Zero(t, d)
}
