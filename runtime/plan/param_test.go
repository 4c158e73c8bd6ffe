package plan

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestParamParse(t *testing.T) {
	str := Param{Name: "p", Type: "string"}
	version := Param{Name: "version", Type: "string", Pattern: "^v[0-9.]+$"}
	integer := Param{Name: "n", Type: "int"}
	boolean := Param{Name: "b", Type: "bool"}
	enum := Param{Name: "env", Type: "enum", Choices: []string{"dev", "staging", "prod"}}
	list := Param{Name: "l", Type: "list"}
	tests := []struct {
		p    Param
		text string
		want any    // a value, or
		err  string // an error
	}{
		{p: str, text: "", want: ""},
		{p: str, text: " a, b ", want: " a, b "},
		{p: str, text: "a\x00", err: `parameter "p": "a\x00" holds a NUL byte or is not UTF-8`},
		{p: str, text: "a\xff", err: `parameter "p": "a\xff" holds a NUL byte or is not UTF-8`},
		{p: Param{Name: "p", Type: "string", Choices: []string{"a"}}, text: "b", err: `parameter "p": "b" is not one of a`},

		{p: version, text: "v1.2", want: "v1.2"},
		{p: version, text: "xv1.2", err: `parameter "version": "xv1.2" does not match the pattern ^v[0-9.]+$`},
		{p: version, text: "v1.2\n", err: `parameter "version": "v1.2\n" does not match the pattern ^v[0-9.]+$`},
		{p: version, text: "", err: `parameter "version": "" does not match the pattern ^v[0-9.]+$`},
		{p: Param{Name: "p", Type: "string", Pattern: "^v"}, text: "v1", want: "v1"}, // anywhere, as every pattern of the language
		{p: Param{Name: "p", Type: "string", Pattern: "^(a|ab)$"}, text: "ab", want: "ab"},
		{p: Param{Name: "p", Type: "string", Pattern: "^a*$"}, text: "baa", err: `parameter "p": "baa" does not match the pattern ^a*$`},
		{p: Param{Name: "p", Type: "string", Pattern: `\Qa.b`}, text: "a.b", want: "a.b"},
		{p: Param{Name: "p", Type: "string", Pattern: `a)(b`}, text: "ab", err: `parameter "p": its pattern is no regular expression: error parsing regexp: unexpected ): ` + "`a)(b`"},

		{p: integer, text: "-12", want: int64(-12)},
		{p: integer, text: " 7 ", want: int64(7)},
		{p: integer, text: "9223372036854775807", want: int64(math.MaxInt64)},
		{p: integer, text: "9223372036854775808", err: `parameter "n": "9223372036854775808" is no whole number from -9223372036854775808 to 9223372036854775807`},
		{p: integer, text: "-9223372036854775809", err: `is no whole number from`},
		{p: integer, text: "1.5", err: `parameter "n": "1.5" is no whole number`},
		{p: integer, text: "", err: `parameter "n": "" is no whole number`},
		{p: Param{Name: "n", Type: "int", Choices: []string{"1", "2"}}, text: "3", err: `parameter "n": "3" is not one of 1, 2`},

		{p: boolean, text: "true", want: true},
		{p: boolean, text: "False", want: false},
		{p: boolean, text: "1", want: true},
		{p: boolean, text: "yes", err: `parameter "b": "yes" is neither true nor false`},

		{p: enum, text: "prod", want: "prod"},
		{p: enum, text: "stagign", err: `parameter "env": "stagign" is not one of dev, staging, prod (did you mean "staging"?)`},
		{p: enum, text: "moon", err: `parameter "env": "moon" is not one of dev, staging, prod`},
		{p: Param{Name: "e", Type: "enum"}, text: "x", err: `parameter "e": "x" is not one of `},

		{p: list, text: "", want: []string{}},
		{p: list, text: "a", want: []string{"a"}},
		{p: list, text: "a, b ,c", want: []string{"a", "b", "c"}},
		{p: list, text: "a,,b", want: []string{"a", "", "b"}},
		{p: list, text: `["a, b", "c"]`, want: []string{"a, b", "c"}},
		{p: list, text: `[]`, want: []string{}},
		{p: list, text: `[""]`, want: []string{""}},
		{p: list, text: `["a"`, err: `parameter "l": "[\"a\"" is no list: want members with commas`},
		{p: list, text: `["a", 1]`, err: `is no list: want members with commas`},
		{p: list, text: `["a", null]`, err: `is no list: want members with commas`},
		{p: list, text: `["\ud800"]`, err: `is no list: want members with commas`},
		{p: list, text: `["a"] b`, err: `is no list: want members with commas`},
		{p: Param{Name: "l", Type: "list", Pattern: "[a-z]"}, text: "a,b", want: []string{"a", "b"}},
		{p: Param{Name: "l", Type: "list", Pattern: "[a-z]"}, text: "a,B", err: `parameter "l": "B" does not match the pattern [a-z]`},
		{p: Param{Name: "l", Type: "list", Choices: []string{"a", "b"}}, text: "a,c", err: `parameter "l": "c" is not one of a, b`},

		{p: Param{Name: "x", Type: "float"}, text: "1", err: `parameter "x" has the unknown type "float"`},
	}
	for _, test := range tests {
		t.Run(test.p.Type+" "+test.text, func(t *testing.T) {
			got, err := test.p.Parse(test.text)
			if test.err != "" {
				require.ErrorContains(t, err, test.err)
				require.Nil(t, got)
				return
			}
			require.NoError(t, err)
			require.Equal(t, test.want, got)
			again, err := test.p.Parse(FormatParam(got))
			require.NoError(t, err)
			require.Equal(t, got, again)
		})
	}
}

func TestParamCheckTypes(t *testing.T) {
	values := map[string]any{"string": "x", "int": int64(1), "bool": true, "list": []string{"x"}}
	for kind := range values {
		for other, v := range values {
			err := Param{Name: "p", Type: kind}.Check(v)
			if kind == other {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, "is not of type "+kind)
			}
		}
		require.Error(t, Param{Name: "p", Type: kind}.Check(nil))
		require.Error(t, Param{Name: "p", Type: kind}.Check(1))
	}
}

func TestFormatParam(t *testing.T) {
	tests := []struct {
		v    any
		want string
	}{
		{nil, ""}, {"a, b", "a, b"}, {int64(-3), "-3"}, {true, "true"},
		{[]string{}, ""}, {[]string(nil), ""}, {[]string{"a", "b c"}, "a,b c"},
		{[]string{""}, `[""]`}, {[]string{"a,b"}, `["a,b"]`}, {[]string{" a"}, `[" a"]`}, {[]string{"[x"}, `["[x"]`}, {[]string{"a", "[x"}, "a,[x"},
		{[]string{"é<", ","}, `["é<",","]`},
	}
	for _, test := range tests {
		require.Equal(t, test.want, FormatParam(test.v))
	}
}

func TestFormatParamIsTheInverse(t *testing.T) {
	member := rapid.StringOf(rapid.SampledFrom([]rune("ab,[] \"\\\té\u2028")))
	rapid.Check(t, func(t *rapid.T) {
		list := rapid.SliceOfN(member, 0, 4).Draw(t, "list")
		got, err := Param{Type: "list"}.Parse(FormatParam(list))
		require.NoError(t, err)
		require.Equal(t, list, got)
	})
}

func TestParamJSON(t *testing.T) {
	for _, p := range []Param{
		{Name: "a", Type: "string", Default: ""},
		{Name: "b", Type: "bool", Default: false},
		{Name: "i", Type: "int", Default: int64(math.MaxInt64)},
		{Name: "l", Type: "list", Default: []string{"x"}},
		{Name: "n", Type: "enum", Required: true, Choices: []string{"x"}},
	} {
		data, err := json.Marshal(Catalog{Pipelines: []Pipeline{{Name: "x", Params: []Param{p}}}})
		require.NoError(t, err)
		var back Catalog
		require.NoError(t, json.Unmarshal(data, &back))
		require.Equal(t, p, back.Pipelines[0].Params[0])
	}
	var p Param
	require.ErrorContains(t, json.Unmarshal([]byte(`{"name":"x","default":1.5}`), &p), `default of parameter "x": "1.5" is no whole number`)
	require.Error(t, json.Unmarshal([]byte(`{"name":1}`), &p))
}
