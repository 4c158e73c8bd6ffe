package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/api/client"
	"github.com/piper-build/piper/runtime/store"
)

func (a *app) agentsCommand() *command {
	c := a.newCommand("agents", "[agent] [flags]")
	c.ShortHelp = "List the agents, or show one with its facts."
	c.examples = `
piper agents
piper agents builder-1
piper agents --json
`
	r := c.asksServer()
	asJSON := c.FlagSet.Bool("json", false, "print JSON")
	c.max, c.args = 1, agentWords
	c.Exec = func(ctx context.Context, args []string) error {
		return a.ask(ctx, r, func(s *client.Client) error {
			if len(args) == 1 {
				agent, err := agentCalled(ctx, s, args[0])
				if err != nil {
					return err
				}
				if *asJSON {
					return a.printJSON(agent)
				}
				return a.showAgent(agent)
			}
			agents, err := s.Agents(ctx)
			if err != nil {
				return err
			}
			if *asJSON {
				return a.printJSON(append([]api.Agent{}, agents...))
			}
			if len(agents) == 0 {
				fmt.Fprintln(a.stderr, `piper: there is no agent`+"\n"+`hint: "piper agentd" starts one`)
				return nil
			}
			w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
			row(w, "AGENT", "STATE", "SLOTS", "HOST", "VERSION", "SEEN", "RUNS")
			for _, agent := range agents {
				row(w, agent.Name, agentState(agent), fmt.Sprintf("%d of %d free", agent.Free, agent.Slots), agent.Host, agent.Version, ago(agent.Seen), runs(agent))
			}
			return w.Flush()
		})
	}
	return c
}

func agentState(agent api.Agent) string {
	switch {
	case agent.Ending:
		return "ending"
	case agent.Draining:
		return "draining"
	case len(agent.Running) > 0:
		return "busy"
	}
	return "idle"
}

// runs are the builds of an agent.
func runs(agent api.Agent) string {
	var all []string
	for _, b := range agent.Running {
		if b.Number > 0 {
			all = append(all, fmt.Sprint(b.Number))
		}
	}
	return strings.Join(all, ", ")
}

func (a *app) showAgent(agent api.Agent) error {
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	row(w, "agent", fmt.Sprintf("%s (%s)", agent.Name, agent.ID))
	row(w, "state", agentState(agent))
	row(w, "slots", fmt.Sprintf("%d of %d free", agent.Free, agent.Slots))
	row(w, "host", agent.Host)
	row(w, "version", agent.Version)
	row(w, "started", stamp(agent.Started))
	row(w, "seen", stamp(agent.Seen))
	row(w, "runs", cmp.Or(runs(agent), "nothing"))
	for _, name := range slices.Sorted(maps.Keys(agent.Labels)) {
		row(w, "labels."+name, agent.Labels[name])
	}
	for _, name := range slices.Sorted(maps.Keys(agent.Facts)) {
		row(w, name, cmp.Or(agent.Facts[name], "of no known version"))
	}
	return w.Flush()
}

// agentCalled finds an agent by its name or ID.
func agentCalled(ctx context.Context, s *client.Client, name string) (api.Agent, error) {
	agents, err := s.Agents(ctx)
	if err != nil {
		return api.Agent{}, err
	}
	var found []api.Agent
	var names []string
	for _, agent := range agents {
		names = append(names, agent.Name)
		if agent.Name == name || agent.ID == store.AgentID(name) {
			found = append(found, agent)
		}
	}
	switch len(found) {
	case 0:
		fault := &api.Problem{Status: 404, Detail: fmt.Sprintf("there is no agent %q", name)}
		if near := nearest(name, names); near != "" {
			fault.Detail += fmt.Sprintf("; did you mean %q?", near)
		}
		return api.Agent{}, fault
	case 1:
		return found[0], nil
	}
	return api.Agent{}, &usageError{message: fmt.Sprintf("%d agents are called %s", len(found), name), hint: "name one by its id: piper agents --json shows them"}
}

// agentWords offers the agents.
func agentWords(ctx context.Context, l *line) []candidate {
	if len(l.args) > 0 {
		return nil
	}
	var found []candidate
	l.askQuietly(ctx, func(s *client.Client) error {
		agents, err := s.Agents(ctx)
		for _, agent := range agents {
			found = append(found, candidate{agent.Name, agentState(agent)})
		}
		return err
	})
	return found
}

func (a *app) drainCommand() *command {
	c := a.newCommand("drain", "AGENT [flags]")
	c.ShortHelp = "Have an agent take no more builds, or take them again."
	c.LongHelp = `What it runs goes on. An agent that is stopped (SIGTERM) drains by itself.`
	c.examples = `
piper drain builder-1
piper drain builder-1 --resume
`
	r := c.asksServer()
	resume := c.FlagSet.Bool("resume", false, "take builds again")
	asJSON := c.FlagSet.Bool("json", false, "print the agent as a JSON object")
	c.max, c.args = 1, agentWords
	c.Exec = func(ctx context.Context, args []string) error {
		if len(args) == 0 {
			return &usageError{message: "piper drain needs the name of an agent", hint: `"piper agents" lists them`}
		}
		return a.ask(ctx, r, func(s *client.Client) error {
			agent, err := agentCalled(ctx, s, args[0])
			if err != nil {
				return err
			}
			change := s.Drain
			if *resume {
				change = s.Resume
			}
			if agent, err = change(ctx, agent.ID); err != nil {
				return err
			}
			if *asJSON {
				return a.printJSON(agent)
			}
			fmt.Fprintf(a.stderr, "piper: %s is %s\n", agent.Name, agentState(agent))
			return nil
		})
	}
	return c
}
