package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/api/client"
	"github.com/piper-build/piper/runtime/build"
)

func (a *app) buildsCommand() *command {
	c := a.newCommand("builds", "[flags]")
	c.ShortHelp = "List builds, the newest first."
	c.LongHelp = `Without a server these are the builds of this machine, those of piper exec too.`
	c.examples = `
piper builds
piper builds --project shop --pipeline release --state failed
piper builds --limit 200 --json
`
	r := c.asksServer()
	var f api.BuildFilter
	var state, agent, parent string
	limit := 20
	c.FlagSet.StringVar(&f.Project, "project", "", "only those of `PROJECT`")
	c.FlagSet.StringVar(&f.Pipeline, "pipeline", "", "only those of `PIPELINE` of the project")
	c.lists["project"] = builtWords(func(b api.Build) string { return b.Project })
	c.lists["pipeline"] = builtWords(func(b api.Build) string { return b.Pipeline })
	c.choice(&state, "state", "", "only those that are in `STATE`", "queued", "running", "success", "failed", "cancelled", "timed_out", "lost", "rejected")
	c.FlagSet.StringVar(&agent, "agent", "", "only those that the agent with this `ID` has")
	c.FlagSet.StringVar(&parent, "parent", "", "only those that the build with this `ID` triggered")
	c.number(&limit, "limit", limit, "list `N` builds")
	asJSON := c.FlagSet.Bool("json", false, "print a JSON array")
	c.Exec = func(ctx context.Context, args []string) error {
		f.State, f.Parent = build.State(state), build.ID(parent)
		if f.Pipeline != "" && f.Project == "" {
			return usagef("--pipeline is one of a project: --project names it")
		}
		return a.ask(ctx, r, func(s *client.Client) error {
			builds, err := a.newest(ctx, s, f, limit)
			if err != nil {
				return err
			}
			if *asJSON {
				return a.printJSON(builds)
			}
			if len(builds) == 0 {
				fmt.Fprintln(a.stderr, "piper: there is no such build\nhint: piper exec runs one here, piper build has an agent do it")
				return nil
			}
			w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
			row(w, "BUILD", "STATE", "PROJECT", "PIPELINE", "COMMIT", "CAUSE", "WHEN", "TOOK")
			for _, b := range builds {
				row(w, strconv.FormatInt(b.Number, 10), stateWord(b), b.Project, b.Pipeline, short(b.Commit), causeWords(b), ago(b.Created), lasted(b))
			}
			return w.Flush()
		})
	}
	return c
}

// newest lists builds, page by page.
func (a *app) newest(ctx context.Context, s *client.Client, f api.BuildFilter, limit int) ([]api.Build, error) {
	builds := []api.Build{}
	for cursor := ""; ; {
		page, next, err := s.Builds(ctx, f, cursor, min(limit-len(builds), 100))
		if err != nil {
			return nil, err
		}
		builds = append(builds, page...)
		if next == "" || len(builds) >= limit {
			return builds, nil
		}
		cursor = next
	}
}

// stateWord is the state of a build, and how far it is while it runs.
func stateWord(b api.Build) string {
	if b.State == build.Running && b.Progress.Total > 0 {
		return fmt.Sprintf("running %d/%d", b.Progress.Done, b.Progress.Total)
	}
	return string(b.State)
}

func short(commit string) string { return commit[:min(len(commit), 12)] }

// causeWords say why there is a build.
func causeWords(b api.Build) string {
	words := b.Cause.Kind
	if b.Cause.Node != "" {
		words += " " + b.Cause.Node
	}
	if b.Cause.Number > 0 {
		words += fmt.Sprintf(" of build %d", b.Cause.Number)
	}
	if b.Cause.By != "" {
		words += " by " + b.Cause.By
	}
	if b.Cause.Trust != "" {
		words += " (" + b.Cause.Trust + ")"
	}
	return words
}

// ago says how long a moment is past.
func ago(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	switch d := time.Since(t); {
	case d < time.Minute:
		return "just now"
	case d < time.Hour:
		return fmt.Sprintf("%dm ago", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh ago", int(d.Hours()))
	default:
		return t.Local().Format(time.DateOnly)
	}
}

// lasted is how long a build ran, or has run by now.
func lasted(b api.Build) string {
	if b.Started.IsZero() {
		return ""
	}
	end := b.Ended
	if end.IsZero() {
		end = time.Now()
	}
	return end.Sub(b.Started).Round(100 * time.Millisecond).String()
}

func (a *app) showCommand() *command {
	c := a.newCommand("show", "BUILD [flags]")
	c.ShortHelp = "Show one build: its steps, what it triggered, what it waits for."
	c.examples = `
piper show 41
piper show 41 --json
`
	r := c.asksServer()
	asJSON := c.FlagSet.Bool("json", false, "print it as a JSON object")
	c.max, c.args = 1, buildWords
	c.Exec = func(ctx context.Context, args []string) error {
		ref, err := buildArg(c, args)
		if err != nil {
			return err
		}
		return a.ask(ctx, r, func(s *client.Client) error {
			b, err := s.Build(ctx, ref)
			if err != nil {
				return err
			}
			if *asJSON {
				return a.printJSON(b)
			}
			return showBuild(a.stdout, b)
		})
	}
	return c
}

// showBuild writes all that there is to say of a build.
func showBuild(to io.Writer, b api.Build) error {
	w := tabwriter.NewWriter(to, 0, 0, 2, ' ', 0)
	fact := func(name, value string) {
		if value != "" {
			row(w, name, value)
		}
	}
	fact("build", fmt.Sprintf("%d (%s)", b.Number, b.ID))
	fact("state", stateWord(b))
	fact("reason", b.Reason)
	fact("pipeline", b.Project+" "+pipelineOf(b))
	for _, name := range slices.Sorted(maps.Keys(b.Params)) {
		fact("param", fmt.Sprintf("%s=%v", name, b.Params[name]))
	}
	fact("commit", b.Commit)
	fact("ref", b.Ref)
	fact("patch", b.Patch)
	fact("plan", b.PlanDigest)
	fact("cause", causeWords(b))
	fact("parent", string(b.Parent))
	if b.Agent != nil {
		fact("agent", cmp.Or(b.Agent.Name, string(b.Agent.ID)))
	}
	if b.Attempt > 1 {
		fact("attempt", strconv.Itoa(b.Attempt))
	}
	if b.Cancel != nil {
		fact("cancel", strings.TrimSuffix("asked for by "+cmp.Or(b.Cancel.By, "somebody")+": "+b.Cancel.Reason, ": "))
	}
	fact("created", stamp(b.Created))
	fact("started", stamp(b.Started))
	fact("ended", stamp(b.Ended))
	fact("took", lasted(b))
	if b.Pinned {
		fact("pinned", "kept until piper pin --remove lets it go")
	}
	if len(b.Steps) > 0 {
		row(w, "")
		row(w, "STEP", "STATE", "TOOK", "")
		for _, s := range b.Steps {
			row(w, s.Name, string(s.State), stepTook(s), cmp.Or(s.Reason, s.Why))
		}
	}
	for _, p := range b.Approvals {
		row(w, "approve "+p.Node, p.State, p.By, cmp.Or(p.Reason, p.Prompt))
	}
	for _, t := range b.Triggered {
		row(w, "triggered "+t.Node, string(t.State), fmt.Sprintf("build %d", t.Number), t.Project+" "+t.Pipeline)
	}
	for _, d := range b.Diagnostics {
		row(w, fmt.Sprintf("%s:%d:%d: %s", d.File, d.Line, d.Column, d.Message))
	}
	return w.Flush()
}

func stepTook(s api.Step) string {
	if s.Started.IsZero() || s.Ended.IsZero() {
		return ""
	}
	return s.Ended.Sub(s.Started).Round(time.Millisecond).String()
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.Local().Format(time.DateTime)
}
