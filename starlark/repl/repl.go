// Package repl is a conversation about pipelines: somebody types, a
// starlark.Session evaluates, and what comes of it is shown.
//
// An input is one or several lines of the language, or a command, which begins
// with a colon. A statement that is not complete (an open bracket, the body of a
// def, for or if) goes on over the lines that follow; a body ends with an empty
// line, or with a line that is no part of it. What an input cannot do is
// reported, and the conversation goes on.
//
// Lines come from an Editor: a Terminal, with a prompt, history and completion,
// or a Pipe, without. Beside its own commands a REPL has those that its owner
// gives it: the package knows nothing of running or drawing plans.
package repl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/starlark"
)

// An Editor reads lines from a person or a pipe.
type Editor interface {
	// Line returns the next line, without its end. prompt asks for it.
	// ErrInterrupted drops what was typed so far; io.EOF ends the conversation.
	Line(prompt string) (string, error)
}

var (
	// ErrInterrupted says that somebody pressed Ctrl-C.
	ErrInterrupted = errors.New("interrupted")
	// ErrTooLong says that a line is longer than anybody types. It was dropped.
	ErrTooLong = errors.New("the input is too long")
)

// maxInput is how many bytes of one input are kept in memory. What an input may
// have is for the Session to say, and far less.
const maxInput = 16 << 20

// A Session evaluates what is typed: a starlark.Session, or what does as one in
// another process.
type Session interface {
	Run(ctx context.Context, text string, line int) (starlark.Value, error)
	Type(ctx context.Context, text string, line int) (string, error)
	Load(ctx context.Context, name string) error
	Reload(ctx context.Context) error
	Warnings() plan.Diagnostics

	Names() []string
	Attrs(path string) []string
	Params(path string) []string
	Files(begin string) []string
}

// A REPL is one conversation. All fields but Commands must be set.
type REPL struct {
	Session  Session
	Editor   Editor
	Out      io.Writer
	Report   func(error) // tells what went wrong: a plan.Diagnostics, or what a command returned
	Commands []Command   // beside its own

	lines   int     // that were read
	begun   *scan   // the input that is being typed
	held    *string // a line that was read and belongs to the next input
	column  int     // how many characters of a command stand before its arguments
	leaving bool
}

// A Command is what a line that begins with ":" and its name does.
type Command struct {
	Name string // without the colon
	Args string // how its arguments are written: "[pipeline]"
	Doc  string // one line
	Run  func(ctx context.Context, args string) error
	// Complete returns what the last word of the arguments may become. nil
	// completes as in the language.
	Complete func(ctx context.Context, word string) []string
}

// The prompts.
const (
	first  = ">>> "
	follow = "... "
)

// Run has the conversation. It returns when the other side has nothing more to
// say, or said ":quit". The error is the Editor's.
func (r *REPL) Run(ctx context.Context) error {
	r.Commands = append(r.own(), r.Commands...)
	for !r.leaving {
		text, err := r.input()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case errors.Is(err, ErrInterrupted):
			continue
		case errors.Is(err, ErrTooLong):
			r.Report(plan.Diagnostics{{File: starlark.Typed, Line: r.lines, Column: 1, Severity: "error", Code: "too-large",
				Message: err.Error(), Hint: "put it into a file, and :load that"}})
			continue
		case err != nil:
			return fmt.Errorf("read a line: %w", err)
		}
		if strings.TrimSpace(text) == "" {
			continue
		}
		if err := r.do(ctx, text); err != nil {
			r.Report(err)
		}
	}
	return nil
}

// input reads lines until they make a complete input. One that is too long is
// read to its end, and dropped: what is left of it is no input of its own.
func (r *REPL) input() (string, error) {
	r.begun = &scan{}
	var text strings.Builder
	long := false
	complete := func() (string, error) {
		if long {
			return "", ErrTooLong
		}
		return text.String(), nil
	}
	for {
		prompt := first
		if text.Len() > 0 {
			prompt = follow
		}
		line, err := r.line(prompt)
		if errors.Is(err, io.EOF) && text.Len() > 0 {
			return complete()
		}
		if err != nil {
			return "", err
		}
		if len(line) > maxInput {
			return "", ErrTooLong
		}
		if text.Len() > 0 && r.begun.endsBefore(line) {
			r.held = &line
			r.lines--
			return complete()
		}
		if long = long || text.Len()+len(line) > maxInput; !long {
			text.WriteString(line + "\n")
		}
		if text.Len() == len(line)+1 && strings.HasPrefix(strings.TrimLeft(line, " "), ":") {
			return line, nil
		}
		if r.begun.add(line); !r.begun.open() {
			return complete()
		}
	}
}

// line reads one line.
func (r *REPL) line(prompt string) (string, error) {
	var line string
	var err error
	if r.held != nil {
		line, r.held = *r.held, nil
	} else {
		line, err = r.Editor.Line(prompt)
	}
	if err == nil || errors.Is(err, ErrTooLong) {
		r.lines++
	}
	return line, err
}

// do carries out an input. In a terminal Ctrl-C ends it.
func (r *REPL) do(ctx context.Context, text string) error {
	if _, terminal := r.Editor.(*Terminal); terminal {
		var stop func()
		ctx, stop = interruptible(ctx)
		defer stop()
	}
	err := r.carryOut(ctx, text)
	if errors.Is(err, context.Canceled) {
		return interrupted{err}
	}
	return err
}

// An interrupted is ErrInterrupted, and what came of it.
type interrupted struct{ error }

func (i interrupted) Is(target error) bool { return target == ErrInterrupted }
func (i interrupted) Unwrap() error        { return i.error }

// interruptible returns a context that is done at Ctrl-C, as long as stop was
// not called.
func interruptible(parent context.Context) (ctx context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(parent)
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, os.Interrupt)
	go func() {
		select {
		case <-caught:
			cancel(ErrInterrupted)
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(caught)
		cancel(nil)
	}
}

func (r *REPL) carryOut(ctx context.Context, text string) error {
	if rest, ok := strings.CutPrefix(strings.TrimLeft(text, " "), ":"); ok {
		name, args, _ := strings.Cut(rest, " ")
		c, err := r.command(name)
		if err == nil {
			r.column = len(text) - len(args)
			err = c.Run(ctx, strings.TrimSpace(args))
		}
		return r.inLine(text, err)
	}
	v, err := r.Session.Run(ctx, text, r.Line(text))
	if err == nil && len(r.Session.Warnings()) > 0 {
		err = r.Session.Warnings()
	}
	if v.Text != "" {
		fmt.Fprintln(r.Out, v.Text)
	}
	return err
}

// inLine has err, about a command, show all of the line that it stands in.
func (r *REPL) inLine(line string, err error) error {
	var found plan.Diagnostics
	if errors.As(err, &found) {
		for i := range found {
			if found[i].File == starlark.Typed && found[i].Line == r.lines {
				found[i].Excerpt = line
			}
		}
	}
	return err
}

// Line returns the line in which text, the input that is being carried out,
// begins.
func (r *REPL) Line(text string) int {
	return r.lines - strings.Count(strings.TrimSuffix(text, "\n"), "\n")
}

// InPlace returns the arguments of the command that is being carried out with
// as much space before them as there is in its line, for the Session to say
// where something is.
func (r *REPL) InPlace(args string) string { return strings.Repeat(" ", r.column) + args }

// command finds a command by its name, or by how that begins.
func (r *REPL) command(name string) (Command, error) {
	var found []Command
	var names []string
	for _, c := range r.Commands {
		if c.Name == name {
			return c, nil
		}
		if name != "" && strings.HasPrefix(c.Name, name) {
			found = append(found, c)
		}
		names = append(names, c.Name)
	}
	if len(found) == 1 {
		return found[0], nil
	}
	hint := ":help lists the commands"
	if near, ok := plan.Nearest(name, names); ok {
		hint = "did you mean :" + near + "?"
	}
	if len(found) > 1 {
		hint = "it could be :" + found[0].Name + " or :" + found[1].Name
	}
	return Command{}, plan.Diagnostics{{File: starlark.Typed, Line: r.lines, Column: 1, End: 2 + utf8.RuneCountInString(name),
		Severity: "error", Code: "unknown-command", Message: fmt.Sprintf("there is no command %q", ":"+name), Hint: hint}}
}

// own returns the commands that every REPL has.
func (r *REPL) own() []Command {
	none := func(context.Context, string) []string { return nil }
	return []Command{
		{Name: "help", Doc: "list the commands", Complete: none, Run: func(context.Context, string) error { return r.help() }},
		{Name: "type", Args: "EXPRESSION", Doc: "say what type a value is of", Run: func(ctx context.Context, args string) error {
			text, err := r.Session.Type(ctx, r.InPlace(args), r.lines)
			if err == nil {
				fmt.Fprintln(r.Out, text)
			}
			return err
		}},
		{Name: "load", Args: "FILE", Doc: "bind all that a file of the tree defines", Complete: r.starFiles, Run: func(ctx context.Context, args string) error {
			return r.Session.Load(ctx, args)
		}},
		{Name: "reload", Doc: "read PIPER.star again, and what was loaded", Complete: none, Run: func(ctx context.Context, _ string) error {
			return r.Session.Reload(ctx)
		}},
		{Name: "quit", Doc: "leave (as does Ctrl-D)", Complete: none, Run: func(context.Context, string) error {
			r.leaving = true
			return nil
		}},
	}
}

func (r *REPL) help() error {
	w := tabwriter.NewWriter(r.Out, 0, 0, 2, ' ', 0)
	for _, c := range r.Commands {
		fmt.Fprintf(w, ":%s\t%s\n", strings.TrimSpace(c.Name+" "+c.Args), c.Doc)
	}
	fmt.Fprint(w, "\nAnything else is evaluated; _ is the last value, ctx what a pipeline is given.\n")
	return w.Flush()
}
