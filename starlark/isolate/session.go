package isolate

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/piper-build/piper/builtins"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/starlark"
)

// A session is the parent's end of one conversation, from the request to the
// last call of the Expander. One goroutine at a time has it.
type session struct {
	ctx      context.Context // of the evaluation, and of all calls
	process  Process
	frames   *frameReader
	request  *starlark.Request
	library  library
	patience time.Duration // with one evaluation, and with one call
	seconds  int           // of processor time for each
	calls    int           // of the Expander
	printed  int           // bytes, in this evaluation or call
	known    *plan.Lineage // nil without an Expander

	mu   sync.Mutex // guards why
	why  stop       // the first reason to kill the child
	once sync.Once
	end  error // what the child's end says, after once
}

// stop is why a parent kills its child.
type stop int

const (
	notStopped stop = iota
	cancelled       // ctx is done
	tooLate         // patience is over
)

// evaluate has the request evaluated.
func (s *session) evaluate() (starlark.Result, error) {
	ctx := s.ctx
	release := s.bound(ctx)
	outcome, err := s.converse(func() error {
		r := s.request
		return writeFrame(s.process, evaluate, encode(request{
			File: r.File, Source: r.Source, Read: r.Source == nil,
			CatalogOnly: r.CatalogOnly, All: r.All, Pipeline: r.Pipeline, Params: asBytes(r.Params), Environment: r.Environment,
			Event: r.Event, Piper: r.Piper, Limits: r.Limits,
			Git: r.Git != nil, Environ: r.Environ != nil, Print: r.Print != nil,
		}))
	})
	stopped := release()
	s.library = library{} // the tree is the caller's again
	if err == nil && stopped {
		err = errFrame // it was killed when all had been said
	}
	if err != nil {
		return starlark.Result{}, s.lost(ctx, err)
	}
	result := starlark.Result{Catalog: outcome.catalog, Plan: outcome.plan, Warnings: outcome.warnings}
	if !outcome.expands {
		s.finish()
		return result, outcome.err
	}
	s.known = plan.NewLineage(result.Plan)
	// The child lives as long as ctx does: who waits for it then is a goroutine.
	var turn sync.Mutex
	result.Expand = func(call context.Context, node string, outputs map[string]string) (plan.Expansion, error) {
		turn.Lock()
		defer turn.Unlock()
		return s.expand(call, node, outputs)
	}
	context.AfterFunc(ctx, s.finish)
	return result, nil
}

// expand has a function of the plan's file called.
func (s *session) expand(ctx context.Context, node string, outputs map[string]string) (plan.Expansion, error) {
	for _, ctx := range []context.Context{ctx, s.ctx} {
		if err := ctx.Err(); err != nil {
			return plan.Expansion{}, fmt.Errorf("expand %q: %w", node, err)
		}
	}
	s.calls++
	release := s.bound(ctx)
	outcome, err := s.converse(func() error {
		if err := allowTime(s.process.Pid(), (s.calls+1)*s.seconds); err != nil {
			return err
		}
		return writeFrame(s.process, expand, encode(call{Node: node, Outputs: asBytes(outputs)}))
	})
	if release() && err == nil {
		err = errFrame
	}
	if err != nil {
		return plan.Expansion{}, s.lost(ctx, err)
	}
	if outcome.err != nil {
		return plan.Expansion{}, outcome.err
	}
	if err := s.grow(node, outcome.expansion); err != nil {
		return plan.Expansion{}, s.lost(ctx, err)
	}
	return outcome.expansion, nil
}

// grow checks that what an expand found fits into its plan.
func (s *session) grow(node string, found plan.Expansion) error {
	wrong, err := s.known.Add(node, found, s.request.Limits.Nodes)
	if err != nil {
		return fmt.Errorf("%w: %w", errFrame, err)
	}
	return invalid(wrong)
}

// bound has the child killed when ctx is done or patience is over. The function
// it returns ends that, and reports whether it has happened.
func (s *session) bound(ctx context.Context) (release func() bool) {
	kill := func(why stop) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.why == notStopped {
			s.why = why
		}
		s.process.Kill()
	}
	timer := time.AfterFunc(s.patience, func() { kill(tooLate) })
	unwatch := context.AfterFunc(ctx, func() { kill(cancelled) })
	return func() bool {
		timer.Stop()
		unwatch()
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.why != notStopped
	}
}

// converse sends what begin sends, and hears the child out.
func (s *session) converse(begin func() error) (*result, error) {
	s.printed = 0
	sent := begin() // a child that is dead already has said why
	out := newResult(s.request)
	for {
		f, err := s.frames.next()
		switch {
		case err == io.EOF && sent != nil:
			return nil, sent
		case err != nil:
			return nil, err
		}
		switch f.kind {
		case hello:
		case question:
			var q query
			if err = f.decode(question, &q); err == nil {
				err = s.library.answer(s.process, q)
			}
		case printed:
			err = s.print(f)
		case part:
			err = out.add(f)
		case outcome:
			return out, out.finish(f)
		default:
			err = fmt.Errorf("%w: a frame %q", errFrame, f.kind)
		}
		if err != nil {
			return nil, err
		}
	}
}

// maxWarning is how much longer than the limit the last line may be, which says
// that there was more.
const maxWarning = 1 << 10

// print passes on what the file prints. The child holds to the limit.
func (s *session) print(f frame) error {
	var l line
	if err := f.decode(printed, &l); err != nil {
		return err
	}
	s.printed += len(l.Message) + 1
	if s.request.Print == nil || s.printed > s.request.Limits.Output+maxWarning {
		return fmt.Errorf("%w: more than may be printed", errFrame)
	}
	l.Pos.File = builtins.Visible(l.Pos.File)
	s.request.Print(l.Pos, builtins.Visible(l.Message))
	return nil
}

// finish ends the child, once, and keeps what its end says.
func (s *session) finish() {
	s.once.Do(func() {
		s.process.Kill()
		status, stderr, err := s.process.Wait()
		if s.end = err; err == nil {
			s.end = s.verdict(status, stderr)
		}
	})
}
