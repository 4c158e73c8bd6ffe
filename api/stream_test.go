package api_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/api/client"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

// watching reads messages of a stream as they come.
type watching struct {
	t        *testing.T
	messages chan api.Message
}

func (w *world) watch(c *client.Client, after string, topics ...string) *watching {
	w.t.Helper()
	ctx, stop := context.WithCancel(w.t.Context())
	got := &watching{w.t, make(chan api.Message, 10_000)}
	var done sync.WaitGroup
	done.Go(func() {
		defer close(got.messages)
		for m, err := range c.Watch(ctx, after, topics...) {
			if err != nil {
				w.t.Error(err)
				return
			}
			got.messages <- m
		}
	})
	w.t.Cleanup(func() { stop(); done.Wait() })
	return got
}

// next is the next message, which is of that kind.
func (w *watching) next(kind string, data any) api.Message {
	w.t.Helper()
	select {
	case m, ok := <-w.messages:
		require.True(w.t, ok, "the stream has ended")
		require.Equal(w.t, kind, m.Kind, string(m.Data))
		require.NoError(w.t, json.Unmarshal(m.Data, data))
		return m
	case <-time.After(30 * time.Second):
		require.FailNow(w.t, "nothing came")
		return api.Message{}
	}
}

// listening waits until so many streams are there.
func (w *world) listening(n int) {
	w.t.Helper()
	require.Eventually(w.t, func() bool {
		return strings.Contains(w.do("GET", "/metrics", "").text, fmt.Sprintf("piper_streams %d\n", n))
	}, 30*time.Second, time.Millisecond)
}

func TestStreamOfABuild(t *testing.T) {
	w := newWorld(t)
	b := w.started(example())
	w.happens(b.ID, 1, 1, begun, begins("version"))
	s := w.watch(w.admin, "", "build:"+fmt.Sprint(b.Number))
	var ev api.BuildEvent
	s.next(api.MessageEvent, &ev)
	require.Equal(t, build.BuildStarted, ev.Kind)
	s.next(api.MessageEvent, &ev)
	require.Equal(t, []any{b.ID, int64(1), int64(2), "version"}, []any{ev.Build, ev.Fence, ev.Seq, ev.Node})
	var got api.Build
	s.next(api.MessageBuild, &got)
	require.Equal(t, build.Running, got.State)
	require.Empty(t, got.Steps)

	w.happens(b.ID, 1, 3, ends("version", build.Failed, nil))
	s.next(api.MessageEvent, &ev)
	require.Equal(t, int64(3), ev.Seq)
	w.change(b.ID, store.Complete{Agent: agent, Fence: 1, State: build.Failed, At: at})
	s.next(api.MessageBuild, &got)
	require.Equal(t, build.Failed, got.State)
}

// What an agent lost is told to its end, and then what runs again.
// A build that ends while the store fails is told of once that has passed.
func TestStreamTellsWhatItCouldNot(t *testing.T) {
	s := &agentless{}
	failed := make(chan string, 10_000)
	w := newWorld(t, func(server *api.Server) {
		s.Store, server.Store = server.Store, s
		server.Log = slog.New(slog.NewTextHandler(lines(failed), nil))
	})
	b := w.started(example())
	got := w.watch(w.admin, "", "build:"+string(b.ID))
	var now api.Build
	got.next(api.MessageBuild, &now)
	require.Equal(t, build.Running, now.State)
	s.away.Store(true)
	w.change(b.ID, store.Complete{Agent: agent, Fence: 1, State: build.Failed, At: at})
	for !strings.Contains(<-failed, "build is not followed") {
	}
	s.away.Store(false)
	got.next(api.MessageBuild, &now)
	require.Equal(t, build.Failed, now.State)
}

// An agentless is a store that at times does not know the agents.
type agentless struct {
	store.Store
	away atomic.Bool
}

func (s *agentless) Agents(ctx context.Context) ([]store.Agent, error) {
	if s.away.Load() {
		return nil, store.ErrInDoubt
	}
	return s.Store.Agents(ctx)
}

// lines are what is logged.
type lines chan string

func (l lines) Write(p []byte) (int, error) {
	l <- string(p)
	return len(p), nil
}

func TestStreamAcrossFences(t *testing.T) {
	w := newWorld(t)
	b := w.started(example())
	w.happens(b.ID, 1, 1, begun)
	s := w.watch(w.admin, "", "build:"+ref(b))
	var ev api.BuildEvent
	var got api.Build
	s.next(api.MessageEvent, &ev)
	s.next(api.MessageBuild, &got)
	// Nobody hints at these: they are found by looking.
	w.happens(b.ID, 1, 2, begins("version"))
	s.next(api.MessageEvent, &ev)
	w.change(b.ID, store.Rescue{Owner: agent, Fence: 1, Max: 3, At: at})
	s.next(api.MessageBuild, &got)
	require.Equal(t, build.Queued, got.State)
	w.change(b.ID, store.Claim{Agent: "other", Fence: 2, Nonce: "m", Max: 3, At: at})
	s.next(api.MessageBuild, &got)
	w.happens(b.ID, 3, 1, begun)
	s.next(api.MessageEvent, &ev)
	require.Equal(t, []int64{3, 1}, []int64{ev.Fence, ev.Seq})
}

func TestStreamOfEverything(t *testing.T) {
	w := newWorld(t)
	s := w.watch(w.admin, "", "builds", "agents", "projects")
	scoped := w.watch(w.as(w.token(store.Token{Name: "scoped", Role: store.Read, Projects: []string{"other"}})), "", "builds", "agents", "projects")
	w.listening(2)
	made, err := w.admin.CreateBuild(t.Context(), api.BuildRequest{Project: "shop"}, "")
	require.NoError(t, err)
	var b api.Build
	s.next(api.MessageBuild, &b)
	require.Equal(t, made, b)
	w.change(b.ID, store.RequestCancel{At: at})
	s.next(api.MessageBuild, &b)
	require.Equal(t, build.Cancelled, b.State)

	// Agents and projects are found by looking.
	require.NoError(t, w.Join(t.Context(), store.Agent{ID: agent, Name: "a", Slots: 2}))
	var a api.Agent
	s.next(api.MessageAgent, &a)
	require.Equal(t, 2, a.Free)
	scoped.next(api.MessageAgent, &a)
	w.project("other")
	var p api.Project
	s.next(api.MessageProject, &p)
	scoped.next(api.MessageProject, &p)
	require.Equal(t, "other", p.Name)
	require.NoError(t, w.Bury(t.Context(), agent))
	var gone api.Gone
	s.next(api.MessageGone, &gone)
	require.Equal(t, api.Gone{Agent: string(agent)}, gone)
	require.NoError(t, w.DeleteProject(t.Context(), "other"))
	gone = api.Gone{}
	s.next(api.MessageGone, &gone)
	require.Equal(t, api.Gone{Project: "other"}, gone)
}

// Whoever comes back goes on where he was, also when nobody looked meanwhile.
func TestStreamResumes(t *testing.T) {
	w := newWorld(t)
	one := w.started(example())
	w.happens(one.ID, 1, 1, begun)
	ctx, stop := context.WithCancel(t.Context())
	last, seen := "", 0
	for m, err := range w.admin.Watch(ctx, "", "builds", "build:"+ref(one)) {
		require.NoError(t, err)
		require.Equal(t, api.MessageEvent, m.Kind)
		last = m.ID
		seen++
		break
	}
	stop()
	w.listening(0)
	w.happens(one.ID, 1, 2, begins("version"))
	two := w.started(example())
	w.change(one.ID, store.RequestCancel{At: at})

	s := w.watch(w.admin, last, "builds", "build:"+ref(one))
	var b api.Build
	var ev api.BuildEvent
	builds := map[build.ID]bool{}
	for range 2 {
		s.next(api.MessageBuild, &b)
		builds[b.ID] = true
	}
	require.Equal(t, map[build.ID]bool{one.ID: true, two.ID: true}, builds)
	s.next(api.MessageEvent, &ev)
	require.Equal(t, int64(2), ev.Seq)
	three := w.started(example())
	for b.ID != three.ID {
		s.next(api.MessageBuild, &b)
	}

	// Another server does not know what this one told: it says so, and builds go
	// on where they were, as their events are numbered by themselves.
	other := (&api.Server{Store: w.Memory}).HandlerAs(store.Token{Role: store.Read})
	again := w.watch(client.InProcess(other), last, "builds", "build:"+ref(one))
	again.next(api.MessageReset, &struct{}{})
	again.next(api.MessageEvent, &ev)
	require.Equal(t, int64(2), ev.Seq)
}

// Whoever lists, or looks at a build, and follows after that is told of what came
// since, and of nothing that he was answered.
func TestStreamGoesOnAfterAnAnswer(t *testing.T) {
	w := newWorld(t)
	after := func(paths ...string) string {
		query := ""
		for _, path := range paths {
			a := w.do("GET", path, "")
			require.Equal(t, http.StatusOK, a.StatusCode, a.text)
			require.NotEmpty(t, a.Header.Get("X-Event-ID"), path)
			query += "&after=" + url.QueryEscape(a.Header.Get("X-Event-ID"))
		}
		return query
	}
	follow := func(topics, query string) *watching {
		events := make(chan api.Message, 1000)
		ctx, stop := context.WithCancel(t.Context())
		var done sync.WaitGroup
		res := w.open(ctx, "/v1/events?topics="+topics+query)
		done.Go(func() {
			defer close(events)
			var m api.Message
			for lines := bufio.NewScanner(res.Body); lines.Scan(); {
				field, text, _ := strings.Cut(lines.Text(), ": ")
				switch field {
				case "event":
					m.Kind = text
				case "data":
					m.Data = []byte(text)
					events <- m
				}
			}
		})
		t.Cleanup(func() { stop(); res.Body.Close(); done.Wait() })
		return &watching{t, events}
	}
	one := w.started(example())
	w.happens(one.ID, 1, 1, begun, begins("version"))
	early := after("/v1/builds") // nobody looks yet, so what comes next is not noted
	var b api.Build
	var ev api.BuildEvent
	follow("builds", early).next(api.MessageReset, &struct{}{})

	list, whole := after("/v1/builds"), after("/v1/builds/"+ref(one))
	w.happens(one.ID, 1, 3, ends("version", build.Success, nil))
	two := w.started(example())
	s := follow("builds,agents,projects", list)
	for b.ID != two.ID {
		s.next(api.MessageBuild, &b)
	}
	s = follow("build:"+ref(one), whole)
	s.next(api.MessageEvent, &ev)
	require.Equal(t, int64(3), ev.Seq)
	w.change(one.ID, store.RequestCancel{At: at})
	s.next(api.MessageBuild, &b)
	require.Equal(t, one.ID, b.ID)

	// Of several it is the earliest.
	s = follow("builds,build:"+ref(one), list+whole+after("/v1/builds/"+ref(one), "/v1/agents", "/v1/projects"))
	s.next(api.MessageBuild, &b)
	require.Equal(t, two.ID, b.ID)
	for ev.Seq = 0; ev.Seq == 0; {
		select {
		case m := <-s.messages:
			if m.Kind == api.MessageEvent {
				require.NoError(t, json.Unmarshal(m.Data, &ev))
			}
		case <-time.After(30 * time.Second):
			require.FailNow(t, "the event did not come")
		}
	}
	require.Equal(t, int64(3), ev.Seq)
	require.Equal(t, http.StatusBadRequest, w.do("GET", "/v1/events?topics=builds&after=x", "").StatusCode)
}

// Of a long queue a look sees the head, and some of what lies behind it; changes
// that nobody hints at are found all the same.
func TestStreamOfALongQueue(t *testing.T) {
	deaf := &unhinted{Store: store.NewMemory()}
	w := newWorld(t, func(s *api.Server) { deaf.Store = s.Store; s.Store = deaf })
	var queue []store.Build
	for range 260 { // no more than a look sees, of the newest and the head and what lies between
		n, err := w.NextNumber(t.Context())
		require.NoError(t, err)
		b, err := w.Enqueue(t.Context(), store.NewBuild(build.NewID(at), n, store.Request{Project: "shop", Pipeline: "build"}, at))
		require.NoError(t, err)
		queue = append(queue, b)
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	defer w.open(ctx, "/v1/events?topics=builds").Body.Close() // once it is open, everything was looked at
	s := w.watch(w.admin, "", "builds")
	w.listening(2)
	deaf.most.Store(0)
	between := queue[len(queue)/2]
	w.change(between.ID, store.RequestCancel{At: at})
	var b api.Build
	s.next(api.MessageBuild, &b)
	require.Equal(t, []any{between.ID, build.Cancelled}, []any{b.ID, b.State})
	require.LessOrEqual(t, deaf.most.Load(), int64(100), "no look reads all of the queue")
}

// unhinted is a store that hints at nothing, and remembers how much of the queue
// was read at most.
type unhinted struct {
	store.Store
	most atomic.Int64
}

func (u *unhinted) Watch(context.Context, store.Watched) (<-chan store.Hint, error) { return nil, nil }

func (u *unhinted) Queue(ctx context.Context, choice store.AgentID, limit int) ([]store.Build, error) {
	list, err := u.Store.Queue(ctx, choice, limit)
	u.most.Store(max(u.most.Load(), int64(len(list))))
	return list, err
}

func TestStreamRefuses(t *testing.T) {
	w := newWorld(t)
	b := w.started(example())
	for query, status := range map[string]int{"": 400, "?topics=": 400, "?topics=build": 400, "?topics=builds,log": 400, "?topics=build:999": 404, "?topics=" + strings.Repeat("builds,", 33): 400} {
		require.Equal(t, status, w.do("GET", "/v1/events"+query, "").StatusCode, query)
	}
	id := "AAAAAAAA.1," + ref(b) + "=1.2.3"
	for _, forged := range []string{"x", "1", ".1", "A.x", id + ",", strings.Replace(id, "=1", "=-1", 1), strings.Replace(id, ".3", "", 1), strings.Replace(id, "=1", "=01", 1), strings.Repeat("A", 9000)} {
		require.Equal(t, http.StatusBadRequest, w.do("GET", "/v1/events?topics=builds", "", "Last-Event-ID", forged).StatusCode, forged)
	}
	a := w.do("HEAD", "/v1/events?topics=builds", "")
	require.Equal(t, "text/event-stream", a.Header.Get("Content-Type"))
}

// A stream ends soon after its token was revoked.
func TestStreamEndsWithItsToken(t *testing.T) {
	w := newWorld(t)
	c := w.as(w.token(store.Token{Name: "short", Role: store.Read}))
	ended := make(chan error)
	go func() {
		for _, err := range c.Watch(t.Context(), "", "agents") {
			if err != nil {
				ended <- err
				return
			}
		}
	}()
	w.listening(1)
	require.NoError(t, w.RevokeToken(t.Context(), "short"))
	var p *api.Problem
	require.ErrorAs(t, <-ended, &p)
	require.Equal(t, http.StatusUnauthorized, p.Status)
}

// Many follow a build over connections that break again and again: each gets
// every event once, in order (I13).
func TestStreamsThatBreak(t *testing.T) {
	w := newWorld(t)
	b := w.started(example())
	server := httptest.NewServer(w.handler)
	defer server.Close()
	const events, readers = 300, 8
	w.happens(b.ID, 1, 1, begun)
	var all sync.WaitGroup
	for i := range readers {
		all.Go(func() {
			c := &client.Client{URL: server.URL, Token: w.tokens[store.Read], HTTP: &http.Client{Transport: &breaking{http.DefaultTransport, 2000 + 500*i}}}
			readsAll(t, c, b, events)
		})
	}
	for seq := int64(2); seq <= events; seq++ {
		w.happens(b.ID, 1, seq, build.Event{Kind: build.CancelRequested})
	}
	all.Wait()
}

// readsAll reads the events of b as they come. Each has to come once, in order, up
// to the last one.
func readsAll(t *testing.T, c *client.Client, b store.Build, last int64) {
	want := int64(1)
	for m, err := range c.Watch(t.Context(), "", "build:"+ref(b)) {
		if err != nil {
			t.Error(err)
			return
		}
		if m.Kind != api.MessageEvent {
			continue
		}
		var ev api.BuildEvent
		if err := json.Unmarshal(m.Data, &ev); err != nil || ev.Seq != want {
			t.Errorf("event %d came and not %d: %v", ev.Seq, want, err)
			return
		}
		if want++; want > last {
			return
		}
	}
	t.Errorf("it ended before event %d came", want)
}

// Many follow one build, and a quarter of them never reads: all the others get
// everything.
func TestStreamsOfMany(t *testing.T) {
	w := newWorld(t)
	b := w.started(example())
	address := listening(t, w.handler)
	const events, readers, mute = 200, 150, 50
	for range mute {
		conn, err := net.Dial("tcp", address)
		require.NoError(t, err)
		defer conn.Close()
		_, err = fmt.Fprintf(conn, "GET /v1/events?topics=build:%s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n\r\n", b.ID, w.tokens[store.Read])
		require.NoError(t, err)
	}
	var all sync.WaitGroup
	for range readers {
		all.Go(func() {
			c := &client.Client{URL: "http://" + address, Token: w.tokens[store.Read]}
			readsAll(t, c, b, events)
		})
	}
	w.listening(readers + mute)
	large := strings.Repeat("x", 8<<10)
	w.happens(b.ID, 1, 1, begun)
	for seq := int64(2); seq <= events; seq++ {
		w.happens(b.ID, 1, seq, build.Event{Kind: build.CancelRequested, Reason: large})
	}
	all.Wait()
}

// breaking is a transport whose answers break off after so many bytes.
type breaking struct {
	http.RoundTripper
	after int
}

func (b *breaking) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := b.RoundTripper.RoundTrip(r)
	if err == nil {
		res.Body = &broken{res.Body, b.after}
	}
	return res, err
}

type broken struct {
	io.ReadCloser
	left int
}

func (b *broken) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, errors.New("broken")
	}
	n, err := b.ReadCloser.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}
