package store

import (
	"context"
	"time"

	"github.com/piper-build/piper/runtime/plan"
)

// A Project is a repository whose pipelines are built here.
type Project struct {
	Name    string    `json:"name"`
	Rev     int64     `json:"rev"` // grows with each PutProject
	Repo    string    `json:"repo"`
	Ref     string    `json:"ref,omitempty"`  // built when none is named; "" is the repository's own default
	Zone    string    `json:"zone,omitempty"` // of its schedules, such as "Europe/Berlin"; "" is UTC
	Created time.Time `json:"created,omitzero"`

	Retention Retention `json:"retention,omitzero"`

	// Scheduled is, by pipeline and schedule, the newest minute for which a
	// build was made.
	Scheduled map[string]time.Time `json:"scheduled,omitempty"`
}

// Retention says which builds that have ended are kept. A zero field takes none
// away. What is kept whatever it says, Expired knows.
type Retention struct {
	Age   plan.Duration `json:"age,omitempty"`   // since they ended
	Count int           `json:"count,omitempty"` // the newest of each pipeline
	Size  int64         `json:"size,omitempty"`  // bytes that the newest of the project wrote, in all
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
