package client_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
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

var at = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// filled is a store with a bit of everything.
func filled(t *testing.T) (s *store.Memory, id build.ID) {
	ctx := t.Context()
	s = store.NewMemory()
	_, err := s.PutProject(ctx, store.Project{Name: "shop", Repo: "/srv/shop", Created: at})
	require.NoError(t, err)
	require.NoError(t, s.Join(ctx, store.Agent{ID: "a", Name: "one", Slots: 2, Started: at, Facts: map[string]string{"os": "linux"}}))
	p := &plan.Plan{Format: plan.Format, Pipeline: "build", Nodes: []plan.Node{{Name: "unit", Step: &plan.Step{Script: "make test"}}}}
	require.NoError(t, s.PutBlob(ctx, p.Digest(), p.Canonical()))
	for range 3 {
		n, err := s.NextNumber(ctx)
		require.NoError(t, err)
		b, err := s.Enqueue(ctx, store.NewBuild(build.NewID(at), n, store.Request{Project: "shop", Pipeline: "build", Cause: store.Cause{Kind: "push"}}, at))
		require.NoError(t, err)
		id = b.ID
	}
	for _, c := range []store.Change{
		store.Claim{Agent: "a", Nonce: "n", Max: 3, At: at}, store.Planned{Agent: "a", Fence: 1, Commit: "c", Plan: p.Digest(), Total: 1},
	} {
		_, err := s.Change(ctx, id, c)
		require.NoError(t, err)
	}
	exit := 0
	require.NoError(t, s.AppendEvents(ctx, store.EventKey{Build: id, Fence: 1, Seq: 1}, []build.Event{
		{Seq: 1, Time: at, Kind: build.BuildStarted}, {Seq: 2, Time: at, Kind: build.AttemptStarted, Node: "unit", Attempt: 1},
		{Seq: 3, Time: at, Kind: build.AttemptEnded, Node: "unit", Attempt: 1, State: build.Success, Exit: &exit},
	}))
	require.NoError(t, s.AppendChunks(ctx, []store.Chunk{{Key: store.ChunkKey{Build: id, Fence: 1, Node: "unit", Attempt: 1}, Lines: 2, Data: []byte("ok\nfine\n"), Times: []store.Stamp{{At: at}}}}))
	_, err = s.Change(ctx, id, store.Complete{Agent: "a", Fence: 1, State: build.Success, At: at})
	require.NoError(t, err)
	return s, id
}

// In process and over a wire the same is answered, and it is what the store has.
func TestSameAnswers(t *testing.T) {
	s, id := filled(t)
	ctx := t.Context()
	h := (&api.Server{Store: s, Version: "1", Now: func() time.Time { return at }}).HandlerAs(store.Token{Name: "me", Role: store.Admin})
	server := httptest.NewServer(h)
	defer server.Close()
	near, far := client.InProcess(h), &client.Client{URL: server.URL + "/"}
	ref := string(id)
	for name, ask := range map[string]func(c *client.Client) (any, error){
		"version":  func(c *client.Client) (any, error) { return c.Version(ctx) },
		"projects": func(c *client.Client) (any, error) { return c.Projects(ctx) },
		"project":  func(c *client.Client) (any, error) { return c.Project(ctx, "shop") },
		"builds": func(c *client.Client) (any, error) {
			page, _, err := c.Builds(ctx, api.BuildFilter{}, "", 2)
			return page, err
		},
		"build":  func(c *client.Client) (any, error) { return c.Build(ctx, ref) },
		"plan":   func(c *client.Client) (any, error) { p, err := c.Plan(ctx, ref); return p.Digest(), err },
		"graph":  func(c *client.Client) (any, error) { return c.Graph(ctx, ref) },
		"events": func(c *client.Client) (any, error) { return c.Events(ctx, ref, 1, 0, 10) },
		"why":    func(c *client.Client) (any, error) { return c.Why(ctx, ref, "") },
		"log":    func(c *client.Client) (any, error) { return c.Log(ctx, ref, api.LogQuery{Step: "unit"}) },
		"raw": func(c *client.Client) (any, error) {
			body, err := c.RawLog(ctx, ref, api.LogQuery{Step: "unit"})
			if err != nil {
				return nil, err
			}
			defer body.Close()
			text, err := io.ReadAll(body)
			return string(text), err
		},
		"search": func(c *client.Client) (any, error) { return c.SearchLog(ctx, ref, api.SearchQuery{Text: "fine"}) },
		"follow": func(c *client.Client) (any, error) {
			var lines []api.Line
			for line, err := range c.Follow(ctx, ref, api.LogQuery{Step: "unit"}) {
				if err != nil {
					return nil, err
				}
				lines = append(lines, line)
			}
			return lines, nil
		},
		"agents": func(c *client.Client) (any, error) { return c.Agents(ctx) },
		"drain":  func(c *client.Client) (any, error) { return c.Drain(ctx, "a") },
		"resume": func(c *client.Client) (any, error) { return c.Resume(ctx, "a") },
		"tokens": func(c *client.Client) (any, error) { return c.Tokens(ctx) },
		"cancel": func(c *client.Client) (any, error) { return c.Cancel(ctx, ref, api.CancelRequest{}) },
		"create": func(c *client.Client) (any, error) {
			return c.CreateBuild(ctx, api.BuildRequest{Project: "shop"}, "key")
		},
		"watch": func(c *client.Client) (any, error) {
			var kinds []string
			for m, err := range c.Watch(ctx, "", "build:"+ref) {
				if err != nil {
					return nil, err
				}
				if kinds = append(kinds, m.Kind); m.Kind == api.MessageBuild {
					break
				}
			}
			return kinds, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			here, err := ask(near)
			require.NoError(t, err)
			there, err := ask(far)
			require.NoError(t, err)
			require.Equal(t, here, there)
		})
	}
	b, err := near.Build(ctx, ref)
	require.NoError(t, err)
	kept, err := s.Build(ctx, id)
	require.NoError(t, err)
	require.Equal(t, []any{kept.ID, kept.Number, kept.State, kept.Commit, kept.Plan, kept.Rev}, []any{b.ID, b.Number, b.State, b.Commit, b.PlanDigest, b.Rev})
	page, next, err := far.Builds(ctx, api.BuildFilter{}, "", 3)
	require.NoError(t, err)
	require.Len(t, page, 3)
	page, _, err = far.Builds(ctx, api.BuildFilter{}, next, 3)
	require.NoError(t, err)
	require.Len(t, page, 1)
}

func TestErrors(t *testing.T) {
	s, _ := filled(t)
	c := client.InProcess((&api.Server{Store: s}).Handler())
	_, err := c.Build(t.Context(), "1")
	var p *api.Problem
	require.ErrorAs(t, err, &p)
	require.Equal(t, []any{http.StatusUnauthorized, "no-token"}, []any{p.Status, p.Code()})
	for _, err := range c.Watch(t.Context(), "", "builds") {
		require.ErrorAs(t, err, &p)
	}

	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	_, err = (&client.Client{URL: other.URL}).Version(t.Context())
	require.ErrorContains(t, err, "it is no piper")
	_, err = (&client.Client{URL: strings.Replace(other.URL, "http", "https", 1)}).Version(t.Context())
	require.ErrorContains(t, err, "it does not speak TLS: is http:// meant?")
	other.Close()
	_, err = (&client.Client{URL: other.URL}).Version(t.Context())
	require.ErrorContains(t, err, "refused")
	require.NotErrorAs(t, err, &p)
	for _, err := range (&client.Client{URL: other.URL}).Watch(t.Context(), "", "builds") {
		require.ErrorContains(t, err, "refused", "what never was there is not waited for")
	}
	_, err = (&client.Client{URL: "::"}).Version(t.Context())
	require.Error(t, err)

	junk := client.InProcess(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "junk") }))
	_, err = junk.Version(t.Context())
	require.ErrorContains(t, err, "read the answer")
	_, err = junk.PutPatch(t.Context(), strings.NewReader("x"))
	require.ErrorContains(t, err, "read the answer")
	_, err = junk.Plan(t.Context(), "1")
	require.Error(t, err)
}

// Uncommitted changes are those that were asked for, or none.
func TestPatchIsWhole(t *testing.T) {
	const digest = "sha256:ef875a1705a5fdac206be996f4dc1f726ea6b68861eb741c37def7277f179e37"
	for sent, wrong := range map[string]bool{"junk": false, "jun": true, "Junk": true, "": true} {
		c := client.InProcess(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, sent) }))
		patch, err := c.Patch(t.Context(), "7", digest)
		if wrong {
			require.ErrorContains(t, err, "the uncommitted changes of build 7 came as sha256:")
			require.ErrorContains(t, err, "and are "+digest)
			require.Nil(t, patch)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, sent, string(patch))
	}
}

// A handler in this process is left when nobody reads, and what it breaks off is
// seen to be broken off.
func TestInProcess(t *testing.T) {
	left := make(chan struct{})
	endless := client.InProcess(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer close(left)
		for r.Context().Err() == nil {
			if _, err := io.WriteString(w, "more\n"); err != nil {
				return
			}
		}
	}))
	body, err := endless.RawLog(t.Context(), "1", api.LogQuery{})
	require.NoError(t, err)
	_, err = io.ReadFull(body, make([]byte, 100))
	require.NoError(t, err)
	require.NoError(t, body.Close())
	<-left

	aborted := client.InProcess(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "half")
		panic(http.ErrAbortHandler)
	}))
	body, err = aborted.RawLog(t.Context(), "1", api.LogQuery{})
	require.NoError(t, err)
	text, err := io.ReadAll(body)
	require.Equal(t, "half", string(text))
	require.ErrorContains(t, err, "broke off")

	ctx, cancel := context.WithCancel(t.Context())
	silent := client.InProcess(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { cancel(); <-r.Context().Done() }))
	_, err = silent.Version(ctx)
	require.True(t, errors.Is(err, context.Canceled))
}

// Whoever streams is told when the connection broke, and when it is there again.
func TestRetrying(t *testing.T) {
	calls := 0
	c := client.InProcess(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if calls++; calls == 2 {
			http.Error(w, "a gateway", http.StatusBadGateway)
			return
		}
		io.WriteString(w, ": hello\n\nid: "+r.Header.Get("Last-Event-ID")+"x\nevent: build\ndata: 1\n\ndata: half")
	}))
	var told []bool
	ctx := client.WithRetrying(t.Context(), func(err error) { told = append(told, err == nil) })
	var ids []string
	for m, err := range c.Watch(ctx, "", "builds") {
		require.NoError(t, err)
		if ids = append(ids, m.ID); len(ids) == 2 {
			break
		}
	}
	require.Equal(t, []string{"x", "xx"}, ids)
	require.Equal(t, []bool{false, false, true}, told)
}

// Who follows one step after the other does so over one connection.
func TestAConnectionIsUsedAgain(t *testing.T) {
	s, id := filled(t)
	var made atomic.Int64
	server := httptest.NewUnstartedServer((&api.Server{Store: s}).HandlerAs(store.Token{Name: "t", Role: store.Admin}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			made.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	c := &client.Client{URL: server.URL, HTTP: server.Client()}
	for range 10 {
		lines := 0
		for _, err := range c.Follow(t.Context(), string(id), api.LogQuery{Step: "unit"}) {
			require.NoError(t, err)
			lines++
		}
		require.Equal(t, 2, lines)
	}
	require.EqualValues(t, 1, made.Load())
}

// away is a store that is there again after it was asked twice.
type away struct {
	store.Store
	asked int
}

func (s *away) Build(ctx context.Context, id build.ID) (store.Build, error) {
	if s.asked++; s.asked <= 2 {
		return store.Build{}, store.ErrInDoubt
	}
	return s.Store.Build(ctx, id)
}

// Whoever begins to watch while the store is away waits for it, too.
func TestInsist(t *testing.T) {
	filled, id := filled(t)
	s := &away{Store: filled}
	c := client.InProcess((&api.Server{Store: s}).HandlerAs(store.Token{Name: "t", Role: store.Admin}))
	_, err := c.Build(t.Context(), string(id))
	require.True(t, client.Away(err), err)
	var told []bool
	ctx := client.WithRetrying(t.Context(), func(err error) { told = append(told, err == nil) })
	var lines []string
	s.asked = 0
	for line, err := range c.Follow(ctx, string(id), api.LogQuery{Step: "unit"}) {
		require.NoError(t, err)
		lines = append(lines, line.Text)
	}
	require.Equal(t, []string{"ok", "fine"}, lines)
	require.Equal(t, []bool{false, false, true}, told)

	s.asked = 0
	b, err := client.Insist(ctx, func() (api.Build, error) { return c.Build(ctx, string(id)) })
	require.NoError(t, err)
	require.Equal(t, id, b.ID)
	require.Equal(t, []bool{false, false, true, false, false, true}, told)
	_, err = client.Insist(ctx, func() (api.Build, error) { return c.Build(ctx, "77") })
	require.False(t, client.Away(err))
	require.ErrorContains(t, err, "77", "an answer is one")
}
