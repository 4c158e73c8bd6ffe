package api

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

// pastMost bounds the nodes of the plans that are remembered, and the events;
// pastFew bounds of how many builds they are.
const (
	pastMost = 20_000
	pastFew  = 32
)

// A past is a store whose plans and events are remembered, those that were read
// last: neither ever changes, and whoever watches a build has it asked for all of
// them again and again.
type past struct {
	store.Store

	mu     sync.Mutex
	plans  recent[string, *plan.Plan]
	events recent[eventsKey, []build.Event] // of each fence, from the first one on
}

type eventsKey struct {
	build build.ID
	fence int64
}

// plan reads the plan of a build, which is not to be changed.
func (s *past) plan(ctx context.Context, b *store.Build) (*plan.Plan, error) {
	s.mu.Lock()
	p, known := s.plans.get(b.Plan)
	s.mu.Unlock()
	if known {
		return p, nil
	}
	data, err := s.Store.Blob(ctx, b.Plan)
	if err != nil {
		return nil, fmt.Errorf("read the plan of build %s: %w", b.ID, err)
	}
	if p, err = store.DecodePlan(data); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.plans.put(b.Plan, p, len(p.Nodes))
	return p, nil
}

// Events implements store.Events. What it returns is not to be changed.
func (s *past) Events(ctx context.Context, id build.ID, fence, from int64, limit int) ([]build.Event, error) {
	key := eventsKey{id, fence}
	s.mu.Lock()
	known, _ := s.events.get(key)
	s.mu.Unlock()
	have := int64(len(known))
	if from < 1 || limit < 1 || from > have+1 {
		return s.Store.Events(ctx, id, fence, from, limit)
	}
	known = known[from-1:]
	if len(known) >= limit {
		return known[:limit:limit], nil
	}
	more, err := s.Store.Events(ctx, id, fence, have+1, limit-len(known))
	if err != nil || len(more) == 0 {
		return known[:len(known):len(known)], err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	all, _ := s.events.get(key)
	if int64(len(all)) == have { // else somebody else was faster
		all = append(all, more...) // beyond what others have of it
		s.events.put(key, all, len(all))
	}
	return append(known[:len(known):len(known)], more...), nil
}

// A recent remembers what was used last, up to pastMost in all.
type recent[K comparable, V any] struct {
	entries []entry[K, V] // what was used longest ago first
}

type entry[K comparable, V any] struct {
	key   K
	value V
	size  int
}

func (r *recent[K, V]) get(key K) (v V, known bool) {
	i := slices.IndexFunc(r.entries, func(e entry[K, V]) bool { return e.key == key })
	if i < 0 {
		return v, false
	}
	e := r.entries[i]
	r.entries = append(slices.Delete(r.entries, i, i+1), e)
	return e.value, true
}

func (r *recent[K, V]) put(key K, v V, size int) {
	r.entries = slices.DeleteFunc(r.entries, func(e entry[K, V]) bool { return e.key == key })
	if size > pastMost {
		return
	}
	r.entries = append(r.entries, entry[K, V]{key, v, size})
	all := 0
	for _, e := range r.entries {
		all += e.size
	}
	for ; all > pastMost || len(r.entries) > pastFew; r.entries = slices.Delete(r.entries, 0, 1) {
		all -= r.entries[0].size
	}
}
