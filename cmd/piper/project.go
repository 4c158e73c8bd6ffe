package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/piper-build/piper/builtins"
	"github.com/piper-build/piper/runtime/git"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/process"
	"github.com/piper-build/piper/starlark"
	"github.com/piper-build/piper/starlark/isolate"
)

// pipelineFile is what a project's file is called unless --file says otherwise.
const pipelineFile = "PIPER.star"

// A project is a directory with a PIPER.star, and its repository if it stands
// in one.
type project struct {
	root string // absolute
	file string // below root, slash-separated
	repo *git.Repo
	git  builtins.Git // repo as a PIPER.star sees it; nil when there is none
}

// openProject finds the project to work on: the current directory, when it is
// told a file below that, or else the nearest directory with a PIPER.star, from
// the current one up to the top of its repository.
func (a *app) openProject(ctx context.Context, file string) (*project, error) {
	p := &project{file: pipelineFile, root: a.dir}
	if file != "" {
		below, err := filepath.Rel(a.dir, a.path(file))
		if err != nil || !filepath.IsLocal(below) {
			return nil, &usageError{
				message: fmt.Sprintf("--file %s is not below %s", file, a.dir),
				hint:    "-C DIR goes to the project's directory first",
			}
		}
		p.file = filepath.ToSlash(below)
		if _, err := os.Stat(a.path(file)); errors.Is(err, fs.ErrNotExist) {
			return nil, usagef("there is no %s in %s", file, a.dir)
		}
	} else {
		root, ok := a.findRoot()
		if !ok {
			hint := `"piper init" writes one`
			if other := a.otherCase(); other != "" {
				hint = fmt.Sprintf("there is %s, whose name is to be written %s", other, pipelineFile)
			} else if root != "" {
				hint = fmt.Sprintf("there is one above, outside of a repository: -C %s goes there", quoted(root))
			}
			return nil, &usageError{message: fmt.Sprintf("no %s in %s", pipelineFile, a.dir), hint: hint}
		}
		p.root = root
	}

	p.openRepository(ctx)
	return p, nil
}

// openRepository looks for the repository that p stands in.
func (p *project) openRepository(ctx context.Context) {
	repo, err := git.Open(p.root)
	switch {
	case err == nil:
		repo.Context = ctx
		p.repo, p.git = repo, repo
	case !errors.Is(err, git.ErrNotRepository):
		p.git = brokenRepository{err}
	}
}

// projectDir is the project's root, or the current directory outside of one.
func (a *app) projectDir() string {
	if root, ok := a.findRoot(); ok {
		return root
	}
	return a.dir
}

// findRoot looks for a PIPER.star. Outside a repository it looks only in the
// current directory: what lies above may be anybody's.
func (a *app) findRoot() (root string, ok bool) {
	for dir := a.dir; ; dir = filepath.Dir(dir) {
		if exists(filepath.Join(dir, pipelineFile)) {
			return dir, dir == a.dir || a.repositoryHolds(dir)
		}
		if exists(filepath.Join(dir, ".git")) || dir == filepath.Dir(dir) {
			return "", false
		}
	}
}

// otherCase returns the file of the current directory that would be a PIPER.star
// if upper and lower case were the same, or "".
func (a *app) otherCase() string {
	entries, _ := os.ReadDir(a.dir) // one that cannot be read has none
	for _, e := range entries {
		if strings.EqualFold(e.Name(), pipelineFile) {
			return e.Name()
		}
	}
	return ""
}

// repositoryHolds reports whether dir or a directory above it is the top of a
// repository.
func (a *app) repositoryHolds(dir string) bool {
	for ; ; dir = filepath.Dir(dir) {
		if exists(filepath.Join(dir, ".git")) {
			return true
		}
		if dir == filepath.Dir(dir) {
			return false
		}
	}
}

// exists reports whether something, whatever it is, stands at path.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// brokenRepository is a repository that could not be opened. That matters only
// to a PIPER.star that asks it something.
type brokenRepository struct{ err error }

func (b brokenRepository) Commit() (string, error)            { return "", b.err }
func (b brokenRepository) Branch() (string, error)            { return "", b.err }
func (b brokenRepository) Tag() (string, error)               { return "", b.err }
func (b brokenRepository) Dirty() (bool, error)               { return false, b.err }
func (b brokenRepository) Describe(...string) (string, error) { return "", b.err }
func (b brokenRepository) Changed(string) ([]string, error)   { return nil, b.err }

// A question is what the command line says about evaluating a project: its
// flags are those of every command that does.
type question struct {
	file   string
	params []string
	kind   string
	base   string
	branch string
	tag    string
	narrow plan.Selection

	event *plan.Event // that has happened, in place of one that the others pretend; nil is none
}

// evaluates gives c the flags that name the file and say where it is evaluated.
func (c *command) evaluates() *question {
	q := &question{}
	c.FlagSet.StringVar(&q.file, "file", "", "use `FILE`, below the current directory, instead of the nearest PIPER.star; steps run in the current directory")
	c.letter("f", "file")
	c.lists["file"] = files
	c.isolates()
	c.settings, c.prepares = true, true
	return q
}

// isolates gives c the flag that says where it evaluates.
func (c *command) isolates() {
	c.FlagSet.BoolVar(&c.app.isolate, "isolate", false, "evaluate in a process that can do no harm, for a PIPER.star of somebody else")
}

// asks gives c the flags that say what one pipeline is evaluated for, too.
func (c *command) asks() *question {
	q := c.evaluates()
	c.list(&q.params, "param", "set a parameter: `NAME=VALUE`; a list takes its values with commas; may be repeated", false)
	c.letter("p", "param")
	c.lists["param"], c.lists["base"], c.lists["branch"] = paramWords, branchWords, branchWords
	c.choice(&q.kind, "event", "", "pretend that an event of this `KIND` started it", eventKinds()...)
	c.FlagSet.StringVar(&q.base, "base", "", "pretend that the change is held against `REV`, a branch or a commit; the event is a change_request unless --event says otherwise")
	c.FlagSet.StringVar(&q.branch, "branch", "", "pretend to be on `BRANCH`; the event is a push unless --event says otherwise")
	c.FlagSet.StringVar(&q.tag, "tag", "", "pretend that `TAG` was pushed")
	return q
}

// flags are those that ask q again, but for what narrows the plan.
func (q *question) flags() []string {
	return slices.Concat(
		repeated("--file", q.file),
		repeated("--event", q.kind),
		repeated("--base", q.base),
		repeated("--branch", q.branch),
		repeated("--tag", q.tag),
		repeated("--param", q.params...),
	)
}

// repeated is a flag as often as it has values. An empty value is none.
func repeated(flag string, values ...string) []string {
	var words []string
	for _, value := range values {
		if value != "" {
			words = append(words, flag, value)
		}
	}
	return words
}

// selects gives c the flags that narrow the plan, too.
func (c *command) selects(q *question) {
	c.list(&q.narrow.Only, "only", "`STEPS` to run, as if what they need were done; globs and commas allowed", true)
	c.list(&q.narrow.From, "from", "`STEPS` to begin with, and all that follows from them", true)
	c.list(&q.narrow.Skip, "skip", "`STEPS` to leave out, as if they had succeeded", true)
	c.lists["only"], c.lists["from"], c.lists["skip"] = stepWords, stepWords, stepWords
}

func eventKinds() []string {
	return []string{"push", "tag", "change_request", "cron", "webhook", "manual", "after"}
}

// request is what to ask the evaluator.
func (a *app) request(p *project, q *question) (starlark.Request, error) {
	if q.branch != "" && q.tag != "" {
		return starlark.Request{}, usagef("--branch and --tag: what is pushed is one of them")
	}
	params, err := paramsOf(q.params)
	if err != nil {
		return starlark.Request{}, err
	}
	r := starlark.Request{
		Root:    p.root,
		File:    p.file,
		Params:  params,
		Event:   p.event(q),
		Piper:   releaseVersion(),
		Limits:  a.settings.limits(!a.isolate),
		Cache:   a.userDir("XDG_CACHE_HOME", ".cache"),
		Git:     p.git,
		Environ: a.lookupEnv,
		Print: func(pos plan.Pos, message string) {
			fmt.Fprintf(a.stderr, "%s:%d: %s\n", pos.File, pos.Line, message)
		},
	}
	if p.repo != nil {
		r.Files = p.repo.Files
	}
	return r, nil
}

// event is the event that q pretends has happened. What q leaves open is as
// the repository stands.
func (p *project) event(q *question) plan.Event {
	if q.event != nil {
		return *q.event
	}
	e := plan.Event{Kind: cmp.Or(q.kind, q.impliedKind()), Base: q.base, Branch: q.branch, Tag: q.tag, Time: time.Now().UTC().Truncate(time.Millisecond)}
	if p.repo != nil {
		// Both are read from files. A repository without a commit has none.
		e.Commit, _ = p.repo.Commit()
		if e.Branch == "" && e.Tag == "" {
			e.Branch, _ = p.repo.Branch()
		}
	}
	return e
}

// impliedKind is the kind of event when none is given.
func (q *question) impliedKind() string {
	switch {
	case q.base != "":
		return "change_request"
	case q.tag != "":
		return "tag"
	case q.branch != "":
		return "push"
	}
	return "manual"
}

// evaluator is what evaluates here.
func (a *app) evaluator() starlark.Evaluator {
	if a.isolate {
		return a.isolated.Evaluate
	}
	return starlark.Evaluate
}

// prepare starts what will evaluate within limits, if that is a process: it
// begins while the project is looked for.
func (a *app) prepare(l starlark.Limits) {
	if a.isolate {
		a.isolated.Prepare(l)
	}
}

// child starts a process to evaluate in.
func child(env, argv []string) (isolate.Process, error) { return process.Converse(env, argv) }

// evaluate asks the evaluator, and shows its warnings. Parameters that are
// wrong are an error of the command line, not of the file; programs are told
// them as diagnostics nonetheless.
func (a *app) evaluate(ctx context.Context, r starlark.Request) (starlark.Result, error) {
	result, err := a.evaluator()(ctx, r)
	var wrong plan.Diagnostics
	if errors.As(err, &wrong) && a.problems == people && !slices.ContainsFunc(wrong, func(d plan.Diagnostic) bool { return !aboutParam(d) }) {
		var messages []string
		hint := ""
		for _, d := range wrong {
			messages = append(messages, d.Message)
			if d.Hint == "" && d.Code == "missing-param" {
				d.Hint = "--param NAME=VALUE gives it"
			}
			hint = cmp.Or(hint, d.Hint)
		}
		return result, &usageError{message: strings.Join(messages, "\n"), hint: hint}
	}
	if err == nil && len(result.Warnings) > 0 {
		fmt.Fprintln(a.stderr, strings.TrimRight(result.Warnings.Error(), "\n"))
	}
	return result, err
}

// aboutParam reports whether d is about a parameter that a pipeline was given,
// or was not.
func aboutParam(d plan.Diagnostic) bool {
	switch d.Code {
	case "unknown-param", "bad-param", "missing-param":
		return d.Line == 0
	}
	return false
}

// catalog evaluates the top level of the project.
func (a *app) catalog(ctx context.Context, q *question) (plan.Catalog, error) {
	p, err := a.openProject(ctx, q.file)
	if err != nil {
		return plan.Catalog{}, err
	}
	r, err := a.request(p, q)
	if err != nil {
		return plan.Catalog{}, err
	}
	r.CatalogOnly = true
	result, err := a.evaluate(ctx, r)
	return result.Catalog, err
}

// plan evaluates one pipeline of p and narrows its plan. args are the names of
// the pipeline and the environment, as far as they were given.
func (a *app) plan(ctx context.Context, p *project, q *question, args []string) (*plan.Plan, error) {
	result, err := a.planned(ctx, p, q, args)
	return result.Plan, err
}

// planned is plan with all that the evaluation gave. What it found besides the
// plan works until ctx is done.
func (a *app) planned(ctx context.Context, p *project, q *question, args []string) (starlark.Result, error) {
	r, err := a.request(p, q)
	if err != nil {
		return starlark.Result{}, err
	}
	if len(args) > 0 {
		r.Pipeline = args[0]
	}
	if len(args) > 1 {
		r.Environment = args[1]
	}
	result, err := a.evaluate(ctx, r)
	if err != nil {
		return starlark.Result{}, err
	}
	result.Plan, err = narrow(result.Plan, q.narrow)
	return result, err
}

// narrow is plan.Select with errors for a person.
func narrow(p *plan.Plan, s plan.Selection) (*plan.Plan, error) {
	selected, err := plan.Select(p, s)
	var unknown *plan.UnknownNameError
	var left *plan.LeftOutError
	switch {
	case errors.As(err, &unknown):
		near := ""
		if inside := unknown.Name + "/"; slices.ContainsFunc(p.Nodes, func(n plan.Node) bool { return strings.HasPrefix(n.Name, inside) }) {
			near = inside + "*"
		} else if !strings.ContainsAny(unknown.Name, "*?[{") {
			near = nearest(unknown.Name, stepNames(p))
		}
		return nil, &usageError{
			message: fmt.Sprintf("%v in pipeline %q", err, p.Pipeline),
			hint:    didYouMean(near, fmt.Sprintf("\"piper plan %s\" lists its steps", p.Pipeline)),
		}
	case errors.As(err, &left):
		hint := fmt.Sprintf("add %s to what is run", left.Step)
		if len(s.Only)+len(s.From) == 0 {
			hint = "do not skip " + left.Step
		}
		return nil, &usageError{message: err.Error(), hint: hint}
	case err != nil:
		return nil, err
	case len(selected.Nodes) == 0 && len(p.Nodes) > 0:
		return nil, usagef("--only, --from and --skip leave no step of pipeline %q", p.Pipeline)
	}
	return selected, nil
}

// stepNames returns what --only may name: nodes but services, which run for
// others, and groups that have a name of the author's.
func stepNames(p *plan.Plan) []string {
	var names []string
	for _, n := range p.Nodes {
		if !n.IsService() {
			names = append(names, n.Name)
		}
	}
	for _, g := range p.Groups {
		if !strings.Contains(g.Name, "#") {
			names = append(names, g.Name)
		}
	}
	return names
}
