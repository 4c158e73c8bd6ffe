package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

// startAfter makes the builds of those pipelines, of any project, that come after
// b (on.after). That it is to be done is a chore of the change that ended b, so it
// is done however b ended and whoever died meanwhile; each build's ID is derived
// from b and its pipeline, so it is done once.
func (l *life) startAfter(ctx context.Context, b store.Build) error {
	data, err := l.Store.Blob(ctx, b.Plan)
	if err != nil {
		return fmt.Errorf("read its plan: %w", err)
	}
	p, err := store.DecodePlan(data)
	if err != nil {
		return fmt.Errorf("read its plan: %w", err)
	}
	projects, err := l.Store.Projects(ctx)
	if err != nil {
		return err
	}
	var problems []error
	for _, project := range projects {
		commit := "" // what other projects do is up to their default branch
		if project.Name == b.Request.Project {
			commit = b.Commit
		}
		catalog, err := l.catalog(ctx, project, commit)
		if err != nil {
			problems = append(problems, fmt.Errorf("look at what project %s does after it: %w", project.Name, err))
			continue
		}
		for _, name := range after(catalog, project.Name, &b, p.Pipeline) {
			r := follow(&b, project, name)
			loop, err := l.endless(ctx, b, p.Pipeline, r)
			switch {
			case err != nil:
			case loop != "":
				l.log.Warn("nothing started after build", "build", b.ID, "why", loop)
			default:
				err = l.enqueue(ctx, store.Derive("after", string(b.ID), project.Name, name), r)
			}
			if err != nil {
				problems = append(problems, err)
			}
		}
	}
	return errors.Join(problems...)
}

// after returns the pipelines of a project that come after b, a build of
// pipeline.
func after(catalog plan.Catalog, project string, b *store.Build, pipeline string) (names []string) {
	for _, p := range catalog.Pipelines {
		for _, on := range p.On {
			of := on.Project
			if of == "" || of == catalog.Project.Name {
				of = project
			}
			if on.Kind == "after" && of == b.Request.Project && on.Pipeline == pipeline && endedAs(on.State, b.State) {
				names = append(names, p.Name)
				break
			}
		}
	}
	return names
}

// endedAs reports whether a build that is s has ended as on.after wants it.
func endedAs(want string, s build.State) bool {
	switch want {
	case "", "success":
		return s == build.Success
	case "failed":
		return s == build.Failed || s == build.TimedOut || s == build.Lost
	}
	return want == "ended"
}

// follow is what is asked for when a pipeline of project comes after b: the same
// commit in the same project, what is newest in another one.
func follow(b *store.Build, project store.Project, pipeline string) store.Request {
	r := store.Request{Project: project.Name, Pipeline: pipeline, Ref: project.Ref, Priority: b.Request.Priority,
		Event: plan.Event{Kind: "after", Branch: project.Ref, Time: b.Ended},
		Cause: store.Cause{Kind: "after", Build: b.ID, Number: b.Number, By: b.Request.Cause.By, Trust: b.Request.Cause.Trust}}
	if project.Name == b.Request.Project {
		r.Ref, r.Commit = b.Request.Ref, b.Commit
		r.Event.Branch, r.Event.Tag, r.Event.Commit, r.Event.Author = b.Request.Event.Branch, b.Request.Event.Tag, b.Commit, b.Request.Event.Author
	}
	return r
}

// Catalogs are those that were looked at before.
type catalogs struct {
	heads map[string]head         // by project
	known map[origin]plan.Catalog // what is at fault has an empty one
}

// A head is the commit of a project's default branch, and when that was so.
type head struct {
	commit, ref string
	at          time.Time
}

// An origin is where a catalog is from.
type origin struct{ project, repo, commit string }

// mostCatalogs bounds how many are remembered.
const mostCatalogs = 256

// catalog is what a project registers at a commit; "" is the head of its default
// branch, which is looked up every Timings.Catalog. A PIPER.star that is at fault
// registers nothing, and so does a project without one. The error is the
// machine's.
func (l *life) catalog(ctx context.Context, p store.Project, commit string) (c plan.Catalog, err error) {
	if commit == "" {
		if commit, err = l.head(ctx, p); err != nil || commit == "" {
			return c, err
		}
	}
	from := origin{p.Name, p.Repo, commit}
	l.mu.Lock()
	c, known := l.catalogs.known[from]
	l.mu.Unlock()
	if known {
		return c, nil
	}
	c, err = l.Sources.Catalog(ctx, p, commit)
	if wrong := errors.As(err, new(plan.Diagnostics)) || errors.Is(err, ErrRejected); wrong {
		l.log.Warn("project registers nothing", "project", p.Name, "commit", commit, "error", err)
		c, err = plan.Catalog{}, nil
	}
	if err != nil {
		return c, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.catalogs.known == nil || len(l.catalogs.known) >= mostCatalogs {
		l.catalogs.known = map[origin]plan.Catalog{}
	}
	l.catalogs.known[from] = c
	return c, nil
}

// head is the commit that is newest in a project; "" when it has none.
func (l *life) head(ctx context.Context, p store.Project) (string, error) {
	l.mu.Lock()
	h, known := l.catalogs.heads[p.Name]
	l.mu.Unlock()
	if known && h.ref == p.Repo+" "+p.Ref && time.Since(h.at) < l.Timings.Catalog {
		return h.commit, nil
	}
	commit, err := l.Sources.Resolve(ctx, p, "")
	if errors.Is(err, ErrRejected) {
		commit, err = "", nil
	}
	if err != nil {
		return "", err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.catalogs.heads == nil {
		l.catalogs.heads = map[string]head{}
	}
	l.catalogs.heads[p.Name] = head{commit, p.Repo + " " + p.Ref, time.Now()}
	return commit, nil
}
