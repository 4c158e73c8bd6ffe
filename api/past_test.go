package api

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

// A reading is a store that counts the events that it gives, and the blobs.
type reading struct {
	store.Store
	events, blobs atomic.Int64
}

func (c *reading) Events(ctx context.Context, id build.ID, fence, from int64, limit int) ([]build.Event, error) {
	list, err := c.Store.Events(ctx, id, fence, from, limit)
	c.events.Add(int64(len(list)))
	return list, err
}

func (c *reading) Blob(ctx context.Context, digest string) ([]byte, error) {
	c.blobs.Add(1)
	return c.Store.Blob(ctx, digest)
}

// add appends events under a fence of build b, those from one seq to another.
func (c *reading) add(t *testing.T, fence, from, to int64) {
	var list []build.Event
	for seq := from; seq <= to; seq++ {
		list = append(list, build.Event{Seq: seq, Time: time.Unix(1e9, 0).UTC(), Kind: build.AttemptStarted, Node: fmt.Sprint(fence, "-", seq)})
	}
	for some := range slices.Chunk(list, 100) {
		require.NoError(t, c.AppendEvents(t.Context(), store.EventKey{Build: "b", Fence: fence, Seq: some[0].Seq}, some))
	}
}

func TestPastEvents(t *testing.T) {
	c := &reading{Store: store.NewMemory()}
	s := &past{Store: c}
	same := func(fence, from int64, limit int) {
		t.Helper()
		want, err := c.Store.Events(t.Context(), "b", fence, from, limit)
		require.NoError(t, err)
		got, err := s.Events(t.Context(), "b", fence, from, limit)
		require.NoError(t, err)
		require.Equal(t, append([]build.Event{}, want...), append([]build.Event{}, got...))
	}
	for last := int64(1); last < 141; last += 7 {
		for fence := int64(1); fence < 3; fence++ {
			c.add(t, fence, last, last+6)
			for _, from := range []int64{last + 20, last + 5, 1, 2, last, last + 6, last + 7} {
				for _, limit := range []int{1, 3, 7, 1000} {
					same(fence, from, limit)
				}
			}
		}
	}

	// What was read is not read again.
	c.events.Store(0)
	for range 10 {
		same(1, 1, 1000)
	}
	require.Zero(t, c.events.Load())
	c.add(t, 1, 141, 150)
	same(1, 1, 1000)
	require.EqualValues(t, 10, c.events.Load())

	// An error of the store is told, and nothing is remembered of it.
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	broken := &past{Store: away{c}}
	_, err := broken.Events(gone, "b", 1, 1, 1000)
	require.ErrorIs(t, err, context.Canceled)
	broken.Store = c
	list, err := broken.Events(t.Context(), "b", 1, 1, 1000)
	require.NoError(t, err)
	require.Len(t, list, 150)
}

// away is a store that is away.
type away struct{ store.Store }

func (away) Events(ctx context.Context, _ build.ID, _, _ int64, _ int) ([]build.Event, error) {
	return nil, ctx.Err()
}

// Many read while somebody writes, and each sees all that there was when it began.
func TestPastIsShared(t *testing.T) {
	c := &reading{Store: store.NewMemory()}
	s := &past{Store: c}
	var written atomic.Int64
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for last := int64(0); last < 1000; {
				before := written.Load()
				list, err := s.Events(t.Context(), "b", 1, 1, 10_000)
				if err != nil || int64(len(list)) < before {
					t.Errorf("%d events of %d: %v", len(list), before, err)
					return
				}
				for i, ev := range list {
					if ev.Seq != int64(i+1) {
						t.Errorf("event %d is at %d", ev.Seq, i)
						return
					}
				}
				last = int64(len(list))
			}
		})
	}
	for seq := int64(1); seq <= 1000; seq += 10 {
		c.add(t, 1, seq, seq+9)
		written.Store(seq + 9)
	}
	all.Wait()
}

func TestPastPlans(t *testing.T) {
	c := &reading{Store: store.NewMemory()}
	s := &past{Store: c}
	var builds []store.Build
	for i := range pastFew + 1 {
		digest, err := store.PutPlan(t.Context(), c, &plan.Plan{Format: plan.Format, Project: plan.Project{Name: "shop"}, Pipeline: fmt.Sprint("p", i),
			Nodes: []plan.Node{{Name: "x", Step: &plan.Step{Script: ":"}}}})
		require.NoError(t, err)
		builds = append(builds, store.Build{ID: "b", Plan: digest})
	}
	for range 2 {
		for i, b := range builds[:pastFew] {
			p, err := s.plan(t.Context(), &b)
			require.NoError(t, err)
			require.Equal(t, fmt.Sprint("p", i), p.Pipeline)
		}
	}
	require.EqualValues(t, pastFew, c.blobs.Load())
	// One more, and the one that was not used for longest is read anew.
	for _, i := range []int{pastFew, pastFew - 1, 0} {
		_, err := s.plan(t.Context(), &builds[i])
		require.NoError(t, err)
	}
	require.EqualValues(t, pastFew+2, c.blobs.Load())

	_, err := s.plan(t.Context(), &store.Build{ID: "b", Plan: "sha256:none"})
	require.ErrorIs(t, err, store.ErrNotFound)
}

func TestRecent(t *testing.T) {
	var r recent[string, int]
	r.put("a", 1, pastMost/2)
	r.put("b", 2, pastMost/2)
	r.put("huge", 3, pastMost+1)
	_, known := r.get("huge")
	require.False(t, known)
	_, known = r.get("a")
	require.True(t, known)
	r.put("c", 4, 1)
	_, known = r.get("b")
	require.False(t, known, "it was used longest ago")
	r.put("a", 5, pastMost)
	v, known := r.get("a")
	require.True(t, known)
	require.Equal(t, 5, v)
	require.Len(t, r.entries, 1)
}

// Who asks for each step of a build has what happened in it read once, be it more
// than is remembered.
func TestPastSteps(t *testing.T) {
	c, ctx := &reading{Store: store.NewMemory()}, t.Context()
	s := &past{Store: c}
	p := &plan.Plan{Format: plan.Format, Pipeline: "build"}
	for i := range pastMost / 2 {
		p.Nodes = append(p.Nodes, plan.Node{Name: fmt.Sprint("s", i), Step: &plan.Step{Argv: []plan.Text{plan.Lit("true")}}})
	}
	digest, err := store.PutPlan(ctx, c, p)
	require.NoError(t, err)
	b, err := c.Enqueue(ctx, store.NewBuild("b", 1, store.Request{Project: "p"}, time.Unix(1e9, 0).UTC()))
	require.NoError(t, err)
	change := func(with store.Change) {
		t.Helper()
		b, err = c.Change(ctx, b.ID, with)
		require.NoError(t, err)
	}
	change(store.Claim{Agent: "a", Nonce: "n", Max: 2})
	change(store.Planned{Agent: "a", Fence: 1, Plan: digest, Total: len(p.Nodes)})
	seq := int64(0)
	happen := func(events ...build.Event) {
		for i := range events {
			events[i].Seq, events[i].Time = seq+int64(i)+1, time.Unix(1e9, 0).UTC()
		}
		require.NoError(t, c.AppendEvents(ctx, store.EventKey{Build: b.ID, Fence: 1, Seq: seq + 1}, events))
		seq += int64(len(events))
	}
	happen(build.Event{Kind: build.BuildStarted})
	for nodes := range slices.Chunk(p.Nodes, 100) {
		var events []build.Event
		for _, n := range nodes {
			events = append(events, build.Event{Kind: build.AttemptStarted, Node: n.Name, Attempt: 1},
				build.Event{Kind: build.AttemptEnded, Node: n.Name, Attempt: 1, State: build.Success})
		}
		last := len(events) - 1
		happen(events[:last]...)
		for i, n := range nodes {
			o := output{build: b, step: n.Name, attempt: 1, fence: 1}
			over, err := o.over(ctx, s)
			require.NoError(t, err)
			require.Equal(t, i < len(nodes)-1, over, n.Name)
		}
		happen(events[last])
	}
	o := output{build: b, step: p.Nodes[len(p.Nodes)-1].Name, attempt: 1, fence: 1}
	over, err := o.over(ctx, s)
	require.NoError(t, err)
	require.True(t, over)
	require.Greater(t, seq, int64(pastMost))
	require.EqualValues(t, seq, c.events.Load())

	_, _, err = s.step(ctx, &b, "s1x")
	require.ErrorContains(t, err, "s1x")

	// Whoever waits for what will never come is told so.
	change(store.Rescue{Owner: "a", Fence: 1, Max: 2})
	o = output{build: b, step: "s1", attempt: 2, fence: 1}
	over, err = o.over(ctx, s)
	require.NoError(t, err)
	require.True(t, over, "somebody else will have it")
	o = output{build: store.Build{ID: "none"}, step: "s1", attempt: 1, fence: 1}
	_, err = o.over(ctx, s)
	require.ErrorIs(t, err, store.ErrNotFound)
}
