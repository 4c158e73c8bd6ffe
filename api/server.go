package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/piper-build/piper/runtime/logs"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

// A Server answers for a Store. Store must be set. It must not be changed once
// it handles anything.
type Server struct {
	Store   store.Store
	Sources Sources // nil: what is asked for is not looked into before an agent plans it

	// Live is what the steps of builds in this process write; nil: the store is
	// waited for.
	Live *logs.Live

	// Index is asked where something is in the logs of all builds; nil: the store
	// is read. What is deleted from the store is deleted there, too.
	Index logs.Index

	// Webhook says how a project's forge signs; nil, or false, is that it may
	// not call.
	Webhook func(project string) (Webhook, bool)

	// Page answers GET and HEAD of every path that is not the API's; nil: there is
	// no such path. It is given what an API's answer has for its security headers,
	// such as a policy that lets nothing be loaded, and sets its own.
	Page http.Handler

	Hosts   []string // names that it is called by, beside localhost and addresses of this machine; "*" is any
	Version string
	Now     func() time.Time // nil is the real clock
	Log     *slog.Logger     // nil is silence
}

// A Webhook is how a forge signs what it sends.
type Webhook struct {
	Kind   string // "github", "gitlab", "gitea" or "hmac"
	Secret []byte
	Forks  bool // changes from forks are built: whoever makes one has commands run by the agents
}

// ErrProject says that what is said of a project is at fault, such as an address
// that may not be fetched from: to ask again does not help.
var ErrProject = errors.New("project at fault")

// Sources looks into repositories. A ref or commit that is not there is
// store.ErrNotFound, a project that cannot be looked into as it is ErrProject.
type Sources interface {
	// Resolve finds the commit that ref names; "" is the project's Ref, and
	// when that is empty too the repository's default branch.
	Resolve(ctx context.Context, p store.Project, ref string) (commit string, err error)

	// Default is the branch that Resolve finds when no ref is named, as of its last
	// call.
	Default(ctx context.Context, p store.Project) (branch string, err error)

	// Catalog is what the PIPER.star of a commit registers; plan.Diagnostics
	// when that is at fault.
	Catalog(ctx context.Context, p store.Project, commit string) (plan.Catalog, error)

	// Changed lists the files that differ between two commits.
	Changed(ctx context.Context, p store.Project, base, commit string) ([]string, error)
}
