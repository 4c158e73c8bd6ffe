// Package client asks a server of package api.
//
// A Client may be used from many goroutines. An error that the server gave is an
// *api.Problem, to be found with errors.As; every other one says that there was
// no answer. Nothing is tried again by itself but streams, which go on where they
// were: who gives a key to CreateBuild or Rerun may safely call them again.
package client

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/runtime/layout"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

// A Client asks one server.
type Client struct {
	URL   string       // of the server, such as "http://127.0.0.1:7700"
	Token string       // "" is none
	HTTP  *http.Client // nil is http.DefaultClient; a time-out of it would end streams
}

// ask sends a request and decodes the answer into out, if that is not nil.
func (c *Client) ask(ctx context.Context, method, path string, query url.Values, in, out any, header ...string) (http.Header, error) {
	var body io.Reader
	if in != nil {
		text, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("ask server: %w", err)
		}
		body = bytes.NewReader(text)
		header = append(header, "Content-Type", "application/json")
	}
	res, err := c.send(ctx, method, path, query, body, header...)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	if out != nil {
		if err := json.NewDecoder(res.Body).Decode(out); err != nil {
			return nil, fmt.Errorf("read the answer of %s: %w", c.URL, err)
		}
	}
	return res.Header, nil
}

// send sends a request and returns the answer, if it is a good one.
func (c *Client) send(ctx context.Context, method, path string, query url.Values, body io.Reader, header ...string) (*http.Response, error) {
	target := strings.TrimSuffix(c.URL, "/") + path
	if len(query) > 0 {
		target += "?" + query.Encode()
	}
	r, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, fmt.Errorf("ask server: %w", err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		if header[i+1] != "" {
			r.Header.Set(header[i], header[i+1])
		}
	}
	if c.Token != "" {
		r.Header.Set("Authorization", "Bearer "+c.Token)
	}
	res, err := cmp.Or(c.HTTP, http.DefaultClient).Do(r)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err // without the address, which is said anyway
		}
		if errors.Is(err, http.ErrSchemeMismatch) {
			err = fmt.Errorf("it does not speak TLS: is http:// meant? (%w)", err)
		}
		return nil, fmt.Errorf("ask %s: %w", c.URL, err)
	}
	if res.StatusCode < 300 {
		return res, nil
	}
	defer res.Body.Close()
	return nil, c.problem(res)
}

// problem reads why the server refused.
func (c *Client) problem(res *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(res.Body, 8<<20))
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", c.URL, err)
	}
	p := &api.Problem{}
	if err := json.Unmarshal(text, p); err != nil || p.Status != res.StatusCode || p.Type == "" {
		return fmt.Errorf("ask %s: it is no piper, or something stands before it: it answers %s", c.URL, res.Status)
	}
	return p
}

// path joins segments, each as it stands.
func path(segments ...string) string {
	var b strings.Builder
	b.WriteString("/v1")
	for _, s := range segments {
		b.WriteString("/" + url.PathEscape(s))
	}
	return b.String()
}

// values are the parameters of a query: names and values in turn, without those
// that are empty.
func values(pairs ...string) url.Values {
	q := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	return q
}

// number is n in a query; 0 is not there.
func number[N int | int64](n N) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(int64(n), 10)
}

// flag is on in a query; false is not there.
func flag(on bool) string {
	if on {
		return "true"
	}
	return ""
}

// get asks for something.
func get[T any](ctx context.Context, c *Client, path string, query url.Values) (out T, err error) {
	_, err = c.ask(ctx, http.MethodGet, path, query, nil, &out)
	return out, err
}

// tell tells something, and returns what came of it.
func tell[T any](ctx context.Context, c *Client, method, path string, in any, header ...string) (out T, err error) {
	_, err = c.ask(ctx, method, path, nil, in, &out, header...)
	return out, err
}

// Version says what answers.
func (c *Client) Version(ctx context.Context) (api.Version, error) {
	return get[api.Version](ctx, c, path("version"), nil)
}

// Session says who the client is to the server.
func (c *Client) Session(ctx context.Context) (api.Session, error) {
	return get[api.Session](ctx, c, path("session"), nil)
}

// Projects lists the projects that may be seen, by name.
func (c *Client) Projects(ctx context.Context) ([]api.Project, error) {
	return get[[]api.Project](ctx, c, path("projects"), nil)
}

// Project returns the project of that name.
func (c *Client) Project(ctx context.Context, name string) (api.Project, error) {
	return get[api.Project](ctx, c, path("projects", name), nil)
}

// PutProject keeps p under its name. With a Rev it must be the one that is there.
func (c *Client) PutProject(ctx context.Context, p api.Project) (api.Project, error) {
	return tell[api.Project](ctx, c, http.MethodPut, path("projects", p.Name), p)
}

// DeleteProject forgets a project. One that is not there is no error.
func (c *Client) DeleteProject(ctx context.Context, name string) error {
	_, err := c.ask(ctx, http.MethodDelete, path("projects", name), nil, nil, nil)
	return err
}

// Pipelines returns what a commit can build; "" is the project's ref.
func (c *Client) Pipelines(ctx context.Context, project, ref string) (api.Pipelines, error) {
	return get[api.Pipelines](ctx, c, path("projects", project, "pipelines"), values("ref", ref))
}

// CreateBuild asks for a build. Asked for again with the same key, it is the
// same one; with the key "" each is another one.
func (c *Client) CreateBuild(ctx context.Context, r api.BuildRequest, key string) (api.Build, error) {
	return tell[api.Build](ctx, c, http.MethodPost, path("builds"), r, "Idempotency-Key", key)
}

// PutPatch keeps uncommitted changes, for a BuildRequest.
func (c *Client) PutPatch(ctx context.Context, patch io.Reader) (digest string, err error) {
	res, err := c.send(ctx, http.MethodPost, path("patches"), nil, patch, "Content-Type", "application/octet-stream")
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	var p api.Patch
	if err := json.NewDecoder(res.Body).Decode(&p); err != nil {
		return "", fmt.Errorf("read the answer of %s: %w", c.URL, err)
	}
	return p.Digest, nil
}

// Builds returns a page of builds, newest first, and the cursor of the next one;
// "" when there is none. A limit of 0 is the server's own.
func (c *Client) Builds(ctx context.Context, f api.BuildFilter, cursor string, limit int) (page []api.Build, next string, err error) {
	header, err := c.ask(ctx, http.MethodGet, path("builds"), values("project", f.Project, "pipeline", f.Pipeline, "state", string(f.State),
		"agent", string(f.Agent), "parent", string(f.Parent), "cursor", cursor, "limit", number(limit)), nil, &page)
	return page, header.Get("X-Next-Cursor"), err
}

// Build returns all there is to say of a build. ref is its number or ID, here and
// below.
func (c *Client) Build(ctx context.Context, ref string) (api.Build, error) {
	return get[api.Build](ctx, c, path("builds", ref), nil)
}

// Cancel asks a build to end.
func (c *Client) Cancel(ctx context.Context, ref string, r api.CancelRequest) (api.Build, error) {
	return tell[api.Build](ctx, c, http.MethodPost, path("builds", ref, "cancel"), r)
}

// Pin has a build be kept whatever a retention says, or lets it go again.
func (c *Client) Pin(ctx context.Context, ref string, r api.PinRequest) (api.Build, error) {
	return tell[api.Build](ctx, c, http.MethodPost, path("builds", ref, "pin"), r)
}

// Rerun asks for a build that was there before, as CreateBuild does.
func (c *Client) Rerun(ctx context.Context, ref string, r api.RerunRequest, key string) (api.Build, error) {
	return tell[api.Build](ctx, c, http.MethodPost, path("builds", ref, "rerun"), r, "Idempotency-Key", key)
}

// Approve answers a node that asks.
func (c *Client) Approve(ctx context.Context, ref string, r api.ApproveRequest) (api.Build, error) {
	return tell[api.Build](ctx, c, http.MethodPost, path("builds", ref, "approve"), r)
}

// Plan returns a build's plan.
func (c *Client) Plan(ctx context.Context, ref string) (*plan.Plan, error) {
	res, err := c.send(ctx, http.MethodGet, path("builds", ref, "plan"), nil, nil)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", c.URL, err)
	}
	return plan.Decode(text)
}

// Graph returns a build's plan as it is drawn, with what expands have found.
func (c *Client) Graph(ctx context.Context, ref string) (layout.Graph, error) {
	return get[layout.Graph](ctx, c, path("builds", ref, "graph"), nil)
}

// Request returns what a build was asked for with.
func (c *Client) Request(ctx context.Context, ref string) (api.Asked, error) {
	return get[api.Asked](ctx, c, path("builds", ref, "request"), nil)
}

// Patch returns the uncommitted changes of a build that has some. Those that do
// not have the digest, which is told of the build, are an error.
func (c *Client) Patch(ctx context.Context, ref, digest string) ([]byte, error) {
	res, err := c.send(ctx, http.MethodGet, path("builds", ref, "patch"), nil, nil)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	patch, err := io.ReadAll(res.Body)
	if err != nil {
		return nil, fmt.Errorf("read the answer of %s: %w", c.URL, err)
	}
	if got := fmt.Sprintf("sha256:%x", sha256.Sum256(patch)); got != digest {
		return nil, fmt.Errorf("read the answer of %s: the uncommitted changes of build %s came as %s, and are %s: they are cut off, or its store is broken", c.URL, ref, got, digest)
	}
	return patch, nil
}

// Why says why a build is not running; with a step, why that is not.
func (c *Client) Why(ctx context.Context, ref, step string) (api.Why, error) {
	return get[api.Why](ctx, c, path("builds", ref, "why"), values("step", step))
}

// Events returns what happened in a build, after an event's Seq. fence 0 is that
// of the build as it stands, limit 0 the server's own.
func (c *Client) Events(ctx context.Context, ref string, fence, after int64, limit int) ([]api.BuildEvent, error) {
	return get[[]api.BuildEvent](ctx, c, path("builds", ref, "events"), values("fence", number(fence), "after", number(after), "limit", number(limit)))
}

// Log returns lines of a step's output.
func (c *Client) Log(ctx context.Context, ref string, q api.LogQuery) (api.Log, error) {
	return get[api.Log](ctx, c, path("builds", ref, "log"), logValues(q))
}

func logValues(q api.LogQuery) url.Values {
	return values("step", q.Step, "attempt", number(q.Attempt), "fence", number(q.Fence), "from", number(q.From), "to", number(q.To), "tail", number(q.Tail))
}

// RawLog returns the bytes that a step wrote. It must be closed.
func (c *Client) RawLog(ctx context.Context, ref string, q api.LogQuery) (io.ReadCloser, error) {
	res, err := c.send(ctx, http.MethodGet, path("builds", ref, "log", "raw"), logValues(api.LogQuery{Step: q.Step, Attempt: q.Attempt, Fence: q.Fence}), nil)
	if err != nil {
		return nil, err
	}
	return res.Body, nil
}

// ExportLog returns all that a build wrote which has ended, as package archive has
// it. It must be closed.
func (c *Client) ExportLog(ctx context.Context, ref string) (io.ReadCloser, error) {
	res, err := c.send(ctx, http.MethodGet, path("builds", ref, "log", "export"), nil, nil)
	if err != nil {
		return nil, err
	}
	return res.Body, nil
}

// SearchLog looks for something in what a build wrote.
func (c *Client) SearchLog(ctx context.Context, ref string, q api.SearchQuery) (api.Found, error) {
	query := values("text", q.Text, "regex", q.Regex, "context", number(q.Context), "step", q.Step, "attempt", number(q.Attempt), "fence", number(q.Fence),
		"from", number(q.From), "limit", number(q.Limit), "fold", flag(q.Fold), "errors", flag(q.Errors))
	return get[api.Found](ctx, c, path("builds", ref, "log", "search"), query)
}

// SearchLogs looks for something in what builds wrote, for about two seconds. It
// returns the cursor of where to go on; "" when all was looked at.
func (c *Client) SearchLogs(ctx context.Context, q api.LogsQuery, cursor string) (found api.FoundLogs, next string, err error) {
	query := values("text", q.Text, "regex", q.Regex, "fold", flag(q.Fold), "project", q.Project, "pipeline", q.Pipeline, "step", q.Step, "limit", number(q.Limit), "cursor", cursor)
	if !q.Since.IsZero() {
		query.Set("since", q.Since.Format(time.RFC3339Nano))
	}
	if !q.Until.IsZero() {
		query.Set("until", q.Until.Format(time.RFC3339Nano))
	}
	header, err := c.ask(ctx, http.MethodGet, path("logs", "search"), query, nil, &found)
	return found, header.Get("X-Next-Cursor"), err
}

// DiffLog holds what a build wrote against what an earlier one did. Where none
// succeeded before it, it is a Problem with the code "no-green-build".
func (c *Client) DiffLog(ctx context.Context, ref string, q api.DiffQuery) (api.LogDiff, error) {
	query := values("against", q.Against, "step", q.Step, "attempt", number(q.Attempt), "context", number(q.Context), "limit", number(q.Limit))
	return get[api.LogDiff](ctx, c, path("builds", ref, "log", "diff"), query)
}

// LogIndex returns how the index of logs does. Where there is none it is a Problem
// with the code "no-index".
func (c *Client) LogIndex(ctx context.Context) (api.LogIndex, error) {
	return get[api.LogIndex](ctx, c, path("logs", "index"), nil)
}

// Collect deletes old builds.
func (c *Client) Collect(ctx context.Context, r api.CollectRequest) (api.Collected, error) {
	return tell[api.Collected](ctx, c, http.MethodPost, path("gc"), r)
}

// Agents lists the agents, by name.
func (c *Client) Agents(ctx context.Context) ([]api.Agent, error) {
	return get[[]api.Agent](ctx, c, path("agents"), nil)
}

// Agent returns one agent.
func (c *Client) Agent(ctx context.Context, id store.AgentID) (api.Agent, error) {
	return get[api.Agent](ctx, c, path("agents", string(id)), nil)
}

// Drain tells an agent to claim nothing more, and Resume to go on.
func (c *Client) Drain(ctx context.Context, id store.AgentID) (api.Agent, error) {
	return tell[api.Agent](ctx, c, http.MethodPost, path("agents", string(id), "drain"), nil)
}

// Resume tells an agent to go on claiming.
func (c *Client) Resume(ctx context.Context, id store.AgentID) (api.Agent, error) {
	return tell[api.Agent](ctx, c, http.MethodPost, path("agents", string(id), "resume"), nil)
}

// Tokens lists the tokens, by name.
func (c *Client) Tokens(ctx context.Context) ([]api.Token, error) {
	return get[[]api.Token](ctx, c, path("tokens"), nil)
}

// CreateToken makes a token. Its Secret is told this once.
func (c *Client) CreateToken(ctx context.Context, r api.TokenRequest) (api.Token, error) {
	return tell[api.Token](ctx, c, http.MethodPost, path("tokens"), r)
}

// RevokeToken forgets a token. One that is not there is no error.
func (c *Client) RevokeToken(ctx context.Context, name string) error {
	_, err := c.ask(ctx, http.MethodDelete, path("tokens", name), nil, nil, nil)
	return err
}
