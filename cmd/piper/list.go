package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/piper-build/piper/runtime/plan"
)

func (a *app) listCommand() *command {
	c := a.newCommand("list", "[flags]")
	c.ShortHelp = "List the pipelines of this project, with their parameters."
	c.examples = `
piper list
piper list --json   # everything the PIPER.star says of them
`
	q := c.evaluates()
	asJSON := c.FlagSet.Bool("json", false, "print a JSON array")
	c.Exec = func(ctx context.Context, args []string) error {
		if *asJSON {
			a.problems = asArray
		}
		catalog, err := a.catalog(ctx, q)
		if err != nil {
			return err
		}
		if *asJSON {
			return a.printJSON(append([]plan.Pipeline{}, catalog.Pipelines...))
		}
		w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
		for _, p := range catalog.Pipelines {
			row(w, p.Name, firstLine(p.Doc))
			for _, param := range p.Params {
				row(w, "  --param "+param.Name+"="+paramShape(param), firstLine(param.Doc))
			}
		}
		return w.Flush()
	}
	return c
}

// row writes the cells of a table without trailing blanks.
func row(w *tabwriter.Writer, cells ...string) {
	for len(cells) > 1 && cells[len(cells)-1] == "" {
		cells = cells[:len(cells)-1]
	}
	fmt.Fprintln(w, strings.Join(cells, "\t"))
}

// firstLine returns the first line of a text.
func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return strings.TrimSpace(line)
}

// paramShape says in one word what a parameter takes: its default, or what may
// be given.
func paramShape(p plan.Param) string {
	shape := strings.ToUpper(p.Type)
	switch {
	case len(p.Choices) > 0:
		shape = strings.Join(p.Choices, "|")
	case p.Pattern != "":
		shape = p.Pattern
	case p.Type == "bool":
		shape = "true|false"
	}
	switch {
	case p.Required:
		return shape + " (required)"
	case p.Default != nil:
		return shape + " (" + plan.FormatParam(p.Default) + ")"
	}
	return shape
}
