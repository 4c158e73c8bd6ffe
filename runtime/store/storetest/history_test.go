package storetest

import (
	"context"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

func TestMemoryIsLinearizable(t *testing.T) {
	s := store.NewMemory()
	Linearizable(t, nil, s, s)
}

// rejected looks for a history of a store that has no order. Which one does not
// have one is a matter of chance.
func rejected(t *testing.T, open func() store.Store) {
	for range 50 {
		s := open()
		h := newHistory(1, s, s)
		h.run(t.Context(), 1000)
		require.Empty(t, h.errs)
		if err := explain(h.operations); err != nil {
			require.ErrorContains(t, err, "has no order (Illegal)")
			return
		}
	}
	t.Fatal("every history has an order")
}

func TestHistoriesOfAStoreWithoutOneOfItsGuards(t *testing.T) {
	for _, c := range guards {
		switch c.without {
		case "the fence in complete", "the state in complete", "the fence in rescue", "the terminal check in cancel", "the state in claim":
			t.Run(c.without, func(t *testing.T) {
				rejected(t, func() store.Store { return broken{store.NewMemory(), c.cheat} })
			})
		}
	}
}

// An unsafe store is right as long as nobody else is there.
type unsafe struct {
	store.Store
	mu     sync.Mutex
	n      int
	before map[build.ID]store.Build // each newest change
	fault  string
}

func (u *unsafe) Build(ctx context.Context, id build.ID) (store.Build, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if old, ok := u.before[id]; ok && u.fault == "reads are stale" && u.often() {
		return old, nil
	}
	return u.Store.Build(ctx, id)
}

// often is true now and then.
func (u *unsafe) often() bool { u.n++; return u.n%5 == 0 }

func (u *unsafe) Change(ctx context.Context, id build.ID, c store.Change) (store.Build, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	now, err := u.Store.Build(ctx, id)
	if err != nil {
		return now, err
	}
	after, differs, err := now.Changed(c)
	switch {
	case err != nil:
		return store.Build{}, err
	case differs && u.fault == "a change is lost that was acknowledged" && u.often():
		return after, nil
	case differs && u.fault == "a change is made of what was there before" && u.often():
		old, ok := u.before[id]
		if ok {
			if late, _, err := old.Changed(c); err == nil {
				late.Rev = now.Rev
				return u.Store.Change(ctx, id, does(func(b *store.Build) { *b = late }))
			}
		}
	}
	u.before[id] = now
	return u.Store.Change(ctx, id, c)
}

func TestHistoriesOfAStoreThatIsUnsafe(t *testing.T) {
	for _, fault := range []string{"reads are stale", "a change is lost that was acknowledged", "a change is made of what was there before"} {
		t.Run(fault, func(t *testing.T) {
			rejected(t, func() store.Store {
				return &unsafe{Store: store.NewMemory(), before: map[build.ID]store.Build{}, fault: fault}
			})
		})
	}
	t.Run("nothing", func(t *testing.T) {
		s := &unsafe{Store: store.NewMemory(), before: map[build.ID]store.Build{}}
		Linearizable(t, nil, s, s)
	})
}
