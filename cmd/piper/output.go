package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"

	"golang.org/x/term"

	"github.com/piper-build/piper/runtime/plan"
)

// output is standard output: where results go. Its reader may leave early, as
// head does; that is no error, and what is written after it goes nowhere. Any
// other error is kept until the command has ended.
type output struct {
	to  io.Writer
	err error
}

func (o *output) Write(p []byte) (int, error) {
	if o.err == nil {
		_, o.err = o.to.Write(p)
	}
	return len(p), nil
}

// failure returns why results were lost, or nil.
func (o *output) failure() error {
	if o.err == nil || errors.Is(o.err, syscall.EPIPE) {
		return nil
	}
	return fmt.Errorf("write the result: %w", o.err)
}

// isTerminal reports whether w is a terminal.
func isTerminal(w any) bool {
	if o, ok := w.(*output); ok {
		w = o.to
	}
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// colored reports whether to write colours to w.
func (a *app) colored(w io.Writer) bool {
	switch a.color {
	case "always":
		return true
	case "never":
		return false
	}
	return isTerminal(w) && a.env("NO_COLOR") == "" && a.env("TERM") != "dumb"
}

// problemsFor says how diagnostics go to standard output.
type problemsFor int

const (
	people  problemsFor = iota // not at all: people read standard error
	asArray                    // as a JSON array, for --json
	asLines                    // as JSON objects of kind "diagnostic", for --progress=json
)

// printDiagnostics tells people what is wrong, and the program that reads
// standard output, if there is one.
func (a *app) printDiagnostics(ds plan.Diagnostics) {
	switch a.problems {
	case asArray:
		a.printJSON(ds)
	case asLines:
		e := json.NewEncoder(a.stdout)
		e.SetEscapeHTML(false)
		for _, d := range ds {
			e.Encode(struct {
				Kind string `json:"kind"`
				plan.Diagnostic
			}{"diagnostic", d})
		}
	}
	fmt.Fprintln(a.stderr, strings.TrimRight(ds.Error(), "\n"))
}
