package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"sync"
)

// A reader is the connections that only read. Statements are prepared once, as
// that takes longer than most of them do.
type reader struct {
	*sql.DB

	mu       sync.Mutex
	prepared map[string]*sql.Stmt // by query
}

// QueryContext implements querier.
func (r *reader) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	s, err := r.prepare(ctx, query)
	if err != nil {
		return nil, err
	}
	return s.QueryContext(ctx, args...)
}

// QueryRowContext implements querier.
func (r *reader) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	s, err := r.prepare(ctx, query)
	if err != nil {
		return r.DB.QueryRowContext(ctx, query, args...) // which fails as well, and says so
	}
	return s.QueryRowContext(ctx, args...)
}

func (r *reader) prepare(ctx context.Context, query string) (*sql.Stmt, error) {
	r.mu.Lock()
	s, ok := r.prepared[query]
	r.mu.Unlock()
	if ok {
		return s, nil
	}
	s, err := r.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if first, ok := r.prepared[query]; ok { // somebody was faster
		return first, s.Close()
	}
	r.prepared[query] = s
	return s, nil
}

// Close closes the connections.
func (r *reader) Close() (err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, s := range r.prepared {
		err = errors.Join(err, s.Close())
	}
	return errors.Join(err, r.DB.Close())
}
