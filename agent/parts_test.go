package agent

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

func TestSlots(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		freed := 0
		s := slots{free: 2, freed: func() { freed++ }}
		require.True(t, s.try())
		require.NoError(t, s.take(t.Context()))
		require.False(t, s.try())
		require.False(t, s.any())

		var got []string
		gone, leave := context.WithCancel(t.Context())
		go func() { require.ErrorIs(t, s.take(gone), context.Canceled) }()
		synctest.Wait()
		for _, who := range []string{"first", "second"} {
			go func() {
				require.NoError(t, s.take(t.Context()))
				got = append(got, who)
			}()
			synctest.Wait()
		}
		leave()
		synctest.Wait()
		s.give()
		synctest.Wait()
		require.Equal(t, []string{"first"}, got)
		require.False(t, s.try(), "who waits comes before who only tries")
		s.give()
		synctest.Wait()
		require.Equal(t, []string{"first", "second"}, got)
		require.Zero(t, freed, "whoever waited had it at once")

		s.seize() // three of two
		s.give()
		require.False(t, s.any())
		s.give()
		require.True(t, s.any())
		require.Equal(t, 1, freed, "the other one was owed")
	})
}

func TestADirectory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "agent")
	d, err := openDirectory(path, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	last, err := d.last()
	require.NoError(t, err)
	require.Empty(t, last)
	require.NoError(t, d.remember("a much longer name than the next one"))
	require.NoError(t, d.remember("abc"))
	_, err = openDirectory(path, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "another agent works there")

	// What steps leave may be read-only.
	left := d.workspace("build-x", 3)
	require.NoError(t, os.MkdirAll(filepath.Join(left, "mod", "cache"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(left, "mod", "cache", "f"), nil, 0o400))
	require.NoError(t, os.Chmod(filepath.Join(left, "mod", "cache"), 0o500))
	kept, err := d.keep(d.workspace("build-y", 1))
	require.NoError(t, err)
	require.Empty(t, kept, "there was none")
	require.NoError(t, d.Close())

	d, err = openDirectory(path, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	last, err = d.last()
	require.NoError(t, err)
	require.Equal(t, "abc", string(last))
	require.NoError(t, d.Close())
	require.NoDirExists(t, left, "it was nobody's")

	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err = openDirectory(file, slog.New(slog.DiscardHandler))
	require.Error(t, err)
}

func TestDiskFree(t *testing.T) {
	free, total, err := diskFree(t.TempDir())
	require.NoError(t, err)
	require.Positive(t, total)
	require.LessOrEqual(t, free, total)
	_, _, err = diskFree(filepath.Join(t.TempDir(), "none"))
	require.ErrorContains(t, err, "none")

	for _, c := range []struct {
		free, total uint64
		full        bool
	}{{1 << 30, 10 << 30, false}, {1<<30 - 1, 10 << 30, true}, {4 << 30, 100 << 30, true}, {5 << 30, 100 << 30, false}} {
		a := Agent{Free: func(string) (uint64, uint64, error) { return c.free, c.total, nil }}
		require.Equal(t, c.full, a.full() != "", "%d of %d", c.free, c.total)
	}
	a := Agent{Free: diskFree, Dir: filepath.Join(t.TempDir(), "none")}
	require.Contains(t, a.full(), "none")
}

func TestEndedAs(t *testing.T) {
	for want, states := range map[string][]build.State{
		"":        {build.Success},
		"success": {build.Success},
		"failed":  {build.Failed, build.TimedOut, build.Lost},
		"ended":   {build.Success, build.Failed, build.TimedOut, build.Lost, build.Cancelled},
		"other":   nil,
	} {
		var got []build.State
		for _, s := range []build.State{build.Success, build.Failed, build.TimedOut, build.Lost, build.Cancelled} {
			if endedAs(want, s) {
				got = append(got, s)
			}
		}
		require.Equal(t, states, got, want)
	}
}

func TestTimings(t *testing.T) {
	got := Timings{Lease: time.Minute, Drain: -1}.withDefaults()
	require.Equal(t, time.Minute, got.Lease)
	require.Equal(t, time.Duration(-1), got.Drain)
	require.Equal(t, 5*time.Second, got.Heartbeat)
	require.Equal(t, 20*time.Second, got.Answer)
}

// A few calls are answered at once. Those that go on are so at their pace, and
// after a rest there are a few again.
func TestPace(t *testing.T) {
	begin := time.Unix(1e9, 0)
	for name, test := range map[string]struct {
		every time.Duration // from one call to the next
		want  []time.Duration
	}{
		"all at once": {0, []time.Duration{0, 0, 0, 0, 0, 0, 0, 0, soonest, 2 * soonest, 3 * soonest}},
		"too often":   {soonest / 2, []time.Duration{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, soonest / 2, soonest}},
		"in time":     {soonest, make([]time.Duration, 100)},
	} {
		t.Run(name, func(t *testing.T) {
			var p pace
			for range 2 {
				var got []time.Duration
				now := begin
				for range test.want {
					got = append(got, p.next(now))
					now = now.Add(test.every)
				}
				require.Equal(t, test.want, got)
				begin = now.Add(time.Minute)
			}
		})
	}
}

// What happens to other agents' builds is no reason to ask the store all the time.
func TestGlances(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		asked := &askedQueue{Memory: store.NewMemory()}
		a := Agent{Store: asked, Slots: 1, Log: slog.New(slog.DiscardHandler), Timings: Timings{}.withDefaults(), draw: draws(t.Name()),
			Free: func(string) (uint64, uint64, error) { return 1 << 40, 1 << 40, nil }}
		l := newLife(&a, nil)
		l.seen = &view{Overview: store.Overview{Agents: make([]store.Agent, 9)}} // and this one
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); l.claims(ctx) }()
		for range 1000 {
			l.glance()
			time.Sleep(time.Millisecond)
		}
		synctest.Wait()
		require.Equal(t, int64(1000/(10*glances/time.Millisecond)), asked.own.Load())
		l.look()
		synctest.Wait()
		require.Equal(t, int64(1000/(10*glances/time.Millisecond)+1), asked.own.Load(), "at once")
		stop()
		<-done
	})
}

// askedQueue counts how often an agent asks for its own part of the queue.
type askedQueue struct {
	*store.Memory
	own atomic.Int64
}

func (a *askedQueue) Queue(ctx context.Context, choice store.AgentID, limit int) ([]store.Build, error) {
	if choice != "" {
		a.own.Add(1)
	}
	return a.Memory.Queue(ctx, choice, limit)
}
