package store

import (
	"context"
	"time"
)

// A Project is a repository whose pipelines are built here.
type Project struct {
	Name    string    `json:"name"`
	Rev     int64     `json:"rev"` // grows with each PutProject
	Repo    string    `json:"repo"`
	Ref     string    `json:"ref,omitempty"` // built when none is named; "" is the repository's own default
	Created time.Time `json:"created,omitzero"`

	// Scheduled is, by pipeline and schedule, the newest minute for which a
	// build was made.
	Scheduled map[string]time.Time `json:"scheduled,omitempty"`
}

// Projects keeps projects.
type Projects interface {
	// PutProject keeps p if the one that is there has p.Rev, which is 0 for
	// none, and returns it with its next Rev. Else it is ErrConflict.
	PutProject(ctx context.Context, p Project) (Project, error)

	Project(ctx context.Context, name string) (Project, error)
	Projects(ctx context.Context) ([]Project, error) // by name

	// DeleteProject forgets a project; its builds stay until they are
	// collected. One that is not there is no error.
	DeleteProject(ctx context.Context, name string) error
}
