package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/piper-build/piper/cmd/piper/progress"
	"github.com/piper-build/piper/runtime"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/process"
)

// openShell lets the person look around where a step has just failed with res.
// The attempt ends when the shell does, whatever was done in it.
func (e *execution) openShell(ctx context.Context, display progress.Display, j *job, t runtime.Task, res runtime.Result) {
	if ctx.Err() != nil {
		return
	}
	if !isTerminal(e.stdin) {
		fmt.Fprintf(e.stderr, "piper: no shell for %s: standard input is no terminal\n", t.Node.Name)
		return
	}
	j.turn.Lock()
	defer j.turn.Unlock()
	defer progress.Suspend(display)()

	shell := e.env("SHELL")
	if shell == "" {
		shell = "/bin/sh"
	}
	dir := filepath.Join(t.Workspace, filepath.FromSlash(t.Dir))
	how := "failed"
	switch {
	case res.State == build.TimedOut:
		how = "timed out"
	case res.Exit != nil:
		how = fmt.Sprintf("failed with exit %d", *res.Exit)
	}
	fmt.Fprintf(e.stderr, "piper: %s %s; this is %s in %s, with its environment. Leave it to go on.\n", t.Node.Name, how, shell, dir)
	err := process.Interactive(ctx, dir, t.Env, []string{shell}, e.stdin, e.stderr, e.stderr)
	var exit *process.ExitError
	if err != nil && !errors.As(err, &exit) { // how the shell was left says nothing
		fmt.Fprintf(e.stderr, "piper: %v\n", err)
	}
}
