package git_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/git"
)

// told is all that a Repo says that a plan can hold.
func told(t *testing.T, repo *git.Repo, base string) map[string]any {
	t.Helper()
	all := map[string]any{}
	note := func(what string, answer any, err error) {
		require.NoError(t, err, what)
		all[what] = answer
	}
	commit, err := repo.Commit()
	note("commit", commit, err)
	branch, err := repo.Branch()
	note("branch", branch, err)
	tag, err := repo.Tag()
	note("tag", tag, err)
	dirty, err := repo.Dirty()
	note("dirty", dirty, err)
	files, err := repo.Files()
	note("files", files, err)
	changed, err := repo.Changed(base)
	note("changed", strings.Join(changed, " "), err)
	for _, flags := range []string{"--always", "--tags --dirty", "--long --tags --abbrev=7", "--all", "--dirty=+"} {
		described, err := repo.Describe(strings.Fields(flags)...)
		note("describe "+flags, described, err)
	}
	return all
}

// git says the same in a checkout, in a developer's clone, and of the commit in
// a mirror.
func TestCheckoutIsAClone(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, os.Symlink("a.txt", filepath.Join(w.dir, "link")))
	require.NoError(t, os.WriteFile(filepath.Join(w.dir, "run.sh"), []byte("#!/bin/sh\r\n"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(w.dir, "ünï \"code\".txt"), []byte{0, 1, 255}, 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(w.dir, ".gitattributes"), []byte("*.sh text eol=lf\n"), 0o644))
	w.commit("all sorts", "c.txt", "c\n")
	w.run("tag", "light")
	w.commit("after", "a.txt", "two\n")
	w.fetch()
	for _, test := range []struct{ name, rev, branch string }{
		{"a branch", "main", "main"},
		{"another branch", "feature/x", "feature/x"},
		{"a tag", "v1.0", ""},
		{"a commit", "main~1", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			mine, theirs := filepath.Join(t.TempDir(), "mine"), filepath.Join(t.TempDir(), "theirs")
			runGit(t, w.dir, "clone", "-q", w.dir, theirs)
			runGit(t, theirs, "checkout", "-q", strings.Replace(test.rev, "main~1", "origin/main~1", 1))
			commit := w.run("rev-parse", test.rev+"^{commit}")
			require.NoError(t, w.mirror.Checkout(t.Context(), git.Checkout{Dir: mine, Commit: commit, Branch: test.branch}))

			a, err := git.Open(mine)
			require.NoError(t, err)
			b, err := git.Open(theirs)
			require.NoError(t, err)
			at, err := w.mirror.At(t.Context(), commit, test.branch)
			require.NoError(t, err)
			want := told(t, b, "feature/x")
			require.Equal(t, want, told(t, a, "feature/x"))
			require.Equal(t, want, told(t, at, "feature/x"))
			for _, base := range []string{"origin/feature/x", "origin/main", "v1.0"} {
				theirs, err := b.Changed(base)
				require.NoError(t, err, base)
				here, err := at.Changed(base)
				require.NoError(t, err, base)
				require.Equal(t, theirs, here, base)
			}

			require.Equal(t, w.dir, runGit(t, mine, "config", "remote.origin.url"))
			require.Equal(t, runGit(t, theirs, "for-each-ref"), runGit(t, mine, "for-each-ref"))
			files, err := a.Files()
			require.NoError(t, err)
			for _, name := range files {
				infoA, err := os.Lstat(filepath.Join(mine, name))
				require.NoError(t, err)
				infoB, err := os.Lstat(filepath.Join(theirs, name))
				require.NoError(t, err)
				require.Equal(t, infoB.Mode(), infoA.Mode(), name)
				textA, err := os.ReadFile(filepath.Join(mine, name))
				require.NoError(t, err)
				textB, err := os.ReadFile(filepath.Join(theirs, name))
				require.NoError(t, err)
				require.Equal(t, string(textB), string(textA), name)
			}
			require.Equal(t, "piper <piper@localhost>", runGit(t, mine, "log", "-g", "-1", "--format=%gn <%ge>"))
			// It stands on its own.
			require.NoError(t, os.Rename(w.mirror.Dir, w.mirror.Dir+"-gone"))
			defer func() { require.NoError(t, os.Rename(w.mirror.Dir+"-gone", w.mirror.Dir)) }()
			runGit(t, mine, "fsck", "--full", "--strict")
		})
	}
}

// Whoever runs the agent has settings and hooks of their own, and a repository
// may ask for filters. None of them touches a checkout.
func TestCheckoutObeysNobody(t *testing.T) {
	w := newWorld(t)
	home := t.TempDir()
	ran := filepath.Join(home, "ran")
	hook := "#!/bin/sh\ntouch '" + ran + "'\n"
	for _, name := range []string{"hooks/post-checkout", "template/hooks/post-checkout"} {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(home, name)), 0o777))
		require.NoError(t, os.WriteFile(filepath.Join(home, name), []byte(hook), 0o755))
	}
	require.NoError(t, os.WriteFile(filepath.Join(home, ".gitconfig"), []byte("[core]\n\thooksPath = "+home+"/hooks\n\tautocrlf = true\n[init]\n\ttemplateDir = "+home+
		"/template\n[filter \"lfs\"]\n\tsmudge = touch "+ran+"\n\trequired = true\n[url \"/nowhere/\"]\n\tinsteadOf = /\n[submodule]\n\trecurse = true\n"), 0o666))
	t.Setenv("HOME", home)
	t.Setenv("XDG_CONFIG_HOME", home)
	t.Setenv("GIT_DIR", "/nowhere")
	t.Setenv("GIT_CONFIG_COUNT", "1")
	t.Setenv("GIT_CONFIG_KEY_0", "core.hooksPath")
	t.Setenv("GIT_CONFIG_VALUE_0", home+"/hooks")
	w.mirror.URL = w.dir

	require.NoError(t, os.Unsetenv("GIT_DIR"))
	require.NoError(t, os.WriteFile(filepath.Join(w.dir, ".gitattributes"), []byte("*.bin filter=lfs\n"), 0o666))
	require.NoError(t, os.WriteFile(filepath.Join(w.dir, ".gitmodules"), []byte("[submodule \"x\"]\n\tpath = x\n\turl = ext::touch "+ran+"\n"), 0o666))
	commit := w.commit("pointers", "a.bin", "version https://git-lfs.github.com/spec/v1\n")
	w.run("update-index", "--add", "--cacheinfo", "160000,"+commit+",x")
	w.run("commit", "-q", "-m", "submodule")
	commit = w.run("rev-parse", "HEAD")
	require.NoError(t, os.Setenv("GIT_DIR", "/nowhere"))

	w.fetch()
	tree := filepath.Join(t.TempDir(), "tree")
	require.NoError(t, w.mirror.Checkout(t.Context(), git.Checkout{Dir: tree, Commit: commit, Branch: "main"}))
	require.NoFileExists(t, ran)
	require.NoDirExists(t, filepath.Join(tree, ".git/hooks"))
	text, err := os.ReadFile(filepath.Join(tree, "a.txt"))
	require.NoError(t, err)
	require.Equal(t, "one\n", string(text))
}

func TestCheckoutFails(t *testing.T) {
	w := newWorld(t)
	w.fetch()
	commit := w.resolve("main")
	full := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(full, "x"), nil, 0o666))
	empty := t.TempDir()
	for name, test := range map[string]struct {
		c    git.Checkout
		want string
	}{
		"gone":        {git.Checkout{Dir: empty, Commit: strings.Repeat("1", 40)}, git.ErrUnknown.Error()},
		"no hash":     {git.Checkout{Dir: empty, Commit: "main"}, "it is not the full hash of a commit"},
		"option":      {git.Checkout{Dir: empty, Commit: "--orphan"}, "it is not the full hash of a commit"},
		"bad branch":  {git.Checkout{Dir: empty, Commit: commit, Branch: "-x"}, "begins with a dash"},
		"not empty":   {git.Checkout{Dir: full, Commit: commit}, "is not empty"},
		"no parent":   {git.Checkout{Dir: empty + "/a/b", Commit: commit}, "no such file or directory"},
		"bad patch":   {git.Checkout{Dir: empty, Commit: commit, Patch: []byte("hello\n")}, "apply patch: "},
		"huge patch":  {git.Checkout{Dir: empty, Commit: commit, Patch: make([]byte, git.MaxPatch+1)}, "apply patch: not valid: it has more than 64 MiB"},
		"new, failed": {git.Checkout{Dir: empty + "/new", Commit: commit, Patch: []byte("hello\n")}, "git diff --binary HEAD"},
	} {
		t.Run(name, func(t *testing.T) {
			err := w.mirror.Checkout(t.Context(), test.c)
			require.Error(t, err)
			require.Contains(t, err.Error()+advice(err), test.want)
		})
	}
	left, err := os.ReadDir(empty)
	require.NoError(t, err)
	require.Empty(t, left)
	require.FileExists(t, filepath.Join(full, "x"))

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, w.mirror.Checkout(ctx, git.Checkout{Dir: empty, Commit: commit}), context.Canceled)
}

// A patch carries what a developer has not committed: changes, new files,
// deletions, modes, links and bytes that are no text.
func TestPatch(t *testing.T) {
	w := newWorld(t)
	require.NoError(t, os.WriteFile(filepath.Join(w.dir, "gone.txt"), []byte("x\n"), 0o666))
	require.NoError(t, os.WriteFile(filepath.Join(w.dir, "b.bin"), bytes.Repeat([]byte{0, 1, 2}, 1000), 0o666))
	commit := w.commit("more", "run.sh", "#!/bin/sh\n")
	w.fetch()
	dev := filepath.Join(t.TempDir(), "dev")
	runGit(t, w.dir, "clone", "-q", w.dir, dev)
	write := func(name string, text []byte) {
		require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dev, name)), 0o777))
		require.NoError(t, os.WriteFile(filepath.Join(dev, name), text, 0o666))
	}
	write("a.txt", []byte("one\ntwo  \n")) // with blanks at the end of a line
	write("new/d é.txt", []byte("no newline"))
	write("b.bin", append(bytes.Repeat([]byte{0, 1, 2}, 1000), 9))
	write("new.bin", bytes.Repeat([]byte{0xff, 0}, 100))
	require.NoError(t, os.Remove(filepath.Join(dev, "gone.txt")))
	require.NoError(t, os.Chmod(filepath.Join(dev, "run.sh"), 0o755))
	require.NoError(t, os.Symlink("a.txt", filepath.Join(dev, "link")))
	runGit(t, dev, "add", "--intent-to-add", "-A")
	patch := []byte(runGit(t, dev, "diff", "--binary", "HEAD") + "\n")

	tree := filepath.Join(t.TempDir(), "tree")
	require.NoError(t, w.mirror.Checkout(t.Context(), git.Checkout{Dir: tree, Commit: commit, Branch: "main", Patch: patch}))
	a, err := git.Open(tree)
	require.NoError(t, err)
	b, err := git.Open(dev)
	require.NoError(t, err)
	require.Equal(t, told(t, b, "main"), told(t, a, "main"))
	files, err := b.Files()
	require.NoError(t, err)
	require.Contains(t, files, "new/d é.txt")
	for _, name := range files {
		want, err := os.ReadFile(filepath.Join(dev, name))
		require.NoError(t, err)
		got, err := os.ReadFile(filepath.Join(tree, name))
		require.NoError(t, err)
		require.Equal(t, want, got, name)
	}
	require.NoFileExists(t, filepath.Join(tree, "gone.txt"))
	info, err := os.Stat(filepath.Join(tree, "run.sh"))
	require.NoError(t, err)
	require.NotZero(t, info.Mode()&0o100)
	left, err := filepath.Glob(filepath.Join(tree, ".git/patch-*"))
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestPatchStaysInTheTree(t *testing.T) {
	w := newWorld(t)
	outside := t.TempDir()
	require.NoError(t, os.Symlink(outside, filepath.Join(w.dir, "out")))
	commit := w.commit("link", "c.txt", "c\n")
	w.fetch()
	added := func(name, mode, text string) string {
		return "diff --git a/" + name + " b/" + name + "\nnew file mode " + mode + "\n--- /dev/null\n+++ b/" + name + "\n@@ -0,0 +1 @@\n+" + text + "\n"
	}
	link := "diff --git a/l b/l\nnew file mode 120000\n--- /dev/null\n+++ b/l\n@@ -0,0 +1 @@\n+" + outside + "\n\\ No newline at end of file\n"
	for name, patch := range map[string]string{
		"up":               added("../x", "100644", "x"),
		"up inside":        added("b/../../x", "100644", "x"),
		"absolute":         added(outside+"/x", "100644", "x"),
		"hooks":            added(".git/hooks/post-checkout", "100755", "x"),
		"config":           added(".GIT/config", "100644", "x"),
		"inner repository": added("b/.git/config", "100644", "x"),
		"through a link":   added("out/x", "100644", "x"),
		"a link first":     link + added("l/x", "100644", "x"),
		"renamed out":      "diff --git a/c.txt b/../c.txt\nsimilarity index 100%\nrename from c.txt\nrename to ../c.txt\n",
		"copied to git":    "diff --git a/c.txt b/.git/x\nsimilarity index 100%\ncopy from c.txt\ncopy to .git/x\n",
	} {
		t.Run(name, func(t *testing.T) {
			tree := filepath.Join(t.TempDir(), "tree")
			err := w.mirror.Checkout(t.Context(), git.Checkout{Dir: tree, Commit: commit, Patch: []byte(patch)})
			require.ErrorContains(t, err, "apply patch: ")
			require.ErrorIs(t, err, git.ErrInvalid)
			require.NoDirExists(t, tree)
			left, err := os.ReadDir(outside)
			require.NoError(t, err)
			require.Empty(t, left)
			require.NoFileExists(t, filepath.Join(filepath.Dir(tree), "x"))
			require.NoFileExists(t, filepath.Join(filepath.Dir(tree), "c.txt"))
		})
	}
}

func TestMirrorChanged(t *testing.T) {
	w := newWorld(t)
	base := w.run("rev-parse", "HEAD")
	require.NoError(t, os.Remove(filepath.Join(w.dir, "a.txt")))
	head := w.commit("moved", "d.txt", "one\n")
	w.run("checkout", "-q", "--orphan", "alone")
	w.commit("alone", "e.txt", "e\n")
	w.fetch()
	for from, want := range map[string][]string{
		base: {"a.txt", "d.txt"}, "feature/x": {"a.txt", "d.txt"}, "main": {}, "v1.0": {"a.txt", "d.txt"},
	} {
		files, err := w.mirror.Changed(t.Context(), from, head)
		require.NoError(t, err, from)
		require.Equal(t, want, files, from)
	}
	_, err := w.mirror.Changed(t.Context(), strings.Repeat("0", 40), head)
	require.ErrorIs(t, err, git.ErrUnknown)
	_, err = w.mirror.Changed(t.Context(), "alone", head)
	require.ErrorContains(t, err, "no commit in common")
	_, err = w.mirror.Changed(t.Context(), "main", strings.Repeat("0", 40))
	require.ErrorIs(t, err, git.ErrUnknown)
	_, err = w.mirror.Changed(t.Context(), "main", "main")
	require.ErrorContains(t, err, "not the full hash")

	at, err := w.mirror.At(t.Context(), base, "main")
	require.NoError(t, err)
	v, err := at.Revision(base)
	require.NoError(t, err)
	files, err := v.Files()
	require.NoError(t, err)
	require.Equal(t, []string{"a.txt"}, files)
}
