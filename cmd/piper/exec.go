package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	goruntime "runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/piper-build/piper/cmd/piper/progress"
	"github.com/piper-build/piper/runtime"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/logs"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/runner"
	"github.com/piper-build/piper/runtime/secret"
	"github.com/piper-build/piper/starlark"
)

// largePlan is how many nodes make it worth giving back what evaluation has
// used, and keeping memory tight: the run itself makes little garbage.
const largePlan = 10_000

// tight is how much of a heap that is to stay small may be garbage, in percent of
// the rest. Go's own 100 is 4 MiB at least.
const tight = 10

// An execution is one call of piper exec.
type execution struct {
	*app
	question *question

	parallel    int
	progress    string
	dryRun      bool
	keepGoing   bool
	passEnv     []string
	shellOnFail bool
	yes         bool
	asJSON      bool
	logDir      string
	triggers    string
	secrets     []string
	secretFiles []string
	noRecord    bool
	where       *place // --store

	life    context.Context // of the evaluations, which expands ask while their builds run
	project *project
	source  *secret.Memory
	given   []string // the values of secrets that the command line and its files hold
	local   *local   // where builds are recorded; nil is nowhere
	signals *signals
	answer  <-chan lineRead // of standard input, when somebody was asked
}

func (a *app) execCommand() *command {
	c := a.newCommand("exec", "[pipeline] [environment] [flags]")
	c.ShortHelp = "Run a pipeline on this machine."
	c.LongHelp = `The pipeline is "build" unless it is named, or the only one there is. The
environment replaces the one that the pipeline names; "local" keeps it.

Progress goes to standard error, results to standard output. Ctrl-C ends the
build with grace, a second one kills it.`
	c.examples = `
piper exec                                  # the pipeline "build", or the only one
piper exec release -p version=v1.2 -j4      # another, with a parameter, four steps at once
piper exec --only lint,unit                 # two of its steps
piper exec release --from 'build/*'         # go on from there
piper exec release --dry-run                # only say what would run
piper exec deploy --secret-file .env --yes  # secrets from a file, approvals given
`
	e := &execution{app: a, question: c.asks()}
	c.selects(e.question)
	c.number(&e.parallel, "parallel", 0, "how many steps run at once: `N`, or as many as there are processors")
	c.letter("j", "parallel")
	c.choice(&e.progress, "progress", "auto", "how to show progress: `MODE` is "+strings.Join(progress.Modes(), ", "), progress.Modes()...)
	c.FlagSet.BoolVar(&e.dryRun, "dry-run", false, "say what would run, in order, and run nothing")
	c.FlagSet.BoolVar(&e.keepGoing, "keep-going", false, "run what can still run after a failure, also where a group says fail_fast")
	c.letter("k", "keep-going")
	c.FlagSet.Var(&listValue{&e.passEnv, true, passable}, "pass-env", "let the environment variables `NAMES` through to every step; * and commas allowed")
	c.FlagSet.BoolVar(&e.shellOnFail, "shell-on-fail", false, "open a shell where a step failed, with its environment")
	c.FlagSet.BoolVar(&e.yes, "yes", false, "approve whatever asks for it")
	c.letter("y", "yes")
	c.FlagSet.BoolVar(&e.asJSON, "json", false, "print the build as a JSON object when it has ended")
	c.FlagSet.StringVar(&e.logDir, "log-dir", "", "write a file per step into `DIR`")
	c.choice(&e.triggers, "triggers", "show", "`WHAT` to do with the pipelines that this one triggers: show or run", "show", "run")
	e.takesSecrets(c)
	e.records(c)
	c.lists["log-dir"] = directories
	c.max, c.args = 2, pipelineWords
	c.Exec = e.run
	return c
}

// run carries out the command.
func (e *execution) run(ctx context.Context, args []string) error {
	if e.asJSON && e.progress == "json" {
		return usagef("--json and --progress=json both write to standard output: take one")
	}
	switch {
	case e.asJSON:
		e.problems = asArray
	case e.progress == "json" && !e.dryRun:
		e.problems = asLines
	}
	var err error
	if e.project, err = e.openProject(ctx, e.question.file); err != nil {
		return err
	}
	if len(args) > 1 && args[1] == "local" {
		args = args[:1]
	}
	var end context.CancelFunc
	e.life, end = context.WithCancel(ctx)
	defer end()
	result, err := e.planned(e.life, e.project, e.question, args)
	if err != nil {
		if len(args) == 1 {
			e.suggestStep(ctx, err, args[0])
		}
		return err
	}
	p := result.Plan
	if e.dryRun {
		return e.showDryRun(p)
	}
	source, err := e.secretSource()
	if err != nil {
		return err
	}
	e.source = secret.Remember(source)
	if e.triggers == "run" {
		if err := e.checkTriggers(ctx, p); err != nil {
			return err
		}
	}
	if len(p.Nodes) > largePlan {
		debug.SetGCPercent(tight)
		debug.FreeOSMemory()
	}
	if e.local, err = e.localStore(); err != nil {
		return err
	}
	defer e.local.close()
	e.widen(p)
	ctx, e.signals = catch(ctx)
	defer func() { go e.signals.stop() }() // piper is about to end, and need not wait
	first := &job{plan: p, expand: result.Expand, question: e.question, args: args}
	if e.logDir != "" {
		first.logDir = e.path(e.logDir)
	}
	code, err := e.runAll(ctx, first)
	if err != nil {
		return err
	}
	if first.showTriggers(e.stderr) && e.triggers == "show" {
		fmt.Fprintln(e.stderr, "hint: --triggers=run runs what this checkout can run of them")
	}
	if e.asJSON {
		if err := e.printJSON(resultOf(first)); err != nil {
			return err
		}
	}
	if code != exitOK {
		return exitStatus(code)
	}
	return nil
}

// suggestStep gives err another hint when word names no pipeline, but a step of
// the one that runs when none is named.
func (e *execution) suggestStep(ctx context.Context, err error, word string) {
	var wrong plan.Diagnostics
	if !errors.As(err, &wrong) || wrong[0].Code != "unknown-pipeline" {
		return
	}
	r, err := e.request(e.project, e.question)
	if err != nil {
		return
	}
	r.Print = nil // it has printed
	result, err := e.evaluator()(ctx, r)
	if err == nil && slices.Contains(stepNames(result.Plan), word) {
		wrong[0].Hint = fmt.Sprintf("%s is a step of %s: piper exec --only %[1]s", word, result.Plan.Pipeline)
	}
}

// widen gives Go's scheduler a place for each step beside those for the
// processors: a fork holds its place until the step's program is there, and
// must not hold up the rest meanwhile. Whoever sets GOMAXPROCS is obeyed.
func (e *execution) widen(p *plan.Plan) {
	nodes, n := len(p.Nodes), goruntime.NumCPU()
	most := cmp.Or(e.parallel, n)
	if !expands(p) {
		most = min(most, nodes)
	}
	if nodes > 1 && e.env("GOMAXPROCS") == "" {
		goruntime.GOMAXPROCS(n + most)
	}
}

// expands reports whether more may be found while p runs.
func expands(p *plan.Plan) bool {
	return slices.ContainsFunc(p.Nodes, func(n plan.Node) bool { return n.Expand() != nil })
}

// A job is one build of an execution.
type job struct {
	id       build.ID
	plan     *plan.Plan
	expand   starlark.Expander // nil when plan has no expand
	question *question         // that plan answers
	args     []string          // pipeline and environment, as far as they were given
	parent   *job
	node     string // of parent, that triggered it
	later    bool   // it runs after its parent, which does not wait for it
	typed    string // the line of a repl that asked for it; "" on a command line
	commit   string
	logDir   string
	build    *build.Build // nil until it has ended
	number   int64        // under which it is recorded; 0 is not

	turn sync.Mutex // held by the one prompt, shell or triggered build that has the terminal

	mu    sync.Mutex        // guards what follows
	jobs  map[string]*job   // what it triggered, by the node that did
	shown map[string]string // what it would have triggered, in words
}

// nodes are those of j's plan, and what was found while it ran.
func (j *job) nodes() []plan.Node {
	if j.build != nil {
		return j.build.Plan().Nodes
	}
	return j.plan.Nodes
}

// triggered returns what j has triggered, in the order of its plan.
func (j *job) triggered() []*job {
	var jobs []*job
	for _, n := range j.nodes() {
		if next := j.jobs[n.Name]; next != nil {
			jobs = append(jobs, next)
		}
	}
	return jobs
}

// runAll runs j and then what it triggered without waiting, in that order. The
// code is that of the first build that did not succeed.
func (e *execution) runAll(ctx context.Context, j *job) (code int, err error) {
	if err := e.build(ctx, j); err != nil {
		return exitInfra, err
	}
	code = e.exitCode(j.build)
	for _, next := range j.triggered() {
		if !next.later {
			continue
		}
		if ctx.Err() != nil {
			fmt.Fprintf(e.stderr, "piper: %s, which %s triggered, was not run\n", next.plan.Pipeline, j.plan.Pipeline)
			code = cmp.Or(code, e.signals.exitCode())
			continue
		}
		after, err := e.runAll(ctx, next)
		if err != nil {
			return exitInfra, err
		}
		code = cmp.Or(code, after)
	}
	return code, nil
}

// exitCode is what piper exits with for b, which has ended.
func (e *execution) exitCode(b *build.Build) int {
	switch b.State() {
	case build.Success:
		return exitOK
	case build.TimedOut:
		return exitTimedOut
	case build.Cancelled:
		return e.signals.exitCode()
	case build.Rejected:
		return exitUsage
	case build.Failed:
		return failureCode(b)
	}
	return exitFailed
}

// failureCode tells a machine or a PIPER.star at fault from a build at fault:
// theirs is every failure that counts. That of a PIPER.star is an expand that
// failed.
func failureCode(b *build.Build) int {
	code := 0
	for i, n := range b.Plan().Nodes {
		step, fault := b.Node(i), exitFailed
		switch {
		case step.Allowed || step.State != build.Failed && step.State != build.TimedOut:
			continue
		case step.Infra:
			fault = exitInfra
		case n.Expand() != nil:
			fault = exitUsage
		}
		if code != 0 && code != fault {
			return exitFailed
		}
		code = fault
	}
	return cmp.Or(code, exitFailed)
}

// build runs one job to its end.
func (e *execution) build(ctx context.Context, j *job) error {
	if j.id == "" {
		j.id = build.NewID(time.Now())
	}
	var before history
	var rec *recording
	if e.local != nil {
		before = e.history(e.project.root, j.plan.Pipeline)
	}
	display, err := progress.New(e.progress, progress.Options{
		Out:     e.stderr,
		Results: e.stdout,
		Color:   e.colored(e.stderr),
		Getenv:  e.env,
		Version: piperVersion(),
		File:    e.project.file,
		Rerun:   func(p *plan.Plan, node *plan.Node) string { return e.rerun(j, p, node) },
		LogPath: j.logPath,
		History: before.took,
		Number:  func() int64 { return rec.shown() },
	})
	if err != nil {
		return err
	}
	event := e.project.event(j.question)
	j.commit = event.Commit
	cancels := make(chan runtime.Cancel, 1)
	defer context.AfterFunc(e.signals.killed, func() { cancels <- runtime.Cancel{Force: true} })()
	o := runner.Options{
		Plan:      j.plan,
		Workspace: e.project.root,
		ID:        j.id,
		Commit:    event.Commit,
		Branch:    event.Branch,
		Parallel:  e.parallel,
		Environ:   e.environ,
		PassEnv:   e.passEnv,
		Secrets:   e.source,
		Display:   display,
		LogDir:    j.logDir,
		History:   before.took,
		Report:    func(message string) { fmt.Fprintf(e.stderr, "piper: %s\n", message) },
		Cancels:   cancels,
		Approve: func(ctx context.Context, node *plan.Node) (runtime.Approval, error) {
			return e.approve(ctx, display, j, node)
		},
		Trigger: func(ctx context.Context, node *plan.Node, params map[string]string, made func(build.ID)) (build.State, error) {
			return e.trigger(ctx, display, j, node, params, made)
		},
	}
	if e.project.repo != nil {
		o.Files = e.project.repo.Files
	}
	if j.expand != nil {
		o.MaxNodes = e.settings.limits(!e.isolate).Nodes
		o.Expand = func(ctx context.Context, node *plan.Node, outputs map[string]string) (plan.Expansion, error) {
			found, err := j.expand(ctx, node.Name, outputs)
			if e.keepGoing {
				found.Groups = patient(found.Groups)
			}
			return found, err
		}
	}
	if e.keepGoing {
		o.Plan = withoutFailFast(j.plan) // the digest is still that of the plan as it was written
	}
	if e.shellOnFail {
		o.OnFail = func(ctx context.Context, t runtime.Task, res runtime.Result) { e.openShell(ctx, display, j, t, res) }
	}
	if e.local == nil {
		j.build, err = runner.Run(ctx, o)
		return err
	}
	rec = e.local.recordBuild(j.id, o.Plan, j.request(event, e.env("USER")))
	o.Recorder, o.Sink, o.Display = rec, rec, recorded{display, rec, e}
	j.build, err = runner.Run(ctx, o)
	rec.finish(j.build, e.signals.killed.Done()) // when it never came to its display
	j.number = rec.number
	if err == nil && j.number > 0 {
		if err := before.remember(j.build); err != nil {
			fmt.Fprintf(e.stderr, "piper: %v\n", err)
		}
	}
	return err
}

// logPath is the file that has all that an attempt wrote, "" when there is
// none, as for a step that failed before it began.
func (j *job) logPath(node string, attempt int) string {
	if j.logDir == "" {
		return ""
	}
	path := filepath.Join(j.logDir, filepath.FromSlash(logs.LogFile(node, attempt)))
	if !exists(path) {
		return ""
	}
	return path
}

// passable looks whether name is that of a variable, in which * stands for
// anything: the rule of pass_env in a PIPER.star.
func passable(name string) error {
	word := strings.ReplaceAll(name, "*", "_")
	wrong := strings.IndexFunc(word, func(r rune) bool {
		return r != '_' && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
	})
	switch {
	case wrong >= 0, word[0] >= '0' && word[0] <= '9':
		return errors.New("want names of environment variables, in which * stands for anything")
	case word == "PIPER", strings.HasPrefix(word, "PIPER_"):
		return errors.New("that belongs to piper, which sets it itself")
	}
	return nil
}

// withoutFailFast is p with groups that go on after a failure.
func withoutFailFast(p *plan.Plan) *plan.Plan {
	other := *p
	other.Groups = patient(p.Groups)
	return &other
}

// patient is groups as such groups.
func patient(groups []plan.Group) []plan.Group {
	groups = slices.Clone(groups)
	for i := range groups {
		groups[i].FailFast = false
	}
	return groups
}

// stepResult is what --json tells of one node.
type stepResult struct {
	Name string `json:"name"`
	build.Step
}

// buildResult is what --json tells of a build.
type buildResult struct {
	ID         build.ID       `json:"id"`
	Number     int64          `json:"number,omitempty"`
	Project    string         `json:"project"`
	Pipeline   string         `json:"pipeline"`
	State      build.State    `json:"state"`
	Commit     string         `json:"commit,omitempty"`
	Params     map[string]any `json:"params,omitempty"`
	PlanDigest string         `json:"plan_digest"`
	Parent     build.ID       `json:"parent,omitempty"`
	Started    time.Time      `json:"started,omitzero"`
	Ended      time.Time      `json:"ended,omitzero"`
	Steps      []stepResult   `json:"steps"`
	Triggered  []buildResult  `json:"triggered,omitempty"`
}

func resultOf(j *job) buildResult {
	r := buildResult{
		ID:         j.id,
		Number:     j.number,
		Project:    j.plan.Project.Name,
		Pipeline:   j.plan.Pipeline,
		State:      j.build.State(),
		Commit:     j.commit,
		Params:     j.plan.Params,
		PlanDigest: j.plan.Digest(),
		Started:    j.build.Started(),
		Ended:      j.build.Ended(),
		Steps:      make([]stepResult, len(j.nodes())),
	}
	if j.parent != nil {
		r.Parent = j.parent.id
	}
	for i, n := range j.nodes() {
		r.Steps[i] = stepResult{n.Name, j.build.Node(i)}
	}
	for _, next := range j.triggered() {
		if next.build != nil {
			r.Triggered = append(r.Triggered, resultOf(next))
		}
	}
	return r
}
