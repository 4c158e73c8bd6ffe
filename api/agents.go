package api

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/placement"
	"github.com/piper-build/piper/runtime/store"
)

// agentOf is an agent as it is told of. What it runs is as the store has it now,
// which is newer than what it said of itself. sees says of which projects builds
// may be told.
func agentOf(a store.Agent, running []store.Build, sees func(project string) bool) Agent {
	a.Running = map[build.ID]int64{}
	refs := []BuildRef{}
	for i := range running {
		b := &running[i]
		if b.Owner != a.ID {
			continue
		}
		a.Running[b.ID] = b.Fence
		if sees(b.Request.Project) {
			refs = append(refs, BuildRef{ID: b.ID, Number: b.Number, Project: b.Request.Project, Pipeline: b.Request.Pipeline})
		}
	}
	slices.SortFunc(refs, func(a, b BuildRef) int { return cmp.Compare(a.Number, b.Number) })
	return Agent{ID: a.ID, Name: a.Name, Host: a.Host, Version: a.Version, Started: a.Started, Seen: a.Seen, Slots: a.Slots, Free: placement.Free(&a),
		Draining: a.Draining, Ending: a.Ending, Labels: a.Labels, Facts: a.Facts, Running: refs}
}

func (c *call) listAgents() (*answer, error) {
	agents, err := c.Store.Agents(c.ctx)
	if err != nil {
		return nil, err
	}
	running, err := c.Store.Running(c.ctx, "")
	if err != nil {
		return nil, err
	}
	list := make([]Agent, len(agents))
	for i := range agents {
		list[i] = agentOf(agents[i], running, c.sees)
	}
	return (&answer{value: list}).from(c.at), nil
}

func (c *call) showAgent() (*answer, error) {
	a, err := c.Store.Agent(c.ctx, store.AgentID(c.param("id")))
	if errors.Is(err, store.ErrNotFound) {
		return nil, problem(http.StatusNotFound, "no-agent", "there is no agent "+quote(c.param("id")))
	}
	if err != nil {
		return nil, err
	}
	running, err := c.Store.Running(c.ctx, "")
	if err != nil {
		return nil, err
	}
	return ok(agentOf(a, running, c.sees))
}

func (c *call) drainAgent() (*answer, error)  { return c.drain(true) }
func (c *call) resumeAgent() (*answer, error) { return c.drain(false) }

func (c *call) drain(draining bool) (*answer, error) {
	id := store.AgentID(c.param("id"))
	if a, err := c.Store.Agent(c.ctx, id); err == nil && a.Ending && !draining {
		return nil, problem(http.StatusConflict, "agent-ending", a.Name+" is ending: it takes builds again once it is started anew")
	}
	err := store.Insist(c.ctx, func() error { return c.Store.Drain(c.ctx, id, draining) })
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	return c.showAgent()
}

// why says why a build, or a step of it, is not running.
func (c *call) why() (*answer, error) {
	b, err := c.build()
	if err != nil {
		return nil, err
	}
	view := placement.View{Now: c.now(), Groups: map[string]store.Group{}, Holder: c.nameOf}
	if view.Agents, err = c.Store.Agents(c.ctx); err != nil {
		return nil, err
	}
	if view.Queue, err = c.Store.Queue(c.ctx, "", 1000); err != nil {
		return nil, err
	}
	for _, key := range b.Groups {
		if view.Groups[key], err = c.Store.Group(c.ctx, key); err != nil {
			return nil, err
		}
	}
	w := Why{Why: placement.Explain(&b, view), Step: c.query.Get("step"), Wants: b.Requires}
	f, err := c.fold(&b)
	if err != nil {
		return nil, err
	}
	if w.Step == "" {
		if f != nil && b.State == build.Running {
			w.Steps = slices.DeleteFunc(steps(f.Build), func(s Step) bool { return s.Why == "" })
		}
		return ok(w)
	}
	if f == nil {
		return nil, problem(http.StatusConflict, "not-planned", fmt.Sprintf("build %d was not planned: its steps are not known", b.Number))
	}
	i, known := f.Lookup(w.Step)
	if !known {
		return nil, among("step", w.Step, f.Build.Plan().NodeNames())
	}
	w.Steps = []Step{{Name: w.Step, Step: f.Node(i), Why: f.Why(i)}}
	if w.Summary = f.Why(i); w.Summary == "" {
		w.Summary = "it is " + string(f.Node(i).State)
	}
	return ok(w)
}

// nameOf is a build for people.
func (c *call) nameOf(id build.ID) string {
	b, err := c.Store.Build(c.ctx, id)
	if err != nil || !c.sees(b.Request.Project) {
		return "another build"
	}
	return fmt.Sprintf("build %d", b.Number)
}

func (c *call) version() (*answer, error) { return ok(Version{Version: c.Version}) }

func (c *call) health() (*answer, error) {
	text := "ok\n"
	if c.awayNotice() != "" {
		text += "the index of logs is away\n"
	}
	return &answer{text: []byte(text), kind: "text/plain; charset=utf-8"}, nil
}

// metrics are for Prometheus. What they mean is in README.md.
func (c *call) metrics() (*answer, error) {
	queued, err := c.Store.Queue(c.ctx, "", 100_000)
	if err != nil {
		return nil, err
	}
	running, err := c.Store.Running(c.ctx, "")
	if err != nil {
		return nil, err
	}
	agents, err := c.Store.Agents(c.ctx)
	if err != nil {
		return nil, err
	}
	slots, free, oldest := 0, 0, 0.0
	for i := range agents {
		slots += agents[i].Slots
		free += placement.Free(&agents[i])
	}
	for i := range queued {
		oldest = max(oldest, c.now().Sub(queued[i].Created).Seconds())
	}
	var text strings.Builder
	of := func(kind string) func(name, help string, value any) {
		return func(name, help string, value any) {
			fmt.Fprintf(&text, "# HELP %s %s\n# TYPE %[1]s %[4]s\n%[1]s %[3]v\n", name, help, value, kind)
		}
	}
	gauge := of("gauge")
	gauge("piper_builds_queued", "Builds that wait for an agent.", len(queued))
	gauge("piper_builds_queued_oldest_seconds", "How long the oldest of them has waited.", oldest)
	gauge("piper_builds_running", "Builds that an agent has.", len(running))
	gauge("piper_agents", "Agents that are there.", len(agents))
	gauge("piper_slots", "Builds that they could run at once.", slots)
	gauge("piper_slots_free", "How many more they could.", free)
	gauge("piper_streams", "Clients that follow the events of this server.", c.hub.listeners())
	if err := c.indexMetrics(gauge, of("counter")); err != nil {
		return nil, err
	}
	return &answer{text: []byte(text.String()), kind: "text/plain; version=0.0.4; charset=utf-8"}, nil
}
