package api

import (
	"time"

	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

// A Project is a repository whose pipelines are built.
type Project struct {
	Name      string          `json:"name"`
	Repo      string          `json:"repo"`
	Ref       string          `json:"ref,omitempty"`
	Zone      string          `json:"zone,omitempty"`
	Retention store.Retention `json:"retention,omitzero"`
	Rev       int64           `json:"rev,omitempty"` // in a PUT: the one that is to be replaced; 0 is whichever there is, or none
	Created   time.Time       `json:"created,omitzero"`
}

// A CollectRequest asks for old builds to be deleted.
type CollectRequest struct {
	Project string          `json:"project,omitempty"` // "" is every project
	Keep    store.Retention `json:"keep,omitzero"`     // zero is what each project says itself
	DryRun  bool            `json:"dry_run,omitempty"` // nothing is deleted: only say what would be
}

// Collected is what came of it.
type Collected struct {
	Builds  int     `json:"builds"`
	Numbers []int64 `json:"numbers"` // of the first 1000 of them
}

// Pipelines is what a commit of a project can build.
type Pipelines struct {
	Project string `json:"project"`
	Commit  string `json:"commit"`
	plan.Catalog
}
