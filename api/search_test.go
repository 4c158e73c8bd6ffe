package api_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/api/client"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

// spoke makes a build of a project that was made at a time, whose steps version
// and compile wrote something.
func (w *world) spoke(project, pipeline string, created time.Time, version, compile string) store.Build {
	w.t.Helper()
	ctx := w.t.Context()
	n, err := w.NextNumber(ctx)
	require.NoError(w.t, err)
	b, err := w.Enqueue(ctx, store.NewBuild(build.NewID(at), n, store.Request{Project: project, Pipeline: pipeline}, created))
	require.NoError(w.t, err)
	p := example()
	require.NoError(w.t, w.PutBlob(ctx, p.Digest(), p.Canonical()))
	w.change(b.ID, store.Claim{Agent: agent, Nonce: "n", Max: 3, At: at})
	w.change(b.ID, store.Planned{Agent: agent, Fence: 1, Commit: commit, Plan: p.Digest(), Total: len(p.Nodes)})
	w.happens(b.ID, 1, 1, begun, begins("version"), ends("version", build.Success, map[string]string{"v": "1"}), begins("compile"))
	for step, text := range map[string]string{"version": version, "compile": compile} {
		if text != "" {
			w.wrote(b.ID, step, text)
		}
	}
	return b
}

// pages looks for something to the end, and returns how many pages that took and
// what was found, as BUILD STEP:LINE.
func pages(t *testing.T, c *client.Client, q api.LogsQuery) (pages int, sum api.FoundLogs, hits []string) {
	t.Helper()
	for cursor := ""; ; {
		found, next, err := c.SearchLogs(t.Context(), q, cursor)
		require.NoError(t, err)
		pages++
		sum.Builds += found.Builds
		sum.Lines += found.Lines
		sum.Matches += found.Matches
		for _, h := range found.Hits {
			hits = append(hits, fmt.Sprintf("%d %s:%d", h.BuildNumber, h.Step, h.Number))
		}
		if cursor = next; cursor == "" {
			return pages, sum, hits
		}
	}
}

func TestSearchLogs(t *testing.T) {
	w := newWorld(t)
	w.project("other")
	w.spoke("shop", "build", at, "needle\nhay\n", "hay\na Needle and a needle\n")
	w.spoke("other", "build", at.Add(time.Minute), "needle\n", "")
	w.spoke("shop", "docs", at.Add(time.Hour), "hay\n", "needle")
	_, err := w.admin.CreateBuild(t.Context(), api.BuildRequest{Project: "shop"}, "") // which has not begun
	require.NoError(t, err)
	for name, test := range map[string]struct {
		q       api.LogsQuery
		hits    []string
		builds  int
		lines   int64
		matches int64
	}{
		"text":       {api.LogsQuery{Text: "needle"}, []string{"3 compile:1", "2 version:1", "1 version:1", "1 compile:2"}, 4, 7, 4},
		"any case":   {api.LogsQuery{Text: "NEEDLE", Fold: true}, []string{"3 compile:1", "2 version:1", "1 version:1", "1 compile:2"}, 4, 7, 5},
		"regex":      {api.LogsQuery{Regex: "^a .*needle$"}, []string{"1 compile:2"}, 4, 7, 1},
		"a project":  {api.LogsQuery{Text: "needle", Project: "other"}, []string{"2 version:1"}, 1, 1, 1},
		"a pipeline": {api.LogsQuery{Text: "needle", Project: "shop", Pipeline: "docs"}, []string{"3 compile:1"}, 1, 2, 1},
		"a step":     {api.LogsQuery{Text: "needle", Step: "compile"}, []string{"3 compile:1", "1 compile:2"}, 4, 3, 2},
		"no step":    {api.LogsQuery{Text: "needle", Step: "nosuch"}, nil, 4, 0, 0},
		"since":      {api.LogsQuery{Text: "needle", Since: at.Add(time.Minute)}, []string{"3 compile:1", "2 version:1"}, 2, 3, 2},
		"since then": {api.LogsQuery{Text: "needle", Since: at.Add(time.Minute + time.Millisecond)}, []string{"3 compile:1"}, 1, 2, 1},
		"nothing":    {api.LogsQuery{Text: "thread"}, nil, 4, 7, 0},
	} {
		t.Run(name, func(t *testing.T) {
			took, sum, hits := pages(t, w.admin, test.q)
			require.Equal(t, test.hits, hits)
			require.Equal(t, []any{1, test.builds, test.lines, test.matches}, []any{took, sum.Builds, sum.Lines, sum.Matches})
			test.q.Limit = 1 // page by page it is the same
			_, sum, hits = pages(t, w.admin, test.q)
			require.Equal(t, test.hits, hits)
			require.Equal(t, []int64{test.lines, test.matches}, []int64{sum.Lines, sum.Matches})
		})
	}
	found, _, err := w.admin.SearchLogs(t.Context(), api.LogsQuery{Text: "needle", Limit: 1}, "")
	require.NoError(t, err)
	h := found.Hits[0]
	require.Equal(t, []any{int64(3), "shop", "docs", int64(1), "compile", 1, "needle", [][2]int{{0, 6}}}, []any{h.BuildNumber, h.Project, h.Pipeline, h.Fence, h.Step, h.Attempt, h.Text, h.Spans})

	scoped := w.as(w.token(store.Token{Name: "scoped", Role: store.Read, Projects: []string{"other"}}))
	_, sum, hits := pages(t, scoped, api.LogsQuery{Text: "needle"})
	require.Equal(t, []string{"2 version:1"}, hits)
	require.Equal(t, []int64{1, 1}, []int64{int64(sum.Builds), sum.Lines}, "what it does not cover is not counted")

	odd := base64.RawURLEncoding.EncodeToString([]byte(`{"number":"x"}`))
	for _, query := range []string{"", "errors=true", "text=a&regex=b", "regex=(", "text=a&limit=0", "text=a&since=yesterday", "text=a&pipeline=build", "text=a&cursor=x", "text=a&cursor=" + odd,
		"text=a&cursor=" + odd[:len(odd)-1] + "!", "text=a&fold=x", "text=" + strings.Repeat("x", 1001)} {
		require.Equal(t, 400, w.do("GET", "/v1/logs/search?"+query, "").StatusCode, query)
	}
	for _, forged := range []string{`{"page":"x"}`, `{"page":"-1"}`} {
		a := w.do("GET", "/v1/logs/search?text=a&cursor="+base64.RawURLEncoding.EncodeToString([]byte(forged)), "")
		require.Equal(t, "bad-cursor", ptr(a.problem(t)).Code())
	}
	a := w.do("GET", "/v1/logs/search?regex=(a&limit=1", "")
	require.Equal(t, `"(a" is none: missing closing )`, a.problem(t).Errors[0].Message)
	a = w.do("GET", "/v1/logs/search?text=needle&project=shop&limit=1", "")
	require.Equal(t, fmt.Sprintf(`</v1/logs/search?cursor=%s&limit=1&project=shop&text=needle>; rel="next"`, url.QueryEscape(a.Header.Get("X-Next-Cursor"))), a.Header.Get("Link"))
}

// A place is good whatever happens meanwhile: builds that are new do not come into
// it, and those that were deleted are passed over.
func TestSearchLogsGoesOn(t *testing.T) {
	w := newWorld(t)
	var builds []store.Build
	for range 60 {
		builds = append(builds, w.spoke("shop", "build", at, "needle\n", ""))
	}
	q := api.LogsQuery{Text: "needle", Limit: 30}
	found, next, err := w.admin.SearchLogs(t.Context(), q, "")
	require.NoError(t, err)
	require.Equal(t, []int64{60, 31}, []int64{found.Hits[0].BuildNumber, found.Hits[29].BuildNumber})
	for range 50 {
		w.spoke("shop", "build", at, "needle\n", "")
	}
	for _, b := range builds[28:30] { // numbers 29 and 30, the next ones
		w.change(b.ID, store.Complete{Agent: agent, Fence: 1, State: build.Success, At: at})
		w.change(b.ID, store.Settle{Chore: store.Chore{Verb: store.StartAfter}})
		require.NoError(t, w.Purge(t.Context(), b.ID))
		w.change(b.ID, store.Collect{})
	}
	found, next, err = w.admin.SearchLogs(t.Context(), q, next)
	require.NoError(t, err)
	require.Empty(t, next)
	require.Equal(t, []int64{28, 1}, []int64{found.Hits[0].BuildNumber, found.Hits[27].BuildNumber})
}

// A page reads and gives only so much, and the next ones have the rest.
func TestSearchLogsIsBounded(t *testing.T) {
	w := newWorld(t)
	long := strings.Repeat("x", 60<<10)
	w.spoke("shop", "build", at, strings.Repeat("a "+long+"\n", 100), "")
	found, next, err := w.admin.SearchLogs(t.Context(), api.LogsQuery{Text: "a "}, "")
	require.NoError(t, err)
	require.NotEmpty(t, next)
	require.Equal(t, 69, len(found.Hits), "4 MiB of text")
	took, sum, hits := pages(t, w.admin, api.LogsQuery{Text: "a "})
	require.Equal(t, []int64{2, 100, 100}, []int64{int64(took), int64(len(hits)), sum.Lines})
	require.Equal(t, "1 version:100", hits[99])

	var chunks []string
	for range 1100 {
		chunks = append(chunks, strings.Repeat("y", store.MaxChunk-1)+"\n")
	}
	large := newWorld(t)
	large.wrote(large.spoke("shop", "build", at, "", "").ID, "version", chunks...)
	took, sum, _ = pages(t, large.admin, api.LogsQuery{Text: "z"})
	require.Equal(t, []int64{2, 1100}, []int64{int64(took), sum.Lines}, "64 MiB, and the rest")
}

// lagging is a store that takes a second for each piece of a log, and for each page
// of a list.
type lagging struct{ *store.Memory }

func (l *lagging) Chunks(ctx context.Context, key store.ChunkKey, limit int) ([]store.Chunk, error) {
	time.Sleep(time.Second)
	return l.Memory.Chunks(ctx, key, limit)
}

func (l *lagging) List(ctx context.Context, f store.Filter, cursor string, limit int) ([]store.Build, string, error) {
	time.Sleep(time.Second)
	return l.Memory.List(ctx, f, cursor, limit)
}

// A page takes about two seconds, and gets somewhere however slow the store is.
func TestSearchLogsTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(s *api.Server) { s.Store = &lagging{s.Store.(*store.Memory)} })
		for range 7 {
			w.spoke("shop", "build", at, "needle\n", "needle\n")
		}
		began := time.Now()
		_, next, err := w.admin.SearchLogs(t.Context(), api.LogsQuery{Text: "needle"}, "")
		require.NoError(t, err)
		require.NotEmpty(t, next)
		require.Less(t, time.Since(began), 5*time.Second)
		_, sum, hits := pages(t, w.admin, api.LogsQuery{Text: "needle"})
		require.Len(t, hits, 14)
		require.Equal(t, int64(14), sum.Lines)
	})
}

// That holds of builds that whoever asks may not see, too.
func TestSearchLogsPassesOverOthersBuilds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(s *api.Server) { s.Store = &lagging{s.Store.(*store.Memory)} })
		w.project("other")
		w.spoke("shop", "build", at, "needle\n", "")
		for range 100 {
			w.spoke("other", "build", at, "", "")
		}
		ann := w.as(w.token(store.Token{Name: "ann", Role: store.Read, Projects: []string{"shop"}}))
		began := time.Now()
		found, next, err := ann.SearchLogs(t.Context(), api.LogsQuery{Text: "needle"}, "")
		require.NoError(t, err)
		require.NotEmpty(t, next)
		require.Zero(t, found.Builds)
		require.Less(t, time.Since(began), 5*time.Second)
		_, sum, hits := pages(t, ann, api.LogsQuery{Text: "needle"})
		require.Equal(t, []string{"1 version:1"}, hits)
		require.Equal(t, 1, sum.Builds)
	})
}
