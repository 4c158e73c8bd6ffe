package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/api/client"
	"github.com/piper-build/piper/cmd/piper/progress"
	"github.com/piper-build/piper/runtime/plan"
)

// A buildOrder is one call of piper build.
type buildOrder struct {
	*app
	remote  *remote
	project string
	ref     string
	params  []string
	dirty   bool
	watch   bool
	asJSON  bool
	show    string // progress
	narrow  plan.Selection
	urgency int
}

func (a *app) buildCommand() *command {
	c := a.newCommand("build", "[pipeline] [environment] [flags]")
	c.ShortHelp = "Have a pipeline run by an agent."
	c.LongHelp = `It asks for a build and says its number; "piper watch" and "piper logs" look at it,
and --watch does at once. The project is the one whose PIPER.star is here, or the
only one there is. What is built is the project's branch unless --ref names
another commit; --dirty builds what is here, changes that were not committed
included.`
	c.examples = `
piper build release --watch                 # and show it, as piper exec would
piper build release -p version=v1.2 --ref v1.2
piper build test --dirty --watch            # what I have not committed yet
piper build deploy --project shop --server https://ci.example.com
`
	o := &buildOrder{app: a, remote: c.asksServer()}
	c.projectFlag(&o.project)
	c.FlagSet.StringVar(&o.ref, "ref", "", "build the branch, tag or commit `REF`")
	c.lists["ref"] = branchWords
	c.list(&o.params, "param", "set a parameter: `NAME=VALUE`; a list takes its values with commas; may be repeated", false)
	c.letter("p", "param")
	c.lists["param"] = paramWords
	c.FlagSet.BoolVar(&o.dirty, "dirty", false, "build the tree as it is here: its commit, and what was changed since")
	c.FlagSet.BoolVar(&o.watch, "watch", false, "show the build, and exit as it ends")
	c.letter("w", "watch")
	c.choice(&o.show, "progress", "auto", "how to show it: `MODE` is "+strings.Join(progress.Modes(), ", "), progress.Modes()...)
	c.list(&o.narrow.Only, "only", "`STEPS` to run, as if what they need were done; globs and commas allowed", true)
	c.list(&o.narrow.From, "from", "`STEPS` to begin with, and all that follows from them", true)
	c.list(&o.narrow.Skip, "skip", "`STEPS` to leave out, as if they had succeeded", true)
	c.lists["only"], c.lists["from"], c.lists["skip"] = stepWords, stepWords, stepWords
	c.FlagSet.IntVar(&o.urgency, "priority", 0, "builds with a higher `NUMBER` run first")
	c.FlagSet.BoolVar(&o.asJSON, "json", false, "print the build as a JSON object")
	c.max, c.args = 2, pipelineWords
	c.Exec = o.run
	return c
}

// projectFlag gives c the flag that names a project of the server.
func (c *command) projectFlag(p *string) {
	c.FlagSet.StringVar(p, "project", "", "the `PROJECT` of the server; the one whose PIPER.star is here, unless named")
	c.lists["project"] = serverProjects
}

func (o *buildOrder) run(ctx context.Context, args []string) error {
	params, err := paramsOf(o.params)
	if err != nil {
		return err
	}
	if o.dirty && o.ref != "" {
		return usagef("--dirty builds what is here, --ref something else: take one")
	}
	if o.asJSON && o.watch && o.show == "json" {
		return usagef("--json and --progress=json both write to standard output: take one")
	}
	return o.ask(ctx, o.remote, func(s *client.Client) error {
		r := api.BuildRequest{Params: params, Ref: o.ref, Only: o.narrow.Only, From: o.narrow.From, Skip: o.narrow.Skip, Priority: o.urgency}
		if r.Project, err = o.projectOf(ctx, s, o.project); err != nil {
			return err
		}
		if len(args) > 0 {
			r.Pipeline = args[0]
		}
		if len(args) > 1 && args[1] != "local" {
			r.Environment = args[1]
		}
		if o.dirty {
			if r.Ref, r.Commit, r.Patch, err = o.sendTree(ctx, s); err != nil {
				return err
			}
		}
		// A key of its own: a second call after a broken connection makes no second build.
		b, err := s.CreateBuild(ctx, r, rand.Text())
		if err != nil {
			return err
		}
		if !o.watch {
			return o.told(b)
		}
		fmt.Fprintf(o.stderr, "piper: build %d of %s %s\n", b.Number, b.Project, pipelineOf(b))
		return o.follow(ctx, s, b, o.show, o.asJSON)
	})
}

// told prints a build that was asked for.
func (o *buildOrder) told(b api.Build) error {
	if o.asJSON {
		return o.printJSON(b)
	}
	fmt.Fprintf(o.stdout, "%d\n", b.Number)
	fmt.Fprintf(o.stderr, "piper: build %d of %s %s is %s\nhint: piper watch %[1]d shows it\n", b.Number, b.Project, pipelineOf(b), b.State)
	return nil
}

func pipelineOf(b api.Build) string {
	if b.Pipeline == "" {
		return "(its default pipeline)"
	}
	return b.Pipeline
}

// paramsOf reads NAME=VALUE.
func paramsOf(given []string) (map[string]string, error) {
	params := map[string]string{}
	for _, param := range given {
		name, value, ok := strings.Cut(param, "=")
		if !ok || name == "" {
			return nil, usagef("--param %q: want NAME=VALUE", param)
		}
		if first, twice := params[name]; twice {
			return nil, &usageError{
				message: fmt.Sprintf("--param gives %s twice: %q and %q", name, first, value),
				hint:    fmt.Sprintf("a list takes its values with commas: --param %s=%s,%s", name, quoted(first), quoted(value)),
			}
		}
		params[name] = value
	}
	return params, nil
}

// projectOf is the project of the server that a command is about: the one that
// was named, the one that the PIPER.star here names, or the only one.
func (a *app) projectOf(ctx context.Context, s *client.Client, named string) (string, error) {
	if named != "" {
		return named, nil
	}
	projects, err := s.Projects(ctx)
	if err != nil {
		return "", err
	}
	var names []string
	for _, p := range projects {
		names = append(names, p.Name)
	}
	if len(names) == 0 {
		return "", &usageError{message: "the server has no project", hint: "piper project add NAME --repo URL adds one"}
	}
	if name := a.projectHere(ctx); slices.Contains(names, name) {
		return name, nil
	}
	if len(names) == 1 {
		return names[0], nil
	}
	return "", &usageError{message: "which project? The server has " + strings.Join(names, ", "), hint: "--project NAME"}
}

// projectHere is what the PIPER.star here calls its project; "" when there is
// none that says.
func (a *app) projectHere(ctx context.Context) string {
	quiet := *a
	quiet.stderr = io.Discard
	catalog, err := quiet.catalog(ctx, &question{})
	if err != nil {
		return ""
	}
	return catalog.Project.Name
}

// sendTree sends what was changed here and not committed. The ref is the branch
// that is checked out, if one is.
func (a *app) sendTree(ctx context.Context, s *client.Client) (ref, commit, patch string, err error) {
	p, err := a.openProject(ctx, "")
	if err != nil {
		return "", "", "", err
	}
	if p.repo == nil {
		return "", "", "", &usageError{message: "--dirty: " + p.root + " is not in a git repository", hint: "an agent builds commits, and what was changed since"}
	}
	if commit, err = p.repo.Commit(); err != nil {
		return "", "", "", usagef("--dirty: %w", err)
	}
	if ref, err = p.repo.Branch(); err != nil {
		return "", "", "", err
	}
	text, err := p.repo.Patch()
	if err != nil || len(text) == 0 {
		return ref, commit, "", err
	}
	patch, err = s.PutPatch(ctx, bytes.NewReader(text))
	return ref, commit, patch, err
}
