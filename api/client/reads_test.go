package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/api/client"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
	"github.com/piper-build/piper/runtime/store/storetest"
)

// Over a wire a store reads as it does at hand.
func TestReads(t *testing.T) {
	storetest.RunReads(t, func(t *testing.T) (store.Store, storetest.Reader) {
		s := store.NewMemory()
		server := httptest.NewServer((&api.Server{Store: s}).HandlerAs(store.Token{Name: "me", Role: store.Admin}))
		t.Cleanup(server.Close)
		return s, reader{&client.Client{URL: server.URL, HTTP: server.Client()}}
	})
}

// A reader reads through a client, in the words of a store.
type reader struct{ c *client.Client }

// read has an answer of a server said by the store's own types and errors.
func read[A, S any](told A, err error, as func(A) S) (s S, _ error) {
	var p *api.Problem
	switch {
	case err == nil:
		return as(told), nil
	case errors.As(err, &p) && p.Code() == "bad-cursor":
		return s, fmt.Errorf("%w: %w", store.ErrCursor, err)
	case errors.As(err, &p) && p.Status == http.StatusNotFound:
		return s, fmt.Errorf("%w: %w", store.ErrNotFound, err)
	}
	return s, err
}

// each is as for all of a list.
func each[A, S any](as func(A) S) func([]A) []S {
	return func(list []A) (all []S) {
		for _, a := range list {
			all = append(all, as(a))
		}
		return all
	}
}

func buildOf(b api.Build) store.Build {
	s := store.Build{
		ID: b.ID, Number: b.Number, Rev: b.Rev, State: b.State, Reason: b.Reason, Diagnostics: b.Diagnostics, Fence: b.Fence, Attempt: b.Attempt,
		Commit: b.Commit, Plan: b.PlanDigest, Progress: b.Progress, Cancel: (*store.Cancel)(b.Cancel), Created: b.Created, Started: b.Started, Ended: b.Ended,
		Request: store.Request{Project: b.Project, Pipeline: b.Pipeline, Environment: b.Environment, Ref: b.Ref, Patch: b.Patch, Priority: b.Priority, Cause: store.Cause(b.Cause)},
	}
	switch {
	case b.Agent == nil:
	case s.Terminal():
		s.Last = b.Agent.ID
	default:
		s.Owner = b.Agent.ID
	}
	for name, value := range b.Params {
		if s.Request.Params == nil {
			s.Request.Params = map[string]string{}
		}
		s.Request.Params[name] = fmt.Sprint(value)
	}
	return s
}

func agentOf(a api.Agent) store.Agent {
	s := store.Agent{ID: a.ID, Name: a.Name, Host: a.Host, Version: a.Version, Started: a.Started, Seen: a.Seen, Slots: a.Slots, Draining: a.Draining, Labels: a.Labels, Facts: a.Facts}
	for _, b := range a.Running {
		if s.Running == nil {
			s.Running = map[build.ID]int64{}
		}
		s.Running[b.ID] = 0
	}
	return s
}

func projectOf(p api.Project) store.Project {
	return store.Project{Name: p.Name, Rev: p.Rev, Repo: p.Repo, Ref: p.Ref, Zone: p.Zone, Created: p.Created, Retention: p.Retention}
}

func tokenOf(t api.Token) store.Token {
	return store.Token{Name: t.Name, Role: t.Role, Projects: t.Projects, Created: t.Created, Expires: t.Expires}
}

func itself[T any](v T) T { return v }

func (r reader) Build(ctx context.Context, id build.ID) (store.Build, error) {
	b, err := r.c.Build(ctx, string(id))
	return read(b, err, buildOf)
}

func (r reader) BuildNumbered(ctx context.Context, number int64) (store.Build, error) {
	b, err := r.c.Build(ctx, fmt.Sprint(number))
	return read(b, err, buildOf)
}

func (r reader) List(ctx context.Context, f store.Filter, cursor string, limit int) ([]store.Build, string, error) {
	told, next, err := r.c.Builds(ctx, api.BuildFilter{Project: f.Project, Pipeline: f.Pipeline, State: f.State, Agent: f.Owner, Parent: f.Parent}, cursor, limit)
	page, err := read(told, err, each(buildOf))
	return page, next, err
}

func (r reader) Plan(ctx context.Context, id build.ID) (*plan.Plan, error) {
	p, err := r.c.Plan(ctx, string(id))
	return read(p, err, itself)
}

func (r reader) Events(ctx context.Context, id build.ID, fence, seq int64, limit int) ([]build.Event, error) {
	told, err := r.c.Events(ctx, string(id), fence, seq-1, limit)
	return read(told, err, each(func(e api.BuildEvent) build.Event { return e.Event }))
}

func (r reader) Lines(ctx context.Context, key store.ChunkKey, from, to int64) ([]string, error) {
	log, err := r.c.Log(ctx, string(key.Build), api.LogQuery{Step: key.Node, Attempt: key.Attempt, Fence: key.Fence, From: from, To: to})
	return read(log.Lines, err, each(func(l api.Line) string { return l.Text }))
}

func (r reader) Search(ctx context.Context, key store.ChunkKey, text string) ([]int64, error) {
	found, err := r.c.SearchLog(ctx, string(key.Build), api.SearchQuery{Text: text, Step: key.Node, Attempt: key.Attempt, Fence: key.Fence})
	return read(found.Hits, err, each(func(m api.Match) int64 { return m.Number }))
}

func (r reader) Agent(ctx context.Context, id store.AgentID) (store.Agent, error) {
	a, err := r.c.Agent(ctx, id)
	return read(a, err, agentOf)
}

func (r reader) Agents(ctx context.Context) ([]store.Agent, error) {
	list, err := r.c.Agents(ctx)
	return read(list, err, each(agentOf))
}

func (r reader) Project(ctx context.Context, name string) (store.Project, error) {
	p, err := r.c.Project(ctx, name)
	return read(p, err, projectOf)
}

func (r reader) Projects(ctx context.Context) ([]store.Project, error) {
	list, err := r.c.Projects(ctx)
	return read(list, err, each(projectOf))
}

func (r reader) Tokens(ctx context.Context) ([]store.Token, error) {
	list, err := r.c.Tokens(ctx)
	return read(list, err, each(tokenOf))
}
