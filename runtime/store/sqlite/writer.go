package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/piper-build/piper/runtime/store"
)

// maxBatch bounds how many writes are committed together.
const maxBatch = 256

// A writer makes all the writes of this process, on the one connection that may.
type writer struct {
	db       *sql.DB
	conn     *sql.Conn
	requests chan *request
	over     chan struct{} // closed when run takes no more
}

// A request is one write. do reads and decides within the transaction. An error
// of kept says that it wrote nothing; any other one takes back what it wrote.
type request struct {
	ctx  context.Context
	do   func(ctx context.Context, tx *sql.Tx) error
	sync func() error // before the commit; nil is nothing
	err  error
	done chan struct{}
}

// do makes a write. When ctx ends while it is being made, it may have happened.
func (w *writer) do(ctx context.Context, do func(ctx context.Context, tx *sql.Tx) error) error {
	return w.send(&request{ctx: ctx, do: do})
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
		return r.err
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
	tx, err := w.conn.BeginTx(ctx, nil)
	if err != nil {
		return -1, errs, fmt.Errorf("%w: begin: %w", store.ErrInDoubt, err)
	}
	defer tx.Rollback()
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
	if err := tx.Commit(); err != nil {
		return -1, errs, fmt.Errorf("%w: commit: %w", store.ErrInDoubt, err)
	}
	return -1, errs, nil
}

// guarded reports whether err is one of a guard, which comes before anything is
// written.
func guarded(err error) bool {
	return errors.Is(err, store.ErrConflict) || errors.Is(err, store.ErrFenced) || errors.Is(err, store.ErrNotFound)
}

// Close closes the connection, once run has returned.
func (w *writer) Close() error { return errors.Join(w.conn.Close(), w.db.Close()) }
