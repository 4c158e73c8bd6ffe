package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/secret"
	"github.com/piper-build/piper/starlark"
	"github.com/piper-build/piper/starlark/isolate"
	"github.com/piper-build/piper/starlark/repl"
)

// A conversation is one call of piper repl.
type conversation struct {
	execution // what :run runs with
	asked     starlark.Request
	session   session
	repl      *repl.REPL
	code      int // of the first thing that went wrong
}

// A session is what a conversation goes on in: a starlark.Session, or an
// isolate.Session.
type session interface {
	repl.Session
	Catalog() plan.Catalog
	Plan(context.Context, starlark.Question) (starlark.Result, error)
	PlanFlow(ctx context.Context, text string, line int) (starlark.Result, error)
	Doc(path string) string
	Word(path string) string
	Close() error
}

func (a *app) replCommand() *command {
	c := a.newCommand("repl", "[pipeline] [flags]")
	c.ShortHelp = "Try things out in the language, on top of the PIPER.star."
	c.LongHelp = `What the PIPER.star defines is there, and ctx is what the pipeline would be
given: the one that is named, or "build", or the only one there is. Pipelines
that are typed can be planned and run as those of the file. ":help" lists what
else can be done, Tab completes, Ctrl-C drops a line or stops what runs, Ctrl-D
leaves. A line that begins with a space, or holds the value of a secret, is not
kept in the history.

With --isolate an input that takes more than it may can end the process that
evaluates. The PIPER.star is loaded again then; what was typed is gone.

Lines from a pipe are read without a prompt; an error does not end them, but
the exit code is that of the first one.`
	c.examples = `
piper repl
piper repl release -p version=v1.2     # with ctx.params.version
echo 'fs.glob("**/*.go")' | piper repl
`
	t := &conversation{execution: execution{app: a, question: c.asks(), progress: "auto", triggers: "show"}}
	t.takesSecrets(c)
	t.records(c)
	c.FlagSet.BoolVar(&t.yes, "yes", false, "approve whatever asks for it")
	c.letter("y", "yes")
	c.max, c.args = 1, pipelineWords
	c.Exec = t.begin
	return c
}

// begin carries out the command.
func (t *conversation) begin(ctx context.Context, args []string) error {
	if err := t.open(ctx, args); err != nil {
		return err
	}
	defer t.session.Close()
	defer t.local.close()
	t.repl = &repl.REPL{Session: t.session, Out: t.stdout, Report: func(err error) { t.answer(ctx, err) }, Commands: t.commands()}
	if isTerminal(t.stdin) && isTerminal(t.stdout) {
		t.repl.Editor = repl.NewPipe(t.stdin, t.stdout)
		if terminal, err := repl.OpenTerminal(t.repl.Complete, t.historyFile(), t.holdsSecret); err == nil {
			defer terminal.Close()
			t.repl.Editor = terminal
		}
		fmt.Fprintf(t.stdout, "piper %s. :help lists the commands, Ctrl-D leaves.\n", piperVersion())
		t.load(ctx)
		err := t.repl.Run(ctx)
		fmt.Fprintln(t.stdout)
		return err
	}
	t.repl.Editor = repl.NewPipe(t.stdin, nil)
	t.load(ctx)
	if err := t.repl.Run(ctx); err != nil {
		return err
	}
	if t.code != exitOK {
		return exitStatus(t.code)
	}
	return nil
}

// open begins the session.
func (t *conversation) open(ctx context.Context, args []string) error {
	t.project = &project{root: t.dir, file: pipelineFile}
	if _, ok := t.findRoot(); ok || t.question.file != "" {
		var err error
		if t.project, err = t.openProject(ctx, t.question.file); err != nil {
			return err
		}
	} else {
		t.project.openRepository(ctx)
	}
	source, err := t.secretSource()
	if err != nil {
		return err
	}
	t.source = secret.Remember(source)
	if t.local, err = t.localStore(); err != nil {
		return err
	}
	r, err := t.request(t.project, t.question)
	if err != nil {
		return err
	}
	if len(args) > 0 {
		r.Pipeline = args[0]
	}
	show := r.Print
	r.Print = func(pos plan.Pos, message string) {
		if pos.File == starlark.Typed {
			fmt.Fprintln(t.stdout, message)
		} else {
			show(pos, message)
		}
	}
	t.asked = r
	if t.isolate {
		t.session, err = t.isolated.Open(r)
	} else {
		t.session, err = starlark.Open(r)
	}
	return err
}

// load evaluates the PIPER.star. Without one, or with one that is wrong, there
// is still much to try out.
func (t *conversation) load(ctx context.Context) {
	if !exists(filepath.Join(t.project.root, t.project.file)) {
		fmt.Fprintf(t.stderr, "piper: no %s in %s: nothing is loaded\n", t.project.file, t.project.root)
		return
	}
	if err := t.session.Reload(ctx); err != nil {
		t.reportAll(err)
		fmt.Fprintf(t.stderr, "piper: %s is not loaded; :reload tries again\n", t.project.file)
		return
	}
	t.warn()
}

func (t *conversation) warn() {
	if warnings := t.session.Warnings(); len(warnings) > 0 {
		fmt.Fprintln(t.stderr, strings.TrimRight(warnings.Error(), "\n"))
	}
}

// answer tells of an error. When it has ended the session, that begins anew.
func (t *conversation) answer(ctx context.Context, err error) {
	t.reportAll(err)
	var lost *isolate.Lost
	if errors.As(err, &lost) {
		fmt.Fprintln(t.stderr, "piper: that has ended the process that evaluates: what was typed and loaded is gone, and the session begins anew")
		t.load(ctx)
	}
}

// reportAll tells of an error, and keeps what piper would exit with for it.
func (t *conversation) reportAll(err error) {
	if errors.Is(err, repl.ErrInterrupted) {
		fmt.Fprintln(t.stderr, "piper: interrupted")
		t.code = cmp.Or(t.code, exitInterrupted)
		return
	}
	t.code = cmp.Or(t.code, t.app.report(err))
}

// historyFile is where lines are kept for the next time, or "".
func (t *conversation) historyFile() string {
	state := t.userDir("XDG_STATE_HOME", ".local/state")
	if state == "" {
		return ""
	}
	return filepath.Join(state, "repl_history")
}

// holdsSecret reports whether the value of a secret that piper was given stands
// in a line.
func (t *conversation) holdsSecret(line string) bool {
	holds := func(value string) bool {
		return len(value) >= secret.MinBytes && strings.Contains(line, value)
	}
	return slices.ContainsFunc(t.given, holds) || slices.ContainsFunc(t.environ, func(variable string) bool {
		name, value, _ := strings.Cut(variable, "=")
		return (strings.HasPrefix(name, "PIPER_SECRET_") || name == "PIPER_TOKEN") && holds(value)
	})
}
