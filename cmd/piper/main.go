package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/process"
	"github.com/piper-build/piper/runtime/runner"
	"github.com/piper-build/piper/starlark/isolate"
)

func main() {
	if process.IsGuard() {
		os.Exit(process.GuardMain())
	}
	if isolate.IsChild() {
		os.Exit(isolate.ChildMain())
	}
	if runner.IsChild() {
		os.Exit(runner.ChildMain())
	}
	os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Environ()...))
}

// The exit codes of every command.
const (
	exitOK          = 0
	exitFailed      = 1   // the build failed
	exitUsage       = 2   // the command line or the PIPER.star is at fault
	exitInfra       = 3   // the machine, a database, an agent or a server is
	exitDenied      = 4   // the server does not know us, or does not let us
	exitNotFound    = 5   // the server has no such build, project or agent
	exitTimedOut    = 124 // the pipeline's own time-out passed
	exitHungUp      = 129 // SIGHUP
	exitInterrupted = 130 // SIGINT
	exitTerminated  = 143 // SIGTERM
)

// An app is one run of piper: the world as its commands see it. Commands touch
// the process's own streams, environment and directory through it alone, so a
// test can hand in others.
type app struct {
	stdin   io.Reader
	stdout  *output
	stderr  io.Writer
	environ []string // "NAME=value"
	dir     string   // absolute; what a relative path is relative to

	color      string        // --color
	configFile string        // --config
	problems   problemsFor   // who reads the diagnostics of a PIPER.star, beside people
	settings   configuration // of a command that has settings; nil until they are read
	patience   time.Duration // how long completing a command line may take
	toolCache  string        // the file that keeps the versions of tools; "" is in the directory of an agent, or the user's cache

	isolate  bool               // --isolate
	isolated *isolate.Evaluator // what evaluates then
}

// run is piper: the arguments without the program's name in, the exit code
// out.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, environ ...string) int {
	a := &app{stdin: stdin, stdout: &output{to: stdout}, stderr: stderr, environ: environ, patience: 250 * time.Millisecond}
	return a.run(ctx, args)
}

func (a *app) run(ctx context.Context, args []string) int {
	a.isolated = &isolate.Evaluator{Start: child}
	defer a.isolated.Close()
	err := a.dispatch(ctx, args)
	if err == nil {
		err = a.stdout.failure()
	}
	return a.report(err)
}

// dispatch finds the command that args name and runs it.
func (a *app) dispatch(ctx context.Context, args []string) error {
	var err error
	if a.dir, err = os.Getwd(); err != nil {
		return fmt.Errorf("find the current directory: %w", err)
	}
	name, rest, err := splitCommand(args)
	if err != nil {
		return err
	}
	entry, ok := lookup(name)
	if !ok {
		return &usageError{
			message: fmt.Sprintf("unknown command %q", name),
			hint:    didYouMean(nearest(name, commandNames()), `"piper help" lists the commands`),
		}
	}
	return a.execute(ctx, entry.make(a), rest)
}

// report tells the user what went wrong and turns it into an exit code.
func (a *app) report(err error) int {
	var status exitStatus
	var usage *usageError
	var diagnostics plan.Diagnostics
	var problem *api.Problem
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &status):
		return int(status)
	case errors.As(err, &diagnostics):
		a.printDiagnostics(diagnostics)
		return exitUsage
	case errors.As(err, &problem):
		a.printProblem(problem)
		return refusal(problem)
	case errors.As(err, &usage):
		fmt.Fprintf(a.stderr, "piper: %v\n", err)
		if usage.hint != "" {
			fmt.Fprintf(a.stderr, "hint: %s\n", usage.hint)
		}
		return exitUsage
	default:
		fmt.Fprintf(a.stderr, "piper: %v\n", err)
		if hinted := (*hintedError)(nil); errors.As(err, &hinted) {
			fmt.Fprintf(a.stderr, "hint: %s\n", hinted.hint)
		}
		return exitInfra
	}
}

// An exitStatus ends piper with a code. What there is to say has been said.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// A usageError is a command line that cannot be carried out as it stands.
type usageError struct {
	message string
	hint    string // what to do; "" when the message says it
}

func (e *usageError) Error() string { return e.message }

// A hintedError is an error of the machine with what to do about it.
type hintedError struct {
	error
	hint string
}

func (e *hintedError) Unwrap() error { return e.error }

// usagef makes a usageError without a hint.
func usagef(format string, args ...any) error {
	return &usageError{message: fmt.Errorf(format, args...).Error()}
}

// env returns the value of an environment variable, "" when it is not set.
func (a *app) env(name string) string {
	value, _ := a.lookupEnv(name)
	return value
}

// lookupEnv is os.LookupEnv for the environment the app was given: the last
// of several values counts.
func (a *app) lookupEnv(name string) (string, bool) {
	for i := len(a.environ) - 1; i >= 0; i-- {
		if value, ok := strings.CutPrefix(a.environ[i], name+"="); ok {
			return value, true
		}
	}
	return "", false
}

// path makes a path of the command line absolute.
func (a *app) path(p string) string {
	if filepath.IsAbs(p) {
		return filepath.Clean(p)
	}
	return filepath.Join(a.dir, p)
}

// userDir is Piper's own directory of one of the kinds that XDG knows: below
// what the variable names, or else below home. It is "" for a user without a
// home.
func (a *app) userDir(variable, below string) string {
	if dir := a.env(variable); filepath.IsAbs(dir) {
		return filepath.Join(dir, "piper")
	}
	if home := a.env("HOME"); home != "" {
		return filepath.Join(home, below, "piper")
	}
	return ""
}
