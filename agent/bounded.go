package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

// A bounded is a Store that is waited for so long and no longer. What it has not
// answered by then is in doubt, as any other call whose answer is lost: one that
// stalls for ever would hold up a loop, or the end of a build, for ever.
type bounded struct {
	store.Store
	most time.Duration
}

// bound asks with a limit.
func bound[T any](ctx context.Context, most time.Duration, ask func(ctx context.Context) (T, error)) (T, error) {
	limited, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	answer, err := ask(limited)
	if err != nil && limited.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("the store has not answered for %s (%w): %w", most, err, store.ErrInDoubt)
	}
	return answer, err
}

// do is bound for what has no answer but an error.
func (s bounded) do(ctx context.Context, ask func(ctx context.Context) error) error {
	_, err := bound(ctx, s.most, func(ctx context.Context) (struct{}, error) { return struct{}{}, ask(ctx) })
	return err
}

func (s bounded) NextNumber(ctx context.Context) (int64, error) {
	return bound(ctx, s.most, s.Store.NextNumber)
}
func (s bounded) Enqueue(ctx context.Context, b store.Build) (store.Build, error) {
	return bound(ctx, s.most, func(ctx context.Context) (store.Build, error) { return s.Store.Enqueue(ctx, b) })
}
func (s bounded) Build(ctx context.Context, id build.ID) (store.Build, error) {
	return bound(ctx, s.most, func(ctx context.Context) (store.Build, error) { return s.Store.Build(ctx, id) })
}
func (s bounded) Change(ctx context.Context, id build.ID, c store.Change) (store.Build, error) {
	return bound(ctx, s.most, func(ctx context.Context) (store.Build, error) { return s.Store.Change(ctx, id, c) })
}
func (s bounded) List(ctx context.Context, f store.Filter, cursor string, limit int) ([]store.Build, string, error) {
	type answer struct {
		page []store.Build
		next string
	}
	a, err := bound(ctx, s.most, func(ctx context.Context) (a answer, err error) {
		a.page, a.next, err = s.Store.List(ctx, f, cursor, limit)
		return a, err
	})
	return a.page, a.next, err
}
func (s bounded) Queue(ctx context.Context, choice store.AgentID, limit int) ([]store.Build, error) {
	return bound(ctx, s.most, func(ctx context.Context) ([]store.Build, error) { return s.Store.Queue(ctx, choice, limit) })
}
func (s bounded) Running(ctx context.Context, owner store.AgentID) ([]store.Build, error) {
	return bound(ctx, s.most, func(ctx context.Context) ([]store.Build, error) { return s.Store.Running(ctx, owner) })
}
func (s bounded) Overview(ctx context.Context, unsettled, queue int) (store.Overview, error) {
	return bound(ctx, s.most, func(ctx context.Context) (store.Overview, error) {
		return store.Look(ctx, s.Store, unsettled, queue)
	})
}
func (s bounded) PutBlob(ctx context.Context, digest string, data []byte) error {
	return s.do(ctx, func(ctx context.Context) error { return s.Store.PutBlob(ctx, digest, data) })
}
func (s bounded) Blob(ctx context.Context, digest string) ([]byte, error) {
	return bound(ctx, s.most, func(ctx context.Context) ([]byte, error) { return s.Store.Blob(ctx, digest) })
}
func (s bounded) Group(ctx context.Context, key string) (store.Group, error) {
	return bound(ctx, s.most, func(ctx context.Context) (store.Group, error) { return s.Store.Group(ctx, key) })
}
func (s bounded) ChangeGroup(ctx context.Context, key string, c store.GroupChange) (store.Group, error) {
	return bound(ctx, s.most, func(ctx context.Context) (store.Group, error) { return s.Store.ChangeGroup(ctx, key, c) })
}
func (s bounded) Join(ctx context.Context, a store.Agent) error {
	return s.do(ctx, func(ctx context.Context) error { return s.Store.Join(ctx, a) })
}
func (s bounded) Heartbeat(ctx context.Context, id store.AgentID, running map[build.ID]int64, at time.Time) (store.Agent, error) {
	return bound(ctx, s.most, func(ctx context.Context) (store.Agent, error) { return s.Store.Heartbeat(ctx, id, running, at) })
}
func (s bounded) Describe(ctx context.Context, id store.AgentID, slots int, labels, facts map[string]string) error {
	return s.do(ctx, func(ctx context.Context) error { return s.Store.Describe(ctx, id, slots, labels, facts) })
}
func (s bounded) Drain(ctx context.Context, id store.AgentID, draining bool) error {
	return s.do(ctx, func(ctx context.Context) error { return s.Store.Drain(ctx, id, draining) })
}

func (s bounded) End(ctx context.Context, id store.AgentID) error {
	return s.do(ctx, func(ctx context.Context) error { return s.Store.End(ctx, id) })
}
func (s bounded) Bury(ctx context.Context, id store.AgentID) error {
	return s.do(ctx, func(ctx context.Context) error { return s.Store.Bury(ctx, id) })
}
func (s bounded) PutProject(ctx context.Context, p store.Project) (store.Project, error) {
	return bound(ctx, s.most, func(ctx context.Context) (store.Project, error) { return s.Store.PutProject(ctx, p) })
}
func (s bounded) Project(ctx context.Context, name string) (store.Project, error) {
	return bound(ctx, s.most, func(ctx context.Context) (store.Project, error) { return s.Store.Project(ctx, name) })
}
func (s bounded) Projects(ctx context.Context) ([]store.Project, error) {
	return bound(ctx, s.most, s.Store.Projects)
}

// Purge deletes much, which takes its time.
func (s bounded) Purge(ctx context.Context, id build.ID) error {
	s.most *= 60
	return s.do(ctx, func(ctx context.Context) error { return s.Store.Purge(ctx, id) })
}
