package facts_test

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/facts"
	"github.com/piper-build/piper/runtime/process"
)

// A workbench is a PATH of programs, and a Machine for each process that looks at
// it.
type workbench struct {
	t     *testing.T
	dir   string // PATH
	cache string
	fails bool // whatever is asked
	asked []string
}

func newWorkbench(t *testing.T, names ...string) *workbench {
	w := &workbench{t: t, dir: t.TempDir(), cache: filepath.Join(t.TempDir(), "tools.json")}
	for _, name := range names {
		w.install(name, "binary "+name)
	}
	return w
}

func (w *workbench) install(name, content string) {
	w.t.Helper()
	require.NoError(w.t, os.WriteFile(filepath.Join(w.dir, name), []byte(content), 0o755))
}

// machine is the Machine of a new process. What it asks is in w.asked.
func (w *workbench) machine() *facts.Machine {
	w.asked = nil
	return &facts.Machine{
		Environ: []string{"PATH=" + w.dir}, Cache: w.cache,
		Output: func(_ context.Context, _ string, _ []string, argv ...string) ([]byte, error) {
			w.asked = append(w.asked, filepath.Base(argv[3]))
			if w.fails {
				return nil, process.ErrOutput // it says too much
			}
			return []byte("1.0"), nil
		},
	}
}

// finds has a machine find tools, and returns those it asked.
func (w *workbench) finds(m *facts.Machine, tools ...string) []string {
	w.t.Helper()
	w.asked = nil
	for _, tool := range tools {
		version, ok, err := m.Get(w.t.Context(), "tools."+tool)
		require.NoError(w.t, err)
		require.True(w.t, ok)
		require.Equal(w.t, "1.0", version)
	}
	return w.asked
}

func TestToolsAreAskedOnce(t *testing.T) {
	w := newWorkbench(t, "go", "java", "odd-one")
	all := []string{"go", "java", "odd-one"}
	require.Equal(t, all, w.finds(w.machine(), all...))
	require.Empty(t, w.finds(w.machine(), all...))

	w.install("java", "another binary")
	require.Equal(t, []string{"java"}, w.finds(w.machine(), all...))
	require.Empty(t, w.finds(w.machine(), all...))

	// The same bytes at the same time in another file.
	path := filepath.Join(w.dir, "go")
	info, err := os.Stat(path)
	require.NoError(t, err)
	w.install("new-go", "binary go")
	require.NoError(t, os.Chtimes(filepath.Join(w.dir, "new-go"), time.Time{}, info.ModTime()))
	require.NoError(t, os.Rename(filepath.Join(w.dir, "new-go"), path))
	require.Equal(t, []string{"go"}, w.finds(w.machine(), all...))

	// The same file at another time.
	require.NoError(t, os.Chtimes(path, time.Time{}, info.ModTime().Add(time.Nanosecond)))
	require.Equal(t, []string{"go"}, w.finds(w.machine(), all...))

	require.NoError(t, os.Remove(path))
	_, ok, err := w.machine().Get(t.Context(), "tools.go")
	require.NoError(t, err)
	require.False(t, ok, "it is gone, whatever is in the cache")
}

func TestToolsOfAnotherPathAreAsked(t *testing.T) {
	w := newWorkbench(t, "go")
	require.Equal(t, []string{"go"}, w.finds(w.machine(), "go"))
	first := w.dir
	w.dir = t.TempDir()
	w.install("go", "binary go")
	require.Equal(t, []string{"go"}, w.finds(w.machine(), "go"))
	w.dir = first
	require.Empty(t, w.finds(w.machine(), "go"), "both are known")

	// A link that leads elsewhere.
	second := t.TempDir()
	for _, version := range []string{"go1", "go2"} {
		require.NoError(t, os.WriteFile(filepath.Join(second, version), []byte("binary"), 0o755))
	}
	require.NoError(t, os.Remove(filepath.Join(w.dir, "go")))
	for _, version := range []string{"go1", "go2"} {
		require.NoError(t, os.Symlink(filepath.Join(second, version), filepath.Join(w.dir, "next")))
		require.NoError(t, os.Rename(filepath.Join(w.dir, "next"), filepath.Join(w.dir, "go")))
		require.Equal(t, []string{"go"}, w.finds(w.machine(), "go"))
		require.Empty(t, w.finds(w.machine(), "go"))
	}
}

// What a script finds elsewhere is not known by the script: what it said is
// good enough to begin with, and no longer.
func TestToolsThatPassOnAreAskedLater(t *testing.T) {
	w := newWorkbench(t, "rustup", "go")
	w.install("python", "#!/bin/sh\nexec pyenv exec python")
	require.NoError(t, os.Symlink("rustup", filepath.Join(w.dir, "cargo")))
	all := []string{"cargo", "go", "python", "rustup"}
	synctest.Test(t, func(t *testing.T) {
		w.t = t
		require.Equal(t, all, w.finds(w.machine(), all...))
		m := w.machine()
		require.Empty(t, w.finds(m, all...))
		time.Sleep(4 * time.Minute)
		require.Empty(t, w.finds(m, all...))
		time.Sleep(time.Minute)
		require.Equal(t, []string{"cargo", "python"}, w.finds(m, all...))
		time.Sleep(time.Hour)
		require.Empty(t, w.finds(m, all...))

		// One that does not tell any more is asked the next time, too.
		m = w.machine()
		require.Empty(t, w.finds(m, all...))
		time.Sleep(5 * time.Minute)
		w.fails = true
		for _, tool := range []string{"cargo", "python"} {
			version, ok, err := m.Get(t.Context(), "tools."+tool)
			require.NoError(t, err)
			require.True(t, ok)
			require.Empty(t, version)
		}
		w.fails = false
		require.Equal(t, []string{"cargo", "python"}, w.finds(w.machine(), all...))
	})
}

// Whatever is wrong with the file, tools are asked, and the next time it is right.
func TestACacheThatIsOfNoUse(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, path string){
		"empty":   func(t *testing.T, path string) { require.NoError(t, os.WriteFile(path, nil, 0o600)) },
		"cut off": func(t *testing.T, path string) { require.NoError(t, os.Truncate(path, 40)) },
		"of another kind": func(t *testing.T, path string) {
			require.NoError(t, os.WriteFile(path, []byte(`{"probe": 1, "tools": {"go": []}}`), 0o600))
		},
		"of another probe": func(t *testing.T, path string) {
			var c map[string]any
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			require.NoError(t, json.Unmarshal(text, &c))
			c["probe"] = 0
			text, err = json.Marshal(c)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(path, text, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorkbench(t, "go")
			w.finds(w.machine(), "go")
			spoil(t, w.cache)
			require.Equal(t, []string{"go"}, w.finds(w.machine(), "go"))
			require.Empty(t, w.finds(w.machine(), "go"))
		})
	}
}

func TestACacheThatCannotBeWritten(t *testing.T) {
	w := newWorkbench(t, "go")
	w.cache = filepath.Join(w.dir, "missing", "tools.json")
	for range 2 {
		require.Equal(t, []string{"go"}, w.finds(w.machine(), "go"))
	}
	w.cache = t.TempDir() // a directory is in its place
	for range 2 {
		require.Equal(t, []string{"go"}, w.finds(w.machine(), "go"))
	}
	left, err := os.ReadDir(filepath.Dir(w.cache))
	require.NoError(t, err)
	require.False(t, slices.ContainsFunc(left, func(e os.DirEntry) bool { return e.Name()[0] == '.' }), "what was begun is removed")
}

func TestWhatDoesNotTellIsAskedAgain(t *testing.T) {
	w := newWorkbench(t, "go")
	w.fails = true
	version, ok, err := w.machine().Get(t.Context(), "tools.go")
	require.NoError(t, err)
	require.True(t, ok)
	require.Empty(t, version)
	w.fails = false
	require.Equal(t, []string{"go"}, w.finds(w.machine(), "go"))
}

// Agents of one cache, such as those of a test, add to what the others told.
func TestACacheIsShared(t *testing.T) {
	w := newWorkbench(t, "go", "java")
	one, two := w.machine(), w.machine()
	require.Equal(t, []string{"go"}, w.finds(one, "go"))
	require.Equal(t, []string{"java"}, w.finds(two, "java"))
	require.Empty(t, w.finds(w.machine(), "go", "java"))
}
