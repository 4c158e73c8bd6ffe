package agent

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

// A does is a change that does what it is told to a build, guards or not.
type does func(b *store.Build)

func (d does) Apply(b *store.Build) (bool, error) { d(b); return true, nil }

// Each of these takes one thing out of the protocol, and the simulation has to
// notice, by breaking what it is there for.
var mutants = []struct {
	mutant
	breaks string
}{
	{mutant{name: "the fence in complete", cheat: func(now store.Build, c store.Change) store.Change {
		if c, ok := c.(store.Complete); ok && now.State == build.Running {
			c.Agent, c.Fence = now.Owner, now.Fence
			return c
		}
		return c
	}}, "I6"},
	{mutant{name: "the state in complete", cheat: func(now store.Build, c store.Change) store.Change {
		if c, ok := c.(store.Complete); ok && now.Terminal() {
			return does(func(b *store.Build) { b.State, b.Reason = c.State, c.Reason })
		}
		return c
	}}, "I1"},
	{mutant{name: "the fence in rescue", cheat: func(now store.Build, c store.Change) store.Change {
		if c, ok := c.(store.Rescue); ok && now.State == build.Running {
			c.Owner, c.Fence = now.Owner, now.Fence
			return c
		}
		return c
	}}, "I6"},
	{mutant{name: "the terminal check in cancel", cheat: func(now store.Build, c store.Change) store.Change {
		if _, ok := c.(store.RequestCancel); ok && now.Terminal() {
			return does(func(b *store.Build) { b.State = build.Cancelled })
		}
		return c
	}}, "I1"},
	{mutant{name: "the state in claim", cheat: func(now store.Build, c store.Change) store.Change {
		if c, ok := c.(store.Claim); ok && now.State != build.Queued {
			return does(func(b *store.Build) { b.State, b.Owner, b.Fence, b.Nonce = build.Running, c.Agent, b.Fence+1, c.Nonce })
		}
		return c
	}}, "I"},
	{mutant{name: "a child's id that is derived", renamed: func(id build.ID) build.ID {
		if strings.HasPrefix(string(id), "build-") {
			return id
		}
		return store.Derive(string(id), now().String())
	}}, "I3"},
	{mutant{name: "the chore of what comes after", cheat: func(now store.Build, c store.Change) store.Change {
		if end, ok := c.(store.Complete); ok {
			return does(func(b *store.Build) {
				if _, err := end.Apply(b); err == nil {
					b.Pending = slices.DeleteFunc(b.Pending, func(c store.Chore) bool { return c.Verb == store.StartAfter })
				}
			})
		}
		return c
	}}, "I3"},
	{mutant{name: "rescue's look at what started", cheat: func(now store.Build, c store.Change) store.Change {
		if c, ok := c.(store.Rescue); ok && len(now.Once) > 0 && now.Owner == c.Owner && now.Fence == c.Fence {
			return does(func(b *store.Build) { b.State, b.Owner, b.Once = build.Queued, "", nil; b.Fence++ })
		}
		return c
	}}, "once"},
	{mutant{name: "the look at a group before it is taken", cheat: func(now store.Build, c store.Change) store.Change {
		if c, ok := c.(store.Planned); ok {
			c.Groups = nil
			return c
		}
		return c
	}}, "groups"},
}

func TestTheSimulationFindsWhatIsTakenOut(t *testing.T) {
	if testing.Short() {
		t.Skip("it makes some hundred worlds")
	}
	most := uint64(1000)
	for _, m := range mutants {
		t.Run(m.name, func(t *testing.T) {
			for seed := uint64(1); seed <= most; seed++ {
				s := scenarioOf(seed)
				s.mutant = m.mutant
				wrong, _ := play(t, s)
				i := slices.IndexFunc(wrong, func(w string) bool { return strings.HasPrefix(w, m.breaks) })
				if i >= 0 {
					t.Logf("in world %d: %s", seed, wrong[i])
					return
				}
			}
			require.Fail(t, "nothing was noticed", "in %d worlds", most)
		})
	}
}
