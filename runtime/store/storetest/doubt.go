package storetest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

// Doubtful returns a store that loses answers: of every three writes about one
// ends with store.ErrInDoubt, and of those every other one has happened. What it
// does is decided by seed and the order of the calls.
func Doubtful(s store.Store, seed uint64) store.Store {
	return &doubtful{Store: s, random: rand.New(rand.NewPCG(seed, 0))}
}

type doubtful struct {
	store.Store
	mu     sync.Mutex
	random *rand.Rand
}

// lose does a write, or does not, and perhaps keeps to itself what came of it.
func (d *doubtful) lose(do func() error) error {
	d.mu.Lock()
	fate := d.random.IntN(6)
	d.mu.Unlock()
	switch fate {
	case 0:
		return fmt.Errorf("the request was lost: %w", store.ErrInDoubt)
	case 1:
		do()
		return fmt.Errorf("the answer was lost: %w", store.ErrInDoubt)
	}
	return do()
}

func (d *doubtful) Enqueue(ctx context.Context, b store.Build) (got store.Build, err error) {
	err = d.lose(func() error { got, err = d.Store.Enqueue(ctx, b); return err })
	return got, err
}

func (d *doubtful) Change(ctx context.Context, id build.ID, c store.Change) (got store.Build, err error) {
	err = d.lose(func() error { got, err = d.Store.Change(ctx, id, c); return err })
	return got, err
}

func (d *doubtful) PutBlob(ctx context.Context, digest string, data []byte) error {
	return d.lose(func() error { return d.Store.PutBlob(ctx, digest, data) })
}

func (d *doubtful) AppendEvents(ctx context.Context, key store.EventKey, events []build.Event) error {
	return d.lose(func() error { return d.Store.AppendEvents(ctx, key, events) })
}

func (d *doubtful) AppendChunks(ctx context.Context, chunks []store.Chunk) error {
	return d.lose(func() error { return d.Store.AppendChunks(ctx, chunks) })
}

func (d *doubtful) ChangeGroup(ctx context.Context, key string, c store.GroupChange) (got store.Group, err error) {
	err = d.lose(func() error { got, err = d.Store.ChangeGroup(ctx, key, c); return err })
	return got, err
}

// life is one of everything that an agent does with a build.
func life(agent store.AgentID) []store.Change {
	return []store.Change{
		store.Claim{Agent: agent, Nonce: "1", Max: store.MaxAttempts, At: at},
		store.Planned{Agent: agent, Fence: 1, Plan: "sha256:1", Groups: []string{"live"}, Total: 3},
		store.Intend{Agent: agent, Fence: 1, Node: "deploy"},
		store.Fire{Agent: agent, Fence: 1, Node: "t", Outgoing: store.Outgoing{Child: id("c")}},
		store.Report{Agent: agent, Fence: 1, Progress: build.Progress{Total: 3, Done: 2}},
		store.Complete{Agent: agent, Fence: 1, State: build.Success, Progress: build.Progress{Total: 3, Done: 3}, At: at},
		store.Settle{Chore: store.Chore{Verb: store.EnqueueChild, Target: "t"}},
		store.Settle{Chore: store.Chore{Verb: store.Release, Target: "live"}},
	}
}

func answersLost(s suite) {
	for seed := range uint64(8) {
		word := fmt.Sprint("doubt", seed)
		flaky := Doubtful(s.Store, seed)
		first := store.NewBuild(id(word), int64(seed+1), store.Request{Project: "p"}, at)
		insist := func(do func() error) {
			s.t.Helper()
			require.NoError(s.t, store.Insist(s.ctx, do))
		}
		insist(func() error { _, err := flaky.Enqueue(s.ctx, first); return err })
		want := s.read(word)
		for _, c := range life(a) {
			var err error
			want, _, err = want.Changed(c)
			require.NoError(s.t, err)
			insist(func() error { _, err := flaky.Change(s.ctx, id(word), c); return err })
			require.Equal(s.t, want, s.read(word), "%T", c)
		}
		for i := range int64(4) {
			key := store.EventKey{Build: id(word), Fence: 1, Seq: i + 1}
			insist(func() error {
				return flaky.AppendEvents(s.ctx, key, []build.Event{{Seq: i + 1, Time: at, Kind: build.CancelRequested}})
			})
			insist(func() error {
				return flaky.AppendChunks(s.ctx, []store.Chunk{{Key: store.ChunkKey{Build: id(word), Fence: 1, Node: "n", Attempt: 1, Seq: i}, Line: i, Lines: 1, Offset: 2 * i, Data: []byte("x\n")}})
			})
			w := store.Waiter{Number: i, Build: id(fmt.Sprint(word, i))}
			insist(func() error {
				_, err := flaky.ChangeGroup(s.ctx, word, store.Acquire{Waiter: w})
				return err
			})
		}
		got, err := s.Events(s.ctx, id(word), 1, 1, 10)
		require.NoError(s.t, err)
		require.Len(s.t, got, 4)
		chunks, err := s.Chunks(s.ctx, store.ChunkKey{Build: id(word), Fence: 1, Node: "n", Attempt: 1}, 10)
		require.NoError(s.t, err)
		require.Len(s.t, chunks, 4)
		g, err := s.Group(s.ctx, word)
		require.NoError(s.t, err)
		require.Equal(s.t, id(fmt.Sprint(word, 0)), g.Holder)
		require.Len(s.t, g.Queue, 3)
	}
}

// asThePureOnes makes changes at random, most of which are refused, and wants
// the store to do what the Change alone does.
func asThePureOnes(s suite) {
	random := rand.New(rand.NewPCG(1, 2))
	for round := range 12 {
		word := fmt.Sprint("random", round)
		want := s.enqueue(word)
		for range 40 {
			c := anyChange(random, want)
			after, _, refusal := want.Changed(c)
			got, err := s.Change(s.ctx, id(word), c)
			require.Equal(s.t, refusal == nil, err == nil, "%#v on %+v: %v, not %v", c, want, err, refusal)
			if refusal == nil {
				require.Equal(s.t, after, got, "%#v", c)
				want = after
			}
			s.stands(want)
		}
	}
}

// anyChange returns a change that might hold, and might not.
func anyChange(random *rand.Rand, b store.Build) store.Change {
	agent := []store.AgentID{"agent-a", "agent-b"}[random.IntN(2)]
	fence := max(0, b.Fence-int64(random.IntN(4)/3))
	if b.Owner != "" && random.IntN(3) > 0 {
		agent = b.Owner
	}
	node := fmt.Sprint("n", random.IntN(3))
	states := []build.State{build.Success, build.Failed, build.Cancelled, build.TimedOut, build.Running}
	switch random.IntN(14) {
	case 0, 1, 2:
		return store.Claim{Agent: agent, Fence: fence, Nonce: fmt.Sprint(random.IntN(100)), Max: 4, At: at}
	case 3:
		return store.Planned{Agent: agent, Fence: fence, Plan: "sha256:1", Groups: []string{"g"}, Total: 3}
	case 4:
		return store.HandOver{Agent: agent, Fence: fence, Nonce: fmt.Sprint(random.IntN(100)), To: agent}
	case 5:
		return store.Report{Agent: agent, Fence: fence, Progress: build.Progress{Done: random.IntN(3)}}
	case 6:
		return store.Fire{Agent: agent, Fence: fence, Node: node, Outgoing: store.Outgoing{Child: id(node), Wait: random.IntN(2) > 0}}
	case 7:
		return store.Settle{Chore: store.Chore{Verb: store.EnqueueChild, Target: node}}
	case 8:
		if random.IntN(4) > 0 {
			return store.Offer{Fence: fence, To: agent}
		}
		return store.Intend{Agent: agent, Fence: fence, Node: node}
	case 9:
		return store.Complete{Agent: agent, Fence: fence, State: states[random.IntN(len(states))], Reason: node, At: at}
	case 10:
		return store.Rescue{Owner: agent, Fence: fence, Max: 4, At: at}
	case 11:
		if random.IntN(3) > 0 {
			return store.ForceCancel{Fence: fence, At: at}
		}
		return store.RequestCancel{Cancel: store.Cancel{By: node, Force: random.IntN(2) > 0}, At: at}
	case 12:
		return store.Approve{Node: node, Approval: store.Approval{Approved: random.IntN(2) > 0, By: "ann", At: at}}
	default:
		if random.IntN(8) > 0 {
			return store.Collect{}
		}
		return store.Expire{Fence: fence, State: build.TimedOut, At: at}
	}
}
