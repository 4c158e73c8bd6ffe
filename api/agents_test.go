package api_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

func TestDrain(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	b := w.started(example())
	require.NoError(t, w.Join(ctx, store.Agent{ID: agent, Name: "a1", Slots: 2, Seen: at, Running: map[build.ID]int64{b.ID: 1}}))
	want := api.Agent{ID: agent, Name: "a1", Seen: at, Slots: 2, Running: []api.BuildRef{{ID: b.ID, Number: b.Number, Project: "shop", Pipeline: "build"}}}
	for _, draining := range []bool{true, true, false} {
		act := w.admin.Resume
		want.Free = 1
		if want.Draining = draining; draining {
			act, want.Free = w.admin.Drain, 0
		}
		got, err := act(ctx, agent)
		require.NoError(t, err)
		require.Equal(t, want, got)
		kept, err := w.Memory.Agent(ctx, agent)
		require.NoError(t, err)
		require.Equal(t, draining, kept.Draining)
	}
	require.NoError(t, w.End(ctx, agent))
	want.Draining, want.Ending, want.Free = true, true, 0
	got, err := w.admin.Drain(ctx, agent)
	require.NoError(t, err)
	require.Equal(t, want, got)
	var p *api.Problem
	_, err = w.admin.Resume(ctx, agent)
	require.ErrorAs(t, err, &p)
	require.Equal(t, []any{http.StatusConflict, "agent-ending"}, []any{p.Status, p.Code()})
	_, err = w.admin.Drain(ctx, "nobody")
	require.ErrorAs(t, err, &p)
	require.Equal(t, []any{http.StatusNotFound, "no-agent"}, []any{p.Status, p.Code()})
}

func TestMetrics(t *testing.T) {
	w := newWorld(t, func(s *api.Server) { s.Now = func() time.Time { return at.Add(90 * time.Second) } })
	ctx := t.Context()
	require.NoError(t, w.Join(ctx, store.Agent{ID: agent, Name: "a1", Slots: 3, Running: map[build.ID]int64{"x": 1}}))
	w.started(example())
	_, err := w.Enqueue(ctx, store.NewBuild("waits", 50, store.Request{Project: "shop"}, at))
	require.NoError(t, err)
	a := w.do("GET", "/metrics", "")
	require.Equal(t, "text/plain; version=0.0.4; charset=utf-8", a.Header.Get("Content-Type"))
	require.Regexp(t, `^(# HELP (\w+) [^\n]+\n# TYPE \w+ gauge\n\w+ \d+\n)+$`, a.text)
	for _, line := range []string{"piper_builds_queued 1\n", "piper_builds_queued_oldest_seconds 90\n", "piper_builds_running 1\n", "piper_agents 1\n", "piper_slots 3\n", "piper_slots_free 2\n", "piper_streams 0\n"} {
		require.Contains(t, a.text, "\n"+line)
	}
	require.Equal(t, "ok\n", w.do("GET", "/healthz", "", "Authorization", "").text, "whoever asks is told no more")
}
