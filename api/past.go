package api

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/logs"
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

	mu      sync.Mutex
	plans   recent[string, *plan.Plan]
	events  recent[eventsKey, []build.Event] // of each fence, from the first one on
	tallies recent[eventsKey, *tally]
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

// folded is what happened inside a build.
type folded struct {
	*build.Build
	plan  *plan.Plan // as it was stored, without what expands found
	fence int64
}

// fold reads what happened inside a build; nil when it was not planned.
func (s *past) fold(ctx context.Context, b *store.Build) (*folded, error) {
	if b.Plan == "" {
		return nil, nil
	}
	fence, err := logs.Fence(ctx, s, b)
	if err != nil {
		return nil, err
	}
	f := &folded{fence: fence}
	if err := s.goOn(ctx, b, f); err != nil {
		return nil, err
	}
	return f, nil
}

// goOn reads what happened since f was read.
func (s *past) goOn(ctx context.Context, b *store.Build, f *folded) (err error) {
	if f.plan == nil {
		if f.plan, err = s.plan(ctx, b); err != nil {
			return err
		}
		f.Build = build.New(f.plan)
	}
	for {
		events, err := s.Events(ctx, b.ID, f.fence, f.Seq()+1, 1000)
		if err != nil {
			return err
		}
		for _, ev := range events {
			if err := f.Apply(ev); err != nil {
				return fmt.Errorf("read what happened in build %s: %w", b.ID, err)
			}
		}
		if len(events) < 1000 {
			return nil
		}
	}
}

// A tally is a folded that is kept, as many ask for one step after the other: to
// fold it anew for each would cost the square of the steps.
type tally struct {
	sync.Mutex
	folded
}

// step is a step of a planned build as it stands, and under which fence.
func (s *past) step(ctx context.Context, b *store.Build, name string) (step build.Step, fence int64, err error) {
	if fence, err = logs.Fence(ctx, s, b); err != nil {
		return step, 0, err
	}
	key := eventsKey{b.ID, fence}
	s.mu.Lock()
	t, known := s.tallies.get(key)
	if !known {
		t = &tally{folded: folded{fence: fence}}
		s.tallies.put(key, t, b.Progress.Total)
	}
	s.mu.Unlock()
	t.Lock()
	defer t.Unlock()
	if err := s.goOn(ctx, b, &t.folded); err != nil {
		return step, 0, err
	}
	step, known = t.Step(name)
	if !known {
		return step, 0, among("step", name, t.Build.Plan().NodeNames())
	}
	return step, fence, nil
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
