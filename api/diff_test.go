package api_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

func TestDiffLog(t *testing.T) {
	w := newWorld(t)
	ends := func(state build.State, pipeline, version, compile string) store.Build {
		b := w.spoke("shop", pipeline, at, version, compile)
		return w.change(b.ID, store.Complete{Agent: agent, Fence: 1, State: state, At: at})
	}
	ends(build.Success, "build", "1.2.3\n", "begun at 12:00:01\nok in 3s\n")
	ends(build.Success, "docs", "other\n", "other\n")
	ends(build.Failed, "build", "1.2.3\n", "FAIL\n")
	red := ends(build.Failed, "build", "1.2.3\n", "begun at 13:30:59\nok in 12ms\nFAIL\nit is wrong\n")
	ends(build.Success, "build", "1.2.3\n", "FAIL\n")

	diff, err := w.admin.DiffLog(t.Context(), "4", api.DiffQuery{})
	require.NoError(t, err)
	require.Equal(t, []any{int64(1), "build"}, []any{diff.Base.Number, diff.Base.Pipeline})
	require.Len(t, diff.Steps, 2)
	require.Equal(t, api.StepDiff{Step: "version", Attempt: 1, Base: true, Hits: []api.Match{}}, diff.Steps[0])
	compile := diff.Steps[1]
	require.Equal(t, []any{int64(2), true, false}, []any{compile.New, compile.Base, compile.Capped})
	require.Equal(t, []string{"FAIL", "it is wrong"}, []string{compile.Hits[0].Text, compile.Hits[1].Text})
	require.Len(t, compile.Hits[0].Before, 2)

	diff, err = w.admin.DiffLog(t.Context(), string(red.ID), api.DiffQuery{Against: "3", Step: "compile", Limit: 1})
	require.NoError(t, err)
	require.Len(t, diff.Steps, 1)
	require.Equal(t, []any{int64(3), 1}, []any{diff.Steps[0].New, len(diff.Steps[0].Hits)})

	require.Contains(t, w.do("GET", "/v1/builds/4/log/diff?step=compile&fence=1", "").text, `"new":2`)
	require.Contains(t, w.do("GET", "/v1/builds/4/log/diff?step=compile&fence=9", "").text, `"new":0`, "nothing of another run")

	for path, code := range map[string]string{
		"/v1/builds/1/log/diff":           "no-green-build",
		"/v1/builds/2/log/diff":           "no-green-build",
		"/v1/builds/9/log/diff":           "no-build",
		"/v1/builds/4/log/diff?against=9": "no-build",
		"/v1/builds/4/log/diff?step=none": "invalid",
		"/v1/builds/4/log/diff?limit=0":   "bad-request",
		"/v1/builds/4/log/diff?context=x": "bad-request",
	} {
		a := w.do("GET", path, "")
		require.Equal(t, code, ptr(a.problem(t)).Code(), path)
	}

	// Another's builds are none to look at.
	w.project("other")
	scoped := w.as(w.token(store.Token{Name: "scoped", Role: store.Read, Projects: []string{"other"}}))
	_, err = scoped.DiffLog(t.Context(), "4", api.DiffQuery{})
	require.ErrorContains(t, err, "no build")
	unplanned, err := w.admin.CreateBuild(t.Context(), api.BuildRequest{Project: "shop"}, "")
	require.NoError(t, err)
	_, err = w.admin.DiffLog(t.Context(), "4", api.DiffQuery{Against: string(unplanned.ID)})
	require.ErrorContains(t, err, "was not planned")
}
