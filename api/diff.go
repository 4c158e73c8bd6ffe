package api

import (
	"errors"
	"net/http"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/logs"
	"github.com/piper-build/piper/runtime/store"
)

const (
	diffContext = 3    // lines around what is new, unless it is said
	greenMost   = 2000 // builds are looked at for one that succeeded
)

// diffLog holds what a build wrote against what one before it wrote that
// succeeded.
func (c *call) diffLog() (*answer, error) {
	b, err := c.build()
	if err != nil {
		return nil, err
	}
	limit, err := c.limit(20, maxMatches)
	if err != nil {
		return nil, err
	}
	around, err := c.number("context", 0)
	if err != nil {
		return nil, err
	}
	if around = min(around, maxContext); c.query.Get("context") == "" {
		around = diffContext
	}
	now, err := c.outputs(b, false)
	if err != nil {
		return nil, err
	}
	base, err := c.base(&b)
	if err != nil {
		return nil, err
	}
	f, err := c.fold(&base)
	if err != nil {
		return nil, err
	}
	diff := LogDiff{Base: BuildRef{ID: base.ID, Number: base.Number, Project: base.Request.Project, Pipeline: base.Request.Pipeline}, Steps: []StepDiff{}}
	for _, o := range now {
		step := StepDiff{Step: o.step, Attempt: o.attempt, Hits: []Match{}}
		var was *logs.Reader
		attempt := 0
		if s, known := f.Step(o.step); known {
			was, attempt = logs.NewReader(c.Store, base.ID, f.fence), max(1, s.Attempt)
		}
		d, err := o.Diff(c.ctx, o.step, o.attempt, was, attempt, int(around), func(m logs.Match) bool {
			if len(step.Hits) < limit {
				hit := matchOf(o, m)
				hit.Spans = [][2]int{} // all of it is new
				step.Hits = append(step.Hits, hit)
			}
			return len(step.Hits) < limit
		})
		if err != nil && !errors.Is(err, logs.ErrNoOutput) {
			return nil, err
		}
		step.New, step.Base, step.Capped = d.New, d.Base, d.Capped
		diff.Steps = append(diff.Steps, step)
	}
	return ok(diff)
}

// base is the build that is asked for, or the newest before b of the same pipeline
// that succeeded.
func (c *call) base(b *store.Build) (base store.Build, err error) {
	if ref := c.query.Get("against"); ref != "" {
		if base, err = c.buildNamed(ref); err == nil && base.Plan == "" {
			err = notPlanned(&base)
		}
		return base, err
	}
	seen := 0
	f := store.Filter{Project: b.Request.Project, Pipeline: b.Request.Pipeline, State: build.Success}
	for cursor := ""; seen < greenMost; {
		page, next, err := c.Store.List(c.ctx, f, cursor, 100)
		if err != nil {
			return base, err
		}
		for i := range page {
			g := &page[i]
			if g.Number < b.Number && g.Request.Pipeline == b.Request.Pipeline && g.Plan != "" && !g.Collected {
				return *g, nil
			}
		}
		seen += len(page)
		if cursor = next; cursor == "" {
			break
		}
	}
	return base, problem(http.StatusNotFound, "no-green-build", "no build of this pipeline before it has succeeded: name another one to hold it against")
}
