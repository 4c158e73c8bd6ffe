package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/piper-build/piper/agent/operator"
	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/api/client"
	"github.com/piper-build/piper/cmd/piper/progress"
	"github.com/piper-build/piper/runtime/facts"
	"github.com/piper-build/piper/runtime/git"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/remove"
	"github.com/piper-build/piper/runtime/secret"
	"github.com/piper-build/piper/runtime/store"
	"github.com/piper-build/piper/starlark"
)

// A reproduction is one call of piper reproduce. It runs as piper exec does, in a
// tree of its own.
type reproduction struct {
	*execution
	remote *remote
	keep   bool
	force  bool

	was was
}

// was is what a server tells of the build.
type was struct {
	build   api.Build
	asked   api.Asked
	plan    *plan.Plan
	patch   []byte // nil when what was built was committed
	project api.Project
	agent   *api.Agent // that ran it; nil when it is gone, or when it ran here
}

func (a *app) reproduceCommand() *command {
	c := a.newCommand("reproduce", "BUILD [flags]")
	c.ShortHelp = "Run a build of an agent again on this machine."
	c.LongHelp = `It checks out what was built, changes that were not committed included, into a
directory of its own, and plans it for the same event and parameters. When that
gives the same plan it is run as piper exec would; otherwise piper says what
differs. The commit is taken from the repository that you are in if it has it,
or else from that of the project. Facts and tools of the agent that are others
here are listed, if the agent still lives. A build that fails here too leaves its
directory behind, to look at.

It exits with 1 when the plan is another one, or the build fails, and with 2 when
a secret is missing; a plan that differs only in what was read for it is run, and
that is said. --dry-run exits in the same way, and with 1 when a step cannot run
here. A build of a fork is run only after you say so.`
	c.examples = `
piper reproduce 41
piper reproduce 41 --dry-run                 # only say what differs here
piper reproduce 41 --shell-on-fail           # and look around where it failed
piper reproduce 41 --secret-file .env        # the agent's secrets stay where they are
`
	r := &reproduction{execution: &execution{app: a, question: &question{}, noRecord: true, triggers: "show"}, remote: c.asksServer()}
	c.isolates()
	c.settings, c.prepares = true, true
	c.number(&r.parallel, "parallel", 0, "how many steps run at once: `N`, or as many as there are processors")
	c.letter("j", "parallel")
	c.choice(&r.progress, "progress", "auto", "how to show progress: `MODE` is "+strings.Join(progress.Modes(), ", "), progress.Modes()...)
	c.FlagSet.BoolVar(&r.dryRun, "dry-run", false, "only compare, and run nothing")
	c.FlagSet.BoolVar(&r.shellOnFail, "shell-on-fail", false, "open a shell where a step failed, with its environment")
	c.FlagSet.BoolVar(&r.yes, "yes", false, "approve whatever asks for it, and run the steps of a fork")
	c.letter("y", "yes")
	c.FlagSet.BoolVar(&r.force, "force", false, "run the plan that there is here, also when it is another one")
	c.FlagSet.BoolVar(&r.keep, "keep", false, "leave the directory behind also when the build succeeds")
	r.takesSecrets(c)
	c.max, c.args = 1, buildWords
	c.Exec = func(ctx context.Context, args []string) error {
		ref, err := buildArg(c, args)
		if err != nil {
			return err
		}
		return r.run(ctx, ref)
	}
	return c
}

func (r *reproduction) run(ctx context.Context, ref string) (err error) {
	if err := r.ask(ctx, r.remote, func(s *client.Client) error { r.was, err = lookBack(ctx, s, ref); return err }); err != nil {
		return err
	}
	source, err := r.secretSource()
	if err != nil {
		return err
	}
	r.source = secret.Remember(source)

	// What an expand asks goes on while a build that is cancelled ends.
	var end context.CancelFunc
	r.life, end = context.WithCancel(ctx)
	defer end()
	ctx, r.signals = catch(ctx) // or what was made would stay behind
	defer func() { go r.signals.stop() }()

	dir, err := os.MkdirTemp("", fmt.Sprintf("piper-reproduce-%d-", r.was.build.Number))
	if err != nil {
		return fmt.Errorf("make a directory for it: %w", err)
	}
	kept := false
	defer func() {
		if !kept {
			err = errors.Join(err, remove.Tree(dir))
		}
	}()
	result, err := r.prepared(ctx, end, dir)
	if ctx.Err() != nil {
		fmt.Fprintf(r.stderr, "piper: nothing was run: %v\n", context.Cause(ctx))
		return exitStatus(r.signals.exitCode())
	}
	if err != nil || r.dryRun {
		return err
	}
	r.widen(result.Plan)
	code, err := r.runAll(ctx, &job{plan: result.Plan, expand: result.Expand, question: r.question, args: r.words()})
	if err != nil || code != exitOK || r.keep {
		kept = true
		fmt.Fprintf(r.stderr, "piper: it is in %s\nhint: chmod -R u+rwX %[2]s; rm -r %[2]s removes it\n", r.dir, quoted(dir))
	}
	if err != nil {
		return err
	}
	if code != exitOK {
		return exitStatus(code)
	}
	return nil
}

// prepared makes the tree of the build and its plan. The error is nil when that
// can be run here, and may be. A signal calls end, as long as it is planned.
func (r *reproduction) prepared(ctx context.Context, end func(), dir string) (starlark.Result, error) {
	if err := r.checkOut(ctx, dir); err != nil {
		return starlark.Result{}, err
	}
	stop := context.AfterFunc(ctx, end)
	result, err := r.planned(r.life, r.execution.project, r.question, r.words())
	stop()
	if err != nil {
		return result, err
	}
	if err := r.compare(ctx, result.Plan); err != nil {
		return result, err
	}
	return result, r.trust(ctx)
}

// lookBack asks for all that there is to know of a build that was planned.
func lookBack(ctx context.Context, s *client.Client, ref string) (w was, err error) {
	if w.build, err = s.Build(ctx, ref); err != nil {
		return w, err
	}
	if w.build.PlanDigest == "" && !ended(w.build.State) {
		return w, &usageError{
			message: fmt.Sprintf("build %d is %s and was not planned yet: there is nothing to run again", w.build.Number, w.build.State),
			hint:    fmt.Sprintf("piper why %d says what it waits for", w.build.Number),
		}
	}
	if w.build.PlanDigest == "" {
		return w, &usageError{
			message: fmt.Sprintf("build %d is %s and was never planned: there is nothing to run again", w.build.Number, w.build.State),
			hint:    fmt.Sprintf("piper show %d says why", w.build.Number),
		}
	}
	if w.asked, err = s.Request(ctx, ref); err != nil {
		return w, err
	}
	if w.plan, err = s.Plan(ctx, ref); err != nil {
		return w, err
	}
	if w.asked.Patch != "" {
		if w.patch, err = s.Patch(ctx, ref, w.asked.Patch); err != nil {
			return w, err
		}
	}
	w.project, err = s.Project(ctx, w.build.Project)
	if err != nil && !missing(err) { // it ran here, or the project was removed
		return w, err
	}
	if w.build.Agent == nil {
		return w, nil
	}
	agent, err := s.Agent(ctx, w.build.Agent.ID)
	if missing(err) {
		return w, nil
	}
	w.agent = &agent
	return w, err
}

// missing reports whether a server said that there is no such thing.
func missing(err error) bool {
	var p *api.Problem
	return errors.As(err, &p) && p.Status == http.StatusNotFound
}

// words are the arguments that piper exec would have been given.
func (r *reproduction) words() []string {
	words := []string{r.was.plan.Pipeline}
	if r.was.asked.Environment != "" {
		words = append(words, r.was.asked.Environment)
	}
	return words
}

// checkOut makes the tree that was built below dir, the directory of what
// follows, and the question that its plan answers.
func (r *reproduction) checkOut(ctx context.Context, dir string) error {
	asked := &r.was.asked
	if asked.Commit == "" {
		return usagef("build %d is of no commit: its directory was in no git repository", r.was.build.Number)
	}
	from, event := r.was.project.Repo, asked.Event
	p := store.Project{Name: asked.Project, Ref: r.was.project.Ref}
	if here := r.holder(ctx, asked.Commit); here != nil {
		from = here.Root()
		if trunk := here.Trunk(); asked.Ref == "" && p.Ref == "" && event.Branch == "" && event.Tag == "" && asked.Trust == "" {
			event.Branch = trunk
		}
	}
	if r.was.project.Repo == "" {
		fmt.Fprintf(r.stderr, "piper: build %d ran in somebody's working directory: what was not committed there is not known\n", r.was.build.Number)
	}
	if from == "" {
		return &usageError{
			message: fmt.Sprintf("build %d is of commit %s, which is not here", r.was.build.Number, asked.Commit),
			hint:    "run piper in a clone of its repository, after git fetch",
		}
	}
	mirrors := filepath.Join(dir, ".mirror") // no project has a name like that
	defer os.RemoveAll(mirrors)
	src := &sources{
		dir:      mirrors,
		operator: &operator.File{LocalRepositories: true, PrivateHosts: []string{"*"}},
		blob:     func(context.Context, string) ([]byte, error) { return r.was.patch, nil },
	}
	p.Repo = from
	fmt.Fprintf(r.stderr, "piper: check out %.12s of %s\n", asked.Commit, from)
	tree, err := src.Checkout(ctx, p, store.Request{Ref: asked.Ref, Commit: asked.Commit, Patch: asked.Patch, Event: event,
		Cause: store.Cause{Trust: asked.Trust}}, asked.Commit, filepath.Join(dir, filepath.Base(asked.Project)))
	if errors.Is(err, git.ErrUnknown) {
		return &usageError{message: err.Error(), hint: "the commit is gone from the repository, or was never pushed"}
	}
	if err != nil {
		return err
	}

	here := *r.app
	here.dir = tree.Dir
	here.isolate = here.isolate || r.fork() // a stranger's file
	r.app = &here
	r.execution.project = &project{root: tree.Dir, file: pipelineFile}
	r.execution.project.openRepository(r.life)
	event = asked.Event
	event.Kind, event.Commit = cmp.Or(event.Kind, "manual"), asked.Commit
	if event.Branch == "" && event.Tag == "" && r.execution.project.repo != nil {
		if event.Branch, err = r.execution.project.repo.Branch(); err != nil {
			return err
		}
	}
	q := r.question
	q.event, q.narrow = &event, asked.Select
	q.kind, q.base, q.branch, q.tag = event.Kind, event.Base, event.Branch, event.Tag // for who runs a step again
	for name, value := range asked.Params {
		q.params = append(q.params, name+"="+value)
	}
	slices.Sort(q.params)
	return nil
}

// holder is the repository that we are in, if it has the commit.
func (r *reproduction) holder(ctx context.Context, commit string) *git.Repo {
	for dir := r.dir; ; dir = filepath.Dir(dir) {
		if exists(filepath.Join(dir, ".git")) {
			repo, err := git.Open(dir)
			if err != nil {
				return nil
			}
			repo.Context = ctx
			if _, err := repo.Revision(commit); err != nil {
				return nil
			}
			return repo
		}
		if dir == filepath.Dir(dir) {
			return nil
		}
	}
}

// compare says what is not here as it was there. The error is that of a run that
// could not begin; in place of a run also that of one that could not succeed.
func (r *reproduction) compare(ctx context.Context, p *plan.Plan) error {
	was := r.was.plan
	if r.fork() {
		r.warn(p)
	}
	machine := &facts.Machine{Environ: r.environ, Cache: r.toolCache}
	if dir := r.userDir("XDG_CACHE_HOME", ".cache"); machine.Cache == "" && dir != "" && os.MkdirAll(dir, 0o700) == nil {
		machine.Cache = filepath.Join(dir, "tools.json") // to ask all takes a second
	}
	r.compareInputs(was.Inputs, p.Inputs)
	r.compareFacts(ctx, machine)
	met := r.meets(ctx, machine, p)
	missing := r.haveSecrets(p)
	digest := p.Digest()
	if digest == was.Digest() {
		fmt.Fprintf(r.stderr, "piper: the plan is the same, %s\n", digest)
	} else {
		d := plan.Compare(was, p)
		w := newDiffWriter(r.app, r.stderr)
		fmt.Fprintf(w, "pipeline %s: build %d and this machine\n", d.Pipeline, r.was.build.Number)
		w.diff(d)
		if err := w.Flush(); err != nil {
			return err
		}
		if len(d.Changes) > 0 && !r.force {
			fmt.Fprintln(r.stderr, "piper: the plan is another one here\nhint: --force runs it")
			return exitStatus(exitFailed)
		}
	}
	if r.dryRun && missing == nil && !met {
		return exitStatus(exitFailed)
	}
	return missing
}

// compareInputs says what was read for the one plan and not, or not as it was,
// for the other.
func (r *reproduction) compareInputs(there, here []plan.Input) {
	type read struct{ kind, key string }
	left := map[read]string{}
	for _, in := range here {
		left[read{in.Kind, in.Key}] = in.Digest
	}
	for _, in := range there {
		digest, ok := left[read{in.Kind, in.Key}]
		delete(left, read{in.Kind, in.Key})
		switch {
		case !ok:
			fmt.Fprintf(r.stderr, "piper: differs: %s %s was read there only\n", in.Kind, in.Key)
		case digest != in.Digest:
			fmt.Fprintf(r.stderr, "piper: differs: %s %s\n", in.Kind, in.Key)
		}
	}
	for _, in := range here {
		if _, ok := left[read{in.Kind, in.Key}]; ok {
			fmt.Fprintf(r.stderr, "piper: differs: %s %s was read here only\n", in.Kind, in.Key)
		}
	}
}

// compareFacts says what the machine of the agent has now and this one has not, or
// otherwise.
func (r *reproduction) compareFacts(ctx context.Context, machine *facts.Machine) {
	if r.was.build.Agent == nil {
		return
	}
	if r.was.agent == nil || len(r.was.agent.Facts) == 0 {
		why := "is gone"
		if r.was.agent != nil {
			why = "has not told them"
		}
		fmt.Fprintf(r.stderr, "piper: the facts and tools of its machine are not compared: the agent that ran build %d %s\n", r.was.build.Number, why)
		return
	}
	there := r.was.agent.Facts
	here, err := machine.All(ctx)
	if err != nil {
		return // a signal, which is told elsewhere
	}
	// The agent may have been asked for what nobody asks for by itself.
	for key := range there {
		if value, ok, err := machine.Get(ctx, key); err == nil && ok {
			here[key] = value
		}
	}
	all := maps.Clone(there)
	maps.Copy(all, here)
	for _, key := range slices.Sorted(maps.Keys(all)) {
		fact := plan.Requirement{Key: key}
		was, is := facts.Seen(there, fact), facts.Seen(here, fact)
		if key != "hostname" && was != is {
			fmt.Fprintf(r.stderr, "piper: differs: %s: %s there, %s here\n", key, was, is)
		}
	}
}

// meets says which steps of p this machine cannot run, and whether p can succeed
// without them.
func (r *reproduction) meets(ctx context.Context, machine *facts.Machine, p *plan.Plan) bool {
	met := true
	for i := range p.Nodes {
		n := &p.Nodes[i]
		if n.Step == nil {
			continue
		}
		needs := n.Step.Requires
		if where := p.EnvironmentOf(n.Step); where != nil {
			needs = slices.Concat(where.Requires, needs)
		}
		if err := facts.Check(ctx, machine, needs); err != nil {
			fmt.Fprintf(r.stderr, "piper: differs: %s cannot run here: %v\n", n.Name, err)
			met = met && (n.AllowFailure() != "" || n.RunOn() == plan.Failure)
		}
	}
	return met
}

// warn says what it is to run the steps of a fork.
func (r *reproduction) warn(p *plan.Plan) {
	with := ""
	if names := p.Secrets(); expands(p) {
		with = ", with each secret that they come to ask for"
	} else if len(names) > 0 {
		with = ", with secrets: " + strings.Join(names, ", ")
	}
	fmt.Fprintf(r.stderr, "piper: build %d is of a fork: the steps of a stranger run here as you%s\n", r.was.build.Number, with)
}

// trust asks whether the steps of a fork may run: its file was evaluated where it
// can do no harm, they are not.
func (r *reproduction) trust(ctx context.Context) error {
	if !r.fork() || r.yes || r.dryRun {
		return nil
	}
	if !isTerminal(r.stdin) {
		return &usageError{
			message: fmt.Sprintf("build %d is of a fork, and there is nobody to ask whether it may run, as standard input is no terminal", r.was.build.Number),
			hint:    "read what it changes first; --yes runs it",
		}
	}
	switch yes, err := r.confirm(ctx, "run them?"); {
	case yes || ctx.Err() != nil:
		return err
	case err != nil:
		fmt.Fprintf(r.stderr, "piper: nothing was run: %v\n", err)
	default:
		fmt.Fprintln(r.stderr, "piper: nothing was run")
	}
	return exitStatus(exitFailed)
}

func (r *reproduction) fork() bool { return r.was.asked.Trust == "fork" }

// haveSecrets says of all secrets that p names and that were not given how to
// give them.
func (r *reproduction) haveSecrets(p *plan.Plan) error {
	missing := false
	for _, name := range p.Secrets() {
		if _, err := r.source.Get(name); err != nil {
			fmt.Fprintf(r.stderr, "piper: %v\n", err)
			missing = true
		}
	}
	if missing {
		return exitStatus(exitUsage)
	}
	return nil
}
