package api_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/logs/archive"
	"github.com/piper-build/piper/runtime/store"
)

// logged is a build whose step unit runs and wrote something.
func (w *world) logged(chunks ...string) store.Build {
	b := w.started(example())
	w.happens(b.ID, 1, 1, begun, begins("version"), ends("version", build.Success, map[string]string{"v": "1"}), begins("compile"), ends("compile", build.Success, nil), begins("unit"))
	w.wrote(b.ID, "unit", chunks...)
	return b
}

func texts(lines []api.Line) (all []string) {
	for _, l := range lines {
		all = append(all, l.Text)
	}
	return all
}

// Who pages through a log sees what was left out once, however much it was.
func TestLogLeftOut(t *testing.T) {
	w := newWorld(t)
	b := w.logged("one\ntwo\n")
	require.NoError(t, w.AppendChunks(t.Context(), []store.Chunk{{
		Key:  store.ChunkKey{Build: b.ID, Fence: 1, Node: "unit", Attempt: 1, Seq: 1},
		Line: 5_000_000, Lines: 1, Offset: 40_000_008, Cut: 40_000_000, Data: []byte("end\n"),
	}}))
	gap := "… 40000000 bytes left out …"
	var all []string
	next, pages := int64(1), 0
	for more := true; more; pages++ {
		log, err := w.admin.Log(t.Context(), ref(b), api.LogQuery{Step: "unit", From: next})
		require.NoError(t, err)
		all, more, next = append(all, texts(log.Lines)...), log.Next > next, log.Next
	}
	require.Equal(t, []string{"one", "two", gap, "end"}, all)
	require.Equal(t, int64(5_000_002), next)
	require.Less(t, pages, 5)

	for name, test := range map[string]struct {
		from, to int64
		want     []string
		next     int64
	}{
		"before it":    {1, 2, []string{"one", "two"}, 3},
		"into it":      {2, 3, []string{"two", gap}, 5_000_001},
		"in it":        {100, 200, []string{gap}, 5_000_001},
		"across it":    {2, 6_000_000, []string{"two"}, 5_000_001},
		"its last one": {5_000_000, 5_000_001, []string{gap, "end"}, 5_000_002},
	} {
		t.Run(name, func(t *testing.T) {
			log, err := w.admin.Log(t.Context(), ref(b), api.LogQuery{Step: "unit", From: test.from, To: test.to})
			require.NoError(t, err)
			require.Equal(t, test.want, texts(log.Lines))
			require.Equal(t, test.next, log.Next)
		})
	}
}

func TestLog(t *testing.T) {
	w := newWorld(t)
	b := w.logged("one\ntwo\nth", "ree\nfour\xff\nfi")
	ctx := t.Context()
	for name, test := range map[string]struct {
		q    api.LogQuery
		want []string
		next int64
	}{
		"all":     {api.LogQuery{}, []string{"one", "two", "three", "four\uFFFD", "fi"}, 5},
		"a range": {api.LogQuery{From: 2, To: 3}, []string{"two", "three"}, 4},
		"from":    {api.LogQuery{From: 4}, []string{"four\uFFFD", "fi"}, 5},
		"tail":    {api.LogQuery{Tail: 2}, []string{"four\uFFFD", "fi"}, 5},
		"beyond":  {api.LogQuery{From: 9}, nil, 9},
	} {
		t.Run(name, func(t *testing.T) {
			test.q.Step = "unit"
			log, err := w.admin.Log(ctx, ref(b), test.q)
			require.NoError(t, err)
			require.Equal(t, test.want, texts(log.Lines))
			require.Equal(t, test.next, log.Next)
			require.Equal(t, []any{int64(5), int64(22), int64(1), 1, false}, []any{log.Total, log.Bytes, log.Fence, log.Attempt, log.Ended})
		})
	}
	log, err := w.admin.Log(ctx, ref(b), api.LogQuery{Step: "unit", From: 5})
	require.NoError(t, err)
	require.True(t, log.Lines[0].Partial, "its end has not come")
	w.happens(b.ID, 1, 7, ends("unit", build.Success, nil))
	log, err = w.admin.Log(ctx, ref(b), api.LogQuery{Step: "unit", From: 5})
	require.NoError(t, err)
	require.Equal(t, int64(6), log.Next)
	require.True(t, log.Ended)

	log, err = w.admin.Log(ctx, ref(b), api.LogQuery{Step: "ask"})
	require.NoError(t, err)
	require.Empty(t, log.Lines)
	require.False(t, log.Ended)
	for query, status := range map[string]int{
		"": 400, "step=untt": 422, "step=unit&from=-1": 400, "step=unit&from=0": 400, "step=unit&from=18446744073709551616": 400, "step=unit&tail=1&from=1": 400,
		"step=unit&attempt=x": 400, "step=unit&attempt=7": 200, "step=unit&fence=9": 200, "step=unit&follow=perhaps": 400,
	} {
		require.Equal(t, status, w.do("GET", "/v1/builds/"+ref(b)+"/log?"+query, "").StatusCode, query)
	}
}

// An answer is bounded, and says from where to go on.
func TestLogIsBounded(t *testing.T) {
	w := newWorld(t)
	var chunks []string
	long := strings.Repeat("x", 60<<10)
	for range 100 {
		chunks = append(chunks, long+"\n")
	}
	b := w.logged(chunks...)
	seen := int64(0)
	for from := int64(1); from <= 100; {
		log, err := w.admin.Log(t.Context(), ref(b), api.LogQuery{Step: "unit", From: from})
		require.NoError(t, err)
		size := 0
		for _, l := range log.Lines {
			seen++
			require.Equal(t, seen, l.Number)
			require.Equal(t, long, l.Text)
			size += len(l.Text)
		}
		require.LessOrEqual(t, size, 4<<20)
		from = log.Next
	}
	require.Equal(t, int64(100), seen)

	short := newWorld(t)
	b = short.logged(strings.Repeat("x\n", 12_000))
	log, err := short.admin.Log(t.Context(), ref(b), api.LogQuery{Step: "unit"})
	require.NoError(t, err)
	require.Len(t, log.Lines, 5000)
	require.Equal(t, int64(5001), log.Next)

	// One line that is larger than an answer is cut, and what is cut is counted.
	huge := newWorld(t)
	chunks = nil
	for range 40 {
		chunks = append(chunks, strings.Repeat("y", 64<<10))
	}
	b = huge.logged(append(chunks, "\nnext\n")...)
	log, err = huge.admin.Log(t.Context(), ref(b), api.LogQuery{Step: "unit"})
	require.NoError(t, err)
	got, cut := int64(0), int64(0)
	for _, l := range log.Lines {
		if l.Number == 1 {
			got, cut = got+int64(len(l.Text)), cut+l.Cut
		}
	}
	require.Equal(t, []int64{1 << 20, 40<<16 - 1<<20}, []int64{got, cut})
	require.Equal(t, "next", log.Lines[len(log.Lines)-1].Text)
}

func TestRawLog(t *testing.T) {
	w := newWorld(t)
	b := w.logged("<script>alert(1)</script>\n", "\xff\x00\x1b[31m")
	body, err := w.admin.RawLog(t.Context(), ref(b), api.LogQuery{Step: "unit"})
	require.NoError(t, err)
	text, err := io.ReadAll(body)
	require.NoError(t, err)
	require.NoError(t, body.Close())
	require.Equal(t, "<script>alert(1)</script>\n\xff\x00\x1b[31m", string(text))
	for _, method := range []string{"GET", "HEAD"} {
		a := w.do(method, "/v1/builds/"+ref(b)+"/log/raw?step=unit", "")
		require.Equal(t, "text/plain; charset=utf-8", a.Header.Get("Content-Type"))
		require.Equal(t, "nosniff", a.Header.Get("X-Content-Type-Options"))
		require.Contains(t, a.Header.Get("Content-Security-Policy"), "sandbox")
		require.Equal(t, fmt.Sprintf(`attachment; filename="%d-unit.log"`, b.Number), a.Header.Get("Content-Disposition"))
	}
	require.Empty(t, w.do("GET", "/v1/builds/"+ref(b)+"/log/raw?step=ask", "").text)
}

func TestSearchLog(t *testing.T) {
	w := newWorld(t)
	b := w.logged("error here\nfine\nan \xfferror, another Error\n")
	ctx := t.Context()
	found, err := w.admin.SearchLog(ctx, ref(b), api.SearchQuery{Text: "error", Fold: true, Context: 1})
	require.NoError(t, err)
	require.Equal(t, []int64{2, 3}, []int64{found.Lines, found.Matches})
	require.Len(t, found.Hits, 2)
	hit := found.Hits[1]
	require.Equal(t, "unit", hit.Step)
	for _, span := range hit.Spans {
		require.Equal(t, "error", strings.ToLower(hit.Text[span[0]:span[1]]))
	}
	found, err = w.admin.SearchLog(ctx, ref(b), api.SearchQuery{Regex: "[eE]rror", Step: "unit", Limit: 1})
	require.NoError(t, err)
	require.Equal(t, []any{int64(2), int64(3), 1}, []any{found.Lines, found.Matches, len(found.Hits)}, "all are counted")
	found, err = w.admin.SearchLog(ctx, ref(b), api.SearchQuery{Text: "nothing"})
	require.NoError(t, err)
	require.Empty(t, found.Hits)
	found, err = w.admin.SearchLog(ctx, ref(b), api.SearchQuery{Text: "error", Step: "unit", From: 2})
	require.NoError(t, err)
	require.Equal(t, []int64{2, 2}, []int64{found.Lines, found.Matches}, "all are counted")
	require.Len(t, found.Hits, 1)
	require.Equal(t, int64(3), found.Hits[0].Number)
	for _, query := range []string{"", "errors=false", "text=a&regex=b", "text=a&errors=true", "errors=true&regex=b", "errors=x", "text=a&from=1", "text=a&step=unit&from=0", "regex=(", "text=" + strings.Repeat("x", 1001), "text=a&limit=0", "text=a&context=-1", "text=a&fold=x"} {
		require.Equal(t, 400, w.do("GET", "/v1/builds/"+ref(b)+"/log/search?"+query, "").StatusCode, query)
	}
}

// Of a build what matters is looked for in the steps that failed.
func TestSearchErrors(t *testing.T) {
	w := newWorld(t)
	b := w.logged("ok\nx.c:1:1: \x1b[31merror:\x1b[0m bad\n0 errors\nmake: *** [Makefile:1: x] Error 1\n")
	w.wrote(b.ID, "compile", "error: of no matter\n")
	find := func(q api.SearchQuery) (numbers []int64) {
		t.Helper()
		q.Errors = true
		found, err := w.admin.SearchLog(t.Context(), ref(b), q)
		require.NoError(t, err)
		for _, hit := range found.Hits {
			numbers = append(numbers, hit.Number)
			require.Equal(t, [][2]int{{0, len(hit.Text)}}, hit.Spans)
		}
		return numbers
	}
	require.Empty(t, find(api.SearchQuery{}), "none failed yet")
	require.Equal(t, []int64{2, 4}, find(api.SearchQuery{Step: "unit"}))
	w.happens(b.ID, 1, 7, ends("unit", build.Failed, nil))
	require.Equal(t, []int64{2, 4}, find(api.SearchQuery{}))
	require.Equal(t, []int64{4}, find(api.SearchQuery{Step: "unit", From: 3}))
	require.Equal(t, []int64{1}, find(api.SearchQuery{Step: "compile"}))
}

// Whoever follows gets each line once, though his connection breaks.
func TestFollow(t *testing.T) {
	w := newWorld(t)
	b := w.logged("one\n", "tw")
	var lines []string
	for line, err := range w.as(w.tokens[store.Read]).Follow(t.Context(), ref(b), api.LogQuery{Step: "unit"}) {
		require.NoError(t, err)
		lines = append(lines, line.Text)
		switch line.Number {
		case 1:
			key := store.ChunkKey{Build: b.ID, Fence: 1, Node: "unit", Attempt: 1, Seq: 2}
			require.NoError(t, w.AppendChunks(t.Context(), []store.Chunk{{Key: key, Line: 1, Lines: 1, Offset: 6, Data: []byte("o\nend"), Times: []store.Stamp{{At: at}}}}))
		case 2:
			w.happens(b.ID, 1, 7, ends("unit", build.Success, nil))
		}
	}
	require.Equal(t, []string{"one", "two", "end"}, lines)

	a := w.do("GET", "/v1/builds/"+ref(b)+"/log?step=unit&follow=true", "", "Last-Event-ID", "1.1.2.0")
	require.NotContains(t, a.text, `"text":"one"`)
	require.Contains(t, a.text, `"text":"two"`)
	require.Contains(t, a.text, "event: end")
	a = w.do("GET", "/v1/builds/"+ref(b)+"/log?step=unit&follow=true&tail=1", "")
	require.NotContains(t, a.text, `"text":"two"`)
	for _, forged := range []string{"x", "1.1.1", "1.1.-1.0", "01.1.1.0", "1.1.1.0.0", "9999999999999999999999.1.1.1"} {
		require.Equal(t, http.StatusBadRequest, w.do("GET", "/v1/builds/"+ref(b)+"/log?step=unit&follow=true", "", "Last-Event-ID", forged).StatusCode, forged)
	}
}

// A build that waits can be followed: the lines come when it runs.
func TestFollowFromTheQueue(t *testing.T) {
	w := newWorld(t)
	made, err := w.admin.CreateBuild(t.Context(), api.BuildRequest{Project: "shop"}, "")
	require.NoError(t, err)
	go func() {
		w.change(made.ID, store.Claim{Agent: agent, Nonce: "n", Max: 3, At: at})
		p := example()
		if err := w.PutBlob(t.Context(), p.Digest(), p.Canonical()); err != nil {
			t.Error(err)
		}
		w.wrote(made.ID, "version", "v1\n")
		w.happens(made.ID, 1, 1, begun, begins("version"), ends("version", build.Failed, nil))
		w.change(made.ID, store.Planned{Agent: agent, Fence: 1, Commit: commit, Plan: p.Digest(), Total: len(p.Nodes)})
	}()
	var lines []string
	for line, err := range w.admin.Follow(t.Context(), string(made.ID), api.LogQuery{Step: "version"}) {
		require.NoError(t, err)
		lines = append(lines, line.Text)
	}
	require.Equal(t, []string{"v1"}, lines)
}

// A token that is revoked between two pages of a log is given no more of it, nor
// of one that it follows.
func TestLogEndsWithItsToken(t *testing.T) {
	w := newWorld(t)
	b := w.logged("one\ntwo\n")
	c := w.as(w.token(store.Token{Name: "short", Role: store.Read}))
	log, err := c.Log(t.Context(), ref(b), api.LogQuery{Step: "unit", To: 1})
	require.NoError(t, err)
	require.Equal(t, []string{"one"}, texts(log.Lines))
	following := make(chan struct{})
	ended := make(chan error, 1)
	go func() {
		for line, err := range c.Follow(t.Context(), ref(b), api.LogQuery{Step: "unit"}) {
			if err != nil {
				ended <- err
				return
			}
			if line.Number == 2 {
				close(following)
			}
		}
		ended <- nil
	}()
	<-following
	require.NoError(t, w.RevokeToken(t.Context(), "short"))
	var p *api.Problem
	_, err = c.Log(t.Context(), ref(b), api.LogQuery{Step: "unit", From: log.Next})
	require.ErrorAs(t, err, &p)
	require.Equal(t, http.StatusUnauthorized, p.Status)
	require.ErrorAs(t, <-ended, &p)
	require.Equal(t, http.StatusUnauthorized, p.Status)
}

// chunksLost is a store that loses what steps wrote.
type chunksLost struct {
	store.Store
	err error
}

func (s *chunksLost) Chunks(ctx context.Context, key store.ChunkKey, limit int) ([]store.Chunk, error) {
	if s.err != nil {
		return nil, s.err
	}
	return s.Store.Chunks(ctx, key, limit)
}

// All of a build is exported once it has ended, and nothing before.
func TestExportLog(t *testing.T) {
	var chunks chunksLost
	w := newWorld(t, func(s *api.Server) {
		chunks.Store = s.Store
		s.Store = &chunks
	})
	b := w.spoke("shop", "build", at, "one\ntwo\n", "\xff")
	a := w.do("GET", "/v1/builds/1/log/export", "")
	require.Equal(t, http.StatusConflict, a.StatusCode)
	require.Equal(t, "not-ended", ptr(a.problem(t)).Code())
	w.change(b.ID, store.Complete{Agent: agent, Fence: 1, State: build.Failed, At: at})
	in, err := w.admin.ExportLog(t.Context(), "1")
	require.NoError(t, err)
	defer in.Close()
	h, sum, err := archive.Check(t.Context(), in)
	require.NoError(t, err)
	require.Equal(t, []any{b.ID, build.Failed}, []any{h.Build.ID, h.Build.State})
	require.Equal(t, []int64{3, 9, 2}, []int64{sum.Lines, sum.Bytes, sum.Outputs})
	a = w.do("GET", "/v1/builds/1/log/export", "")
	require.Equal(t, `attachment; filename="1.jsonl"`, a.Header.Get("Content-Disposition"))
	require.Empty(t, w.do("HEAD", "/v1/builds/1/log/export", "").text)

	scoped := w.as(w.token(store.Token{Name: "scoped", Role: store.Read, Projects: []string{"other"}}))
	_, err = scoped.ExportLog(t.Context(), "1")
	var p *api.Problem
	require.ErrorAs(t, err, &p)
	require.Equal(t, http.StatusNotFound, p.Status)

	// It is broken off where the store fails, so that nobody takes it for all.
	chunks.err = errors.New("no disk")
	in, err = w.admin.ExportLog(t.Context(), "1")
	if err == nil {
		_, _, err = archive.Check(t.Context(), in)
	}
	require.Error(t, err)

	n, err := w.NextNumber(t.Context())
	require.NoError(t, err)
	never, err := w.Enqueue(t.Context(), store.NewBuild("never", n, store.Request{Project: "shop"}, at))
	require.NoError(t, err)
	w.change(never.ID, store.Expire{State: build.Rejected, At: at})
	require.Equal(t, "not-planned", ptr(w.do("GET", "/v1/builds/never/log/export", "").problem(t)).Code())
}
