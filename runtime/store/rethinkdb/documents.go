package rethinkdb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	r "gopkg.in/rethinkdb/rethinkdb-go.v6"

	"github.com/piper-build/piper/runtime/store"
)

// blobPart is how much of a blob one document holds: a query of many megabytes
// keeps others waiting.
const blobPart = 1 << 20

// partKey is the key of a part. The first is written last, so that whoever finds
// it finds all.
func partKey(digest string, i int) string { return fmt.Sprintf("%s/%06x", digest, i) }

// PutBlob implements store.Blobs.
func (s *Store) PutBlob(ctx context.Context, digest string, data []byte) error {
	parts := max(1, (len(data)+blobPart-1)/blobPart)
	for i := parts - 1; i >= 0; i-- {
		part := data[min(len(data), i*blobPart):min(len(data), (i+1)*blobPart)]
		_, err := s.write(ctx, r.Table("blobs").Insert(map[string]any{"id": partKey(digest, i), "parts": parts, "data": r.Binary(part)},
			r.InsertOpts{Durability: "hard", Conflict: keep}))
		if err != nil {
			return fmt.Errorf("put blob %s: %w", digest, err)
		}
	}
	return nil
}

// Blob implements store.Blobs.
func (s *Store) Blob(ctx context.Context, digest string) ([]byte, error) {
	type part struct {
		Parts int    `json:"parts"`
		Data  binary `json:"data"`
	}
	first, err := one[part](ctx, s, "blob", digest, r.Table("blobs", majority).Get(partKey(digest, 0)))
	if err != nil {
		return nil, err
	}
	data := first.Data.Data
	for i := 1; i < first.Parts; i++ {
		next, err := one[part](ctx, s, "part of blob", partKey(digest, i), r.Table("blobs", majority).Get(partKey(digest, i)))
		if err != nil {
			return nil, err
		}
		data = append(data, next.Data.Data...)
	}
	return data, nil
}

// binary is how the server writes bytes.
type binary struct {
	Data []byte `json:"data"`
}

// Group implements store.Groups.
func (s *Store) Group(ctx context.Context, key string) (store.Group, error) {
	g, err := one[store.Group](ctx, s, "group", key, r.Table("groups", majority).Get(key))
	if errors.Is(err, store.ErrNotFound) {
		return store.Group{Key: key}, nil
	}
	return g, err
}

// ChangeGroup implements store.Groups.
func (s *Store) ChangeGroup(ctx context.Context, key string, c store.GroupChange) (store.Group, error) {
	for {
		g, err := s.Group(ctx, key)
		if err != nil {
			return g, err
		}
		after, differs := g.Changed(c)
		if !differs {
			return after, nil
		}
		switch done, err := s.replace(ctx, r.Table("groups").Get(key), after, g.Rev); {
		case err != nil:
			return store.Group{}, fmt.Errorf("change group %s: %w", key, err)
		case done:
			return after, nil
		}
	}
}

// PutProject implements store.Projects.
func (s *Store) PutProject(ctx context.Context, p store.Project) (store.Project, error) {
	rev := p.Rev
	p.Rev++
	done, err := s.replace(ctx, r.Table("projects").Get(p.Name), p, rev)
	if err == nil && !done {
		err = fmt.Errorf("it is not at revision %d: %w", rev, store.ErrConflict)
	}
	if err != nil {
		return store.Project{}, fmt.Errorf("put project %s: %w", p.Name, err)
	}
	return p, nil
}

// Project implements store.Projects.
func (s *Store) Project(ctx context.Context, name string) (store.Project, error) {
	return one[store.Project](ctx, s, "project", name, r.Table("projects", majority).Get(name))
}

// Projects implements store.Projects.
func (s *Store) Projects(ctx context.Context) ([]store.Project, error) {
	all, err := many[store.Project](ctx, s, r.Table("projects", majority))
	slices.SortFunc(all, func(a, b store.Project) int { return cmp.Compare(a.Name, b.Name) })
	return all, err
}

// DeleteProject implements store.Projects.
func (s *Store) DeleteProject(ctx context.Context, name string) error {
	return s.delete(ctx, "project "+name, r.Table("projects").Get(name))
}

// delete deletes what there is of it.
func (s *Store) delete(ctx context.Context, what string, term r.Term) error {
	if _, err := s.write(ctx, term.Delete(r.DeleteOpts{Durability: "hard"})); err != nil {
		return fmt.Errorf("delete %s: %w", what, err)
	}
	return nil
}

// AddToken implements store.Tokens. Names are unique as they are the key. That
// nobody has the hash is looked up before: two tokens of one hash are one secret
// under two names, and to have both does no harm.
func (s *Store) AddToken(ctx context.Context, t store.Token) error {
	had, err := s.Token(ctx, t.Hash)
	switch {
	case err == nil && had.Name != t.Name:
		return fmt.Errorf("add token %s: it is that of %s: %w", t.Name, had.Name, store.ErrConflict)
	case err != nil && !errors.Is(err, store.ErrNotFound):
		return err
	}
	doc, err := document(t)
	if err != nil {
		return err
	}
	_, err = s.write(ctx, r.Table("tokens").Insert(doc, r.InsertOpts{Durability: "hard", Conflict: func(_, had, put r.Term) any {
		return r.Branch(had.Field("hash").Eq(put.Field("hash")), had, r.Error(conflicting))
	}}))
	if err != nil {
		return fmt.Errorf("add token %s: %w", t.Name, err)
	}
	return nil
}

// Token implements store.Tokens.
func (s *Store) Token(ctx context.Context, hash string) (store.Token, error) {
	return one[store.Token](ctx, s, "token", "of that hash", r.Table("tokens", majority).GetAllByIndex("hash", hash).Limit(1))
}

// Tokens implements store.Tokens.
func (s *Store) Tokens(ctx context.Context) ([]store.Token, error) {
	all, err := many[store.Token](ctx, s, r.Table("tokens", majority))
	slices.SortFunc(all, func(a, b store.Token) int { return cmp.Compare(a.Name, b.Name) })
	return all, err
}

// RevokeToken implements store.Tokens.
func (s *Store) RevokeToken(ctx context.Context, name string) error {
	return s.delete(ctx, "token "+name, r.Table("tokens").Get(name))
}
