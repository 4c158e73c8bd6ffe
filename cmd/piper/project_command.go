package main

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/api/client"
	"github.com/piper-build/piper/runtime/plan"
)

func (a *app) projectCommand() *command {
	c := a.newCommand("project", "[add | remove | show] [NAME] [flags]")
	c.ShortHelp = "List, add, change and remove the projects that agents build."
	c.LongHelp = `A project is a repository with a PIPER.star. What is secret about it, credentials
and secrets, stands in agent.yaml on the machines of the agents, not here.`
	c.examples = `
piper project                                        # list them
piper project add shop --repo https://git.example.com/shop.git
piper project add shop --repo /srv/git/shop --ref main --zone Europe/Berlin --keep 100
piper project show shop                              # and its pipelines
piper project remove shop
`
	r := c.asksServer()
	var p api.Project
	var age, size string
	c.FlagSet.StringVar(&p.Repo, "repo", "", "where the repository is: `URL`, by https or ssh, or a path on the agents' machines")
	c.FlagSet.StringVar(&p.Ref, "ref", "", "the branch `REF` that is built when none is named; the repository's own default, unless given")
	c.FlagSet.StringVar(&p.Zone, "zone", "", "the time `ZONE` of its schedules; UTC, unless given")
	c.FlagSet.IntVar(&p.Retention.Count, "keep", 0, "keep the newest `N` builds of each pipeline; all, unless given")
	c.FlagSet.StringVar(&age, "keep-for", "", "keep builds for a `TIME` such as 720h; for ever, unless given")
	c.FlagSet.StringVar(&size, "keep-size", "", "keep the newest builds that wrote no more than a `SIZE` such as 20GiB in all")
	asJSON := c.FlagSet.Bool("json", false, "print JSON")
	c.max, c.args = 2, projectWords
	c.Exec = func(ctx context.Context, args []string) (err error) {
		verb, name := "list", ""
		if len(args) > 0 {
			verb = args[0]
		}
		if len(args) > 1 {
			name = args[1]
		}
		if err := oneOf("list", "add", "remove", "show")(verb); err != nil {
			return usagef("piper project %s: %w", verb, err)
		}
		if verb != "list" && name == "" {
			return &usageError{message: "piper project " + verb + " needs a name", hint: "usage: piper project " + verb + " NAME"}
		}
		if age != "" {
			if p.Retention.Age, err = plan.ParseDuration(age); err != nil {
				return usagef("--keep-for: %w", err)
			}
		}
		if size != "" {
			if p.Retention.Size, err = bytesOf(size); err != nil {
				return usagef("--keep-size: %w", err)
			}
		}
		p.Name = name
		if verb == "add" {
			if p.Repo == "" {
				return &usageError{message: "piper project add needs --repo", hint: "piper project add NAME --repo URL"}
			}
			if !strings.Contains(p.Repo, ":") { // a path of this machine
				p.Repo = a.path(p.Repo)
			}
			r.make = true
		}
		return a.ask(ctx, r, func(s *client.Client) error {
			switch verb {
			case "add":
				return a.putProject(ctx, s, p, *asJSON)
			case "remove":
				if err := s.DeleteProject(ctx, name); err != nil {
					return err
				}
				fmt.Fprintf(a.stderr, "piper: project %s is removed; its builds stay\n", name)
				return nil
			case "show":
				return a.showProject(ctx, s, name, *asJSON)
			}
			return a.listProjects(ctx, s, *asJSON)
		})
	}
	return c
}

// putProject adds a project, or changes what was said of it.
func (a *app) putProject(ctx context.Context, s *client.Client, p api.Project, asJSON bool) error {
	before, missing := s.Project(ctx, p.Name)
	p, err := s.PutProject(ctx, p)
	if err != nil {
		return err
	}
	if asJSON {
		return a.printJSON(p)
	}
	verb := "changed"
	if p.Rev == 1 {
		verb = "added"
	}
	fmt.Fprintf(a.stderr, "piper: project %s is %s\n", p.Name, verb)
	if missing == nil && before.Repo != p.Repo {
		fmt.Fprintf(a.stderr, "piper: its repository was %s\n", before.Repo)
	}
	looking, enough := context.WithTimeout(ctx, firstLook)
	defer enough()
	if _, err := s.Pipelines(looking, p.Name, ""); err != nil && looking.Err() == nil {
		fmt.Fprintf(a.stderr, "warning: nothing can be built of it yet: %v\n", err)
		return nil
	}
	fmt.Fprintf(a.stderr, "hint: piper build --project %s has a pipeline of it run\n", p.Name)
	return nil
}

// firstLook is how long it may take to find out what a project can build.
const firstLook = 20 * time.Second

func (a *app) listProjects(ctx context.Context, s *client.Client, asJSON bool) error {
	projects, err := s.Projects(ctx)
	if err != nil {
		return err
	}
	if asJSON {
		return a.printJSON(append([]api.Project{}, projects...))
	}
	if len(projects) == 0 {
		fmt.Fprintln(a.stderr, "piper: there is no project\nhint: piper project add NAME --repo URL")
		return nil
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	row(w, "PROJECT", "REPO", "REF")
	for _, p := range projects {
		row(w, p.Name, p.Repo, p.Ref)
	}
	return w.Flush()
}

// showProject shows a project and what it can build.
func (a *app) showProject(ctx context.Context, s *client.Client, name string, asJSON bool) error {
	p, err := s.Project(ctx, name)
	if err != nil {
		return err
	}
	all, err := s.Pipelines(ctx, name, "")
	if err != nil {
		return err
	}
	if asJSON {
		return a.printJSON(struct {
			api.Project
			Commit    string          `json:"commit"`
			Pipelines []plan.Pipeline `json:"pipelines"`
		}{p, all.Commit, all.Pipelines})
	}
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	row(w, "project", p.Name)
	row(w, "repo", p.Repo)
	row(w, "ref", cmp.Or(p.Ref, "the repository's default"))
	row(w, "commit", all.Commit)
	for _, pipeline := range all.Pipelines {
		row(w, pipeline.Name, firstLine(pipeline.Doc))
		for _, param := range pipeline.Params {
			row(w, "  --param "+param.Name+"="+paramShape(param), firstLine(param.Doc))
		}
	}
	return w.Flush()
}

// projectWords offers the verbs, and then the projects.
func projectWords(ctx context.Context, l *line) []candidate {
	switch {
	case len(l.args) == 0:
		return []candidate{{"add", "add a project, or change it"}, {"remove", "remove a project"}, {"show", "show a project and its pipelines"}, {"list", "list the projects"}}
	case len(l.args) > 1 || l.args[0] == "list":
		return nil
	}
	return serverProjects(ctx, l)
}

// serverProjects offers the projects.
func serverProjects(ctx context.Context, l *line) []candidate {
	var found []candidate
	l.askQuietly(ctx, func(s *client.Client) error {
		projects, err := s.Projects(ctx)
		for _, p := range projects {
			found = append(found, candidate{p.Name, p.Repo})
		}
		return err
	})
	return found
}
