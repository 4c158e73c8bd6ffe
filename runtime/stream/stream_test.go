package stream

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 5e6, time.UTC)

// TestRoundTrip: what is written is what is read, and other kinds come through.
func TestRoundTrip(t *testing.T) {
	exit := 3
	events := []build.Event{
		{Seq: 1, Time: noon, Kind: build.BuildStarted},
		{Seq: 2, Time: noon, Kind: build.AttemptEnded, Node: "a", Attempt: 1, State: build.Failed, Exit: &exit, Reason: "<&>", Outputs: map[string]string{"x": "ü\n"}},
		{Seq: 3, Time: noon, Kind: build.AttemptEnded, Node: "e", Attempt: 1, State: build.Success,
			Expansion: &plan.Expansion{Nodes: []plan.Node{{Name: "f", Step: &plan.Step{Script: "true"}}}}},
	}
	var b bytes.Buffer
	w := NewWriter(&b)
	for _, ev := range events {
		require.NoError(t, w.Event(ev))
		require.NoError(t, w.Output("a", 2, noon, []byte("line\n")))
		require.NoError(t, w.Line(map[string]any{"kind": "ask", "id": ev.Seq}))
	}
	require.Contains(t, b.String(), "<&>", "people read it as well")
	r := NewReader(&b)
	for i := range events {
		l, err := r.Next()
		require.NoError(t, err)
		require.Equal(t, &events[i], l.Event)
		l, err = r.Next()
		require.NoError(t, err)
		require.Equal(t, &Output{"a", 2, noon, []byte("line\n")}, l.Output)
		l, err = r.Next()
		require.NoError(t, err)
		require.Equal(t, "ask", l.Kind)
		require.Equal(t, fmt.Sprintf(`{"id":%d,"kind":"ask"}`, i+1), string(l.Text))
	}
	_, err := r.Next()
	require.Equal(t, io.EOF, err)
}

// TestOutput: any bytes come back as they were, in lines of a bounded length.
func TestOutput(t *testing.T) {
	for name, data := range map[string]string{
		"empty":      "",
		"text":       "ok\n",
		"long":       strings.Repeat("x", 3*MaxData+7),
		"characters": strings.Repeat("x", MaxData-1) + strings.Repeat("ü", MaxData),
		"controls":   strings.Repeat("\x00\x1b\u2028", MaxData),
		"binary":     strings.Repeat("\xff\x80\xe2\x82", MaxData),
		"cut within": strings.Repeat("x", MaxData-1) + "\x80\x80\x80\x80\x80",
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			require.NoError(t, NewWriter(&b).Output("a", 1, noon, []byte(data)))
			for line := range strings.Lines(b.String()) {
				require.Less(t, len(line), 7*MaxData)
				if utf8.ValidString(data) {
					require.NotContains(t, line, "base64", "no character is cut")
				}
			}
			var got []byte
			for r := NewReader(&b); ; {
				l, err := r.Next()
				if err == io.EOF {
					break
				}
				require.NoError(t, err)
				require.LessOrEqual(t, len(l.Output.Data), MaxData)
				got = append(got, l.Output.Data...)
			}
			require.Equal(t, data, string(got))
		})
	}
}

// TestGarbage: what is no line of a stream is an error that says where and what.
func TestGarbage(t *testing.T) {
	const first = `{"kind":"x"}` + "\n"
	for name, c := range map[string]struct{ in, says string }{
		"words":      {"panic: oh no\n", `line 2 cannot be read (invalid character 'p' looking for beginning of value): "panic: oh no"`},
		"nothing":    {"\n", `line 2 cannot be read (unexpected end of JSON input): ""`},
		"list":       {"[1]\n", "line 2 cannot be read"},
		"no kind":    {"{}\n", `line 2 has no kind: "{}"`},
		"two":        {`{"kind":"x"} {"kind":"y"}` + "\n", "line 2 cannot be read"},
		"bytes":      {"{\"kind\":\"\xff\"}\n", `line 2 is not UTF-8: "{\"kind\":\"\xff\"}"`},
		"types":      {`{"seq":"1","kind":"x"}` + "\n", "line 2 cannot be read"},
		"base64":     {`{"kind":"output","node":"a","attempt":1,"data_base64":"?"}` + "\n", "line 2 cannot be read"},
		"whose":      {`{"kind":"output","data":"x"}` + "\n", "line 2 does not say whose output it is"},
		"torn":       {`{"kind":"out`, `line 2 breaks off: "{\"kind\":\"out"`},
		"long":       {`{"kind":"` + strings.Repeat("x", 300_000), `line 2 is longer than 200000 bytes: "{\"kind\":\"xxxx`},
		"long shown": {strings.Repeat("x", 150_000) + "\n", strings.Repeat("x", 100) + `"…: it is no stream of a build`},
	} {
		t.Run(name, func(t *testing.T) {
			r := NewReader(strings.NewReader(first + c.in))
			r.max = 200_000
			_, err := r.Next()
			require.NoError(t, err)
			_, err = r.Next()
			require.ErrorIs(t, err, ErrGarbage)
			require.ErrorContains(t, err, c.says)
			require.Less(t, len(err.Error()), 600)
			require.Equal(t, name == "torn", errors.Is(err, io.ErrUnexpectedEOF))
		})
	}
}

// failing is a pipe whose reader goes away after some writes.
type failing struct{ left int }

func (f *failing) Write(p []byte) (int, error) {
	if f.left--; f.left < 0 {
		return 0, errors.New("nobody reads")
	}
	return len(p), nil
}

func TestWriterFails(t *testing.T) {
	to := &failing{left: 1}
	w := NewWriter(to)
	require.NoError(t, w.Event(build.Event{Seq: 1}))
	require.EqualError(t, w.Event(build.Event{Seq: 2}), "nobody reads")
	require.EqualError(t, w.Output("a", 1, noon, []byte("x")), "nobody reads")
	require.Equal(t, -1, to.left, "it is not tried again")

	require.ErrorContains(t, NewWriter(io.Discard).Line(func() {}), "write line: json")
}

// FuzzReader: nothing that comes makes a Reader panic or hold more than a line.
func FuzzReader(f *testing.F) {
	f.Add([]byte(`{"seq":1,"kind":"build_started"}` + "\n" + `{"kind":"output","node":"a","attempt":1,"data":"x"}` + "\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r := NewReader(bytes.NewReader(data))
		for {
			l, err := r.Next()
			if err != nil {
				return
			}
			require.NotEmpty(t, l.Kind)
		}
	})
}
