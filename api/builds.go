package api

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/layout"
	"github.com/piper-build/piper/runtime/logs"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

const (
	defaultLimit = 50
	maxLimit     = 200
)

// summary is a build as lists and streams have it.
func summary(b *store.Build, agents map[store.AgentID]string) Build {
	r := &b.Request
	s := Build{
		ID: b.ID, Number: b.Number, Project: r.Project, Pipeline: r.Pipeline, Environment: r.Environment,
		State: b.State, Reason: b.Reason, Commit: b.Commit, Ref: r.Ref, Patch: r.Patch, PlanDigest: b.Plan,
		Parent: r.Cause.Build, Cause: Cause(r.Cause), Attempt: b.Attempt, Fence: b.Fence, Priority: r.Priority, Here: r.Here != "", Progress: b.Progress,
		Created: b.Created, Started: b.Started, Ended: b.Ended, Pinned: b.Pinned, Rev: b.Rev,
	}
	if s.Commit == "" {
		s.Commit = r.Commit
	}
	if id := cmp.Or(b.Owner, b.Last); id != "" {
		s.Agent = &AgentRef{ID: id, Name: agents[id]}
	}
	if b.Cancel != nil {
		cancel := Cancel(*b.Cancel)
		s.Cancel = &cancel
	}
	if len(r.Params) > 0 {
		s.Params = make(map[string]any, len(r.Params))
		for name, text := range r.Params {
			s.Params[name] = text
		}
	}
	return s
}

// agentNames are the names of all agents.
func (c *call) agentNames() (map[store.AgentID]string, error) {
	agents, err := c.Store.Agents(c.ctx)
	names := make(map[store.AgentID]string, len(agents))
	for _, a := range agents {
		names[a.ID] = a.Name
	}
	return names, err
}

func (c *call) listBuilds() (*answer, error) {
	q := c.query
	limit, err := c.limit(defaultLimit, maxLimit)
	if err != nil {
		return nil, err
	}
	f := store.Filter{Project: q.Get("project"), Pipeline: q.Get("pipeline"), State: build.State(q.Get("state")), Owner: store.AgentID(q.Get("agent")), Parent: build.ID(q.Get("parent"))}
	states := []build.State{"", build.Queued, build.Running, build.Success, build.Failed, build.Cancelled, build.TimedOut, build.Lost, build.Rejected}
	switch {
	case f.Pipeline != "" && f.Project == "":
		return nil, badField("pipeline", "needs project too")
	case !slices.Contains(states, f.State):
		p := badField("state", quote(string(f.State))+" is no state of a build")
		var words []string
		for _, s := range states {
			words = append(words, string(s))
		}
		if near, ok := plan.Nearest(string(f.State), words); ok {
			p.Errors[0].Hint = "did you mean " + near + "?"
		}
		return nil, p
	case f.Project != "" && !c.sees(f.Project):
		return nil, c.noProject(f.Project)
	}
	asking, err := c.flag("asking")
	if err != nil {
		return nil, err
	}
	if asking {
		if f.State != "" && f.State != build.Running {
			return nil, badField("asking", "is true of running builds alone")
		}
		f.State = build.Running
	}
	names, err := c.agentNames()
	if err != nil {
		return nil, err
	}
	// A page is of what may be seen and is wanted: of a store with much else it takes
	// several.
	list, cursor := []Build{}, q.Get("cursor")
	for range 20 {
		page, next, err := c.Store.List(c.ctx, f, cursor, limit-len(list))
		if err != nil {
			return nil, err
		}
		for i := range page {
			if !c.sees(page[i].Request.Project) || asking && page[i].Progress.Asking == 0 {
				continue
			}
			s := summary(&page[i], names)
			if err := c.usuals.tell(c.ctx, &s); err != nil {
				return nil, err
			}
			list = append(list, s)
		}
		if cursor = next; cursor == "" || len(list) == limit {
			break
		}
	}
	a := (&answer{value: list}).from(c.at)
	if cursor != "" {
		c.next(a, cursor)
	}
	return a, nil
}

// next names the page after a.
func (c *call) next(a *answer, cursor string) {
	next := maps.Clone(c.query)
	next.Set("cursor", cursor)
	a.with("Link", fmt.Sprintf("<%s?%s>; rel=\"next\"", c.r.URL.Path, next.Encode())).with("X-Next-Cursor", cursor)
}

// limit is how many entries are asked for.
func (c *call) limit(usual, most int64) (int, error) {
	n, err := c.number("limit", 1)
	if n == 0 {
		n = usual
	}
	return int(min(n, most)), err
}

// number is a parameter of the query; 0 when it is not there.
func (c *call) number(name string, least int64) (int64, error) {
	text, given := c.query.Get(name), c.query.Has(name)
	if !given {
		return 0, nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil || n < least {
		return 0, badField(name, fmt.Sprintf("%s is no whole number from %d on", quote(text), least))
	}
	return n, nil
}

// flag is a parameter of the query that is true, false or not there.
func (c *call) flag(name string) (bool, error) {
	if text := c.query.Get(name); text != "" {
		on, err := strconv.ParseBool(text)
		if err != nil {
			return false, badField(name, quote(text)+" is neither true nor false")
		}
		return on, nil
	}
	return c.query.Has(name), nil
}

// build reads the build of the path, by number or ID, if whoever asks may see it.
func (c *call) build() (store.Build, error) { return c.buildNamed(c.param("build")) }

func (c *call) buildNamed(ref string) (store.Build, error) {
	b, err := c.find(ref)
	switch {
	case errors.Is(err, store.ErrNotFound), err == nil && !c.sees(b.Request.Project):
		return store.Build{}, problem(http.StatusNotFound, "no-build", "there is no build "+quote(ref))
	case err == nil && b.Collected:
		return store.Build{}, problem(http.StatusNotFound, "no-build", "build "+quote(ref)+" was deleted, as the project's retention says")
	}
	return b, err
}

func (c *call) find(ref string) (store.Build, error) {
	if n, err := strconv.ParseInt(ref, 10, 64); err == nil {
		return c.Store.BuildNumbered(c.ctx, n)
	}
	return c.Store.Build(c.ctx, build.ID(ref))
}

func (c *call) showBuild() (*answer, error) {
	b, err := c.build()
	if err != nil {
		return nil, err
	}
	return c.whole(http.StatusOK, b)
}

// whole answers with all there is to say of a build.
func (c *call) whole(status int, b store.Build) (*answer, error) {
	names, err := c.agentNames()
	if err != nil {
		return nil, err
	}
	s := summary(&b, names)
	s.Diagnostics = b.Diagnostics
	if err := c.usuals.tell(c.ctx, &s); err != nil {
		return nil, err
	}
	f, err := c.fold(&b)
	if err != nil {
		return nil, err
	}
	if f != nil {
		s.Fence, s.Params, s.Pipeline = f.fence, f.plan.Params, f.plan.Pipeline
		s.Steps = steps(f.Build)
		if f.State() == build.Running {
			s.Progress = f.Progress() // newer than what the agent reported
		}
	}
	s.Approvals = approvals(&b, f)
	for _, node := range slices.Sorted(maps.Keys(b.Outbox)) {
		out := b.Outbox[node]
		t := Triggered{Node: node, ID: out.Child, Project: out.Request.Project, Pipeline: out.Request.Pipeline, Wait: out.Wait}
		switch child, err := c.Store.Build(c.ctx, out.Child); {
		case err == nil:
			t.Number, t.State = child.Number, child.State
		case !errors.Is(err, store.ErrNotFound):
			return nil, err
		}
		if c.sees(t.Project) {
			s.Triggered = append(s.Triggered, t)
		}
	}
	at := buildPlace{rev: b.Rev}
	if f != nil {
		at.fence, at.seq = f.fence, f.Seq()
	}
	c.at.builds[b.ID] = at
	return (&answer{status: status, value: s}).from(c.at), nil
}

// fold is past.fold.
func (c *call) fold(b *store.Build) (*folded, error) { return c.past.fold(c.ctx, b) }

// steps are all nodes, in the order of the plan.
func steps(b *build.Build) []Step {
	nodes := b.Plan().Nodes
	list := make([]Step, len(nodes))
	for i := range nodes {
		list[i] = Step{Name: nodes[i].Name, Step: b.Node(i)}
		if s := list[i].State; s == build.Waiting || s == build.Running {
			list[i].Why = b.Why(i)
		}
	}
	return list
}

// approvals are the nodes that ask a person now, or were answered.
func approvals(b *store.Build, f *folded) (list []Approval) {
	prompts := map[string]string{}
	if f != nil {
		nodes := f.Build.Plan().Nodes
		for i := range nodes {
			if nodes[i].Approve() == nil {
				continue
			}
			prompts[nodes[i].Name] = nodes[i].Approve().Prompt
			_, answered := b.Approvals[nodes[i].Name]
			if step := f.Node(i); step.State == build.Running && !answered && !b.Terminal() {
				list = append(list, Approval{Node: nodes[i].Name, State: ApprovalWaiting, Prompt: nodes[i].Approve().Prompt, At: step.Started})
			}
		}
	}
	for _, node := range slices.Sorted(maps.Keys(b.Approvals)) {
		a := b.Approvals[node]
		state := ApprovalRefused
		if a.Approved {
			state = ApprovalApproved
		}
		list = append(list, Approval{Node: node, State: state, Prompt: prompts[node], By: a.By, Reason: a.Reason, At: a.At})
	}
	return list
}

// showPlan answers with the plan as it was stored, or with all that expands have
// found so far.
func (c *call) showPlan() (*answer, error) {
	b, err := c.build()
	if err != nil {
		return nil, err
	}
	if b.Plan == "" {
		return nil, noPlan(&b)
	}
	grown, err := c.flag("grown")
	if err != nil {
		return nil, err
	}
	if grown {
		f, err := c.fold(&b)
		if err != nil {
			return nil, err
		}
		return &answer{text: f.Build.Plan().Canonical(), kind: "application/json"}, nil
	}
	data, err := c.Store.Blob(c.ctx, b.Plan)
	if err != nil {
		return nil, err
	}
	text, err := store.PlanText(data)
	if err != nil {
		return nil, err
	}
	return (&answer{text: text, kind: "application/json"}).with("ETag", `"`+b.Plan+`"`), nil
}

func noPlan(b *store.Build) error {
	return problem(http.StatusNotFound, "not-planned", fmt.Sprintf("build %d was not planned", b.Number))
}

// showGraph draws the plan with all that expands have found so far.
func (c *call) showGraph() (*answer, error) {
	b, err := c.build()
	if err != nil {
		return nil, err
	}
	f, err := c.fold(&b)
	switch {
	case err != nil:
		return nil, err
	case f == nil:
		return nil, noPlan(&b)
	}
	return ok(layout.New(f.Build.Plan()))
}

func (c *call) showRequest() (*answer, error) {
	b, err := c.build()
	if err != nil {
		return nil, err
	}
	r := &b.Request
	return &answer{value: Asked{
		Project: r.Project, Pipeline: r.Pipeline, Environment: r.Environment, Params: r.Params, Ref: r.Ref,
		Commit: cmp.Or(b.Commit, r.Commit), Patch: r.Patch, Select: r.Select, Event: r.Event, Trust: r.Cause.Trust,
	}}, nil
}

func (c *call) showPatch() (*answer, error) {
	b, err := c.build()
	if err != nil {
		return nil, err
	}
	if b.Request.Patch == "" {
		return nil, problem(http.StatusNotFound, "no-patch", fmt.Sprintf("build %d is of what was committed", b.Number))
	}
	data, err := c.Store.Blob(c.ctx, b.Request.Patch)
	if err != nil {
		return nil, err
	}
	return (&answer{text: data, kind: "text/x-patch"}).with("ETag", `"`+b.Request.Patch+`"`), nil
}

func (c *call) listEvents() (*answer, error) {
	b, err := c.build()
	if err != nil {
		return nil, err
	}
	after, err := c.number("after", 0)
	if err != nil {
		return nil, err
	}
	limit, err := c.limit(1000, 1000)
	if err != nil {
		return nil, err
	}
	fence, err := c.fenceAsked(&b)
	if err != nil {
		return nil, err
	}
	events, err := c.past.Events(c.ctx, b.ID, fence, after+1, limit)
	if err != nil {
		return nil, err
	}
	list := make([]BuildEvent, len(events))
	for i, ev := range events {
		list[i] = BuildEvent{Build: b.ID, Fence: fence, Event: ev}
	}
	return ok(list)
}

// fenceAsked is the fence that is asked for, or the one that counts.
func (c *call) fenceAsked(b *store.Build) (int64, error) {
	fence, err := c.number("fence", 1)
	if err != nil || fence > 0 {
		return fence, err
	}
	return logs.Fence(c.ctx, &c.past, b)
}
