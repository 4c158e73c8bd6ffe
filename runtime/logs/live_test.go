package logs

import (
	"bytes"
	"context"
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/store"
)

// A late is a Writer whose output is in the keeper's store once it is kept.
type late struct {
	*keeper
	closed bool
}

func (w *late) Write(at time.Time, p []byte) error {
	w.next.Times = append(w.next.Times, store.Stamp{Offset: int32(len(w.next.Data)), At: at.UTC()})
	w.next.Data = append(w.next.Data, p...)
	return nil
}

func (w *late) Close() error { w.closed = true; return nil }

func (w *late) keep(t require.TestingT) {
	c := w.next
	if len(c.Data) == 0 {
		return
	}
	c.Lines = int64(bytes.Count(c.Data, newline))
	require.NoError(t, w.store.AppendChunks(context.Background(), []store.Chunk{c}))
	w.next = store.Chunk{Key: c.Key, Line: c.Line + c.Lines, Offset: c.Offset + int64(len(c.Data))}
	w.next.Key.Seq++
}

// heard is what Follow has yielded by now.
func heard(t require.TestingT, lines iter.Seq2[Line, error], slow func()) (all *[]string, done <-chan struct{}) {
	all, ended := &[]string{}, make(chan struct{})
	go func() {
		defer close(ended)
		for l, err := range lines {
			require.NoError(t, err)
			*all = append(*all, show(l))
			slow()
		}
	}()
	return all, ended
}

func TestFollowHearsBeforeTheStoreDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, live := newKeeper(), &Live{}
		first := k.next.Key
		to := &late{keeper: k}
		var over atomic.Bool
		watch := Watch{Live: live, Ended: func(context.Context) (bool, error) { return over.Load(), nil }}
		early, ended := heard(t, k.reader().Follow(t.Context(), "n", 1, 1, watch), func() {})
		synctest.Wait()
		w := live.Writer(first, to)
		time.Sleep(time.Second) // it looks, and hears that there is somebody
		require.NoError(t, w.Write(ms(1), []byte("a\nb")))
		require.NoError(t, w.Write(ms(2), []byte("c\nd\n")))
		synctest.Wait()
		require.Equal(t, []string{"1@1:a$", "2@1:bc$", "3@2:d$"}, *early)

		// Who comes later hears what is remembered.
		later, endedToo := heard(t, k.reader().Follow(t.Context(), "n", 1, 2, watch), func() {})
		synctest.Wait()
		require.NoError(t, w.Write(ms(3), []byte("e\n")))
		synctest.Wait()
		require.Equal(t, "4@3:e$", (*early)[3])
		require.Equal(t, []string{"2@1:bc$", "3@2:d$", "4@3:e$"}, *later)
		to.keep(t)
		time.Sleep(time.Second) // the store tells them nothing new
		require.NoError(t, w.Write(ms(9), []byte("f")))
		synctest.Wait()
		require.Len(t, *later, 3) // the line has not ended

		require.NoError(t, w.Close())
		require.True(t, to.closed)
		to.keep(t)
		over.Store(true)
		<-ended
		<-endedToo
		require.Equal(t, "5@9:f", (*early)[4])
		require.Equal(t, "5@9:f", (*later)[3])
		require.Len(t, *early, 5)
		require.Len(t, *later, 4)
		require.Empty(t, live.outputs)
	})
}

func TestNobodyIsHeardWithoutALive(t *testing.T) {
	to := &late{}
	require.Same(t, to, (*Live)(nil).Writer(store.ChunkKey{}, to))
}

func TestNothingIsKeptWhileNobodyFollows(t *testing.T) {
	live := &Live{}
	k := newKeeper()
	first := k.next.Key
	w := live.Writer(first, &late{keeper: k})
	require.NoError(t, w.Write(ms(1), []byte("a\n")))
	e := live.listen(first)
	require.Empty(t, e.s.pieces)
	for range 3 * rememberedPieces {
		require.NoError(t, w.Write(ms(1), []byte("a\n")))
	}
	require.Len(t, e.s.pieces, rememberedPieces)
	require.NoError(t, w.Write(ms(1), make([]byte, 3*remembered)))
	require.Len(t, e.s.pieces, 1)
	require.Equal(t, remembered, e.s.size)
	e.stop()
	require.Empty(t, e.s.pieces)
	require.NoError(t, w.Close())
	require.Empty(t, live.outputs)
}

// Whatever comes from where, and whoever is slow: each line once, as the store
// has it in the end.
func TestHeardAndReadAreTheSame(t *testing.T) {
	for seed := range uint64(100) {
		synctest.Test(t, func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 0))
			k, live := newKeeper(), &Live{}
			first := k.next.Key
			to := &late{keeper: k}
			var over atomic.Bool
			watch := Watch{Live: live, Poll: 100 * time.Millisecond, Ended: func(context.Context) (bool, error) { return over.Load(), nil }}
			w := live.Writer(first, to)
			from := []int64{1, 1 + random.Int64N(40), 1 + random.Int64N(400)}
			var got []*[]string
			var ended []<-chan struct{}
			slow := func(who int) func() {
				random := rand.New(rand.NewPCG(seed, uint64(1+who)))
				return func() {
					if random.IntN(4) == 0 {
						time.Sleep(time.Duration(random.IntN(20)) * time.Millisecond)
					}
				}
			}
			for i, n := 0, 100+random.IntN(200); i < n; i++ {
				if len(got) < len(from) && random.IntN(30) == 0 {
					all, done := heard(t, k.reader().Follow(t.Context(), "n", 1, from[len(got)], watch), slow(len(got)))
					got, ended = append(got, all), append(ended, done)
				}
				var text strings.Builder
				for range random.IntN(6) {
					fmt.Fprintf(&text, "%d%s", i, strings.Repeat("x", random.IntN(1<<random.IntN(11))))
					if random.IntN(3) > 0 {
						text.WriteByte('\n')
					}
				}
				if text.Len() > 0 {
					require.NoError(t, w.Write(ms(i), []byte(text.String())))
				}
				if random.IntN(10) == 0 || len(k.next.Data) > store.MaxChunk/2 {
					to.keep(t)
				}
				if random.IntN(3) == 0 {
					time.Sleep(time.Duration(random.IntN(30)) * time.Millisecond)
				}
			}
			require.NoError(t, w.Close())
			to.keep(t)
			over.Store(true)
			for i, done := range ended {
				<-done
				require.Equal(t, shown(t, k.reader().Lines(t.Context(), "n", 1, from[i], 0)), *got[i], "seed %d", seed)
			}
		})
	}
}

// What was heard, and left out of what is kept, is not told of again.
func TestAGapThatWasHeard(t *testing.T) {
	c := store.Chunk{Line: 4, Offset: 100, Cut: 60, Data: []byte("a\nb\nc\n"), Lines: 3,
		Times: []store.Stamp{{Offset: 0, At: ms(1)}, {Offset: 3, At: ms(2)}, {Offset: 5, At: ms(3)}}}
	part := func(offset int64) string {
		rest := unread(&c, offset)
		if rest == nil {
			return ""
		}
		s := fmt.Sprintf("line %d, offset %d, cut %d, %q", rest.Line, rest.Offset, rest.Cut, rest.Data)
		for _, stamp := range rest.Times {
			s += fmt.Sprintf(" %d@%d", stamp.Offset, stamp.At.UnixMilli())
		}
		return s
	}
	whole := `line 4, offset 100, cut 60, "a\nb\nc\n" 0@1 3@2 5@3`
	require.Equal(t, whole, part(0))
	require.Equal(t, whole, part(40))
	require.Equal(t, strings.Replace(whole, "cut 60", "cut 1", 1), part(99))
	require.Equal(t, strings.Replace(whole, "cut 60", "cut 0", 1), part(100))
	require.Equal(t, `line 4, offset 101, cut 0, "\nb\nc\n" 0@1 2@2 4@3`, part(101))
	require.Equal(t, `line 5, offset 103, cut 0, "\nc\n" 0@2 2@3`, part(103))
	require.Equal(t, `line 6, offset 105, cut 0, "\n" 0@3`, part(105))
	require.Empty(t, part(106))
}
