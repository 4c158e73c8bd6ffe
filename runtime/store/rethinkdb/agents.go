package rethinkdb

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	r "gopkg.in/rethinkdb/rethinkdb-go.v6"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

// Join implements store.Agents.
func (s *Store) Join(ctx context.Context, a store.Agent) error {
	doc, err := document(a)
	if err != nil {
		return err
	}
	_, err = s.write(ctx, r.Table("agents").Insert(doc, r.InsertOpts{Durability: "hard", Conflict: func(_, _, _ r.Term) any { return r.Error(conflicting) }}))
	if err != nil {
		return fmt.Errorf("join agent %s: %w", a.ID, err)
	}
	return nil
}

// change changes some fields of an agent that is there.
func (s *Store) change(ctx context.Context, id store.AgentID, change func(row r.Term) any) (a store.Agent, err error) {
	w, err := s.write(ctx, r.Table("agents").Get(string(id)).Update(change, r.UpdateOpts{Durability: "hard", ReturnChanges: "always"}))
	switch {
	case err != nil:
		return a, fmt.Errorf("change agent %s: %w", id, err)
	case w.Skipped > 0:
		return a, fmt.Errorf("agent %s: %w", id, store.ErrNotFound)
	}
	return a, w.changed(&a)
}

// Heartbeat implements store.Agents.
func (s *Store) Heartbeat(ctx context.Context, id store.AgentID, running map[build.ID]int64, at time.Time) (store.Agent, error) {
	runs := map[string]any{}
	for of, fence := range running {
		runs[string(of)] = fence
	}
	seen := at.Format(time.RFC3339Nano)
	a, err := s.change(ctx, id, func(row r.Term) any {
		return map[string]any{"beat": row.Field("beat").Add(1), "seen": seen, "running": r.Literal(runs)}
	})
	if len(a.Running) == 0 {
		a.Running = nil // as it is kept by whoever leaves out what is empty
	}
	return a, err
}

// Describe implements store.Agents.
func (s *Store) Describe(ctx context.Context, id store.AgentID, slots int, labels, facts map[string]string) error {
	_, err := s.change(ctx, id, func(r.Term) any {
		return map[string]any{"slots": slots, "labels": literal(labels), "facts": literal(facts)}
	})
	return err
}

// literal is a map that takes the place of another one, and is not merged into
// it.
func literal(m map[string]string) r.Term {
	if m == nil {
		m = map[string]string{}
	}
	return r.Literal(m)
}

// Drain implements store.Agents.
func (s *Store) Drain(ctx context.Context, id store.AgentID, draining bool) error {
	_, err := s.change(ctx, id, func(r.Term) any { return map[string]any{"draining": draining} })
	return err
}

// End implements store.Agents.
func (s *Store) End(ctx context.Context, id store.AgentID) error {
	_, err := s.change(ctx, id, func(r.Term) any { return map[string]any{"draining": true, "ending": true} })
	return err
}

// Agent implements store.Agents.
func (s *Store) Agent(ctx context.Context, id store.AgentID) (store.Agent, error) {
	return one[store.Agent](ctx, s, "agent", id, r.Table("agents", majority).Get(string(id)))
}

// Agents implements store.Agents.
func (s *Store) Agents(ctx context.Context) ([]store.Agent, error) {
	all, err := many[store.Agent](ctx, s, agents())
	slices.SortFunc(all, byName)
	return all, err
}

// agents are all as they are.
func agents() r.Term { return r.Table("agents", majority) }

func byName(a, b store.Agent) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
}

// Bury implements store.Agents.
func (s *Store) Bury(ctx context.Context, id store.AgentID) error {
	return s.delete(ctx, "agent "+string(id), r.Table("agents").Get(string(id)))
}
