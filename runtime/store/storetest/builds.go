package storetest

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

const a, b store.AgentID = "agent-a", "agent-b"

func enqueuedOnce(s suite) {
	r := store.Request{Project: "p", Pipeline: "build", Params: map[string]string{"v": "1"}, Ref: "main", Select: plan.Selection{Only: []string{"unit"}, Outputs: map[string]map[string]string{"v": {"n": "1"}}},
		Event: plan.Event{Kind: "push", Branch: "main", Time: at}, Cause: store.Cause{Kind: "push", By: "ann"}}
	first, err := s.Enqueue(s.ctx, store.NewBuild(id("x"), 1, r, at))
	require.NoError(s.t, err)
	require.Equal(s.t, build.Queued, first.State)
	require.Equal(s.t, r, first.Request)
	require.Equal(s.t, int64(1), first.Rev)
	s.stands(first)

	again, err := s.Enqueue(s.ctx, store.NewBuild(id("x"), 2, r, at.Add(1)))
	require.NoError(s.t, err)
	require.Equal(s.t, first, again, "the one that is there is kept")

	r.Params = map[string]string{"v": "2"}
	_, err = s.Enqueue(s.ctx, store.NewBuild(id("x"), 3, r, at))
	require.ErrorIs(s.t, err, store.ErrConflict)
	s.stands(first)

	// Who runs it has it from its birth on.
	born, _, err := store.NewBuild(id("born"), 4, r, at).Changed(store.Claim{Agent: a, Nonce: "n", Max: 1, At: at})
	require.NoError(s.t, err)
	for range 2 {
		born, err = s.Enqueue(s.ctx, born)
		require.NoError(s.t, err)
		require.Equal(s.t, int64(1), born.Rev)
	}
	s.stands(born)
	waiting, err := s.Queue(s.ctx, "", 10)
	require.NoError(s.t, err)
	require.Len(s.t, waiting, 1, "nobody else sees it waiting")
	held, err := s.Running(s.ctx, a)
	require.NoError(s.t, err)
	require.Equal(s.t, []store.Build{born}, held)
	s.change("born", store.Complete{Agent: a, Fence: 1, State: build.Success, At: at})
}

// racers is how many goroutines race.
const racers = 32

// race has many goroutines do the same, all at once.
func race(do func(i int)) {
	var start, done sync.WaitGroup
	start.Add(1)
	for i := range racers {
		done.Go(func() { start.Wait(); do(i) })
	}
	start.Done()
	done.Wait()
}

func numbersGrow(s suite) {
	var mu sync.Mutex
	seen := map[int64]bool{}
	var failures []error
	race(func(int) {
		last := int64(0)
		for range 4 {
			n, err := s.NextNumber(s.ctx)
			mu.Lock()
			if err != nil || n <= last || seen[n] {
				failures = append(failures, fmt.Errorf("number %d after %d, drawn before: %v, %w", n, last, seen[n], err))
			}
			seen[n] = true
			mu.Unlock()
			last = n
		}
	})
	require.Empty(s.t, failures)
}

func claimsRace(s suite) {
	s.enqueue("x")
	won := make([]bool, racers)
	errs := make([]error, racers)
	race(func(i int) {
		agent := store.AgentID(fmt.Sprintf("agent-%d", i))
		got, err := s.Change(s.ctx, id("x"), store.Claim{Agent: agent, Nonce: string(agent), Max: store.MaxAttempts, At: at})
		won[i], errs[i] = err == nil && got.Owner == agent, err
	})
	winner := -1
	for i := range racers {
		if won[i] {
			require.Equal(s.t, -1, winner, "two agents have it")
			winner = i
		} else {
			require.ErrorIs(s.t, errs[i], store.ErrConflict)
		}
	}
	require.NotEqual(s.t, -1, winner, "nobody has it")
	got := s.read("x")
	require.Equal(s.t, store.AgentID(fmt.Sprintf("agent-%d", winner)), got.Owner)
	require.Equal(s.t, int64(1), got.Fence)
	require.Equal(s.t, 1, got.Attempt)
}

func claimersShare(s suite) {
	const n = 3 * racers
	for i := range n {
		s.enqueue(fmt.Sprint(i))
	}
	var mu sync.Mutex
	owners := map[build.ID]int{}
	var failures []error
	race(func(i int) {
		agent := store.AgentID(fmt.Sprintf("agent-%d", i))
		for {
			queue, err := s.Queue(s.ctx, "", 4)
			if err != nil || len(queue) == 0 {
				if err != nil {
					mu.Lock()
					failures = append(failures, err)
					mu.Unlock()
				}
				return
			}
			for _, q := range queue {
				_, err := s.Change(s.ctx, q.ID, store.Claim{Agent: agent, Fence: q.Fence, Nonce: string(agent), Max: store.MaxAttempts, At: at})
				mu.Lock()
				switch {
				case err == nil:
					owners[q.ID]++
				case !refused(err):
					failures = append(failures, err)
				}
				mu.Unlock()
			}
		}
	})
	require.Empty(s.t, failures)
	require.Len(s.t, owners, n)
	for _, times := range owners {
		require.Equal(s.t, 1, times)
	}
}

func changesRace(s suite) {
	s.enqueue("x")
	s.claim("x", a)
	errs := make([]error, racers)
	race(func(i int) {
		_, errs[i] = s.Change(s.ctx, id("x"), store.Fire{Agent: a, Fence: 1, Node: fmt.Sprint(i), Outgoing: store.Outgoing{Child: id(fmt.Sprint("child", i))}})
	})
	for _, err := range errs {
		require.NoError(s.t, err)
	}
	got := s.read("x")
	require.Len(s.t, got.Outbox, racers)
	require.Len(s.t, got.Pending, racers)
	require.Equal(s.t, int64(2+racers), got.Rev)
}

func fenced(s suite) {
	s.enqueue("x")
	s.claim("x", a)
	s.change("x", store.Rescue{Owner: a, Fence: 1, Max: store.MaxAttempts, At: at})
	s.claim("x", b)
	stale := []store.Change{
		store.Report{Agent: a, Fence: 1, Progress: build.Progress{Done: 9}},
		store.Planned{Agent: a, Fence: 1, Plan: "sha256:1"},
		store.Fire{Agent: a, Fence: 1, Node: "t", Outgoing: store.Outgoing{Child: id("c")}},
		store.Intend{Agent: a, Fence: 1, Node: "deploy"},
		store.HandOver{Agent: a, Fence: 1, Nonce: "n"},
		store.Complete{Agent: a, Fence: 1, State: build.Success, At: at},
		store.Rescue{Owner: a, Fence: 1, Max: store.MaxAttempts, At: at},
	}
	for _, c := range stale {
		s.refuse("x", c, store.ErrFenced)
	}
	s.refuse("x", store.Complete{Agent: b, Fence: 1, State: build.Success, At: at}, store.ErrFenced)
	s.refuse("x", store.Complete{Agent: b, Fence: 2, State: build.Success, At: at}, store.ErrFenced)
	s.refuse("x", store.Rescue{Owner: b, Fence: 2, Max: store.MaxAttempts, At: at}, store.ErrFenced)
	s.refuse("x", store.ForceCancel{Fence: 3, At: at}, store.ErrConflict)

	// The same agent again, under a later fence.
	s.change("x", store.Rescue{Owner: b, Fence: 3, Max: store.MaxAttempts, At: at})
	s.claim("x", a)
	for _, c := range stale {
		s.refuse("x", c, store.ErrFenced)
	}
	got := s.change("x", store.Complete{Agent: a, Fence: 5, State: build.Failed, Reason: "unit failed", Progress: build.Progress{Total: 2, Done: 2, Failed: 1}, At: at})
	require.Equal(s.t, a, got.Last, "who ran it")
	require.Equal(s.t, build.Failed, got.State)
	require.Equal(s.t, "unit failed", got.Reason)
	require.Equal(s.t, 2, got.Progress.Done)
	require.Empty(s.t, got.Owner)
}

func terminal(s suite) {
	s.enqueue("x")
	s.claim("x", a)
	done := s.change("x", store.Complete{Agent: a, Fence: 1, State: build.Success, At: at})
	for _, c := range []store.Change{
		store.Claim{Agent: b, Fence: 1, Nonce: "n", Max: store.MaxAttempts, At: at},
		store.Complete{Agent: a, Fence: 1, State: build.Failed, At: at},
		store.Complete{Agent: b, Fence: 1, State: build.Failed, At: at},
		store.Expire{Fence: 1, State: build.TimedOut, At: at},
		store.ForceCancel{Fence: 1, At: at},
		store.Rescue{Owner: a, Fence: 1, Max: store.MaxAttempts, At: at},
		store.Rescue{Fence: 1, Max: store.MaxAttempts, At: at},
		store.Approve{Node: "n", Approval: store.Approval{Approved: true, By: "ann"}},
		store.Offer{Fence: 1, To: b},
	} {
		_, err := s.Change(s.ctx, id("x"), c)
		require.True(s.t, refused(err), "%T: %v", c, err)
		s.stands(done)
	}
	got := s.change("x", store.RequestCancel{Cancel: store.Cancel{By: "ann"}, At: at})
	require.Equal(s.t, done, got, "a cancel that comes too late is no error, and no change")
}

func rescued(s suite) {
	s.enqueue("x")
	for i := range store.MaxAttempts {
		got := s.claim("x", a)
		require.Equal(s.t, i+1, got.Attempt)
		require.Equal(s.t, build.Running, got.State)
		got = s.change("x", store.Rescue{Owner: a, Fence: got.Fence, Max: store.MaxAttempts, At: at})
		require.Empty(s.t, got.Owner)
		if i+1 < store.MaxAttempts {
			require.Equal(s.t, build.Queued, got.State)
		} else {
			require.Equal(s.t, build.Lost, got.State)
			require.Contains(s.t, got.Reason, "3 times")
		}
	}
}

// stays is about a build that nobody but the one who asked for it may run.
func stays(s suite) {
	s.enqueue("x", func(r *store.Request) { r.Here = a })
	s.refuse("x", store.Claim{Agent: b, Nonce: "n", Max: store.MaxAttempts, At: at}, store.ErrConflict)
	s.claim("x", a)
	got := s.change("x", store.Rescue{Owner: a, Fence: 1, Max: store.MaxAttempts, At: at})
	require.Equal(s.t, build.Lost, got.State, "nobody else can run it")
}

func onceStays(s suite) {
	s.enqueue("x")
	s.claim("x", a)
	s.change("x", store.Intend{Agent: a, Fence: 1, Node: "deploy"})
	got := s.change("x", store.Rescue{Owner: a, Fence: 1, Max: store.MaxAttempts, At: at})
	require.Equal(s.t, build.Lost, got.State)
	require.Contains(s.t, got.Reason, "deploy")
}

func handedOver(s suite) {
	s.enqueue("x")
	s.claim("x", a)
	s.change("x", store.Planned{Agent: a, Fence: 1, Commit: "c0ffee", Plan: "sha256:1", Groups: []string{"deploy"}, Total: 7,
		Requires: []plan.Requirement{{Op: "has", Key: "tools.docker", Reason: "images"}}})
	got := s.change("x", store.HandOver{Agent: a, Fence: 1, Nonce: "n", To: b})
	require.Equal(s.t, build.Queued, got.State)
	require.Equal(s.t, 0, got.Attempt)
	require.Equal(s.t, int64(2), got.Fence)
	require.Equal(s.t, b, got.FirstChoice)
	require.Equal(s.t, "c0ffee", got.Commit)
	require.Equal(s.t, 7, got.Progress.Total)
	require.Equal(s.t, "images", got.Requires[0].Reason)
	mine, err := s.Queue(s.ctx, b, 10)
	require.NoError(s.t, err)
	require.Equal(s.t, []store.Build{got}, mine)

	got = s.change("x", store.Offer{Fence: 2, To: a})
	require.Equal(s.t, a, got.FirstChoice)
	s.refuse("x", store.Offer{Fence: 1, To: b}, store.ErrConflict)
	got = s.claim("x", a)
	require.Empty(s.t, got.FirstChoice)
	s.change("x", store.Planned{Agent: a, Fence: 3, Plan: "sha256:1"})
	s.refuse("x", store.Planned{Agent: a, Fence: 3, Plan: "sha256:2"}, store.ErrConflict)
}

func cancelled(s suite) {
	wish := store.RequestCancel{Cancel: store.Cancel{By: "ann", Reason: "wrong tag"}, At: at}
	s.enqueue("queued")
	got := s.change("queued", wish)
	require.Equal(s.t, build.Cancelled, got.State)
	require.Equal(s.t, "wrong tag", got.Reason)
	require.Equal(s.t, int64(1), got.Fence)
	s.refuse("queued", store.Claim{Agent: a, Fence: 0, Nonce: "n", Max: store.MaxAttempts, At: at}, store.ErrConflict)
	s.refuse("queued", store.Claim{Agent: a, Fence: 1, Nonce: "n", Max: store.MaxAttempts, At: at}, store.ErrConflict)

	s.enqueue("running")
	s.claim("running", a)
	s.refuse("running", store.ForceCancel{Fence: 1, At: at}, store.ErrConflict)
	got = s.change("running", wish)
	require.Equal(s.t, build.Running, got.State)
	require.Equal(s.t, &wish.Cancel, got.Cancel)
	got = s.change("running", store.RequestCancel{Cancel: store.Cancel{By: "bob", Force: true}, At: at})
	require.Equal(s.t, &store.Cancel{By: "ann", Reason: "wrong tag", Force: true}, got.Cancel, "the first to ask is named, the force is added")
	got = s.change("running", store.ForceCancel{Fence: 1, At: at})
	require.Equal(s.t, build.Cancelled, got.State)
	s.refuse("running", store.Complete{Agent: a, Fence: 1, State: build.Success, At: at}, store.ErrFenced)

	s.enqueue("rescued")
	s.claim("rescued", a)
	s.change("rescued", wish)
	got = s.change("rescued", store.Rescue{Owner: a, Fence: 1, Max: store.MaxAttempts, At: at})
	require.Equal(s.t, build.Cancelled, got.State, "what was to be cancelled does not run again")

	s.enqueue("handed")
	s.claim("handed", a)
	s.change("handed", wish)
	got = s.change("handed", store.HandOver{Agent: a, Fence: 1, Nonce: "n", At: at})
	require.Equal(s.t, build.Cancelled, got.State, "nor does it when its agent cannot run it")
	require.Equal(s.t, got, s.change("handed", store.HandOver{Agent: a, Fence: 1, Nonce: "n", At: at}))

	s.enqueue("late")
	got = s.change("late", store.Expire{Fence: 0, State: build.Rejected, Reason: "no eligible agent", At: at})
	require.Equal(s.t, build.Rejected, got.State)
	require.Equal(s.t, "no eligible agent", got.Reason)
}

func outbox(s suite) {
	s.enqueue("x")
	s.claim("x", a)
	waits := store.Outgoing{Child: id("c1"), Request: store.Request{Project: "q"}, Wait: true}
	got := s.change("x", store.Fire{Agent: a, Fence: 1, Node: "deploy", Outgoing: waits})
	require.Equal(s.t, waits, got.Outbox["deploy"])
	require.Equal(s.t, []store.Chore{{Verb: store.EnqueueChild, Target: "deploy"}}, got.Pending)
	s.refuse("x", store.Fire{Agent: a, Fence: 1, Node: "deploy", Outgoing: store.Outgoing{Child: id("c2")}}, store.ErrConflict)

	s.enqueue("y")
	unsettled, err := s.Unsettled(s.ctx, 10)
	require.NoError(s.t, err)
	require.Equal(s.t, []store.Build{got}, unsettled)

	s.change("x", store.Planned{Agent: a, Fence: 1, Plan: "sha256:1", Groups: []string{"live"}})
	got = s.change("x", store.Complete{Agent: a, Fence: 1, State: build.Failed, At: at})
	left := []store.Chore{{Verb: store.EnqueueChild, Target: "deploy"}, {Verb: store.CancelChild, Target: "deploy"}, {Verb: store.Release, Target: "live"}, {Verb: store.StartAfter}}
	require.Equal(s.t, left, got.Pending)
	for i, chore := range left {
		got = s.change("x", store.Settle{Chore: chore})
		require.Equal(s.t, len(left)-i-1, len(got.Pending))
	}
	unsettled, err = s.Unsettled(s.ctx, 10)
	require.NoError(s.t, err)
	require.Empty(s.t, unsettled)
}

// followed is about what comes after a build (on.after): only one that was
// planned, and is more than somebody's try, leaves that behind.
func followed(s suite) {
	after := store.Chore{Verb: store.StartAfter}
	for word, c := range map[string]struct {
		request store.Request
		plan    string
		end     build.State
		want    []store.Chore
	}{
		"planned":   {store.Request{}, "sha256:1", build.Success, []store.Chore{after}},
		"cancelled": {store.Request{}, "sha256:1", build.Cancelled, []store.Chore{after}},
		"unplanned": {store.Request{}, "", build.Failed, nil},
		"rejected":  {store.Request{}, "sha256:1", build.Rejected, nil},
		"patched":   {store.Request{Patch: "sha256:2"}, "sha256:1", build.Success, nil},
		"here":      {store.Request{Here: a}, "sha256:1", build.Success, nil},
	} {
		s.enqueue(word, func(r *store.Request) { r.Patch, r.Here = c.request.Patch, c.request.Here })
		s.claim(word, a)
		if c.plan != "" {
			s.change(word, store.Planned{Agent: a, Fence: 1, Plan: c.plan})
		}
		got := s.change(word, store.Complete{Agent: a, Fence: 1, State: c.end, At: at})
		require.Equal(s.t, c.want, got.Pending, word)
	}
	s.enqueue("lost")
	s.claim("lost", a)
	s.change("lost", store.Planned{Agent: a, Fence: 1, Plan: "sha256:1"})
	got := s.change("lost", store.Rescue{Owner: a, Fence: 1, Max: 1, Why: "its runner died", At: at})
	require.Equal(s.t, []store.Chore{after}, got.Pending, "however it ends")
	require.Contains(s.t, got.Reason, "its runner died")
}

func approved(s suite) {
	s.enqueue("x")
	s.claim("x", a)
	yes := store.Approval{Approved: true, By: "ann", Reason: "ship it", At: at}
	got := s.change("x", store.Approve{Node: "go", Approval: yes})
	require.Equal(s.t, yes, got.Approvals["go"])
	s.refuse("x", store.Approve{Node: "go", Approval: store.Approval{By: "bob", At: at}}, store.ErrConflict)
	s.change("x", store.Approve{Node: "go", Approval: store.Approval{Approved: true, By: "ann", At: at.Add(1)}})
	require.Equal(s.t, got, s.read("x"))
}

func collected(s suite) {
	first := s.enqueue("x", func(r *store.Request) { r.Params = map[string]string{"k": "v"} })
	s.refuse("x", store.Collect{}, store.ErrConflict)
	s.claim("x", a)
	s.change("x", store.Fire{Agent: a, Fence: 1, Node: "t", Outgoing: store.Outgoing{Child: id("c")}})
	s.change("x", store.Complete{Agent: a, Fence: 1, State: build.Success, At: at})
	s.refuse("x", store.Collect{}, store.ErrConflict)
	s.change("x", store.Settle{Chore: store.Chore{Verb: store.EnqueueChild, Target: "t"}})
	require.True(s.t, s.change("x", store.Pin{Pinned: true}).Pinned)
	s.refuse("x", store.Collect{}, store.ErrConflict)
	require.False(s.t, s.change("x", store.Pin{}).Pinned)
	got := s.change("x", store.Collect{})
	require.True(s.t, got.Collected)
	s.refuse("x", store.Pin{Pinned: true}, store.ErrNotFound)
	require.Empty(s.t, got.Request.Params)

	again, err := s.Enqueue(s.ctx, store.NewBuild(first.ID, 99, first.Request, at))
	require.NoError(s.t, err)
	require.Equal(s.t, got, again, "a late insert finds the tombstone")
	queue, err := s.Queue(s.ctx, "", 10)
	require.NoError(s.t, err)
	require.Empty(s.t, queue)
	page, _, err := s.List(s.ctx, store.Filter{}, "", 10)
	require.NoError(s.t, err)
	require.Empty(s.t, page)
}

func repeated(s suite) {
	s.enqueue("x")
	for _, c := range []store.Change{
		store.Offer{To: a},
		store.Claim{Agent: a, Nonce: "1", Max: store.MaxAttempts, At: at},
		store.Planned{Agent: a, Fence: 1, Plan: "sha256:1"},
		store.HandOver{Agent: a, Fence: 1, Nonce: "2"},
		store.Claim{Agent: a, Fence: 2, Nonce: "3", Max: store.MaxAttempts, At: at},
		store.Report{Agent: a, Fence: 3, Progress: build.Progress{Total: 3, Done: 1}},
		store.Fire{Agent: a, Fence: 3, Node: "t", Outgoing: store.Outgoing{Child: id("c")}},
		store.Settle{Chore: store.Chore{Verb: store.EnqueueChild, Target: "t"}},
		store.Intend{Agent: a, Fence: 3, Node: "deploy"},
		store.Approve{Node: "go", Approval: store.Approval{Approved: true, By: "ann", At: at}},
		store.RequestCancel{Cancel: store.Cancel{By: "ann"}, At: at},
		store.Complete{Agent: a, Fence: 3, State: build.Cancelled, At: at},
		store.Settle{Chore: store.Chore{Verb: store.StartAfter}},
		store.Pin{Pinned: true},
		store.Pin{},
		store.Collect{},
	} {
		once := s.change("x", c)
		require.Equal(s.t, once, s.change("x", c), "%T", c)
	}
}

func queued(s suite) {
	urgency := map[string]int{"a": 0, "b": 5, "c": 0, "d": 5, "e": -1}
	for _, word := range slices.Sorted(maps.Keys(urgency)) {
		s.enqueue(word, func(r *store.Request) { r.Priority = urgency[word] })
	}
	s.enqueue("taken")
	s.claim("taken", a)
	words := func(builds []store.Build, err error) (ids []build.ID) {
		s.t.Helper()
		require.NoError(s.t, err)
		for _, b := range builds {
			ids = append(ids, b.ID)
		}
		return ids
	}
	require.Equal(s.t, []build.ID{id("b"), id("d"), id("a"), id("c"), id("e")}, words(s.Queue(s.ctx, "", 10)))
	require.Equal(s.t, []build.ID{id("b"), id("d")}, words(s.Queue(s.ctx, "", 2)))
	s.change("c", store.Offer{To: b})
	s.change("d", store.Offer{To: b})
	require.Equal(s.t, []build.ID{id("d"), id("c")}, words(s.Queue(s.ctx, b, 10)))
	require.Equal(s.t, []build.ID{id("taken")}, words(s.Running(s.ctx, "")))
	require.Equal(s.t, []build.ID{id("taken")}, words(s.Running(s.ctx, a)))
	require.Empty(s.t, words(s.Running(s.ctx, b)))
}

func overviewed(s suite) {
	o, err := store.Look(s.ctx, s.Store, 10, 10)
	require.NoError(s.t, err)
	require.Empty(s.t, slices.Concat(o.Running, o.Unsettled, o.Queue))
	require.Empty(s.t, o.Agents)
	for _, agent := range []store.Agent{{ID: b, Name: "ann"}, {ID: a, Name: "bob", Labels: map[string]string{"disk": "large"}}} {
		agent.Started, agent.Seen = at, at
		require.NoError(s.t, s.Join(s.ctx, agent))
	}
	for i, word := range []string{"one", "two", "three", "four", "five"} {
		s.enqueue(word, func(r *store.Request) { r.Priority = i })
	}
	for _, word := range []string{"one", "two"} {
		s.claim(word, a)
		s.change(word, store.Planned{Agent: a, Fence: 1, Plan: "plan"})
	}
	s.change("one", store.Complete{Agent: a, Fence: 1, State: build.Success, At: at})
	// Each part is what its own method says, as far as it is asked for.
	for _, most := range []int{10, 1} {
		o, err := store.Look(s.ctx, s.Store, most, most)
		require.NoError(s.t, err)
		var apart store.Overview
		apart.Running, err = s.Running(s.ctx, "")
		require.NoError(s.t, err)
		apart.Unsettled, err = s.Unsettled(s.ctx, most)
		require.NoError(s.t, err)
		apart.Queue, err = s.Queue(s.ctx, "", most)
		require.NoError(s.t, err)
		apart.Agents, err = s.Agents(s.ctx)
		require.NoError(s.t, err)
		require.Equal(s.t, apart, o)
		require.Len(s.t, o.Running, 1)
		require.NotEmpty(s.t, o.Unsettled)
		require.Len(s.t, o.Queue, min(most, 3))
		require.Len(s.t, o.Agents, 2)
	}
}

func listed(s suite) {
	const n = 25
	want := map[string][]build.ID{}
	for i := range n {
		word := fmt.Sprint(i)
		project := []string{"p", "q"}[i%2]
		s.enqueue(word, func(r *store.Request) {
			r.Project, r.Pipeline = project, []string{"build", "test", "ship"}[i%3]
			if i == 7 || i == 9 {
				r.Cause.Build = id("0")
			}
		})
		if i%5 == 0 {
			s.claim(word, a)
			want["running"] = append(want["running"], id(word))
		}
		want["all"] = append(want["all"], id(word))
		want[project] = append(want[project], id(word))
		if project == "q" && i%3 == 1 {
			want["q test"] = append(want["q test"], id(word))
		}
	}
	want["children"] = []build.ID{id("7"), id("9")}
	for name, f := range map[string]store.Filter{
		"all": {}, "p": {Project: "p"}, "q": {Project: "q"}, "q test": {Project: "q", Pipeline: "test"},
		"running": {State: build.Running}, "children": {Parent: id("0")},
	} {
		for _, size := range []int{1, 4, n, n + 1} {
			var got []build.ID
			for cursor, pages := "", 0; ; pages++ {
				page, next, err := s.from.List(s.ctx, f, cursor, size)
				require.NoError(s.t, err)
				require.LessOrEqual(s.t, len(page), size)
				require.LessOrEqual(s.t, pages, n)
				for _, b := range page {
					got = append(got, b.ID)
				}
				if cursor = next; cursor == "" {
					break
				}
			}
			slices.Reverse(got)
			require.Equal(s.t, want[name], got, "%s, pages of %d", name, size)
		}
	}
	page, _, err := s.from.List(s.ctx, store.Filter{Owner: a, State: build.Running}, "", n)
	require.NoError(s.t, err)
	require.Len(s.t, page, 5)
	_, _, err = s.from.List(s.ctx, store.Filter{}, "forged", 5)
	require.ErrorIs(s.t, err, store.ErrCursor)

	b, err := s.from.BuildNumbered(s.ctx, 3)
	require.NoError(s.t, err)
	require.Equal(s.t, id("2"), b.ID)
}
