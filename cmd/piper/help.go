package main

import (
	"context"
	"flag"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/piper-build/piper/runtime/plan"
)

func (a *app) helpCommand() *command {
	c := a.newCommand("help", "[command]")
	c.ShortHelp = "Explain piper, or one of its commands."
	c.examples = `
piper help        # what there is
piper help exec   # one command
`
	c.max, c.args = 1, commandWords
	c.Exec = func(ctx context.Context, args []string) error {
		if len(args) == 0 {
			a.printOverview()
			return nil
		}
		entry, ok := lookup(args[0])
		if !ok {
			return &usageError{
				message: fmt.Sprintf("unknown command %q", args[0]),
				hint:    didYouMean(nearest(args[0], commandNames()), `"piper help" lists the commands`),
			}
		}
		a.printHelp(entry.make(a))
		return nil
	}
	return c
}

// printOverview shows what piper is and every command.
func (a *app) printOverview() {
	fmt.Fprint(a.stdout, `Piper runs the pipelines of a PIPER.star, the same here as everywhere.

Examples:
  piper init                               # write a PIPER.star for this repository
  piper exec                               # run the pipeline "build", or the only one
  piper exec release --param version=v1.2  # run another, with a parameter
  piper plan release                       # look first
  piper exec release --only test           # run one step of it

Commands:
`)
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	for _, e := range commands() {
		if e.summary != "" {
			fmt.Fprintf(w, "  %s\t%s\n", e.name, e.summary)
		}
	}
	w.Flush()
	fmt.Fprint(a.stdout, `
Flags of every command:
`)
	a.printFlags(a.newCommand("", ""), global)
	fmt.Fprint(a.stdout, `
"piper help COMMAND" explains a command. Exit codes: 0 ok, 1 the build failed,
2 the command line or the PIPER.star is at fault, 3 the machine is, 4 the server
does not let you, 5 it has no such build, project or agent, 124 timed out, 129
hung up, 130 interrupted, 143 terminated. A check that finds something (test,
lint, doctor, fmt --check, plan --diff --exit-code) exits with 1, too.
`)
}

// printHelp shows one command: what it is for and examples first.
func (a *app) printHelp(c *command) {
	fmt.Fprintf(a.stdout, "%s\n", c.ShortHelp)
	if c.examples != "" {
		fmt.Fprint(a.stdout, "\nExamples:\n")
		w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
		for line := range strings.Lines(strings.TrimSpace(c.examples) + "\n") {
			command, what, ok := strings.Cut(strings.TrimSpace(line), "  # ")
			if command = strings.TrimSpace(command); ok {
				command += "\t# " + strings.TrimSpace(what)
			}
			fmt.Fprintf(w, "  %s\n", command)
		}
		w.Flush()
	}
	fmt.Fprintf(a.stdout, "\nUsage:\n  piper %s %s\n", c.Name, c.ShortUsage)
	if c.LongHelp != "" {
		fmt.Fprintf(a.stdout, "\n%s\n", c.LongHelp)
	}
	own := func(name string) bool { return !global(name) }
	has := false
	c.FlagSet.VisitAll(func(f *flag.Flag) { has = has || own(f.Name) })
	if has {
		fmt.Fprint(a.stdout, "\nFlags:\n")
		a.printFlags(c, own)
	}
	fmt.Fprint(a.stdout, "\nFlags of every command:\n")
	a.printFlags(c, global)
}

// printFlags shows the flags of c that which picks.
func (a *app) printFlags(c *command, which func(name string) bool) {
	letters := map[string]string{}
	for letter, name := range c.letters {
		letters[name] = letter
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	c.FlagSet.VisitAll(func(f *flag.Flag) {
		if !which(f.Name) {
			return
		}
		value, usage := flag.UnquoteUsage(f)
		spelled := "    " + dashes(f.Name)
		switch {
		case letters[f.Name] != "":
			spelled = "-" + letters[f.Name] + ", " + dashes(f.Name)
		case len(f.Name) == 1:
			spelled = dashes(f.Name)
		}
		if !isBool(f) {
			spelled += " " + value
		}
		if value := initially(f); value != "" {
			usage += " (default " + value + ")"
		}
		fmt.Fprintf(w, "  %s\t%s\n", spelled, usage)
	})
	w.Flush()
}

// initially is the value of a flag that is not given, or "" when that is
// nothing, or for its usage to say.
func initially(f *flag.Flag) string {
	switch f.DefValue {
	case "0", "0s", "false":
		return ""
	}
	if d, err := plan.ParseDuration(f.DefValue); err == nil {
		return d.String()
	}
	return f.DefValue
}
