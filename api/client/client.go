// Package client asks a server of package api.
//
// A Client may be used from many goroutines. An error that the server gave is an
// *api.Problem, to be found with errors.As; every other one says that there was no
// answer. What only reads is tried again after a broken connection, what writes
// never is: a caller who gives a key to CreateBuild or Rerun may safely do so.
package client

import (
	"context"
	"io"
	"iter"
	"net/http"

	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

// A Client asks one server.
type Client struct {
	URL   string       // of the server, such as "http://127.0.0.1:7700"
	Token string       // "" is none
	HTTP  *http.Client // nil is one of its own
}

// An API is what a Client can be asked.
type API interface {
	Version(ctx context.Context) (api.Version, error)

	Projects(ctx context.Context) ([]api.Project, error)
	Project(ctx context.Context, name string) (api.Project, error)
	PutProject(ctx context.Context, p api.Project) (api.Project, error)
	DeleteProject(ctx context.Context, name string) error
	Pipelines(ctx context.Context, project, ref string) (api.Pipelines, error)

	CreateBuild(ctx context.Context, r api.BuildRequest, key string) (api.Build, error)
	PutPatch(ctx context.Context, patch io.Reader) (digest string, err error)
	Builds(ctx context.Context, f api.BuildFilter, cursor string, limit int) (page []api.Build, next string, err error)
	Build(ctx context.Context, ref string) (api.Build, error)
	Cancel(ctx context.Context, ref string, r api.CancelRequest) (api.Build, error)
	Rerun(ctx context.Context, ref string, r api.RerunRequest, key string) (api.Build, error)
	Approve(ctx context.Context, ref string, r api.ApproveRequest) (api.Build, error)
	Plan(ctx context.Context, ref string) (*plan.Plan, error)
	Why(ctx context.Context, ref, step string) (api.Why, error)

	Events(ctx context.Context, ref string, fence, after int64, limit int) ([]build.Event, error)
	Watch(ctx context.Context, after string, topics ...string) iter.Seq2[api.Message, error]

	Log(ctx context.Context, ref string, q api.LogQuery) (api.Log, error)
	Follow(ctx context.Context, ref string, q api.LogQuery) iter.Seq2[api.Line, error]
	RawLog(ctx context.Context, ref string, q api.LogQuery) (io.ReadCloser, error)
	SearchLog(ctx context.Context, ref string, q api.SearchQuery) (api.Found, error)

	Agents(ctx context.Context) ([]api.Agent, error)
	Agent(ctx context.Context, id store.AgentID) (api.Agent, error)
	Drain(ctx context.Context, id store.AgentID) (api.Agent, error)
	Resume(ctx context.Context, id store.AgentID) (api.Agent, error)

	Tokens(ctx context.Context) ([]api.Token, error)
	CreateToken(ctx context.Context, r api.TokenRequest) (api.Token, error)
	RevokeToken(ctx context.Context, name string) error
}
