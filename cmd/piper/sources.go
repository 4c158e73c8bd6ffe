package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"sync"

	"github.com/piper-build/piper/agent"
	"github.com/piper-build/piper/agent/operator"
	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/runtime/git"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
	"github.com/piper-build/piper/starlark"
)

// sources are where the builds of an agent come from: projects as mirrors of
// their repositories, and what their files say. Nothing of a repository is
// trusted: its file is evaluated in a child, and its settings are nobody's.
// It is an agent.Sources and an api.Sources, safe for many goroutines.
type sources struct {
	dir       string // of the mirrors
	operator  *operator.File
	lookupEnv func(name string) (string, bool)                         // of which the operator lets os.environ see some
	blob      func(ctx context.Context, digest string) ([]byte, error) // finds patches; store.Blob
	evaluate  starlark.Evaluator                                       // in a process that can do no harm
	limits    starlark.Limits
	apart     bool // what a build does to its tree changes nothing in the mirror
	catalogs  catalogs
	skeletons git.Skeletons
}

// A fault is an error of what was asked for: to ask again does not help.
type fault struct {
	error
	missing bool // what was named is not there
	here    bool // another agent may be let do it
}

// Is makes it an api.ErrProject, an agent.ErrRejected unless another agent may
// do better, and a store.ErrNotFound when something is not there.
func (f *fault) Is(target error) bool {
	return target == api.ErrProject || target == agent.ErrRejected && !f.here || target == store.ErrNotFound && f.missing
}

// Unwrap returns the error as it came.
func (f *fault) Unwrap() error { return f.error }

// judged is err, as a fault if it is one. Whoever may not read a repository may
// be this agent alone.
func judged(err error) error {
	switch {
	case errors.Is(err, git.ErrUnknown), errors.Is(err, git.ErrNoCommit):
		return &fault{error: err, missing: true}
	case errors.Is(err, git.ErrInvalid):
		return &fault{error: err}
	case errors.Is(err, git.ErrRefused), errors.Is(err, git.ErrDenied), errors.As(err, new(*operator.Error)):
		return &fault{error: err, here: true}
	}
	return err
}

// mirror is the mirror of a project. A project that gets another address gets
// another mirror, and no two projects share one: what the one may read the other
// may not.
func (s *sources) mirror(p store.Project) (*git.Mirror, error) {
	sum := sha256.Sum256([]byte(p.Name + "\x00" + p.Repo))
	m, err := s.operator.Mirror(p.Name, p.Repo, filepath.Join(s.dir, fmt.Sprintf("%x", sum[:10])))
	if err == nil {
		m.Skeletons, m.Apart = &s.skeletons, s.apart
	}
	return m, err
}

// Resolve returns the commit that a ref names now; "" is the project's own ref.
// A full hash that is known already is not asked for again.
func (s *sources) Resolve(ctx context.Context, p store.Project, ref string) (commit string, err error) {
	defer func() { err = judged(err) }()
	m, err := s.mirror(p)
	if err != nil {
		return "", err
	}
	if ref = cmp.Or(ref, p.Ref); git.IsHash(ref) {
		return ref, s.have(ctx, m, ref)
	}
	var names []string
	if ref != "" {
		names = []string{ref}
	}
	if err := m.Fetch(ctx, names...); err != nil {
		return "", err
	}
	return m.Resolve(ctx, ref)
}

// Default is the branch that is built when no ref is named, as of the last Resolve.
func (s *sources) Default(ctx context.Context, p store.Project) (string, error) {
	if p.Ref != "" {
		return p.Ref, nil
	}
	m, err := s.mirror(p)
	if err != nil {
		return "", judged(err)
	}
	branch, err := m.DefaultBranch(ctx)
	return branch, judged(err)
}

// Branches lists the branches that there are now.
func (s *sources) Branches(ctx context.Context, p store.Project) ([]string, error) {
	m, err := s.mirror(p)
	if err != nil {
		return nil, judged(err)
	}
	if err := m.Fetch(ctx); err != nil {
		return nil, judged(err)
	}
	return m.Branches(ctx)
}

// have fetches a commit unless it is here.
func (s *sources) have(ctx context.Context, m *git.Mirror, commit string) error {
	if _, err := m.Resolve(ctx, commit); err == nil {
		return nil
	}
	return m.Fetch(ctx, commit)
}

// Catalog returns what a commit's file offers. It needs no checkout, and is
// remembered. The error is a plan.Diagnostics when the file is at fault.
func (s *sources) Catalog(ctx context.Context, p store.Project, commit string) (_ plan.Catalog, err error) {
	defer func() { err = judged(err) }()
	key := catalogKey{p.Name, p.Repo, commit}
	if known, ok := s.catalogs.get(key); ok {
		return known.catalog, known.err
	}
	m, err := s.mirror(p)
	if err != nil {
		return plan.Catalog{}, err
	}
	if err := s.have(ctx, m, commit); err != nil {
		return plan.Catalog{}, err
	}
	repo, err := m.At(ctx, commit, "")
	if err != nil {
		return plan.Catalog{}, err
	}
	files, err := repo.Revision(commit)
	if err != nil {
		return plan.Catalog{}, err
	}
	r := s.request(repo, plan.Event{Kind: "manual", Commit: commit})
	r.Tree, r.CatalogOnly = files, true
	result, err := s.evaluate(ctx, r)
	var wrong plan.Diagnostics
	if err == nil || errors.As(err, &wrong) {
		s.catalogs.put(key, catalogOf{result.Catalog, err})
	}
	return result.Catalog, err
}

// Changed returns the files that differ between a commit and where it and base
// parted. The error is store.ErrNotFound when there is no such base.
func (s *sources) Changed(ctx context.Context, p store.Project, base, commit string) (_ []string, err error) {
	defer func() { err = judged(err) }()
	m, err := s.mirror(p)
	if err != nil {
		return nil, err
	}
	if err := s.have(ctx, m, commit); err != nil {
		return nil, err
	}
	return m.Changed(ctx, base, commit)
}

// Checkout makes the workspace of a build in dir, which is new or empty: the
// commit, as a developer would have it checked out, and the changes that were not
// committed.
func (s *sources) Checkout(ctx context.Context, p store.Project, r store.Request, commit, dir string) (_ agent.Tree, err error) {
	defer func() { err = judged(err) }()
	m, err := s.mirror(p)
	if err != nil {
		return agent.Tree{}, err
	}
	if !m.Has(commit) {
		if err := s.have(ctx, m, commit); err != nil {
			return agent.Tree{}, err
		}
	}
	if r.Event.Tag != "" {
		// Its commit may have been here before anybody tagged it.
		if at, err := m.Resolve(ctx, "refs/tags/"+r.Event.Tag); err != nil || at != commit {
			if err := m.Fetch(ctx); err != nil {
				return agent.Tree{}, err
			}
		}
	}
	branch, err := branchOf(ctx, m, p, r)
	if err != nil {
		return agent.Tree{}, err
	}
	var patch []byte
	if r.Patch != "" {
		if patch, err = s.blob(ctx, r.Patch); err != nil {
			return agent.Tree{}, fmt.Errorf("find the changes that were not committed: %w", err)
		}
	}
	err = m.Checkout(ctx, git.Checkout{Dir: dir, Commit: commit, Branch: branch, Patch: patch})
	return agent.Tree{Dir: dir, Commit: commit}, err
}

// branchOf is the branch that whoever asked for a build is on: the one that was
// pushed, or the one that was named, which may be theirs alone when they name a
// commit, too. A tag or a hash is on none, nor is a fork, whose main is not ours.
func branchOf(ctx context.Context, m *git.Mirror, p store.Project, r store.Request) (string, error) {
	ref := cmp.Or(r.Ref, p.Ref)
	switch {
	case r.Event.Tag != "" || r.Cause.Trust == "fork":
		return "", nil
	case r.Event.Branch != "":
		return r.Event.Branch, nil
	case r.Ref == "" && r.Commit != "":
		return "", nil
	case ref == "":
		return m.DefaultBranch(ctx)
	}
	name := strings.TrimPrefix(ref, "refs/heads/")
	if is, err := m.IsBranch(ctx, name); err != nil || is {
		return name, err
	}
	if r.Commit == "" || strings.HasPrefix(name, "refs/") || git.CheckRef(name) != nil {
		return "", nil
	}
	if _, err := m.Resolve(ctx, name); !errors.Is(err, git.ErrUnknown) {
		return "", err
	}
	return name, nil
}

// Plan evaluates the file of a workspace, before anything is run there. It is an
// agent's Plan.
func (s *sources) Plan(ctx context.Context, t agent.Tree, b store.Build) (*plan.Plan, agent.Expander, error) {
	repo, err := git.Open(t.Dir)
	if err != nil {
		return nil, nil, err
	}
	repo.Context = ctx
	r, event := &b.Request, b.Request.Event
	event.Kind, event.Commit = cmp.Or(event.Kind, "manual"), t.Commit
	if event.Branch == "" && event.Tag == "" {
		if event.Branch, err = repo.Branch(); err != nil {
			return nil, nil, err
		}
	}
	q := s.request(repo, event)
	q.Root, q.Files = t.Dir, repo.Files
	q.Pipeline, q.Params, q.Environment = r.Pipeline, r.Params, r.Environment
	result, err := s.evaluate(ctx, q)
	if err != nil {
		return nil, nil, err
	}
	part, err := plan.Select(result.Plan, r.Select)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", err, agent.ErrRejected)
	}
	return part, agent.Expander(result.Expand), nil
}

// request is what is the same in all that is asked of the evaluator.
func (s *sources) request(repo *git.Repo, event plan.Event) starlark.Request {
	return starlark.Request{
		File: pipelineFile, Event: event, Piper: releaseVersion(), Limits: s.limits,
		Git: repo, Environ: s.operator.LookupEnv(s.lookupEnv),
	}
}

// maxCatalogs is how many catalogs are remembered.
const maxCatalogs = 256

type catalogKey struct{ project, repository, commit string }

// A catalogOf is what evaluating a commit's file gave.
type catalogOf struct {
	catalog plan.Catalog
	err     error // a plan.Diagnostics
}

// catalogs remembers those that were asked for last. The zero catalogs is empty.
type catalogs struct {
	mu    sync.Mutex
	known map[catalogKey]catalogOf
	order []catalogKey // the oldest first
}

func (c *catalogs) get(key catalogKey) (catalogOf, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	known, ok := c.known[key]
	return known, ok
}

func (c *catalogs) put(key catalogKey, found catalogOf) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil {
		c.known = map[catalogKey]catalogOf{}
	}
	if _, ok := c.known[key]; !ok {
		c.order = append(c.order, key)
	}
	c.known[key] = found
	if len(c.order) > maxCatalogs {
		delete(c.known, c.order[0])
		c.order = c.order[1:]
	}
}
