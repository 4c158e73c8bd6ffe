package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/piper-build/piper/cmd/piper/progress"
	"github.com/piper-build/piper/runtime"
	"github.com/piper-build/piper/runtime/process"
)

// openShell lets the person look around where a step has just failed. The
// attempt ends when the shell does, whatever was done in it.
func (e *execution) openShell(ctx context.Context, display progress.Display, j *job, t runtime.Task) {
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
	fmt.Fprintf(e.stderr, "piper: %s failed; this is %s in %s, with its environment. Leave it to go on.\n", t.Node.Name, shell, dir)
	err := process.Interactive(ctx, dir, t.Env, []string{shell}, e.stdin, e.stderr, e.stderr)
	var exit *process.ExitError
	if err != nil && !errors.As(err, &exit) { // how the shell was left says nothing
		fmt.Fprintf(e.stderr, "piper: %v\n", err)
	}
}
