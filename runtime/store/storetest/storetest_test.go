package storetest

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

func TestMemory(t *testing.T) {
	Run(t, func(*testing.T) store.Store { return store.NewMemory() })
}

// What a store cannot do, and need not, is no success.
func TestWhatAStoreCannotDoIsNamed(t *testing.T) {
	for name, check := range map[string]func(suite){"store.Signatures": signed, "store.Portable": portable} {
		r := &recorder{}
		done := make(chan struct{})
		go func() {
			defer close(done)
			bare := struct{ store.Store }{store.NewMemory()}
			check(suite{r, t.Context(), bare, direct{bare}})
		}()
		<-done
		require.Equal(t, "the store is no "+name, r.skipped)
		require.Empty(t, r.failures)
	}
}

// A broken is a store that takes its changes through cheat first.
type broken struct {
	store.Store
	cheat func(now store.Build, c store.Change) store.Change
}

func (b broken) Change(ctx context.Context, id build.ID, c store.Change) (store.Build, error) {
	now, err := b.Store.Build(ctx, id)
	if err != nil {
		return now, err
	}
	return b.Store.Change(ctx, id, b.cheat(now, c))
}

// A does is a change that does what it is told to a build, guards or not.
type does func(b *store.Build)

func (d does) Apply(b *store.Build) (bool, error) { d(b); return true, nil }

// Each of these takes one guard out of a store that is otherwise right.
var guards = []struct {
	without string
	cheat   func(now store.Build, c store.Change) store.Change
}{
	{"the fence in complete", func(now store.Build, c store.Change) store.Change {
		if c, ok := c.(store.Complete); ok && now.Owner == c.Agent {
			c.Fence = now.Fence
			return c
		}
		return c
	}},
	{"the state in complete", func(now store.Build, c store.Change) store.Change {
		if c, ok := c.(store.Complete); ok && now.Terminal() {
			return does(func(b *store.Build) { b.State, b.Reason = c.State, c.Reason })
		}
		return c
	}},
	{"the fence in rescue", func(now store.Build, c store.Change) store.Change {
		if c, ok := c.(store.Rescue); ok {
			c.Owner, c.Fence = now.Owner, now.Fence
			return c
		}
		return c
	}},
	{"the terminal check in cancel", func(now store.Build, c store.Change) store.Change {
		if _, ok := c.(store.RequestCancel); ok && now.Terminal() {
			return does(func(b *store.Build) { b.State = build.Cancelled })
		}
		return c
	}},
	{"a trigger's one child", func(now store.Build, c store.Change) store.Change {
		if c, ok := c.(store.Fire); ok && now.Outbox[c.Node].Child != "" {
			return does(func(b *store.Build) { b.Outbox[c.Node] = c.Outgoing })
		}
		return c
	}},
	{"the chore of a trigger", func(now store.Build, c store.Change) store.Change {
		if c, ok := c.(store.Fire); ok && now.Outbox[c.Node].Child == "" {
			return does(func(b *store.Build) { b.Outbox = map[string]store.Outgoing{c.Node: c.Outgoing} })
		}
		return c
	}},
	{"the state in claim", func(now store.Build, c store.Change) store.Change {
		if c, ok := c.(store.Claim); ok && now.State != build.Queued {
			return does(func(b *store.Build) { b.State, b.Owner = build.Running, c.Agent })
		}
		return c
	}},
	{"whom a build is for in claim", func(now store.Build, c store.Change) store.Change {
		if c, ok := c.(store.Claim); ok && now.Request.Here != "" && now.Request.Here != c.Agent {
			return does(func(b *store.Build) { b.State, b.Owner, b.Fence = build.Running, c.Agent, b.Fence+1 })
		}
		return c
	}},
	{"the once mark in rescue", func(now store.Build, c store.Change) store.Change {
		if _, ok := c.(store.Rescue); ok && len(now.Once) > 0 {
			return does(func(b *store.Build) { b.State, b.Owner = build.Queued, ""; b.Fence++ })
		}
		return c
	}},
	{"the tombstone", func(now store.Build, c store.Change) store.Change {
		if _, ok := c.(store.Collect); ok && now.Terminal() && len(now.Pending) == 0 {
			return does(func(b *store.Build) { *b = store.Build{} })
		}
		return c
	}},
}

func TestTheSuiteRejectsAStoreWithoutOneOfItsGuards(t *testing.T) {
	for _, c := range guards {
		t.Run(c.without, func(t *testing.T) {
			failing := Failing(t.Context(), func() store.Store { return broken{store.NewMemory(), c.cheat} })
			require.NotEmpty(t, failing)
			t.Log(strings.Join(failing, "\n"))
		})
	}
}
