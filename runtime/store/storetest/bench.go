package storetest

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

// Benchmark measures what agents do most. The figure of each is the time of one
// operation; 32 goroutines at once do those that agents do at once.
func Benchmark(b *testing.B, open func(b *testing.B) store.Store) {
	b.Run("Claim", func(b *testing.B) {
		s := open(b)
		waits := make([][]time.Duration, racers)
		builds := make([]store.Build, b.N)
		for i := range builds {
			builds[i] = enqueueNth(b, s, i)
		}
		b.ResetTimer()
		var done sync.WaitGroup
		for r := range racers {
			done.Go(func() {
				agent := store.AgentID(fmt.Sprint("agent-", r))
				for i := r; i < b.N; i += racers {
					start := time.Now()
					_, err := s.Change(b.Context(), builds[i].ID, store.Claim{Agent: agent, Nonce: "n", Max: store.MaxAttempts, At: at})
					waits[r] = append(waits[r], time.Since(start))
					if err != nil {
						b.Error(err)
					}
				}
			})
		}
		done.Wait()
		all := slices.Concat(waits...)
		slices.Sort(all)
		b.ReportMetric(float64(all[len(all)*99/100].Microseconds())/1000, "p99-ms")
	})
	b.Run("Events", func(b *testing.B) {
		s := open(b)
		for i := range int64(b.N) {
			err := s.AppendEvents(b.Context(), store.EventKey{Build: id("x"), Fence: 1, Seq: i + 1}, []build.Event{{Seq: i + 1, Time: at, Kind: build.AttemptStarted, Node: "unit", Attempt: 1}})
			require.NoError(b, err)
		}
	})
	b.Run("Chunks", func(b *testing.B) {
		s := open(b)
		data := make([]byte, store.MaxChunk)
		b.SetBytes(int64(len(data)))
		for i := range int64(b.N) {
			err := s.AppendChunks(b.Context(), []store.Chunk{{Key: store.ChunkKey{Build: id("x"), Fence: 1, Node: "unit", Attempt: 1, Seq: i}, Line: i, Lines: 1, Offset: i * store.MaxChunk, Data: data}})
			require.NoError(b, err)
		}
	})
	for _, n := range []int{1_000, 20_000} {
		b.Run(fmt.Sprintf("NewestOf%d", n), func(b *testing.B) {
			s := open(b)
			for i := range n {
				enqueueNth(b, s, i)
			}
			b.ResetTimer()
			for range b.N {
				page, _, err := s.List(b.Context(), store.Filter{Project: "p"}, "", 50)
				require.NoError(b, err)
				require.Len(b, page, 50)
			}
		})
	}
}

func enqueueNth(b *testing.B, s store.Store, i int) store.Build {
	built, err := s.Enqueue(b.Context(), store.NewBuild(id(fmt.Sprint(i)), int64(i+1), store.Request{Project: "p", Pipeline: "build"}, at))
	require.NoError(b, err)
	return built
}
