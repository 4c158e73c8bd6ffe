package isolate

import (
	"context"
	"errors"
	"fmt"

	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/starlark"
)

// A Session is a starlark.Session in a child, with the same methods. Each input
// has the limits of an evaluation to itself; memory is for all of them.
//
// An input may end the child, and with it all that was typed and loaded: the
// error is a *Lost then. The next thing that is asked begins a new child, in
// which nothing is evaluated.
//
// When the context of an input is done the input is interrupted. The child is
// killed only if that does not help at once.
type Session struct {
	evaluator *Evaluator
	asked     starlark.Request
	done      func() error  // closes the tree
	child     *conversation // nil when there is none
	warnings  plan.Diagnostics
	lost      error // that nobody was told of yet
}

// A Lost is the error of an input that ended the child of its session.
type Lost struct{ Err error }

func (l *Lost) Error() string { return l.Err.Error() }
func (l *Lost) Unwrap() error { return l.Err }

// Open is starlark.Open in a child.
func (e *Evaluator) Open(r starlark.Request) (*Session, error) {
	r.Source = nil
	s := &Session{evaluator: e, asked: r}
	if err := s.begin(); err != nil {
		if s.done != nil {
			s.done()
		}
		return nil, err
	}
	return s, nil
}

// begin begins a child.
func (s *Session) begin() error {
	ctx := context.Background()
	c, done, err := s.evaluator.begin(ctx, &s.asked)
	if err != nil {
		return err
	}
	if s.done == nil {
		s.done = done
	}
	c.gentle = true
	out, err := c.call(ctx, openSession, newRequest(&s.asked), newLibrary(&s.asked))
	if err == nil {
		err = out.err
	}
	if err != nil {
		c.reap()
		return err
	}
	s.child = c
	return nil
}

// Close gives back what s holds. It cannot be used any more.
func (s *Session) Close() error {
	if s.child != nil {
		s.child.reap()
	}
	return s.done()
}

// ask asks for an input.
func (s *Session) ask(ctx context.Context, in input) (account, error) {
	if err := s.lost; err != nil {
		s.lost = nil
		return account{}, err
	}
	if err := ctx.Err(); err != nil {
		return account{}, fmt.Errorf("evaluate %s: %w", s.asked.File, err)
	}
	if s.child == nil {
		if err := s.begin(); err != nil {
			return account{}, err
		}
	}
	out, err := s.child.call(ctx, say, in, newLibrary(&s.asked))
	if err == nil && (in.Do == doPlan || in.Do == doPlanFlow) {
		err = s.child.planned(ctx, out)
	}
	if err != nil {
		s.child = nil
		var found plan.Diagnostics
		if errors.As(err, &found) && in.Line > 0 {
			found[0].File, found[0].Line, found[0].Column = starlark.Typed, in.Line, 1
		}
		return account{}, &Lost{err}
	}
	s.warnings = out.Warnings
	if err := ctx.Err(); err != nil && out.err != nil {
		return account{}, fmt.Errorf("evaluate %s: %w", s.asked.File, err)
	}
	return out.account, out.err
}

// look asks what nothing is evaluated for. It has no error to return, so what
// there is of them the next input is told.
func (s *Session) look(do, text string) account {
	if s.lost != nil {
		return account{}
	}
	a, err := s.ask(context.Background(), input{Do: do, Text: []byte(text)})
	var lost *Lost
	if errors.As(err, &lost) {
		s.lost = err
	}
	return a
}

// Reload reads the file again, and all that was loaded.
func (s *Session) Reload(ctx context.Context) error {
	_, err := s.ask(ctx, input{Do: doReload})
	return err
}

// Load binds all that a file of the tree defines.
func (s *Session) Load(ctx context.Context, name string) error {
	_, err := s.ask(ctx, input{Do: doLoad, Text: []byte(name)})
	return err
}

// Run executes an input.
func (s *Session) Run(ctx context.Context, text string, line int) (starlark.Value, error) {
	a, err := s.ask(ctx, input{Do: doRun, Text: []byte(text), Line: line})
	return a.Value, err
}

// Type returns the type of an expression.
func (s *Session) Type(ctx context.Context, text string, line int) (string, error) {
	a, err := s.ask(ctx, input{Do: doType, Text: []byte(text), Line: line})
	return a.Value.Text, err
}

// Plan plans a pipeline.
func (s *Session) Plan(ctx context.Context, q starlark.Question) (starlark.Result, error) {
	return s.plan(ctx, input{Do: doPlan, Pipeline: q.Pipeline, Params: asBytes(q.Params), Environment: q.Environment})
}

// PlanFlow plans a flow that an expression gives.
func (s *Session) PlanFlow(ctx context.Context, text string, line int) (starlark.Result, error) {
	return s.plan(ctx, input{Do: doPlanFlow, Text: []byte(text), Line: line})
}

func (s *Session) plan(ctx context.Context, in input) (starlark.Result, error) {
	a, err := s.ask(ctx, in)
	if err == nil && a.Expands {
		a.Expand = s.child.expander(ctx, a.Plan)
	}
	return a.Result, err
}

// Catalog returns what is registered.
func (s *Session) Catalog() plan.Catalog { return s.look(doCatalog, "").Catalog }

// Warnings returns the remarks about what was done last.
func (s *Session) Warnings() plan.Diagnostics { return s.warnings }

// Names returns all that an input can name.
func (s *Session) Names() []string { return s.look(doNames, "").Names }

// Attrs returns what can stand after the dot of a name.
func (s *Session) Attrs(path string) []string { return s.look(doAttrs, path).Names }

// Params returns the names of the parameters of a function.
func (s *Session) Params(path string) []string { return s.look(doParams, path).Names }

// Files returns the files of the tree that can be loaded.
func (s *Session) Files(begin string) []string { return s.look(doFiles, begin).Names }

// Doc returns how a function is called, and what it says of itself.
func (s *Session) Doc(path string) string { return s.look(doDoc, path).Value.Text }

// Word returns the name that the language has for a builtin.
func (s *Session) Word(path string) string { return s.look(doWord, path).Value.Text }
