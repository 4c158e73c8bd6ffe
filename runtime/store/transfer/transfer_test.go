package transfer_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
	"github.com/piper-build/piper/runtime/store/rethinkdb/rethinkdbtest"
	"github.com/piper-build/piper/runtime/store/sqlite"
	"github.com/piper-build/piper/runtime/store/transfer"
)

func TestMain(m *testing.M) { os.Exit(rethinkdbtest.Main(m)) }

// at is a time like any other.
var at = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const agent store.AgentID = "agent-a"

// fill brings builds of all kinds into s: queued, ended, lost once and run again,
// collected, with plans, patches, events and output. It returns what is to be
// counted.
func fill(t *testing.T, s store.Store, builds int) transfer.Sum {
	ctx := t.Context()
	sum := transfer.Sum{Groups: 2, Projects: 2, Tokens: 2}
	change := func(id build.ID, c store.Change) {
		_, err := s.Change(ctx, id, c)
		require.NoError(t, err, "%T", c)
	}
	blobs := map[string]bool{}
	blob := func(digest string) string {
		require.NoError(t, s.PutBlob(ctx, digest, bytes.Repeat([]byte(digest), 1000)))
		blobs[digest] = true
		return digest
	}
	run := func(id build.ID, fence int64, events, parts int) {
		change(id, store.Claim{Agent: agent, Fence: fence - 1, Nonce: fmt.Sprint(fence), Max: 9, At: at})
		for seq := 1; seq <= events; {
			batch := []build.Event{{Seq: int64(seq), Time: at, Kind: build.AttemptStarted, Node: "unit", Attempt: 1}, {Seq: int64(seq + 1), Time: at.Add(time.Millisecond), Kind: build.AttemptEnded, Node: "unit", Attempt: 1, State: build.Failed, Outputs: map[string]string{"k": "ü"}}}
			require.NoError(t, s.AppendEvents(ctx, store.EventKey{Build: id, Fence: fence, Seq: int64(seq)}, batch))
			seq, sum.Events = seq+len(batch), sum.Events+int64(len(batch))
		}
		for attempt := range 2 {
			for i := range parts {
				c := store.Chunk{Key: store.ChunkKey{Build: id, Fence: fence, Node: "unit", Attempt: attempt + 1, Seq: int64(i)}, Line: int64(i), Lines: 1,
					Offset: int64(4 * i), Times: []store.Stamp{{Offset: 1, At: at}}, Data: []byte("a\x00\xff\n")}
				require.NoError(t, s.AppendChunks(ctx, []store.Chunk{c}))
				sum.Chunks, sum.Bytes = sum.Chunks+1, sum.Bytes+4
			}
		}
	}
	for i := range builds {
		number, err := s.NextNumber(ctx)
		require.NoError(t, err)
		id := build.ID(fmt.Sprintf("b%04d", (i*7919)%10007)) // they do not sort as they come
		r := store.Request{Project: "shop", Pipeline: "test", Params: map[string]string{"i": fmt.Sprint(i)}, Priority: i % 3}
		if i%4 == 1 {
			r.Patch = blob(fmt.Sprint("sha256:patch", i))
		}
		_, err = s.Enqueue(ctx, store.NewBuild(id, number, r, at.Add(time.Duration(i)*time.Second)))
		require.NoError(t, err)
		sum.Builds++
		if i%5 == 0 {
			continue // queued
		}
		run(id, 1, 4, 2)
		change(id, store.Planned{Agent: agent, Fence: 1, Plan: blob(fmt.Sprint("sha256:plan", i%3)), Groups: []string{"live"}, Total: 3})
		fence := int64(1)
		if i%3 == 0 {
			change(id, store.Rescue{Owner: agent, Fence: 1, Max: 9, At: at})
			run(id, 3, 250, 40)
			fence = 3
		}
		change(id, store.Fire{Agent: agent, Fence: fence, Node: "ship", Outgoing: store.Outgoing{Child: "child", Request: store.Request{Project: "shop", Patch: blob("sha256:of a child")}}})
		change(id, store.Complete{Agent: agent, Fence: fence, State: build.Success, Progress: build.Progress{Total: 3, Done: 3}, At: at})
		for _, chore := range []store.Chore{{Verb: store.EnqueueChild, Target: "ship"}, {Verb: store.Release, Target: "live"}, {Verb: store.StartAfter}} {
			change(id, store.Settle{Chore: chore})
		}
		if i == 2 {
			require.NoError(t, s.Purge(ctx, id))
			change(id, store.Collect{})
			sum.Collected++
			sum.Events, sum.Chunks, sum.Bytes = sum.Events-4, sum.Chunks-4, sum.Bytes-16
		}
	}
	sum.Blobs = int64(len(blobs))
	acquire := func(key string, n int64) store.Group {
		g, err := s.ChangeGroup(ctx, key, store.Acquire{Waiter: store.Waiter{Number: n, Build: build.ID(fmt.Sprint("w", n))}})
		require.NoError(t, err)
		return g
	}
	acquire("live", 7)
	acquire("live", 9)
	acquire("free", 7)
	_, err := s.ChangeGroup(ctx, "free", store.Leave{Waiter: store.Waiter{Number: 7, Build: "w7"}})
	require.NoError(t, err)
	shop, err := s.PutProject(ctx, store.Project{Name: "shop", Repo: "/srv/shop", Created: at, Retention: store.Retention{Count: 3}})
	require.NoError(t, err)
	shop.Scheduled = map[string]time.Time{"nightly": at}
	_, err = s.PutProject(ctx, shop)
	require.NoError(t, err)
	_, err = s.PutProject(ctx, store.Project{Name: "app", Repo: "/srv/app"})
	require.NoError(t, err)
	for _, name := range []string{"ann", "ci"} {
		require.NoError(t, s.AddToken(ctx, store.Token{Hash: "hash of " + name, Name: name, Role: store.Trigger, Projects: []string{"sh*"}, Created: at}))
	}
	return sum
}

func equal(t *testing.T, want, got transfer.Sum) {
	t.Helper()
	require.Regexp(t, "^sha256:[0-9a-f]{64}$", got.Digest)
	got.Digest = want.Digest
	require.Equal(t, want, got)
}

func TestCopy(t *testing.T) {
	from, to := store.NewMemory(), store.NewMemory()
	want := fill(t, from, 250) // some pages
	var looked []int64
	got, err := transfer.Copy(t.Context(), from, to, transfer.Options{Progress: func(builds int64) { looked = append(looked, builds) }})
	require.NoError(t, err)
	equal(t, want, got)
	require.Equal(t, []int64{100, 200, 250}, looked)
	require.Contains(t, got.String(), "250 builds (1 collected), ")

	// All is as it was, revisions included, and no number is drawn twice.
	builds, err := from.AllBuilds(t.Context(), "", 1000)
	require.NoError(t, err)
	for _, b := range builds {
		copied, err := to.Build(t.Context(), b.ID)
		require.NoError(t, err)
		require.Equal(t, b, copied)
	}
	number, err := to.NextNumber(t.Context())
	require.NoError(t, err)
	require.Equal(t, int64(251), number)
	g, err := to.Group(t.Context(), "live")
	require.NoError(t, err)
	require.Equal(t, store.Group{Key: "live", Rev: 2, Holder: "w7", Queue: []store.Waiter{{Number: 9, Build: "w9"}}}, g)

	again, err := transfer.Copy(t.Context(), from, &readOnly{Memory: to}, transfer.Options{})
	require.NoError(t, err)
	require.Equal(t, got, again)
}

// A readOnly is a store that is not written to any more.
type readOnly struct{ *store.Memory }

var errWritten = errors.New("it was written to")

func (*readOnly) Enqueue(context.Context, store.Build) (store.Build, error) {
	return store.Build{}, errWritten
}
func (*readOnly) PutBlob(context.Context, string, []byte) error { return errWritten }
func (*readOnly) AppendEvents(context.Context, store.EventKey, []build.Event) error {
	return errWritten
}
func (*readOnly) AppendChunks(context.Context, []store.Chunk) error { return errWritten }
func (*readOnly) ChangeGroup(context.Context, string, store.GroupChange) (store.Group, error) {
	return store.Group{}, errWritten
}
func (*readOnly) PutProject(context.Context, store.Project) (store.Project, error) {
	return store.Project{}, errWritten
}
func (*readOnly) AddToken(context.Context, store.Token) error { return errWritten }

// A flaky store loses answers, and breaks for good after some writes.
type flaky struct {
	*store.Memory
	left atomic.Int64 // writes until it breaks
	n    atomic.Int64
}

var errBroken = errors.New("it broke")

func (f *flaky) write(do func() error) error {
	if f.left.Add(-1) < 0 {
		return errBroken
	}
	switch f.n.Add(1) % 7 {
	case 0:
		return fmt.Errorf("the request was lost: %w", store.ErrInDoubt)
	case 1:
		do()
		return fmt.Errorf("the answer was lost: %w", store.ErrInDoubt)
	}
	return do()
}

func (f *flaky) Enqueue(ctx context.Context, b store.Build) (made store.Build, err error) {
	err = f.write(func() error { made, err = f.Memory.Enqueue(ctx, b); return err })
	return made, err
}
func (f *flaky) PutBlob(ctx context.Context, digest string, data []byte) error {
	return f.write(func() error { return f.Memory.PutBlob(ctx, digest, data) })
}
func (f *flaky) AppendEvents(ctx context.Context, key store.EventKey, events []build.Event) error {
	return f.write(func() error { return f.Memory.AppendEvents(ctx, key, events) })
}
func (f *flaky) AppendChunks(ctx context.Context, chunks []store.Chunk) error {
	return f.write(func() error { return f.Memory.AppendChunks(ctx, chunks) })
}
func (f *flaky) ChangeGroup(ctx context.Context, key string, c store.GroupChange) (g store.Group, err error) {
	err = f.write(func() error { g, err = f.Memory.ChangeGroup(ctx, key, c); return err })
	return g, err
}
func (f *flaky) PutProject(ctx context.Context, p store.Project) (put store.Project, err error) {
	err = f.write(func() error { put, err = f.Memory.PutProject(ctx, p); return err })
	return put, err
}
func (f *flaky) AddToken(ctx context.Context, token store.Token) error {
	return f.write(func() error { return f.Memory.AddToken(ctx, token) })
}

func TestACopyThatIsCutOffGoesOn(t *testing.T) {
	from := store.NewMemory()
	want := fill(t, from, 120)
	to := &flaky{Memory: store.NewMemory()}
	for tries := 1; ; tries++ {
		require.Less(t, tries, 200, "it gets nowhere")
		to.left.Store(int64(10 + tries))
		got, err := transfer.Copy(t.Context(), from, to, transfer.Options{})
		if err == nil {
			equal(t, want, got)
			require.Greater(t, tries, 5, "it was cut off now and then")
			break
		}
		require.ErrorIs(t, err, errBroken)

		// What is there of a build is whole.
		there, err := to.AllBuilds(t.Context(), "", 1000)
		require.NoError(t, err)
		for _, b := range there {
			for fence := int64(1); fence <= b.Fence; fence++ {
				all, err := from.Events(t.Context(), b.ID, fence, 1, 1000)
				require.NoError(t, err)
				copied, err := to.Events(t.Context(), b.ID, fence, 1, 1000)
				require.NoError(t, err)
				require.Equal(t, all, copied)
			}
			if b.Plan != "" {
				_, err := to.Blob(t.Context(), b.Plan)
				require.NoError(t, err)
			}
		}
	}
}

func TestStoresInUse(t *testing.T) {
	from, to := store.NewMemory(), store.NewMemory()
	copied := func(o transfer.Options) error {
		_, err := transfer.Copy(t.Context(), from, to, o)
		return err
	}
	for i, s := range []*store.Memory{from, to} {
		require.NoError(t, s.Join(t.Context(), store.Agent{ID: agent, Name: "builder", Host: "h1", Seen: at}))
		err := copied(transfer.Options{})
		require.ErrorIs(t, err, transfer.ErrInUse)
		require.EqualError(t, err, []string{"FROM", "TO"}[i]+" is in use: it has 1 agents, among them builder on h1, last seen at 2026-03-01T12:00:00Z")
		require.NoError(t, s.Bury(t.Context(), agent))
	}
	_, err := from.Enqueue(t.Context(), store.NewBuild("b", 7, store.Request{}, at))
	require.NoError(t, err)
	_, err = from.Change(t.Context(), "b", store.Claim{Agent: agent, Nonce: "n", Max: 1, At: at})
	require.NoError(t, err)
	event := func(seq int64) {
		require.NoError(t, from.AppendEvents(t.Context(), store.EventKey{Build: "b", Fence: 1, Seq: seq}, []build.Event{{Seq: seq, Time: at, Kind: build.CancelRequested}}))
	}
	event(1)
	err = copied(transfer.Options{})
	require.ErrorIs(t, err, transfer.ErrInUse)
	require.EqualError(t, err, "FROM is in use: 1 builds run there, among them 7")
	require.NoError(t, copied(transfer.Options{Force: true}))

	// It went on, and wrote more.
	event(2)
	require.NoError(t, copied(transfer.Options{Force: true}))
	_, err = from.Change(t.Context(), "b", store.Complete{Agent: agent, Fence: 1, State: build.Success, At: at})
	require.NoError(t, err)
	err = copied(transfer.Options{})
	require.EqualError(t, err, "build 7 (b) is not the same there: TO is not a copy of FROM")
}

// What TO has for itself is never touched, and nothing is copied to it.
func TestOtherContent(t *testing.T) {
	enqueue := func(s store.Store, id build.ID, number int64) {
		_, err := s.Enqueue(t.Context(), store.NewBuild(id, number, store.Request{Project: "p"}, at))
		require.NoError(t, err)
	}
	for want, make := range map[string]func(from, to *store.Memory){
		"build 9 (a) is there alone: ":        func(_, to *store.Memory) { enqueue(to, "a", 9) },
		"build 9 (z) is there alone: ":        func(_, to *store.Memory) { enqueue(to, "z", 9) },
		"build 1 (b) is not the same there: ": func(_, to *store.Memory) { enqueue(to, "b", 9) },
		"group live is there alone: ": func(_, to *store.Memory) {
			_, err := to.ChangeGroup(t.Context(), "live", store.Acquire{Waiter: store.Waiter{Number: 1, Build: "b"}})
			require.NoError(t, err)
		},
		"project shop is not the same there: ": func(from, to *store.Memory) {
			for i, s := range []*store.Memory{from, to} {
				_, err := s.PutProject(t.Context(), store.Project{Name: "shop", Ref: fmt.Sprint(i)})
				require.NoError(t, err)
			}
		},
		"token ci is there alone: ": func(_, to *store.Memory) {
			require.NoError(t, to.AddToken(t.Context(), store.Token{Name: "ci", Hash: "h"}))
		},
		"copy build 1 (b): events of fence 1: ": func(from, to *store.Memory) {
			for i, s := range []*store.Memory{from, to} {
				require.NoError(t, s.AppendEvents(t.Context(), store.EventKey{Build: "b", Fence: 1, Seq: 1}, []build.Event{{Seq: 1, Time: at.Add(time.Duration(i)), Kind: build.BuildStarted}}))
			}
		},
		"copy build 1 (b): output of unit, attempt 1, fence 1: ": func(from, to *store.Memory) {
			for i, s := range []*store.Memory{from, to} {
				require.NoError(t, s.AppendChunks(t.Context(), []store.Chunk{{Key: store.ChunkKey{Build: "b", Fence: 1, Node: "unit", Attempt: 1}, Data: []byte{byte(i)}}}))
			}
		},
		"compare: build 1 (b): its output is not the same: there are 0 bytes in FROM, 3 in TO: ": func(_, to *store.Memory) {
			require.NoError(t, to.AppendChunks(t.Context(), []store.Chunk{{Key: store.ChunkKey{Build: "b", Fence: 1, Node: "unit", Attempt: 1}, Data: []byte("abc")}}))
		},
		"compare: build 1 (b): its events are not the same: there are 0 in FROM, 1 in TO: ": func(_, to *store.Memory) {
			require.NoError(t, to.AppendEvents(t.Context(), store.EventKey{Build: "b", Fence: 1, Seq: 1}, []build.Event{{Seq: 1, Time: at, Kind: build.BuildStarted}}))
		},
		"compare: blob sha256:1 is not the same in both: ": func(from, to *store.Memory) {
			_, err := from.Change(t.Context(), "b", store.Claim{Agent: agent, Nonce: "n", Max: 1, At: at})
			require.NoError(t, err)
			_, err = from.Change(t.Context(), "b", store.Planned{Agent: agent, Fence: 1, Plan: "sha256:1"})
			require.NoError(t, err)
			require.NoError(t, to.PutBlob(t.Context(), "sha256:1", []byte("plan")))
		},
	} {
		from, to := store.NewMemory(), store.NewMemory()
		enqueue(from, "b", 1)
		make(from, to)
		_, err := transfer.Copy(t.Context(), from, to, transfer.Options{Force: true})
		require.ErrorIs(t, err, transfer.ErrOther, want)
		require.EqualError(t, err, want+"TO is not a copy of FROM")
	}
}

func openFile(t *testing.T) *sqlite.Store {
	s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "piper.db"), sqlite.Options{Relaxed: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestFilesAreTheSame(t *testing.T) {
	memory := store.NewMemory()
	want := fill(t, memory, 40)
	from, to := openFile(t), openFile(t)
	first, err := transfer.Copy(t.Context(), memory, from, transfer.Options{})
	require.NoError(t, err)
	equal(t, want, first)
	second, err := transfer.Copy(t.Context(), from, to, transfer.Options{})
	require.NoError(t, err)
	require.Equal(t, first, second)
}

func TestToADatabaseAndBack(t *testing.T) {
	database := rethinkdbtest.Open(t)
	from, back := openFile(t), openFile(t)
	want := fill(t, from, 40)
	there, err := transfer.Copy(t.Context(), from, database, transfer.Options{})
	require.NoError(t, err)
	equal(t, want, there)
	and, err := transfer.Copy(t.Context(), database, back, transfer.Options{})
	require.NoError(t, err)
	require.Equal(t, there, and)
	last, err := transfer.Copy(t.Context(), from, back, transfer.Options{})
	require.NoError(t, err)
	require.Equal(t, there, last, "what came back is what went")
	for _, s := range []store.Store{database, back} {
		number, err := s.NextNumber(t.Context())
		require.NoError(t, err)
		require.Equal(t, int64(41), number)
	}
}
