package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"syscall"

	"modernc.org/sqlite"
	codes "modernc.org/sqlite/lib"

	"github.com/piper-build/piper/runtime/store"
)

// maxBatch bounds how many writes are committed together.
const maxBatch = 256

// A writer makes all the writes of this process, on the one connection that may.
type writer struct {
	db       *sql.DB
	conn     *sql.Conn
	prepared map[string]*sql.Stmt // by query
	requests chan *request
	over     chan struct{} // closed when run takes no more
}

// A transaction is what a write reads and writes in. Its statements are prepared
// once, as that takes longer than many of them do.
type transaction struct{ *writer }

func (t *transaction) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	s, err := t.prepare(ctx, query)
	if err != nil {
		return nil, err
	}
	return s.ExecContext(ctx, args...)
}

func (t *transaction) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	s, err := t.prepare(ctx, query)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(ctx, args...)
}

func (t *transaction) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	s, err := t.prepare(ctx, query)
	if err != nil {
		return t.conn.QueryRowContext(ctx, query, args...) // which fails as well, and says so
	}
	return s.QueryRowContext(ctx, args...)
}

func (w *writer) prepare(ctx context.Context, query string) (*sql.Stmt, error) {
	s, ok := w.prepared[query]
	if !ok {
		var err error
		if s, err = w.conn.PrepareContext(ctx, query); err != nil {
			return nil, err
		}
		w.prepared[query] = s
	}
	return s, nil
}

// A request is one write. do reads and decides within the transaction. An error
// of a guard says that it wrote nothing; any other one takes back what it wrote.
// It may be called again, when another write broke the transaction, and after its
// caller has gone: what it sets is its own until there is an answer.
type request struct {
	ctx  context.Context
	do   func(ctx context.Context, tx *transaction) error
	sync func() error // before the commit; nil is nothing
	err  error
	done chan struct{}
}

// do makes a write. When ctx ends while it is being made, it may have happened.
func (w *writer) do(ctx context.Context, do func(ctx context.Context, tx *transaction) error) error {
	return w.send(&request{ctx: ctx, do: do})
}

// get is do for a write that has a value.
func get[T any](ctx context.Context, w *writer, do func(ctx context.Context, tx *transaction) (T, error)) (T, error) {
	var made T
	err := w.do(ctx, func(ctx context.Context, tx *transaction) (err error) {
		made, err = do(ctx, tx)
		return err
	})
	if err != nil { // made may change still
		var none T
		return none, err
	}
	return made, nil
}

func (w *writer) send(r *request) error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	r.done = make(chan struct{})
	select {
	case w.requests <- r:
	case <-w.over:
		return errClosed
	case <-r.ctx.Done():
		return r.ctx.Err()
	}
	select {
	case <-r.done:
		return full(r.err)
	case <-r.ctx.Done():
		return fmt.Errorf("%w: %w", store.ErrInDoubt, r.ctx.Err())
	}
}

// errClosed is what a write finds once the store was closed.
var errClosed = errors.New("the store is closed")

// run makes writes until ctx ends.
func (w *writer) run(ctx context.Context) {
	defer close(w.over)
	var batch []*request
	for {
		select {
		case r := <-w.requests:
			batch = append(batch[:0], r)
		case <-ctx.Done():
			return
		}
	gather:
		for len(batch) < maxBatch {
			select {
			case r := <-w.requests:
				batch = append(batch, r)
			default:
				break gather
			}
		}
		w.commit(batch)
	}
}

func (r *request) answer(err error) {
	r.err = err
	close(r.done)
}

// commit makes the writes of a batch in one transaction. When one of them
// breaks it, that one fails and the others are made again without it.
func (w *writer) commit(batch []*request) {
	for len(batch) > 0 {
		culprit, errs, err := w.try(batch)
		if culprit < 0 {
			for i, r := range batch {
				if err != nil && errs[i] == nil {
					errs[i] = err
				}
				r.answer(errs[i])
			}
			return
		}
		batch[culprit].answer(err)
		batch = append(batch[:culprit:culprit], batch[culprit+1:]...)
	}
}

// try makes a transaction of a batch. errs are what the guards of each said. A
// culprit, if there is one, broke the transaction with err; without one, err is
// that of the transaction itself.
func (w *writer) try(batch []*request) (culprit int, errs []error, err error) {
	errs = make([]error, len(batch))
	// Not the context of any caller: the others want to be served.
	ctx := context.Background()
	tx := &transaction{w}
	if _, err := tx.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return -1, errs, doubtful("begin", err)
	}
	defer func() {
		if culprit >= 0 || err != nil {
			tx.ExecContext(ctx, "ROLLBACK") // which SQLite may have done
		}
	}()
	for i, r := range batch {
		if errs[i] = r.ctx.Err(); errs[i] != nil {
			continue
		}
		errs[i] = r.do(ctx, tx)
		if errs[i] != nil && !guarded(errs[i]) {
			return i, nil, errs[i]
		}
	}
	for i, r := range batch {
		if r.sync != nil && errs[i] == nil {
			if err := r.sync(); err != nil {
				return i, nil, err
			}
		}
	}
	if _, err := tx.ExecContext(ctx, "COMMIT"); err != nil {
		return -1, errs, doubtful("commit", err)
	}
	return -1, errs, nil
}

// doubtful is an error of a transaction as a whole. Whether it happened is in
// doubt unless SQLite says what keeps it from happening, now and in a while.
func doubtful(what string, err error) error {
	var e *sqlite.Error
	if errors.As(err, &e) {
		switch e.Code() & 0xff {
		case codes.SQLITE_FULL, codes.SQLITE_READONLY, codes.SQLITE_CORRUPT, codes.SQLITE_NOTADB:
			return fmt.Errorf("%s: %w", what, explained(err))
		}
	}
	return fmt.Errorf("%w: %s: %w", store.ErrInDoubt, what, explained(err))
}

// full tells a disk that has no room left from other errors.
func full(err error) error {
	var e *sqlite.Error
	if errors.As(err, &e) && e.Code()&0xff == codes.SQLITE_FULL || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return fmt.Errorf("%w: %w", store.ErrFull, err)
	}
	return err
}

// An undo is the error of a guard that comes after something was written.
type undo struct{ error }

func (u undo) Unwrap() error { return u.error }

// guarded reports whether err is one of a guard, which comes before anything is
// written.
func guarded(err error) bool {
	if errors.As(err, new(undo)) {
		return false
	}
	return errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrFenced) || errors.Is(err, store.ErrNotFound)
}

// Close closes the connection, once run has returned.
func (w *writer) Close() (err error) {
	for _, s := range w.prepared {
		err = errors.Join(err, s.Close())
	}
	return errors.Join(err, w.conn.Close(), w.db.Close())
}
