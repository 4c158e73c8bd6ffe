package api_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

func TestCollect(t *testing.T) {
	w := newWorld(t)
	c := w.as(w.tokens[store.Admin])
	for range 3 {
		b, err := c.CreateBuild(t.Context(), api.BuildRequest{Project: "shop"}, "")
		require.NoError(t, err)
		w.change(b.ID, store.RequestCancel{At: at})
	}
	got, err := c.Collect(t.Context(), api.CollectRequest{})
	require.NoError(t, err)
	require.Zero(t, got.Builds, "the project keeps all")
	got, err = c.Collect(t.Context(), api.CollectRequest{Project: "shop", Keep: store.Retention{Count: 2}})
	require.NoError(t, err)
	require.Equal(t, 1, got.Builds)

	p, err := c.Project(t.Context(), "shop")
	require.NoError(t, err)
	p.Retention.Count = 1
	_, err = c.PutProject(t.Context(), p)
	require.NoError(t, err)
	got, err = c.Collect(t.Context(), api.CollectRequest{Project: "shop"})
	require.NoError(t, err)
	require.Equal(t, 1, got.Builds)

	require.Equal(t, "no-project", ptr(w.do("POST", "/v1/gc", `{"project":"nosuch"}`).problem(t)).Code())
	require.Equal(t, http.StatusUnprocessableEntity, w.do("POST", "/v1/gc", `{"keep":{"count":-1}}`).StatusCode)
	_, err = w.as(w.tokens[store.Trigger]).Collect(t.Context(), api.CollectRequest{})
	require.ErrorContains(t, err, "it wants admin")
}

func TestPinAndDryRun(t *testing.T) {
	w := newWorld(t)
	for range 3 {
		b := w.spoke("shop", "build", at, "", "")
		w.change(b.ID, store.Complete{Agent: agent, Fence: 1, State: build.Failed, At: at.Add(-2 * time.Hour)})
		w.change(b.ID, store.Settle{Chore: store.Chore{Verb: store.StartAfter}})
	}
	b, err := w.admin.Pin(t.Context(), "2", api.PinRequest{})
	require.NoError(t, err)
	require.True(t, b.Pinned)
	q := api.CollectRequest{Keep: store.Retention{Age: plan.Duration(time.Hour)}, DryRun: true}
	for range 2 { // it deletes nothing
		gone, err := w.admin.Collect(t.Context(), q)
		require.NoError(t, err)
		require.Equal(t, api.Collected{Builds: 2, Numbers: []int64{3, 1}}, gone)
	}
	b, err = w.admin.Pin(t.Context(), "2", api.PinRequest{Remove: true})
	require.NoError(t, err)
	require.False(t, b.Pinned)
	q.DryRun = false
	gone, err := w.admin.Collect(t.Context(), q)
	require.NoError(t, err)
	require.Equal(t, []int64{3, 2, 1}, gone.Numbers)
	_, err = w.admin.Pin(t.Context(), "2", api.PinRequest{})
	require.Error(t, err, "there is nothing to keep")
	_, err = w.admin.Collect(t.Context(), api.CollectRequest{Keep: store.Retention{Size: -1}})
	require.ErrorContains(t, err, "is below zero")
}
