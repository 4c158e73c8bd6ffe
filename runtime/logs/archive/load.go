package archive

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

// ErrThere says that a store has a build of that ID or number.
var ErrThere = errors.New("there is a build like it")

// Load brings a build and what it wrote into a store, under its own ID and number,
// and pins it. Check has read the file before and found sum in it: what is not that
// is refused. The build comes last, so a call that was cut off can be made again.
func Load(ctx context.Context, from io.Reader, sum Sum, to interface {
	store.Store
	store.Portable
}) error {
	l := &loader{ctx: ctx, to: to}
	_, got, err := read(ctx, from, l)
	switch {
	case err != nil:
		return err
	case got != sum:
		return broken("it was changed while it was read")
	}
	if err := l.flushEvents(); err != nil {
		return err
	}
	if err := to.SkipNumbers(ctx, l.build.Number); err != nil {
		return err
	}
	_, err = to.Enqueue(ctx, l.build)
	return err
}

// vacant sees that the store has no such build.
func vacant(ctx context.Context, s store.Builds, b *Build) error {
	had, err := s.Build(ctx, b.ID)
	switch {
	case err == nil && had.Collected:
		return fmt.Errorf("build %d (%s) was there, and was deleted: %w", had.Number, had.ID, ErrThere)
	case err == nil:
		return fmt.Errorf("build %d (%s) is there already: %w", had.Number, had.ID, ErrThere)
	case !errors.Is(err, store.ErrNotFound):
		return err
	}
	had, err = s.BuildNumbered(ctx, b.Number)
	switch {
	case err == nil:
		return fmt.Errorf("build %d is another one there (%s): %w", had.Number, had.ID, ErrThere)
	case !errors.Is(err, store.ErrNotFound):
		return err
	}
	return nil
}

// The most that is written at once.
const (
	mostEvents = 1000
	mostChunks = 16
)

// A loader is a sink that writes into a store.
type loader struct {
	ctx    context.Context
	to     store.Store
	build  store.Build
	events []build.Event
	chunks []store.Chunk

	at  store.Chunk // that is being filled
	cut time.Time   // when what comes after a gap did
}

func (l *loader) header(h *Header) error {
	b := &h.Build
	r := store.Request{Project: b.Project, Pipeline: b.Pipeline, Environment: b.Environment, Params: b.Params, Ref: b.Ref, Cause: b.Cause}
	l.build = store.NewBuild(b.ID, b.Number, r, b.Created)
	l.build.State, l.build.Reason, l.build.Attempt, l.build.Fence, l.build.Progress = b.State, b.Reason, b.Attempt, b.Fence, b.Progress
	l.build.Commit, l.build.Plan, l.build.Started, l.build.Ended = b.Commit, b.PlanDigest, b.Started, b.Ended
	l.build.Pinned = true
	if !l.build.Terminal() || b.ID == "" || b.Number < 1 || b.Fence < 1 {
		return broken("build %d (%s), %s, is none that has ended", b.Number, b.ID, b.State)
	}
	return vacant(l.ctx, l.to, b)
}

func (l *loader) plan(p *plan.Plan) error {
	_, err := store.PutPlan(l.ctx, l.to, p)
	return err
}

func (l *loader) event(ev build.Event) error {
	if l.events = append(l.events, ev); len(l.events) < mostEvents {
		return nil
	}
	return l.flushEvents()
}

func (l *loader) flushEvents() error {
	if len(l.events) == 0 {
		return nil
	}
	err := l.to.AppendEvents(l.ctx, store.EventKey{Build: l.build.ID, Fence: l.build.Fence, Seq: l.events[0].Seq}, l.events)
	l.events = nil
	return err
}

func (l *loader) line(line *Line) error {
	if l.at.Key == (store.ChunkKey{}) {
		l.at.Key = store.ChunkKey{Build: l.build.ID, Fence: l.build.Fence, Node: line.Step, Attempt: line.Attempt}
	}
	if line.Cut > 0 {
		if err := l.next(); err != nil {
			return err
		}
		l.at.Cut = line.Cut
		l.at.Offset += line.Cut
		l.at.Line += line.CutLines
		l.cut = line.Time
		return nil
	}
	text := line.Bytes()
	if !line.Partial {
		text = append(text, '\n')
	}
	for len(text) > 0 {
		n := min(len(text), store.MaxChunk-len(l.at.Data))
		stamped := len(l.at.Times) > 0
		if n == 0 || len(l.at.Data) > 0 && stamped == line.Time.IsZero() { // all of a chunk has a time, or nothing
			if err := l.next(); err != nil {
				return err
			}
			continue
		}
		if last := len(l.at.Times) - 1; !line.Time.IsZero() && (last < 0 || !l.at.Times[last].At.Equal(line.Time)) {
			l.at.Times = append(l.at.Times, store.Stamp{Offset: int32(len(l.at.Data)), At: line.Time})
		}
		l.at.Data, text = append(l.at.Data, text[:n]...), text[n:]
	}
	if !line.Partial {
		l.at.Lines++
	}
	return nil
}

// next goes on to the next chunk, if there is something in this one.
func (l *loader) next() error {
	if len(l.at.Data) == 0 {
		if l.at.Cut == 0 {
			return nil
		}
		if !l.cut.IsZero() {
			l.at.Times = []store.Stamp{{At: l.cut}}
		}
	}
	l.chunks = append(l.chunks, l.at)
	key := l.at.Key
	key.Seq++
	l.at = store.Chunk{Key: key, Line: l.at.Line + l.at.Lines, Offset: l.at.Offset + int64(len(l.at.Data))}
	if len(l.chunks) < mostChunks {
		return nil
	}
	return l.flushChunks()
}

func (l *loader) flushChunks() error {
	if len(l.chunks) == 0 {
		return nil
	}
	err := l.to.AppendChunks(l.ctx, l.chunks)
	l.chunks = nil
	return err
}

func (l *loader) output() error {
	err := l.next()
	l.at = store.Chunk{}
	return errors.Join(err, l.flushChunks())
}
