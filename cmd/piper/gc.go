package main

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/api/client"
	"github.com/piper-build/piper/runtime/plan"
)

func (a *app) gcCommand() *command {
	c := a.newCommand("gc", "[flags]")
	c.ShortHelp = "Delete old builds now."
	c.LongHelp = `Their events and output go, their numbers stay taken. Without --keep and --keep-for
it is what the projects themselves do not want kept, which agents delete from time
to time anyway. Builds stay that have not ended, that are pinned (piper pin), that
are the newest of their pipeline that succeeded, and those that one which has not
ended came of or waits for.`
	c.examples = `
piper gc                                   # as the projects say
piper gc --dry-run                         # which builds those are
piper gc --keep 50                         # of every pipeline but the newest 50
piper gc --project shop --keep-for 720h
`
	r := c.asksServer()
	var q api.CollectRequest
	var age, size string
	c.projectFlag(&q.Project)
	c.FlagSet.Lookup("project").Usage = "only builds of `PROJECT`"
	c.number(&q.Keep.Count, "keep", 0, "keep the newest `N` builds of each pipeline")
	c.FlagSet.StringVar(&age, "keep-for", "", "keep those that ended less than a `TIME` such as 720h ago")
	c.FlagSet.StringVar(&size, "keep-size", "", "keep the newest builds of each project that wrote no more than a `SIZE` such as 20GiB in all")
	c.FlagSet.BoolVar(&q.DryRun, "dry-run", false, "delete nothing, and say which builds would be")
	asJSON := c.FlagSet.Bool("json", false, "print how many as a JSON object")
	c.Exec = func(ctx context.Context, args []string) (err error) {
		if age != "" {
			if q.Keep.Age, err = plan.ParseDuration(age); err != nil {
				return usagef("--keep-for: %w", err)
			}
		}
		if size != "" {
			if q.Keep.Size, err = bytesOf(size); err != nil {
				return usagef("--keep-size: %w", err)
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
			if !q.DryRun {
				fmt.Fprintf(a.stderr, "piper: %s deleted\n", counted(gone.Builds, "build"))
				return nil
			}
			for _, number := range gone.Numbers {
				fmt.Fprintln(a.stdout, number)
			}
			fmt.Fprintf(a.stderr, "piper: %s would be deleted\n", counted(gone.Builds, "build"))
			return nil
		})
	}
	return c
}

// bytesOf reads a size such as 20GiB.
func bytesOf(text string) (int64, error) {
	for i, unit := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if number, ok := strings.CutSuffix(text, unit); ok {
			n, err := strconv.ParseInt(number, 10, 64)
			if shift := 10 * (i + 1); err == nil && n > 0 && n <= math.MaxInt64>>shift {
				return n << shift, nil
			}
		}
	}
	return 0, fmt.Errorf("%q: want a size such as 500MiB or 20GiB", text)
}

func (a *app) pinCommand() *command {
	c := a.newCommand("pin", "BUILD [flags]")
	c.ShortHelp = "Keep a build, however old it gets."
	c.LongHelp = `Neither agents nor "piper gc" delete it until it is let go again.`
	c.examples = `
piper pin 41
piper pin 41 --remove                      # let it go again
`
	r := c.asksServer()
	var q api.PinRequest
	c.FlagSet.BoolVar(&q.Remove, "remove", false, "let it go again")
	a.changes(c, r, func(b api.Build) string {
		if b.Pinned {
			return "is pinned"
		}
		return "is let go"
	}, func(ctx context.Context, s *client.Client, ref string) (api.Build, error) { return s.Pin(ctx, ref, q) })
	return c
}
