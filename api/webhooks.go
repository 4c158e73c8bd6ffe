package api

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/piper-build/piper/api/webhook"
	"github.com/piper-build/piper/runtime/store"
)

// A Hooked is what came of a delivery.
type Hooked struct {
	Delivery string     `json:"delivery,omitempty"`
	Event    string     `json:"event,omitempty"`
	Builds   []BuildRef `json:"builds"`
	Ignored  string     `json:"ignored,omitempty"` // why there is none
}

func (c *call) webhook() (*answer, error) {
	name := c.param("project")
	hook, known := Webhook{}, false
	if c.Webhook != nil {
		hook, known = c.Webhook(name)
	}
	if !known {
		return nil, problem(http.StatusNotFound, "no-webhook", "no webhook is set up for "+quote(name))
	}
	// With its length known, memory is taken once.
	var body bytes.Buffer
	if n := c.r.ContentLength; n > 0 {
		body.Grow(int(n) + bytes.MinRead)
	}
	if _, err := io.Copy(&body, c.r.Body); err != nil {
		return nil, bodyError(err)
	}
	if err := webhook.Verify(hook.Kind, hook.Secret, c.r.Header, body.Bytes()); err != nil {
		return nil, problem(http.StatusUnauthorized, "bad-signature", err.Error())
	}
	d, err := webhook.Parse(hook.Kind, c.r.Header, body.Bytes())
	if err != nil {
		return nil, problem(http.StatusBadRequest, "bad-payload", err.Error())
	}
	if d.Ignored != "" {
		return ok(Hooked{Delivery: d.ID, Builds: []BuildRef{}, Ignored: d.Ignored})
	}
	p, err := c.Store.Project(c.ctx, name)
	if err != nil {
		return nil, err
	}
	if d.Fork && !hook.Forks {
		return ok(Hooked{Delivery: d.ID, Event: d.Event.Kind, Builds: []BuildRef{}, Ignored: "it is from a fork, and the operator has none built"})
	}
	return c.deliver(p, d)
}

// deliver makes the builds that a delivery starts, each once.
func (c *call) deliver(p store.Project, d webhook.Delivery) (*answer, error) {
	done := Hooked{Delivery: d.ID, Event: d.Event.Kind, Builds: []BuildRef{}}
	if c.Sources == nil {
		return nil, problem(http.StatusNotImplemented, "no-sources", "this server does not look into repositories, so it does not know what starts")
	}
	why, err := c.outdated(p, &d)
	if err != nil {
		return nil, err
	}
	if done.Ignored = why; why != "" {
		return ok(done)
	}
	commit := d.Event.Commit
	if d.Fork && d.Base != "" {
		commit = d.Base // what starts is for the project to say, not for the fork
	} else if d.Fork {
		if commit, err = c.Sources.Resolve(c.ctx, p, d.Event.Base); err != nil {
			return nil, c.away(p, err)
		}
	}
	_, catalog, err := c.catalog(p, "", commit)
	var bad *Problem
	switch {
	case errors.As(err, &bad) && bad.Status == http.StatusUnprocessableEntity:
		// To send it again does not mend the file.
		c.log().Warn("webhook starts nothing", "project", p.Name, "commit", commit, "error", err)
		done.Ignored = bad.Error()
		return ok(done)
	case err != nil:
		return nil, err
	}
	names, err := webhook.Match(catalog, d, func() ([]string, error) { return c.changed(p, d) })
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		pipeline, err := pick(catalog, name)
		if err != nil {
			return nil, err
		}
		if !pipeline.Complete(nil) {
			c.log().Warn("webhook starts nothing", "project", p.Name, "pipeline", name, "error", "it has parameters that must be given")
			continue
		}
		ref, err := c.hooked(p, d, name)
		if err != nil {
			return nil, err
		}
		done.Builds = append(done.Builds, ref)
	}
	if len(done.Builds) == 0 {
		done.Ignored = "no pipeline starts at this"
		return ok(done)
	}
	return &answer{status: http.StatusCreated, value: done}, nil
}

// hooked makes the build of one pipeline, unless it is there.
func (c *call) hooked(p store.Project, d webhook.Delivery, pipeline string) (BuildRef, error) {
	r := store.Request{Project: p.Name, Pipeline: pipeline, Ref: d.Ref, Commit: d.Event.Commit, Event: d.Event,
		Cause: store.Cause{Kind: d.Event.Kind, By: d.Event.Author}}
	if d.Fork {
		r.Cause.Trust = "fork"
	}
	id := store.Derive("webhook", p.Name, d.ID, pipeline)
	b, err := c.Store.Build(c.ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		b, _, err = c.enqueue(id, r)
	}
	if errors.Is(err, store.ErrConflict) { // it was made a moment ago, with other words: those count
		b, err = c.Store.Build(c.ctx, id)
	}
	if err != nil {
		return BuildRef{}, err
	}
	return BuildRef{ID: b.ID, Number: b.Number, Project: p.Name, Pipeline: pipeline}, nil
}

// outdated says why a delivery is of what is not there any more: a branch or a
// change request is somewhere else by now. Of that there is a delivery as well,
// and what is older must not be built after it.
func (c *call) outdated(p store.Project, d *webhook.Delivery) (string, error) {
	ref := d.Ref
	if d.Event.Kind == "webhook" {
		return "", c.head(p, d)
	}
	if !validRef(ref) || d.Event.Branch != "" && !validRef(d.Event.Branch) {
		return quote(ref) + " is no name that git allows", nil
	}
	if d.Event.Kind == "tag" {
		return "", nil
	}
	head, err := c.Sources.Resolve(c.ctx, p, ref)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return ref + " is not there any more", nil
	case err != nil:
		return "", c.away(p, err)
	case head != d.Event.Commit:
		return fmt.Sprintf("%s is at %s by now", ref, head), nil
	}
	return "", nil
}

// head gives a delivery that is about no commit that of the project.
func (c *call) head(p store.Project, d *webhook.Delivery) (err error) {
	if d.Event.Commit, err = c.Sources.Resolve(c.ctx, p, ""); err != nil {
		return c.away(p, err)
	}
	return nil
}

// changed lists the files that a delivery changes; nil when that is not known.
func (c *call) changed(p store.Project, d webhook.Delivery) ([]string, error) {
	base := d.Base
	if base == "" && d.Event.Kind == "change_request" {
		base = d.Event.Base
	}
	if base == "" {
		return nil, nil
	}
	files, err := c.Sources.Changed(c.ctx, p, base, d.Event.Commit)
	switch {
	case errors.Is(err, store.ErrNotFound): // such as what a forced push has overwritten
		return nil, nil
	case err != nil:
		return nil, c.away(p, err)
	case files == nil:
		return []string{}, nil
	}
	return files, nil
}
