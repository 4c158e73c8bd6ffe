package record_test

import (
	"bytes"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/record"
	"github.com/piper-build/piper/runtime/store/sqlite"
)

// BenchmarkSQLite is the way of output into the store of piper exec.
func BenchmarkSQLite(b *testing.B) {
	for _, size := range []int{80, 64 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "piper.db"), sqlite.Options{Relaxed: true})
			require.NoError(b, err)
			defer s.Close()
			r := record.Open(s, id, fence, record.Options{Pace: 100 * time.Millisecond})
			out, err := r.Open("n", 1)
			require.NoError(b, err)
			line := append(bytes.Repeat([]byte("x"), size-1), '\n')
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if err := out.Write(time.Now(), line); err != nil {
					b.Fatal(err)
				}
			}
			require.NoError(b, r.Flush(b.Context()))
			require.NoError(b, r.Close())
		})
	}
}
