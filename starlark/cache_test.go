package starlark

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// What is in a cache is run, so it has to be this user's own.
func TestACacheThatOthersCanWriteToIsNone(t *testing.T) {
	dir := t.TempDir()
	require.NotNil(t, openCache(filepath.Join(dir, "none yet")))
	for mode, want := range map[os.FileMode]bool{0o700: true, 0o755: true, 0o775: false, 0o777: false} {
		require.NoError(t, os.Chmod(dir, mode))
		require.Equal(t, want, openCache(dir) != nil, mode)
	}
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	require.Nil(t, openCache(file))
	require.Nil(t, openCache(""))
	if os.Geteuid() == 0 {
		require.NoError(t, os.Chmod(dir, 0o700))
		require.NoError(t, os.Chown(dir, 12345, 12345))
		require.Nil(t, openCache(dir), "somebody else's")
	}
}
