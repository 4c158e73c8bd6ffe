package api_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/logs"
	"github.com/piper-build/piper/runtime/logs/logstest"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

// indexed is a world with an index, in which is what two builds wrote.
func indexed(t *testing.T) (*world, *logstest.Index, []store.Build) {
	x := &logstest.Index{}
	w := newWorld(t, func(s *api.Server) { s.Index = x })
	w.project("other")
	var builds []store.Build
	for i, project := range []string{"shop", "other"} {
		b := w.spoke(project, "build", at.Add(time.Duration(i)*time.Minute), "needle\nhay\n", "a needle\n")
		b = w.change(b.ID, store.Complete{Agent: agent, Fence: 1, State: build.Failed, At: at.Add(-2 * time.Hour)})
		builds = append(builds, b)
		require.NoError(t, logs.ShipBuild(t.Context(), w, x, b))
	}
	return w, x, builds
}

func TestSearchLogsInAnIndex(t *testing.T) {
	w, x, _ := indexed(t)
	q := api.LogsQuery{Text: "needle", Limit: 3}
	want := []string{"2 version:1", "2 compile:1", "1 version:1", "1 compile:1"}
	found, next, err := w.admin.SearchLogs(t.Context(), q, "")
	require.NoError(t, err)
	require.Equal(t, []any{"Memory", int64(4), "", 0, int64(0)}, []any{found.Index, *found.Total, found.FellBack, found.Builds, found.Lines})
	require.Len(t, found.Hits, 3)
	_, _, hits := pages(t, w.admin, q)
	require.Equal(t, want, hits)

	scoped := w.as(w.token(store.Token{Name: "scoped", Role: store.Read, Projects: []string{"oth*"}}))
	one, _, err := scoped.SearchLogs(t.Context(), q, "")
	require.NoError(t, err)
	require.Equal(t, int64(2), *one.Total, "what it does not cover is not counted")
	until, _, err := w.admin.SearchLogs(t.Context(), api.LogsQuery{Text: "needle", Until: at.Add(time.Minute)}, "")
	require.NoError(t, err)
	require.Equal(t, int64(2), *until.Total)

	// While it is away the store is read, which says so.
	x.Away("it is unplugged")
	found, fallback, err := w.admin.SearchLogs(t.Context(), q, "")
	require.NoError(t, err)
	require.Len(t, found.Hits, 3)
	require.Empty(t, found.Index)
	require.Nil(t, found.Total)
	require.Contains(t, found.FellBack, "it is unplugged")
	require.Equal(t, 2, found.Builds)
	_, _, hits = pages(t, w.admin, q)
	require.Equal(t, want, hits)
	_, _, err = w.admin.SearchLogs(t.Context(), q, next)
	require.ErrorContains(t, err, "begin the search anew")

	// A search goes on where it began, also when it is back.
	x.Away("")
	found, _, err = w.admin.SearchLogs(t.Context(), q, fallback)
	require.NoError(t, err)
	require.Empty(t, found.Index)
	require.Len(t, found.Hits, 1)
	for _, forged := range []string{"i", "ix", "s", "sx", "x"} {
		require.Equal(t, "bad-cursor", ptr(w.do("GET", "/v1/logs/search?text=a&cursor="+forged, "").problem(t)).Code(), forged)
	}
	without := newWorld(t)
	require.Equal(t, "bad-cursor", ptr(without.do("GET", "/v1/logs/search?text=a&cursor="+next, "").problem(t)).Code())
}

// A log is read from the store, whatever becomes of the index.
func TestALogSaysThatTheIndexIsAway(t *testing.T) {
	w, x, _ := indexed(t)
	log, err := w.admin.Log(t.Context(), "1", api.LogQuery{Step: "version"})
	require.NoError(t, err)
	require.Empty(t, log.Notice)
	body := func(path string) string {
		return w.do("GET", path, "").text
	}
	require.Equal(t, "ok\n", body("/healthz"))
	metrics := body("/metrics")
	for _, line := range []string{"piper_log_index_up 1", "piper_log_index_behind_builds 0", "piper_log_index_dead_letters 0", "piper_log_index_lines_total 6", "# TYPE piper_log_index_lines_total counter"} {
		require.Contains(t, metrics, line+"\n")
	}
	x.Away("it is unplugged")
	log, err = w.admin.Log(t.Context(), "1", api.LogQuery{Step: "version"})
	require.NoError(t, err)
	require.Len(t, log.Lines, 2)
	require.Contains(t, log.Notice, "Memory is away")
	require.Equal(t, "ok\nthe index of logs is away\n", body("/healthz"))
	require.Contains(t, body("/metrics"), "piper_log_index_up 0\n")
}

// What cannot be deleted from the index stays in the store, and who asks hears why.
func TestCollectWhileTheIndexIsAway(t *testing.T) {
	w, x, builds := indexed(t)
	newer := w.spoke("shop", "build", at, "hay\n", "hay\n")
	w.change(newer.ID, store.Complete{Agent: agent, Fence: 1, State: build.Failed, At: at})
	for _, id := range []build.ID{builds[0].ID, newer.ID} {
		w.change(id, store.Settle{Chore: store.Chore{Verb: store.StartAfter}})
	}
	x.Away("it is unplugged")
	_, err := w.admin.Collect(t.Context(), api.CollectRequest{Project: "shop", Keep: store.Retention{Count: 1}})
	var p *api.Problem
	require.ErrorAs(t, err, &p)
	require.Equal(t, []any{http.StatusServiceUnavailable, "index-away"}, []any{p.Status, p.Code()})
	require.Contains(t, p.Detail, "it is unplugged")
	b, err := w.Build(t.Context(), builds[0].ID)
	require.NoError(t, err)
	require.False(t, b.Collected)
}

func TestLogIndex(t *testing.T) {
	w, x, builds := indexed(t)
	i, err := w.admin.LogIndex(t.Context())
	require.NoError(t, err)
	require.Equal(t, []any{"Memory", "", int64(6), 0, int64(0)}, []any{i.Name, i.Away, i.Sent, *i.Behind, *i.DeadLetters})
	require.NoError(t, x.Delete(t.Context(), builds[0].ID))
	x.Refuse("it does not fit", `{"line":1}`)
	i, err = w.admin.LogIndex(t.Context())
	require.NoError(t, err)
	require.Equal(t, []any{1, int64(1), int64(1)}, []any{*i.Behind, *i.DeadLetters, i.Refused})
	require.Equal(t, "it does not fit", i.Letters[0].Reason)
	require.JSONEq(t, `{"line":1}`, string(i.Letters[0].Line))
	x.Away("it is unplugged")
	i, err = w.admin.LogIndex(t.Context())
	require.NoError(t, err)
	require.Equal(t, "it is unplugged", i.Away)
	require.Nil(t, i.Behind, "it is not known")
	require.Nil(t, i.DeadLetters)

	without := newWorld(t)
	_, err = without.admin.LogIndex(t.Context())
	var p *api.Problem
	require.ErrorAs(t, err, &p)
	require.Equal(t, "no-index", p.Code())
}

// What is collected goes from the index first; while that is away, nothing is.
func TestCollectWaitsForTheIndex(t *testing.T) {
	w, x, builds := indexed(t)
	for _, b := range builds {
		w.change(b.ID, store.Settle{Chore: store.Chore{Verb: store.StartAfter}})
	}
	all := api.CollectRequest{Keep: store.Retention{Age: plan.Duration(time.Hour)}}
	x.Away("it is unplugged")
	_, err := w.admin.Collect(t.Context(), all)
	require.Error(t, err)
	b, err := w.Build(t.Context(), builds[0].ID)
	require.NoError(t, err)
	require.False(t, b.Collected)
	x.Away("")
	_, err = w.admin.Collect(t.Context(), all)
	require.NoError(t, err)
	whole, err := x.Finished(context.Background(), []build.ID{builds[0].ID, builds[1].ID})
	require.NoError(t, err)
	require.Empty(t, whole)
}
