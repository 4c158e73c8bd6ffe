package api_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/runtime/store"
)

func TestProjects(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	made, err := w.admin.PutProject(ctx, api.Project{Name: "site", Repo: "git@git.example:site.git", Zone: "Europe/Berlin", Retention: store.Retention{Count: 10}})
	require.NoError(t, err)
	require.Equal(t, int64(1), made.Rev)
	made.Ref = "develop"
	next, err := w.admin.PutProject(ctx, made)
	require.NoError(t, err)
	require.Equal(t, int64(2), next.Rev)
	require.Equal(t, at, next.Created)
	var p *api.Problem
	_, err = w.admin.PutProject(ctx, made)
	require.ErrorAs(t, err, &p)
	require.Equal(t, http.StatusConflict, p.Status, "somebody has changed it")
	made.Rev = 0
	_, err = w.admin.PutProject(ctx, made)
	require.NoError(t, err, "whichever there is")

	list, err := w.admin.Projects(ctx)
	require.NoError(t, err)
	require.Equal(t, []string{"shop", "site"}, []string{list[0].Name, list[1].Name})
	pipelines, err := w.admin.Pipelines(ctx, "shop", "main")
	require.NoError(t, err)
	require.Equal(t, commit, pipelines.Commit)
	require.Len(t, pipelines.Pipelines, 5)
	_, err = w.admin.Pipelines(ctx, "shop", "gone")
	require.ErrorContains(t, err, `there is no "gone" in shop`)

	require.NoError(t, w.admin.DeleteProject(ctx, "site"))
	_, err = w.admin.Project(ctx, "site")
	require.ErrorAs(t, err, &p)
	require.Equal(t, "no-project", p.Code())
}

func TestReposThatAreRefused(t *testing.T) {
	w := newWorld(t)
	for _, repo := range []string{"", "ext::sh -c id", "ext::sh", "file:///etc", "git://host/x", "http://169.254.169.254/x", "http://[::1]/x", "ssh://-oProxyCommand=x", "ssh://-oProxyCommand=x/y", "-u", "https://user:pw@host/x", "https:///x", "host:", "-x:y", "a b", "x\x1b", "relative/path"} {
		a := w.do("PUT", "/v1/projects/new", `{"repo":`+jsonText(repo)+`}`)
		if repo == "host:" {
			continue // git's own short form: it is for the agent to judge
		}
		require.Equal(t, 422, a.StatusCode, repo)
		require.Equal(t, "repo", a.problem(t).Errors[0].Field)
	}
	for _, repo := range []string{"https://git.example/x.git", "ssh://git@git.example:22/x", "git@git.example:team/x.git", "/srv/git/x"} {
		require.Less(t, w.do("PUT", "/v1/projects/new", `{"repo":`+jsonText(repo)+`}`).StatusCode, 300, repo)
	}
	for body, field := range map[string]string{
		`{"repo":"/x","name":"other"}`:             "name",
		`{"repo":"/x","ref":"-x"}`:                 "ref",
		`{"repo":"/x","zone":"Mars"}`:              "zone",
		`{"repo":"/x","retention":{"count":-1}}`:   "retention",
		`{"repo":"/x","retention":{"days":1}}`:     "retention.days",
		`{"repo":"/x","scheduled":{"nightly":""}}`: "scheduled",
	} {
		require.Equal(t, field, w.do("PUT", "/v1/projects/new", body).problem(t).Errors[0].Field, body)
	}
	require.Equal(t, 422, w.do("PUT", "/v1/projects/New", `{"repo":"/x"}`).StatusCode)
}

func jsonText(s string) string {
	return `"` + strings.NewReplacer("\x1b", `\u001b`, `"`, `\"`).Replace(s) + `"`
}
