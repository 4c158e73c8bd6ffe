package api_test

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/api/apitest"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

// Every route is tried with every role: who may not is told 401 or 403, who may is
// told anything else.
func TestRouteMatrix(t *testing.T) {
	doc, err := apitest.Document()
	require.NoError(t, err)
	w := newWorld(t)
	scoped := w.token(store.Token{Name: "scoped", Role: store.Admin, Projects: []string{"shop"}})
	whole := []string{"GET /metrics", "GET /v1/logs/index", "GET /v1/tokens", "POST /v1/tokens", "DELETE /v1/tokens/{name}", "POST /v1/agents/{id}/drain", "POST /v1/agents/{id}/resume", "POST /v1/gc"}
	ranks := map[string]int{"": 0, "read": 1, "trigger": 2, "admin": 3}
	tried := 0
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			wants, _ := op.Extensions["x-role"].(string)
			for _, has := range []string{"", "read", "trigger", "admin", "scoped"} {
				t.Run(method+path+" as "+has, func(t *testing.T) {
					token := w.tokens[store.Role(has)]
					if has == "scoped" {
						token = scoped
					}
					if token != "" {
						token = "Bearer " + token
					}
					target := strings.NewReplacer("{name}", "nothing", "{project}", "nothing", "{build}", "999", "{id}", "nothing").Replace(path)
					got := w.do(method, target, "", "Authorization", token).StatusCode
					level, route := ranks[has], method+" "+path
					if has == "scoped" {
						level = ranks["admin"]
					}
					switch {
					case wants == "":
						require.NotContains(t, []int{http.StatusUnauthorized, http.StatusForbidden}, got)
					case has == "":
						require.Equal(t, http.StatusUnauthorized, got)
					case level < ranks[wants], has == "scoped" && slices.Contains(whole, route):
						require.Equal(t, http.StatusForbidden, got)
					default:
						require.NotContains(t, []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusInternalServerError, http.StatusServiceUnavailable}, got)
					}
					tried++
				})
			}
		}
	}
	require.Equal(t, 43*5, tried)
}

func TestBadTokens(t *testing.T) {
	w := newWorld(t)
	good := w.tokens[store.Admin]
	old := w.token(store.Token{Name: "old", Role: store.Admin, Expires: at})
	gone := w.token(store.Token{Name: "gone", Role: store.Admin})
	require.NoError(t, w.RevokeToken(t.Context(), "gone"))
	odd := w.token(store.Token{Name: "odd", Role: "owner"})
	for name, header := range map[string]string{
		"none":      "",
		"alone":     "Bearer",
		"empty":     "Bearer ",
		"basic":     "Basic " + good,
		"two":       "Bearer " + good + "\nBearer " + good,
		"one byte":  "Bearer " + good[:len(good)-1] + "!",
		"expired":   "Bearer " + old,
		"revoked":   "Bearer " + gone,
		"no role":   "Bearer " + odd,
		"a hash":    "Bearer " + strings.Repeat("0", 64),
		"the whole": "Bearer " + good + " " + good,
	} {
		t.Run(name, func(t *testing.T) {
			a := w.do("GET", "/v1/builds", "", "Authorization", header)
			require.Equal(t, http.StatusUnauthorized, a.StatusCode)
			require.Contains(t, a.Header.Get("WWW-Authenticate"), "Bearer")
			a.problem(t)
		})
	}
	require.Equal(t, http.StatusOK, w.do("GET", "/v1/builds", "").StatusCode)
	require.Equal(t, http.StatusOK, w.do("GET", "/v1/builds", "", "Authorization", "bearer "+good).StatusCode)
}

func TestGuessesAreCounted(t *testing.T) {
	now := at
	w := newWorld(t, func(s *api.Server) { s.Now = func() time.Time { return now } })
	guess := func() answered { return w.do("GET", "/v1/builds", "", "Authorization", "Bearer wrong") }
	for range 20 {
		require.Equal(t, http.StatusUnauthorized, guess().StatusCode)
	}
	now = now.Add(20 * time.Second)
	a := guess()
	require.Equal(t, http.StatusTooManyRequests, a.StatusCode)
	require.Equal(t, "41", a.Header.Get("Retry-After"))
	require.Equal(t, http.StatusOK, w.do("GET", "/v1/builds", "").StatusCode, "a good token is never refused")
	now = now.Add(40 * time.Second)
	require.Equal(t, http.StatusUnauthorized, guess().StatusCode)
}

// What a token does not cover is not there for it.
func TestScopes(t *testing.T) {
	w := newWorld(t)
	w.project("secret")
	digest, err := w.admin.PutPatch(t.Context(), strings.NewReader("a patch"))
	require.NoError(t, err)
	mine, other := w.started(example()), w.started(example(), func(r *store.Request) { r.Project, r.Patch = "secret", digest })
	require.NoError(t, w.Join(t.Context(), store.Agent{ID: agent, Name: "a", Slots: 4, Running: map[build.ID]int64{mine.ID: 1, other.ID: 1}}))
	c := w.as(w.token(store.Token{Name: "scoped", Role: store.Admin, Projects: []string{"sh*"}}))
	ctx := t.Context()

	projects, err := c.Projects(ctx)
	require.NoError(t, err)
	require.Len(t, projects, 1)
	list, next, err := c.Builds(ctx, api.BuildFilter{}, "", 0)
	require.NoError(t, err)
	require.Empty(t, next)
	require.Len(t, list, 1)
	require.Equal(t, mine.ID, list[0].ID)
	a, err := c.Agent(ctx, agent)
	require.NoError(t, err)
	require.Equal(t, []api.BuildRef{{ID: mine.ID, Number: mine.Number, Project: "shop", Pipeline: "build"}}, a.Running)

	for name, ask := range map[string]func() error{
		"build":   func() error { _, err := c.Build(ctx, ref(other)); return err },
		"log":     func() error { _, err := c.Log(ctx, ref(other), api.LogQuery{Step: "unit"}); return err },
		"plan":    func() error { _, err := c.Plan(ctx, ref(other)); return err },
		"graph":   func() error { _, err := c.Graph(ctx, ref(other)); return err },
		"request": func() error { _, err := c.Request(ctx, ref(other)); return err },
		"patch":   func() error { _, err := c.Patch(ctx, ref(other), digest); return err },
		"events":  func() error { _, err := c.Events(ctx, ref(other), 0, 0, 0); return err },
		"why":     func() error { _, err := c.Why(ctx, ref(other), ""); return err },
		"cancel":  func() error { _, err := c.Cancel(ctx, ref(other), api.CancelRequest{}); return err },
		"rerun":   func() error { _, err := c.Rerun(ctx, ref(other), api.RerunRequest{}, ""); return err },
		"project": func() error { _, err := c.Project(ctx, "secret"); return err },
		"filter":  func() error { _, _, err := c.Builds(ctx, api.BuildFilter{Project: "secret"}, "", 0); return err },
		"create":  func() error { _, err := c.CreateBuild(ctx, api.BuildRequest{Project: "secret"}, ""); return err },
		"put":     func() error { _, err := c.PutProject(ctx, api.Project{Name: "secret", Repo: "/x"}); return err },
		"delete":  func() error { return c.DeleteProject(ctx, "secret") },
		"search": func() error {
			_, _, err := c.SearchLogs(ctx, api.LogsQuery{Text: "x", Project: "secret"}, "")
			return err
		},
		"stream": func() error {
			for _, err := range c.Watch(ctx, "", "build:"+ref(other)) {
				return err
			}
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			var p *api.Problem
			require.ErrorAs(t, ask(), &p)
			require.Equal(t, http.StatusNotFound, p.Status)
			require.Contains(t, p.Error(), "there is no ")
			require.NotContains(t, p.Error(), "did you mean")
		})
	}
}

func TestTokens(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	made, err := w.admin.CreateToken(ctx, api.TokenRequest{Name: "ci", Role: store.Trigger, Projects: []string{"shop"}, Expires: at.Add(time.Hour)})
	require.NoError(t, err)
	require.Regexp(t, `^piper_trigger_[A-Za-z0-9_-]{43}[0-9a-f]{8}$`, made.Secret)
	_, err = w.as(made.Secret).Version(ctx)
	require.NoError(t, err)

	list, err := w.admin.Tokens(ctx)
	require.NoError(t, err)
	require.Len(t, list, 4)
	for _, l := range list {
		require.Empty(t, l.Secret)
	}
	var p *api.Problem
	_, err = w.admin.CreateToken(ctx, api.TokenRequest{Name: "ci", Role: store.Read})
	require.ErrorAs(t, err, &p)
	require.Equal(t, http.StatusConflict, p.Status)
	for field, bad := range map[string]api.TokenRequest{
		"name":     {Name: "no spaces", Role: store.Read},
		"role":     {Name: "x", Role: "root"},
		"expires":  {Name: "x", Role: store.Read, Expires: at},
		"projects": {Name: "x", Role: store.Read, Projects: []string{"[a"}},
	} {
		_, err = w.admin.CreateToken(ctx, bad)
		require.ErrorAs(t, err, &p)
		require.Equal(t, field, p.Errors[0].Field)
	}
	require.NoError(t, w.admin.RevokeToken(ctx, "ci"))
	require.NoError(t, w.admin.RevokeToken(ctx, "ci"))
	_, err = w.as(made.Secret).Version(ctx)
	require.ErrorAs(t, err, &p)
	require.Equal(t, http.StatusUnauthorized, p.Status)
}

func TestWriteToken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	secret, kept := api.NewToken(store.Token{Name: "first", Role: store.Admin})
	other, _ := api.NewToken(store.Token{Name: "first", Role: store.Admin})
	require.NotEqual(t, secret, other)
	require.NotContains(t, kept.Hash, secret)
	require.NoError(t, api.WriteToken(path, secret))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, secret+"\n", string(text))
	require.ErrorIs(t, api.WriteToken(path, other), os.ErrExist)
}
