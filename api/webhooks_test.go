package api_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/api/webhook"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

var hookSecret = []byte("a secret that is long enough")

func hooked(t *testing.T, kind string) *world {
	return newWorld(t, func(s *api.Server) {
		s.Webhook = func(project string) (api.Webhook, bool) {
			return api.Webhook{Kind: kind, Secret: hookSecret, Forks: true}, project == "shop"
		}
	})
}

// sends sends what GitHub would.
func (w *world) sends(event, body string, header ...string) answered {
	w.t.Helper()
	mac := hmac.New(sha256.New, hookSecret)
	mac.Write([]byte(body))
	return w.do("POST", "/v1/webhooks/shop", body, append([]string{"Authorization", "", "X-GitHub-Event", event, "X-Hub-Signature-256", "sha256=" + hex.EncodeToString(mac.Sum(nil))}, header...)...)
}

func (a answered) hooked(t *testing.T) api.Hooked {
	t.Helper()
	require.Less(t, a.StatusCode, 300, a.text)
	var got api.Hooked
	require.NoError(t, json.Unmarshal([]byte(a.text), &got))
	return got
}

func body(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("webhook", "testdata", name+".json"))
	require.NoError(t, err)
	return string(text)
}

func TestWebhook(t *testing.T) {
	w := hooked(t, webhook.GitHub)
	a := w.sends("push", body(t, "github-push"))
	require.Equal(t, http.StatusCreated, a.StatusCode)
	got := a.hooked(t)
	require.Equal(t, []string{"build", "docs"}, []string{got.Builds[0].Pipeline, got.Builds[1].Pipeline})
	b, err := w.Build(t.Context(), got.Builds[0].ID)
	require.NoError(t, err)
	require.Equal(t, store.Cause{Kind: "push", By: "ann"}, b.Request.Cause)
	require.Equal(t, []string{commit, "refs/heads/main", "main", older}, []string{b.Request.Commit, b.Request.Ref, b.Request.Event.Branch, b.Request.Event.Base})
}

// A delivery that comes a thousand times, under whatever name, is one build
// (I10).
func TestWebhookReplayed(t *testing.T) {
	w := hooked(t, webhook.GitHub)
	push := body(t, "github-push")
	first := w.sends("push", push).hooked(t)
	for i := range 1000 {
		require.Equal(t, first, w.sends("push", push, "X-GitHub-Delivery", strings.Repeat("x", i%7)).hooked(t))
	}
	list, _, err := w.List(t.Context(), store.Filter{}, "", 10)
	require.NoError(t, err)
	require.Len(t, list, 2)
}

// What is old when it comes is not built after what is newer.
func TestWebhookOutdated(t *testing.T) {
	w := hooked(t, webhook.GitHub)
	w.sources.heads["refs/heads/main"] = alien
	require.Contains(t, w.sends("push", body(t, "github-push")).hooked(t).Ignored, "is at 3333")
	delete(w.sources.heads, "refs/heads/main")
	require.Contains(t, w.sends("push", body(t, "github-push")).hooked(t).Ignored, "not there any more")
	for _, name := range []string{"github-delete", "github-ping", "github-pull-closed"} {
		event := map[string]string{"github-ping": "ping", "github-pull-closed": "pull_request"}[name]
		if event == "" {
			event = "push"
		}
		got := w.sends(event, body(t, name)).hooked(t)
		require.Empty(t, got.Builds)
		require.NotEmpty(t, got.Ignored)
	}
	list, _, err := w.List(t.Context(), store.Filter{}, "", 10)
	require.NoError(t, err)
	require.Empty(t, list)
}

// Whoever opens a pull request from a fork would have commands run by the agents.
func TestForksAreNotBuiltUnlessTheOperatorSaysSo(t *testing.T) {
	w := newWorld(t, func(s *api.Server) {
		s.Webhook = func(string) (api.Webhook, bool) { return api.Webhook{Kind: webhook.GitHub, Secret: hookSecret}, true }
	})
	got := w.sends("pull_request", body(t, "github-pull-fork")).hooked(t)
	require.Empty(t, got.Builds)
	require.Equal(t, "it is from a fork, and the operator has none built", got.Ignored)
	builds, _, err := w.List(t.Context(), store.Filter{}, "", 10)
	require.NoError(t, err)
	require.Empty(t, builds)
}

// A fork is one by the ids of the forge, whatever it calls itself, and what starts
// is not for it to say.
func TestWebhookOfAFork(t *testing.T) {
	w := hooked(t, webhook.GitHub)
	pull := strings.ReplaceAll(body(t, "github-pull-fork"), commit, alien)
	w.sources.catalog[alien] = plan.Catalog{Pipelines: []plan.Pipeline{{Name: "evil", On: []plan.On{{Kind: "change_request"}}}}}
	got := w.sends("pull_request", pull).hooked(t)
	require.Len(t, got.Builds, 1)
	require.Equal(t, "build", got.Builds[0].Pipeline)
	b, err := w.Build(t.Context(), got.Builds[0].ID)
	require.NoError(t, err)
	require.Equal(t, []string{"fork", alien, "refs/pull/7/head"}, []string{b.Request.Cause.Trust, b.Request.Commit, b.Request.Ref})

	// It stays one when it is run again.
	w.change(b.ID, store.RequestCancel{At: at})
	again, err := w.admin.Rerun(t.Context(), ref(b), api.RerunRequest{}, "")
	require.NoError(t, err)
	require.Equal(t, "fork", again.Cause.Trust)

	own := strings.ReplaceAll(body(t, "github-pull"), commit, alien)
	require.Equal(t, "evil", w.sends("pull_request", own).hooked(t).Builds[0].Pipeline)
}

func TestWebhookRefuses(t *testing.T) {
	w := hooked(t, webhook.GitHub)
	push := body(t, "github-push")
	require.Equal(t, http.StatusUnauthorized, w.sends("push", "not even JSON", "X-Hub-Signature-256", "").StatusCode, "before it is parsed")
	require.Equal(t, http.StatusUnauthorized, w.sends("push", push, "X-Hub-Signature-256", "sha256="+strings.Repeat("0", 64)).StatusCode)
	require.Equal(t, http.StatusBadRequest, w.sends("push", "not even JSON").StatusCode)
	require.Equal(t, http.StatusUnsupportedMediaType, w.sends("push", push, "Content-Type", "application/x-www-form-urlencoded").StatusCode)
	require.Equal(t, http.StatusNotFound, w.do("POST", "/v1/webhooks/other", push).StatusCode)
	w.sources.err = errors.New("away")
	delete(w.sources.heads, "refs/heads/main")
	require.Equal(t, http.StatusServiceUnavailable, w.sends("push", push).StatusCode, "the forge sends it again")
	w.sources.err = nil
	w.sources.heads["refs/heads/main"] = commit
	w.sources.faults = plan.Diagnostics{{File: "PIPER.star", Line: 1, Severity: "error", Code: "syntax", Message: "no"}}
	require.Contains(t, w.sends("push", push).hooked(t).Ignored, "at fault")
	w.server.Sources = nil
	require.Equal(t, http.StatusNotImplemented, w.sends("push", push).StatusCode)
}

// The largest that GitHub sends is taken, and nothing larger.
func TestWebhookOfItsLargestSize(t *testing.T) {
	w := hooked(t, webhook.GitHub)
	push := body(t, "github-push")
	large := push + strings.Repeat(" ", 25<<20-len(push))
	require.Len(t, w.sends("push", large).hooked(t).Builds, 2)
	require.Equal(t, http.StatusRequestEntityTooLarge, w.sends("push", large+" ").StatusCode)
}

func TestWebhookOfAProgram(t *testing.T) {
	w := hooked(t, webhook.HMAC)
	const text = `{"night":1}`
	send := func(delivery string) api.Hooked {
		return w.do("POST", "/v1/webhooks/shop", text, "X-Piper-Event", "nightly", "X-Piper-Delivery", delivery,
			"X-Piper-Signature", webhook.Sign(hookSecret, delivery, "nightly", []byte(text))).hooked(t)
	}
	first := send("1")
	require.Equal(t, "nightly", first.Builds[0].Pipeline)
	require.Equal(t, first, send("1"))
	require.NotEqual(t, first.Builds, send("2").Builds)
	b, err := w.Build(t.Context(), first.Builds[0].ID)
	require.NoError(t, err)
	require.Equal(t, []string{text, commit, string(build.Queued)}, []string{b.Request.Event.Payload, b.Request.Commit, string(b.State)})
}
