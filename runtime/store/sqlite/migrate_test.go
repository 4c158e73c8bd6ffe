package sqlite

import (
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/store"
)

// newer runs do as a piper that has one more migration.
func newer(t *testing.T, migration string, do func(t *testing.T)) {
	had := migrations
	defer func() { migrations = had }()
	migrations = append(had[:len(had):len(had)], migration)
	t.Run("newer", do)
}

// old is a file of this piper's with something in it.
func old(t *testing.T) (path string) {
	path = filepath.Join(t.TempDir(), "piper.db")
	s, err := Open(t.Context(), path, Options{})
	require.NoError(t, err)
	_, err = s.PutProject(t.Context(), store.Project{Name: "shop"})
	require.NoError(t, err)
	require.NoError(t, s.Close())
	return path
}

// A file of an older piper is brought up to date by the first of those that open it,
// and the older one says then why it does not open it.
func TestMigrate(t *testing.T) {
	path := old(t)
	newer(t, "ALTER TABLE projects ADD COLUMN colour TEXT NOT NULL DEFAULT 'blue'", func(t *testing.T) {
		var done sync.WaitGroup
		for range 4 {
			done.Go(func() {
				s, err := Open(t.Context(), path, Options{})
				if err == nil {
					err = s.Close()
				}
				if err != nil {
					t.Error(err)
				}
			})
		}
		done.Wait()
		s := openAt(t, path)
		var colour string
		require.NoError(t, s.reads.QueryRowContext(t.Context(), "SELECT colour FROM projects WHERE name = 'shop'").Scan(&colour))
		require.Equal(t, "blue", colour)
		_, err := s.Project(t.Context(), "shop")
		require.NoError(t, err)
	})
	_, err := Open(t.Context(), path, Options{})
	require.ErrorIs(t, err, ErrNewer)
	require.ErrorContains(t, err, fmt.Sprintf("its tables have version %d, this piper knows %d: use the newer one", len(migrations)+1, len(migrations)))
}

// A migration that fails leaves the file to the older piper.
func TestMigrateInVain(t *testing.T) {
	path := old(t)
	newer(t, "DROP TABLE projects; CREATE TABLE agents (id TEXT)", func(t *testing.T) {
		_, err := Open(t.Context(), path, Options{})
		require.ErrorContains(t, err, fmt.Sprintf("bring tables to version %d: ", len(migrations)))
		require.ErrorContains(t, err, "table agents already exists")
	})
	_, err := openAt(t, path).Project(t.Context(), "shop")
	require.NoError(t, err)
}
