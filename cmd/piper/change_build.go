package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/api/client"
	"github.com/piper-build/piper/cmd/piper/progress"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
)

func (a *app) cancelCommand() *command {
	c := a.newCommand("cancel", "BUILD [flags]")
	c.ShortHelp = "End a build, and those that it waits for."
	c.LongHelp = `A queued build never runs. One that runs is ended with grace, and its steps that
always run still do; --force leaves them out.`
	c.examples = `
piper cancel 41 --reason "wrong branch"
piper cancel 41 --force
`
	r := c.asksServer()
	var q api.CancelRequest
	c.FlagSet.StringVar(&q.Reason, "reason", "", "why: `TEXT` for those who look at it later")
	c.FlagSet.BoolVar(&q.Force, "force", false, "also without the steps that clean up")
	a.changes(c, r, func(b api.Build) string {
		switch {
		case !ended(b.State):
			return "is being cancelled"
		case b.State == build.Cancelled:
			return "is cancelled"
		}
		return "had ended before: " + string(b.State)
	}, func(ctx context.Context, s *client.Client, ref string) (api.Build, error) {
		return s.Cancel(ctx, ref, q)
	})
	return c
}

func (a *app) approveCommand() *command {
	c := a.newCommand("approve", "BUILD [node] [flags]")
	c.ShortHelp = "Say yes, or no, to a build that waits for a person."
	c.LongHelp = `The node may be left out when the build waits at one only.`
	c.examples = `
piper approve 41
piper approve 41 go-live --reason "all green"
piper approve 41 --refuse --reason "not on a Friday"
`
	r := c.asksServer()
	var q api.ApproveRequest
	c.FlagSet.BoolVar(&q.Refuse, "refuse", false, "say no")
	c.FlagSet.StringVar(&q.Reason, "reason", "", "why: `TEXT` for those who look at it later")
	a.changes(c, r, func(b api.Build) string { return "is " + string(b.State) }, func(ctx context.Context, s *client.Client, ref string) (api.Build, error) {
		if q.Node != "" {
			return s.Approve(ctx, ref, q)
		}
		b, err := s.Build(ctx, ref)
		if err != nil {
			return b, err
		}
		var waiting []string
		for _, p := range b.Approvals {
			if p.State == api.ApprovalWaiting {
				waiting = append(waiting, p.Node)
			}
		}
		switch len(waiting) {
		case 0:
			return b, usagef("build %d waits for nobody's approval", b.Number)
		case 1:
			q.Node = waiting[0]
			return s.Approve(ctx, ref, q)
		}
		return b, &usageError{message: fmt.Sprintf("build %d waits at %s", b.Number, strings.Join(waiting, ", ")), hint: "name one: piper approve BUILD NODE"}
	})
	exec := c.Exec
	c.max, c.args = 2, approvalWords
	c.Exec = func(ctx context.Context, args []string) error {
		if len(args) == 2 {
			q.Node = args[1]
			args = args[:1]
		}
		return exec(ctx, args)
	}
	return c
}

// changes makes c a command that changes one build, and prints it, or says what
// became of it.
func (a *app) changes(c *command, r *remote, became func(b api.Build) string, do func(ctx context.Context, s *client.Client, ref string) (api.Build, error)) {
	asJSON := c.FlagSet.Bool("json", false, "print the build as a JSON object")
	c.max, c.args = 1, buildWords
	c.Exec = func(ctx context.Context, args []string) error {
		ref, err := buildArg(c, args)
		if err != nil {
			return err
		}
		return a.ask(ctx, r, func(s *client.Client) error {
			b, err := do(ctx, s, ref)
			if err != nil {
				return err
			}
			if *asJSON {
				return a.printJSON(b)
			}
			fmt.Fprintf(a.stderr, "piper: build %d %s\n", b.Number, became(b))
			return nil
		})
	}
}

func (a *app) rerunCommand() *command {
	c := a.newCommand("rerun", "BUILD [flags]")
	c.ShortHelp = "Build the same again: all of it, what failed, or with other parameters."
	c.LongHelp = `It is a new build of the same commit.`
	c.examples = `
piper rerun 41 --watch
piper rerun 41 --failed               # what did not succeed, and what comes after it
piper rerun 41 --from 'deploy/*'
piper rerun 41 -p version=v1.3
`
	o := &buildOrder{app: a, remote: c.asksServer()}
	var q api.RerunRequest
	c.FlagSet.BoolVar(&q.Failed, "failed", false, "only what did not succeed, and what comes after it")
	c.list(&q.From, "from", "only these `STEPS`, and what comes after them; globs and commas allowed", true)
	c.lists["from"], c.lists["param"] = buildSteps, buildParams
	c.list(&o.params, "param", "change a parameter: `NAME=VALUE`; may be repeated", false)
	c.letter("p", "param")
	c.FlagSet.BoolVar(&o.watch, "watch", false, "show the build, and exit as it ends")
	c.letter("w", "watch")
	c.choice(&o.show, "progress", "auto", "how to show it: `MODE` is "+strings.Join(progress.Modes(), ", "), progress.Modes()...)
	c.FlagSet.BoolVar(&o.asJSON, "json", false, "print the build as a JSON object")
	c.max, c.args = 1, buildWords
	c.Exec = func(ctx context.Context, args []string) error {
		ref, err := buildArg(c, args)
		if err != nil {
			return err
		}
		if q.Failed && len(q.From) > 0 {
			return usagef("--failed and --from both say what to run: take one")
		}
		if q.Params, err = paramsOf(o.params); err != nil {
			return err
		}
		return a.ask(ctx, o.remote, func(s *client.Client) error {
			b, err := s.Rerun(ctx, ref, q, rand.Text())
			if err != nil {
				return o.notHere(ctx, s, ref, q, err)
			}
			if !o.watch {
				return o.told(b)
			}
			return a.follow(ctx, s, b, o.show, o.asJSON)
		})
	}
	return c
}

// notHere is err, or what to do about a build of piper exec, whose project no agent
// knows: it is run again where its PIPER.star is.
func (o *buildOrder) notHere(ctx context.Context, s *client.Client, ref string, again api.RerunRequest, err error) error {
	if !missing(err) || o.remote.server != "" {
		return err
	}
	b, gone := s.Build(ctx, ref)
	asked, unknown := s.Request(ctx, ref)
	if gone != nil || unknown != nil || !b.Here {
		return err
	}
	p, err := s.Plan(ctx, ref)
	if err != nil {
		p = nil // it did not come to one
	}
	message := fmt.Sprintf("build %d ran here: no agent knows its project", b.Number)
	if b.Project == "" {
		message += ", which has no name"
	} else {
		message += " " + b.Project
	}
	return &usageError{message: message, hint: "run it again where its PIPER.star is: " + execLine(b, asked, p, again)}
}

// execLine is the command line that runs a build of piper exec again, or the part
// of it that again names: all of it, when that part needs what another wrote.
func execLine(b api.Build, asked api.Asked, p *plan.Plan, again api.RerunRequest) string {
	q := question{kind: asked.Event.Kind, base: asked.Event.Base, tag: asked.Event.Tag}
	if q.tag == "" {
		q.branch = asked.Ref // the event names the branch that it was on, too
	}
	if q.kind == q.impliedKind() {
		q.kind = ""
	}
	params := maps.Clone(asked.Params)
	if params == nil {
		params = map[string]string{}
	}
	maps.Copy(params, again.Params)
	for _, name := range slices.Sorted(maps.Keys(params)) {
		q.params = append(q.params, name+"="+params[name])
	}

	part := plan.Selection{From: again.From}
	switch failed := failedSteps(b); {
	case again.Failed && len(asked.Select.Only) > 0:
		part.Only = failed
	case again.Failed:
		part.From = failed
	}
	narrow := asked.Select
	if p != nil && len(part.Only)+len(part.From) > 0 {
		if _, err := plan.Select(p, part); err == nil {
			narrow.Only, narrow.From = part.Only, part.From
		}
	}

	words := []string{"piper", "exec", b.Pipeline}
	if asked.Environment != "" {
		words = append(words, asked.Environment)
	}
	words = slices.Concat(words, q.flags(),
		repeated("--only", strings.Join(narrow.Only, ",")), repeated("--from", strings.Join(narrow.From, ",")), repeated("--skip", strings.Join(narrow.Skip, ",")))
	for i, word := range words {
		words[i] = quoted(word)
	}
	return strings.Join(words, " ")
}

// failedSteps are those that ran and did not succeed.
func failedSteps(b api.Build) (names []string) {
	for _, s := range b.Steps {
		switch s.State {
		case build.Failed, build.TimedOut, build.Cancelled, build.Lost:
			names = append(names, s.Name)
		}
	}
	return names
}
