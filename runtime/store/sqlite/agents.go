package sqlite

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

// Join implements store.Agents.
func (s *Store) Join(ctx context.Context, a store.Agent) error {
	return s.writes.do(ctx, func(ctx context.Context, tx *transaction) error {
		_, err := agent(ctx, tx, a.ID)
		switch {
		case err == nil:
			return fmt.Errorf("join agent %s: it is there: %w", a.ID, store.ErrConflict)
		case !errors.Is(err, store.ErrNotFound):
			return err
		}
		return write(ctx, tx, a, "INSERT INTO agents VALUES (?, ?)", a.ID)
	})
}

func agent(ctx context.Context, q querier, id store.AgentID) (store.Agent, error) {
	return one[store.Agent](ctx, q, "agent", id, "SELECT doc FROM agents WHERE id = ?", id)
}

// change changes an agent that is there.
func (s *Store) change(ctx context.Context, id store.AgentID, change func(*store.Agent)) (store.Agent, error) {
	return get(ctx, s.writes, func(ctx context.Context, tx *transaction) (store.Agent, error) {
		a, err := agent(ctx, tx, id)
		if err != nil {
			return a, err
		}
		change(&a)
		return a, write(ctx, tx, a, "INSERT INTO agents VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET doc = excluded.doc", id)
	})
}

// Heartbeat implements store.Agents.
func (s *Store) Heartbeat(ctx context.Context, id store.AgentID, running map[build.ID]int64, at time.Time) (store.Agent, error) {
	return s.change(ctx, id, func(a *store.Agent) {
		a.Beat++
		a.Seen, a.Running = at, running
	})
}

// Describe implements store.Agents.
func (s *Store) Describe(ctx context.Context, id store.AgentID, slots int, labels, facts map[string]string) error {
	_, err := s.change(ctx, id, func(a *store.Agent) { a.Slots, a.Labels, a.Facts = slots, labels, facts })
	return err
}

// Drain implements store.Agents.
func (s *Store) Drain(ctx context.Context, id store.AgentID, draining bool) error {
	_, err := s.change(ctx, id, func(a *store.Agent) { a.Draining = draining })
	return err
}

// End implements store.Agents.
func (s *Store) End(ctx context.Context, id store.AgentID) error {
	_, err := s.change(ctx, id, func(a *store.Agent) { a.Draining, a.Ending = true, true })
	return err
}

// Agent implements store.Agents.
func (s *Store) Agent(ctx context.Context, id store.AgentID) (store.Agent, error) {
	return agent(ctx, s.reads, id)
}

// Agents implements store.Agents.
func (s *Store) Agents(ctx context.Context) ([]store.Agent, error) {
	all, err := many[store.Agent](ctx, s.reads, "SELECT doc FROM agents")
	slices.SortFunc(all, func(a, b store.Agent) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return all, err
}

// Bury implements store.Agents.
func (s *Store) Bury(ctx context.Context, id store.AgentID) error {
	return s.delete(ctx, "DELETE FROM agents WHERE id = ?", id)
}
