package agent

import (
	"context"
	"crypto/rand"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

// A disk has 100 GiB, of which others use some, and workspaces what they hold as
// long as they are there.
type disk struct {
	dir string

	mu     sync.Mutex
	others uint64
	holds  map[build.ID]uint64
}

func (d *disk) free(string) (free, total uint64, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	used := d.others
	for id, n := range d.holds {
		if _, err := os.Lstat(d.workspace(id)); err == nil {
			used += n
		}
	}
	return 100<<30 - min(used, 100<<30), 100 << 30, nil
}

func (d *disk) held(_ context.Context, dir string) uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, n := range d.holds {
		if dir == d.workspace(id) {
			return n
		}
	}
	return 0
}

func (d *disk) workspace(id build.ID) string { return filepath.Join(d.dir, "work", string(id)+"-1") }

// A roomless is a store on that disk: it cannot write that a build has failed until
// its workspace is gone.
type roomless struct {
	store.Store
	disk *disk
}

func (s roomless) Change(ctx context.Context, id build.ID, c store.Change) (store.Build, error) {
	if end, ok := c.(store.Complete); ok && end.State == build.Failed {
		if _, err := os.Lstat(s.disk.workspace(id)); err == nil {
			return store.Build{}, errBroken
		}
	}
	return s.Store.Change(ctx, id, c)
}

// fills has the disk be as it is said.
func (d *disk) fills(others uint64, holds map[build.ID]uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.others, d.holds = others, holds
}

func TestWhoFillsTheDiskIsEnded(t *testing.T) {
	const mib, gib = 1 << 20, 1 << 30
	for name, c := range map[string]struct {
		others  uint64
		x, y, z uint64 // what the builds hold
		ended   string // which of them, in this order
		blames  bool
	}{
		"there is room":                {50 * gib, 20 * gib, 26 * gib, gib, "", true},
		"the largest":                  {0, 40 * gib, 58 * gib, gib, "y", true},
		"and the next":                 {97 * gib, 1200 * mib, 1500 * mib, mib, "yx", true},
		"but nobody who holds nothing": {97 * gib, 900 * mib, 1500 * mib, mib, "y", false},
		"nor for what others do":       {99 * gib, mib, mib, 900 * mib, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T, w *world) {
				w.takes = func(build.ID, string) time.Duration { return 5 * time.Minute }
				d := &disk{}
				var log lines
				h := w.host("one", func(a *Agent) {
					a.Slots, a.KeepFailed = 3, true
					a.Free, a.held = d.free, d.held
					a.Store = roomless{a.Store, d}
					a.Log = slog.New(slog.NewTextHandler(&log, nil))
				})
				d.dir = h.dir
				var order []build.ID // under w.one
				w.onEnd = func(_, after store.Build, _ store.Change) { order = append(order, after.ID) }
				h.start()
				all := []build.ID{"build-x", "build-y", "build-z"}
				for _, id := range all {
					w.ask(strings.TrimPrefix(string(id), "build-"), store.Request{Pipeline: "unit"})
				}
				w.wait(20*time.Second, "all run", func() bool {
					return len(w.ran("build-x"))*len(w.ran("build-y"))*len(w.ran("build-z")) > 0
				})
				d.fills(c.others, map[build.ID]uint64{"build-x": c.x, "build-y": c.y, "build-z": c.z})
				time.Sleep(2 * time.Minute)
				var ended string
				w.one.Lock()
				for _, id := range order {
					ended += strings.TrimPrefix(string(id), "build-")
				}
				w.one.Unlock()
				require.Equal(t, c.ended, ended)
				require.Equal(t, map[bool]int{true: 0, false: 1}[c.blames], strings.Count(log.String(), "no build is to blame"))
				require.Equal(t, len(c.ended), strings.Count(log.String(), "workspace not kept"))
				for _, id := range all {
					b := w.see(id)
					if !strings.Contains(c.ended, strings.TrimPrefix(string(id), "build-")) {
						require.Equal(t, build.Running, b.State)
						continue
					}
					require.Equal(t, build.Failed, b.State)
					require.Contains(t, b.Reason, "the disk of agent one is full: its workspace held ")
					require.NoDirExists(t, d.workspace(id))
					require.Len(t, w.ran(id), 1)
					require.False(t, w.ran(id)[0].ended.IsZero(), "its step was killed")
				}
				for _, id := range all {
					if w.see(id).State != build.Failed {
						require.Equal(t, build.Success, w.ended(5*time.Minute, id).State)
					}
				}
				require.Zero(t, w.rescues)
				kept, err := os.ReadDir(filepath.Join(h.dir, "kept"))
				require.NoError(t, err)
				require.Empty(t, kept)

				d.fills(0, nil)
				require.Equal(t, build.Success, w.ended(6*time.Minute, w.ask("next", store.Request{Pipeline: "unit"}).ID).State, "the agent goes on")
			}, pipeline("unit", step("test")))
		})
	}
}

func TestABuildFillsTheDiskBeforeItRuns(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		d := &disk{holds: map[build.ID]uint64{"build-x": 99 << 30}}
		h := w.host("one", func(a *Agent) {
			a.Free, a.held = d.free, d.held
			a.Store = roomless{a.Store, d}
			a.Plan = func(ctx context.Context, _ Tree, _ store.Build) (*plan.Plan, Expander, error) {
				<-ctx.Done()
				return nil, nil, ctx.Err()
			}
		})
		d.dir = h.dir
		h.start()
		b := w.ended(20*time.Second, w.ask("x", store.Request{Pipeline: "unit"}).ID)
		require.Equal(t, build.Failed, b.State)
		require.Equal(t, "the disk of agent one is full: its workspace held 99 GiB", b.Reason)
		require.Empty(t, w.ran(b.ID))
	}, pipeline("unit", step("test")))
}

func TestASpillSaysHowMuch(t *testing.T) {
	require.EqualError(t, &spill{"one", 12<<30 + 1}, "the disk of agent one is full: its workspace held 12 GiB")
	require.EqualError(t, &spill{"one", 9<<30 + 1}, "the disk of agent one is full: its workspace held 9216 MiB")
}

func TestDiskHeld(t *testing.T) {
	const mib = 1 << 20
	outside, dir := t.TempDir(), t.TempDir()
	file := func(path string, size int) {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
		f, err := os.Create(path)
		require.NoError(t, err)
		data := make([]byte, size)
		rand.Read(data) // which no file system makes small
		_, err = f.Write(data)
		require.NoError(t, err)
		require.NoError(t, f.Sync())
		require.NoError(t, f.Close())
	}
	held := func() uint64 { return diskHeld(t.Context(), dir) }
	require.Less(t, held(), uint64(mib))
	file(filepath.Join(dir, "a", "b", "four"), 4*mib)
	require.InDelta(t, 4*mib, held(), mib)
	require.NoError(t, os.Link(filepath.Join(dir, "a", "b", "four"), filepath.Join(dir, "again")))
	require.InDelta(t, 4*mib, held(), mib, "it is the same")
	file(filepath.Join(outside, "eight"), 8*mib)
	require.NoError(t, os.Symlink(outside, filepath.Join(dir, "link")))
	require.InDelta(t, 4*mib, held(), mib, "that is elsewhere")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "sparse"), nil, 0o600))
	require.NoError(t, os.Truncate(filepath.Join(dir, "sparse"), 1<<40))
	require.InDelta(t, 4*mib, held(), mib, "there is nothing in it")
	require.Zero(t, diskHeld(t.Context(), filepath.Join(dir, "none")))
	over, stop := context.WithCancel(t.Context())
	stop()
	require.Zero(t, diskHeld(over, dir), "there was no time")
}
