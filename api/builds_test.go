package api_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/api/client"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/placement"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

func TestCreateBuild(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, w.Join(t.Context(), store.Agent{ID: agent, Name: "a", Slots: 1}))
	c := w.as(w.tokens[store.Trigger])
	made, err := c.CreateBuild(t.Context(), api.BuildRequest{Project: "shop", Ref: "main", Only: []string{"unit"}}, "")
	require.NoError(t, err)
	require.Equal(t, build.Queued, made.State)
	require.Equal(t, "build", made.Pipeline)
	require.Equal(t, commit, made.Commit, "pinned as it was asked for")
	require.Equal(t, api.Cause{Kind: "manual", By: "trigger"}, made.Cause)
	kept, err := w.Build(t.Context(), made.ID)
	require.NoError(t, err)
	require.Equal(t, agent, kept.FirstChoice)
	require.Equal(t, plan.Selection{Only: []string{"unit"}}, kept.Request.Select)

	a := w.do("POST", "/v1/builds", `{"project":"shop"}`)
	require.Equal(t, http.StatusCreated, a.StatusCode)
	require.Regexp(t, "^/v1/builds/[0-9a-f-]{36}$", a.Header.Get("Location"))
	require.Contains(t, w.do("GET", a.Header.Get("Location"), "").text, `"ref":"main"`, "the branch that was meant")

	made, err = c.CreateBuild(t.Context(), api.BuildRequest{Project: "shop", Commit: commit}, "")
	require.NoError(t, err)
	require.Empty(t, made.Ref, "a commit is on no branch")
}

func TestCreateBuildRefuses(t *testing.T) {
	w := newWorld(t)
	for name, test := range map[string]struct {
		body   string
		status int
		want   string // a part of the answer
	}{
		"no project":        {`{}`, 422, `"field":"project"`},
		"another project":   {`{"project":"shpo"}`, 404, `did you mean \"shop\"?`},
		"a pipeline":        {`{"project":"shop","pipeline":"relaese"}`, 422, `"hint":"did you mean release?"`},
		"a ref":             {`{"project":"shop","ref":"gone"}`, 422, `"field":"ref"`},
		"a commit":          {`{"project":"shop","commit":"` + alien + `"}`, 422, `"field":"commit"`},
		"half a commit":     {`{"project":"shop","commit":"1111"}`, 422, `"field":"commit"`},
		"a param":           {`{"project":"shop","pipeline":"release","params":{"version":"v1","cuont":"2"}}`, 422, `"field":"params.cuont"`},
		"no param":          {`{"project":"shop","pipeline":"release"}`, 422, `"field":"params.version","message":"is missing`},
		"a value":           {`{"project":"shop","pipeline":"release","params":{"version":"1","count":"many"}}`, 422, `does not match the pattern`},
		"a number":          {`{"project":"shop","pipeline":"release","params":{"version":"v1","count":"many"}}`, 422, `"field":"params.count"`},
		"a NUL":             {`{"project":"shop","params":{"a":"x\u0000"}}`, 422, `NUL`},
		"a name":            {`{"project":"shop","params":{"a b":"x"}}`, 422, `is no name of a parameter`},
		"an environment":    {`{"project":"shop","environment":"stagin"}`, 422, `"hint":"did you mean staging?"`},
		"a patch":           {`{"project":"shop","commit":"` + commit + `","patch":"sha256:` + strings.Repeat("0", 64) + `"}`, 422, `is not there`},
		"a patch of what":   {`{"project":"shop","patch":"sha256:` + strings.Repeat("0", 64) + `"}`, 422, `"field":"commit"`},
		"no digest":         {`{"project":"shop","patch":"x","commit":"` + commit + `"}`, 422, `is no digest`},
		"a priority":        {`{"project":"shop","priority":1001}`, 422, `"field":"priority"`},
		"an empty pattern":  {`{"project":"shop","only":[""]}`, 422, `"field":"only"`},
		"an unknown field":  {`{"project":"shop","pipline":"build"}`, 400, `"field":"pipline","message":"is not known here","hint":"did you mean \"pipeline\"?"`},
		"a field in case":   {`{"Project":"shop"}`, 400, `"field":"Project"`},
		"a field twice":     {`{"project":"shop","project":"shop"}`, 400, `is there twice`},
		"a param twice":     {`{"project":"shop","params":{"a":"1","a":"2"}}`, 400, `"field":"params.a","message":"is there twice"`},
		"another type":      {`{"project":7}`, 400, `"field":"project"`},
		"garbage after":     {`{"project":"shop"} x`, 400, `goes on after its end`},
		"two":               {`{"project":"shop"}{}`, 400, `goes on after its end`},
		"not JSON":          {`project`, 400, `is not JSON`},
		"NaN":               {`{"project":NaN}`, 400, `is not JSON`},
		"a BOM":             {"\ufeff{}", 400, `is not JSON`},
		"not UTF-8":         {"{\"project\":\"\xff\"}", 400, `is not UTF-8`},
		"deep":              {strings.Repeat(`{"params":`, 10_000), 400, `nested too deep`},
		"deep arrays":       {`{"only":` + strings.Repeat(`[`, 10_000), 400, `nested too deep`},
		"an array":          {`[]`, 400, `bad-request`},
		"large":             {`{"project":"` + strings.Repeat("x", 1<<20) + `"}`, 413, `1 MiB`},
		"a ref for git":     {`{"project":"shop","ref":"--upload-pack=x"}`, 422, `"field":"ref"`},
		"a ref with a line": {`{"project":"shop","ref":"a\nb"}`, 422, `"field":"ref"`},
		"a ref with ESC":    {`{"project":"shop","ref":"a\u001bb"}`, 422, `"field":"ref"`},
		"a ref of a shell":  {`{"project":"shop","ref":"$(id)"}`, 422, `"field":"ref"`},
		"a quoted ref":      {"{\"project\":\"shop\",\"ref\":\"`id`\"}", 422, `"field":"ref"`},
		"a ref with a gap":  {`{"project":"shop","ref":"a b"}`, 422, `"field":"ref"`},
		"a dash":            {`{"project":"shop","ref":"-"}`, 422, `"field":"ref"`},
		"a name of ld.so":   {`{"project":"shop","params":{"LD_PRELOAD":"/x.so"}}`, 422, `"field":"params.LD_PRELOAD"`},
		"a ref up":          {`{"project":"shop","ref":"../x"}`, 422, `"field":"ref"`},
		"a long ref":        {`{"project":"shop","ref":"` + strings.Repeat("a", 5<<10) + `"}`, 422, `"field":"ref"`},
	} {
		t.Run(name, func(t *testing.T) {
			a := w.do("POST", "/v1/builds", test.body)
			require.Equal(t, test.status, a.StatusCode, a.text)
			require.Contains(t, a.text, test.want)
			a.problem(t)
		})
	}
	list, _, err := w.List(t.Context(), store.Filter{}, "", 10)
	require.NoError(t, err)
	require.Empty(t, list)
}

func TestCreateBuildOfAFileAtFault(t *testing.T) {
	w := newWorld(t)
	w.sources.faults = plan.Diagnostics{{File: "PIPER.star", Line: 3, Severity: "error", Code: "syntax", Message: "want ')'"}}
	p := w.do("POST", "/v1/builds", `{"project":"shop"}`).problem(t)
	require.Equal(t, http.StatusUnprocessableEntity, p.Status)
	require.Equal(t, w.sources.faults, p.Diagnostics)

	w.sources.faults, w.sources.err = nil, errors.New("no route to host")
	w.sources.heads = nil
	a := w.do("POST", "/v1/builds", `{"project":"shop"}`)
	require.Equal(t, "repository-away", ptr(a.problem(t)).Code())
	require.Contains(t, a.text, "cannot be looked into: no route to host: try again")
	require.Equal(t, "10", a.Header.Get("Retry-After"))

	w.sources.err = fmt.Errorf("the host is not allowed: %w", api.ErrProject)
	p = w.do("POST", "/v1/builds", `{"project":"shop"}`).problem(t)
	require.Equal(t, http.StatusUnprocessableEntity, p.Status)
	require.Equal(t, "project", p.Errors[0].Field)
	require.Empty(t, p.Errors[0].Hint)

	w.sources.err = advised{fmt.Errorf("the host is not allowed: %w", api.ErrProject)}
	p = w.do("POST", "/v1/builds", `{"project":"shop"}`).problem(t)
	require.Equal(t, "the operator can allow it", p.Errors[0].Hint)
}

// An advised error knows what to do about it.
type advised struct{ error }

func (advised) Hint() string    { return "the operator can allow it" }
func (a advised) Unwrap() error { return a.error }

func ptr[T any](v T) *T { return &v }

// Without sources, and with a patch, the request is kept as it came.
func TestCreateBuildUnseen(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	digest, err := w.admin.PutPatch(ctx, strings.NewReader("diff --git a b"))
	require.NoError(t, err)
	again, err := w.admin.PutPatch(ctx, strings.NewReader("diff --git a b"))
	require.NoError(t, err)
	require.Equal(t, digest, again)
	patched, err := w.admin.CreateBuild(ctx, api.BuildRequest{Project: "shop", Pipeline: "new", Commit: alien, Patch: digest}, "")
	require.NoError(t, err)
	require.Equal(t, digest, patched.Patch)
	require.Equal(t, alien, patched.Commit)

	w.server.Sources = nil
	blind, err := w.admin.CreateBuild(ctx, api.BuildRequest{Project: "shop", Params: map[string]string{"x": "1"}}, "")
	require.NoError(t, err)
	require.Empty(t, blind.Pipeline+blind.Commit)
	require.Equal(t, map[string]any{"x": "1"}, blind.Params)
}

func TestPatches(t *testing.T) {
	w := newWorld(t)
	require.Equal(t, 400, w.do("POST", "/v1/patches", "", "Content-Type", "application/octet-stream").StatusCode)
	require.Equal(t, 415, w.do("POST", "/v1/patches", "x").StatusCode)
	require.Equal(t, 413, w.do("POST", "/v1/patches", strings.Repeat("x", api.MaxPatch+1), "Content-Type", "text/x-patch").StatusCode)
	require.Equal(t, 201, w.do("POST", "/v1/patches", strings.Repeat("x", api.MaxPatch), "Content-Type", "application/octet-stream").StatusCode)
}

// What a build was asked for with, and what of it was not committed, can be had
// back.
func TestShowRequest(t *testing.T) {
	w := newWorld(t)
	digest, err := w.admin.PutPatch(t.Context(), strings.NewReader("a patch"))
	require.NoError(t, err)
	event := plan.Event{Kind: "push", Branch: "side", Number: 7, Payload: "{}"}
	b := w.started(example(), func(r *store.Request) {
		r.Patch, r.Event, r.Params, r.Select = digest, event, map[string]string{"n": "1"}, plan.Selection{Only: []string{"unit"}}
		r.Cause.Trust = "fork"
	})
	asked, err := w.admin.Request(t.Context(), string(b.ID))
	require.NoError(t, err)
	r := b.Request
	require.Equal(t, api.Asked{Project: r.Project, Pipeline: r.Pipeline, Environment: r.Environment, Params: r.Params, Ref: r.Ref, Commit: b.Commit,
		Patch: digest, Select: r.Select, Event: event, Trust: "fork"}, asked)
	patch, err := w.admin.Patch(t.Context(), string(b.ID), digest)
	require.NoError(t, err)
	require.Equal(t, "a patch", string(patch))

	clean := w.started(example())
	answer := w.do("GET", "/v1/builds/"+string(clean.ID)+"/patch", "")
	require.Equal(t, http.StatusNotFound, answer.StatusCode)
	require.Equal(t, "no-patch", ptr(answer.problem(t)).Code())
	for _, of := range []string{"request", "patch"} {
		require.Equal(t, http.StatusNotFound, w.do("GET", "/v1/builds/999/"+of, "").StatusCode)
	}
	lost := w.started(example(), func(r *store.Request) { r.Patch = "sha256:lost" })
	_, err = w.admin.Patch(t.Context(), string(lost.ID), "sha256:lost")
	require.Error(t, err)
}

// The same key gives the same build; with another body it is a conflict (I10).
func TestIdempotencyKey(t *testing.T) {
	w := newWorld(t)
	post := func(key, body string) answered { return w.do("POST", "/v1/builds", body, "Idempotency-Key", key) }
	first := post("k", `{"project":"shop","ref":"main"}`)
	require.Equal(t, http.StatusCreated, first.StatusCode)

	w.sources.heads["main"] = older // somebody pushed: it is still the same request
	again := post("k", `{"project":"shop","ref":"main"}`)
	require.Equal(t, http.StatusOK, again.StatusCode)
	require.Equal(t, first.text, again.text)

	require.Equal(t, "key-reused", ptr(post("k", `{"project":"shop","ref":"main","priority":1}`).problem(t)).Code())
	require.Equal(t, http.StatusCreated, post("l", `{"project":"shop","ref":"main"}`).StatusCode)
	require.Equal(t, 400, post(strings.Repeat("k", 256), `{"project":"shop"}`).StatusCode)
	require.Equal(t, 400, post("a\nb", `{"project":"shop"}`).StatusCode, "two headers")

	var got sync.Map // by ID, or what went wrong
	var all sync.WaitGroup
	for range 500 {
		all.Go(func() {
			b, err := w.admin.CreateBuild(context.Background(), api.BuildRequest{Project: "shop"}, "race")
			if err != nil {
				got.Store(err.Error(), true)
				return
			}
			got.Store(b.ID, true)
		})
	}
	all.Wait()
	n := 0
	got.Range(func(key, _ any) bool { n++; require.IsType(t, build.ID(""), key); return true })
	require.Equal(t, 1, n, "500 at once are one build")
}

// A store that does not answer gives no 2xx, and the retry makes one build.
func TestStoreIsAway(t *testing.T) {
	w := newWorld(t)
	broken := &brokenStore{Store: w.Memory}
	w.server.Store = broken
	broken.err = errors.New("disk: 10.0.0.7 refused")
	a := w.do("POST", "/v1/builds", `{"project":"shop"}`, "Idempotency-Key", "k")
	require.Equal(t, http.StatusServiceUnavailable, a.StatusCode)
	require.NotContains(t, a.text, "10.0.0.7")
	require.Equal(t, "2", a.Header.Get("Retry-After"))

	broken.err = fmt.Errorf("enqueue: %w: /srv/piper.db", store.ErrFull)
	a = w.do("POST", "/v1/builds", `{"project":"shop"}`, "Idempotency-Key", "k")
	require.Equal(t, http.StatusInsufficientStorage, a.StatusCode)
	require.NotContains(t, a.text, "piper.db")
	require.Equal(t, "[]\n", w.do("GET", "/v1/builds", "").text, "reading goes on, and there is none")

	// It was made, and the answer was lost.
	broken.err, broken.lost = nil, 1
	a = w.do("POST", "/v1/builds", `{"project":"shop"}`, "Idempotency-Key", "k")
	require.Equal(t, http.StatusCreated, a.StatusCode)
	require.Equal(t, http.StatusOK, w.do("POST", "/v1/builds", `{"project":"shop"}`, "Idempotency-Key", "k").StatusCode)
	list, _, err := w.List(t.Context(), store.Filter{}, "", 10)
	require.NoError(t, err)
	require.Len(t, list, 1)
}

// A build whose store loses answers is cancelled once, and is still known.
func TestCancelInDoubt(t *testing.T) {
	broken := &brokenStore{}
	w := newWorld(t, func(s *api.Server) { broken.Store, s.Store = s.Store, broken })
	b := w.started(example())
	broken.lost = 2
	got, err := w.admin.Cancel(t.Context(), ref(b), api.CancelRequest{Reason: "enough"})
	require.NoError(t, err)
	require.Equal(t, b.ID, got.ID)
	require.Equal(t, "enough", got.Cancel.Reason)
	require.Zero(t, broken.lost)
}

// brokenStore refuses to enqueue, or loses answers.
type brokenStore struct {
	store.Store
	err  error
	lost int
}

func (s *brokenStore) Enqueue(ctx context.Context, b store.Build) (store.Build, error) {
	if s.err != nil {
		return store.Build{}, s.err
	}
	got, err := s.Store.Enqueue(ctx, b)
	if s.lost > 0 {
		s.lost--
		return store.Build{}, fmt.Errorf("enqueue: %w", store.ErrInDoubt)
	}
	return got, err
}

func (s *brokenStore) Change(ctx context.Context, id build.ID, c store.Change) (store.Build, error) {
	got, err := s.Store.Change(ctx, id, c)
	if s.lost > 0 {
		s.lost--
		return store.Build{}, fmt.Errorf("change: %w", store.ErrInDoubt)
	}
	return got, err
}

func TestListBuilds(t *testing.T) {
	w := newWorld(t)
	for range 7 {
		w.started(example())
	}
	w.started(example(), func(r *store.Request) { r.Pipeline = "release" })
	ctx := t.Context()
	var numbers []int64
	cursor := ""
	for {
		page, next, err := w.admin.Builds(ctx, api.BuildFilter{Project: "shop", Pipeline: "build", State: build.Running}, cursor, 3)
		require.NoError(t, err)
		for _, b := range page {
			numbers = append(numbers, b.Number)
			require.Empty(t, b.Steps)
		}
		if cursor = next; cursor == "" {
			break
		}
	}
	require.Equal(t, []int64{7, 6, 5, 4, 3, 2, 1}, numbers)

	a := w.do("GET", "/v1/builds?limit=2&project=shop", "")
	require.Equal(t, `</v1/builds?cursor=7&limit=2&project=shop>; rel="next"`, a.Header.Get("Link"))
	require.Equal(t, "[]\n", w.do("GET", "/v1/builds?state=lost", "").text)
	for query, status := range map[string]int{
		"limit=1000000000": 200, "limit=0": 400, "limit=-1": 400, "limit=x": 400, "cursor=forged": 400, "cursor=-1": 400, "state=runing": 400, "pipeline=build": 400, "%zz": 400,
	} {
		require.Equal(t, status, w.do("GET", "/v1/builds?"+query, "").StatusCode, query)
	}
	require.Contains(t, w.do("GET", "/v1/builds?state=runing", "").text, "did you mean running?")
}

// A build has what its events say.
func TestShowBuild(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	require.NoError(t, w.Join(ctx, store.Agent{ID: agent, Name: "a1", Slots: 1}))
	b := w.started(example())
	w.happens(b.ID, 1, 1, begun, begins("version"), ends("version", build.Success, map[string]string{"v": "1.2"}), begins("compile"))
	got, err := w.admin.Build(ctx, ref(b))
	require.NoError(t, err)
	require.Equal(t, &api.AgentRef{ID: agent, Name: "a1"}, got.Agent)
	require.Equal(t, map[string]any{"count": 2.0}, got.Params)
	require.Equal(t, build.Progress{Total: 5, Running: 1, Done: 1}, got.Progress)
	require.Equal(t, example().Digest(), got.PlanDigest)
	require.Len(t, got.Steps, 5)
	require.Equal(t, build.Success, got.Steps[0].State)
	require.Equal(t, map[string]string{"v": "1.2"}, got.Steps[0].Outputs)
	require.Equal(t, "waits for compile", got.Steps[2].Why)

	byNumber, err := w.admin.Build(ctx, fmt.Sprint(b.Number))
	require.NoError(t, err)
	require.Equal(t, got, byNumber)
	p, err := w.admin.Plan(ctx, ref(b))
	require.NoError(t, err)
	require.Equal(t, example().Digest(), p.Digest())
	events, err := w.admin.Events(ctx, ref(b), 0, 1, 2)
	require.NoError(t, err)
	require.Equal(t, []int64{2, 3}, []int64{events[0].Seq, events[1].Seq})

	// Lost with its agent: what happened then is still told, under its fence.
	w.change(b.ID, store.RequestCancel{Cancel: store.Cancel{By: "ann"}, At: at})
	w.change(b.ID, store.ForceCancel{Fence: 1, At: at})
	got, err = w.admin.Build(ctx, ref(b))
	require.NoError(t, err)
	require.Equal(t, build.Cancelled, got.State)
	require.Equal(t, int64(1), got.Fence)
	require.Equal(t, build.Running, got.Steps[1].State)

	for _, bad := range []string{"999", "nothing", "0", "99999999999999999999", "b..b", "x%00", "*", strings.Repeat("a", 5000)} {
		require.Equal(t, http.StatusNotFound, w.do("GET", "/v1/builds/"+bad, "").StatusCode, bad)
	}
	kept, err := w.Build(ctx, b.ID)
	require.NoError(t, err)
	for _, chore := range kept.Pending {
		w.change(b.ID, store.Settle{Chore: chore})
	}
	w.change(b.ID, store.Collect{})
	require.Contains(t, w.do("GET", "/v1/builds/"+ref(b), "").text, "was deleted")
}

func TestApprove(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	b := w.started(example())
	approve := func(node string, refuse bool) error {
		_, err := w.admin.Approve(ctx, ref(b), api.ApproveRequest{Node: node, Refuse: refuse, Reason: "looks good"})
		return err
	}
	require.ErrorContains(t, approve("ask", false), "ask does not ask: it is waiting")
	require.ErrorContains(t, approve("aks", false), "did you mean ask?")
	w.happens(b.ID, 1, 1, begun)
	for i, node := range []string{"version", "compile", "unit"} {
		w.happens(b.ID, 1, int64(2+2*i), begins(node), ends(node, build.Success, nil))
	}
	w.happens(b.ID, 1, 8, begins("ask"))
	got, err := w.admin.Build(ctx, ref(b))
	require.NoError(t, err)
	require.Equal(t, []api.Approval{{Node: "ask", State: api.ApprovalWaiting, Prompt: "ship it?", At: at.Add(8e9)}}, got.Approvals)

	require.NoError(t, approve("ask", false))
	require.NoError(t, approve("ask", false), "the same word again")
	var p *api.Problem
	require.ErrorAs(t, approve("ask", true), &p)
	require.Equal(t, http.StatusConflict, p.Status)
	got, err = w.admin.Build(ctx, ref(b))
	require.NoError(t, err)
	require.Equal(t, []api.Approval{{Node: "ask", State: api.ApprovalApproved, Prompt: "ship it?", By: "admin", Reason: "looks good", At: at}}, got.Approvals)
}

func TestCancel(t *testing.T) {
	w := newWorld(t)
	b := w.started(example())
	path := "/v1/builds/" + ref(b) + "/cancel"
	var all sync.WaitGroup
	for range 100 {
		all.Go(func() {
			if _, err := w.admin.Cancel(context.Background(), ref(b), api.CancelRequest{Reason: "wrong one"}); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	kept, err := w.Build(t.Context(), b.ID)
	require.NoError(t, err)
	require.Equal(t, &store.Cancel{By: "admin", Reason: "wrong one"}, kept.Cancel)
	require.Equal(t, b.Rev+1, kept.Rev, "once is enough")
	require.Equal(t, http.StatusAccepted, w.do("POST", path, `{"force":true}`).StatusCode)
	w.change(b.ID, store.Complete{Agent: agent, Fence: 1, State: build.Cancelled, At: at})
	require.Equal(t, http.StatusOK, w.do("POST", path, "").StatusCode, "it has ended: nothing to do")
}

func TestTriggered(t *testing.T) {
	w := newWorld(t)
	b := w.started(example())
	child := store.Derive("trigger", ref(b), "ship")
	r := store.Request{Project: "shop", Pipeline: "deploy", Cause: store.Cause{Kind: "trigger", Build: b.ID, Node: "ship"}}
	w.change(b.ID, store.Fire{Agent: agent, Fence: 1, Node: "ship", Outgoing: store.Outgoing{Child: child, Request: r, Wait: true}})
	got, err := w.admin.Build(t.Context(), ref(b))
	require.NoError(t, err)
	want := api.Triggered{Node: "ship", ID: child, Project: "shop", Pipeline: "deploy", Wait: true}
	require.Equal(t, []api.Triggered{want}, got.Triggered)

	_, err = w.Enqueue(t.Context(), store.NewBuild(child, 70, r, at))
	require.NoError(t, err)
	got, err = w.admin.Build(t.Context(), ref(b))
	require.NoError(t, err)
	want.Number, want.State = 70, build.Queued
	require.Equal(t, []api.Triggered{want}, got.Triggered)
	page, _, err := w.admin.Builds(t.Context(), api.BuildFilter{Parent: b.ID}, "", 0)
	require.NoError(t, err)
	require.Equal(t, b.ID, page[0].Parent)
}

func TestRerun(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	b := w.started(example())
	rerun := func(r api.RerunRequest) (plan.Selection, error) {
		got, err := w.admin.Rerun(ctx, ref(b), r, "")
		if err != nil {
			return plan.Selection{}, err
		}
		require.Equal(t, api.Cause{Kind: "rerun", Build: b.ID, Number: b.Number, By: "admin"}, got.Cause)
		require.Equal(t, commit, got.Commit, "the same commit, wherever its branch is now")
		kept, err := w.Build(ctx, got.ID)
		require.NoError(t, err)
		return kept.Request.Select, nil
	}
	_, err := rerun(api.RerunRequest{Failed: true})
	require.ErrorContains(t, err, "is running")

	w.happens(b.ID, 1, 1, begun, begins("version"), ends("version", build.Success, map[string]string{"v": "1.2", "unused": "x"}), begins("compile"), ends("compile", build.Failed, nil))
	w.change(b.ID, store.Complete{Agent: agent, Fence: 1, State: build.Failed, At: at})
	known := map[string]map[string]string{"version": {"v": "1.2"}}

	all, err := rerun(api.RerunRequest{})
	require.NoError(t, err)
	require.Zero(t, all)
	failed, err := rerun(api.RerunRequest{Failed: true})
	require.NoError(t, err)
	require.Equal(t, plan.Selection{Skip: []string{"version"}, Outputs: known}, failed)
	left, err := plan.Select(example(), failed)
	require.NoError(t, err)
	require.Equal(t, []string{"compile", "unit", "ask", "ship"}, left.NodeNames())
	require.Equal(t, plan.Lit("1.2"), left.Nodes[0].Step.Argv[1])
	from, err := rerun(api.RerunRequest{From: []string{"compile"}})
	require.NoError(t, err)
	require.Equal(t, plan.Selection{From: []string{"compile"}, Outputs: known}, from)

	_, err = rerun(api.RerunRequest{From: []string{"complie"}})
	require.ErrorContains(t, err, "did you mean compile?")
	_, err = rerun(api.RerunRequest{Failed: true, Params: map[string]string{"x": "1"}})
	require.ErrorContains(t, err, "neither from nor params")
	_, err = rerun(api.RerunRequest{Params: map[string]string{"x": "1"}})
	require.ErrorContains(t, err, "params.x", "they are looked at as those of any request")

	one, err := w.admin.Rerun(ctx, ref(b), api.RerunRequest{Failed: true}, "again")
	require.NoError(t, err)
	two, err := w.admin.Rerun(ctx, ref(b), api.RerunRequest{Failed: true}, "again")
	require.NoError(t, err)
	require.Equal(t, one, two)
}

// What ran again is run again: what it left out stays left out, and what it took
// over is taken over.
func TestRerunOfARerun(t *testing.T) {
	w := newWorld(t)
	s := plan.Selection{Skip: []string{"version"}, Outputs: map[string]map[string]string{"version": {"v": "1.2"}}}
	p, err := plan.Select(example(), s)
	require.NoError(t, err)
	b := w.started(p, func(r *store.Request) { r.Select = s })
	w.happens(b.ID, 1, 1, begun, begins("compile"), ends("compile", build.Success, nil), begins("unit"), ends("unit", build.Failed, nil))
	w.change(b.ID, store.Complete{Agent: agent, Fence: 1, State: build.Failed, At: at})
	got, err := w.admin.Rerun(t.Context(), ref(b), api.RerunRequest{Failed: true}, "")
	require.NoError(t, err)
	kept, err := w.Build(t.Context(), got.ID)
	require.NoError(t, err)
	require.Equal(t, plan.Selection{Skip: []string{"version", "compile"}, Outputs: s.Outputs}, kept.Request.Select)
	left, err := plan.Select(example(), kept.Request.Select)
	require.NoError(t, err)
	require.Equal(t, []string{"unit", "ask", "ship"}, left.NodeNames())
}

// Of an expand whose nodes failed, what found them runs again.
func TestRerunOfAnExpand(t *testing.T) {
	for name, test := range map[string]struct {
		found build.State
		skip  []string
	}{
		"failed":    {build.Failed, []string{"other"}},
		"succeeded": {build.Success, []string{"list", "more", "other"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			p := &plan.Plan{Format: plan.Format, Pipeline: "build", Nodes: []plan.Node{
				{Name: "list", Step: &plan.Step{Script: "ls"}},
				{Name: "more", Needs: []string{"list"}, More: &plan.More{Expand: &plan.Expand{After: "list"}}},
				{Name: "other", Step: &plan.Step{Script: "true"}},
				{Name: "last", Needs: []string{"other"}, Step: &plan.Step{Script: "false"}},
			}}
			b := w.started(p)
			expanded := ends("more", build.Success, nil)
			expanded.Exit, expanded.Expansion = nil, &plan.Expansion{Nodes: []plan.Node{{Name: "found", Step: &plan.Step{Script: "true"}}}}
			w.happens(b.ID, 1, 1, begun, begins("list"), ends("list", build.Success, nil), begins("other"), ends("other", build.Success, nil), begins("last"), ends("last", build.Failed, nil),
				begins("more"), expanded, begins("found"), ends("found", test.found, nil))
			w.change(b.ID, store.Complete{Agent: agent, Fence: 1, State: build.Failed, At: at})
			got, err := w.admin.Rerun(t.Context(), ref(b), api.RerunRequest{Failed: true}, "")
			require.NoError(t, err)
			kept, err := w.Build(t.Context(), got.ID)
			require.NoError(t, err)
			require.Equal(t, test.skip, kept.Request.Select.Skip)
		})
	}
}

// What cleans up does so again after what runs again, and only then.
func TestRerunCleansUp(t *testing.T) {
	w := newWorld(t)
	always := func(name string, needs ...string) plan.Node {
		return plan.Node{Name: name, Needs: needs, Step: &plan.Step{Script: "true"}, More: &plan.More{RunOn: plan.Always}}
	}
	p := &plan.Plan{Format: plan.Format, Pipeline: "build", Groups: []plan.Group{{Name: "parallel#1"}}, Nodes: []plan.Node{
		{Name: "rent", Step: &plan.Step{Script: "true"}},
		{Name: "unit", Needs: []string{"rent"}, Group: "parallel#1", Step: &plan.Step{Script: "false"}},
		{Name: "lint", Needs: []string{"rent"}, Group: "parallel#1", Step: &plan.Step{Script: "true"}},
		always("return", "parallel#1"),
		always("tell", "return"),
		always("sweep", "lint"),
	}}
	b := w.started(p)
	w.happens(b.ID, 1, 1, begun, begins("rent"), ends("rent", build.Success, nil), begins("unit"), begins("lint"), ends("lint", build.Success, nil), begins("sweep"), ends("sweep", build.Success, nil),
		ends("unit", build.Failed, nil), begins("return"), ends("return", build.Success, nil), begins("tell"), ends("tell", build.Success, nil))
	w.change(b.ID, store.Complete{Agent: agent, Fence: 1, State: build.Failed, At: at})
	got, err := w.admin.Rerun(t.Context(), ref(b), api.RerunRequest{Failed: true}, "")
	require.NoError(t, err)
	kept, err := w.Build(t.Context(), got.ID)
	require.NoError(t, err)
	require.Equal(t, []string{"rent", "lint", "sweep"}, kept.Request.Select.Skip)
}

func TestGraph(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	made, err := w.admin.CreateBuild(ctx, api.BuildRequest{Project: "shop"}, "")
	require.NoError(t, err)
	a := w.do("GET", "/v1/builds/"+string(made.ID)+"/graph", "")
	require.Equal(t, http.StatusNotFound, a.StatusCode)
	require.Equal(t, "not-planned", ptr(a.problem(t)).Code())
	require.Equal(t, http.StatusNotFound, w.do("GET", "/v1/builds/999/graph", "").StatusCode)

	p := &plan.Plan{Format: plan.Format, Pipeline: "build", Nodes: []plan.Node{
		{Name: "list", Step: &plan.Step{Script: "ls"}},
		{Name: "more", Needs: []string{"list"}, More: &plan.More{Expand: &plan.Expand{After: "list"}}},
		{Name: "ask", Needs: []string{"more"}, More: &plan.More{Approve: &plan.Approve{}}},
	}}
	b := w.started(p)
	edges := func() (kinds, edges []string) {
		g, err := w.admin.Graph(ctx, ref(b))
		require.NoError(t, err)
		for _, n := range g.Nodes {
			kinds = append(kinds, n.Name+" "+n.Kind)
		}
		for _, e := range g.Edges {
			edges = append(edges, e.From+" -> "+e.To)
		}
		return kinds, edges
	}
	nodes, lines := edges()
	require.Equal(t, []string{"list step", "more expand", "ask approve"}, nodes)
	require.Equal(t, []string{"list -> more", "more -> ask"}, lines)

	// It is drawn with what an expand has found.
	expanded := ends("more", build.Success, nil)
	expanded.Exit, expanded.Expansion = nil, &plan.Expansion{Nodes: []plan.Node{{Name: "found", Step: &plan.Step{Script: "true"}}}}
	w.happens(b.ID, 1, 1, begun, begins("list"), ends("list", build.Success, nil), begins("more"), expanded)
	nodes, lines = edges()
	require.Equal(t, []string{"list step", "more expand", "ask approve", "found step"}, nodes)
	require.Equal(t, []string{"list -> more", "found -> ask", "more -> found"}, lines)

	// So is the plan, for whoever asks for that.
	names := func(query string) []string {
		a := w.do("GET", "/v1/builds/"+ref(b)+"/plan"+query, "")
		require.Equal(t, http.StatusOK, a.StatusCode, a.text)
		p, err := plan.Decode([]byte(a.text))
		require.NoError(t, err)
		return p.NodeNames()
	}
	require.Equal(t, []string{"list", "more", "ask"}, names(""))
	require.Equal(t, []string{"list", "more", "ask"}, names("?grown=false"))
	require.Equal(t, []string{"list", "more", "ask", "found"}, names("?grown=true"))
	require.Equal(t, http.StatusBadRequest, w.do("GET", "/v1/builds/"+ref(b)+"/plan?grown=perhaps", "").StatusCode)
}

// A build that ran where it was asked for says so.
func TestListOfWhatRanHere(t *testing.T) {
	w := newWorld(t)
	for _, here := range []store.AgentID{"", agent} {
		b := w.started(example(), func(r *store.Request) { r.Here = here })
		got, err := w.admin.Build(t.Context(), ref(b))
		require.NoError(t, err)
		require.Equal(t, here != "", got.Here)
	}
}

// A build in which somebody is asked says so in a list, and such can be listed.
func TestListOfWhatAsks(t *testing.T) {
	w := newWorld(t)
	asks, other := w.started(example()), w.started(example())
	w.change(asks.ID, store.Report{Agent: agent, Fence: 1, Progress: build.Progress{Total: 5, Running: 1, Done: 3, Asking: 1}})
	numbers := func(query string) (found []int64) {
		a := w.do("GET", "/v1/builds?"+query, "")
		require.Equal(t, http.StatusOK, a.StatusCode, a.text)
		var list []api.Build
		require.NoError(t, json.Unmarshal([]byte(a.text), &list))
		for _, b := range list {
			found = append(found, b.Number)
			require.Equal(t, b.Number == asks.Number, b.Progress.Asking == 1)
		}
		return found
	}
	require.Equal(t, []int64{other.Number, asks.Number}, numbers(""))
	require.Equal(t, []int64{other.Number, asks.Number}, numbers("asking=false"))
	require.Equal(t, []int64{asks.Number}, numbers("asking=true"))
	require.Equal(t, []int64{asks.Number}, numbers("asking=true&state=running"))
	for _, bad := range []string{"asking=maybe", "asking=true&state=failed"} {
		require.Equal(t, http.StatusBadRequest, w.do("GET", "/v1/builds?"+bad, "").StatusCode, bad)
	}
}

func TestRerunOfASuccess(t *testing.T) {
	w := newWorld(t)
	p := &plan.Plan{Format: plan.Format, Pipeline: "build", Nodes: []plan.Node{{Name: "one", Step: &plan.Step{Script: "true"}}}}
	b := w.started(p)
	w.happens(b.ID, 1, 1, begun, begins("one"), ends("one", build.Success, nil))
	w.change(b.ID, store.Complete{Agent: agent, Fence: 1, State: build.Success, At: at})
	a := w.do("POST", "/v1/builds/"+ref(b)+"/rerun", `{"failed":true}`)
	require.Equal(t, "nothing-to-do", ptr(a.problem(t)).Code())
}

func TestWhy(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	made, err := w.admin.CreateBuild(ctx, api.BuildRequest{Project: "shop"}, "")
	require.NoError(t, err)
	why, err := w.admin.Why(ctx, string(made.ID), "")
	require.NoError(t, err)
	require.Contains(t, why.Summary, "there is no agent")
	_, err = w.admin.Why(ctx, string(made.ID), "unit")
	require.ErrorContains(t, err, "was not planned")

	require.NoError(t, w.Join(ctx, store.Agent{ID: agent, Name: "a1", Slots: 1}))
	b := w.started(example())
	w.happens(b.ID, 1, 1, begun, begins("version"))
	why, err = w.admin.Why(ctx, ref(b), "")
	require.NoError(t, err)
	require.Equal(t, "it runs on a1", why.Summary)
	require.Len(t, why.Steps, 4)
	why, err = w.admin.Why(ctx, ref(b), "unit")
	require.NoError(t, err)
	require.Equal(t, "waits for compile", why.Summary)
	why, err = w.admin.Why(ctx, ref(b), "version")
	require.NoError(t, err)
	require.Equal(t, "it is running", why.Summary)
	_, err = w.admin.Why(ctx, ref(b), "untt")
	require.ErrorContains(t, err, "did you mean unit?")
}

// For each agent it says each requirement with the value seen and the author's
// reason, and what of the queue is in the way; over a real connection as well.
func TestWhyWithAgents(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	server := httptest.NewServer(w.handler)
	defer server.Close()
	c := &client.Client{URL: server.URL, Token: w.tokens[store.Read], HTTP: &http.Client{Transport: &checked{t, server.Client().Transport}}}
	for _, a := range []store.Agent{
		{ID: "1", Name: "mac", Slots: 1, Seen: at, Facts: map[string]string{"os": "darwin"}},
		{ID: "2", Name: "old", Slots: 1, Seen: at, Draining: true, Facts: map[string]string{"os": "linux", "tools.docker": "24.0"}},
	} {
		require.NoError(t, w.Join(ctx, a))
	}
	holder := w.started(example())
	requires := []plan.Requirement{{Op: "eq", Key: "os", Values: []string{"linux"}}, {Op: "at_least", Key: "tools.docker", Values: []string{"25.0"}, Reason: "image store"}}
	b, err := w.Enqueue(ctx, store.NewBuild(build.NewID(at), 98, store.Request{Project: "shop"}, at))
	require.NoError(t, err)
	w.change(b.ID, store.Claim{Agent: agent, Nonce: "n", Max: 3, At: at})
	w.change(b.ID, store.Planned{Agent: agent, Fence: 1, Commit: commit, Plan: example().Digest(), Requires: requires, Groups: []string{"deploy"}, Total: 5})
	_, err = w.ChangeGroup(ctx, "deploy", store.Acquire{Waiter: store.Waiter{Build: holder.ID, Number: holder.Number}})
	require.NoError(t, err)
	w.change(b.ID, store.HandOver{Agent: agent, Fence: 1, Nonce: "h", At: at})
	_, err = w.Enqueue(ctx, store.NewBuild(build.NewID(at), 99, store.Request{Project: "shop", Priority: 5}, at))
	require.NoError(t, err)

	why, err := c.Why(ctx, ref(b), "")
	require.NoError(t, err)
	require.Equal(t, "no eligible agent", why.Summary)
	require.Equal(t, "old lacks the least: image store: needs tools.docker at least 25.0, found 24.0", why.Nearest)
	require.Equal(t, []string{fmt.Sprintf(`concurrency "deploy" is held by build %d`, holder.Number), "1 build is queued before it, 1 of them with a higher priority"}, why.Queue)
	require.Equal(t, requires, why.Wants)
	require.Equal(t, []placement.Candidate{
		{ID: "2", Name: "old", Reasons: []string{"is draining"}, Checks: []placement.Check{
			{Wanted: "os linux", Met: true, Found: "linux"}, {Wanted: "tools.docker at least 25.0", Found: "24.0", Reason: "image store"}}},
		{ID: "1", Name: "mac", Free: 1, Checks: []placement.Check{
			{Wanted: "os linux", Found: "darwin"}, {Wanted: "tools.docker at least 25.0", Found: "nothing", Reason: "image store"}}},
	}, why.Agents)
	step, err := c.Why(ctx, ref(b), "unit")
	require.NoError(t, err)
	require.Equal(t, why.Agents, step.Agents, "a step waits for what its build waits for")
}

func BenchmarkWhy(b *testing.B) {
	ctx := b.Context()
	s := store.NewMemory()
	for i := range 500 {
		require.NoError(b, s.Join(ctx, store.Agent{ID: store.AgentID(fmt.Sprint(i)), Name: fmt.Sprint("a", i), Slots: 1, Seen: at, Facts: map[string]string{"os": "linux", "tools.docker": "24.0"}}))
	}
	var asked store.Build
	for i := range 1000 {
		var err error
		asked, err = s.Enqueue(ctx, store.NewBuild(build.NewID(at), int64(i+1), store.Request{Project: "shop"}, at))
		require.NoError(b, err)
	}
	p := example()
	require.NoError(b, s.PutBlob(ctx, p.Digest(), p.Canonical()))
	for _, c := range []store.Change{
		store.Claim{Agent: agent, Nonce: "n", Max: 3, At: at},
		store.Planned{Agent: agent, Fence: 1, Commit: commit, Plan: p.Digest(), Requires: []plan.Requirement{{Op: "at_least", Key: "tools.docker", Values: []string{"25.0"}}}},
		store.HandOver{Agent: agent, Fence: 1, Nonce: "h", At: at},
	} {
		_, err := s.Change(ctx, asked.ID, c)
		require.NoError(b, err)
	}
	c := client.InProcess((&api.Server{Store: s}).HandlerAs(store.Token{Role: store.Read}))
	for b.Loop() {
		why, err := c.Why(ctx, string(asked.ID), "")
		require.NoError(b, err)
		require.Len(b, why.Agents, 500)
	}
}
