package sqlite

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

// signedLog is a store in which a build wrote something that has a signature.
func signedLog(t *testing.T) (s *Store, path string) {
	s = openAt(t, filepath.Join(t.TempDir(), "piper.db"))
	_, err := s.Enqueue(t.Context(), store.NewBuild("x", 1, store.Request{Project: "p"}, at))
	require.NoError(t, err)
	require.NoError(t, s.AppendChunks(t.Context(), []store.Chunk{chunkOf("x", "before\n")}))
	to, err := s.Sign(t.Context(), "x", 1)
	require.NoError(t, err)
	require.NoError(t, to.Keep())
	require.NoError(t, to.Close())
	r, err := s.Signature(t.Context(), "x", 1)
	require.NoError(t, err)
	require.NoError(t, r.Close())
	return s, filepath.Join(s.dir, "x", "1")
}

func TestASignatureIsNotBackedUp(t *testing.T) {
	s, path := signedLog(t)
	begun, err := s.Sign(t.Context(), "x", 1)
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "backup")
	require.NoError(t, s.Backup(t.Context(), dir))
	require.NoError(t, begun.Close())
	there, err := os.ReadDir(filepath.Join(dir, "logs", "x"))
	require.NoError(t, err)
	require.Len(t, there, 1)
	require.Equal(t, "1", there[0].Name())
	info, err := os.Stat(path + signatureName)
	require.NoError(t, err)
	require.Zero(t, info.Mode().Perm()&0o077)
	copied := openAt(t, filepath.Join(dir, "piper.db"))
	_, err = copied.Signature(t.Context(), "x", 1)
	require.ErrorIs(t, err, store.ErrNotFound)
}

// What is written to the file may be seen at any moment after that.
func TestNothingIsSignedWhileItIsWritten(t *testing.T) {
	s, path := signedLog(t)
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString("not committed\n")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	_, err = s.Sign(t.Context(), "x", 1)
	require.ErrorContains(t, err, "has 21 bytes, and ends at 7")
	_, err = s.Signature(t.Context(), "x", 1)
	require.ErrorIs(t, err, store.ErrNotFound)
}

func TestASignatureThatCannotBeRead(t *testing.T) {
	s, path := signedLog(t)
	for name, data := range map[string][]byte{"cut off": {7}, "of another size": binary.LittleEndian.AppendUint64(nil, 8), "zeros": make([]byte, 100)} {
		require.NoError(t, os.WriteFile(path+signatureName, data, 0o600))
		_, err := s.Signature(t.Context(), "x", 1)
		require.ErrorIs(t, err, store.ErrNotFound, name)
	}
	require.NoError(t, os.WriteFile(path+signatureName, binary.LittleEndian.AppendUint64(nil, 7), 0o600))
	require.NoError(t, os.Remove(path))
	_, err := s.Signature(t.Context(), "x", 1)
	require.ErrorIs(t, err, store.ErrNotFound, "the log is gone")
	require.NoError(t, os.RemoveAll(filepath.Dir(path)))
	_, err = s.Sign(t.Context(), "x", 1)
	require.ErrorIs(t, err, store.ErrNotFound)
	for _, id := range []build.ID{"", "..", "a/b"} {
		_, err := s.Signature(t.Context(), id, 1)
		require.ErrorContains(t, err, "no build's id")
		_, err = s.Sign(t.Context(), id, 1)
		require.ErrorContains(t, err, "no build's id")
	}
}
