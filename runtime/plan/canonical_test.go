package plan

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// generic writes any JSON with sorted keys, the slow and plain way.
func generic(t require.TestingT, data []byte) string {
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var v any
	require.NoError(t, dec.Decode(&v))
	var b strings.Builder
	var write func(v any)
	write = func(v any) {
		switch v := v.(type) {
		case map[string]any:
			sep := "{"
			for _, k := range slices.Sorted(maps.Keys(v)) {
				b.WriteString(sep)
				write(k)
				b.WriteString(":")
				write(v[k])
				sep = ","
			}
			if len(v) == 0 {
				b.WriteString("{")
			}
			b.WriteString("}")
		case []any:
			b.WriteString("[")
			for i, x := range v {
				if i > 0 {
					b.WriteString(",")
				}
				write(x)
			}
			b.WriteString("]")
		case string:
			var s bytes.Buffer
			enc := json.NewEncoder(&s)
			enc.SetEscapeHTML(false)
			require.NoError(t, enc.Encode(v))
			text := strings.TrimSuffix(s.String(), "\n")
			// encoding/json always escapes these two, for JavaScript's sake.
			text = strings.ReplaceAll(text, `\\`, "\x00")
			text = strings.NewReplacer(`\u2028`, "\u2028", `\u2029`, "\u2029").Replace(text)
			b.WriteString(strings.ReplaceAll(text, "\x00", `\\`))
		default:
			fmt.Fprint(&b, v)
		}
	}
	write(v)
	return b.String()
}

// full returns a T with every field set, by way of reflection, so that a field
// that is added to the plan and forgotten in the encoder fails the tests.
func full(v reflect.Value, depth int) {
	switch v.Kind() {
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		full(v.Elem(), depth)
	case reflect.Struct:
		switch v.Addr().Interface().(type) {
		case *Text:
			v.Set(reflect.ValueOf(Text{Parts: []Part{{Literal: "a<b"}, {Output: &Output{Step: "s", Key: "k"}}, {Secret: "x"}}}))
			return
		}
		for i := range v.NumField() {
			full(v.Field(i), depth)
		}
	case reflect.Slice:
		if depth == 3 {
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		full(v.Index(0), depth+1)
		full(v.Index(1), depth+1)
		if env, ok := v.Interface().(Env); ok {
			env[0].Name, env[1].Name = "A", "B"
		}
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]any{"b": true, "a": "x", "l": []string{"p", "q"}, "i": int64(math.MaxInt64)}))
	case reflect.String:
		v.SetString("é\u2028\x01\x7f\"\\\n\t\r\b\f😀&<>")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(90_000_000_000 % 1_000_000_007)
	default:
		panic(v.Kind())
	}
}

func TestCanonicalHoldsEveryField(t *testing.T) {
	var p Plan
	full(reflect.ValueOf(&p).Elem(), 0)
	p.Format = Format
	data, err := json.Marshal(p)
	require.NoError(t, err)
	require.Equal(t, generic(t, data), string(p.Canonical()))

	back, err := Decode(p.Canonical())
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(&p, back))

	back, err = Decode(data)
	require.NoError(t, err)
	require.Equal(t, p.Digest(), back.Digest())
}

// drawPlan draws a plan of any shape, not a valid one.
func drawPlan(t *rapid.T) *Plan {
	text := rapid.String()
	texts := rapid.SliceOfN(text, 0, 3)
	some := rapid.Custom(func(t *rapid.T) Text {
		return rapid.SampledFrom([]Text{
			Lit(text.Draw(t, "literal")),
			{Parts: []Part{{Secret: "s" + text.Draw(t, "secret")}}},
			{Parts: []Part{{Literal: text.Draw(t, "lone")}}},
			{Parts: []Part{{Output: &Output{Step: text.Draw(t, "step"), Key: "k"}}}},
			{Parts: []Part{{Literal: text.Draw(t, "before")}, {Output: &Output{Key: text.Draw(t, "key")}}}},
		}).Draw(t, "text")
	})
	env := rapid.Custom(func(t *rapid.T) Env {
		var e Env
		for name, v := range rapid.MapOfN(text, some, 0, 3).Draw(t, "env") {
			e = append(e, Var{name, v})
		}
		return e.sorted()
	})
	duration := rapid.Custom(func(t *rapid.T) Duration { return Duration(rapid.Int64Min(0).Draw(t, "duration")) })
	p := &Plan{
		Format: Format, Pipeline: text.Draw(t, "pipeline"), Env: env.Draw(t, "env"), PassEnv: texts.Draw(t, "pass"),
		Timeout: duration.Draw(t, "timeout"), Priority: rapid.Int().Draw(t, "priority"),
		Params: rapid.MapOfN(text, rapid.OneOf(text.AsAny(), rapid.Bool().AsAny(), rapid.Int64().AsAny(), texts.AsAny()), 1, 4).Draw(t, "params"),
		Nodes:  []Node{},
	}
	for range rapid.IntRange(0, 3).Draw(t, "nodes") {
		n := Node{
			Name: text.Draw(t, "name"), Needs: texts.Draw(t, "needs"), More: &More{AllowFailure: text.Draw(t, "allow")},
			Pos: Pos{text.Draw(t, "file"), rapid.Int32Min(0).Draw(t, "line"), rapid.Int32Min(0).Draw(t, "column")},
		}
		switch rapid.IntRange(0, 4).Draw(t, "kind") {
		case 0:
			n.Step = &Step{
				Argv: rapid.SliceOfN(some, 0, 3).Draw(t, "argv"), Env: env.Draw(t, "env"), Timeout: duration.Draw(t, "timeout"),
				Services: texts.Draw(t, "services"),
			}
		case 1:
			n.Own().Trigger = &Trigger{Params: env.Draw(t, "params"), Wait: rapid.Bool().Draw(t, "wait")}
		case 2:
			n.Own().Approve = &Approve{Prompt: text.Draw(t, "prompt")}
		case 3:
			n.Step = &Step{Script: text.Draw(t, "run"), Service: &Service{ReadyTimeout: duration.Draw(t, "ready timeout"), Ready: Ready{
				Script: text.Draw(t, "ready run"), Argv: rapid.SliceOfN(some, 0, 2).Draw(t, "ready argv"),
				Port: rapid.Int().Draw(t, "port"), Log: text.Draw(t, "log"),
			}}}
		case 4:
			n.Own().Expand = &Expand{After: text.Draw(t, "after"), Services: texts.Draw(t, "services")}
		}
		p.Nodes = append(p.Nodes, n)
	}
	return p
}

func TestCanonicalEqualsGeneric(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := drawPlan(t)
		data, err := json.Marshal(p)
		require.NoError(t, err)
		canonical := p.Canonical()
		require.Equal(t, generic(t, data), string(canonical))

		back, err := Decode(canonical)
		require.NoError(t, err)
		require.Equal(t, string(canonical), string(back.Canonical()))

		sum := sha256.Sum256(canonical)
		require.Equal(t, "sha256:"+hex.EncodeToString(sum[:]), p.Digest())

		// What an expand finds has no canonical text, and loses nothing either.
		data, err = json.Marshal(Expansion{Nodes: p.Nodes})
		require.NoError(t, err)
		var found Expansion
		require.NoError(t, json.Unmarshal(data, &found))
		with := *p
		with.Nodes = append([]Node{}, found.Nodes...)
		require.Equal(t, string(canonical), string(with.Canonical()))
	})
}

func TestExpansionHoldsEveryField(t *testing.T) {
	var x, back Expansion
	full(reflect.ValueOf(&x).Elem(), 0)
	data, err := json.Marshal(x)
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &back))
	require.Empty(t, cmp.Diff(x, back))
}

func TestCanonicalBytes(t *testing.T) {
	p := &Plan{Format: Format, Project: Project{Name: "shop"}, Pipeline: "test", Nodes: []Node{{
		Name: "unit", Needs: []string{"lint"}, More: &More{RunOn: Always}, Pos: Pos{"PIPER.star", 4, 8},
		Step: &Step{
			Argv:    []Text{Lit("go"), {Parts: []Part{{Literal: "-v="}, {Output: &Output{Step: "lint", Key: "v"}}}}},
			Env:     Env{{"B", Text{Parts: []Part{{Secret: "token"}}}}, {"A", Lit("<&>")}}, // out of order
			Timeout: Duration(600e9), Retry: &Retry{Attempts: 3, Backoff: Duration(1500e6)},
		},
	}}}
	want := `{"format":1,"nodes":[{"name":"unit","needs":["lint"],"pos":"PIPER.star:4:8","run_on":"always","step":` +
		`{"argv":["go",["-v=",{"output":{"key":"v","step":"lint"}}]],"env":{"A":"<&>","B":{"secret":"token"}},"retry":{"attempts":3,"backoff":"1.5s"},"timeout":"10m"}}],` +
		`"pipeline":"test","project":{"name":"shop"}}`
	require.Equal(t, want, string(p.Canonical()))
	require.Equal(t, `{"format":1,"nodes":[],"pipeline":"","project":{"name":""}}`, string((&Plan{Format: Format}).Canonical()))
	require.Equal(t, `{"format":1,"nodes":[],"pipeline":"a`+"\uFFFD\uFFFD"+`b","project":{"name":""}}`, string((&Plan{Format: Format, Pipeline: "a\xff\xfeb"}).Canonical()))
	require.PanicsWithValue(t, `plan: parameter "n" is a float64: want string, bool, int64 or []string`, func() {
		(&Plan{Params: map[string]any{"n": 1.5}}).Canonical()
	})
}

// A big plan goes to its hash in pieces.
func TestDigestOfManyNodes(t *testing.T) {
	p := wide(5000)
	sum := sha256.Sum256(p.Canonical())
	require.Equal(t, "sha256:"+hex.EncodeToString(sum[:]), p.Digest())
}

func TestDecodeErrors(t *testing.T) {
	with := func(field string) string {
		return `{"format":1,"project":{"name":"p"},"pipeline":"x","nodes":[],` + field + `}`
	}
	node := func(step string) string { return with(`"a":0,"nodes":[{"name":"n","step":` + step + `}]`) }
	tests := []struct{ name, data, want string }{
		{"nothing", ``, "EOF"},
		{"no JSON", `{`, "unexpected EOF"},
		{"an array", `[]`, "cannot unmarshal array"},
		{"more after it", with(`"a":0`) + `{}`, "more after the end"},
		{"no format", `{"nodes":[]}`, "format 0, this piper reads format 1"},
		{"a newer format", `{"format":2,"nodes":{"new":"shape"}}`, "format 2, this piper reads format 1"},
		{"not UTF-8", with("\"params\":{\"a\":\"\xff\"}"), "not UTF-8"},
		{"a lone high surrogate", with(`"params":{"a":"\\\ud83d x"}`), `\ud83d is half of a surrogate pair`},
		{"a lone low surrogate", with(`"params":{"a":"\uDE00"}`), `\ude00 is half of a surrogate pair`},
		{"two high surrogates", with(`"params":{"a":"\ud83d\ud83d\ude00"}`), "half of a surrogate"},
		{"an int too big", with(`"params":{"a":9223372036854775808}`), "is no whole number"},
		{"a huge int", with(`"params":{"a":1` + strings.Repeat("0", 1000) + `}`), "is no whole number"},
		{"a fraction", with(`"params":{"a":1.5}`), `parameter "a": "1.5" is no whole number`},
		{"a power", with(`"params":{"a":1e3}`), "is no whole number"},
		{"null", with(`"params":{"a":null}`), "no string, number, bool or list"},
		{"an object", with(`"params":{"a":{}}`), "no string, number, bool or list"},
		{"a list of ints", with(`"params":{"a":["x",1]}`), "member 2 of the list is no string"},
		{"a name twice", node(`{"env":{"A":"1","B":"2","A":"3"}}`), `"A" is named twice`},
		{"env of a list", node(`{"env":["A"]}`), "no set of named values"},
		{"env of numbers", node(`{"env":{"A":1}}`), `A: json: cannot unmarshal`},
		{"a text of nothing", node(`{"argv":[[]]}`), "text of no parts"},
		{"a text of null", node(`{"argv":[null]}`), "is no text"},
		{"a text of both", node(`{"argv":[{"secret":"x","output":{"step":"s","key":"k"}}]}`), "is no text"},
		{"a text of neither", node(`{"argv":[{"what":"x"}]}`), "is no text"},
		{"an unnamed secret", node(`{"argv":[{"secret":""}]}`), "is no text"},
		{"a bad part", node(`{"argv":[["a",7]]}`), "cannot unmarshal"},
		{"a bad duration", node(`{"timeout":"soon"}`), `"soon" is no duration`},
		{"a negative duration", node(`{"timeout":"-1s"}`), `"-1s" is not positive`},
		{"a duration in numbers", node(`{"timeout":10}`), "cannot unmarshal"},
		{"a bad place", with(`"groups":[{"name":"g","pos":"PIPER.star"}]`), "no place in a file"},
		{"a negative place", with(`"groups":[{"name":"g","pos":"f:-1:2"}]`), "no place in a file"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p, err := Decode([]byte(test.data))
			require.ErrorContains(t, err, test.want)
			require.ErrorContains(t, err, "decode plan: ")
			require.Nil(t, p)
			require.Equal(t, strings.Contains(test.name, "format"), isFormat(err))
		})
	}
}

func isFormat(err error) bool { return strings.Contains(err.Error(), ErrFormat.Error()) }

func TestDecodeKeepsWhatIsExact(t *testing.T) {
	data := `{"format":1,"project":{"name":"p"},"pipeline":"x","nodes":[],"later":{"field":1},"params":{` +
		`"max":9223372036854775807,"min":-9223372036854775808,"above":9007199254740993,"pair":"\ud83d\ude00","slash":"\\ud83d","empty":[]}}`
	p, err := Decode([]byte(data))
	require.NoError(t, err)
	require.Equal(t, map[string]any{
		"max": int64(math.MaxInt64), "min": int64(math.MinInt64), "above": int64(9007199254740993),
		"pair": "😀", "slash": `\ud83d`, "empty": []string{},
	}, p.Params)
}

func TestSmallTypesAlone(t *testing.T) {
	for want, p := range map[string]Part{`"a"`: {Literal: "a"}, `{"secret":"s"}`: {Secret: "s"}, `{"output":{"key":"k","step":"s"}}`: {Output: &Output{"s", "k"}}} {
		data, err := json.Marshal(p)
		require.NoError(t, err)
		require.Equal(t, want, string(data))
		var back Part
		require.NoError(t, json.Unmarshal(data, &back))
		require.Equal(t, p, back)
	}
	data, err := json.Marshal(Env(nil))
	require.NoError(t, err)
	require.Equal(t, "{}", string(data))
	for _, data := range []string{`{x`, `{"a":"b",}`, `null`} {
		require.Error(t, new(Env).UnmarshalJSON([]byte(data)), data)
	}
}

func FuzzDecode(f *testing.F) {
	var p Plan
	full(reflect.ValueOf(&p).Elem(), 0)
	p.Format = Format
	f.Add(p.Canonical())
	f.Add([]byte(`{"format":1,"nodes":[{"name":"a","pos":"f:1:2","step":{"argv":["x"]}}]}`))
	f.Add([]byte(`{"format":1,"nodes":[{"name":"db","step":{"script":"x","service":{"ready":{"log":"a+","port":1},"ready_timeout":"1s"}}},` +
		`{"name":"a","step":{"script":"x","services":["db"]}},{"name":"x","needs":["a"],"expand":{"after":"a","services":["db"]}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := Decode(data)
		if err != nil {
			return
		}
		canonical := p.Canonical()
		back, err := Decode(canonical)
		require.NoError(t, err)
		require.Equal(t, string(canonical), string(back.Canonical()))
		problems := Validate(p, 1000)
		_ = problems.Error()
		// A valid plan that finds itself is still for Validate to refuse, no more.
		for _, n := range p.Nodes {
			if grown, err := Grow(p, n.Name, Expansion{Nodes: p.Nodes, Groups: p.Groups}); len(problems) == 0 && err == nil {
				require.NotEmpty(t, Validate(grown, 2000))
			}
		}
	})
}

// wide returns a plan of n steps as a file may have them.
func wide(n int) *Plan {
	p := &Plan{Format: Format, Project: Project{Name: "p"}, Pipeline: "build", Nodes: make([]Node, n)}
	for i := range p.Nodes {
		p.Nodes[i] = Node{
			Name: fmt.Sprintf("build/%06d", i), Pos: Pos{"PIPER.star", int32(i + 1), 5},
			Step: &Step{Argv: []Text{Lit("go"), Lit("build"), Lit("./cmd/app")}, Env: Env{{"GOOS", Lit("linux")}}},
		}
	}
	return p
}

func BenchmarkCanonical(b *testing.B) {
	for _, n := range []int{10_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			p := wide(n)
			var buf []byte
			for b.Loop() {
				buf = p.Canonical()
			}
			b.ReportMetric(float64(len(buf))/float64(n), "B/node")
		})
	}
}

func BenchmarkDigest(b *testing.B) {
	p := wide(100_000)
	b.ReportAllocs()
	for b.Loop() {
		p.Digest()
	}
}

func TestWriteCanonical(t *testing.T) {
	p := &Plan{Format: Format, Pipeline: "build"}
	for i := range 2000 { // several pieces
		p.Nodes = append(p.Nodes, Node{Name: fmt.Sprintf("step-%d", i), Step: &Step{Script: strings.Repeat("x", 50)}})
	}
	var b bytes.Buffer
	require.NoError(t, p.WriteCanonical(&b))
	require.Equal(t, p.Canonical(), b.Bytes())

	full := errors.New("disk full")
	require.ErrorIs(t, p.WriteCanonical(failAfter{full}), full)
}

type failAfter struct{ err error }

func (f failAfter) Write(p []byte) (int, error) { return 0, f.err }
