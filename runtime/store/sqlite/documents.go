package sqlite

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/piper-build/piper/runtime/store"
)

// A querier is the database, or a transaction of it.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// An execer writes to the database.
type execer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// one reads the document that query finds. what and key name it in an error.
func one[T any](ctx context.Context, q querier, what string, key any, query string, args ...any) (v T, err error) {
	var doc []byte
	switch err := q.QueryRowContext(ctx, query, args...).Scan(&doc); {
	case errors.Is(err, sql.ErrNoRows):
		return v, fmt.Errorf("%s %v: %w", what, key, store.ErrNotFound)
	case err != nil:
		return v, fmt.Errorf("read %s %v: %w", what, key, err)
	}
	if err := json.Unmarshal(doc, &v); err != nil {
		return v, fmt.Errorf("read %s %v: %w", what, key, err)
	}
	return v, nil
}

// many reads the documents that query finds.
func many[T any](ctx context.Context, q querier, query string, args ...any) (all []T, err error) {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var doc []byte
		if err := rows.Scan(&doc); err != nil {
			return nil, err
		}
		var v T
		if err := json.Unmarshal(doc, &v); err != nil {
			return nil, err
		}
		all = append(all, v)
	}
	return all, rows.Err()
}

// write makes one statement whose last argument is a document.
func write(ctx context.Context, tx *transaction, v any, query string, keys ...any) error {
	doc, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, query, append(keys, doc)...)
	return err
}

// PutBlob implements store.Blobs.
func (s *Store) PutBlob(ctx context.Context, digest string, data []byte) error {
	if data == nil {
		data = []byte{} // nil would be NULL
	}
	return s.writes.do(ctx, func(ctx context.Context, tx *transaction) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO blobs VALUES (?, ?) ON CONFLICT DO NOTHING", digest, data)
		return err
	})
}

// Blob implements store.Blobs.
func (s *Store) Blob(ctx context.Context, digest string) (data []byte, err error) {
	err = s.reads.QueryRowContext(ctx, "SELECT data FROM blobs WHERE digest = ?", digest).Scan(&data)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("blob %s: %w", digest, store.ErrNotFound)
	}
	return data, err
}

// Group implements store.Groups.
func (s *Store) Group(ctx context.Context, key string) (store.Group, error) {
	return group(ctx, s.reads, key)
}

func group(ctx context.Context, q querier, key string) (store.Group, error) {
	g, err := one[store.Group](ctx, q, "group", key, "SELECT doc FROM groups WHERE key = ?", key)
	if errors.Is(err, store.ErrNotFound) {
		return store.Group{Key: key}, nil
	}
	return g, err
}

// ChangeGroup implements store.Groups.
func (s *Store) ChangeGroup(ctx context.Context, key string, c store.GroupChange) (store.Group, error) {
	return get(ctx, s.writes, func(ctx context.Context, tx *transaction) (store.Group, error) {
		g, err := group(ctx, tx, key)
		if err != nil {
			return g, err
		}
		after, differs := g.Changed(c)
		if !differs {
			return after, nil
		}
		return after, write(ctx, tx, after, "INSERT INTO groups VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET doc = excluded.doc", key)
	})
}

// PutProject implements store.Projects.
func (s *Store) PutProject(ctx context.Context, p store.Project) (store.Project, error) {
	return get(ctx, s.writes, func(ctx context.Context, tx *transaction) (store.Project, error) {
		had, err := one[store.Project](ctx, tx, "project", p.Name, "SELECT doc FROM projects WHERE name = ?", p.Name)
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return had, err
		}
		if had.Rev != p.Rev {
			return had, fmt.Errorf("put project %s: it is at revision %d, not %d: %w", p.Name, had.Rev, p.Rev, store.ErrConflict)
		}
		made := p
		made.Rev++
		return made, write(ctx, tx, made, "INSERT INTO projects VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET doc = excluded.doc", p.Name)
	})
}

// Project implements store.Projects.
func (s *Store) Project(ctx context.Context, name string) (store.Project, error) {
	return one[store.Project](ctx, s.reads, "project", name, "SELECT doc FROM projects WHERE name = ?", name)
}

// Projects implements store.Projects.
func (s *Store) Projects(ctx context.Context) ([]store.Project, error) {
	return many[store.Project](ctx, s.reads, "SELECT doc FROM projects ORDER BY name")
}

// DeleteProject implements store.Projects.
func (s *Store) DeleteProject(ctx context.Context, name string) error {
	return s.delete(ctx, "DELETE FROM projects WHERE name = ?", name)
}

func (s *Store) delete(ctx context.Context, query string, args ...any) error {
	return s.writes.do(ctx, func(ctx context.Context, tx *transaction) error {
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	})
}

// AddToken implements store.Tokens.
func (s *Store) AddToken(ctx context.Context, t store.Token) error {
	return s.writes.do(ctx, func(ctx context.Context, tx *transaction) error {
		var same, taken bool
		err := tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT 1 FROM tokens WHERE hash = ?1 AND name = ?2), EXISTS (SELECT 1 FROM tokens WHERE hash = ?1 OR name = ?2)",
			t.Hash, t.Name).Scan(&same, &taken)
		switch {
		case err != nil || same:
			return err
		case taken:
			return fmt.Errorf("add token %s: there is one: %w", t.Name, store.ErrConflict)
		}
		return write(ctx, tx, t, "INSERT INTO tokens VALUES (?, ?, ?)", t.Hash, t.Name)
	})
}

// Token implements store.Tokens.
func (s *Store) Token(ctx context.Context, hash string) (store.Token, error) {
	return one[store.Token](ctx, s.reads, "token", "of that hash", "SELECT doc FROM tokens WHERE hash = ?", hash)
}

// Tokens implements store.Tokens.
func (s *Store) Tokens(ctx context.Context) ([]store.Token, error) {
	return many[store.Token](ctx, s.reads, "SELECT doc FROM tokens ORDER BY name")
}

// RevokeToken implements store.Tokens.
func (s *Store) RevokeToken(ctx context.Context, name string) error {
	return s.delete(ctx, "DELETE FROM tokens WHERE name = ?", name)
}
