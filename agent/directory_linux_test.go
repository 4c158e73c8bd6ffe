package agent

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// What a build did to its workspace harms nothing elsewhere, and what keeps it
// from being removed is told.
func TestAWorkspaceIsRemoved(t *testing.T) {
	outside := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(outside, "stays"), nil, 0o600))
	var told strings.Builder
	path := filepath.Join(t.TempDir(), "agent")
	d, err := openDirectory(path, slog.New(slog.NewTextHandler(&told, nil)))
	require.NoError(t, err)

	linked := d.workspace("build-linked", 1)
	require.NoError(t, os.Symlink(outside, linked))
	d.remove(linked)
	git := d.workspace("build-git", 1)
	require.NoError(t, os.Mkdir(git, 0o700))
	require.NoError(t, os.Symlink(outside, filepath.Join(git, ".git")))
	d.remove(git)
	d.removing.Wait()
	require.NoFileExists(t, linked)
	require.NoDirExists(t, git)
	require.FileExists(t, filepath.Join(outside, "stays"))
	require.Empty(t, told.String())

	t.Run("but for what cannot be", func(t *testing.T) {
		mounted := d.workspace("build-mounted", 1)
		mount := filepath.Join(mounted, "a", "b")
		require.NoError(t, os.MkdirAll(mount, 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(mounted, "a", "c"), nil, 0o600))
		if err := syscall.Mount("piper-test", mount, "tmpfs", 0, ""); err != nil {
			t.Skipf("SKIPPED: it takes the right to mount: %v", err)
		}
		d.remove(mounted)
		d.removing.Wait()
		unmounted := syscall.Unmount(mount, 0)
		require.NoError(t, unmounted)
		require.DirExists(t, mount)
		require.NoFileExists(t, filepath.Join(mounted, "a", "c"))
		require.Contains(t, told.String(), mounted)
		require.NoError(t, d.Close())
		d, err = openDirectory(path, slog.New(slog.DiscardHandler))
		require.NoError(t, err)
		d.removing.Wait()
		require.NoDirExists(t, mounted, "whoever comes next removes it")
	})
	require.NoError(t, d.Close())
}
