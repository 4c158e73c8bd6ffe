package sqlite

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/logs/logstest"
	"github.com/piper-build/piper/runtime/store"
	"github.com/piper-build/piper/runtime/store/storetest"
)

// at is a time like any other.
var at = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func openAt(t *testing.T, path string) *Store {
	s, err := Open(t.Context(), path, Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return openAt(t, filepath.Join(t.TempDir(), "deep", "piper.db")) })
}

func TestLogs(t *testing.T) {
	logstest.Run(t, func(t *testing.T) logstest.Place {
		return logstest.Of(openAt(t, filepath.Join(t.TempDir(), "piper.db")))
	})
}

func TestLinearizable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "piper.db")
	storetest.Linearizable(t, nil, openAt(t, path), openAt(t, path))
}

// two is one file that is open twice, the way two processes have it: each call
// goes to the other one.
type two struct {
	store.Store
	other store.Store
	turn  chan store.Store
}

func (s *two) next() store.Store {
	now := <-s.turn
	if now == s.Store {
		s.turn <- s.other
	} else {
		s.turn <- s.Store
	}
	return now
}

func (s *two) Change(ctx context.Context, id build.ID, c store.Change) (store.Build, error) {
	return s.next().Change(ctx, id, c)
}

func (s *two) Build(ctx context.Context, id build.ID) (store.Build, error) {
	return s.next().Build(ctx, id)
}

func (s *two) NextNumber(ctx context.Context) (int64, error) { return s.next().NextNumber(ctx) }

func (s *two) Enqueue(ctx context.Context, b store.Build) (store.Build, error) {
	return s.next().Enqueue(ctx, b)
}

func (s *two) AppendChunks(ctx context.Context, chunks []store.Chunk) error {
	return s.next().AppendChunks(ctx, chunks)
}

func (s *two) ChangeGroup(ctx context.Context, key string, c store.GroupChange) (store.Group, error) {
	return s.next().ChangeGroup(ctx, key, c)
}

func TestStoreThatIsOpenTwice(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store {
		path := filepath.Join(t.TempDir(), "piper.db")
		s := &two{Store: openAt(t, path), other: openAt(t, path), turn: make(chan store.Store, 1)}
		s.turn <- s.Store
		return s
	})
}

func TestWhatWasAcknowledgedIsThereAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "piper.db")
	s, err := Open(t.Context(), path, Options{})
	require.NoError(t, err)
	b, err := s.Enqueue(t.Context(), store.NewBuild("x", 1, store.Request{Project: "p"}, time.Now().UTC()))
	require.NoError(t, err)
	chunk := store.Chunk{Key: store.ChunkKey{Build: "x", Fence: 1, Node: "n", Attempt: 1}, Lines: 1, Data: []byte("hello\n")}
	require.NoError(t, s.AppendChunks(t.Context(), []store.Chunk{chunk}))
	require.NoError(t, s.Close())
	_, err = s.NextNumber(t.Context())
	require.Error(t, err, "it is closed")

	s = openAt(t, path)
	again, err := s.Build(t.Context(), "x")
	require.NoError(t, err)
	require.Equal(t, b, again)
	chunks, err := s.Chunks(t.Context(), chunk.Key, 10)
	require.NoError(t, err)
	require.Equal(t, []store.Chunk{chunk}, chunks)
}

func TestNobodyElseMayReadIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "deep", "piper.db")
	s := openAt(t, path)
	require.NoError(t, s.AppendChunks(t.Context(), []store.Chunk{{Key: store.ChunkKey{Build: "x", Node: "n"}, Data: []byte("x")}}))
	require.NoError(t, filepath.WalkDir(filepath.Dir(path), func(path string, d os.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := d.Info()
		require.NoError(t, err)
		require.Zero(t, info.Mode().Perm()&0o077, path)
		return nil
	}))
}

func TestOpenRefusesWhatItMustNotTouch(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text.db")
	require.NoError(t, os.WriteFile(text, []byte("this is a text, and long enough not to be taken for an empty database\n"), 0o600))
	_, err := Open(t.Context(), text, Options{})
	require.ErrorIs(t, err, ErrDamaged)

	newer := filepath.Join(t.TempDir(), "newer.db")
	s, err := Open(t.Context(), newer, Options{})
	require.NoError(t, err)
	_, err = s.writes.conn.ExecContext(t.Context(), fmt.Sprintf("PRAGMA user_version = %d", len(migrations)+1))
	require.NoError(t, err)
	require.NoError(t, s.Close())
	_, err = Open(t.Context(), newer, Options{})
	require.ErrorIs(t, err, ErrNewer)

	torn := filepath.Join(t.TempDir(), "torn.db")
	s, err = Open(t.Context(), torn, Options{})
	require.NoError(t, err)
	for i := range int64(200) {
		_, err := s.Enqueue(t.Context(), store.NewBuild(build.ID(fmt.Sprint(i)), i+1, store.Request{Project: "p"}, time.Now()))
		require.NoError(t, err)
	}
	require.NoError(t, s.Close())
	data, err := os.ReadFile(torn)
	require.NoError(t, err)
	for i := 4096 * 3; i < len(data)-4096; i += 64 {
		data[i] ^= 0x5a
	}
	require.NoError(t, os.WriteFile(torn, data, 0o600))
	s, err = Open(t.Context(), torn, Options{})
	if err == nil { // it need not see it
		err = s.Check(t.Context())
		require.NoError(t, s.Close())
	}
	require.ErrorIs(t, err, ErrDamaged)

	_, err = Open(t.Context(), filepath.Join(text, "piper.db"), Options{})
	require.Error(t, err)
}

func TestCheckOfASoundStore(t *testing.T) {
	require.NoError(t, openAt(t, filepath.Join(t.TempDir(), "piper.db")).Check(t.Context()))
}

// A store that is full says so, and takes more once it is not.
func TestFull(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "piper.db"))
	limit := func(pages int) {
		_, err := s.writes.conn.ExecContext(t.Context(), fmt.Sprintf("PRAGMA max_page_count = %d", pages))
		require.NoError(t, err)
	}
	limit(1) // no less than there are
	big := make([]byte, 1<<20)
	err := s.PutBlob(t.Context(), "big", big)
	require.ErrorIs(t, err, store.ErrFull)
	require.NotErrorIs(t, err, store.ErrInDoubt)
	_, err = s.Agents(t.Context())
	require.NoError(t, err, "what is there can be read")
	limit(1 << 20)
	require.NoError(t, s.PutBlob(t.Context(), "big", big))
}

// A transaction that does not come about leaves none behind.
func TestCommitThatFails(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "piper.db"))
	ctx := t.Context()
	require.NoError(t, s.writes.do(ctx, func(ctx context.Context, tx *transaction) error {
		_, err := tx.ExecContext(ctx, "CREATE TABLE child (id REFERENCES blobs DEFERRABLE INITIALLY DEFERRED)")
		return err
	}))
	err := s.writes.do(ctx, func(ctx context.Context, tx *transaction) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO child VALUES ('none')")
		return err
	})
	require.ErrorIs(t, err, store.ErrInDoubt)
	require.NoError(t, s.PutBlob(ctx, "after", nil))
}

// What of a chunk is another one is told apart, and the chunks beside it are
// not written either.
func TestAnotherChunkIsNotTheSame(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "piper.db"))
	first := chunkOf("x", "text\n")
	first.Times = []store.Stamp{{At: at}, {Offset: 2, At: at.Add(time.Second)}}
	require.NoError(t, s.AppendChunks(t.Context(), []store.Chunk{first}))
	for name, change := range map[string]func(*store.Chunk){
		"data":   func(c *store.Chunk) { c.Data = []byte("TEXT\n") },
		"length": func(c *store.Chunk) { c.Data = []byte("text\n\n") },
		"line":   func(c *store.Chunk) { c.Line++ },
		"lines":  func(c *store.Chunk) { c.Lines++ },
		"offset": func(c *store.Chunk) { c.Offset++ },
		"cut":    func(c *store.Chunk) { c.Cut++ },
		"times":  func(c *store.Chunk) { c.Times = c.Times[:1] },
		"a time": func(c *store.Chunk) { c.Times = []store.Stamp{{At: at}, {Offset: 2, At: at}} },
	} {
		changed, fresh := first, chunkOf("x", "new\n")
		change(&changed)
		fresh.Key.Seq, fresh.Line, fresh.Offset = 1, 1, 5
		require.ErrorIs(t, s.AppendChunks(t.Context(), []store.Chunk{fresh, changed}), store.ErrConflict, name)
		got, err := s.Chunks(t.Context(), first.Key, 10)
		require.NoError(t, err)
		require.Equal(t, []store.Chunk{first}, got, name)
	}
}

func TestRelaxedIsAStoreToo(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store {
		s, err := Open(t.Context(), filepath.Join(t.TempDir(), "piper.db"), Options{Relaxed: true})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		return s
	})
}

// lock takes the lock of a file, as another process would that writes to it.
func lock(t *testing.T, path string) (unlock func()) {
	other, err := open(path, 0)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, other.Close()) })
	tx, err := other.BeginTx(context.Background(), nil) // at once, see open
	require.NoError(t, err)
	return func() { require.NoError(t, tx.Rollback()) }
}

// Another process has the file locked for longer than a write waits: it says so,
// what is there can be read, and whoever insists gets what he wants.
func TestLocked(t *testing.T) {
	path := filepath.Join(t.TempDir(), "piper.db")
	s, err := Open(t.Context(), path, Options{Busy: time.Millisecond})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	unlock := lock(t, path)
	ctx := t.Context()
	const each = 20
	said := make(chan error, each)
	var writing sync.WaitGroup
	for i := range int64(each) {
		writing.Go(func() {
			var once sync.Once
			id := build.ID(fmt.Sprint(i))
			tell := func(err error) error {
				once.Do(func() { said <- err })
				return err
			}
			assert.NoError(t, store.Insist(ctx, func() error {
				_, err := s.Enqueue(ctx, store.NewBuild(id, i+1, store.Request{Project: "p"}, at))
				return tell(err)
			}))
			assert.NoError(t, store.Insist(ctx, func() error {
				return s.AppendChunks(ctx, []store.Chunk{chunkOf(id, "text\n")})
			}))
		})
	}
	for range each {
		err := <-said
		require.ErrorIs(t, err, store.ErrInDoubt)
		require.ErrorContains(t, err, "another process keeps the file locked")
	}
	_, err = s.Build(ctx, "0")
	require.ErrorIs(t, err, store.ErrNotFound, "it can be read")
	opened, err := Open(ctx, path, Options{Busy: time.Millisecond})
	require.NoError(t, err, "to open it takes no lock")
	require.NoError(t, opened.Close())
	unlock()
	writing.Wait()
	all, _, err := s.List(ctx, store.Filter{}, "", 100)
	require.NoError(t, err)
	require.Len(t, all, each)
	for _, b := range all {
		chunks, err := s.Chunks(ctx, chunkOf(b.ID, "").Key, 10)
		require.NoError(t, err)
		require.Equal(t, []store.Chunk{chunkOf(b.ID, "text\n")}, chunks)
	}
}

// Who opens a file that another process makes, or brings up to date, waits for
// that, and says so when it takes too long.
func TestLockedWhileItsTablesAreMade(t *testing.T) {
	path := filepath.Join(t.TempDir(), "piper.db")
	require.NoError(t, create(path))
	wal, err := open(path, 0, "journal_mode(WAL)")
	require.NoError(t, err)
	require.NoError(t, wal.Ping())
	defer wal.Close()
	unlock := lock(t, path)
	_, err = Open(t.Context(), path, Options{Busy: time.Millisecond})
	require.ErrorContains(t, err, "open store "+path+": another process keeps the file locked")
	opened := make(chan error)
	go func() {
		s, err := Open(t.Context(), path, Options{Busy: time.Hour})
		if err == nil {
			err = s.Close()
		}
		opened <- err
	}()
	unlock()
	require.NoError(t, <-opened)
}

// Many processes open a file that is not there yet.
func TestOpenedByManyAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "piper.db")
	var opening sync.WaitGroup
	for range 8 {
		opening.Go(func() {
			s, err := Open(t.Context(), path, Options{Busy: time.Hour})
			if assert.NoError(t, err) {
				assert.NoError(t, s.Close())
			}
		})
	}
	opening.Wait()
}

// A write that breaks its transaction fails alone.
func TestOneBrokenWriteHarmsNoOther(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "piper.db"))
	good := func(id string) *request {
		return &request{ctx: t.Context(), done: make(chan struct{}), do: func(ctx context.Context, tx *transaction) error {
			return put(ctx, tx, store.NewBuild(build.ID(id), int64(id[0]), store.Request{}, time.Now()))
		}}
	}
	bad := &request{ctx: t.Context(), done: make(chan struct{}), do: func(ctx context.Context, tx *transaction) error {
		_, err := tx.ExecContext(ctx, "INSERT INTO builds VALUES (1)")
		return err
	}}
	refused := &request{ctx: t.Context(), done: make(chan struct{}), do: func(context.Context, *transaction) error { return store.ErrConflict }}
	s.writes.commit([]*request{good("a"), refused, bad, good("b")})
	require.Error(t, bad.err)
	require.ErrorIs(t, refused.err, store.ErrConflict)
	for _, id := range []build.ID{"a", "b"} {
		_, err := s.Build(t.Context(), id)
		require.NoError(t, err)
	}
}

// What a write decided counts for nothing when it is made again.
func TestAWriteIsMadeAgain(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "piper.db"))
	aside := *s.writes // whose requests this test makes
	aside.requests = make(chan *request)
	waiting := &Store{writes: &aside, reads: s.reads, watch: s.watch}
	bad := func() *request {
		return &request{ctx: t.Context(), done: make(chan struct{}), do: func(ctx context.Context, tx *transaction) error {
			_, err := tx.ExecContext(ctx, "INSERT INTO builds VALUES (1)")
			return err
		}}
	}
	again := func(write func() error) {
		var err error
		done := make(chan struct{})
		go func() {
			defer close(done)
			err = write()
		}()
		s.writes.commit([]*request{<-aside.requests, bad()})
		<-done
		require.NoError(t, err)
	}
	ctx := t.Context()
	again(func() error {
		p, err := waiting.PutProject(ctx, store.Project{Name: "shop"})
		require.EqualValues(t, 1, p.Rev)
		return err
	})
	again(func() error {
		n, err := waiting.NextNumber(ctx)
		require.EqualValues(t, 1, n)
		return err
	})
	again(func() error {
		b, err := waiting.Enqueue(ctx, store.NewBuild("x", 1, store.Request{}, at))
		require.EqualValues(t, 1, b.Rev)
		return err
	})
	again(func() error {
		b, err := waiting.Change(ctx, "x", store.RequestCancel{Cancel: store.Cancel{By: "ann"}, At: at})
		require.Equal(t, build.Cancelled, b.State)
		return err
	})
}

// A caller that goes does not share what it leaves with its write, which goes on.
// The race detector would tell.
func TestACallerThatGoes(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "piper.db"))
	_, err := s.Enqueue(t.Context(), store.NewBuild("x", 1, store.Request{}, at))
	require.NoError(t, err)
	require.NoError(t, s.Join(t.Context(), store.Agent{ID: "a"}))
	for i := range 100 {
		aside := *s.writes
		aside.requests = make(chan *request)
		waiting := &Store{writes: &aside, reads: s.reads, watch: s.watch}
		for _, write := range []func(ctx context.Context) error{
			func(ctx context.Context) error { _, err := waiting.NextNumber(ctx); return err },
			func(ctx context.Context) error {
				_, err := waiting.Enqueue(ctx, store.NewBuild("y", int64(i), store.Request{}, at))
				return err
			},
			func(ctx context.Context) error {
				_, err := waiting.Change(ctx, "x", store.RequestCancel{At: at})
				return err
			},
			func(ctx context.Context) error { _, err := waiting.Heartbeat(ctx, "a", nil, at); return err },
			func(ctx context.Context) error {
				_, err := waiting.PutProject(ctx, store.Project{Name: "shop", Rev: int64(i)})
				return err
			},
			func(ctx context.Context) error {
				_, err := waiting.ChangeGroup(ctx, "g", store.Acquire{Waiter: store.Waiter{Build: "x"}})
				return err
			},
		} {
			ctx, leave := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() {
				defer close(done)
				assert.ErrorIs(t, write(ctx), store.ErrInDoubt)
			}()
			r := <-aside.requests
			go leave()
			s.writes.commit([]*request{{ctx: t.Context(), do: r.do, done: make(chan struct{})}}) // nobody answers the caller
			<-done
		}
	}
}

func TestAPageIsReadFromAnIndex(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "piper.db"))
	for name, query := range map[string]string{
		"builds_newest":   "SELECT doc FROM builds WHERE collected = 0 AND number < 9 ORDER BY number DESC LIMIT 50 + 0",
		"builds_project":  "SELECT doc FROM builds WHERE collected = 0 AND project = 'p' ORDER BY number DESC LIMIT 50 + 0",
		"builds_pipeline": "SELECT doc FROM builds WHERE collected = 0 AND project = 'p' AND pipeline = 'b' ORDER BY number DESC LIMIT 50 + 0",
		"builds_parent":   "SELECT doc FROM builds WHERE collected = 0 AND parent <> '' AND parent = 'x' ORDER BY number DESC LIMIT 50 + 0",
		"builds_queue":    "SELECT doc FROM builds WHERE state = 'queued' ORDER BY priority DESC, number LIMIT 9 + 0",
		"builds_choice":   "SELECT doc FROM builds WHERE state = 'queued' AND choice = 'a' ORDER BY priority DESC, number LIMIT 9 + 0",
		"builds_running":  "SELECT doc FROM builds WHERE state = 'running' AND owner = 'a' ORDER BY number",
		"builds_pending":  "SELECT doc FROM builds WHERE pending > 0 ORDER BY number LIMIT 9 + 0",
	} {
		var id, parent, unused int
		var detail string
		require.NoError(t, s.reads.QueryRowContext(t.Context(), "EXPLAIN QUERY PLAN "+query).Scan(&id, &parent, &unused, &detail), name)
		require.Contains(t, detail, name)
	}
}
