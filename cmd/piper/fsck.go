package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/piper-build/piper/runtime/store/fsck"
)

func (a *app) fsckCommand() *command {
	c := a.newCommand("fsck", "[flags]")
	c.ShortHelp = "Look whether what a store keeps is sound."
	c.LongHelp = `It holds every build against what must be true of it: its state, plan, events,
output, what it triggered and the groups it held. It changes nothing, and agents
may go on meanwhile. It exits with 1 when something is wrong.`
	c.examples = `
piper fsck                             # of your own builds
piper fsck --store sqlite:/srv/piper.db --json
`
	where := c.stores()
	asJSON := c.FlagSet.Bool("json", false, "print the findings as a JSON array")
	c.Exec = func(ctx context.Context, args []string) (err error) {
		s, err := where.open(ctx, false)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, s.Close()) }()
		findings := []fsck.Finding{}
		counts, err := fsck.Check(ctx, s, func(f fsck.Finding) {
			if findings = append(findings, f); !*asJSON {
				fmt.Fprintln(a.stdout, f)
			}
		})
		if err != nil {
			return err
		}
		if *asJSON {
			if err := a.printJSON(findings); err != nil {
				return err
			}
		}
		fmt.Fprintf(a.stderr, "piper: looked at %d builds, %d events and %d bytes of output: %d findings\n", counts.Builds, counts.Events, counts.Bytes, counts.Findings)
		if counts.Findings > 0 {
			return exitStatus(exitFailed)
		}
		return nil
	}
	return c
}
