package rethinkdb

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	r "gopkg.in/rethinkdb/rethinkdb-go.v6"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

// AllBuilds implements store.Portable.
func (s *Store) AllBuilds(ctx context.Context, after build.ID, limit int) ([]store.Build, error) {
	return many[store.Build](ctx, s, r.Table("builds", majority).Between(string(after), r.MaxVal, r.BetweenOpts{LeftBound: "open"}).
		OrderBy(r.OrderByOpts{Index: "id"}).Limit(limit))
}

// Written implements store.Portable.
func (s *Store) Written(ctx context.Context, id build.ID) (fences []int64, attempts []store.ChunkKey, err error) {
	events, err := s.heads(ctx, "events", id)
	if err != nil {
		return nil, nil, fmt.Errorf("list events of build %s: %w", id, err)
	}
	for _, h := range events {
		fences = append(fences, h.fence)
	}
	chunks, err := s.heads(ctx, "logs", id)
	if err != nil {
		return nil, nil, fmt.Errorf("list log chunks of build %s: %w", id, err)
	}
	for _, h := range chunks {
		attempts = append(attempts, store.ChunkKey{Build: id, Fence: h.fence, Node: h.Node, Attempt: h.Attempt})
	}
	slices.SortFunc(attempts, store.ChunkKey.Compare)
	return fences, attempts, nil
}

// A head is the first document of a fence's events, or of an attempt's chunks.
type head struct {
	ID      string `json:"id"`
	Node    string `json:"node"`
	Attempt int    `json:"attempt"`
	fence   int64
}

// heads finds the heads of a build: after each it goes on behind all keys that
// differ from that one in the last number alone.
func (s *Store) heads(ctx context.Context, table string, id build.ID) (all []head, err error) {
	begin, end := string(id)+"/", string(id)+afterSlash
	for from := begin; ; {
		found, err := many[head](ctx, s, r.Table(table, majority).Between(from, end).OrderBy(r.OrderByOpts{Index: "id"}).Limit(1).Pluck("id", "node", "attempt"))
		if err != nil || len(found) == 0 {
			return all, err
		}
		h := found[0]
		fence, _, _ := strings.Cut(strings.TrimPrefix(h.ID, begin), "/")
		if h.fence, err = strconv.ParseInt(fence, 16, 64); err != nil {
			return nil, fmt.Errorf("the key %q: %w", h.ID, err)
		}
		all, from = append(all, h), h.ID[:strings.LastIndexByte(h.ID, '/')]+afterSlash
	}
}

// AllGroups implements store.Portable.
func (s *Store) AllGroups(ctx context.Context) ([]store.Group, error) {
	all, err := many[store.Group](ctx, s, r.Table("groups", majority))
	slices.SortFunc(all, func(a, b store.Group) int { return cmp.Compare(a.Key, b.Key) })
	return all, err
}

// SkipNumbers implements store.Portable.
func (s *Store) SkipNumbers(ctx context.Context, last int64) error {
	_, err := s.write(ctx, r.Table("counters").Get("builds").Replace(func(row r.Term) any {
		had := row.Field("value").Default(0)
		return map[string]any{"id": "builds", "value": r.Branch(had.Gt(last), had, last)}
	}, r.ReplaceOpts{Durability: "hard"}))
	if err != nil {
		return fmt.Errorf("skip numbers: %w", err)
	}
	return nil
}
