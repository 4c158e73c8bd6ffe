package api

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/placement"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

// doubt is how long the store is asked again when it does not say whether it
// did as it was told.
const doubt = 10 * time.Second

var (
	paramForm  = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,62}$`) })
	digestForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^sha256:[0-9a-f]{64}$`) })
)

func (c *call) createBuild() (*answer, error) {
	var r BuildRequest
	if err := c.read(&r); err != nil {
		return nil, err
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	p, err := c.project(r.Project)
	if err != nil {
		return nil, err
	}
	if r.Patch != "" {
		if _, err := c.Store.Blob(c.ctx, r.Patch); errors.Is(err, store.ErrNotFound) {
			return nil, invalid("", FieldError{Field: "patch", Message: "is not there: POST it to /v1/patches first"})
		} else if err != nil {
			return nil, err
		}
	}
	return c.ask(p, store.Request{
		Project: r.Project, Pipeline: r.Pipeline, Environment: r.Environment, Params: r.Params, Ref: r.Ref, Commit: r.Commit, Patch: r.Patch,
		Select: plan.Selection{Only: r.Only, From: r.From, Skip: r.Skip}, Event: plan.Event{Kind: "manual"}, Priority: r.Priority,
		Cause: store.Cause{Kind: "manual", By: c.token.Name},
	})
}

// check refuses what makes no sense whatever the project.
func (r *BuildRequest) check() error {
	var errs []FieldError
	add := func(field, message string) { errs = append(errs, FieldError{Field: field, Message: message}) }
	if r.Project == "" {
		add("project", "is missing")
	}
	if r.Ref != "" && !validRef(r.Ref) {
		add("ref", refRule)
	}
	if r.Commit != "" && !commitForm().MatchString(r.Commit) {
		add("commit", "wants all 40 (or 64) digits")
	}
	switch {
	case r.Patch != "" && !digestForm().MatchString(r.Patch):
		add("patch", "is no digest that POST /v1/patches answers with")
	case r.Patch != "" && r.Commit == "":
		add("commit", "is missing: what a patch changes must be named")
	}
	if r.Priority < -1000 || r.Priority > 1000 {
		add("priority", "wants -1000 to 1000")
	}
	errs = append(errs, checkParams(r.Params)...)
	for field, patterns := range map[string][]string{"only": r.Only, "from": r.From, "skip": r.Skip} {
		if len(patterns) > 1000 || slices.ContainsFunc(patterns, func(s string) bool { return s == "" || len(s) > 255 }) {
			add(field, "wants at most 1000 names or globs of steps")
		}
	}
	if len(errs) > 0 {
		slices.SortFunc(errs, func(a, b FieldError) int { return strings.Compare(a.Field, b.Field) })
		return invalid("", errs...)
	}
	return nil
}

func checkParams(params map[string]string) (errs []FieldError) {
	for _, name := range slices.Sorted(maps.Keys(params)) {
		field := "params." + clip(name)
		if !paramForm().MatchString(name) {
			errs = append(errs, FieldError{Field: field, Message: "is no name of a parameter"})
		}
		if strings.IndexByte(params[name], 0) >= 0 || !utf8.ValidString(params[name]) {
			errs = append(errs, FieldError{Field: field, Message: "holds a NUL byte"})
		}
	}
	return errs
}

// ask has the build made that r asks for, once for each Idempotency-Key.
func (c *call) ask(p store.Project, r store.Request) (*answer, error) {
	key := c.r.Header.Get("Idempotency-Key")
	switch {
	case len(c.r.Header.Values("Idempotency-Key")) > 1 || len(key) > 255:
		return nil, badField("Idempotency-Key", "wants one header of at most 255 bytes")
	case key == "":
		return c.make(p, build.NewID(c.now()), r)
	}
	return c.make(p, store.Derive("key", key), r)
}

// make makes the build, or finds that it is there.
func (c *call) make(p store.Project, id build.ID, r store.Request) (*answer, error) {
	asked := r
	had, err := c.Store.Build(c.ctx, id)
	switch {
	case err == nil:
		return c.same(had, asked)
	case !errors.Is(err, store.ErrNotFound):
		return nil, err
	}
	if err := c.resolve(p, &r); err != nil {
		return nil, err
	}
	made, number, err := c.enqueue(id, r)
	switch {
	case errors.Is(err, store.ErrConflict): // somebody was faster, with the same key
		had, err := c.Store.Build(c.ctx, id)
		if err != nil {
			return nil, err
		}
		return c.same(had, asked)
	case err != nil:
		return nil, err
	case made.Number != number:
		return c.whole(http.StatusOK, made)
	}
	a, err := c.whole(http.StatusCreated, made)
	if err != nil {
		return nil, err
	}
	return a.with("Location", "/v1/builds/"+string(made.ID)), nil
}

// enqueue puts a build into the queue, and returns the number that it was to have.
func (c *call) enqueue(id build.ID, r store.Request) (store.Build, int64, error) {
	number, err := c.Store.NextNumber(c.ctx)
	if err != nil {
		return store.Build{}, 0, err
	}
	agents, err := c.Store.Agents(c.ctx)
	if err != nil {
		return store.Build{}, 0, err
	}
	b := store.NewBuild(id, number, r, c.now())
	b.FirstChoice = placement.FirstChoice(&b, agents)
	ctx, cancel := context.WithTimeout(c.ctx, doubt)
	defer cancel()
	var made store.Build
	err = store.Insist(ctx, func() (err error) { made, err = c.Store.Enqueue(ctx, b); return err })
	return made, number, err
}

// same answers with a build that is there, if it is what was asked for. What the
// first request left open, and was found out then, is not held against this one.
func (c *call) same(had store.Build, asked store.Request) (*answer, error) {
	if asked.Ref == "" && asked.Commit == "" {
		asked.Ref = had.Request.Ref
	}
	if asked.Commit == "" {
		asked.Commit = had.Request.Commit
	}
	if asked.Pipeline == "" {
		asked.Pipeline = had.Request.Pipeline
	}
	if had.Hash != asked.Hash() || !c.sees(had.Request.Project) {
		return nil, problem(http.StatusConflict, "key-reused", "this Idempotency-Key was used for another request")
	}
	if had.Collected {
		return ok(summary(&had, nil))
	}
	return c.whole(http.StatusOK, had)
}

// resolve finds out what r leaves open, and holds it against what the project
// registers. With a patch, which may change that, it is for the agent to see; of
// a fork what the project itself registers has counted already.
func (c *call) resolve(p store.Project, r *store.Request) error {
	if c.Sources == nil || r.Patch != "" || r.Cause.Trust != "" {
		return nil
	}
	commit, catalog, err := c.catalog(p, r.Ref, r.Commit)
	if err != nil {
		return err
	}
	if r.Ref == "" && r.Commit == "" { // else the build would not know what branch it is on
		if r.Ref, err = c.Sources.Default(c.ctx, p); err != nil {
			return c.away(p, err)
		}
	}
	r.Commit = commit
	pipeline, err := pick(catalog, r.Pipeline)
	if err != nil {
		return err
	}
	r.Pipeline = pipeline.Name
	if err := checkAgainst(pipeline, r.Params); err != nil {
		return err
	}
	if r.Environment == "" || r.Environment == "local" {
		return nil
	}
	var names []string
	for _, e := range catalog.Environments {
		names = append(names, e.Name)
	}
	return among("environment", r.Environment, names)
}

// pick finds the pipeline of that name; of "" the one called build, or the only
// one there is.
func pick(catalog plan.Catalog, name string) (*plan.Pipeline, error) {
	var names []string
	for i := range catalog.Pipelines {
		p := &catalog.Pipelines[i]
		if p.Name == name || name == "" && (p.Name == "build" || len(catalog.Pipelines) == 1) {
			return p, nil
		}
		names = append(names, p.Name)
	}
	if name == "" {
		return nil, invalid("", FieldError{Field: "pipeline", Message: "is missing: there is none called build", Hint: "there are " + strings.Join(names, ", ")})
	}
	return nil, among("pipeline", name, names)
}

// among refuses a word that is none of those there are.
func among(field, word string, words []string) error {
	if slices.Contains(words, word) {
		return nil
	}
	e := FieldError{Field: field, Message: "there is no " + quote(word)}
	if near, ok := plan.Nearest(word, words); ok {
		e.Hint = "did you mean " + near + "?"
	} else if len(words) > 0 && len(words) <= 20 {
		e.Hint = "there are " + strings.Join(words, ", ")
	}
	return invalid("", e)
}

// checkAgainst refuses parameters that the pipeline has not, or not so, and asks
// for those that are missing.
func checkAgainst(p *plan.Pipeline, params map[string]string) error {
	var errs []FieldError
	var names []string
	for _, param := range p.Params {
		names = append(names, param.Name)
		text, given := params[param.Name]
		if !given {
			if param.Required {
				errs = append(errs, FieldError{Field: "params." + param.Name, Message: "is missing: " + p.Name + " needs it"})
			}
		} else if _, err := param.Parse(text); err != nil {
			errs = append(errs, FieldError{Field: "params." + param.Name, Message: err.Error()})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(params)) {
		var unknown *Problem
		if errors.As(among("params."+name, name, names), &unknown) {
			errs = append(errs, unknown.Errors...)
		}
	}
	if len(errs) > 0 {
		return invalid("", errs...)
	}
	return nil
}

func (c *call) putPatch() (*answer, error) {
	data, err := io.ReadAll(c.r.Body)
	if err != nil {
		return nil, bodyError(err)
	}
	if len(data) == 0 {
		return nil, problem(http.StatusBadRequest, "bad-request", "the patch is empty")
	}
	sum := sha256.Sum256(data)
	digest := "sha256:" + hex.EncodeToString(sum[:])
	if err := store.Insist(c.ctx, func() error { return c.Store.PutBlob(c.ctx, digest, data) }); err != nil {
		return nil, err
	}
	return &answer{status: http.StatusCreated, value: Patch{Digest: digest}}, nil
}

// change takes a build through a change that makes sense twice.
func (c *call) change(b store.Build, change store.Change) (store.Build, error) {
	ctx, cancel := context.WithTimeout(c.ctx, doubt)
	defer cancel()
	id := b.ID // an error comes without a build
	err := store.Insist(ctx, func() (err error) { b, err = c.Store.Change(ctx, id, change); return err })
	return b, err
}

func (c *call) cancelBuild() (*answer, error) {
	var r CancelRequest
	if err := c.read(&r); err != nil {
		return nil, err
	}
	b, err := c.build()
	if err != nil {
		return nil, err
	}
	if b, err = c.change(b, store.RequestCancel{Cancel: store.Cancel{By: c.token.Name, Reason: clip(r.Reason), Force: r.Force}, At: c.now()}); err != nil {
		return nil, err
	}
	if !b.Terminal() {
		return c.whole(http.StatusAccepted, b)
	}
	return c.whole(http.StatusOK, b)
}

func (c *call) approveBuild() (*answer, error) {
	var r ApproveRequest
	if err := c.read(&r); err != nil {
		return nil, err
	}
	b, err := c.build()
	if err != nil {
		return nil, err
	}
	f, err := c.fold(&b)
	if err != nil {
		return nil, err
	}
	if _, answered := b.Approvals[r.Node]; !answered {
		if err := asks(&b, f, r.Node); err != nil {
			return nil, err
		}
	}
	b, err = c.change(b, store.Approve{Node: r.Node, Approval: store.Approval{Approved: !r.Refuse, By: c.token.Name, Reason: clip(r.Reason), At: c.now()}})
	if err != nil {
		return nil, err
	}
	return c.whole(http.StatusOK, b)
}

// asks refuses an answer that nobody waits for.
func asks(b *store.Build, f *folded, node string) error {
	if f == nil {
		return problem(http.StatusConflict, "not-asked", fmt.Sprintf("build %d was not planned yet", b.Number))
	}
	var names []string
	for _, n := range f.Build.Plan().Nodes {
		if n.Approve() != nil {
			names = append(names, n.Name)
		}
	}
	if err := among("node", node, names); err != nil {
		return err
	}
	if step, _ := f.Step(node); step.State != build.Running || b.Terminal() {
		return problem(http.StatusConflict, "not-asked", fmt.Sprintf("%s does not ask: it is %s", node, step.State))
	}
	return nil
}
