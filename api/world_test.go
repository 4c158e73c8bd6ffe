package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/api/apitest"
	"github.com/piper-build/piper/api/client"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

// at is a time like any other.
var at = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const (
	commit = "1111111111111111111111111111111111111111"
	older  = "2222222222222222222222222222222222222222"
	alien  = "3333333333333333333333333333333333333333"
)

// A world is a server over a store in memory, with a token for each role. What
// is asked and answered is held against openapi.yaml.
type world struct {
	t *testing.T
	*store.Memory
	server  *api.Server
	sources *sources
	handler http.Handler
	tokens  map[store.Role]string
	admin   *client.Client
}

func newWorld(t *testing.T, change ...func(*api.Server)) *world {
	w := &world{t: t, Memory: store.NewMemory(), sources: newSources(), tokens: map[store.Role]string{}}
	w.server = &api.Server{Store: w.Memory, Sources: w.sources, Version: "1.2.3", Now: func() time.Time { return at }}
	for _, c := range change {
		c(w.server)
	}
	w.handler = w.server.Handler()
	for _, role := range []store.Role{store.Read, store.Trigger, store.Admin} {
		w.tokens[role] = w.token(store.Token{Name: string(role), Role: role})
	}
	w.project("shop")
	w.admin = w.as(w.tokens[store.Admin])
	return w
}

// token makes a token.
func (w *world) token(t store.Token) string {
	w.t.Helper()
	secret, kept := api.NewToken(t)
	require.NoError(w.t, w.server.Store.AddToken(w.t.Context(), kept))
	return secret
}

func (w *world) project(name string) {
	w.t.Helper()
	_, err := w.PutProject(w.t.Context(), store.Project{Name: name, Repo: "https://git.example/" + name, Created: at})
	require.NoError(w.t, err)
}

// as is a client with a token.
func (w *world) as(token string) *client.Client {
	c := client.InProcess(w.handler)
	c.Token = token
	c.HTTP = &http.Client{Transport: &checked{w.t, c.HTTP.Transport}}
	return c
}

// An answered is what came back to a request.
type answered struct {
	*http.Response
	text string
}

// problem is the body, which must be one.
func (a answered) problem(t *testing.T) api.Problem {
	t.Helper()
	var p api.Problem
	require.NoError(t, json.Unmarshal([]byte(a.text), &p), a.text)
	require.Equal(t, a.StatusCode, p.Status)
	require.Equal(t, "application/problem+json", a.Header.Get("Content-Type"))
	return p
}

// do sends a request as the admin, with pairs of headers over the usual ones.
func (w *world) do(method, path, body string, header ...string) answered {
	w.t.Helper()
	r, err := http.NewRequestWithContext(w.t.Context(), method, "http://localhost"+path, strings.NewReader(body))
	require.NoError(w.t, err)
	r.Header.Set("Authorization", "Bearer "+w.tokens[store.Admin])
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		} else if r.Header.Del(header[i]); header[i+1] != "" {
			r.Header[http.CanonicalHeaderKey(header[i])] = strings.Split(header[i+1], "\n")
		}
	}
	return w.send(r)
}

// open sends a request as the admin whose answer is a stream.
func (w *world) open(ctx context.Context, path string) *http.Response {
	w.t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost"+path, nil)
	require.NoError(w.t, err)
	r.Header.Set("Authorization", "Bearer "+w.tokens[store.Admin])
	res, err := w.admin.HTTP.Transport.RoundTrip(r)
	require.NoError(w.t, err)
	require.Equal(w.t, http.StatusOK, res.StatusCode)
	return res
}

func (w *world) send(r *http.Request) answered {
	w.t.Helper()
	res, err := w.admin.HTTP.Transport.RoundTrip(r)
	require.NoError(w.t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(w.t, err)
	return answered{res, string(text)}
}

// checked holds what goes through it against openapi.yaml.
type checked struct {
	t testing.TB
	http.RoundTripper
}

func (c *checked) RoundTrip(r *http.Request) (*http.Response, error) {
	var sent []byte
	if r.Body != nil {
		var err error
		if sent, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
		r.Body = io.NopCloser(bytes.NewReader(sent))
	}
	res, err := c.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	e := apitest.Exchange{Request: r, Sent: sent, Status: res.StatusCode, Header: res.Header}
	if strings.Contains(res.Header.Get("Content-Type"), "json") {
		text, err := io.ReadAll(res.Body)
		if err != nil {
			return nil, err
		}
		res.Body.Close()
		res.Body = io.NopCloser(bytes.NewReader(text))
		if r.Method != http.MethodHead {
			e.Body = text
		}
	}
	if err := apitest.Check(e); err != nil {
		c.t.Error(err)
	}
	return res, nil
}

// sources are a repository that is written down.
type sources struct {
	mu      sync.Mutex
	heads   map[string]string // by ref
	catalog map[string]plan.Catalog
	changed map[string][]string // by "base..commit"
	err     error               // of every question
	faults  plan.Diagnostics    // of every catalog
}

func newSources() *sources {
	shop := plan.Catalog{Project: plan.Project{Name: "shop"}, Environments: []plan.Environment{{Name: "staging", Kind: "host"}}, Pipelines: []plan.Pipeline{
		{Name: "build", On: []plan.On{{Kind: "push", Branches: []string{"main", "release/*"}}, {Kind: "change_request"}}},
		{Name: "release", Params: []plan.Param{{Name: "version", Type: "string", Required: true, Pattern: "^v"}, {Name: "count", Type: "int", Default: int64(1)}}, On: []plan.On{{Kind: "tag"}}},
		{Name: "docs", On: []plan.On{{Kind: "push", Paths: []string{"docs/**"}}}},
		{Name: "tagged", On: []plan.On{{Kind: "tag", Tags: []string{"v*"}}}},
		{Name: "nightly", On: []plan.On{{Kind: "webhook", Name: "nightly"}}},
	}}
	return &sources{
		heads:   map[string]string{"": commit, "main": commit, "refs/heads/main": commit, "refs/pull/7/head": alien, "refs/merge-requests/7/head": alien},
		catalog: map[string]plan.Catalog{commit: shop, older: shop},
		changed: map[string][]string{older + ".." + commit: {"docs/index.md", "main.go"}},
	}
}

func (s *sources) Resolve(_ context.Context, _ store.Project, ref string) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if head, ok := s.heads[ref]; ok || s.err != nil {
		return head, s.err
	}
	return "", fmt.Errorf("ref %s: %w", ref, store.ErrNotFound)
}

func (s *sources) Default(context.Context, store.Project) (string, error) { return "main", nil }

func (s *sources) Catalog(_ context.Context, _ store.Project, commit string) (plan.Catalog, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.faults != nil {
		return plan.Catalog{}, s.faults
	}
	if c, ok := s.catalog[commit]; ok || s.err != nil {
		return c, s.err
	}
	return plan.Catalog{}, fmt.Errorf("commit %s: %w", commit, store.ErrNotFound)
}

func (s *sources) Changed(_ context.Context, _ store.Project, base, commit string) ([]string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	files, ok := s.changed[base+".."+commit]
	if !ok {
		return nil, fmt.Errorf("base %s: %w", base, store.ErrNotFound)
	}
	return files, nil
}

// example is a plan with all kinds of nodes.
func example() *plan.Plan {
	out := plan.Text{Parts: []plan.Part{{Output: &plan.Output{Step: "version", Key: "v"}}}}
	return &plan.Plan{Format: plan.Format, Project: plan.Project{Name: "shop"}, Pipeline: "build", Params: map[string]any{"count": int64(2)}, Nodes: []plan.Node{
		{Name: "version", Step: &plan.Step{Script: "git describe"}},
		{Name: "compile", Needs: []string{"version"}, Step: &plan.Step{Argv: []plan.Text{plan.Lit("make"), out}}},
		{Name: "unit", Needs: []string{"compile"}, Step: &plan.Step{Script: "make test"}},
		{Name: "ask", Needs: []string{"unit"}, More: &plan.More{Approve: &plan.Approve{Prompt: "ship it?"}}},
		{Name: "ship", Needs: []string{"ask"}, More: &plan.More{Trigger: &plan.Trigger{Pipeline: "deploy"}}},
	}}
}

// agent is the one that runs builds here.
const agent store.AgentID = "agent-1"

// started makes a build that agent has and has planned.
func (w *world) started(p *plan.Plan, change ...func(*store.Request)) store.Build {
	w.t.Helper()
	ctx := w.t.Context()
	r := store.Request{Project: "shop", Pipeline: "build", Ref: "main", Cause: store.Cause{Kind: "manual", By: "ann"}}
	for _, c := range change {
		c(&r)
	}
	n, err := w.NextNumber(ctx)
	require.NoError(w.t, err)
	b, err := w.Enqueue(ctx, store.NewBuild(build.NewID(at), n, r, at))
	require.NoError(w.t, err)
	w.change(b.ID, store.Claim{Agent: agent, Nonce: "n", Max: 3, At: at})
	require.NoError(w.t, w.PutBlob(ctx, p.Digest(), p.Canonical()))
	return w.change(b.ID, store.Planned{Agent: agent, Fence: 1, Commit: commit, Plan: p.Digest(), Total: len(p.Nodes)})
}

func (w *world) change(id build.ID, c store.Change) store.Build {
	w.t.Helper()
	b, err := w.Memory.Change(w.t.Context(), id, c)
	require.NoError(w.t, err)
	return b
}

// happens appends events to what happened in a build, from seq on.
func (w *world) happens(id build.ID, fence, seq int64, events ...build.Event) {
	w.t.Helper()
	for i := range events {
		events[i].Seq, events[i].Time = seq+int64(i), at.Add(time.Duration(seq+int64(i))*time.Second)
	}
	require.NoError(w.t, w.AppendEvents(w.t.Context(), store.EventKey{Build: id, Fence: fence, Seq: seq}, events))
}

func begins(node string) build.Event {
	return build.Event{Kind: build.AttemptStarted, Node: node, Attempt: 1}
}

func ends(node string, state build.State, outputs map[string]string) build.Event {
	exit := 0
	if state != build.Success {
		exit = 1
	}
	return build.Event{Kind: build.AttemptEnded, Node: node, Attempt: 1, State: state, Exit: &exit, Outputs: outputs}
}

var begun = build.Event{Kind: build.BuildStarted}

// wrote keeps what an attempt of a step wrote, as chunks.
func (w *world) wrote(id build.ID, node string, chunks ...string) {
	w.t.Helper()
	line, offset := int64(0), int64(0)
	for i, data := range chunks {
		c := store.Chunk{Key: store.ChunkKey{Build: id, Fence: 1, Node: node, Attempt: 1, Seq: int64(i)}, Line: line, Offset: offset,
			Lines: int64(strings.Count(data, "\n")), Times: []store.Stamp{{At: at}}, Data: []byte(data)}
		require.NoError(w.t, w.AppendChunks(w.t.Context(), []store.Chunk{c}))
		line, offset = line+c.Lines, offset+int64(len(data))
	}
}

func ref(b store.Build) string { return string(b.ID) }
