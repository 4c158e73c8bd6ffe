package main

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/api/client"
	"github.com/piper-build/piper/runtime/facts"
)

func (a *app) whyCommand() *command {
	c := a.newCommand("why", "BUILD [step] [flags]")
	c.ShortHelp = "Say why a build, or a step of it, does not run."
	c.LongHelp = `For a build in the queue: what keeps it there, and for each agent what it lacks,
the nearest first. For one that runs: what its steps wait for.`
	c.examples = `
piper why 41
piper why 41 publish
piper why 41 --json
`
	r := c.asksServer()
	asJSON := c.FlagSet.Bool("json", false, "print it as a JSON object")
	c.max, c.args = 2, buildWords
	c.Exec = func(ctx context.Context, args []string) error {
		ref, err := buildArg(c, args)
		if err != nil {
			return err
		}
		step := ""
		if len(args) > 1 {
			step = args[1]
		}
		return a.ask(ctx, r, func(s *client.Client) error {
			why, err := s.Why(ctx, ref, step)
			if err != nil {
				return err
			}
			if *asJSON {
				return a.printJSON(why)
			}
			explainWhy(a.stdout, why)
			return nil
		})
	}
	return c
}

// explainWhy puts it into words.
func explainWhy(w io.Writer, why api.Why) {
	fmt.Fprintln(w, why.Summary)
	for _, reason := range why.Queue {
		if reason != why.Summary {
			fmt.Fprintf(w, "  %s\n", reason)
		}
	}
	if why.Nearest != "" {
		fmt.Fprintf(w, "  %s\n", why.Nearest)
	}
	for _, agent := range why.Agents {
		able := "could run it"
		if !agent.Eligible {
			able = "cannot run it"
		}
		fmt.Fprintf(w, "%s %s\n", agent.Name, able)
		for _, reason := range agent.Reasons {
			fmt.Fprintf(w, "  %s\n", reason)
		}
		for _, check := range agent.Checks {
			if check.Met {
				seen := ""
				if !strings.HasSuffix(check.Wanted, check.Found) {
					seen = ", found " + check.Found
				}
				fmt.Fprintf(w, "  ✓ %s%s\n", check.Wanted, seen)
				continue
			}
			fmt.Fprintf(w, "  ✗ %s\n", facts.Lack{Reason: check.Reason, Wanted: check.Wanted, Found: check.Found, Hint: check.Hint})
		}
	}
	for _, step := range why.Steps {
		fmt.Fprintf(w, "%s: %s\n", step.Name, step.Why)
	}
}
