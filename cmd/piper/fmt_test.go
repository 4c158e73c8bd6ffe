package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A file that may not be written stays as it is, although its directory would
// let it be replaced.
func TestFormatReadOnly(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("root may write anything")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "PIPER.star")
	require.NoError(t, os.WriteFile(file, []byte("x=1\n"), 0o444))
	var stdout, stderr bytes.Buffer
	code := run(t.Context(), []string{"-C", dir, "fmt"}, nil, &stdout, &stderr)
	require.Equal(t, exitInfra, code)
	require.Equal(t, "piper: write PIPER.star: permission denied\n", stderr.String())
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "x=1\n", string(text))
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, entries, 1)
}
