package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/piper-build/piper/runtime/plan"
)

func (a *app) planCommand() *command {
	c := a.newCommand("plan", "[pipeline] [environment] [flags]")
	c.ShortHelp = "Show what a pipeline would do, without running anything."
	c.examples = `
piper plan
piper plan release --param version=v1.2
piper plan release --from publish                # as exec would narrow it
piper plan release --format=svg > release.svg
piper plan release --json | jq .digest
piper plan release --diff main                   # what this tree does and main does not
`
	q := c.asks()
	c.selects(q)
	var format string
	c.choice(&format, "format", "text", "print as `FORMAT`: text, json, dot, mermaid or svg", "text", "json", "dot", "mermaid", "svg")
	asJSON := c.FlagSet.Bool("json", false, "the same as --format=json")
	against := ""
	c.FlagSet.Func("diff", "show what the pipeline gains, loses and changes against `REV`, a branch, a tag or a commit", func(rev string) error {
		if against = rev; rev == "" { // of a variable that is not set, most likely
			return errors.New("want a branch, a tag or a commit")
		}
		return nil
	})
	exitCode := c.FlagSet.Bool("exit-code", false, "with --diff, exit with 1 when there is a difference")
	c.lists["diff"] = branchWords
	c.max, c.args = 2, pipelineWords
	c.Exec = func(ctx context.Context, args []string) error {
		if *asJSON {
			format = "json"
		}
		switch narrowed := len(q.narrow.Only) + len(q.narrow.From) + len(q.narrow.Skip); {
		case against == "" && *exitCode:
			return usagef("--exit-code is for --diff")
		case against != "" && narrowed > 0:
			return usagef("--diff compares whole plans: leave out --only, --from and --skip")
		case against != "" && format != "text" && format != "json":
			return usagef("--diff is printed as text or json, not as %s", format)
		}
		if format == "json" {
			a.problems = asArray
		}
		project, err := a.openProject(ctx, q.file)
		if err != nil {
			return err
		}
		if against != "" {
			d, err := a.diffPlans(ctx, project, q, args, against)
			if err != nil {
				return err
			}
			if format == "json" {
				err = a.printJSON(d)
			} else {
				err = a.writeDiff(a.stdout, d)
			}
			if err == nil && *exitCode && len(d.Changes) > 0 {
				err = exitStatus(exitFailed)
			}
			return err
		}
		p, err := a.plan(ctx, project, q, args)
		if err != nil {
			return err
		}
		w := bufio.NewWriter(a.stdout)
		defer w.Flush()
		switch format {
		case "json":
			return a.printJSON(struct {
				Digest string `json:"digest"`
				*plan.Plan
			}{p.Digest(), p})
		case "dot":
			writeDot(w, p)
		case "mermaid":
			writeMermaid(w, p)
		case "svg":
			writeSVG(w, p)
		default:
			return writePlan(w, p)
		}
		return nil
	}
	return c
}

// writePlan lists the nodes of p in the order they were written.
func writePlan(w io.Writer, p *plan.Plan) error {
	fmt.Fprintf(w, "pipeline %s: %s, %s\n", p.Pipeline, counted(len(p.Nodes), "step"), p.Digest())
	for _, name := range slices.Sorted(maps.Keys(p.Params)) {
		fmt.Fprintf(w, "  %s=%s\n", name, plan.FormatParam(p.Params[name]))
	}
	fmt.Fprintln(w)
	needs := describeNeeds(p)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for i := range p.Nodes {
		n := &p.Nodes[i]
		row(tw, n.Name, shortened(nodeText(n), 60), remarks(n, needs(n)))
	}
	return tw.Flush()
}

// remarks says when a node runs, as far as that is not plain.
func remarks(n *plan.Node, needs string) string {
	var words []string
	if needs != "" {
		words = append(words, "needs "+needs)
	}
	switch n.RunOn() {
	case plan.Failure:
		words = append(words, "after a failure")
	case plan.Always:
		words = append(words, "always")
	}
	if n.AllowFailure() != "" {
		words = append(words, "may fail")
	}
	if services := n.Services(); len(services) > 0 {
		words = append(words, "with "+strings.Join(services, ", "))
	}
	if n.IsService() {
		words = append(words, serviceText(n.Step.Service))
	}
	return strings.Join(words, "; ")
}

// describeNeeds returns a function that says what a node needs. A group is
// told by its name, if it has one of the author's, and by what is in it.
func describeNeeds(p *plan.Plan) func(*plan.Node) string {
	parent, members := map[string]string{}, map[string][]string{}
	for _, g := range p.Groups {
		parent[g.Name] = g.Group
	}
	for _, n := range p.Nodes {
		for g := n.Group; g != ""; g = parent[g] {
			members[g] = append(members[g], n.Name)
		}
	}
	return func(n *plan.Node) string {
		var words []string
		for _, need := range n.Needs {
			if slices.ContainsFunc(n.Needs, func(g string) bool { return slices.Contains(members[g], need) }) {
				continue // the group says it
			}
			text := need
			if _, group := parent[need]; group {
				text = strings.Join(members[need], ", ")
				if inside := members[need]; len(inside) > 4 {
					text = fmt.Sprintf("%s to %s (%d)", inside[0], inside[len(inside)-1], len(inside))
				}
				if !strings.Contains(need, "#") {
					text = need + " (" + text + ")"
				}
			}
			words = append(words, text)
		}
		return strings.Join(words, ", ")
	}
}

// nodeText is what a node does, in one piece of text.
func nodeText(n *plan.Node) string {
	switch {
	case n.Trigger() != nil:
		return "trigger " + triggerText(n.Trigger())
	case n.Approve() != nil:
		if n.Approve().Prompt != "" {
			return "approve: " + n.Approve().Prompt
		}
		return "approve"
	case n.Expand() != nil:
		return "more steps, found with what " + n.Expand().After + " wrote"
	case n.Step.Script != "":
		return strings.TrimSpace(n.Step.Script)
	}
	words := make([]string, len(n.Step.Argv))
	for i, arg := range n.Step.Argv {
		words[i] = quoted(arg.Words())
	}
	return strings.Join(words, " ")
}

// serviceText says when a service can be used.
func serviceText(s *plan.Service) string {
	switch ready := s.Ready; {
	case ready.Port != 0:
		return fmt.Sprintf("service, ready when port %d answers", ready.Port)
	case ready.Log != "":
		return "service, ready when it writes " + quoted(ready.Log)
	case ready.Script != "" || len(ready.Argv) > 0:
		check := &plan.Node{Step: &plan.Step{Script: ready.Script, Argv: ready.Argv}}
		return "service, ready when this succeeds: " + shortened(nodeText(check), 60)
	}
	return "service, ready once it has started"
}

// triggerText is a trigger as "deploy version=v1.2", or "deploy of shop".
func triggerText(t *plan.Trigger) string {
	text := t.Pipeline
	if t.Project != "" {
		text += " of " + t.Project
	}
	for _, v := range t.Params {
		text += " " + v.Name + "=" + quoted(v.Value.Words())
	}
	return text
}

// quoted is s as a shell word, for a person to read or copy.
func quoted(s string) string {
	plain := s != ""
	for i := range len(s) {
		switch s[i] {
		case ' ', '\t', '\n', '"', '\'', '`', '$', '\\', '&', '|', ';', '<', '>', '(', ')', '*', '?', '[', ']', '{', '}', '#', '~', '!':
			plain = false
		}
	}
	if plain {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// shortened is the first line of s, and no more than n characters of it.
func shortened(s string, n int) string {
	line := firstLine(s)
	cut := line != strings.TrimSpace(s)
	if runes := []rune(line); len(runes) > n {
		line, cut = string(runes[:n-1]), true
	}
	if cut {
		line += "…"
	}
	return line
}
