package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

// look is how often the file is looked at for what other processes wrote.
const look = 250 * time.Millisecond

// A watch hints at builds that were changed: at once for this process, and
// within look for others.
type watch struct {
	mu        sync.Mutex
	listeners map[chan build.ID]bool
	looking   bool // at the file
}

func newWatch() *watch { return &watch{listeners: map[chan build.ID]bool{}} }

// Watch implements store.Builds.
func (s *Store) Watch(ctx context.Context, _ store.AgentID) (<-chan build.ID, error) {
	if err := s.lookOut(ctx); err != nil {
		return nil, fmt.Errorf("watch builds: %w", err)
	}
	w := s.watch
	c := make(chan build.ID, 64)
	w.mu.Lock()
	w.listeners[c] = true
	w.mu.Unlock()
	context.AfterFunc(ctx, func() { w.drop(c) })
	return c, nil
}

// lookOut begins to look at the file, unless that goes on already.
func (s *Store) lookOut(ctx context.Context) error {
	s.watch.mu.Lock()
	defer s.watch.mu.Unlock()
	if s.watch.looking {
		return ctx.Err()
	}
	if s.life.Err() != nil {
		return errClosed
	}
	conn, err := s.reads.Conn(ctx)
	if err != nil {
		return err
	}
	version, err := dataVersion(ctx, conn)
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	s.watch.looking = true
	s.done.Go(func() { s.watch.run(s.life, conn, version) })
	return nil
}

func (w *watch) drop(c chan build.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.listeners[c] {
		delete(w.listeners, c)
		close(c)
	}
}

// tell hints at a build; "" is any. One who is slow misses hints.
func (w *watch) tell(id build.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.listeners {
		select {
		case c <- id:
		default:
		}
	}
}

// run watches the file until ctx ends. conn is for it alone, as data_version is
// of a connection; last is what it was before.
func (w *watch) run(ctx context.Context, conn *sql.Conn, last int64) {
	defer w.dropAll()
	defer conn.Close()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		version, err := dataVersion(ctx, conn)
		if err != nil {
			return // hints end; whoever listens polls
		}
		if version != last {
			w.tell("")
		}
		last = version
	}
}

func (w *watch) dropAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.looking = false
	for c := range w.listeners {
		delete(w.listeners, c)
		close(c)
	}
}

// dataVersion is a number that differs once another connection wrote.
func dataVersion(ctx context.Context, conn *sql.Conn) (version int64, err error) {
	err = conn.QueryRowContext(ctx, "PRAGMA data_version").Scan(&version)
	return version, err
}
