package logs

import (
	"context"
	"iter"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

// A Watch is how Follow learns that there is more. The zero Watch looks once a
// second, for ever.
type Watch struct {
	Hints <-chan store.Hint // of store.Builds.Watch: look now; nil, or closed, is none
	Poll  time.Duration     // look at least as often; 0 is a second

	// Live is heard before the store is asked; nil is not.
	Live *Live

	// Ended reports whether nothing more will come; nil never does.
	Ended func(ctx context.Context) (bool, error)
}

// Follow yields the lines from number from on, and goes on with those that are
// to come until the attempt has ended or ctx is done, which is no error. A line
// is yielded when it has ended, or nothing more will come.
func (r *Reader) Follow(ctx context.Context, node string, attempt int, from int64, w Watch) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		err := r.follow(ctx, newLines(r.chunk(node, attempt), from, 0, yield), w)
		if err != nil && ctx.Err() == nil {
			yield(Line{}, problem(node, attempt, err))
		}
	}
}

func (r *Reader) follow(ctx context.Context, l *lines, w Watch) error {
	if w.Poll <= 0 {
		w.Poll = time.Second
	}
	tick := time.NewTicker(w.Poll)
	defer tick.Stop()
	ear := w.Live.listen(l.key)
	defer ear.stop()
	for due := true; !l.done && ctx.Err() == nil; {
		more, heard := ear.hear(l)
		if due || !heard {
			if ended, err := r.look(ctx, l, w.Ended); err != nil || ended {
				return err
			}
			more, heard = ear.hear(l)
		}
		if heard {
			due = within(ctx, tick.C, more)
		} else {
			due = w.hinted(ctx, tick.C, r.id)
		}
	}
	return nil
}

// look takes in what the store has, and reports whether that is all.
func (r *Reader) look(ctx context.Context, l *lines, ended func(context.Context) (bool, error)) (all bool, err error) {
	if ended != nil {
		all, err = ended(ctx) // what was there before it ended is there now
	}
	if err == nil {
		err = l.read(ctx, r.logs)
	}
	if err == nil && all {
		l.end()
	}
	return all, err
}

// within waits for a tick or until there is more; it reports whether the tick came first.
func within(ctx context.Context, tick <-chan time.Time, more <-chan struct{}) bool {
	select {
	case <-tick:
		return true
	case <-more:
	case <-ctx.Done():
	}
	return false
}

// hinted waits until it is time to look again.
func (w *Watch) hinted(ctx context.Context, tick <-chan time.Time, id build.ID) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case <-tick:
			return true
		case hint, ok := <-w.Hints:
			if !ok {
				w.Hints = nil
			} else if hint.Build == id || hint.Build == "" {
				return true
			}
		}
	}
}
