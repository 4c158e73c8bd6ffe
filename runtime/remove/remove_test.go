package remove

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestAsNobody runs the other tests once more as a user whom modes keep out, if
// this one is not.
func TestAsNobody(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("the other tests are run by such a user")
	}
	dir, err := os.MkdirTemp("", "nobody")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	self, err := os.Executable()
	require.NoError(t, err)
	program, err := os.ReadFile(self)
	require.NoError(t, err)
	exe := filepath.Join(dir, "test")
	require.NoError(t, os.WriteFile(exe, program, 0o755))
	require.NoError(t, os.Chmod(dir, 0o777))
	cmd := exec.Command(exe, "-test.run=TestTree", "-test.v")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "TMPDIR="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "--- PASS: TestTreeThatStays")
}

// deep makes a directory within a directory, and so on, so many levels deep; the
// path of the last one is longer than the system takes.
func deep(t *testing.T, dir string, levels int, mode fs.FileMode) {
	at, err := os.OpenRoot(dir)
	require.NoError(t, err)
	for range levels {
		require.NoError(t, at.Mkdir("d", 0o700))
		require.NoError(t, at.WriteFile("f", []byte("x"), 0o600))
		next, err := at.OpenRoot("d")
		require.NoError(t, err)
		require.NoError(t, at.Chmod(".", mode)) // nothing more is made in it
		require.NoError(t, at.Close())
		at = next
	}
	require.NoError(t, at.Close())
}

func TestTree(t *testing.T) {
	outside := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(outside, "stays"), []byte("x"), 0o600))
	require.NoError(t, os.Chmod(outside, 0o500))
	defer os.Chmod(outside, 0o700)
	write := func(t *testing.T, dir string, names ...string) {
		for _, name := range names {
			require.NoError(t, os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700))
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), nil, 0o400))
		}
	}
	for name, made := range map[string]func(t *testing.T, dir string){
		"nothing":   func(t *testing.T, dir string) { require.NoError(t, os.Remove(dir)) },
		"empty":     func(t *testing.T, dir string) {},
		"odd names": func(t *testing.T, dir string) { write(t, dir, "-rf", "a\nb", "*", "\x1b[2J", "\xff/\n") },
		"shut": func(t *testing.T, dir string) {
			write(t, dir, "a/b/c", "a/d", "moved-1/x")
			for _, name := range []string{"a/b", "a", "."} {
				require.NoError(t, os.Chmod(filepath.Join(dir, name), 0))
			}
		},
		"wide and shut": func(t *testing.T, dir string) {
			for i := range 5000 {
				write(t, dir, fmt.Sprint("a/", i))
			}
			require.NoError(t, os.Chmod(filepath.Join(dir, "a"), 0o500))
		},
		"deep":          func(t *testing.T, dir string) { deep(t, dir, 1000, 0o700) },
		"deep and shut": func(t *testing.T, dir string) { write(t, dir, "moved-1/x", "moved-2"); deep(t, dir, 4000, 0) },
		"links out": func(t *testing.T, dir string) {
			write(t, dir, "a/b")
			require.NoError(t, os.Symlink(outside, filepath.Join(dir, "a", "out")))
			require.NoError(t, os.Symlink("/", filepath.Join(dir, ".git")))
			require.NoError(t, os.Chmod(filepath.Join(dir, "a"), 0o500))
		},
		"a link": func(t *testing.T, dir string) {
			require.NoError(t, os.Remove(dir))
			require.NoError(t, os.Symlink(outside, dir))
		},
		"a file": func(t *testing.T, dir string) {
			require.NoError(t, os.Remove(dir))
			require.NoError(t, os.WriteFile(dir, nil, 0))
		},
	} {
		t.Run(name, func(t *testing.T) {
			// Few files may be open at once, as where much else is.
			var limit syscall.Rlimit
			require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
			few := limit
			few.Cur = 512
			require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &few))
			defer syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit)

			dir := filepath.Join(t.TempDir(), "dir")
			require.NoError(t, os.Mkdir(dir, 0o700))
			made(t, dir)
			require.NoError(t, Tree(dir))
			left, err := os.ReadDir(filepath.Dir(dir))
			require.NoError(t, err)
			require.Empty(t, left)
			info, err := os.Stat(outside)
			require.NoError(t, err)
			require.Equal(t, fs.FileMode(0o500), info.Mode().Perm())
			require.FileExists(t, filepath.Join(outside, "stays"))
		})
	}
}

// What cannot be removed is told, and all the rest goes.
func TestTreeThatStays(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("nothing keeps root out; see TestAsNobody")
	}
	parent := t.TempDir()
	dir := filepath.Join(parent, "dir")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "a"), 0o700))
	require.NoError(t, os.Chmod(parent, 0o500))
	defer os.Chmod(parent, 0o700)
	require.ErrorIs(t, Tree(dir), fs.ErrPermission)
	require.NoDirExists(t, filepath.Join(dir, "a"))
}
