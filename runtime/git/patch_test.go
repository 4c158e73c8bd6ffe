package git_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/git"
)

// What was written again in the moment in which it was added, in as many bytes,
// is in the patch.
func TestPatchOfTheSameMoment(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("SKIPPED: the git program is needed to make repositories")
	}
	dir := t.TempDir()
	file, moment := filepath.Join(dir, "file"), time.Now().Add(-time.Hour)
	write := func(text string) {
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
		require.NoError(t, os.Chtimes(file, moment, moment))
	}
	write("one\n")
	for _, args := range []string{"init -q", "config core.trustctime false", "add .", "-c user.name=Ann -c user.email=ann@example.org commit -q -m one"} {
		out, err := exec.Command("git", append([]string{"-C", dir}, strings.Fields(args)...)...).CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	require.NoError(t, os.Chtimes(filepath.Join(dir, ".git/index"), moment, moment))
	write("two\n")
	patch, err := open(t, dir).Patch()
	require.NoError(t, err)
	require.Contains(t, string(patch), "+two\n")
}

// A patch, applied to a clone, makes it what the tree is, whatever was staged;
// and making it changes nothing.
func TestPatchOfATree(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("SKIPPED: the git program is needed to make repositories")
	}
	run := func(dir string, args ...string) string {
		cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=Ann", "-c", "user.email=ann@example.org"}, args...)...)
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return string(out)
	}
	dev := t.TempDir()
	write := func(name, text string, mode os.FileMode) {
		path := filepath.Join(dev, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), mode))
		require.NoError(t, os.Chmod(path, mode))
	}
	run(dev, "init", "-q", "-b", "main")
	_, err := open(t, dev).Patch()
	require.ErrorIs(t, err, git.ErrNoCommit)

	write(".gitignore", "ignored\n", 0o644)
	write("changed", "one\n", 0o644)
	write("staged", "one\n", 0o644)
	write("deleted", "one\n", 0o644)
	write("mode", "#!/bin/sh\n", 0o644)
	write("sub/kept", "one\n", 0o644)
	run(dev, "add", ".")
	run(dev, "commit", "-q", "-m", "one")
	clone := filepath.Join(t.TempDir(), "clone")
	run(dev, "clone", "-q", dev, clone)

	empty, err := open(t, dev).Patch()
	require.NoError(t, err)
	require.Empty(t, empty)

	write("changed", "two\n", 0o644)
	write("staged", "two\n", 0o644)
	run(dev, "add", "staged")
	write("staged", "three\n", 0o644)
	require.NoError(t, os.Remove(filepath.Join(dev, "deleted")))
	write("mode", "#!/bin/sh\n", 0o755)
	write("new/bytes", "\x00\xff\x01", 0o644)
	write("with space\u00fc", "new\n", 0o644)
	write("ignored", "no\n", 0o644)
	require.NoError(t, os.Symlink("changed", filepath.Join(dev, "link")))
	before, objects := run(dev, "status", "--porcelain"), run(dev, "count-objects")

	// From below the top it is of the whole tree, too.
	patch, err := open(t, filepath.Join(dev, "sub")).Patch()
	require.NoError(t, err)
	require.Equal(t, before, run(dev, "status", "--porcelain"), "the index is as it was")
	require.Equal(t, objects, run(dev, "count-objects"), "nothing was written to the repository")

	file := filepath.Join(t.TempDir(), "patch")
	require.NoError(t, os.WriteFile(file, patch, 0o600))
	run(clone, "apply", file)
	run(clone, "add", "-A")
	run(dev, "add", "-A")
	require.Equal(t, strings.TrimSpace(run(dev, "write-tree")), strings.TrimSpace(run(clone, "write-tree")))
}

func open(t *testing.T, dir string) *git.Repo {
	r, err := git.Open(dir)
	require.NoError(t, err)
	return r
}
