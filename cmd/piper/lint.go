package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/starlark/lint"
	"github.com/piper-build/piper/stdlib"
)

func (a *app) lintCommand() *command {
	c := a.newCommand("lint", "[path...] [flags]")
	c.ShortHelp = "Look for what is allowed in .star files, and most likely a mistake or a danger."
	c.LongHelp = `Without a path it is every .star file of the project that git does not ignore; a
directory stands for those inside. Nothing is evaluated. Values that others
choose, such as a branch, are followed into the files that a file loads.

A comment silences a warning on its line, or alone on a line, the next one:
  # lint: ignore=CODE,CODE why
and "# lint: ignore-file=CODE why" does in the whole file.

The exit code is 1 when there is a warning, 2 when a file does not parse.`
	c.examples = `
piper lint
piper lint ci/release.star
piper lint --json   # diagnostics for an editor, as of piper check
piper lint --list   # what is looked for
`
	list := c.FlagSet.Bool("list", false, "list what is looked for")
	asJSON := c.FlagSet.Bool("json", false, "print a JSON array of diagnostics, or of checks")
	c.max, c.args = -1, files
	c.Exec = func(ctx context.Context, args []string) error {
		if *list {
			return a.listChecks(*asJSON)
		}
		tree, err := a.starFiles(ctx, args)
		if err != nil {
			return err
		}
		defer tree.root.Close()
		found, err := lint.Run(lint.Request{Files: tree.names, Read: func(name string) ([]byte, error) {
			if inside, ok := strings.CutPrefix(name, "@piper//"); ok {
				return stdlib.Files.ReadFile(inside)
			}
			text, _, err := tree.read(name)
			return text, err
		}})
		if err != nil {
			return fmt.Errorf("lint: %w", err)
		}
		return a.showWarnings(found, *asJSON)
	}
	return c
}

// showWarnings prints what was found. Warnings are the result; errors are
// errors.
func (a *app) showWarnings(found plan.Diagnostics, asJSON bool) error {
	var warnings, wrong plan.Diagnostics
	for _, d := range found {
		if d.Severity == "warning" {
			warnings = append(warnings, d)
		} else {
			wrong = append(wrong, d)
		}
	}
	switch {
	case asJSON:
		if err := a.printJSON(append(plan.Diagnostics{}, found...)); err != nil {
			return err
		}
	default:
		for i, d := range warnings {
			if i > 0 {
				fmt.Fprintln(a.stdout)
			}
			fmt.Fprintf(a.stdout, "%s\n", strings.Replace(d.String(), ": warning: ", ": warning ["+d.Code+"]: ", 1))
		}
		if len(wrong) > 0 {
			return wrong
		}
	}
	switch {
	case len(wrong) > 0:
		return exitStatus(exitUsage)
	case len(warnings) > 0:
		return exitStatus(exitFailed)
	}
	return nil
}

// listChecks says what lint looks for.
func (a *app) listChecks(asJSON bool) error {
	if asJSON {
		return a.printJSON(lint.Checks())
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	for _, check := range lint.Checks() {
		first, rest := check.Code, check.Doc
		for rest != "" {
			var line string
			line, rest = wrapped(rest, 76)
			row(w, first, line)
			first = ""
		}
	}
	return w.Flush()
}
