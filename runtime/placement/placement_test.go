package placement_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/placement"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func agent(name string, change ...func(*store.Agent)) store.Agent {
	a := store.Agent{ID: store.AgentID("id-" + name), Name: name, Slots: 1, Seen: now, Facts: map[string]string{"os": "linux", "tools.docker": "24.0"}}
	for _, c := range change {
		c(&a)
	}
	return a
}

func draining(a *store.Agent) { a.Draining = true }
func ending(a *store.Agent)   { a.Ending = true }
func stuck(a *store.Agent)    { a.Facts["unkillable"] = "dd (7)" }
func full(a *store.Agent)     { a.Running = map[build.ID]int64{"other": 1} }
func silent(a *store.Agent)   { a.Seen = now.Add(-2 * time.Minute) }
func mac(a *store.Agent)      { a.Facts = map[string]string{"os": "darwin"} }
func gpu(a *store.Agent)      { a.Labels = map[string]string{"gpu": "h100"} }

func queued(requires ...plan.Requirement) store.Build {
	return store.Build{ID: "b1", Number: 7, State: build.Queued, Requires: requires}
}

var (
	linux  = plan.Requirement{Op: "eq", Key: "os", Values: []string{"linux"}}
	docker = plan.Requirement{Op: "at_least", Key: "tools.docker", Values: []string{"25.0"}, Reason: "image store"}
	h100   = plan.Requirement{Op: "eq", Key: "labels.gpu", Values: []string{"h100"}}
	broken = plan.Requirement{Op: "like", Key: "os", Values: []string{"x"}}
)

func TestEligible(t *testing.T) {
	for name, test := range map[string]struct {
		agent store.Agent
		build store.Build
		want  bool
	}{
		"unplanned":                {agent("a", mac), queued(), true},
		"met":                      {agent("a"), queued(linux), true},
		"unmet":                    {agent("a", mac), queued(linux), false},
		"one of two unmet":         {agent("a"), queued(linux, docker), false},
		"a label":                  {agent("a", gpu), queued(h100), true},
		"no label":                 {agent("a"), queued(h100), false},
		"the name":                 {agent("a"), queued(plan.Requirement{Op: "eq", Key: "agent.name", Values: []string{"a"}}), true},
		"no meaning":               {agent("a"), queued(broken), false},
		"for another one":          {agent("a"), store.Build{Request: store.Request{Here: "id-b"}}, false},
		"for this one":             {agent("a"), store.Build{Request: store.Request{Here: "id-a"}}, true},
		"draining is not the same": {agent("a", draining), queued(linux), true},
	} {
		t.Run(name, func(t *testing.T) { require.Equal(t, test.want, placement.Eligible(&test.agent, &test.build)) })
	}
}

func TestFirstChoice(t *testing.T) {
	for name, test := range map[string]struct {
		agents []store.Agent
		want   []store.AgentID // any of these
	}{
		"nobody":                 {nil, []store.AgentID{""}},
		"the one that can":       {[]store.Agent{agent("a", mac), agent("b")}, []store.AgentID{"id-b"}},
		"not one that is full":   {[]store.Agent{agent("a", full), agent("b")}, []store.AgentID{"id-b"}},
		"not one that drains":    {[]store.Agent{agent("a", draining), agent("b")}, []store.AgentID{"id-b"}},
		"not one that ends":      {[]store.Agent{agent("a", ending), agent("b")}, []store.AgentID{"id-b"}},
		"nobody who can":         {[]store.Agent{agent("a", mac), agent("b", full)}, []store.AgentID{""}},
		"one of several that do": {[]store.Agent{agent("a"), agent("b"), agent("c", mac)}, []store.AgentID{"id-a", "id-b"}},
	} {
		t.Run(name, func(t *testing.T) {
			b := queued(linux)
			require.Contains(t, test.want, placement.FirstChoice(&b, test.agents))
		})
	}
}

// Builds spread over the agents, whoever looks and in whatever order, and an
// agent that leaves moves only what it had.
func TestBuildsSpread(t *testing.T) {
	var agents, fewer []store.Agent
	for i := range 8 {
		agents = append(agents, agent(fmt.Sprint("a", i)))
	}
	for i := range agents[1:] {
		fewer = append(fewer, agents[len(agents)-1-i]) // the other way round, without a0
	}
	had := map[store.AgentID]int{}
	for i := range 8000 {
		b := store.Build{ID: store.Derive("spread", fmt.Sprint(i))}
		choice := placement.FirstChoice(&b, agents)
		had[choice]++
		if then := placement.FirstChoice(&b, fewer); choice != "id-a0" {
			require.Equal(t, choice, then)
		}
	}
	for id, n := range had {
		require.InDelta(t, 1000, n, 150, id) // five standard deviations
	}
	require.Len(t, had, 8)
}
