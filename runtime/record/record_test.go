package record_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/logs"
	"github.com/piper-build/piper/runtime/record"
	"github.com/piper-build/piper/runtime/store"
	"github.com/piper-build/piper/runtime/store/storetest"
)

const id, fence = build.ID("b"), int64(3)

// written is what a test wrote as one attempt, and when.
type written struct {
	key    store.ChunkKey
	out    logs.Writer
	data   []byte
	stamps []stamp
}

// A stamp is when what begins at an offset arrived.
type stamp struct {
	offset int
	at     time.Time
}

func begin(t *testing.T, r *record.Record, node string) *written {
	out, err := r.Open(node, 1)
	require.NoError(t, err)
	return &written{key: store.ChunkKey{Build: id, Fence: fence, Node: node, Attempt: 1}, out: out}
}

func (w *written) write(t *testing.T, p []byte) {
	now := time.Now()
	require.NoError(t, w.out.Write(now, p))
	at := now.UTC().Truncate(time.Millisecond)
	if last := len(w.stamps) - 1; last < 0 || !w.stamps[last].at.Equal(at) {
		w.stamps = append(w.stamps, stamp{len(w.data), at})
	}
	w.data = append(w.data, p...)
}

// times are the stamps of the bytes from one offset to another.
func (w *written) times(from, to int64) (times []store.Stamp) {
	for i, s := range w.stamps {
		if s.offset >= int(to) {
			break
		}
		if i+1 == len(w.stamps) || w.stamps[i+1].offset > int(from) {
			times = append(times, store.Stamp{Offset: int32(max(0, s.offset-int(from))), At: s.at})
		}
	}
	return times
}

// kept expects that the store has of w what was written, but for what it says is
// missing, and returns how much that is.
func (w *written) kept(t *testing.T, s store.Logs) (missing int64) {
	t.Helper()
	chunks, err := s.Chunks(t.Context(), w.key, 1<<20)
	require.NoError(t, err)
	end, line := int64(0), int64(0)
	for i, c := range chunks {
		require.NotEmpty(t, c.Data)
		require.LessOrEqual(t, len(c.Data), store.MaxChunk)
		require.Equal(t, end+c.Cut, c.Offset, "chunk %d", i)
		end = c.Offset + int64(len(c.Data))
		missing += c.Cut
		require.True(t, bytes.Equal(w.data[c.Offset:end], c.Data), "chunk %d", i)
		line += int64(bytes.Count(w.data[c.Offset-c.Cut:c.Offset], []byte("\n")))
		require.Equal(t, line, c.Line, "chunk %d", i)
		line += c.Lines
		require.Equal(t, int64(bytes.Count(c.Data, []byte("\n"))), c.Lines, "chunk %d", i)
		require.Equal(t, w.times(c.Offset, end), c.Times, "chunk %d", i)
	}
	require.Equal(t, int64(len(w.data)), end, "the end is always kept")
	return missing
}

// events makes events from one seq on.
func events(first int64, kinds ...build.Kind) (made []build.Event) {
	for i, kind := range kinds {
		made = append(made, build.Event{Seq: first + int64(i), Time: time.UnixMilli(1e12).UTC(), Kind: kind})
	}
	return made
}

// fickle is a store that stalls and fails as a test wants.
type fickle struct {
	*store.Memory
	before func(ctx context.Context) error // each write; nil is nothing
	mu     sync.Mutex
	calls  int
}

func (f *fickle) call(ctx context.Context) error {
	f.mu.Lock()
	f.calls++
	f.mu.Unlock()
	if f.before != nil {
		return f.before(ctx)
	}
	return nil
}

func (f *fickle) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

func (f *fickle) AppendEvents(ctx context.Context, key store.EventKey, events []build.Event) error {
	if err := f.call(ctx); err != nil {
		return err
	}
	return f.Memory.AppendEvents(ctx, key, events)
}

func (f *fickle) AppendChunks(ctx context.Context, chunks []store.Chunk) error {
	if err := f.call(ctx); err != nil {
		return err
	}
	return f.Memory.AppendChunks(ctx, chunks)
}

// noise is bytes of all kinds, every fortieth of which ends a line.
var noise = func() []byte {
	random := rand.New(rand.NewPCG(1, 1))
	p := make([]byte, 600_000)
	for i := range p {
		if p[i] = byte(random.IntN(256)); random.IntN(40) == 0 {
			p[i] = '\n'
		}
	}
	return p
}()

// All that is written comes back, whatever the store does, but for what is said
// to be missing.
func TestWhatIsKeptIsWhatWasWritten(t *testing.T) {
	var spooled, cut bool
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				random := rand.New(rand.NewPCG(seed, 1))
				o := record.Options{SpoolDir: t.TempDir(), Memory: 256 << 10, Quota: 1 << 20, Patience: 10 * time.Millisecond}
				if seed%5 == 0 {
					o.SpoolDir = ""
				}
				if seed%7 == 0 {
					o.Limit = 100_000
				}
				memory := store.NewMemory()
				stalls := &fickle{Memory: memory}
				var mu sync.Mutex
				slow := seed%3 > 0
				stalls.before = func(context.Context) error {
					mu.Lock()
					n := random.IntN(20)
					mu.Unlock()
					if slow && n == 0 {
						time.Sleep(time.Second)
					}
					return nil
				}
				r := record.Open(storetest.Doubtful(stalls, seed), id, fence, o)
				chance := rand.New(rand.NewPCG(seed, 2))
				var all, open []*written
				var told []build.Event
				for range 400 {
					switch n := chance.IntN(20); {
					case n == 0 && len(open) < 4:
						w := begin(t, r, fmt.Sprint("step", len(all)))
						all, open = append(all, w), append(open, w)
					case n == 1 && len(open) > 0:
						i := chance.IntN(len(open))
						require.NoError(t, open[i].out.Close())
						open = append(open[:i], open[i+1:]...)
					case n == 2:
						time.Sleep(time.Duration(chance.IntN(30)) * time.Millisecond)
					case n < 6:
						next := events(int64(len(told)+1), build.CancelRequested, build.CancelRequested)
						told = append(told, next...)
						require.NoError(t, r.Record(next))
					case len(open) > 0:
						size := []int{1, 80, 4096, 70_000, 300_000}[chance.IntN(5)]
						p := noise[chance.IntN(len(noise)/2):]
						open[chance.IntN(len(open))].write(t, p[:1+chance.IntN(size)])
					}
				}
				for _, w := range open {
					require.NoError(t, w.out.Close())
				}
				require.NoError(t, r.Flush(t.Context()))
				require.NoError(t, r.Close())
				got, err := memory.Events(t.Context(), id, fence, 1, 1<<20)
				require.NoError(t, err)
				require.Equal(t, told, got)
				for _, w := range all {
					missing := w.kept(t, memory)
					cut = cut || missing > 0
					spooled = spooled || missing == 0 && slow
				}
			})
		})
	}
	require.True(t, cut, "no seed made the file full")
	require.True(t, spooled)
}

// Whoever reads that an attempt has ended finds its output.
func TestOutputComesBeforeTheEventsAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		memory := store.NewMemory()
		var wrote sync.Map // by seq of the event: what had been written by then
		s := &fickle{Memory: memory}
		s.before = func(ctx context.Context) error {
			time.Sleep(time.Millisecond)
			last, err := memory.Events(ctx, id, fence, 1, 1<<20)
			require.NoError(t, err)
			if len(last) > 0 {
				want, _ := wrote.Load(last[len(last)-1].Seq)
				chunks, err := memory.Chunks(ctx, store.ChunkKey{Build: id, Fence: fence, Node: "n", Attempt: 1}, 1<<20)
				require.NoError(t, err)
				end := chunks[len(chunks)-1]
				require.GreaterOrEqual(t, end.Offset+int64(len(end.Data)), want)
			}
			return nil
		}
		r := record.Open(s, id, fence, record.Options{SpoolDir: t.TempDir(), Memory: 1, Patience: time.Millisecond})
		w := begin(t, r, "n")
		for i := range int64(200) {
			w.write(t, bytes.Repeat([]byte("x"), 5000))
			wrote.Store(i+1, int64(len(w.data)))
			require.NoError(t, r.Record(events(i+1, build.CancelRequested)))
		}
		require.NoError(t, r.Flush(t.Context()))
		require.NoError(t, r.Close())
		require.Zero(t, w.kept(t, memory))
	})
}

func TestALoneLineWaitsForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fickle{Memory: store.NewMemory()}
		r := record.Open(s, id, fence, record.Options{Pace: time.Hour})
		w := begin(t, r, "n")
		w.write(t, []byte("first\n"))
		synctest.Wait()
		require.Zero(t, w.kept(t, s))
		require.Equal(t, 1, s.count())

		// What comes soon after is sent together, in time.
		for range 100 {
			w.write(t, []byte("more\n"))
		}
		synctest.Wait()
		require.Equal(t, 1, s.count())
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Equal(t, 2, s.count())
		require.Zero(t, w.kept(t, s))

		// Nor does anything wait that somebody asks for, or that is large.
		w.write(t, []byte("asked\n"))
		require.NoError(t, r.Flush(t.Context()))
		require.Equal(t, 3, s.count())
		w.write(t, make([]byte, 1<<20))
		synctest.Wait()
		require.Greater(t, s.count(), 3)
		require.NoError(t, r.Close())
	})
}

// The chunk after a gap says how much is missing; the head and the end are kept.
func TestWhatIsLeftOutIsCounted(t *testing.T) {
	for name, o := range map[string]record.Options{
		"the file is full":    {SpoolDir: "yes", Quota: 1 << 20},
		"there is no file":    {},
		"a limit per attempt": {Limit: 1 << 20},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if o.SpoolDir != "" {
					o.SpoolDir = filepath.Join(t.TempDir(), "made when needed")
				}
				o.Memory = 256 << 10
				s := &fickle{Memory: store.NewMemory()}
				away := make(chan struct{})
				if o.Limit == 0 {
					s.before = func(context.Context) error { <-away; return nil }
				}
				r := record.Open(s, id, fence, o)
				w, quiet := begin(t, r, "n"), begin(t, r, "quiet")
				for i := range 100_000 {
					w.write(t, []byte(fmt.Sprintf("this is line %d of very many\n", i)))
				}
				quiet.write(t, []byte("hello\n"))
				require.NoError(t, w.out.Close())
				require.NoError(t, quiet.out.Close())
				require.NoError(t, r.Record(events(1, build.BuildStarted)))
				close(away)
				require.NoError(t, r.Flush(t.Context()))
				missing := w.kept(t, s)
				require.Greater(t, missing, int64(1<<20))
				require.Zero(t, quiet.kept(t, s))
				chunks, err := s.Chunks(t.Context(), w.key, 1<<20)
				require.NoError(t, err)
				gaps := 0
				for _, c := range chunks {
					if c.Cut > 0 {
						gaps++
						require.True(t, bytes.HasPrefix(c.Data, []byte("this is line ")), "it goes on at the beginning of a line")
					}
				}
				require.Equal(t, 1, gaps)
				got, err := s.Events(t.Context(), id, fence, 1, 10)
				require.NoError(t, err)
				require.Len(t, got, 1)

				// It is over once there is room again.
				if o.Limit == 0 {
					later := begin(t, r, "later")
					later.write(t, []byte("all is well\n"))
					require.NoError(t, r.Flush(t.Context()))
					require.Zero(t, later.kept(t, s))
				}
				require.NoError(t, r.Close())
			})
		})
	}
}

// A file that cannot be written is as good as none.
func TestSpoolThatCannotBeWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		require.NoError(t, os.WriteFile(file, nil, 0o600))
		s := &fickle{Memory: store.NewMemory()}
		away := make(chan struct{})
		s.before = func(context.Context) error { <-away; return nil }
		r := record.Open(s, id, fence, record.Options{SpoolDir: file, Memory: 1})
		w := begin(t, r, "n")
		for range 100 {
			w.write(t, bytes.Repeat([]byte("x\n"), 20_000))
		}
		require.NoError(t, w.out.Close())
		for i := range int64(5000) {
			require.NoError(t, r.Record(events(i+1, build.CancelRequested)))
		}
		close(away)
		require.NoError(t, r.Flush(t.Context()))
		require.NoError(t, r.Close())
		require.Positive(t, w.kept(t, s))
		got, err := s.Events(t.Context(), id, fence, 1, 1<<20)
		require.NoError(t, err)
		require.Len(t, got, 5000)
	})
}

func TestNothingIsLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s := &fickle{Memory: store.NewMemory()}
		s.before = func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }
		r := record.Open(s, id, fence, record.Options{SpoolDir: dir, Memory: 1})
		w := begin(t, r, "n")
		w.write(t, make([]byte, 10<<20))
		require.NoError(t, w.out.Close())
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		err := r.Flush(ctx)
		require.ErrorIs(t, err, record.ErrUnsent)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, r.Close(), record.ErrUnsent)
		left, err := os.ReadDir(dir)
		require.NoError(t, err)
		require.Empty(t, left)
		require.ErrorIs(t, r.Close(), record.ErrUnsent)
	})
}

func TestClosed(t *testing.T) {
	r := record.Open(store.NewMemory(), id, fence, record.Options{})
	w := begin(t, r, "n")
	require.NoError(t, r.Close())
	require.NoError(t, r.Close())
	require.ErrorIs(t, r.Record(events(1, build.BuildStarted)), record.ErrClosed)
	require.ErrorIs(t, w.out.Write(time.Now(), []byte("x")), record.ErrClosed)
	require.NoError(t, w.out.Close())
	_, err := r.Open("m", 1)
	require.ErrorIs(t, err, record.ErrClosed)
}

// Whichever call meets the error that is meant, everybody learns of it, and what
// was acknowledged before stays.
func TestAnErrorIsForGood(t *testing.T) {
	for _, meant := range []error{store.ErrFenced, store.ErrConflict, fs.ErrPermission} {
		for nth := 1; ; nth++ {
			failed := false
			t.Run(fmt.Sprintf("%v at call %d", meant, nth), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := &fickle{Memory: store.NewMemory()}
					s.before = func(context.Context) error {
						if s.count() == nth {
							failed = true
							return meant
						}
						return nil
					}
					r := record.Open(s, id, fence, record.Options{})
					w := begin(t, r, "n")
					var err error
					for i := range int64(3) {
						err = errors.Join(w.out.Write(time.Now(), []byte("x\n")), r.Record(events(i+1, build.CancelRequested)), r.Flush(t.Context()))
					}
					if !failed {
						require.NoError(t, err)
						require.NoError(t, r.Close())
						return
					}
					require.ErrorIs(t, err, meant)
					require.ErrorIs(t, r.Record(events(9, build.BuildEnded)), meant)
					require.ErrorIs(t, w.out.Write(time.Now(), []byte("y")), meant)
					require.ErrorIs(t, w.out.Close(), meant)
					require.ErrorIs(t, r.Flush(t.Context()), meant)
					require.ErrorIs(t, r.Close(), meant)
					require.Equal(t, nth, s.count(), "nothing is sent after it")
				})
			})
			if !failed {
				require.Greater(t, nth, 6)
				break
			}
		}
	}
}

func TestBefore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &fickle{Memory: store.NewMemory()}
		ready := make(chan struct{})
		r := record.Open(s, id, fence, record.Options{Before: func(context.Context) error { <-ready; return nil }})
		w := begin(t, r, "n")
		for range 50 {
			w.write(t, []byte("line\n"))
			time.Sleep(time.Millisecond)
		}
		require.Zero(t, s.count())
		close(ready)
		require.NoError(t, r.Flush(t.Context()))
		require.Equal(t, 1, s.count(), "what gathered is one batch")
		require.NoError(t, r.Close())
		require.Zero(t, w.kept(t, s))

		r = record.Open(s, id, fence, record.Options{Before: func(context.Context) error { return fs.ErrPermission }})
		require.ErrorIs(t, errors.Join(r.Record(events(1, build.BuildStarted)), r.Flush(t.Context())), fs.ErrPermission)
		require.ErrorIs(t, r.Close(), fs.ErrPermission)

		r = record.Open(s, id, fence, record.Options{Before: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }})
		require.NoError(t, r.Close())
	})
}

// swallow is a store that keeps nothing.
type swallow struct{ bytes int64 }

func (s *swallow) AppendEvents(context.Context, store.EventKey, []build.Event) error { return nil }
func (s *swallow) AppendChunks(_ context.Context, chunks []store.Chunk) error {
	for _, c := range chunks {
		s.bytes += int64(len(c.Data))
	}
	return nil
}

// However much a step writes, it takes the same memory.
func TestMemoryIsFlat(t *testing.T) {
	allocated := func(megabytes int, line []byte, s record.Store, o record.Options) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r := record.Open(s, id, fence, o)
		out, err := r.Open("n", 1)
		require.NoError(t, err)
		at := time.Now()
		for n := 0; n < megabytes<<20; n += len(line) {
			require.NoError(t, out.Write(at, line))
		}
		require.NoError(t, out.Close())
		if _, keeps := s.(*swallow); keeps {
			require.NoError(t, r.Flush(t.Context()))
		}
		r.Close()
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	for name, line := range map[string][]byte{"lines": bytes.Repeat([]byte("x"), 80), "blocks": bytes.Repeat([]byte("x"), 64<<10)} {
		t.Run(name, func(t *testing.T) {
			s := &swallow{}
			require.Less(t, allocated(256, line, s, record.Options{}), uint64(8<<20))
			require.GreaterOrEqual(t, s.bytes, int64(256<<20))
			away := &fickle{before: func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }}
			require.Less(t, allocated(256, line, away, record.Options{SpoolDir: t.TempDir(), Quota: 32 << 20, Patience: time.Millisecond}), uint64(8<<20))
		})
	}
}

func BenchmarkWrite(b *testing.B) {
	for _, size := range []int{80, 64 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			r := record.Open(&swallow{}, id, fence, record.Options{})
			out, err := r.Open("n", 1)
			require.NoError(b, err)
			line, at := append(bytes.Repeat([]byte("x"), size-1), '\n'), time.Now()
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if err := out.Write(at, line); err != nil {
					b.Fatal(err)
				}
			}
			require.NoError(b, r.Flush(b.Context()))
			require.NoError(b, r.Close())
		})
	}
}

func BenchmarkRecord(b *testing.B) {
	r := record.Open(&swallow{}, id, fence, record.Options{})
	two := events(1, build.AttemptEnded, build.AttemptStarted)
	b.ReportAllocs()
	for b.Loop() {
		if err := r.Record(two); err != nil {
			b.Fatal(err)
		}
	}
	require.NoError(b, r.Flush(b.Context()))
	require.NoError(b, r.Close())
}
