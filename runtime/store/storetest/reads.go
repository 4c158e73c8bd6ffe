package storetest

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

// A Reader is what people may read of a store, wherever they are. Of a build, an
// agent, a project and a token it need not tell what only agents make use of: what
// is compared is what is told of it.
type Reader interface {
	Build(ctx context.Context, id build.ID) (store.Build, error)
	BuildNumbered(ctx context.Context, number int64) (store.Build, error)
	List(ctx context.Context, f store.Filter, cursor string, limit int) (page []store.Build, next string, err error)
	Plan(ctx context.Context, id build.ID) (*plan.Plan, error)
	Events(ctx context.Context, id build.ID, fence, seq int64, limit int) ([]build.Event, error)

	// Lines returns the lines from up to and including to, counted from 1, and
	// Search the numbers of those in which there is text. The Seq of the key
	// says nothing.
	Lines(ctx context.Context, key store.ChunkKey, from, to int64) ([]string, error)
	Search(ctx context.Context, key store.ChunkKey, text string) ([]int64, error)

	Agent(ctx context.Context, id store.AgentID) (store.Agent, error)
	Agents(ctx context.Context) ([]store.Agent, error)
	Project(ctx context.Context, name string) (store.Project, error)
	Projects(ctx context.Context) ([]store.Project, error)
	Tokens(ctx context.Context) ([]store.Token, error)
}

// RunReads holds what reads a store against the part of the contract that is
// about reading. open gives an empty store and who reads it for each theme.
func RunReads(t *testing.T, open func(t *testing.T) (store.Store, Reader)) {
	for _, theme := range reads {
		t.Run(theme.name, func(t *testing.T) {
			s, from := open(t)
			theme.check(suite{t, t.Context(), s, from})
		})
	}
}

// reads are the themes that fill a store, and read it through a Reader alone.
var reads = []theme{
	{"a build is read as it stands", buildsAreRead},
	{"builds are listed newest first, page by page", listed},
	{"a plan is read as it was put", plansAreRead},
	{"what happened is read from any event on", eventsAreRead},
	{"output is read by line", linesAreRead},
	{"agents are read by name", agentsAreRead},
	{"projects are read by name", projectsAreRead},
	{"tokens are read by name", tokensAreRead},
	{"what is not there is not read", nothingIsRead},
}

// direct reads a store itself.
type direct struct{ store.Store }

func (d direct) Plan(ctx context.Context, id build.ID) (*plan.Plan, error) {
	b, err := d.Build(ctx, id)
	if err != nil {
		return nil, err
	}
	data, err := d.Blob(ctx, b.Plan)
	if err != nil {
		return nil, err
	}
	return plan.Decode(data)
}

func (d direct) Lines(ctx context.Context, key store.ChunkKey, from, to int64) ([]string, error) {
	key.Seq = 0
	found, err := d.Chunks(ctx, key, 1000)
	if err != nil {
		return nil, err
	}
	var text strings.Builder
	for _, c := range found {
		text.Write(c.Data)
	}
	lines := strings.Split(strings.TrimSuffix(text.String(), "\n"), "\n")
	last := min(to, int64(len(lines)))
	return lines[min(from-1, last):last], nil
}

func (d direct) Search(ctx context.Context, key store.ChunkKey, text string) (numbers []int64, err error) {
	lines, err := d.Lines(ctx, key, 1, math.MaxInt64)
	for i, line := range lines {
		if strings.Contains(line, text) {
			numbers = append(numbers, int64(i)+1)
		}
	}
	return numbers, err
}

// told is what a Reader tells of a build.
func told(b store.Build) store.Build {
	r := &b.Request
	return store.Build{
		ID: b.ID, Number: b.Number, Rev: b.Rev, State: b.State, Reason: b.Reason, Diagnostics: b.Diagnostics,
		Fence: b.Fence, Attempt: b.Attempt, Owner: b.Owner, Last: b.Last, Commit: b.Commit, Plan: b.Plan, Progress: b.Progress, Cancel: b.Cancel,
		Created: b.Created, Started: b.Started, Ended: b.Ended,
		Request: store.Request{Project: r.Project, Pipeline: r.Pipeline, Environment: r.Environment, Params: r.Params, Ref: r.Ref,
			Patch: r.Patch, Priority: r.Priority, Cause: r.Cause},
	}
}

// example is what the builds of these themes run.
var example = &plan.Plan{Format: plan.Format, Project: plan.Project{Name: "p"}, Pipeline: "build", Params: map[string]any{"v": "1"},
	Nodes: []plan.Node{{Name: "unit", Step: &plan.Step{Script: "make test"}}}}

// planned makes a build that a has, and has planned.
func (s suite) planned(word string, change ...func(*store.Request)) store.Build {
	s.t.Helper()
	require.NoError(s.t, s.PutBlob(s.ctx, example.Digest(), example.Canonical()))
	s.enqueue(word, append(change, func(r *store.Request) { r.Params = map[string]string{"v": "1"} })...)
	s.claim(word, a)
	return s.change(word, store.Planned{Agent: a, Fence: 1, Commit: "c0ffee", Plan: example.Digest(), Total: 1})
}

func buildsAreRead(s suite) {
	s.enqueue("waits", func(r *store.Request) {
		r.Params, r.Ref, r.Environment, r.Priority = map[string]string{"v": "ü\n"}, "main", "staging", 7
		r.Cause = store.Cause{Kind: "change_request", By: "ann", Trust: "fork"}
	})
	s.planned("runs", func(r *store.Request) {
		r.Patch, r.Cause = "sha256:1", store.Cause{Kind: "trigger", Build: id("waits"), Node: "ship"}
	})
	s.planned("stops")
	s.change("stops", store.RequestCancel{Cancel: store.Cancel{By: "bob", Reason: "the wrong one", Force: true}, At: at})
	s.planned("succeeds")
	s.change("succeeds", store.Complete{Agent: a, Fence: 1, State: build.Success, Progress: build.Progress{Total: 1, Done: 1}, At: at.Add(time.Second)})
	s.enqueue("never")
	s.change("never", store.RequestCancel{Cancel: store.Cancel{By: "bob"}, At: at})
	s.enqueue("fails")
	s.claim("fails", b)
	s.change("fails", store.Complete{Agent: b, Fence: 1, State: build.Rejected, Reason: "PIPER.star is at fault",
		Diagnostics: plan.Diagnostics{{File: "PIPER.star", Line: 3, Severity: "error", Code: "syntax", Message: "want ')'"}}, At: at})

	page, next, err := s.from.List(s.ctx, store.Filter{}, "", 10)
	require.NoError(s.t, err)
	require.Empty(s.t, next)
	words := []string{"fails", "never", "succeeds", "stops", "runs", "waits"}
	require.Len(s.t, page, len(words))
	for i, word := range words {
		kept := s.read(word)
		got, err := s.from.Build(s.ctx, kept.ID)
		require.NoError(s.t, err)
		require.Equal(s.t, told(kept), told(got), word)
		got, err = s.from.BuildNumbered(s.ctx, kept.Number)
		require.NoError(s.t, err)
		require.Equal(s.t, told(kept), told(got), word)
		kept.Diagnostics, page[i].Diagnostics = nil, nil // a list may leave them out
		require.Equal(s.t, told(kept), told(page[i]), "%s, in a list", word)
	}
}

func plansAreRead(s suite) {
	s.planned("x")
	got, err := s.from.Plan(s.ctx, id("x"))
	require.NoError(s.t, err)
	require.Equal(s.t, string(example.Canonical()), string(got.Canonical()))
}

func eventsAreRead(s suite) {
	s.planned("x")
	exit := 3
	all := []build.Event{
		{Seq: 1, Time: at, Kind: build.BuildStarted},
		{Seq: 2, Time: at, Kind: build.AttemptStarted, Node: "unit", Attempt: 1},
		{Seq: 3, Time: at.Add(time.Millisecond), Kind: build.AttemptEnded, Node: "unit", Attempt: 1, State: build.Failed, Exit: &exit, Outputs: map[string]string{"k": "ü"}},
		{Seq: 4, Time: at, Kind: build.BuildEnded, State: build.Failed},
	}
	require.NoError(s.t, s.AppendEvents(s.ctx, store.EventKey{Build: id("x"), Fence: 1, Seq: 1}, all[:2]))
	require.NoError(s.t, s.AppendEvents(s.ctx, store.EventKey{Build: id("x"), Fence: 1, Seq: 3}, all[2:]))
	for _, c := range []struct {
		fence, seq int64
		limit      int
		want       []build.Event
	}{{1, 1, 10, all}, {1, 2, 2, all[1:3]}, {1, 4, 10, all[3:]}, {1, 5, 10, nil}, {2, 1, 10, nil}} {
		got, err := s.from.Events(s.ctx, id("x"), c.fence, c.seq, c.limit)
		require.NoError(s.t, err)
		require.ElementsMatch(s.t, c.want, got)
	}
}

func linesAreRead(s suite) {
	s.planned("x")
	var want []string
	for i := range 2500 {
		want = append(want, fmt.Sprintf("line %d is ü", i+1))
	}
	text, key := strings.Join(want, "\n"), store.ChunkKey{Build: id("x"), Fence: 1, Node: "unit", Attempt: 1}
	offset, line := int64(0), int64(0)
	for part := range slices.Chunk([]byte(text), 999) { // lines lie across chunks
		lines := int64(strings.Count(string(part), "\n"))
		require.NoError(s.t, s.AppendChunks(s.ctx, []store.Chunk{{Key: key, Line: line, Lines: lines, Offset: offset, Times: []store.Stamp{{At: at}}, Data: part}}))
		offset, line, key.Seq = offset+int64(len(part)), line+lines, key.Seq+1
	}
	for _, c := range []struct{ from, to int64 }{{1, 1}, {1, 2500}, {73, 110}, {2499, 2500}, {2500, 9999}} {
		got, err := s.from.Lines(s.ctx, key, c.from, c.to)
		require.NoError(s.t, err)
		require.Equal(s.t, want[c.from-1:min(c.to, 2500)], got, "lines %d to %d", c.from, c.to)
	}
	got, err := s.from.Lines(s.ctx, key, 2501, 2600)
	require.NoError(s.t, err)
	require.Empty(s.t, got)
	numbers, err := s.from.Search(s.ctx, key, "line 249")
	require.NoError(s.t, err)
	require.Equal(s.t, []int64{249, 2490, 2491, 2492, 2493, 2494, 2495, 2496, 2497, 2498, 2499}, numbers)
}

func agentsAreRead(s suite) {
	one := store.Agent{ID: a, Name: "zoe", Host: "h1", Version: "1.2", Started: at, Slots: 2, Labels: map[string]string{"gpu": "yes"}, Facts: map[string]string{"os": "linux"}}
	two := store.Agent{ID: b, Name: "adam", Host: "h2", Started: at, Slots: 1}
	for _, agent := range []store.Agent{one, two} {
		require.NoError(s.t, s.Join(s.ctx, agent))
	}
	running := s.planned("x")
	_, err := s.Heartbeat(s.ctx, a, map[build.ID]int64{running.ID: running.Fence}, at.Add(time.Second))
	require.NoError(s.t, err)
	require.NoError(s.t, s.Drain(s.ctx, a, true))
	one.Seen, one.Draining, one.Running = at.Add(time.Second), true, map[build.ID]int64{running.ID: 0}

	all, err := s.from.Agents(s.ctx)
	require.NoError(s.t, err)
	require.Len(s.t, all, 2)
	single, err := s.from.Agent(s.ctx, a)
	require.NoError(s.t, err)
	for i, got := range []store.Agent{all[0], all[1], single} {
		got.Beat = 0
		for id := range got.Running {
			got.Running[id] = 0 // the fence is for agents
		}
		require.Equal(s.t, []store.Agent{two, one, one}[i], got)
	}
}

func projectsAreRead(s suite) {
	shop := store.Project{Name: "shop", Repo: "https://example.com/shop.git", Ref: "main", Zone: "Europe/Berlin", Created: at, Retention: store.Retention{Count: 30}}
	for _, p := range []store.Project{shop, {Name: "app", Repo: "/srv/app", Created: at}} {
		_, err := s.PutProject(s.ctx, p)
		require.NoError(s.t, err)
	}
	shop.Rev = 1
	got, err := s.from.Project(s.ctx, "shop")
	require.NoError(s.t, err)
	require.Equal(s.t, shop, got)
	all, err := s.from.Projects(s.ctx)
	require.NoError(s.t, err)
	require.Equal(s.t, []store.Project{{Name: "app", Repo: "/srv/app", Created: at, Rev: 1}, shop}, all)
}

func tokensAreRead(s suite) {
	ci := store.Token{Hash: "aa", Name: "ci", Role: store.Trigger, Projects: []string{"shop*"}, Created: at, Expires: at.Add(time.Hour)}
	require.NoError(s.t, s.AddToken(s.ctx, ci))
	require.NoError(s.t, s.AddToken(s.ctx, store.Token{Hash: "bb", Name: "admin", Role: store.Admin, Created: at}))
	all, err := s.from.Tokens(s.ctx)
	require.NoError(s.t, err)
	for i := range all {
		all[i].Hash = ""
	}
	ci.Hash = ""
	require.Equal(s.t, []store.Token{{Name: "admin", Role: store.Admin, Created: at}, ci}, all)
}

func nothingIsRead(s suite) {
	s.enqueue("x")
	for what, read := range map[string]func() error{
		"a build":   func() error { _, err := s.from.Build(s.ctx, id("none")); return err },
		"by number": func() error { _, err := s.from.BuildNumbered(s.ctx, 99); return err },
		"its plan":  func() error { _, err := s.from.Plan(s.ctx, id("none")); return err },
		"no plan":   func() error { _, err := s.from.Plan(s.ctx, id("x")); return err },
		"an agent":  func() error { _, err := s.from.Agent(s.ctx, "none"); return err },
		"a project": func() error { _, err := s.from.Project(s.ctx, "none"); return err },
	} {
		require.ErrorIs(s.t, read(), store.ErrNotFound, what)
	}
	for _, empty := range []func() (int, error){
		func() (int, error) { l, err := s.from.Agents(s.ctx); return len(l), err },
		func() (int, error) { l, err := s.from.Projects(s.ctx); return len(l), err },
		func() (int, error) { l, err := s.from.Tokens(s.ctx); return len(l), err },
		func() (int, error) {
			l, _, err := s.from.List(s.ctx, store.Filter{Project: "other"}, "", 5)
			return len(l), err
		},
	} {
		n, err := empty()
		require.NoError(s.t, err)
		require.Zero(s.t, n)
	}
}
