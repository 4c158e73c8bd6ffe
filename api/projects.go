package api

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

var nameForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-z0-9][a-z0-9_.-]{0,62}$`) })

const nameRule = "wants small letters, digits, '_', '.' and '-', a letter or digit first, 63 at most"

func validName(s string) bool { return nameForm().MatchString(s) }

func projectOf(p store.Project) Project {
	return Project{Name: p.Name, Repo: p.Repo, Ref: p.Ref, Zone: p.Zone, Retention: p.Retention, Rev: p.Rev, Created: p.Created}
}

func (c *call) listProjects() (*answer, error) {
	found, err := c.Store.Projects(c.ctx)
	if err != nil {
		return nil, err
	}
	list := []Project{}
	for _, p := range found {
		if c.sees(p.Name) {
			list = append(list, projectOf(p))
		}
	}
	return (&answer{value: list}).from(c.at), nil
}

// project reads the project of that name, if whoever asks may see it.
func (c *call) project(name string) (store.Project, error) {
	if c.sees(name) {
		p, err := c.Store.Project(c.ctx, name)
		if !errors.Is(err, store.ErrNotFound) {
			return p, err
		}
	}
	return store.Project{}, c.noProject(name)
}

// noProject names the nearest one that there is.
func (c *call) noProject(name string) error {
	p := problem(http.StatusNotFound, "no-project", "there is no project "+quote(name))
	found, err := c.Store.Projects(c.ctx)
	if err != nil {
		return err
	}
	var names []string
	for _, p := range found {
		if c.sees(p.Name) {
			names = append(names, p.Name)
		}
	}
	if near, ok := plan.Nearest(name, names); ok {
		p.Detail += ": did you mean " + quote(near) + "?"
	}
	return p
}

func (c *call) showProject() (*answer, error) {
	p, err := c.project(c.param("name"))
	if err != nil {
		return nil, err
	}
	return ok(projectOf(p))
}

func (c *call) putProject() (*answer, error) {
	var r Project
	if err := c.read(&r); err != nil {
		return nil, err
	}
	name := c.param("name")
	if !c.sees(name) {
		return nil, c.noProject(name)
	}
	if err := r.check(name); err != nil {
		return nil, err
	}
	had, err := c.Store.Project(c.ctx, name)
	isNew := errors.Is(err, store.ErrNotFound)
	switch {
	case err != nil && !isNew:
		return nil, err
	case r.Rev != 0 && r.Rev != had.Rev:
		return nil, problem(http.StatusConflict, "conflict", "the project was changed by somebody else: read it again")
	}
	next := had
	next.Name, next.Repo, next.Ref, next.Zone, next.Retention = name, r.Repo, r.Ref, r.Zone, r.Retention
	if isNew {
		next.Created = c.now()
	}
	kept, err := c.Store.PutProject(c.ctx, next)
	if err != nil {
		return nil, err
	}
	a := &answer{value: projectOf(kept)}
	if isNew {
		a.status = http.StatusCreated
	}
	return a, nil
}

// check refuses what no project can be.
func (p Project) check(name string) error {
	var errs []FieldError
	add := func(field, message string) { errs = append(errs, FieldError{Field: field, Message: message}) }
	if !validName(name) {
		add("name", nameRule)
	}
	if p.Name != "" && p.Name != name {
		add("name", "is "+quote(p.Name)+", but the path says "+quote(name))
	}
	if why := badRepo(p.Repo); why != "" {
		add("repo", why)
	}
	if p.Ref != "" && !validRef(p.Ref) {
		add("ref", refRule)
	}
	if _, err := time.LoadLocation(cmp.Or(p.Zone, "UTC")); err != nil {
		add("zone", "is no time zone: want one such as Europe/Berlin")
	}
	if below(p.Retention) {
		add("retention", "is below zero")
	}
	if len(errs) > 0 {
		return invalid("", errs...)
	}
	return nil
}

// badRepo says why repo is not the address of a repository; "" says that it is.
// Where it leads is for the agent to judge that fetches it.
func badRepo(repo string) string {
	switch {
	case repo == "":
		return "is missing"
	case len(repo) > 1024 || strings.ContainsFunc(repo, func(r rune) bool { return r <= ' ' || r == 0x7f }):
		return "holds spaces or control characters, or is longer than 1024 bytes"
	case strings.HasPrefix(repo, "-"):
		return "begins with '-'"
	case strings.Contains(repo, "::"):
		return "names a program of git's: want https, ssh or a path"
	case strings.HasPrefix(repo, "/"):
		return ""
	}
	if host, path, scp := strings.Cut(repo, ":"); scp && !strings.HasPrefix(path, "//") {
		if _, name, ok := strings.Cut(host, "@"); ok {
			host = name
		}
		if host == "" || strings.HasPrefix(host, "-") || strings.ContainsRune(host, '/') {
			return "is no address of a repository"
		}
		return ""
	}
	u, err := url.Parse(repo)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "ssh":
		return "wants https, ssh or a path that begins with '/'"
	case u.Hostname() == "" || strings.HasPrefix(u.Hostname(), "-"):
		return "names no host"
	case u.User != nil && hasPassword(u):
		return "holds a password: an agent is told credentials in its own file"
	}
	return ""
}

func hasPassword(u *url.URL) bool {
	_, has := u.User.Password()
	return has
}

const refRule = "is no name of a branch, a tag or a commit"

// validRef reports whether ref is a name that git itself would allow.
func validRef(ref string) bool {
	if ref == "" || len(ref) > 255 || strings.HasPrefix(ref, "-") || strings.HasPrefix(ref, "/") || strings.HasSuffix(ref, "/") || strings.HasSuffix(ref, ".") ||
		strings.Contains(ref, "..") || strings.Contains(ref, "//") || strings.Contains(ref, "@{") || strings.Contains(ref, "/-") {
		return false
	}
	return !strings.ContainsFunc(ref, func(r rune) bool { return r <= ' ' || r == 0x7f || strings.ContainsRune("~^:?*[\\`$'\"<>|;&(){}!", r) })
}

var commitForm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^([0-9a-f]{40}|[0-9a-f]{64})$`) })

func (c *call) deleteProject() (*answer, error) {
	name := c.param("name")
	if !c.sees(name) {
		return nil, c.noProject(name)
	}
	if err := c.Store.DeleteProject(c.ctx, name); err != nil {
		return nil, err
	}
	return &answer{status: http.StatusNoContent}, nil
}

func (c *call) pipelines() (*answer, error) {
	p, err := c.project(c.param("name"))
	if err != nil {
		return nil, err
	}
	ref := c.query.Get("ref")
	if ref != "" && !validRef(ref) {
		return nil, badField("ref", refRule)
	}
	if c.Sources == nil {
		return nil, problem(http.StatusNotImplemented, "no-sources", "this server does not look into repositories")
	}
	commit, catalog, err := c.catalog(p, ref, "")
	if err != nil {
		return nil, err
	}
	return ok(Pipelines{Project: p.Name, Commit: commit, Catalog: catalog})
}

// catalog finds the commit of ref, unless it is known, and what that registers.
func (c *call) catalog(p store.Project, ref, commit string) (string, plan.Catalog, error) {
	if commit == "" {
		var err error
		commit, err = c.Sources.Resolve(c.ctx, p, ref)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return "", plan.Catalog{}, invalid("", FieldError{Field: "ref", Message: "there is no " + quote(ref) + " in " + p.Name})
		case errors.Is(err, ErrProject):
			return "", plan.Catalog{}, invalid("", FieldError{Field: "project", Message: err.Error(), Hint: advice(err)})
		case err != nil:
			return "", plan.Catalog{}, c.away(p, err)
		}
	}
	catalog, err := c.Sources.Catalog(c.ctx, p, commit)
	var wrong plan.Diagnostics
	switch {
	case errors.As(err, &wrong):
		bad := invalid("the PIPER.star of "+commit+" is at fault", FieldError{Field: "ref", Message: "names a commit whose PIPER.star is at fault"})
		bad.Diagnostics = wrong
		return "", plan.Catalog{}, bad
	case errors.Is(err, store.ErrNotFound):
		return "", plan.Catalog{}, invalid("", FieldError{Field: "commit", Message: "there is no " + quote(commit) + " in " + p.Name})
	case errors.Is(err, ErrProject):
		return "", plan.Catalog{}, invalid("", FieldError{Field: "project", Message: err.Error(), Hint: advice(err)})
	case err != nil:
		return "", plan.Catalog{}, c.away(p, err)
	}
	return commit, catalog, nil
}

// advice is what an error knows to do about it.
func advice(err error) string {
	var advised interface{ Hint() string }
	if errors.As(err, &advised) {
		return advised.Hint()
	}
	return ""
}

// away is a repository that cannot be looked into now.
func (c *call) away(p store.Project, err error) error {
	if c.ctx.Err() == nil {
		c.log().Warn("repository is away", "project", p.Name, "error", err)
	}
	return problem(http.StatusServiceUnavailable, "repository-away", "the repository of "+p.Name+" cannot be looked into: "+err.Error()+": try again").with("Retry-After", "10")
}
