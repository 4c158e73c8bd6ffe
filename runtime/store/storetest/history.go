package storetest

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

var operations = flag.Int("storetest.operations", 5000, "how many operations a history has that is held against the model")

// Linearizable has clients work on a few builds all at once, each through one of
// the stores, which are of one database, and wants an order of all that they did,
// each between its beginning and its end, in which the pure Changes alone give
// every answer that they got.
//
// Now and then an answer is lost: what was asked for happened, or did not, or will
// happen. Such an operation has no end. harm, unless it is nil, is called every
// now and then, to have more answers lost.
func Linearizable(t *testing.T, harm func(), stores ...store.Store) {
	h := newHistory(rand.Uint64(), stores...)
	h.harm = harm
	h.run(t.Context(), *operations)
	require.Empty(t, h.errs)
	lost := 0
	for _, op := range h.operations {
		if !op.Output.(answer).known {
			lost++
		}
	}
	t.Logf("seed %d: %d operations on %d builds, %d without an answer", h.seed, len(h.operations), len(perBuild(h.operations)), lost)
	require.Less(t, lost, len(h.operations)/2, "too little was seen")
	require.NoError(t, explain(h.operations))
}

const (
	clients = 8
	slots   = 3 // builds that are worked on at a time
	owners  = 3 // agents that the clients are in turn
)

// A history is what clients did.
type history struct {
	seed       uint64
	stores     []store.Store
	harm       func()
	clock      atomic.Int64 // orders beginnings and ends
	generation [slots]atomic.Int64

	mu         sync.Mutex // guards what follows
	operations []porcupine.Operation
	errs       []error // that no store may return
}

func newHistory(seed uint64, stores ...store.Store) *history {
	return &history{seed: seed, stores: stores}
}

// A request is one operation: an Enqueue, a Change, or else a Build.
type request struct {
	id      build.ID
	enqueue *store.Build
	change  store.Change
}

// An answer is what came of it.
type answer struct {
	known bool
	build store.Build
	err   error // one of the refusals
}

// refusals are the errors that the model knows.
var refusals = []error{nil, store.ErrNotFound, store.ErrConflict, store.ErrFenced}

func (r request) send(ctx context.Context, s store.Store) (store.Build, error) {
	switch {
	case r.enqueue != nil:
		return s.Enqueue(ctx, *r.enqueue)
	case r.change != nil:
		return s.Change(ctx, r.id, r.change)
	}
	return s.Build(ctx, r.id)
}

func (r request) String() string {
	switch {
	case r.enqueue != nil:
		return fmt.Sprintf("enqueue %s as number %d", r.enqueue.Hash[:4], r.enqueue.Number)
	case r.change != nil:
		return strings.TrimPrefix(fmt.Sprintf("%+v", r.change), "&")
	}
	return "read"
}

// apply is the model: one build, which is nil before it is enqueued.
func (r request) apply(b *store.Build) (after *store.Build, a answer) {
	switch {
	case r.enqueue != nil && b == nil:
		made := *r.enqueue
		made.Rev = 1
		b = &made
	case r.enqueue != nil && b.Hash != r.enqueue.Hash:
		return b, answer{err: store.ErrConflict}
	case b == nil:
		return nil, answer{err: store.ErrNotFound}
	case r.change != nil:
		changed, differs, err := b.Changed(r.change)
		if err != nil {
			return b, answer{err: refusal(err)}
		}
		if differs {
			b = &changed
		}
	}
	return b, answer{build: *b}
}

// refusal is the one of refusals that err is; err itself when it is none.
func refusal(err error) error {
	for _, r := range refusals {
		if errors.Is(err, r) {
			return r
		}
	}
	return err
}

// A state is what the model knows of a build. Once all is over, it is of no
// interest what else happens.
type state struct {
	build *store.Build
	over  bool
}

// over is the last operation of a history but for those without an answer: they
// may happen after it, which is the same as never.
type over struct{}

// model is what porcupine holds a history of one build against. What has no answer
// and changes nothing might as well come last, and is not looked at before: else
// there were too many orders.
var model = porcupine.Model{
	Init: func() any { return state{} },
	Step: func(before, input, output any) (bool, any) {
		s := before.(state)
		r, ok := input.(request)
		switch {
		case !ok:
			return true, state{over: true}
		case s.over:
			return true, s
		}
		after, want := r.apply(s.build)
		got := output.(answer)
		if !got.known {
			return after != s.build, state{build: after}
		}
		return got.err == want.err && reflect.DeepEqual(got.build, want.build), state{build: after}
	},
	Equal: func(a, b any) bool { return reflect.DeepEqual(a, b) },
}

// perBuild are the operations on each build. Each has to have an order by itself,
// and that is enough.
func perBuild(operations []porcupine.Operation) map[build.ID][]porcupine.Operation {
	builds := map[build.ID][]porcupine.Operation{}
	for _, op := range operations {
		id := op.Input.(request).id
		builds[id] = append(builds[id], op)
	}
	return builds
}

// explain returns an error with the history of a build that has no order.
func explain(operations []porcupine.Operation) error {
	builds := perBuild(operations)
	for _, id := range slices.Sorted(maps.Keys(builds)) {
		last := int64(0)
		for _, op := range builds[id] {
			if op.Output.(answer).known {
				last = max(last, op.Return)
			}
		}
		end := porcupine.Operation{Input: over{}, Call: last + 1, Return: last + 2}
		result := porcupine.CheckOperationsTimeout(model, append(builds[id], end), time.Minute)
		if result == porcupine.Ok {
			continue
		}
		var text strings.Builder
		slices.SortFunc(builds[id], func(a, b porcupine.Operation) int { return cmp.Compare(a.Call, b.Call) })
		for _, op := range builds[id] {
			fmt.Fprintf(&text, "\n%d: %v: ", op.Call, op.Input)
			switch a := op.Output.(answer); {
			case !a.known:
				text.WriteString("no answer")
			case a.err != nil:
				fmt.Fprintf(&text, "%v at %d", a.err, op.Return)
			default:
				fmt.Fprintf(&text, "revision %d is %s under fence %d at %d", a.build.Rev, a.build.State, a.build.Fence, op.Return)
			}
		}
		return fmt.Errorf("what clients saw of %s has no order (%s):%s", id, result, text.String())
	}
	return nil
}

// run has clients do n operations in all.
func (h *history) run(ctx context.Context, n int) {
	var done sync.WaitGroup
	for i := range clients {
		done.Go(func() {
			c := &client{history: h, ctx: ctx, store: h.stores[i%len(h.stores)], random: rand.New(rand.NewPCG(h.seed, uint64(i))), seen: map[build.ID]store.Build{}}
			for range n / clients {
				c.operate()
			}
			c.late.Wait()
		})
	}
	done.Wait()
}

// A client does one thing after the other.
type client struct {
	*history
	ctx    context.Context
	store  store.Store
	random *rand.Rand
	seen   map[build.ID]store.Build // the last answers
	doubt  *request                 // that got no answer
	late   sync.WaitGroup           // requests that are on their way
}

// chance is true one time in n.
func (c *client) chance(n int) bool { return c.random.IntN(n) == 0 }

// operate does one operation, and records it.
func (c *client) operate() {
	r := c.next()
	call := c.clock.Add(1)
	if c.harm != nil && call%100 == 0 {
		c.harm()
	}
	var got store.Build
	err := store.ErrInDoubt
	reads := r.enqueue == nil && r.change == nil
	switch fate := c.random.IntN(30); {
	case fate == 0 && !reads: // the request was lost
	case fate == 1 && !reads: // the answer was lost
		r.send(c.ctx, c.store)
	case fate == 2 && !reads: // it takes its time
		c.late.Go(func() { r.send(c.ctx, c.store) })
	default:
		got, err = r.send(c.ctx, c.store)
	}
	end := c.clock.Add(1)
	a := answer{known: true, build: got, err: refusal(err)}
	switch {
	case errors.Is(err, store.ErrInDoubt):
		if c.doubt = nil; reads {
			return // it did nothing
		}
		a, end, c.doubt = answer{}, math.MaxInt64, &r
	case err == nil:
		c.seen[r.id] = got
	case !slices.Contains(refusals, a.err):
		c.mu.Lock()
		defer c.mu.Unlock()
		c.errs = append(c.errs, fmt.Errorf("%v: %w", r, err))
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.operations = append(c.operations, porcupine.Operation{Input: r, Call: call, Output: a, Return: end})
}

// next is what a client does next, knowing what it saw last.
func (c *client) next() request {
	if c.doubt != nil && !c.chance(3) {
		again := *c.doubt
		return again
	}
	slot := c.random.IntN(slots)
	generation := c.generation[slot].Load()
	id := build.ID(fmt.Sprintf("h%x-%d-%d", c.seed, slot, generation))
	b, known := c.seen[id]
	if known && b.Terminal() && c.chance(3) {
		c.generation[slot].CompareAndSwap(generation, generation+1)
	}
	agent := store.AgentID(fmt.Sprint("agent-", c.random.IntN(owners)))
	mine := cmp.Or(b.Owner, agent)
	r := request{id: id}
	switch dice := c.random.IntN(20); {
	case dice < 6 && known: // it reads
	case dice < 8:
		made := store.NewBuild(id, c.clock.Add(1), store.Request{Project: fmt.Sprint("p", c.random.IntN(8)/7)}, at)
		r.enqueue = &made
	case dice < 13:
		r.change = store.Claim{Agent: agent, Fence: b.Fence, Nonce: fmt.Sprint(c.clock.Add(1)), Max: 6, At: at}
	case dice < 16:
		r.change = store.Rescue{Owner: mine, Fence: b.Fence, Max: 6, At: at}
	case dice < 18:
		r.change = store.Complete{Agent: mine, Fence: b.Fence, State: []build.State{build.Success, build.Failed}[c.random.IntN(2)], Reason: fmt.Sprint(c.clock.Add(1)), At: at}
	case dice < 19 && c.chance(2):
		r.change = store.RequestCancel{Cancel: store.Cancel{By: string(agent), Force: c.chance(2)}, At: at}
	}
	return r
}
