package api

import (
	"github.com/piper-build/piper/runtime/logs"
	"github.com/piper-build/piper/runtime/store"
)

// mostNumbers bounds the numbers that are told of builds that were deleted.
const mostNumbers = 1000

// collect deletes old builds now, or says which those are.
func (c *call) collect() (*answer, error) {
	var r CollectRequest
	if err := c.read(&r); err != nil {
		return nil, err
	}
	if below(r.Keep) {
		return nil, invalid("", FieldError{Field: "keep", Message: "is below zero"})
	}
	s := c.Store
	if c.Index != nil {
		s = logs.Indexed(s, c.Index)
	}
	all := Collected{Numbers: []int64{}}
	expired := func(b *store.Build) error {
		if !r.DryRun {
			if err := store.Delete(c.ctx, s, b); err != nil {
				return err
			}
		}
		if all.Builds++; all.Builds <= mostNumbers {
			all.Numbers = append(all.Numbers, b.Number)
		}
		return nil
	}
	if r.Keep != (store.Retention{}) {
		err := store.Expired(c.ctx, s, r.Project, r.Keep, c.now(), expired)
		return &answer{value: all}, err
	}
	projects, err := c.Store.Projects(c.ctx)
	if r.Project != "" {
		projects = make([]store.Project, 1)
		projects[0], err = c.project(r.Project)
	}
	if err != nil {
		return nil, err
	}
	for _, p := range projects {
		if err := store.Expired(c.ctx, s, p.Name, p.Retention, c.now(), expired); err != nil {
			return nil, err
		}
	}
	return ok(all)
}

func below(r store.Retention) bool { return r.Age < 0 || r.Count < 0 || r.Size < 0 }

// pinBuild has a build be kept whatever a retention says.
func (c *call) pinBuild() (*answer, error) {
	var r PinRequest
	if err := c.read(&r); err != nil {
		return nil, err
	}
	b, err := c.build()
	if err != nil {
		return nil, err
	}
	if b, err = c.change(b, store.Pin{Pinned: !r.Remove}); err != nil {
		return nil, err
	}
	return ok(summary(&b, nil))
}
