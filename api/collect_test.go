package api_test

import (
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/api"
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
