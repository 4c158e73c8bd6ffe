package sqlite

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

func chunkOf(id build.ID, text string) store.Chunk {
	return store.Chunk{Key: store.ChunkKey{Build: id, Fence: 1, Node: "n", Attempt: 1}, Lines: 1, Data: []byte(text)}
}

func TestABackupIsAStore(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "builds.db"))
	ctx := t.Context()
	for i, id := range []build.ID{"x", "purged"} {
		_, err := s.Enqueue(ctx, store.NewBuild(id, int64(i+1), store.Request{Project: "p"}, at))
		require.NoError(t, err)
		require.NoError(t, s.AppendChunks(ctx, []store.Chunk{chunkOf(id, "before\n")}))
	}
	// Purged between the copy of the database and that of the files.
	require.NoError(t, os.RemoveAll(filepath.Join(s.dir, "purged")))
	dir := filepath.Join(t.TempDir(), "deep", "backup")
	require.NoError(t, s.Backup(ctx, dir))
	late := chunkOf("x", "after\n")
	late.Key.Seq, late.Line, late.Offset = 1, 1, 7
	require.NoError(t, s.AppendChunks(ctx, []store.Chunk{late}))

	copied := openAt(t, filepath.Join(dir, "builds.db"))
	builds, _, err := copied.List(ctx, store.Filter{}, "", 10)
	require.NoError(t, err)
	require.Len(t, builds, 2)
	chunks, err := copied.Chunks(ctx, chunkOf("x", "").Key, 10)
	require.NoError(t, err)
	require.Equal(t, []store.Chunk{chunkOf("x", "before\n")}, chunks)
	chunks, err = copied.Chunks(ctx, chunkOf("purged", "").Key, 10)
	require.NoError(t, err)
	require.Empty(t, chunks, "it does not tell of what is not there")
	require.NoError(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		require.NoError(t, err)
		info, err := d.Info()
		require.NoError(t, err)
		require.Zero(t, info.Mode().Perm()&0o077, path)
		return nil
	}))
}

func TestABackupThatFails(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "builds.db"))
	require.NoError(t, s.AppendChunks(t.Context(), []store.Chunk{chunkOf("x", "text\n")}))

	full := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(full, "mine"), nil, 0o600))
	require.ErrorContains(t, s.Backup(t.Context(), full), "it holds mine: name a directory that is empty or not there")
	require.FileExists(t, filepath.Join(full, "mine"))

	require.ErrorContains(t, s.Backup(t.Context(), filepath.Join(full, "mine", "deeper")), "not a directory")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	dir := filepath.Join(t.TempDir(), "backup")
	require.ErrorIs(t, s.Backup(ctx, dir), context.Canceled)
	require.NoDirExists(t, dir, "half a backup is none")

	// A log file that cannot be read.
	require.NoError(t, os.RemoveAll(filepath.Join(s.dir, "x", "1")))
	require.NoError(t, os.Mkdir(filepath.Join(s.dir, "x", "1"), 0o700))
	require.ErrorContains(t, s.Backup(t.Context(), dir), "is a directory")
	require.NoDirExists(t, dir)
}
