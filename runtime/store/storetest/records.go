package storetest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

func blobs(s suite) {
	text := []byte(`{"format":1,"name":"ü\u0000"}`)
	for range 2 {
		require.NoError(s.t, s.PutBlob(s.ctx, "sha256:1", text))
	}
	text[0] = 'x' // the caller's again
	got, err := s.Blob(s.ctx, "sha256:1")
	require.NoError(s.t, err)
	require.Equal(s.t, `{"format":1,"name":"ü\u0000"}`, string(got))
}

func events(s suite) {
	exit := 3
	all := []build.Event{
		{Seq: 1, Time: at, Kind: build.BuildStarted},
		{Seq: 2, Time: at, Kind: build.AttemptStarted, Node: "unit", Attempt: 1},
		{Seq: 3, Time: at.Add(time.Millisecond), Kind: build.AttemptEnded, Node: "unit", Attempt: 1, State: build.Failed, Exit: &exit, Outputs: map[string]string{"k": "v"}},
		{Seq: 4, Time: at, Kind: build.AttemptEnded, Node: "find", Attempt: 1, State: build.Success, Expansion: &plan.Expansion{Nodes: []plan.Node{{Name: "n", Step: &plan.Step{Script: "true"}}}}},
		{Seq: 5, Time: at, Kind: build.BuildEnded, State: build.Failed},
	}
	key := func(fence, seq int64) store.EventKey { return store.EventKey{Build: id("x"), Fence: fence, Seq: seq} }
	read := func(fence, seq int64, limit int) []build.Event {
		got, err := s.Events(s.ctx, id("x"), fence, seq, limit)
		require.NoError(s.t, err)
		return got
	}
	require.Empty(s.t, read(1, 1, 10))
	require.NoError(s.t, s.AppendEvents(s.ctx, key(1, 4), all[3:5]), "batches may arrive in any order")
	require.Empty(s.t, read(1, 1, 10), "a gap ends what can be read")
	for range 2 {
		require.NoError(s.t, s.AppendEvents(s.ctx, key(1, 1), all[:3]))
	}
	require.Equal(s.t, all, read(1, 1, 10))
	require.Equal(s.t, all[1:3], read(1, 2, 2))
	require.Equal(s.t, all[4:], read(1, 5, 10))
	require.Empty(s.t, read(1, 6, 10))

	other := []build.Event{{Seq: 1, Time: at, Kind: build.BuildStarted, Reason: "other"}}
	require.ErrorIs(s.t, s.AppendEvents(s.ctx, key(1, 1), other), store.ErrConflict)
	require.NoError(s.t, s.AppendEvents(s.ctx, key(2, 1), other), "another fence is another stream")
	require.Equal(s.t, other, read(2, 1, 10))
	require.Equal(s.t, all, read(1, 1, 10))
}

func chunks(s suite) {
	key := store.ChunkKey{Build: id("x"), Fence: 1, Node: "unit/a", Attempt: 1}
	var all []store.Chunk
	line, offset := int64(0), int64(0)
	for i := range 5 {
		data := bytes.Repeat([]byte(fmt.Sprintf("line %d\x00\xff\n", i)), 3)
		c := store.Chunk{Key: key, Line: line, Lines: 3, Offset: offset, Data: data, Times: []store.Stamp{{At: at}, {Offset: 9, At: at.Add(time.Second)}}}
		c.Key.Seq = int64(i)
		if i == 3 {
			c.Cut = 1 << 40
		}
		all = append(all, c)
		line, offset = line+3, offset+int64(len(data))+c.Cut
	}
	require.NoError(s.t, s.AppendChunks(s.ctx, all[:2]))
	require.NoError(s.t, s.AppendChunks(s.ctx, all[1:]), "one that is there already is left")
	read := func(seq int64, limit int) []store.Chunk {
		from := key
		from.Seq = seq
		got, err := s.Chunks(s.ctx, from, limit)
		require.NoError(s.t, err)
		return got
	}
	require.Equal(s.t, all, read(0, 10))
	require.Equal(s.t, all[2:4], read(2, 2))
	require.Empty(s.t, read(5, 2))
	for line, want := range map[int64]int64{0: 0, 2: 0, 3: 1, 11: 3, 12: 4, 14: 4, 99: 5} {
		seq, err := s.ChunkAt(s.ctx, key, line)
		require.NoError(s.t, err)
		require.Equal(s.t, want, seq, "line %d", line)
	}

	straddling := store.ChunkKey{Build: id("x"), Fence: 1, Node: "straddling", Attempt: 1}
	parts := []store.Chunk{{Key: straddling, Lines: 1, Data: []byte("a\nb")}, {Key: straddling, Line: 1, Offset: 3, Data: []byte("bb")},
		{Key: straddling, Line: 1, Lines: 2, Offset: 5, Data: []byte("b\nc\n")}}
	for i := range parts {
		parts[i].Key.Seq = int64(i)
	}
	require.NoError(s.t, s.AppendChunks(s.ctx, parts))
	for line, want := range []int64{0, 1, 2, 3} {
		seq, err := s.ChunkAt(s.ctx, straddling, int64(line))
		require.NoError(s.t, err)
		require.Equal(s.t, want, seq, "line %d", line)
	}

	changed := all[1]
	changed.Data = []byte("other")
	fresh := all[4]
	fresh.Key.Seq = 5
	require.ErrorIs(s.t, s.AppendChunks(s.ctx, []store.Chunk{fresh, changed}), store.ErrConflict)
	require.Equal(s.t, all[1], read(1, 1)[0])

	for _, other := range []store.ChunkKey{
		{Build: id("x"), Fence: 2, Node: "unit/a", Attempt: 1},
		{Build: id("x"), Fence: 1, Node: "unit/a", Attempt: 2},
		{Build: id("x"), Fence: 1, Node: "unit", Attempt: 1},
		{Build: id("y"), Fence: 1, Node: "unit/a", Attempt: 1},
	} {
		got, err := s.Chunks(s.ctx, other, 10)
		require.NoError(s.t, err)
		require.Empty(s.t, got)
	}
}

func purged(s suite) {
	for _, word := range []string{"x", "y"} {
		for fence := range int64(2) {
			require.NoError(s.t, s.AppendEvents(s.ctx, store.EventKey{Build: id(word), Fence: fence, Seq: 1}, []build.Event{{Seq: 1, Time: at, Kind: build.BuildStarted}}))
			require.NoError(s.t, s.AppendChunks(s.ctx, []store.Chunk{{Key: store.ChunkKey{Build: id(word), Fence: fence, Node: "n", Attempt: 1}, Lines: 1, Data: []byte("x\n")}}))
		}
	}
	for range 2 {
		require.NoError(s.t, s.Purge(s.ctx, id("x")))
	}
	for word, want := range map[string]int{"x": 0, "y": 1} {
		for fence := range int64(2) {
			events, err := s.Events(s.ctx, id(word), fence, 1, 10)
			require.NoError(s.t, err)
			require.Len(s.t, events, want)
			chunks, err := s.Chunks(s.ctx, store.ChunkKey{Build: id(word), Fence: fence, Node: "n", Attempt: 1}, 10)
			require.NoError(s.t, err)
			require.Len(s.t, chunks, want)
		}
	}
}

func signed(s suite) {
	p := optional[store.Signatures](s)
	has := func(word string, fence int64, want string) {
		r, err := p.Signature(s.ctx, id(word), fence)
		if want == "" {
			require.ErrorIs(s.t, err, store.ErrNotFound)
			return
		}
		require.NoError(s.t, err)
		data, err := io.ReadAll(r)
		require.NoError(s.t, err)
		require.Equal(s.t, want, string(data))
		require.NoError(s.t, r.Close())
	}
	begin := func(word string, fence int64) store.Signature {
		to, err := p.Sign(s.ctx, id(word), fence)
		require.NoError(s.t, err)
		_, err = io.WriteString(to, word)
		require.NoError(s.t, err)
		return to
	}
	seq := int64(0)
	write := func(word string, fence int64, node string) {
		require.NoError(s.t, s.AppendChunks(s.ctx, []store.Chunk{{Key: store.ChunkKey{Build: id(word), Fence: fence, Node: node, Attempt: 1, Seq: seq}, Line: seq, Lines: 1, Offset: 2 * seq, Data: []byte("x\n")}}))
	}
	has("x", 1, "")
	_, err := p.Sign(s.ctx, id("x"), 1)
	require.ErrorIs(s.t, err, store.ErrNotFound, "nothing was written")
	for _, word := range []string{"x", "y"} {
		for fence := int64(1); fence <= 2; fence++ {
			write(word, fence, "n")
			to := begin(word, fence)
			has(word, fence, "")
			require.NoError(s.t, to.Keep())
			require.NoError(s.t, to.Close())
			has(word, fence, word)
		}
	}

	to, err := p.Sign(s.ctx, id("x"), 1)
	require.NoError(s.t, err)
	_, err = io.WriteString(to, "given up")
	require.NoError(s.t, err)
	require.NoError(s.t, to.Close())
	has("x", 1, "x")

	to = begin("x", 1)
	write("x", 1, "m")
	has("x", 1, "")
	require.NoError(s.t, to.Keep())
	require.NoError(s.t, to.Close())
	has("x", 1, "")
	has("x", 2, "x")
	to = begin("x", 1)
	require.NoError(s.t, to.Keep())
	require.NoError(s.t, to.Close())
	has("x", 1, "x")

	to = begin("x", 1)
	require.NoError(s.t, s.Purge(s.ctx, id("x")))
	require.Error(s.t, to.Keep())
	require.NoError(s.t, to.Close())
	for fence := int64(1); fence <= 2; fence++ {
		has("x", fence, "")
		has("y", fence, "y")
	}
}

func portable(s suite) {
	p := optional[store.Portable](s)
	for _, word := range []string{"c", "a", "b"} {
		s.enqueue(word)
	}
	s.change("b", store.RequestCancel{At: at})
	s.change("b", store.Collect{})
	for after, want := range map[build.ID][]store.Build{
		"":            {s.read("a"), s.read("b"), s.read("c")},
		id("a"):       {s.read("b"), s.read("c")},
		id("b") + "0": {s.read("c")},
		id("c"):       nil,
	} {
		got, err := p.AllBuilds(s.ctx, after, 10)
		require.NoError(s.t, err)
		require.Equal(s.t, want, got, "after %q", after)
	}
	got, err := p.AllBuilds(s.ctx, id("a"), 1)
	require.NoError(s.t, err)
	require.Equal(s.t, []store.Build{s.read("b")}, got)

	// One that comes from elsewhere keeps its revision.
	moved := s.read("b")
	moved.ID, moved.Number, moved.Rev = id("moved"), 99, 7
	made, err := s.Enqueue(s.ctx, moved)
	require.NoError(s.t, err)
	require.Equal(s.t, moved, made)
	s.stands(moved)

	fences, attempts, err := p.Written(s.ctx, id("a"))
	require.NoError(s.t, err)
	require.Empty(s.t, fences)
	require.Empty(s.t, attempts)
	key := func(word string, fence int64, node string, attempt int) store.ChunkKey {
		return store.ChunkKey{Build: id(word), Fence: fence, Node: node, Attempt: attempt}
	}
	all := []store.ChunkKey{key("a", 1, "unit", 1), key("a", 1, "unit", 2), key("a", 17, "lint", 1), key("a", 17, "unit", 1), key("aa", 1, "unit", 1)}
	for _, k := range all {
		for k.Seq = range 2 {
			require.NoError(s.t, s.AppendEvents(s.ctx, store.EventKey{Build: k.Build, Fence: k.Fence, Seq: k.Seq + 1}, []build.Event{{Seq: k.Seq + 1, Time: at, Kind: build.CancelRequested}}))
			require.NoError(s.t, s.AppendChunks(s.ctx, []store.Chunk{{Key: k, Line: k.Seq, Lines: 1, Offset: 2 * k.Seq, Data: []byte("x\n")}}))
		}
	}
	fences, attempts, err = p.Written(s.ctx, id("a"))
	require.NoError(s.t, err)
	require.Equal(s.t, []int64{1, 17}, fences)
	require.Equal(s.t, all[:4], attempts)

	for _, word := range []string{"y", "x"} {
		_, err := s.ChangeGroup(s.ctx, word, store.Acquire{Waiter: store.Waiter{Number: 1, Build: id("a")}})
		require.NoError(s.t, err)
	}
	_, err = s.ChangeGroup(s.ctx, "y", store.Leave{Waiter: store.Waiter{Number: 1, Build: id("a")}})
	require.NoError(s.t, err)
	groups, err := p.AllGroups(s.ctx)
	require.NoError(s.t, err)
	require.Equal(s.t, []store.Group{{Key: "x", Rev: 1, Holder: id("a")}, {Key: "y", Rev: 2}}, groups)

	for _, last := range []int64{1000, 5} {
		require.NoError(s.t, p.SkipNumbers(s.ctx, last))
	}
	number, err := s.NextNumber(s.ctx)
	require.NoError(s.t, err)
	require.Equal(s.t, int64(1001), number)
}

func groups(s suite) {
	waiter := func(n int64) store.Waiter { return store.Waiter{Number: n, Build: id(fmt.Sprint(n))} }
	acquire := func(n int64) bool {
		g, err := s.ChangeGroup(s.ctx, "live", store.Acquire{Waiter: waiter(n)})
		require.NoError(s.t, err)
		return g.Holder == waiter(n).Build
	}
	leave := func(n int64) {
		_, err := s.ChangeGroup(s.ctx, "live", store.Leave{Waiter: waiter(n)})
		require.NoError(s.t, err)
	}
	require.True(s.t, acquire(3))
	require.True(s.t, acquire(3), "who has it has it still")
	for _, n := range []int64{5, 4, 9, 4} {
		require.False(s.t, acquire(n))
	}
	g, err := s.Group(s.ctx, "live")
	require.NoError(s.t, err)
	require.Equal(s.t, []store.Waiter{waiter(4), waiter(5), waiter(9)}, g.Queue)
	leave(5) // it was cancelled
	leave(3)
	leave(3)
	require.False(s.t, acquire(9), "an older one waits")
	require.True(s.t, acquire(4))
	leave(4)
	require.True(s.t, acquire(9))

	other, err := s.Group(s.ctx, "other")
	require.NoError(s.t, err)
	require.Equal(s.t, store.Group{Key: "other"}, other)

	won := make([]bool, racers)
	race(func(i int) {
		g, err := s.ChangeGroup(s.ctx, "raced", store.Acquire{Waiter: waiter(int64(i))})
		won[i] = err == nil && g.Holder == waiter(int64(i)).Build
	})
	holders := 0
	for _, w := range won {
		if w {
			holders++
		}
	}
	require.Equal(s.t, 1, holders)
	g, err = s.Group(s.ctx, "raced")
	require.NoError(s.t, err)
	require.Len(s.t, g.Queue, racers-1, "all the others wait")
}

func agents(s suite) {
	one := store.Agent{ID: a, Name: "zoe", Host: "h1", Version: "1.2", Started: at, Slots: 2, Labels: map[string]string{"os": "linux"}, Facts: map[string]string{"os": "linux"}}
	two := store.Agent{ID: b, Name: "adam", Host: "h2", Started: at}
	require.NoError(s.t, s.Join(s.ctx, one))
	require.NoError(s.t, s.Join(s.ctx, two))
	require.ErrorIs(s.t, s.Join(s.ctx, one), store.ErrConflict)

	got, err := s.Heartbeat(s.ctx, a, map[build.ID]int64{id("x"): 3}, at.Add(time.Second))
	require.NoError(s.t, err)
	require.Equal(s.t, int64(1), got.Beat)
	require.NoError(s.t, s.Describe(s.ctx, a, 4, map[string]string{"gpu": "yes"}, map[string]string{"kernel": "6.1"}))
	require.NoError(s.t, s.Drain(s.ctx, a, true))
	got, err = s.Heartbeat(s.ctx, a, map[build.ID]int64{id("x"): 3}, at.Add(2*time.Second))
	require.NoError(s.t, err)
	require.True(s.t, got.Draining, "a heartbeat tells the agent what was asked of it")
	require.False(s.t, got.Ending)
	require.NoError(s.t, s.End(s.ctx, a))
	require.ErrorIs(s.t, s.End(s.ctx, "nobody"), store.ErrNotFound)
	got, err = s.Agent(s.ctx, a)
	require.NoError(s.t, err)
	want := one
	want.Beat, want.Seen, want.Slots, want.Draining, want.Ending = 2, at.Add(2*time.Second), 4, true, true
	want.Labels, want.Facts, want.Running = map[string]string{"gpu": "yes"}, map[string]string{"kernel": "6.1"}, map[build.ID]int64{id("x"): 3}
	require.Equal(s.t, want, got)
	all, err := s.Agents(s.ctx)
	require.NoError(s.t, err)
	require.Equal(s.t, []store.Agent{two, want}, all)

	for range 2 {
		require.NoError(s.t, s.Bury(s.ctx, a))
	}
	_, err = s.Heartbeat(s.ctx, a, nil, at)
	require.ErrorIs(s.t, err, store.ErrNotFound, "a heartbeat must not raise the dead")
	_, err = s.Agent(s.ctx, a)
	require.ErrorIs(s.t, err, store.ErrNotFound)
}

func projects(s suite) {
	p := store.Project{Name: "shop", Repo: "https://example.com/shop.git", Created: at}
	first, err := s.PutProject(s.ctx, p)
	require.NoError(s.t, err)
	require.Equal(s.t, int64(1), first.Rev)
	_, err = s.PutProject(s.ctx, p)
	require.ErrorIs(s.t, err, store.ErrConflict, "it is there already")

	next := first
	next.Scheduled = map[string]time.Time{"nightly 0 2 * * *": at}
	second, err := s.PutProject(s.ctx, next)
	require.NoError(s.t, err)
	_, err = s.PutProject(s.ctx, first)
	require.ErrorIs(s.t, err, store.ErrConflict, "it was changed since")
	got, err := s.Project(s.ctx, "shop")
	require.NoError(s.t, err)
	require.Equal(s.t, second, got)

	_, err = s.PutProject(s.ctx, store.Project{Name: "app"})
	require.NoError(s.t, err)
	all, err := s.Projects(s.ctx)
	require.NoError(s.t, err)
	require.Len(s.t, all, 2)
	require.Equal(s.t, "app", all[0].Name)

	won := make([]bool, racers)
	race(func(i int) {
		p := second
		p.Ref = fmt.Sprint(i)
		_, err := s.PutProject(s.ctx, p)
		won[i] = err == nil
	})
	winners := 0
	for _, w := range won {
		if w {
			winners++
		}
	}
	require.Equal(s.t, 1, winners)

	for range 2 {
		require.NoError(s.t, s.DeleteProject(s.ctx, "shop"))
	}
	_, err = s.Project(s.ctx, "shop")
	require.ErrorIs(s.t, err, store.ErrNotFound)
}

func tokens(s suite) {
	ci := store.Token{Hash: "aa", Name: "ci", Role: store.Trigger, Projects: []string{"shop*"}, Created: at, Expires: at.Add(time.Hour)}
	for range 2 {
		require.NoError(s.t, s.AddToken(s.ctx, ci))
	}
	require.NoError(s.t, s.AddToken(s.ctx, store.Token{Hash: "bb", Name: "admin", Role: store.Admin, Created: at}))
	require.ErrorIs(s.t, s.AddToken(s.ctx, store.Token{Hash: "cc", Name: "ci"}), store.ErrConflict)
	require.ErrorIs(s.t, s.AddToken(s.ctx, store.Token{Hash: "aa", Name: "other"}), store.ErrConflict)
	got, err := s.Token(s.ctx, "aa")
	require.NoError(s.t, err)
	require.Equal(s.t, ci, got)
	all, err := s.Tokens(s.ctx)
	require.NoError(s.t, err)
	require.Len(s.t, all, 2)
	require.Equal(s.t, "admin", all[0].Name)
	for range 2 {
		require.NoError(s.t, s.RevokeToken(s.ctx, "ci"))
	}
	_, err = s.Token(s.ctx, "aa")
	require.ErrorIs(s.t, err, store.ErrNotFound)
}

func watched(s suite) {
	ctx, cancel := context.WithCancel(s.ctx)
	all, err := s.Watch(ctx, store.Watched{})
	require.NoError(s.t, err)
	agents, err := s.Watch(ctx, store.Watched{Agent: a})
	require.NoError(s.t, err)
	one, err := s.Watch(ctx, store.Watched{Build: id("x")})
	require.NoError(s.t, err)
	changed := func(c store.Change) func() error {
		return func() error { _, err := s.Change(s.ctx, id("x"), c); return err }
	}
	for _, what := range []struct {
		happens func() error
		agent   bool // it concerns the agent
	}{
		{func() error { s.enqueue("x"); return nil }, true},
		{changed(store.Offer{To: a}), true},
		{changed(store.Claim{Agent: a, Nonce: "n", Max: store.MaxAttempts, At: at}), true},
		{changed(store.RequestCancel{At: at}), true},
		{func() error {
			return s.AppendEvents(s.ctx, store.EventKey{Build: id("x"), Fence: 1, Seq: 1}, []build.Event{{Seq: 1, Time: at, Kind: build.BuildStarted}})
		}, false},
		{func() error {
			return s.AppendChunks(s.ctx, []store.Chunk{{Key: store.ChunkKey{Build: id("x"), Fence: 1, Node: "unit", Attempt: 1}, Lines: 1, Data: []byte("hello\n")}})
		}, false},
		{changed(store.HandOver{Agent: a, Fence: 1, Nonce: "h", At: at}), true}, // which ends it, as it was to be cancelled
	} {
		require.NoError(s.t, what.happens())
		hinted(all, id("x"))
		if what.agent {
			require.False(s.t, hinted(agents, id("x")).Others)
			hinted(one, id("x"))
		}
	}
	cancel()
	for _, hints := range []<-chan store.Hint{all, agents, one} {
		for range hints {
		}
	}
}

// hinted waits for a hint; the suite's own deadline ends a wait in vain.
func hinted(hints <-chan store.Hint, at build.ID) (hint store.Hint) {
	for hint = range hints {
		if hint.Build == at || hint.Build == "" {
			break
		}
	}
	return hint
}

func notFound(s suite) {
	_, err := s.Build(s.ctx, id("none"))
	require.ErrorIs(s.t, err, store.ErrNotFound)
	_, err = s.BuildNumbered(s.ctx, 1)
	require.ErrorIs(s.t, err, store.ErrNotFound)
	_, err = s.Change(s.ctx, id("none"), store.Offer{})
	require.ErrorIs(s.t, err, store.ErrNotFound)
	_, err = s.Blob(s.ctx, "sha256:none")
	require.ErrorIs(s.t, err, store.ErrNotFound)
	_, err = s.Agent(s.ctx, "none")
	require.ErrorIs(s.t, err, store.ErrNotFound)
	require.ErrorIs(s.t, s.Drain(s.ctx, "none", true), store.ErrNotFound)
	require.ErrorIs(s.t, s.Describe(s.ctx, "none", 1, nil, nil), store.ErrNotFound)
	_, err = s.Project(s.ctx, "none")
	require.ErrorIs(s.t, err, store.ErrNotFound)
	_, err = s.Token(s.ctx, "none")
	require.ErrorIs(s.t, err, store.ErrNotFound)
}

func abandoned(s suite) {
	s.enqueue("x")
	ctx, cancel := context.WithCancel(s.ctx)
	cancel()
	_, err := s.Change(ctx, id("x"), store.Claim{Agent: a, Nonce: "n", Max: store.MaxAttempts, At: at})
	require.ErrorIs(s.t, err, context.Canceled)
	_, err = s.NextNumber(ctx)
	require.ErrorIs(s.t, err, context.Canceled)
	require.ErrorIs(s.t, s.PutBlob(ctx, "sha256:1", nil), context.Canceled)
	require.Equal(s.t, build.Queued, s.read("x").State)
}
