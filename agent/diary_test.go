package agent

import (
	"context"
	"errors"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/logs"
	"github.com/piper-build/piper/runtime/store"
)

// A diary is a Record that does one thing after the other, so that a simulation
// tells the same story again. The real one puts together what comes together.
type diary struct {
	store store.Store
	build build.ID
	fence int64
	todo  chan func() error
	done  chan struct{}
	err   error
}

func newDiary(s store.Store, b store.Build) *diary {
	r := &diary{store: s, build: b.ID, fence: b.Fence, todo: make(chan func() error, 1000), done: make(chan struct{})}
	go func() {
		defer close(r.done)
		for do := range r.todo {
			r.err = errors.Join(r.err, store.Insist(context.Background(), do))
		}
	}()
	return r
}

func (r *diary) Record(events []build.Event) error {
	r.todo <- func() error {
		return r.store.AppendEvents(context.Background(), store.EventKey{Build: r.build, Fence: r.fence, Seq: events[0].Seq}, events)
	}
	return nil
}

func (r *diary) Open(node string, attempt int) (logs.Writer, error) {
	return &page{r, store.Chunk{Key: store.ChunkKey{Build: r.build, Fence: r.fence, Node: node, Attempt: attempt}}}, nil
}

func (r *diary) Flush(ctx context.Context) error {
	all := make(chan error, 1)
	r.todo <- func() error { all <- r.err; return nil }
	select {
	case err := <-all:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r *diary) Close() error {
	close(r.todo)
	<-r.done
	return r.err
}

type page struct {
	r    *diary
	next store.Chunk
}

func (w *page) Write(at time.Time, p []byte) error {
	c := w.next
	c.Data, c.Lines, c.Times = p, 1, []store.Stamp{{At: at}}
	w.r.todo <- func() error { return w.r.store.AppendChunks(context.Background(), []store.Chunk{c}) }
	w.next.Key.Seq++
	w.next.Line++
	w.next.Offset += int64(len(p))
	return nil
}
func (w *page) Close() error { return nil }
