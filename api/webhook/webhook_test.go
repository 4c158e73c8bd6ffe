package webhook_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/api/webhook"
	"github.com/piper-build/piper/runtime/plan"
)

const (
	head = "1111111111111111111111111111111111111111"
	base = "2222222222222222222222222222222222222222"
	zero = "0000000000000000000000000000000000000000"
)

var secret = []byte("a secret that is long enough")

func sum(body string) string {
	mac := hmac.New(sha256.New, secret)
	mac.Write([]byte(body))
	return hex.EncodeToString(mac.Sum(nil))
}

func header(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Add(pairs[i], pairs[i+1])
	}
	return h
}

func TestVerify(t *testing.T) {
	const body = `{"a": 1}`
	good := "sha256=" + sum(body)
	for name, test := range map[string]struct {
		kind   string
		header http.Header
		body   string
		good   bool
	}{
		"github":                {webhook.GitHub, header("X-Hub-Signature-256", good), body, true},
		"gitea":                 {webhook.Gitea, header("X-Gitea-Signature", sum(body)), body, true},
		"gitlab":                {webhook.GitLab, header("X-Gitlab-Token", string(secret)), body, true},
		"hmac":                  {webhook.HMAC, header("X-Piper-Delivery", "1", "X-Piper-Event", "e", "X-Piper-Signature", webhook.Sign(secret, "1", "e", []byte(body))), body, true},
		"hmac, other delivery":  {webhook.HMAC, header("X-Piper-Delivery", "2", "X-Piper-Event", "e", "X-Piper-Signature", webhook.Sign(secret, "1", "e", []byte(body))), body, false},
		"hmac, other event":     {webhook.HMAC, header("X-Piper-Delivery", "1", "X-Piper-Event", "f", "X-Piper-Signature", webhook.Sign(secret, "1", "e", []byte(body))), body, false},
		"missing":               {webhook.GitHub, header(), body, false},
		"wrong":                 {webhook.GitHub, header("X-Hub-Signature-256", "sha256="+sum("x")), body, false},
		"truncated":             {webhook.GitHub, header("X-Hub-Signature-256", good[:70]), body, false},
		"sha1 only":             {webhook.GitHub, header("X-Hub-Signature", "sha1="+sum(body)[:40]), body, false},
		"upper case":            {webhook.GitHub, header("X-Hub-Signature-256", "sha256="+strings.ToUpper(sum(body))), body, false},
		"two":                   {webhook.GitHub, header("X-Hub-Signature-256", good, "X-Hub-Signature-256", good), body, false},
		"no prefix":             {webhook.GitHub, header("X-Hub-Signature-256", sum(body)), body, false},
		"one byte":              {webhook.GitHub, header("X-Hub-Signature-256", good), `{"a": 2}`, false},
		"written anew":          {webhook.GitHub, header("X-Hub-Signature-256", good), `{"a":1}`, false},
		"gitlab, wrong":         {webhook.GitLab, header("X-Gitlab-Token", "a secret"), body, false},
		"gitlab, none":          {webhook.GitLab, header(), body, false},
		"of another forge":      {webhook.Gitea, header("X-Hub-Signature-256", good), body, false},
		"a kind nobody has had": {"sourcehut", header("X-Hub-Signature-256", good), body, false},
	} {
		t.Run(name, func(t *testing.T) {
			err := webhook.Verify(test.kind, secret, test.header, []byte(test.body))
			if test.good {
				require.NoError(t, err)
				return
			}
			require.ErrorIs(t, err, webhook.ErrSignature)
		})
	}
	require.ErrorIs(t, webhook.Verify(webhook.GitLab, nil, header("X-Gitlab-Token", ""), nil), webhook.ErrSignature, "no secret lets nobody in")
}

func payload(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	require.NoError(t, err)
	return text
}

func TestParse(t *testing.T) {
	when := time.Date(2026, 3, 1, 10, 30, 0, 0, time.UTC)
	push := webhook.Delivery{Ref: "refs/heads/main", Base: base,
		Event: plan.Event{Kind: "push", Branch: "main", Commit: head, Base: base, Title: "Mend the cart", Author: "ann", Time: when}}
	created := push
	created.Base, created.Event.Base, created.Ref, created.Event.Branch = "", "", "refs/heads/topic/new", "topic/new"
	tag := webhook.Delivery{Ref: "refs/tags/v1.2", Event: plan.Event{Kind: "tag", Tag: "v1.2", Commit: head, Title: "Mend the cart", Author: "ann", Time: when}}
	request := webhook.Delivery{Ref: "refs/pull/7/head", Base: base,
		Event: plan.Event{Kind: "change_request", Branch: "topic", Base: "main", Number: 7, Commit: head, Title: "Faster carts", Author: "bea", Time: when}}
	fork, mine := request, request
	fork.Fork = true
	merge := request
	merge.Ref, merge.Base = "refs/merge-requests/7/head", ""
	alien := merge
	alien.Fork = true
	quietTag := tag
	quietTag.Event.Title, quietTag.Event.Time = "", time.Time{}
	for name, test := range map[string]struct {
		kind, event string
		want        webhook.Delivery
	}{
		"github-push":        {webhook.GitHub, "push", push},
		"github-push-new":    {webhook.GitHub, "push", created},
		"github-tag":         {webhook.GitHub, "push", tag},
		"github-delete":      {webhook.GitHub, "push", webhook.Delivery{Ignored: "refs/heads/main was deleted"}},
		"github-pull":        {webhook.GitHub, "pull_request", mine},
		"github-pull-fork":   {webhook.GitHub, "pull_request", fork},
		"github-pull-gone":   {webhook.GitHub, "pull_request", fork},
		"github-pull-closed": {webhook.GitHub, "pull_request", webhook.Delivery{Ignored: "nothing starts when a change request is closed"}},
		"github-ping":        {webhook.GitHub, "ping", webhook.Delivery{Ignored: `nothing starts at "ping"`}},
		"gitea-push":         {webhook.Gitea, "push", push},
		"gitea-pull-fork":    {webhook.Gitea, "pull_request", fork},
		"gitlab-push":        {webhook.GitLab, "Push Hook", push},
		"gitlab-tag":         {webhook.GitLab, "Tag Push Hook", quietTag},
		"gitlab-delete":      {webhook.GitLab, "Push Hook", webhook.Delivery{Ignored: "refs/heads/main was deleted"}},
		"gitlab-merge":       {webhook.GitLab, "Merge Request Hook", merge},
		"gitlab-merge-fork":  {webhook.GitLab, "Merge Request Hook", alien},
		"gitlab-merge-title": {webhook.GitLab, "Merge Request Hook", webhook.Delivery{Ignored: "the change request has no new commits"}},
	} {
		t.Run(name, func(t *testing.T) {
			h := header("X-GitHub-Event", test.event, "X-Gitea-Event", test.event, "X-Gitlab-Event", test.event)
			body := payload(t, name)
			got, err := webhook.Parse(test.kind, h, body)
			require.NoError(t, err)
			require.Regexp(t, "^[0-9a-f]{64}$", got.ID)
			h.Set("X-GitHub-Delivery", "another")
			again, err := webhook.Parse(test.kind, h, body)
			require.NoError(t, err)
			require.Equal(t, got, again, "what is not signed does not count")
			got.ID = ""
			require.Equal(t, test.want, got)
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for name, test := range map[string]struct{ kind, event, body string }{
		"not JSON":       {webhook.GitHub, "push", `x`},
		"no event":       {webhook.GitHub, "", `{}`},
		"no event there": {webhook.GitLab, "", `{}`},
		"no commit":      {webhook.GitHub, "push", `{"ref":"refs/heads/main","after":"--upload-pack=x"}`},
		"no base":        {webhook.GitHub, "push", `{"ref":"refs/heads/main","after":"` + head + `","before":"$(id)"}`},
		"no ref":         {webhook.GitHub, "push", `{"ref":"main","after":"` + head + `"}`},
		"no branch":      {webhook.GitHub, "push", `{"ref":"refs/heads/","after":"` + head + `"}`},
		"no request":     {webhook.GitHub, "pull_request", `{"action":"opened"}`},
		"no ids":         {webhook.GitHub, "pull_request", `{"action":"opened","pull_request":{"number":7,"base":{"repo":{}},"head":{"sha":"` + head + `"}}}`},
		"no merge":       {webhook.GitLab, "Merge Request Hook", `{"object_attributes":{"action":"open","iid":7}}`},
		"no last commit": {webhook.GitLab, "Merge Request Hook", `{"object_attributes":{"action":"open","iid":7,"source_project_id":1,"target_project_id":1}}`},
		"a kind":         {"sourcehut", "push", `{}`},
		"hmac, no name":  {webhook.HMAC, "", `{}`},
		"hmac, no JSON":  {webhook.HMAC, "nightly", `x`},
		"hmac, large":    {webhook.HMAC, "nightly", `"` + strings.Repeat("x", webhook.MaxPayload) + `"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := webhook.Parse(test.kind, header("X-GitHub-Event", test.event, "X-Gitlab-Event", test.event, "X-Piper-Event", test.event), []byte(test.body))
			require.ErrorIs(t, err, webhook.ErrPayload)
		})
	}
}

func TestParseOfAProgram(t *testing.T) {
	body := `{"night": true}`
	got, err := webhook.Parse(webhook.HMAC, header("X-Piper-Event", "nightly", "X-Piper-Delivery", "d-1"), []byte(body))
	require.NoError(t, err)
	require.Equal(t, webhook.Delivery{ID: "d-1", Hook: "nightly", Event: plan.Event{Kind: "webhook", Payload: body}}, got)
	got, err = webhook.Parse(webhook.HMAC, header("X-Piper-Event", "nightly"), []byte(body))
	require.NoError(t, err)
	require.Len(t, got.ID, 64)
}

func TestMatch(t *testing.T) {
	c := plan.Catalog{Pipelines: []plan.Pipeline{
		{Name: "any", On: []plan.On{{Kind: "push"}}},
		{Name: "main", On: []plan.On{{Kind: "push", Branches: []string{"main", "release/**"}}}},
		{Name: "docs", On: []plan.On{{Kind: "push", Paths: []string{"docs/**"}}}},
		{Name: "both", On: []plan.On{{Kind: "push", Branches: []string{"nope"}}, {Kind: "push", Branches: []string{"main"}, Paths: []string{"*.go"}}}},
		{Name: "tags", On: []plan.On{{Kind: "tag"}}},
		{Name: "versions", On: []plan.On{{Kind: "tag", Tags: []string{"v*"}}}},
		{Name: "requests", On: []plan.On{{Kind: "change_request", Branches: []string{"main"}}}},
		{Name: "hook", On: []plan.On{{Kind: "webhook", Name: "nightly"}}},
		{Name: "others", On: []plan.On{{Kind: "cron"}, {Kind: "manual"}, {Kind: "after"}}},
	}}
	push := func(branch string) webhook.Delivery {
		return webhook.Delivery{Event: plan.Event{Kind: "push", Branch: branch}}
	}
	for name, test := range map[string]struct {
		d     webhook.Delivery
		files []string
		want  []string
	}{
		"main, code":      {push("main"), []string{"a.go"}, []string{"any", "main", "both"}},
		"main, docs":      {push("main"), []string{"docs/a/b.md"}, []string{"any", "main", "docs"}},
		"main, unknown":   {push("main"), nil, []string{"any", "main", "docs", "both"}},
		"main, nothing":   {push("main"), []string{}, []string{"any", "main"}},
		"a release":       {push("release/1/2"), []string{"x"}, []string{"any", "main"}},
		"a tag":           {webhook.Delivery{Event: plan.Event{Kind: "tag", Tag: "rc1"}}, nil, []string{"tags"}},
		"a version":       {webhook.Delivery{Event: plan.Event{Kind: "tag", Tag: "v1"}}, nil, []string{"tags", "versions"}},
		"a request":       {webhook.Delivery{Event: plan.Event{Kind: "change_request", Branch: "x", Base: "main"}}, nil, []string{"requests"}},
		"another request": {webhook.Delivery{Event: plan.Event{Kind: "change_request", Branch: "main", Base: "x"}}, nil, nil},
		"a hook":          {webhook.Delivery{Hook: "nightly", Event: plan.Event{Kind: "webhook"}}, nil, []string{"hook"}},
		"another hook":    {webhook.Delivery{Hook: "daily", Event: plan.Event{Kind: "webhook"}}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			got, err := webhook.Match(c, test.d, func() ([]string, error) { asked++; return test.files, nil })
			require.NoError(t, err)
			require.Equal(t, test.want, got)
			require.LessOrEqual(t, asked, 1)
			require.Equal(t, test.d.Event.Kind == "push", asked == 1)
		})
	}
	_, err := webhook.Match(c, push("main"), func() ([]string, error) { return nil, errors.New("away") })
	require.ErrorContains(t, err, "away")
}

// Whatever comes, it is refused or makes sense.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*.json")
	require.NoError(f, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for kind, events := range map[string][]string{webhook.GitHub: {"push", "pull_request"}, webhook.GitLab: {"Push Hook", "Merge Request Hook"}} {
			for _, event := range events {
				d, err := webhook.Parse(kind, header("X-GitHub-Event", event, "X-Gitlab-Event", event), body)
				if err != nil {
					require.ErrorIs(t, err, webhook.ErrPayload)
				} else if d.Ignored == "" {
					require.Regexp(t, "^([0-9a-f]{40}|[0-9a-f]{64})$", d.Event.Commit)
					require.True(t, strings.HasPrefix(d.Ref, "refs/"))
				}
			}
		}
	})
}
