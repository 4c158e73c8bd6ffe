package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
	"github.com/piper-build/piper/runtime/store/storetest"
)

func BenchmarkStore(b *testing.B) {
	storetest.Benchmark(b, func(b *testing.B) store.Store {
		s, err := Open(b.Context(), filepath.Join(b.TempDir(), "piper.db"), Options{})
		require.NoError(b, err)
		b.Cleanup(func() { s.Close() })
		return s
	})
}

// BenchmarkPool is the peer of BenchmarkStore/Claim: the same claims by as many
// goroutines, each in a transaction of its own on a connection from a pool.
func BenchmarkPool(b *testing.B) {
	db, err := open(filepath.Join(b.TempDir(), "pool.db"), defaultBusy, "journal_mode(WAL)", "synchronous(FULL)")
	require.NoError(b, err)
	defer db.Close()
	for _, m := range migrations {
		_, err := db.Exec(m)
		require.NoError(b, err)
	}
	ctx := context.Background()
	claim := func(id build.ID, c store.Change) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		now, err := one[store.Build](ctx, tx, "build", id, "SELECT doc FROM builds WHERE id = ?", id)
		if err != nil {
			return err
		}
		after, _, err := now.Changed(c)
		if err != nil {
			return err
		}
		if err := replace(ctx, tx, now, after); err != nil {
			return err
		}
		return tx.Commit()
	}
	tx, err := db.BeginTx(ctx, &sql.TxOptions{})
	require.NoError(b, err)
	for i := range b.N {
		require.NoError(b, put(ctx, tx, store.NewBuild(build.ID(fmt.Sprint(i)), int64(i+1), store.Request{Project: "p"}, time.Now())))
	}
	require.NoError(b, tx.Commit())
	b.ResetTimer()
	const claimers = 32
	var done sync.WaitGroup
	for r := range claimers {
		done.Go(func() {
			for i := r; i < b.N; i += claimers {
				if err := claim(build.ID(fmt.Sprint(i)), store.Claim{Agent: "a", Nonce: "n", Max: 3}); err != nil {
					b.Error(err)
				}
			}
		})
	}
	done.Wait()
}
