package git_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/git"
)

// A checkout has the refs and the settings of a clone, whatever the repository
// is like.
func TestCheckoutOfAnyRepository(t *testing.T) {
	newWorld(t) // or it is skipped
	for name, test := range map[string]struct {
		init []string
		then func(t *testing.T, dir string)
	}{
		"hashes of SHA-256":              {init: []string{"--object-format=sha256"}},
		"a branch that has to be quoted": {then: func(t *testing.T, dir string) { runGit(t, dir, "checkout", "-q", "-b", `x"y`) }},
		"no default branch":              {then: func(t *testing.T, dir string) { runGit(t, dir, "checkout", "-q", "--detach") }},
		"history that was cut off": {then: func(t *testing.T, dir string) {
			whole := dir + "-whole"
			require.NoError(t, os.Rename(dir, whole))
			runGit(t, t.TempDir(), "clone", "-q", "--depth=1", "file://"+whole, dir)
		}},
		"many branches": {then: func(t *testing.T, dir string) {
			for _, branch := range []string{"a", "a-b", "a.b/c", "z/main"} {
				runGit(t, dir, "branch", branch)
			}
			runGit(t, dir, "pack-refs", "--all")
			runGit(t, dir, "tag", "-a", "-m", "one", "v1")
		}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "repo")
			require.NoError(t, os.Mkdir(dir, 0o755))
			runGit(t, dir, append([]string{"init", "-q", "-b", "main"}, test.init...)...)
			for _, message := range []string{"one", "two"} {
				runGit(t, dir, "commit", "-q", "--allow-empty", "-m", message)
			}
			if test.then != nil {
				test.then(t, dir)
			}
			m := &git.Mirror{Dir: filepath.Join(t.TempDir(), "mirror"), URL: dir, Local: true}
			require.NoError(t, m.Fetch(t.Context()))
			mine, theirs := filepath.Join(t.TempDir(), "mine"), filepath.Join(t.TempDir(), "theirs")
			runGit(t, dir, "clone", "-q", "--no-local", dir, theirs)
			commit := runGit(t, dir, "rev-parse", "HEAD")
			require.NoError(t, m.Checkout(t.Context(), git.Checkout{Dir: mine, Commit: commit}))
			for _, ask := range [][]string{
				{"for-each-ref"}, {"log", "--format=%H"}, {"rev-parse", "HEAD"}, {"rev-parse", "--show-object-format", "--is-shallow-repository"},
				{"config", "--local", "--get-regexp", "^(remote|branch|extensions)[.]"},
			} {
				require.ElementsMatch(t, strings.Split(runGit(t, theirs, ask...), "\n"), strings.Split(runGit(t, mine, ask...), "\n"), ask)
			}
			runGit(t, mine, "fsck", "--full", "--strict")
		})
	}
}

// On another file system there are no links: objects are copied.
func TestCheckoutOnAnotherFileSystem(t *testing.T) {
	w := newWorld(t)
	w.fetch()
	dir, err := os.MkdirTemp("/dev/shm", "piper-")
	if err != nil {
		t.Skip("SKIPPED: another file system is needed:", err)
	}
	defer os.RemoveAll(dir)
	if os.Link(filepath.Join(w.dir, "a.txt"), filepath.Join(dir, "link")) == nil {
		t.Skip("SKIPPED: /dev/shm is not another file system")
	}
	require.NoError(t, w.mirror.Checkout(t.Context(), git.Checkout{Dir: dir, Commit: w.resolve("main"), Branch: "main"}))
	runGit(t, dir, "fsck", "--full", "--strict")
	require.Equal(t, "main", runGit(t, dir, "branch", "--show-current"))
	require.FileExists(t, filepath.Join(dir, "a.txt"))
}

// A checkout that is apart has no file of the mirror's. Others share its objects.
func TestCheckoutApart(t *testing.T) {
	w := newWorld(t)
	w.fetch()
	for _, apart := range []bool{false, true} {
		w.mirror.Apart = apart
		dir := filepath.Join(t.TempDir(), "tree")
		require.NoError(t, w.mirror.Checkout(t.Context(), git.Checkout{Dir: dir, Commit: w.resolve("main"), Branch: "main"}))
		runGit(t, dir, "fsck", "--full", "--strict")
		shared, err := exec.Command("find", dir, "-type", "f", "-links", "+1").Output()
		require.NoError(t, err)
		require.Equal(t, apart, len(shared) == 0, string(shared))
	}
}

// What git makes of an empty repository is asked once for each kind, and a
// checkout is the same whether it was asked or not.
func TestSkeletons(t *testing.T) {
	for _, format := range []string{"sha1", "sha256"} {
		t.Run(format, func(t *testing.T) {
			newWorld(t) // or it is skipped
			dir := filepath.Join(t.TempDir(), "repo")
			runGit(t, t.TempDir(), "init", "-q", "-b", "main", "--object-format="+format, dir)
			require.NoError(t, os.WriteFile(filepath.Join(dir, "run.sh"), []byte("#!/bin/sh\n"), 0o755))
			runGit(t, dir, "add", "-A")
			runGit(t, dir, "commit", "-q", "-m", "one")
			commit := runGit(t, dir, "rev-parse", "HEAD")
			m := &git.Mirror{Dir: filepath.Join(t.TempDir(), "mirror"), URL: dir, Local: true}
			require.NoError(t, m.Fetch(t.Context()))
			checkOut := func(commands ...string) map[string]string {
				started := counting(m)
				tree := filepath.Join(t.TempDir(), "tree")
				require.NoError(t, m.Checkout(t.Context(), git.Checkout{Dir: tree, Commit: commit, Branch: "main"}))
				require.Equal(t, commands, started())
				runGit(t, tree, "fsck", "--full", "--strict")
				return contents(t, tree)
			}
			want := checkOut("init", "checkout")
			m.Skeletons = &git.Skeletons{}
			require.Equal(t, want, checkOut("init", "checkout"))
			require.Equal(t, want, checkOut("checkout"))
			require.Equal(t, want, checkOut("checkout"), "what came into one is not in the next")
		})
	}
}

// contents are the modes of all that is in a tree, and what files hold but for
// the times that git writes down.
func contents(t *testing.T, dir string) map[string]string {
	all := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		require.NoError(t, err)
		name, err := filepath.Rel(dir, path)
		require.NoError(t, err)
		info, err := d.Info()
		require.NoError(t, err)
		all[name] = info.Mode().String()
		if d.Type().IsRegular() && name != ".git/index" && !strings.HasPrefix(name, ".git/logs/") {
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			all[name] += " " + string(text)
		}
		return nil
	}))
	return all
}

// A mirror whose refs are not all plain is asked for them by git.
func TestCheckoutOfRefsThatAreNotPlain(t *testing.T) {
	w := newWorld(t)
	w.fetch()
	runGit(t, filepath.Join(w.mirror.Dir, "git"), "symbolic-ref", "refs/heads/alias", "refs/heads/main")
	started := counting(w.mirror)
	tree := filepath.Join(t.TempDir(), "tree")
	require.NoError(t, w.mirror.Checkout(t.Context(), git.Checkout{Dir: tree, Commit: w.resolve("main"), Branch: "main"}))
	require.Contains(t, started(), "for-each-ref")
	require.Equal(t, w.run("rev-parse", "main"), runGit(t, tree, "rev-parse", "origin/alias"))
}
