package main

import (
	"context"
	"fmt"

	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/api/client"
	"github.com/piper-build/piper/runtime/plan"
)

func (a *app) gcCommand() *command {
	c := a.newCommand("gc", "[flags]")
	c.ShortHelp = "Delete old builds now."
	c.LongHelp = `Their events and output go, their numbers stay taken. Without --keep and --keep-for
it is what the projects themselves do not want kept, which agents delete from time
to time anyway. Builds that have not ended stay.`
	c.examples = `
piper gc                                   # as the projects say
piper gc --keep 50                         # of every pipeline but the newest 50
piper gc --project shop --keep-for 720h
`
	r := c.asksServer()
	var q api.CollectRequest
	var age string
	c.projectFlag(&q.Project)
	c.FlagSet.Lookup("project").Usage = "only builds of `PROJECT`"
	c.number(&q.Keep.Count, "keep", 0, "keep the newest `N` builds of each pipeline")
	c.FlagSet.StringVar(&age, "keep-for", "", "keep those that ended less than a `TIME` such as 720h ago")
	asJSON := c.FlagSet.Bool("json", false, "print how many as a JSON object")
	c.Exec = func(ctx context.Context, args []string) (err error) {
		if age != "" {
			if q.Keep.Age, err = plan.ParseDuration(age); err != nil {
				return usagef("--keep-for: %w", err)
			}
		}
		return a.ask(ctx, r, func(s *client.Client) error {
			gone, err := s.Collect(ctx, q)
			if err != nil {
				return err
			}
			if *asJSON {
				return a.printJSON(gone)
			}
			fmt.Fprintf(a.stderr, "piper: %s deleted\n", counted(gone.Builds, "build"))
			return nil
		})
	}
	return c
}
