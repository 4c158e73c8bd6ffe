package isolate

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"sync"
	"time"

	"github.com/piper-build/piper/builtins"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/starlark"
)

// A conversation is the parent's end of what it and one child say to each other:
// one call after the other, each of which the child answers with a result. One
// goroutine at a time has it.
type conversation struct {
	process Process
	frames  *frameReader
	request *starlark.Request
	words   words
	life    context.Context // of all calls
	gentle  bool            // a call whose ctx is done is interrupted, and killed only if that is no use

	begun   time.Time     // when the first call began: before there was a child
	grace   time.Duration // beyond the limit on time
	seconds int           // of processor time for each call
	calls   int
	printed int // bytes, in this call

	mu      sync.Mutex    // guards why
	why     stop          // the first reason to kill the child
	stopped chan struct{} // closed when there is one

	once  sync.Once
	ended chan struct{} // closed when end is known
	end   error         // what the child's end says
}

// words are how messages call what is evaluated, and what gives it more time.
type words struct{ subject, longer string }

var (
	ofEvaluation = words{"evaluation", "the setting max_time"}
	ofTests      = words{"reading the tests", "--timeout"}
	ofTest       = words{"the test", "--timeout"}
)

// stop is why a parent kills its child.
type stop int

const (
	notStopped stop = iota
	cancelled       // ctx is done
	tooLate         // patience is over
)

// begin takes a child for r, which it completes. done closes the tree, if it was
// opened here.
func (e *Evaluator) begin(ctx context.Context, r *starlark.Request) (c *conversation, done func() error, err error) {
	begun := time.Now()
	r.Limits = r.Limits.WithDefaults()
	r.File = path.Clean(filepath.ToSlash(cmp.Or(r.File, "PIPER.star")))
	if err := ctx.Err(); err != nil {
		return nil, nil, fmt.Errorf("evaluate %s: %w", r.File, err)
	}
	done = func() error { return nil }
	if r.Tree == nil {
		dir, err := starlark.OpenDir(r.Root, r.Files)
		if err != nil {
			return nil, nil, err
		}
		r.Tree, done = dir, dir.Close
	}
	wanted := limitsOf(r.Limits)
	p, err := e.take(wanted)
	if err != nil {
		done()
		return nil, nil, fmt.Errorf("evaluate %s: %w", r.File, err)
	}
	return &conversation{
		process: p, frames: newFrameReader(p, maxPart), request: r, words: ofEvaluation, life: ctx,
		begun: begun, grace: e.grace(), seconds: wanted.seconds,
		stopped: make(chan struct{}), ended: make(chan struct{}),
	}, done, nil
}

// call has the child do one thing, and hears it out. l answers what it asks.
func (c *conversation) call(ctx context.Context, kind byte, what any, l *library) (*result, error) {
	release := c.bound(ctx)
	out, err := c.converse(kind, encode(what), l)
	if err == nil && !release() {
		return out, nil
	}
	defer release()
	return nil, c.lost(ctx, cmp.Or(err, errFrame)) // no err: it was killed when all had been said
}

// planned checks that a call that was to give a plan has given one, or an error.
func (c *conversation) planned(ctx context.Context, out *result) error {
	if out.Plan != nil || out.err != nil {
		return nil
	}
	return c.lost(ctx, fmt.Errorf("%w: no plan", errFrame))
}

// bound has the child killed when ctx is done or patience is over. The function
// it returns ends that, and reports whether it has happened.
func (c *conversation) bound(ctx context.Context) (release func() bool) {
	over := false // guarded by c.mu
	kill := func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if over {
			return
		}
		if c.why == notStopped {
			c.why = tooLate
			if ctx.Err() != nil {
				c.why = cancelled
			}
			close(c.stopped)
		}
		c.process.Kill()
	}
	patience := c.request.Limits.Time + c.grace
	if c.calls == 0 {
		patience -= time.Since(c.begun)
	}
	timer := time.AfterFunc(patience, kill)
	unwatch := context.AfterFunc(ctx, func() {
		if c.gentle {
			c.process.Interrupt()
			time.AfterFunc(c.grace, kill)
			return
		}
		kill()
	})
	return func() bool {
		timer.Stop()
		unwatch()
		c.mu.Lock()
		defer c.mu.Unlock()
		over = true
		return c.why != notStopped
	}
}

// converse sends a frame, and hears the child out.
func (c *conversation) converse(kind byte, payload []byte, l *library) (*result, error) {
	c.printed = 0
	sent := c.allow()
	if sent == nil {
		sent = writeFrame(c.process, kind, payload) // a child that is dead already has said why
	}
	out := newResult(c.request)
	for {
		f, err := c.frames.next()
		switch {
		case err == io.EOF && sent != nil:
			return nil, sent
		case err != nil:
			return nil, err
		}
		switch f.kind {
		case hello:
		case question:
			err = l.answer(c.process, f)
		case printed:
			err = c.print(f)
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

// allow lets the child have the processor time of one more call. That of the
// first it has.
func (c *conversation) allow() error {
	if c.calls++; c.calls == 1 {
		return nil
	}
	return allowTime(c.process.Pid(), c.calls*c.seconds)
}

// expander returns what has the functions of p's expands called, until life is
// done.
func (c *conversation) expander(life context.Context, p *plan.Plan) starlark.Expander {
	var turn sync.Mutex
	known := plan.NewLineage(p)
	return func(ctx context.Context, node string, outputs map[string]string) (plan.Expansion, error) {
		turn.Lock()
		defer turn.Unlock()
		for _, ctx := range []context.Context{ctx, life} {
			if err := ctx.Err(); err != nil {
				return plan.Expansion{}, fmt.Errorf("expand %q: %w", node, err)
			}
		}
		out, err := c.call(ctx, expand, growth{Node: node, Outputs: asBytes(outputs)}, &library{})
		if err == nil && out.err == nil {
			if err = c.grow(known, node, out.Expansion); err != nil {
				err = c.lost(ctx, err)
			}
		} else if err == nil {
			err = out.err
		}
		if err != nil {
			return plan.Expansion{}, err
		}
		return out.Expansion, nil
	}
}

// grow checks that what an expand found fits into its plan.
func (c *conversation) grow(known *plan.Lineage, node string, found plan.Expansion) error {
	wrong, err := known.Add(node, found, c.request.Limits.Nodes)
	if err != nil {
		return fmt.Errorf("%w: %w", errFrame, err)
	}
	return invalid(wrong)
}

// maxWarning is how much longer than the limit the last line may be, which says
// that there was more.
const maxWarning = 1 << 10

// print passes on what the file prints. The child holds to the limit.
func (c *conversation) print(f frame) error {
	var l line
	if err := f.decode(printed, &l); err != nil {
		return err
	}
	c.printed += len(l.Message) + 1
	if c.request.Print == nil || c.printed > c.request.Limits.Output+maxWarning {
		return fmt.Errorf("%w: more than may be printed", errFrame)
	}
	l.Pos.File = builtins.Visible(l.Pos.File)
	c.request.Print(l.Pos, builtins.Visible(l.Message))
	return nil
}

// reap ends the child. What it returns is closed when it is known how that
// ended, which may take as long as the kernel does to free its memory.
func (c *conversation) reap() (ended <-chan struct{}) {
	c.once.Do(func() {
		c.process.Kill()
		go func() {
			defer close(c.ended)
			status, stderr, err := c.process.Wait()
			if c.end = err; err == nil {
				c.end = c.verdict(status, stderr)
			}
		}()
	})
	return c.ended
}
