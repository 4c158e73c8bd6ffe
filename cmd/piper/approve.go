package main

import (
	"bufio"
	"context"
	"fmt"
	"strings"

	"github.com/piper-build/piper/cmd/piper/progress"
	"github.com/piper-build/piper/runtime"
	"github.com/piper-build/piper/runtime/plan"
)

// approve asks the person at the terminal.
func (e *execution) approve(ctx context.Context, display progress.Display, j *job, node *plan.Node) (runtime.Approval, error) {
	by := e.env("USER")
	if e.yes {
		return runtime.Approval{Approved: true, By: by, Reason: "--yes"}, nil
	}
	if !isTerminal(e.stdin) {
		return runtime.Approval{Reason: "there is nobody to ask, as standard input is no terminal; --yes approves"}, nil
	}
	j.turn.Lock()
	defer j.turn.Unlock()
	if ctx.Err() != nil {
		return runtime.Approval{}, context.Cause(ctx)
	}
	defer progress.Suspend(display)()
	prompt := node.Approve.Prompt
	if prompt == "" {
		prompt = "go on?"
	}
	fmt.Fprintf(e.stderr, "%s: %s [y/N] ", node.Name, prompt)
	answer, err := e.readLine(ctx)
	if err != nil {
		fmt.Fprintln(e.stderr)
		return runtime.Approval{}, err
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return runtime.Approval{Approved: true, By: by}, nil
	}
	return runtime.Approval{By: by}, nil
}

// readLine reads a line of standard input. A read that nobody answers cannot
// be taken back: when ctx is done first, it goes on until piper ends, and the
// next call takes up its line.
func (e *execution) readLine(ctx context.Context) (string, error) {
	if e.lines == nil {
		lines := make(chan string)
		e.lines = lines
		go func() {
			defer close(lines)
			in := bufio.NewScanner(e.stdin)
			for in.Scan() {
				lines <- in.Text()
			}
		}()
	}
	select {
	case line, ok := <-e.lines:
		if !ok {
			return "", fmt.Errorf("read the answer: standard input has ended")
		}
		return line, nil
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}
