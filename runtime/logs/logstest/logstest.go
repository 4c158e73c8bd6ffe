// Package logstest is the suite that every place passes in which the logs of
// builds are kept and found: a store by itself, and a store with an index.
package logstest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/logs"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

// A Place is what is held against the contract.
type Place struct {
	Store  store.Store
	Search logs.Searcher

	// Settle returns once all that the store has of a build can be found. Nil is
	// at once.
	Settle func(t *testing.T, b store.Build)

	// Delete deletes a build, as retention does.
	Delete func(ctx context.Context, b *store.Build) error

	Total bool // the Searcher tells a Page's Total
}

// Of is the Place that a store is by itself.
func Of(s store.Store) Place {
	return Place{Store: s, Search: logs.ScanOf(s), Delete: func(ctx context.Context, b *store.Build) error { return store.Delete(ctx, s, b) }}
}

// With is the Place that a store is with an index. refresh has all be found that
// the index was given; nil is that it always is.
func With(s store.Store, x logs.Index, refresh func(ctx context.Context) error) Place {
	if refresh == nil {
		refresh = func(context.Context) error { return nil }
	}
	p := Place{Store: s, Search: x, Total: true}
	p.Settle = func(t *testing.T, b store.Build) {
		t.Helper()
		if b.Terminal() {
			require.NoError(t, logs.ShipBuild(t.Context(), s, x, b))
			require.NoError(t, refresh(t.Context()))
			return
		}
		outputs, err := logs.Outputs(t.Context(), s, &b)
		require.NoError(t, err)
		for _, o := range outputs {
			_, err := logs.Ship(t.Context(), s, x, o, logs.Position{})
			require.NoError(t, err)
		}
		require.NoError(t, refresh(t.Context()))
	}
	p.Delete = func(ctx context.Context, b *store.Build) error {
		return errors.Join(store.Delete(ctx, logs.Indexed(s, x), b), refresh(ctx))
	}
	return p
}

// Run holds a place against the contract. open gives an empty one for each theme;
// closing it is up to open.
func Run(t *testing.T, open func(t *testing.T) Place) {
	for _, theme := range []struct {
		name  string
		check func(*suite)
	}{
		{"what is appended is read in order, from any line", reads},
		{"who follows gets each line once", follows},
		{"what is there already is dropped", appendedTwice},
		{"lines are found by what is in them, and where", finds},
		{"page by page it is the same", pages},
		{"what an agent that died wrote is not found", rescued},
		{"odd lines are found as they are", odd},
		{"a cursor that nobody gave is none", cursors},
		{"what is deleted is not found, and nothing else", deletes},
	} {
		t.Run(theme.name, func(t *testing.T) { theme.check(&suite{T: t, Place: open(t)}) })
	}
}

type suite struct {
	*testing.T
	Place
}

const agent store.AgentID = "a"

// at is a time like any other.
var at = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// A piece is what an attempt of a step wrote.
type piece struct {
	step    string
	attempt int
	text    string
}

// begin makes a build of a pipeline that runs.
func (s *suite) begin(project, pipeline string, created time.Time) store.Build {
	s.Helper()
	ctx := s.Context()
	number, err := s.Store.NextNumber(ctx)
	require.NoError(s, err)
	b, err := s.Store.Enqueue(ctx, store.NewBuild(build.ID(fmt.Sprintf("build-%d", number)), number, store.Request{Project: project, Pipeline: pipeline}, created))
	require.NoError(s, err)
	p := &plan.Plan{Format: 1, Pipeline: pipeline, Nodes: []plan.Node{{Name: "unit", Step: &plan.Step{Script: "true"}}, {Name: "lint", Step: &plan.Step{Script: "true"}}}}
	digest, err := store.PutPlan(ctx, s.Store, p)
	require.NoError(s, err)
	return s.claim(b, digest)
}

func (s *suite) change(b store.Build, c store.Change) store.Build {
	s.Helper()
	b, err := s.Store.Change(s.Context(), b.ID, c)
	require.NoError(s, err)
	return b
}

func (s *suite) claim(b store.Build, digest string) store.Build {
	s.Helper()
	b = s.change(b, store.Claim{Agent: agent, Fence: b.Fence, Nonce: fmt.Sprint(b.Fence), Max: 3, At: at})
	return s.change(b, store.Planned{Agent: agent, Fence: b.Fence, Commit: "c", Plan: digest, Total: 2})
}

// writes appends pieces, each from its beginning.
func (s *suite) writes(b store.Build, pieces ...piece) {
	s.Helper()
	events := []build.Event{{Seq: 1, Time: at, Kind: build.BuildStarted}}
	var chunks []store.Chunk
	for _, p := range pieces {
		for _, kind := range []build.Kind{build.AttemptStarted, build.AttemptEnded} {
			ev := build.Event{Seq: int64(len(events) + 1), Time: at, Kind: kind, Node: p.step, Attempt: p.attempt}
			if kind == build.AttemptEnded {
				ev.State = build.Failed
			}
			events = append(events, ev)
		}
		chunks = append(chunks, chunksOf(store.ChunkKey{Build: b.ID, Fence: b.Fence, Node: p.step, Attempt: p.attempt}, p.text, 100)...)
	}
	require.NoError(s, s.Store.AppendEvents(s.Context(), store.EventKey{Build: b.ID, Fence: b.Fence, Seq: 1}, events))
	require.NoError(s, s.Store.AppendChunks(s.Context(), chunks))
}

// chunksOf cuts a text, without regard to lines.
func chunksOf(key store.ChunkKey, text string, size int) (chunks []store.Chunk) {
	line, offset := int64(0), int64(0)
	for ; text != ""; key.Seq++ {
		data := []byte(text[:min(size, len(text))])
		text = text[len(data):]
		c := store.Chunk{Key: key, Line: line, Offset: offset, Lines: int64(bytes.Count(data, []byte("\n"))), Data: data, Times: []store.Stamp{{At: at.Add(time.Duration(key.Seq) * time.Millisecond)}}}
		chunks = append(chunks, c)
		line, offset = line+c.Lines, offset+int64(len(data))
	}
	return chunks
}

// end ends a build, and waits until it can be found.
func (s *suite) end(b store.Build) store.Build {
	s.Helper()
	b = s.change(b, store.Complete{Agent: agent, Fence: b.Fence, State: build.Failed, At: at})
	for _, chore := range b.Pending {
		b = s.change(b, store.Settle{Chore: chore})
	}
	if s.Settle != nil {
		s.Settle(s.T, b)
	}
	return b
}

// built is a build that wrote pieces and has ended.
func (s *suite) built(project, pipeline string, created time.Time, pieces ...piece) store.Build {
	s.Helper()
	b := s.begin(project, pipeline, created)
	s.writes(b, pieces...)
	return s.end(b)
}

// numbered are lines with numbers in them.
func numbered(n int) string {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "line %d\n", i+1)
	}
	return text.String()
}

func reads(s *suite) {
	text := numbered(500) + "no end"
	b := s.built("p", "build", at, piece{"unit", 1, text})
	r := logs.NewReader(s.Store, b.ID, b.Fence)
	for _, test := range []struct{ from, to, first, last int64 }{{1, 0, 1, 501}, {0, 3, 1, 3}, {250, 250, 250, 250}, {499, 600, 499, 501}, {501, 0, 501, 501}, {502, 0, 0, -1}} {
		n := test.first
		for line, err := range r.Lines(s.Context(), "unit", 1, test.from, test.to) {
			require.NoError(s, err)
			want := fmt.Sprintf("line %d", n)
			if n == 501 {
				want = "no end"
			}
			require.Equal(s, []any{n, want, n <= 500}, []any{line.Number, string(line.Text), line.Newline})
			require.Equal(s, string(line.Text), text[line.Begin:][:len(line.Text)], "Begin is where it is")
			n++
		}
		require.Equal(s, test.last+1, n, "lines %d to %d", test.from, test.to)
	}
	var all bytes.Buffer
	require.NoError(s, r.Raw(s.Context(), "unit", 1, 0, 0, &all))
	require.Equal(s, text, all.String())
	_, err := r.Size(s.Context(), "unit", 2)
	require.ErrorIs(s, err, logs.ErrNoOutput)
}

func follows(s *suite) {
	b := s.begin("p", "build", at)
	chunks := chunksOf(store.ChunkKey{Build: b.ID, Fence: b.Fence, Node: "unit", Attempt: 1}, numbered(100), 37)
	got := []string{}
	appended := 0
	over := false
	look := func(context.Context) (bool, error) { // one chunk is there more each time
		if over = appended == len(chunks); over {
			return true, nil
		}
		appended++
		return false, s.Store.AppendChunks(s.Context(), chunks[appended-1:appended])
	}
	for line, err := range logs.NewReader(s.Store, b.ID, b.Fence).Follow(s.Context(), "unit", 1, 1, logs.Watch{Poll: time.Millisecond, Ended: look}) {
		require.NoError(s, err)
		got = append(got, string(line.Text)+"\n")
	}
	require.True(s, over)
	require.Equal(s, numbered(100), strings.Join(got, ""))
}

func appendedTwice(s *suite) {
	b := s.begin("p", "build", at)
	for range 2 {
		s.writes(b, piece{"unit", 1, numbered(300)})
	}
	b = s.end(b)
	if s.Settle != nil {
		s.Settle(s.T, b)
	}
	page := s.search(logs.Wide{Query: logs.Query{Text: "line "}}, "", 1000)
	require.Len(s, page.Hits, 300)
	for i, h := range page.Hits {
		require.Equal(s, int64(i+1), h.Line.Number)
	}
	other := chunksOf(store.ChunkKey{Build: b.ID, Fence: b.Fence, Node: "unit", Attempt: 1}, "other\n", 100)
	require.ErrorIs(s, s.Store.AppendChunks(s.Context(), other), store.ErrConflict)
}

func (s *suite) search(q logs.Wide, cursor string, limit int) logs.Page {
	s.Helper()
	page, err := s.Search.Search(s.Context(), q, cursor, limit)
	require.NoError(s, err)
	return page
}

// all goes through the pages, and returns BUILD STEP.ATTEMPT:LINE of what was found.
func (s *suite) all(q logs.Wide, limit int) (found []string, matches int64) {
	s.Helper()
	total := int64(-1)
	for cursor := ""; ; {
		page := s.search(q, cursor, limit)
		require.LessOrEqual(s, len(page.Hits), limit)
		matches += page.Matches
		for _, h := range page.Hits {
			found = append(found, fmt.Sprintf("%d %s.%d:%d", h.Output.Number, h.Node, h.Attempt, h.Line.Number))
			require.NotEmpty(s, h.Spans)
		}
		if page.Total >= 0 {
			total = page.Total
		}
		if cursor = page.Next; cursor == "" {
			break
		}
	}
	if s.Total {
		require.Equal(s, int64(len(found)), total, "%+v", q)
	}
	return found, matches
}

// many fills a place with some builds.
func (s *suite) many() {
	s.built("shop", "build", at, piece{"unit", 1, "needle\nhay\n"}, piece{"lint", 1, "hay\na Needle and a needle\n"})
	s.built("other", "build", at.Add(time.Minute), piece{"unit", 1, "needle\n"})
	s.built("shop", "docs", at.Add(time.Hour), piece{"unit", 1, "hay"}, piece{"unit", 2, "needle"})
	s.built("shop", "build", at.Add(2*time.Hour), piece{"lint", 1, "größe: 4*2? [x] (y) \\d+ {1} ~&@#\"<a>\nexit code 12\nexit code 0\nGRÖSSE\n"})
}

func finds(s *suite) {
	s.many()
	text := func(text string) logs.Wide { return logs.Wide{Query: logs.Query{Text: text}} }
	fold := func(text string) logs.Wide { return logs.Wide{Query: logs.Query{Text: text, Fold: true}} }
	expr := func(expr string) logs.Wide { return logs.Wide{Query: logs.Query{Regex: expr}} }
	with := func(q logs.Wide, change func(q *logs.Wide)) logs.Wide { change(&q); return q }
	needles := []string{"3 unit.2:1", "2 unit.1:1", "1 unit.1:1", "1 lint.1:2"}
	for name, test := range map[string]struct {
		q       logs.Wide
		want    []string
		matches int64
		inexact bool
	}{
		"text":            {q: text("needle"), want: needles, matches: 4},
		"any case":        {q: fold("NEEDLE"), want: needles, matches: 5},
		"any case beyond": {q: fold("Größe"), want: []string{"4 lint.1:1"}, matches: 1},
		"case":            {q: text("Needle"), want: []string{"1 lint.1:2"}, matches: 1},
		"every character": {q: text("4*2? [x] (y) \\d+ {1} ~&@#\"<a>"), want: []string{"4 lint.1:1"}, matches: 1},
		"nothing":         {q: text("thread")},
		"begins and ends": {q: expr("^a .*needle$"), want: []string{"1 lint.1:2"}, matches: 1},
		"begins":          {q: expr("^needle"), want: needles[:3], matches: 3},
		"or":              {q: expr("^hay$|code 0"), want: []string{"4 lint.1:3", "3 unit.1:1", "1 unit.1:2", "1 lint.1:1"}, matches: 4},
		"class":           {q: expr(`code [1-9]\d`), want: []string{"4 lint.1:2"}, matches: 1},
		"not":             {q: expr(`code [^0]`), want: []string{"4 lint.1:2"}, matches: 1},
		"counted":         {q: expr(`(?:e){2}d`), want: needles, matches: 5},
		"word":            {q: expr(`\bcode\b`), want: []string{"4 lint.1:2", "4 lint.1:3"}, matches: 2, inexact: true},
		"odd characters":  {q: expr(`\[x\] \(y\) \\d\+ \{1\} ~&@#"<a>$`), want: []string{"4 lint.1:1"}, matches: 1},
		"any in class":    {q: expr(`(?i)gr[ö]SSe`), want: []string{"4 lint.1:4"}, matches: 1},
		"project":         {q: with(text("needle"), func(q *logs.Wide) { q.Project = "other" }), want: needles[1:2], matches: 1},
		"pipeline":        {q: with(text("needle"), func(q *logs.Wide) { q.Project, q.Pipeline = "shop", "docs" }), want: needles[:1], matches: 1},
		"step":            {q: with(text("needle"), func(q *logs.Wide) { q.Step = "lint" }), want: needles[3:], matches: 1},
		"build":           {q: with(text("needle"), func(q *logs.Wide) { q.Build = "build-1" }), want: needles[2:], matches: 2},
		"no build":        {q: with(text("needle"), func(q *logs.Wide) { q.Build = "build-99" })},
		"since":           {q: with(text("needle"), func(q *logs.Wide) { q.Since = at.Add(time.Minute) }), want: needles[:2], matches: 2},
		"until":           {q: with(text("needle"), func(q *logs.Wide) { q.Until = at.Add(time.Minute) }), want: needles[2:], matches: 2},
		"what one sees":   {q: with(text("needle"), func(q *logs.Wide) { q.Sees = func(p string) bool { return p == "other" } }), want: needles[1:2], matches: 1},
		"sees nothing":    {q: with(text("needle"), func(q *logs.Wide) { q.Sees = func(string) bool { return false } })},
	} {
		s.Run(name, func(t *testing.T) {
			one := &suite{t, s.Place}
			one.Total = one.Total && !test.inexact
			found, matches := one.all(test.q, 100)
			require.Equal(t, test.want, found)
			require.Equal(t, test.matches, matches)
		})
	}
	page := s.search(logs.Wide{Query: logs.Query{Text: "needle"}}, "", 1)
	h := page.Hits[0]
	require.Equal(s, []any{build.ID("build-3"), int64(3), "shop", "docs", "unit", 2, int64(1), "needle", [][2]int{{0, 6}}, false},
		[]any{h.Output.Build, h.Output.Number, h.Project, h.Pipeline, h.Node, h.Attempt, h.Line.Number, string(h.Text), h.Spans, h.Newline})
	require.True(s, h.Created.Equal(at.Add(time.Hour)) && h.Arrival.Equal(at))
	for _, wrong := range []logs.Query{{}, {Text: "a", Regex: "b"}, {Regex: "("}} {
		_, err := s.Search.Search(s.Context(), logs.Wide{Query: wrong}, "", 10)
		require.Error(s, err)
	}
}

func pages(s *suite) {
	s.many()
	q := logs.Wide{Query: logs.Query{Regex: "needle|hay|code"}}
	want, matches := s.all(q, 100)
	require.Len(s, want, 9)
	for limit := 1; limit < 10; limit++ {
		found, sum := s.all(q, limit)
		require.Equal(s, want, found, "%d a page", limit)
		require.Equal(s, matches, sum)
	}
	// What is written meanwhile does not come into it.
	page := s.search(q, "", 4)
	s.built("shop", "build", at.Add(3*time.Hour), piece{"unit", 1, "needle\n"})
	rest := s.search(q, page.Next, 100)
	require.Len(s, rest.Hits, 5)
}

func rescued(s *suite) {
	b := s.begin("p", "build", at)
	s.writes(b, piece{"unit", 1, "needle of one who died\n"})
	if s.Settle != nil {
		s.Settle(s.T, b)
	}
	was := b
	b = s.change(b, store.Rescue{Owner: agent, Fence: b.Fence, Max: 3, At: at})
	require.Equal(s, build.Queued, b.State)
	b = s.claim(b, was.Plan)
	require.Greater(s, b.Fence, was.Fence)
	s.writes(b, piece{"unit", 1, "needle\n"})
	s.end(b)
	page := s.search(logs.Wide{Query: logs.Query{Text: "needle"}}, "", 10)
	require.Len(s, page.Hits, 1)
	require.Equal(s, []any{b.Fence, "needle"}, []any{page.Hits[0].Fence, string(page.Hits[0].Text)})
}

func odd(s *suite) {
	long := strings.Repeat("x", 9_990) + "straddling" + strings.Repeat("ü", 30_000) + "far away"
	lines := []string{"", "tab\tbell\a \x1b[31mred\x1b[0m", "carriage\r", "nul\x00 needle", "latin \xe4\xf6\xfc", "\xff", `quote " \ slash`, "日本語", "𝄞 clef", long, strings.Repeat("y", 200_000), "last"}
	s.built("p", "build", at, piece{"unit", 1, strings.Join(lines, "\n")})
	for text, want := range map[string]int64{"bell\a \x1b": 2, "carriage\r": 3, "nul\x00": 4, "latin ": 5, `" \ s`: 7, "本": 8, "𝄞": 9, "straddling": 10, "far away": 10, "last": 12, strings.Repeat("y", 1000): 11} {
		page := s.search(logs.Wide{Query: logs.Query{Text: text}}, "", 10)
		require.NotEmpty(s, page.Hits, "%q", text)
		require.Equal(s, want, page.Hits[0].Line.Number, "%q", text)
		if want < 10 || want == 12 {
			require.Equal(s, lines[want-1], string(page.Hits[0].Text), "byte for byte")
		}
	}
	page := s.search(logs.Wide{Query: logs.Query{Regex: "^$"}}, "", 10)
	require.Len(s, page.Hits, 1)
	require.Equal(s, int64(1), page.Hits[0].Line.Number)
}

func cursors(s *suite) {
	s.many()
	for _, forged := range []string{"x", "e", "eyJ9", "eWzEsMl0", "eW10"} {
		_, err := s.Search.Search(s.Context(), logs.Wide{Query: logs.Query{Text: "needle"}}, forged, 10)
		require.ErrorIs(s, err, store.ErrCursor, forged)
	}
}

func deletes(s *suite) {
	gone := s.built("p", "build", at, piece{"unit", 1, "needle\n"}, piece{"lint", 1, "needle\n"})
	s.built("p", "build", at, piece{"unit", 1, "needle\n"})
	for range 2 {
		require.NoError(s, s.Delete(s.Context(), &gone))
	}
	found, _ := s.all(logs.Wide{Query: logs.Query{Text: "needle"}}, 10)
	require.Equal(s, []string{"2 unit.1:1"}, found)
	_, err := logs.NewReader(s.Store, gone.ID, gone.Fence).Size(s.Context(), "unit", 1)
	require.True(s, errors.Is(err, logs.ErrNoOutput))
}
