package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/piper-build/piper/runtime/store"
)

// look is how often the file is looked at for what other processes wrote.
const look = 250 * time.Millisecond

// A watch hints at builds that were changed: at once for this process, and
// within look for others.
type watch struct {
	store.Hints
	mu      sync.Mutex
	looking bool // at the file
}

// Watch implements store.Builds.
func (s *Store) Watch(ctx context.Context, what store.Watched) (<-chan store.Hint, error) {
	if err := s.lookOut(ctx); err != nil {
		return nil, fmt.Errorf("watch builds: %w", err)
	}
	c := s.watch.Listen(what)
	context.AfterFunc(ctx, func() { s.watch.Drop(c) })
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

// run watches the file until ctx ends. conn is for it alone, as data_version is
// of a connection; last is what it was before.
func (w *watch) run(ctx context.Context, conn *sql.Conn, last int64) {
	defer w.end()
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
			w.Tell(store.Hint{})
		}
		last = version
	}
}

// end ends hints, until somebody watches again.
func (w *watch) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.looking = false
	w.Close()
}

// dataVersion is a number that differs once another connection wrote.
func dataVersion(ctx context.Context, conn *sql.Conn) (version int64, err error) {
	err = conn.QueryRowContext(ctx, "PRAGMA data_version").Scan(&version)
	return version, err
}
