package api

import (
	"github.com/piper-build/piper/runtime/logs"
	"github.com/piper-build/piper/runtime/store"
)

// collect deletes old builds now.
func (c *call) collect() (*answer, error) {
	var r CollectRequest
	if err := c.read(&r); err != nil {
		return nil, err
	}
	if r.Keep.Age < 0 || r.Keep.Count < 0 {
		return nil, invalid("", FieldError{Field: "keep", Message: "is below zero"})
	}
	s := c.Store
	if c.Index != nil {
		s = logs.Indexed(s, c.Index)
	}
	if r.Keep != (store.Retention{}) {
		n, err := store.Retain(c.ctx, s, r.Project, r.Keep, c.now())
		return &answer{value: Collected{Builds: n}}, err
	}
	projects, err := c.Store.Projects(c.ctx)
	if r.Project != "" {
		projects = make([]store.Project, 1)
		projects[0], err = c.project(r.Project)
	}
	if err != nil {
		return nil, err
	}
	all := Collected{}
	for _, p := range projects {
		n, err := store.Retain(c.ctx, s, p.Name, p.Retention, c.now())
		if all.Builds += n; err != nil {
			return nil, err
		}
	}
	return ok(all)
}
