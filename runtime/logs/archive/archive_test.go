package archive_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/logs"
	"github.com/piper-build/piper/runtime/logs/archive"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

var at = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// A piece is what came of an attempt at once.
type piece struct {
	cut, cutLines int64 // before it
	text          string
	untimed       bool
}

var (
	binary = func() string {
		all := []byte{0xff}
		for i := range 1000 {
			all = append(all, byte(i*7), byte(i))
		}
		return string(all)
	}()
	long = strings.Repeat("0123456789abcdeé", 1<<16) // more than 1 MB, with runes across pieces
)

// odd is all that a step can write, by attempt.
var odd = map[string][]piece{
	"plain":    {{text: "one\ntwo\n"}, {text: "three\n"}, {text: "\n\n"}},
	"no end":   {{text: "one\n"}, {text: "no line end"}},
	"binary":   {{text: binary}, {text: binary + "\n"}},
	"long":     {{text: "short\n"}, {text: long}, {text: long + "\nshort\n"}},
	"64 KiB":   {{text: strings.Repeat("x", 64<<10) + "\n" + strings.Repeat("y", 64<<10)}},
	"nothing":  nil,
	"controls": {{text: "\x1b[31mred\x1b[0m\r\n\u2028 \ufffd \"\\<&>\x00\n"}},
	"gap":      {{text: "one\nhalf a"}, {cut: 1000, cutLines: 7, text: " line\nnext\n"}},
	"gap in":   {{text: "half a"}, {cut: 5, text: " line\n"}},
	"gaps":     {{cut: 10, cutLines: 1, text: "x\n"}, {cut: 20, cutLines: 2, text: "y\n"}, {cut: 30, cutLines: 3}},
	"no times": {{text: "one\n", untimed: true}, {text: "two\n", untimed: true}},
	"some":     {{text: "one\n", untimed: true}, {text: "two\n"}, {text: "three\n", untimed: true}},
}

// order is that in which they began.
var order = []string{"plain", "no end", "binary", "long", "64 KiB", "nothing", "controls", "gap", "gap in", "gaps", "no times", "some"}

// built is a build that wrote odd things, and has ended, as one of two attempts.
func built(t *testing.T, s store.Store) store.Build {
	t.Helper()
	ctx := t.Context()
	p := &plan.Plan{Format: 1, Pipeline: "build"}
	events := []build.Event{{Seq: 1, Time: at, Kind: build.BuildStarted}}
	happens := func(ev build.Event) {
		ev.Seq, ev.Time = int64(len(events)+1), at
		events = append(events, ev)
	}
	var chunks []store.Chunk
	for _, step := range order {
		p.Nodes = append(p.Nodes, plan.Node{Name: step, Step: &plan.Step{Script: "true"}})
		happens(build.Event{Kind: build.AttemptStarted, Node: step, Attempt: 1})
		happens(build.Event{Kind: build.AttemptEnded, Node: step, Attempt: 1, State: build.Success})
		next := store.Chunk{Key: store.ChunkKey{Build: "b", Fence: 3, Node: step, Attempt: 1}}
		for i, piece := range odd[step] {
			text := []byte(piece.text)
			next.Cut, next.Offset, next.Line = piece.cut, next.Offset+piece.cut, next.Line+piece.cutLines
			for first := true; first || len(text) > 0; first = false {
				c := next
				c.Data, text = text[:min(len(text), 60_000)], text[min(len(text), 60_000):]
				c.Lines = int64(bytes.Count(c.Data, []byte("\n")))
				if !piece.untimed {
					c.Times = []store.Stamp{{At: at.Add(time.Duration(i) * time.Millisecond)}}
					if n := int32(len(c.Data) / 2); n > 0 {
						c.Times = append(c.Times, store.Stamp{Offset: n, At: at.Add(time.Duration(i) * time.Second)})
					}
				}
				chunks = append(chunks, c)
				next = store.Chunk{Key: c.Key, Line: c.Line + c.Lines, Offset: c.Offset + int64(len(c.Data))}
				next.Key.Seq++
			}
		}
	}
	happens(build.Event{Kind: build.BuildEnded, State: build.Success})
	digest, err := store.PutPlan(ctx, s, p)
	require.NoError(t, err)
	r := store.Request{Project: "shop", Pipeline: "build", Params: map[string]string{"a": "b"}, Ref: "main", Cause: store.Cause{Kind: "manual", By: "ann"}}
	b, err := s.Enqueue(ctx, store.NewBuild("b", 41, r, at))
	require.NoError(t, err)
	for _, c := range []store.Change{
		store.Claim{Agent: "a", Nonce: "1", Max: 3, At: at}, store.Rescue{Owner: "a", Fence: 1, Max: 3, At: at}, store.Claim{Agent: "a", Fence: 2, Nonce: "2", Max: 3, At: at},
		store.Planned{Agent: "a", Fence: 3, Commit: "c0ffee", Plan: digest, Total: len(p.Nodes)},
		store.Complete{Agent: "a", Fence: 3, State: build.Success, At: at.Add(time.Minute)}, store.Settle{Chore: store.Chore{Verb: store.StartAfter}},
	} {
		b, err = s.Change(ctx, "b", c)
		require.NoError(t, err, "%T", c)
	}
	require.NoError(t, s.AppendEvents(ctx, store.EventKey{Build: "b", Fence: 3, Seq: 1}, events))
	require.NoError(t, s.AppendChunks(ctx, chunks))
	return b
}

func exported(t *testing.T, s store.Store, b store.Build) string {
	t.Helper()
	var out bytes.Buffer
	require.NoError(t, archive.Write(t.Context(), s, &b, "1.2.3", &out))
	return out.String()
}

func load(t *testing.T, text string, to *store.Memory) error {
	t.Helper()
	_, sum, err := archive.Check(t.Context(), strings.NewReader(text))
	require.NoError(t, err)
	return archive.Load(t.Context(), strings.NewReader(text), sum, to)
}

// What is loaded is what was written, and is written alike.
func TestThereAndBack(t *testing.T) {
	from, to := store.NewMemory(), store.NewMemory()
	b := built(t, from)
	text := exported(t, from, b)
	require.NoError(t, load(t, text, to))
	got, err := to.BuildNumbered(t.Context(), 41)
	require.NoError(t, err)
	require.True(t, got.Pinned)
	require.Equal(t, text, exported(t, to, got))

	for _, step := range order {
		var want, have bytes.Buffer
		require.NoError(t, logs.NewReader(from, "b", 3).Raw(t.Context(), step, 1, 0, 0, &want))
		require.NoError(t, logs.NewReader(to, "b", 3).Raw(t.Context(), step, 1, 0, 0, &have))
		require.True(t, want.String() == have.String(), step)
		wantSize, wantErr := logs.NewReader(from, "b", 3).Size(t.Context(), step, 1)
		haveSize, haveErr := logs.NewReader(to, "b", 3).Size(t.Context(), step, 1)
		require.Equal(t, errors.Is(wantErr, logs.ErrNoOutput), errors.Is(haveErr, logs.ErrNoOutput), step)
		require.Equal(t, []int64{wantSize.Bytes, wantSize.Lines}, []int64{haveSize.Bytes, haveSize.Lines}, step)
	}
	want, got := b, got
	want.Pinned, want.Rev, want.Last, want.Nonce, want.Hash = true, got.Rev, "", "", got.Hash
	require.Equal(t, want, got)
	number, err := to.NextNumber(t.Context())
	require.NoError(t, err)
	require.Equal(t, int64(42), number)
}

// What a file looks like is a promise to other programs.
func TestSchema(t *testing.T) {
	s := store.NewMemory()
	seen := map[string]string{}
	for line := range strings.Lines(exported(t, s, built(t, s))) {
		var record struct{ Kind, Step string }
		require.NoError(t, json.Unmarshal([]byte(line), &record))
		if key := record.Kind + " " + record.Step; seen[key] == "" {
			seen[key] = strings.TrimSuffix(line, "\n")
		}
	}
	require.Regexp(t, `^\{"kind":"header","schema":1,"piper":"1.2.3","build":\{"id":"b","number":41,"project":"shop","pipeline":"build","params":\{"a":"b"\},"ref":"main","commit":"c0ffee",`+
		`"cause":\{"kind":"manual","by":"ann"\},"state":"success","attempt":2,"fence":3,"progress":\{.*\},"plan_digest":"sha256:[0-9a-f]{64}","created":"2026-03-01T12:00:00Z","started":"2026-03-01T12:00:00Z","ended":"2026-03-01T12:01:00Z"\}\}$`, seen["header "])
	require.Regexp(t, `^\{"kind":"plan","plan":\{.*\}\}$`, seen["plan "])
	require.Equal(t, `{"kind":"event","event":{"seq":1,"time":"2026-03-01T12:00:00Z","kind":"build_started"}}`, seen["event "])
	require.Equal(t, `{"kind":"line","step":"plain","attempt":1,"line":1,"time":"2026-03-01T12:00:00Z","text":"one"}`, seen["line plain"])
	require.Equal(t, `{"kind":"line","step":"gaps","attempt":1,"line":1,"time":"2026-03-01T12:00:00Z","cut":10,"cut_lines":1}`, seen["line gaps"])
	require.Equal(t, `{"kind":"line","step":"gap in","attempt":1,"line":1,"time":"2026-03-01T12:00:00Z","text":"half a","partial":true}`, seen["line gap in"])
	require.Regexp(t, `^\{"kind":"line","step":"binary","attempt":1,"line":1,"time":"2026-03-01T12:00:00Z","raw":"[A-Za-z0-9+/=]+"\}$`, seen["line binary"])
	require.Regexp(t, `^\{"kind":"output","step":"plain","attempt":1,"lines":5,"bytes":16,"digest":"sha256:[0-9a-f]{64}"\}$`, seen["output plain"])
	require.Regexp(t, `^\{"kind":"end","events":26,"outputs":12,"lines":[0-9]+,"bytes":[0-9]+,"digest":"sha256:[0-9a-f]{64}"\}$`, seen["end "])
}

// Whatever becomes of a file is seen, and where.
func TestBroken(t *testing.T) {
	s := store.NewMemory()
	text := exported(t, s, built(t, s))
	lines := strings.SplitAfter(text, "\n")
	lines = lines[:len(lines)-1]
	find := func(part string) int {
		for i, line := range lines {
			if strings.Contains(line, part) {
				return i
			}
		}
		t.Fatal(part)
		return 0
	}
	two, sum := find(`"text":"two"`), find(`"kind":"output","step":"plain"`)
	with := func(i int, line ...string) string {
		return strings.Join(append(append(append([]string{}, lines[:i]...), line...), lines[i+1:]...), "")
	}
	replace := func(i int, old, new string) string {
		require.Contains(t, lines[i], old)
		return with(i, strings.Replace(lines[i], old, new, 1))
	}
	end := len(lines) - 1
	for name, test := range map[string]struct {
		text string
		line int // from 0
		says string
	}{
		"nothing":           {"", 0, "the file is empty"},
		"something else":    {"{}\n", 0, "it does not begin what piper logs --export writes"},
		"no JSON":           {"hello\n", 0, "it is no JSON object"},
		"its end is gone":   {strings.Join(lines[:end], ""), end, "the file is cut off before it"},
		"cut in a line":     {strings.Join(lines[:two], "") + lines[two][:20], two, "the file is cut off in it"},
		"cut in the end":    {text[:len(text)-1], end, "the file is cut off in it"},
		"text changed":      {replace(two, "two", "tow"), sum, fmt.Sprintf(`and what stands from line %d on has 5, 16, sha256:`, two)},
		"a line is gone":    {with(two), two, "it has line 3 from byte 0 on, where line 2 from byte 0 on has to come"},
		"a line is double":  {with(two, lines[two], lines[two]), two + 1, "where line 3 from byte 0 on has to come"},
		"time changed":      {replace(two, "12:00:00", "13:00:00"), end, "there should be "},
		"header changed":    {replace(0, "shop", "shpo"), end, "there should be "},
		"event changed":     {replace(2, "build_started", "build_ended"), end, "there should be "},
		"an event is gone":  {with(3), 3, "it has event 3, where 2 has to come"},
		"plan changed":      {replace(1, `"name":"plain"`, `"name":"fancy"`), 1, "and the header names sha256:"},
		"no plan":           {replace(1, `"plan":{`, `"plan":[],"x":{`), 1, "there is no plan in it"},
		"an output is gone": {with(sum), sum, `it is of step "no end", attempt 1, and that of step "plain", attempt 1, has not ended`},
		"no kind":           {replace(two, `"line"`, `"lime"`), two, `no "lime" comes after "line"`},
		"two headers":       {with(1, lines[0]), 1, `no "header" comes after "header"`},
		"nothing in it":     {replace(two, `"text"`, `"txet"`), two, "one of text, raw and cut"},
		"both in it":        {replace(two, `"text"`, `"cut":1,"text"`), two, "one of text, raw and cut"},
		"a number is none":  {replace(two, `"line":2`, `"line":"2"`), two, "it is not what it should be"},
		"counts changed":    {replace(end, `"outputs":12`, `"outputs":11`), end, "there should be "},
		"more":              {text + lines[two], end + 1, "something follows the end"},
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := archive.Check(t.Context(), strings.NewReader(test.text))
			require.ErrorIs(t, err, archive.ErrBroken)
			require.ErrorContains(t, err, fmt.Sprintf("line %d: ", test.line+1))
			require.ErrorContains(t, err, test.says)
		})
	}
	_, _, err := archive.Check(t.Context(), strings.NewReader(replace(0, `"schema":1`, `"schema":2`)))
	require.ErrorIs(t, err, archive.ErrSchema)
	require.ErrorContains(t, err, "line 1: it is of schema 2, and this piper reads those up to 1")

	// What is added within the schema is passed over.
	added := replace(two, `"text"`, `"colour":"red","text"`)
	_, _, err = archive.Check(t.Context(), strings.NewReader(added))
	require.ErrorContains(t, err, "there should be ", "but for the digest")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, err = archive.Check(ctx, strings.NewReader(text))
	require.ErrorIs(t, err, context.Canceled)
}

// A store that has such a build keeps it.
func TestThere(t *testing.T) {
	from := store.NewMemory()
	text := exported(t, from, built(t, from))
	require.ErrorIs(t, load(t, text, from), archive.ErrThere)

	taken := store.NewMemory()
	_, err := taken.Enqueue(t.Context(), store.NewBuild("c", 41, store.Request{Project: "shop"}, at))
	require.NoError(t, err)
	require.ErrorContains(t, load(t, text, taken), "build 41 is another one there (c)")
	_, attempts, err := taken.Written(t.Context(), "b")
	require.NoError(t, err)
	require.Empty(t, attempts)

	to := store.NewMemory()
	require.NoError(t, load(t, text, to))
	b, err := to.Change(t.Context(), "b", store.Pin{})
	require.NoError(t, err)
	require.NoError(t, store.Delete(t.Context(), to, &b))
	require.ErrorContains(t, load(t, text, to), "was deleted")
}

// A file that changes after it was checked is not taken for it.
func TestChangedMeanwhile(t *testing.T) {
	from, to := store.NewMemory(), store.NewMemory()
	text := exported(t, from, built(t, from))
	_, sum, err := archive.Check(t.Context(), strings.NewReader(text))
	require.NoError(t, err)
	sum.Digest = "sha256:of another"
	require.ErrorContains(t, archive.Load(t.Context(), strings.NewReader(text), sum, to), "changed while it was read")
	_, err = to.Build(t.Context(), "b")
	require.ErrorIs(t, err, store.ErrNotFound)
}
