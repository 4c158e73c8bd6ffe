package api_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/api/client"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

// asked makes a build of a pipeline.
func (w *world) asked(pipeline string) store.Build {
	w.t.Helper()
	n, err := w.NextNumber(w.t.Context())
	require.NoError(w.t, err)
	b, err := w.Enqueue(w.t.Context(), store.NewBuild(build.NewID(at), n, store.Request{Project: "shop", Pipeline: pipeline}, at))
	require.NoError(w.t, err)
	return w.change(b.ID, store.Claim{Agent: agent, Nonce: "n", Max: 3, At: at})
}

// ran makes a build of a pipeline that has ended.
func (w *world) ran(pipeline string, state build.State, took time.Duration) store.Build {
	w.t.Helper()
	return w.change(w.asked(pipeline).ID, store.Complete{Agent: agent, Fence: 1, State: state, At: at.Add(took)})
}

func TestUsual(t *testing.T) {
	now := at
	w := newWorld(t, func(s *api.Server) { s.Now = func() time.Time { return now } })
	usual := func(pipeline string) int64 {
		t.Helper()
		list, _, err := w.admin.Builds(t.Context(), api.BuildFilter{Project: "shop", Pipeline: pipeline}, "", 1)
		require.NoError(t, err)
		shown, err := w.admin.Build(t.Context(), string(list[0].ID))
		require.NoError(t, err)
		require.Equal(t, list[0].UsualMS, shown.UsualMS)
		return list[0].UsualMS
	}
	w.ran("test", build.Failed, time.Hour)
	require.Zero(t, usual("test"), "none succeeded")
	w.ran("test", build.Success, 3*time.Second)
	require.Equal(t, int64(3000), usual("test"), "it is seen")
	w.ran("test", build.Success, 10*time.Second)
	require.Equal(t, int64(6500), usual("test"))
	w.ran("test", build.Success, time.Second)
	require.Equal(t, int64(3000), usual("test"))
	w.ran("release", build.Success, 7*time.Second)
	require.Equal(t, []int64{3000, 7000}, []int64{usual("test"), usual("release")})
	w.ran("quick", build.Success, 0)
	require.Equal(t, int64(1), usual("quick"))

	// What nobody saw end counts after a while.
	w.ran("test", build.Success, 3500*time.Millisecond)
	w.asked("test")
	require.Equal(t, int64(3000), usual("test"))
	now = now.Add(61 * time.Second)
	require.Equal(t, int64(3250), usual("test"))

	// Who runs a part of it says nothing of the whole.
	n, err := w.NextNumber(t.Context())
	require.NoError(t, err)
	part, err := w.Enqueue(t.Context(), store.NewBuild(build.NewID(at), n, store.Request{Project: "shop", Pipeline: "test", Select: plan.Selection{Only: []string{"unit"}}}, at))
	require.NoError(t, err)
	w.change(part.ID, store.Claim{Agent: agent, Nonce: "n", Max: 3, At: at})
	w.change(part.ID, store.Complete{Agent: agent, Fence: 1, State: build.Success, At: at.Add(time.Millisecond)})
	require.Equal(t, int64(3250), usual("test"))

	for range 20 {
		w.ran("test", build.Success, 5*time.Second)
	}
	require.Equal(t, int64(5000), usual("test"), "the last twenty")
	for range 100 {
		w.ran("test", build.Failed, 5*time.Second)
	}
	now = now.Add(61 * time.Second)
	require.Zero(t, usual("test"), "of a hundred")
}

// Who watches is told what became of it with the build that ended.
func TestUsualInStreams(t *testing.T) {
	w := newWorld(t)
	b := w.asked("test")
	s := w.watch(w.admin, "", "builds")
	one := w.watch(w.admin, "", "build:"+ref(b))
	var got api.Build
	one.next(api.MessageBuild, &got)
	require.Zero(t, got.UsualMS)
	w.listening(2)
	w.change(b.ID, store.Complete{Agent: agent, Fence: 1, State: build.Success, At: at.Add(4 * time.Second)})
	s.next(api.MessageBuild, &got)
	require.Equal(t, int64(4000), got.UsualMS)
	one.next(api.MessageBuild, &got)
	require.Equal(t, int64(4000), got.UsualMS)
}

// listed counts how often builds are listed.
type listed struct {
	*store.Memory
	asked atomic.Int64
}

func (l *listed) List(ctx context.Context, f store.Filter, cursor string, limit int) ([]store.Build, string, error) {
	l.asked.Add(1)
	return l.Memory.List(ctx, f, cursor, limit)
}

// Two hundred builds of a hundred pipelines ask the store for each pipeline once.
func TestUsualIsKept(t *testing.T) {
	w := newWorld(t)
	s := &listed{Memory: w.Memory}
	c := client.InProcess((&api.Server{Store: s, Now: func() time.Time { return at }}).HandlerAs(store.Token{Role: store.Read}))
	for i := range 200 {
		w.ran(fmt.Sprint("p", i%100), build.Success, time.Second)
	}
	for _, want := range []int64{101, 1, 1} {
		s.asked.Store(0)
		list, _, err := c.Builds(t.Context(), api.BuildFilter{}, "", 200)
		require.NoError(t, err)
		require.Len(t, list, 200)
		require.Equal(t, int64(1000), list[100].UsualMS)
		require.Equal(t, want, s.asked.Load())
	}
}
