package sqlite

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

func TestWhatIsReadWhileItIsPurged(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "piper.db"))
	ids := make([]build.ID, 300)
	var all []store.Chunk
	for i := range ids {
		ids[i] = build.ID(fmt.Sprint("b", i))
		all = append(all, chunkOf(ids[i], "text\n"))
	}
	require.NoError(t, s.AppendChunks(t.Context(), all))

	var readers sync.WaitGroup
	errs := make([]error, 4)
	for n := range errs {
		readers.Go(func() {
			for at := 0; at < len(ids) && errs[n] == nil; {
				key := chunkOf(ids[at], "").Key
				_, lost := s.ChunkAt(t.Context(), key, 1)
				found, err := s.Chunks(t.Context(), key, 1)
				errs[n] = errors.Join(lost, err)
				if len(found) == 0 {
					at++
				}
			}
		})
	}
	for _, id := range ids {
		require.NoError(t, s.Purge(t.Context(), id))
	}
	readers.Wait()
	for _, err := range errs {
		require.NoError(t, err)
	}
}

func TestALogFileThatIsGone(t *testing.T) {
	s := openAt(t, filepath.Join(t.TempDir(), "piper.db"))
	require.NoError(t, s.AppendChunks(t.Context(), []store.Chunk{chunkOf("x", "text\n")}))
	require.NoError(t, os.RemoveAll(filepath.Join(s.dir, "x")))
	_, err := s.Chunks(t.Context(), chunkOf("x", "").Key, 1)
	require.ErrorContains(t, err, "log of build x: its file is gone")
}
