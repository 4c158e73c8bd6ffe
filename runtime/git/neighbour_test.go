package git_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/git"
	"github.com/piper-build/piper/runtime/process"
)

// counting has a mirror note the commands of the programs that it starts, without
// their options.
func counting(m *git.Mirror) (started func() []string) {
	var mu sync.Mutex
	var all []string
	m.Output = func(ctx context.Context, dir string, env []string, argv ...string) ([]byte, error) {
		mu.Lock()
		i := slices.IndexFunc(argv, func(word string) bool {
			return slices.Contains([]string{"fetch", "ls-remote", "rev-parse", "for-each-ref", "init", "checkout", "clone", "symbolic-ref", "fsck"}, word)
		})
		all = append(all, argv[max(i, 0)])
		mu.Unlock()
		return process.Output(ctx, dir, env, argv...)
	}
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		list := all
		all = nil
		return list
	}
}

// No program is started to learn that a repository of this machine has nothing
// new.
func TestFetchOfNothingNew(t *testing.T) {
	w := newWorld(t)
	w.fetch()
	started := counting(w.mirror)
	bare := filepath.Join(t.TempDir(), "bare.git")
	runGit(t, w.dir, "clone", "-q", "--bare", w.dir, bare)
	for name, then := range map[string]func(){
		"as it was":     func() {},
		"packed":        func() { w.run("pack-refs", "--all") },
		"in full":       func() { w.mirror.URL = "file://" + w.dir },
		"the directory": func() { w.mirror.URL = filepath.Join(w.dir, ".git") },
		"bare":          func() { w.mirror.URL = bare },
		"back and forth": func() {
			was := w.run("rev-parse", "main")
			w.commit("more", "a.txt", "more\n")
			w.run("reset", "-q", "--hard", was)
		},
	} {
		t.Run(name, func(t *testing.T) {
			then()
			w.fetch()
			require.Empty(t, started())
			w.fetch("main", "refs/heads/main", "refs/tags/v1.0")
			require.Empty(t, started())
			w.mirror.URL = w.dir
		})
	}
	require.NoError(t, os.WriteFile(filepath.Join(w.mirror.Dir, "suspect"), nil, 0o600))
	w.fetch()
	require.Equal(t, []string{"fsck"}, started(), "in doubt")
}

// Whatever changed is fetched, and so is what files do not tell.
func TestFetchOfAnythingNew(t *testing.T) {
	link := func(from, to string) {
		require.NoError(t, os.Rename(from, to))
		require.NoError(t, os.Symlink(to, from))
	}
	for name, then := range map[string]func(w *world){
		"a branch moved":        func(w *world) { w.commit("more", "a.txt", "more\n") },
		"a packed branch moved": func(w *world) { w.run("pack-refs", "--all"); w.commit("more", "a.txt", "more\n") },
		"a branch that was packed since": func(w *world) {
			w.commit("more", "a.txt", "more\n")
			w.run("pack-refs", "--all")
		},
		"a branch is new":         func(w *world) { w.run("branch", "new") },
		"a branch is gone":        func(w *world) { w.run("branch", "-D", "feature/x") },
		"a packed branch is gone": func(w *world) { w.run("pack-refs", "--all"); w.run("branch", "-D", "feature/x") },
		"a tag is new":            func(w *world) { w.run("tag", "v2") },
		"a tag moved":             func(w *world) { w.run("tag", "-f", "-a", "-m", "again", "v1.0") },
		"a tag is gone":           func(w *world) { w.run("tag", "-d", "v1.0") },
		"another default branch":  func(w *world) { w.run("symbolic-ref", "HEAD", "refs/heads/feature/x") },
		"no default branch":       func(w *world) { w.run("checkout", "-q", "--detach") },
		"an unborn branch":        func(w *world) { w.run("symbolic-ref", "HEAD", "refs/heads/none") },
		"a branch that is another": func(w *world) {
			w.run("symbolic-ref", "refs/heads/alias", "refs/heads/main")
		},
		"HEAD is a link": func(w *world) {
			require.NoError(w, os.Remove(filepath.Join(w.dir, ".git/HEAD")))
			require.NoError(w, os.Symlink("refs/heads/main", filepath.Join(w.dir, ".git/HEAD")))
		},
		"branches are elsewhere": func(w *world) {
			link(filepath.Join(w.dir, ".git/refs/heads"), filepath.Join(w.TempDir(), "heads"))
		},
		"refs are hidden": func(w *world) { w.run("config", "transfer.hideRefs", "refs/tags") },
		"settings are elsewhere": func(w *world) {
			w.run("config", "include.path", "more")
			require.NoError(w, os.WriteFile(filepath.Join(w.dir, ".git/more"), []byte("[transfer]\n\thideRefs = refs/tags\n"), 0o666))
		},
		"history is cut off": func(w *world) {
			require.NoError(w, os.WriteFile(filepath.Join(w.dir, ".git/shallow"), []byte(w.run("rev-parse", "main")+"\n"), 0o666))
		},
		"a linked work tree": func(w *world) {
			tree := filepath.Join(w.TempDir(), "tree")
			w.run("worktree", "add", "-q", "-b", "linked", tree)
			w.mirror.URL = tree
		},
		"a directory with a .git of no repository": func(w *world) {
			bare := filepath.Join(w.TempDir(), "bare")
			w.run("clone", "-q", "--bare", w.dir, bare)
			require.NoError(w, os.Mkdir(filepath.Join(bare, ".git"), 0o777))
			w.mirror.URL = bare
		},
		"a suffix that git adds": func(w *world) {
			bare := filepath.Join(w.TempDir(), "bare")
			w.run("clone", "-q", "--bare", w.dir, bare+".git")
			w.mirror.URL = bare
		},
		"an address with escapes": func(w *world) {
			dir := filepath.Join(w.TempDir(), "a%20b")
			w.run("clone", "-q", "--bare", w.dir, filepath.Join(filepath.Dir(dir), "a b"))
			w.mirror.URL = "file://" + dir
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.fetch()
			then(w)
			started := counting(w.mirror)
			w.fetch()
			require.Contains(t, started(), "fetch")
			// It has what a mirror has that was made just now.
			anew := *w.mirror
			anew.Dir = filepath.Join(t.TempDir(), "anew")
			require.NoError(t, anew.Fetch(t.Context()))
			require.Equal(t, runGit(t, filepath.Join(anew.Dir, "git"), "for-each-ref", "refs/heads", "refs/tags"),
				runGit(t, filepath.Join(w.mirror.Dir, "git"), "for-each-ref", "refs/heads", "refs/tags"))
		})
	}
}

// A commit that is asked for by its hash is looked for, though all refs are as
// they were.
func TestFetchOfACommit(t *testing.T) {
	w := newWorld(t)
	w.fetch()
	was := w.run("rev-parse", "main")
	gone := w.commit("gone", "a.txt", "gone\n")
	w.run("reset", "-q", "--hard", was)
	w.run("config", "uploadpack.allowAnySHA1InWant", "true")
	w.fetch(gone)
	require.Equal(t, gone, w.resolve(gone))

	// Also when files only look as if it were here.
	require.True(t, w.mirror.Has(was))
	require.NoError(t, os.RemoveAll(filepath.Join(w.mirror.Dir, "git/objects/pack")))
	_, err := w.mirror.Resolve(t.Context(), was)
	require.ErrorIs(t, err, git.ErrUnknown)
	w.fetch(was)
	require.Equal(t, was, w.resolve(was))
}

func TestHas(t *testing.T) {
	w := newWorld(t)
	one, two := w.run("rev-parse", "main"), w.run("rev-parse", "feature/x")
	w.run("tag", "tree", "main^{tree}")
	require.False(t, w.mirror.Has(one), "before it was fetched")
	w.fetch()
	started := counting(w.mirror)
	for commit, want := range map[string]bool{
		one: true, two: true, one[:12]: false, "": false, strings.Repeat("0", 40): false,
		w.run("rev-parse", "v1.0"): false, w.run("rev-parse", "main^{tree}"): false,
	} {
		require.Equal(t, want, w.mirror.Has(commit), commit)
	}
	require.Empty(t, started())
	require.NoError(t, os.WriteFile(filepath.Join(w.mirror.Dir, "suspect"), nil, 0o600))
	require.False(t, w.mirror.Has(one), "in doubt")
}
