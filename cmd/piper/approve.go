package main

import (
	"context"
	"errors"
	"fmt"
	"io"
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
	prompt := node.Approve().Prompt
	if prompt == "" {
		prompt = "go on?"
	}
	yes, err := e.confirm(ctx, node.Name+": "+prompt)
	if err != nil {
		return runtime.Approval{}, err
	}
	return runtime.Approval{Approved: yes, By: by}, nil
}

// confirm asks the person at the terminal whether to go on.
func (e *execution) confirm(ctx context.Context, question string) (yes bool, err error) {
	fmt.Fprintf(e.stderr, "%s [y/N] ", question)
	answer, err := e.readLine(ctx)
	if err != nil {
		fmt.Fprintln(e.stderr)
		return false, err
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return true, nil
	}
	return false, nil
}

// readLine reads a line of standard input, and not a byte more: what follows
// may be for a shell. A read that nobody answers cannot be taken back: when ctx
// is done first, it goes on until piper ends, and the next call takes its line.
func (e *execution) readLine(ctx context.Context) (string, error) {
	if e.answer == nil {
		answer := make(chan lineRead, 1)
		e.answer = answer
		go func() {
			line, err := readLine(e.stdin)
			answer <- lineRead{line, err}
		}()
	}
	select {
	case read := <-e.answer:
		e.answer = nil
		return read.line, read.err
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

type lineRead struct {
	line string
	err  error
}

func readLine(r io.Reader) (string, error) {
	var line []byte
	for b := make([]byte, 1); ; {
		n, err := r.Read(b)
		switch {
		case n == 1 && b[0] == '\n':
			return string(line), nil
		case n == 1:
			line = append(line, b[0])
		case errors.Is(err, io.EOF) && len(line) > 0:
			return string(line), nil
		case err != nil:
			return "", fmt.Errorf("read the answer: %w", err)
		}
	}
}
