package api_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/api/client"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

// writes appends one chunk to what the first attempt of a step wrote under a fence.
func (w *world) writes(id build.ID, fence int64, attempt int, seq, line, offset int64, data string) {
	w.t.Helper()
	key := store.ChunkKey{Build: id, Fence: fence, Node: "unit", Attempt: attempt, Seq: seq}
	require.NoError(w.t, w.AppendChunks(w.t.Context(), []store.Chunk{{Key: key, Line: line, Lines: int64(strings.Count(data, "\n")), Offset: offset, Data: []byte(data)}}))
}

func TestGrowth(t *testing.T) {
	w := newWorld(t)
	b := w.logged("one\n", "tw")
	s := w.watch(w.as(w.tokens[store.Read]), "", client.LogTopic(fmt.Sprint(b.Number), "unit"))
	var got api.Growth
	s.next(api.MessageLog, &got)
	require.Equal(t, api.Growth{Build: b.ID, Step: "unit", Attempt: 1, Fence: 1, Total: 2, Bytes: 6}, got)
	w.writes(b.ID, 1, 1, 2, 1, 6, "o\nthree\n")
	s.next(api.MessageLog, &got)
	require.Equal(t, api.Growth{Build: b.ID, Step: "unit", Attempt: 1, Fence: 1, Total: 3, Bytes: 14}, got)

	// It is tried again, and then its agent is lost.
	w.happens(b.ID, 1, 7, ends("unit", build.Failed, nil))
	s.next(api.MessageLog, &got)
	require.Equal(t, api.Growth{Build: b.ID, Step: "unit", Attempt: 1, Fence: 1, Total: 3, Bytes: 14, Ended: true}, got)
	w.change(b.ID, store.Rescue{Owner: agent, Fence: 1, Max: 3, At: at})
	w.change(b.ID, store.Claim{Agent: "other", Fence: 2, Nonce: "m", Max: 3, At: at})
	s.next(api.MessageLog, &got)
	require.Equal(t, api.Growth{Build: b.ID, Step: "unit", Attempt: 1, Fence: 3}, got)
	w.happens(b.ID, 3, 1, begun)
	w.writes(b.ID, 3, 1, 0, 0, 0, "again\n")
	s.next(api.MessageLog, &got)
	require.Equal(t, api.Growth{Build: b.ID, Step: "unit", Attempt: 1, Fence: 3, Total: 1, Bytes: 6}, got)
	w.change(b.ID, store.Complete{Agent: "other", Fence: 3, State: build.Failed, At: at})
	s.next(api.MessageLog, &got)
	require.True(t, got.Ended)
}

// A second attempt is told by its number.
func TestGrowthOfAttempts(t *testing.T) {
	w := newWorld(t)
	p := &plan.Plan{Format: plan.Format, Project: plan.Project{Name: "shop"}, Pipeline: "build", Nodes: []plan.Node{
		{Name: "unit", Step: &plan.Step{Script: "make test", Retry: &plan.Retry{Attempts: 2}}},
	}}
	b := w.started(p)
	s := w.watch(w.admin, "", "log:"+ref(b)+":unit")
	var got api.Growth
	s.next(api.MessageLog, &got)
	require.Equal(t, api.Growth{Build: b.ID, Step: "unit", Attempt: 1, Fence: 1}, got, "it has not begun")
	w.writes(b.ID, 1, 1, 0, 0, 0, "fails\n")
	w.happens(b.ID, 1, 1, begun, begins("unit"), ends("unit", build.Failed, nil), build.Event{Kind: build.AttemptStarted, Node: "unit", Attempt: 2})
	for got.Attempt == 1 {
		s.next(api.MessageLog, &got)
	}
	require.Equal(t, api.Growth{Build: b.ID, Step: "unit", Attempt: 2, Fence: 1}, got)
}

// Whoever follows a build from the queue is told once there is something.
func TestGrowthFromTheQueue(t *testing.T) {
	w := newWorld(t)
	made, err := w.admin.CreateBuild(t.Context(), api.BuildRequest{Project: "shop"}, "")
	require.NoError(t, err)
	s := w.watch(w.admin, "", "log:"+string(made.ID)+":unit", "log:"+string(made.ID)+":nosuch")
	w.listening(1)
	w.change(made.ID, store.Claim{Agent: agent, Nonce: "n", Max: 3, At: at})
	p := example()
	require.NoError(t, w.PutBlob(t.Context(), p.Digest(), p.Canonical()))
	w.change(made.ID, store.Planned{Agent: agent, Fence: 1, Commit: commit, Plan: p.Digest(), Total: len(p.Nodes)})
	var got api.Growth
	s.next(api.MessageLog, &got)
	require.Equal(t, api.Growth{Build: made.ID, Step: "unit", Attempt: 1, Fence: 1}, got)
}

// A name is whatever a plan calls a step, and beside it goes what a place in the
// other topics is made of.
func TestGrowthResumes(t *testing.T) {
	w := newWorld(t)
	name := "a,b:c%2C d/ü+&"
	p := &plan.Plan{Format: plan.Format, Project: plan.Project{Name: "shop"}, Pipeline: "build", Nodes: []plan.Node{{Name: name, Step: &plan.Step{Script: "true"}}}}
	b := w.started(p)
	w.happens(b.ID, 1, 1, begun, begins(name))
	w.wrote(b.ID, name, "one\n")
	topics := []string{"build:" + ref(b), "builds", client.LogTopic(ref(b), name), client.LogTopic(ref(b), name)}
	var ev api.BuildEvent
	var got api.Growth
	s := w.watch(w.admin, "", topics...)
	s.next(api.MessageEvent, &ev)
	s.next(api.MessageEvent, &ev)
	last := s.next(api.MessageLog, &got)
	require.Equal(t, api.Growth{Build: b.ID, Step: name, Attempt: 1, Fence: 1, Total: 1, Bytes: 4}, got)

	again := w.watch(w.admin, last.ID, topics...)
	again.next(api.MessageLog, &got)
	require.Equal(t, int64(1), got.Total, "no event comes twice, and how much there is comes again")
	w.happens(b.ID, 1, 3, ends(name, build.Success, nil))
	again.next(api.MessageEvent, &ev)
	require.Equal(t, int64(3), ev.Seq)
	again.next(api.MessageLog, &got)
	require.True(t, got.Ended)
}

func TestGrowthRefuses(t *testing.T) {
	w := newWorld(t)
	w.project("secret")
	b := w.started(example())
	other := w.started(example(), func(r *store.Request) { r.Project = "secret" })
	rejected := w.started(example())
	queued, err := w.admin.CreateBuild(t.Context(), api.BuildRequest{Project: "shop"}, "")
	require.NoError(t, err)
	w.change(queued.ID, store.RequestCancel{At: at})
	w.change(rejected.ID, store.Complete{Agent: agent, Fence: 1, State: build.Failed, At: at})
	scoped := "Bearer " + w.token(store.Token{Name: "scoped", Role: store.Read, Projects: []string{"shop"}})
	for topic, status := range map[string]int{
		"log": 400, "log:": 400, "log:" + ref(b): 400, "log:" + ref(b) + ":": 400, "log:" + ref(b) + ":%zz": 400, "log:" + ref(b) + ":unit,": 200,
		"log:" + ref(b) + ":untt": 422, "log:" + ref(b) + ":%00": 422, "log:999:unit": 404, "log::unit": 404, "log:" + ref(other) + ":unit": 404,
		"log:" + string(queued.ID) + ":unit": 409, "log:" + ref(rejected) + ":unit": 200, strings.Repeat("log:"+ref(b)+":unit,", 33): 400,
	} {
		method := "GET"
		if status == http.StatusOK { // it would go on
			method = "HEAD"
		}
		a := w.do(method, "/v1/events?topics="+url.QueryEscape(topic), "", "Authorization", scoped)
		require.Equal(t, status, a.StatusCode, topic)
	}
}

// metered counts how often it is asked how much there is of a log.
type metered struct {
	*store.Memory
	asked atomic.Int64
}

func (m *metered) ChunkAt(ctx context.Context, key store.ChunkKey, line int64) (int64, error) {
	m.asked.Add(1)
	return m.Memory.ChunkAt(ctx, key, line)
}

// A hundred follow an output that grows a hundred times a second: each is told ten
// times a second, and the store is asked as if there was one. While it does not
// grow, hardly at all.
func TestGrowthOfMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &metered{}
		w := newWorld(t, func(s *api.Server) {
			m.Memory = s.Store.(*store.Memory)
			s.Store = m
		})
		b := w.logged()
		const followers = 100
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var told [followers]atomic.Int64
		var newest [followers]atomic.Int64
		var all sync.WaitGroup
		for i := range followers {
			c := client.InProcess(w.handler)
			c.Token = w.tokens[store.Read]
			all.Go(func() {
				for msg, err := range c.Watch(ctx, "", "log:"+ref(b)+":unit") {
					var g api.Growth
					if err != nil || msg.Kind != api.MessageLog || json.Unmarshal(msg.Data, &g) != nil {
						t.Error(msg.Kind, err)
						return
					}
					told[i].Add(1)
					newest[i].Store(g.Total)
				}
			})
		}
		time.Sleep(time.Second)
		synctest.Wait()
		m.asked.Store(0)
		for i := range int64(100) {
			w.writes(b.ID, 1, 1, i, i, 2*i, "x\n")
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(100 * time.Millisecond)
		synctest.Wait()
		for i := range followers {
			require.Equal(t, int64(100), newest[i].Load())
			require.LessOrEqual(t, told[i].Load(), int64(1+12))
			require.GreaterOrEqual(t, told[i].Load(), int64(1+10))
		}
		require.Less(t, m.asked.Load(), int64(100), "not for each")
		m.asked.Store(0)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		require.LessOrEqual(t, m.asked.Load(), int64(6), "as often as everything is looked at")
		stop()
		all.Wait()
		synctest.Wait()
		require.Equal(t, http.StatusOK, w.do("GET", "/metrics", "").StatusCode)
	})
}
