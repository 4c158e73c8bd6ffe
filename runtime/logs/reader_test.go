package logs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

// A keeper appends chunks of attempt 1 of the node "n" to a store.
type keeper struct {
	store *store.Memory
	next  store.Chunk
	text  []byte // all that was written, gaps too
}

func newKeeper() *keeper {
	k := &keeper{store: store.NewMemory()}
	k.next.Key = store.ChunkKey{Build: "b", Fence: 1, Node: "n", Attempt: 1}
	return k
}

func (k *keeper) reader() *Reader { return NewReader(k.store, "b", 1) }

// chunk appends pieces that arrive one after the other, at that many
// milliseconds.
func (k *keeper) chunk(t require.TestingT, at int, pieces ...string) {
	c := k.next
	c.Times = nil
	for i, p := range pieces {
		c.Times = append(c.Times, store.Stamp{Offset: int32(len(strings.Join(pieces[:i], ""))), At: ms(at + i).UTC()})
		k.text = append(k.text, p...)
	}
	c.Data = []byte(strings.Join(pieces, ""))
	c.Lines = int64(bytes.Count(c.Data, newline))
	require.NoError(t, k.store.AppendChunks(context.Background(), []store.Chunk{c}))
	k.next.Key.Seq++
	k.next.Line += c.Lines
	k.next.Offset += int64(len(c.Data))
	k.next.Cut = 0
}

// gap leaves text out.
func (k *keeper) gap(text string) {
	k.text = append(k.text, text...)
	k.next.Cut += int64(len(text))
	k.next.Offset += int64(len(text))
	k.next.Line += int64(strings.Count(text, "\n"))
}

// shown reads lines as "number@ms+offset:text", with a '$' for the line end.
func shown(t require.TestingT, seq iter.Seq2[Line, error]) []string {
	all := []string{}
	for l, err := range seq {
		require.NoError(t, err)
		all = append(all, show(l))
	}
	return all
}

func show(l Line) string {
	s := fmt.Sprintf("%d@%d", l.Number, l.Arrival.UnixMilli())
	if l.Offset > 0 {
		s += fmt.Sprintf("+%d", l.Offset)
	}
	s += ":" + string(l.Text)
	if l.Newline {
		s += "$"
	}
	return s
}

func TestLines(t *testing.T) {
	k := newKeeper()
	k.chunk(t, 1, "a\nb")
	k.chunk(t, 3, "c\n\n", "d\n")
	k.chunk(t, 6, "no end")
	r, ctx := k.reader(), t.Context()
	lines := func(from, to int64) []string { return shown(t, r.Lines(ctx, "n", 1, from, to)) }
	all := []string{"1@1:a$", "2@1:bc$", "3@3:$", "4@4:d$", "5@6:no end"}
	require.Equal(t, all, lines(0, 0))
	require.Equal(t, all, lines(1, 99))
	for from := range int64(5) {
		require.Equal(t, all[from:], lines(from+1, 0))
		require.Equal(t, all[from:from+1], lines(from+1, from+1))
	}
	require.Empty(t, lines(6, 0))
	require.Empty(t, lines(3, 2))
	for range r.Lines(ctx, "n", 1, 0, 0) {
		break // an early end is no error
	}

	tail := func(n int64) []string { return shown(t, r.Tail(ctx, "n", 1, n)) }
	require.Empty(t, tail(0))
	require.Empty(t, tail(-1))
	require.Equal(t, all[3:], tail(2))
	require.Equal(t, all, tail(99))

	size, err := r.Size(ctx, "n", 1)
	require.NoError(t, err)
	require.Equal(t, Size{Bytes: 14, Lines: 5, Last: ms(6).UTC()}, size)
	_, err = r.Size(ctx, "n", 2)
	require.ErrorIs(t, err, ErrNoOutput)
	require.EqualError(t, err, `read output of step "n", attempt 2: no output kept`)
	require.Empty(t, shown(t, r.Lines(ctx, "other", 1, 0, 0)))
	require.Empty(t, shown(t, r.Tail(ctx, "other", 1, 9)))
}

func TestWhatWasLeftOutIsALine(t *testing.T) {
	k := newKeeper()
	k.chunk(t, 1, "one\ntwo\nthr")
	k.gap("ee\nfour\nfive\n")
	k.chunk(t, 2, "six\nseven\n")
	k.gap("eight\n")
	k.chunk(t, 3, "nine\n")
	r, ctx := k.reader(), t.Context()
	lines := func(from, to int64) []string { return shown(t, r.Lines(ctx, "n", 1, from, to)) }
	all := []string{"1@1:one$", "2@1:two$", "3@1:thr", "3@2:… 13 bytes left out …$", "6@2:six$", "7@2:seven$", "8@3:… 6 bytes left out …$", "9@3:nine$"}
	require.Equal(t, all, lines(0, 0))
	require.Equal(t, all[:2], lines(0, 2))
	require.Equal(t, all[:4], lines(0, 3))
	require.Equal(t, all[2:4], lines(3, 4))
	require.Equal(t, all[3:4], lines(4, 5), "a line that was left out")
	require.Equal(t, all[3:6], lines(5, 7))
	require.Equal(t, all[4:6], lines(6, 7)[len(lines(6, 7))-2:])
	require.Equal(t, all[7:], lines(9, 0)[len(lines(9, 0))-1:])
	size, err := r.Size(ctx, "n", 1)
	require.NoError(t, err)
	require.Equal(t, Size{Bytes: int64(len(k.text)), Lines: 9, Last: ms(3).UTC()}, size)

	var raw bytes.Buffer
	require.NoError(t, r.Raw(ctx, "n", 1, 0, 0, &raw))
	require.Equal(t, "one\ntwo\nthr\n… 13 bytes left out …\nsix\nseven\n\n… 6 bytes left out …\nnine\n", raw.String())
}

// Any lines of any chunks are those of the text.
func TestLinesOfAnyChunks(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 0))
		k := newKeeper()
		for range 1 + random.IntN(40) {
			text := []byte(strings.Repeat("x", 1+random.IntN(12)))
			for i := range text {
				if random.IntN(4) == 0 {
					text[i] = '\n'
				}
			}
			k.chunk(t, random.IntN(100), string(text))
		}
		all := strings.SplitAfter(string(k.text), "\n")
		if all[len(all)-1] == "" {
			all = all[:len(all)-1]
		}
		r := k.reader()
		from := int64(random.IntN(len(all) + 2))
		to := from + int64(random.IntN(5))
		var want []string
		for i, line := range all {
			if n := int64(i + 1); n >= from && (n <= to || to == 0) {
				want = append(want, line)
			}
		}
		var got []string
		number := max(from, 1)
		for l, err := range r.Lines(t.Context(), "n", 1, from, to) {
			require.NoError(t, err)
			require.Equal(t, number, l.Number)
			number++
			end := ""
			if l.Newline {
				end = "\n"
			}
			got = append(got, string(l.Text)+end)
		}
		require.Equal(t, want, got, "seed %d, lines %d to %d of %q", seed, from, to, k.text)

		begin := random.IntN(len(k.text) + 2)
		end := begin + random.IntN(30)
		var raw bytes.Buffer
		require.NoError(t, r.Raw(t.Context(), "n", 1, int64(begin), int64(end), &raw))
		if end == 0 {
			end = len(k.text)
		}
		require.Equal(t, string(k.text[min(begin, len(k.text)):min(end, len(k.text))]), raw.String(), "seed %d", seed)
	}
}

// A counted store notes how many chunks are read at once.
type counted struct {
	store.Logs
	batches []int
}

func (c *counted) Chunks(ctx context.Context, key store.ChunkKey, limit int) ([]store.Chunk, error) {
	found, err := c.Logs.Chunks(ctx, key, limit)
	c.batches = append(c.batches, len(found))
	return found, err
}

// Small chunks are read many at once, and large ones are not, as they stay in
// memory until whoever reads has taken them.
func TestBatches(t *testing.T) {
	k := newKeeper()
	large := strings.Repeat("0123456\n", store.MaxChunk/8)
	for i := range 50 {
		k.chunk(t, i, "small\n")
	}
	for i := range 4 {
		k.chunk(t, i, large)
	}
	for range 2 {
		k.chunk(t, 60, "small\n")
	}
	want := []int{1, 2, 4, 8, 16, 16, 9}
	c := &counted{Logs: k.store}
	r := NewReader(c, "b", 1)
	var raw bytes.Buffer
	require.NoError(t, r.Raw(t.Context(), "n", 1, 0, 0, &raw))
	require.Equal(t, string(k.text), raw.String())
	require.Equal(t, want, c.batches)

	c.batches = nil
	n := 0
	for _, err := range r.Lines(t.Context(), "n", 1, 0, 0) {
		require.NoError(t, err)
		n++
	}
	require.Equal(t, bytes.Count(k.text, newline), n)
	require.Equal(t, want, c.batches)

	k, c.batches = newKeeper(), nil
	for range 5 {
		k.chunk(t, 0, large)
	}
	c.Logs = k.store
	require.NoError(t, r.Raw(t.Context(), "n", 1, 0, 0, &raw))
	require.Equal(t, []int{1, 1, 1, 1, 1, 0}, c.batches)
}

func TestLongLinesComeInPieces(t *testing.T) {
	k := newKeeper()
	for range 5 {
		k.chunk(t, 1, strings.Repeat("x", 50_000))
	}
	k.chunk(t, 2, "\nshort\n")
	var offsets []int64
	total := 0
	for l, err := range k.reader().Lines(t.Context(), "n", 1, 1, 1) {
		require.NoError(t, err)
		require.LessOrEqual(t, len(l.Text), maxPiece)
		offsets = append(offsets, l.Offset)
		total += len(l.Text)
		require.Equal(t, total == 250_000, l.Newline)
	}
	require.Equal(t, []int64{0, maxPiece, 2 * maxPiece, 3 * maxPiece}, offsets)
	require.Equal(t, []string{"2@2:short$"}, shown(t, k.reader().Tail(t.Context(), "n", 1, 1)))
}

// broken is a store of logs of which a call fails.
type broken struct {
	store.Logs
	err error
	at  int // which call
}

func (b *broken) next() error {
	b.at--
	if b.at == 0 {
		return b.err
	}
	return nil
}

func (b *broken) Chunks(ctx context.Context, key store.ChunkKey, limit int) ([]store.Chunk, error) {
	if err := b.next(); err != nil {
		return nil, err
	}
	return b.Logs.Chunks(ctx, key, limit)
}

func (b *broken) ChunkAt(ctx context.Context, key store.ChunkKey, line int64) (int64, error) {
	if err := b.next(); err != nil {
		return 0, err
	}
	return b.Logs.ChunkAt(ctx, key, line)
}

func TestReaderTellsOfEveryError(t *testing.T) {
	k := newKeeper()
	for range 40 {
		k.chunk(t, 1, "line\n")
	}
	ctx, gone := t.Context(), errors.New("gone")
	drain := func(seq iter.Seq2[Line, error]) (failed error) {
		for _, err := range seq {
			failed = err
		}
		return failed
	}
	for name, read := range map[string]func(r *Reader) error{
		"lines":  func(r *Reader) error { return drain(r.Lines(ctx, "n", 1, 5, 0)) },
		"tail":   func(r *Reader) error { return drain(r.Tail(ctx, "n", 1, 5)) },
		"size":   func(r *Reader) error { _, err := r.Size(ctx, "n", 1); return err },
		"raw":    func(r *Reader) error { return r.Raw(ctx, "n", 1, 20, 0, new(bytes.Buffer)) },
		"follow": func(r *Reader) error { return drain(r.Follow(ctx, "n", 1, 9, Watch{Ended: ended})) },
		"search": func(r *Reader) error {
			_, err := r.Search(ctx, "n", 1, Query{Text: "x"}, func(Match) bool { return true })
			return err
		},
	} {
		for at := 1; ; at++ {
			b := &broken{Logs: k.store, err: gone, at: at}
			err := read(NewReader(b, "b", 1))
			if b.at > 0 {
				require.NoError(t, err, name)
				require.Greater(t, at, 2, name)
				break
			}
			require.ErrorIs(t, err, gone, "%s at call %d", name, at)
		}
	}
	require.ErrorIs(t, k.reader().Raw(ctx, "n", 1, 0, 0, failingWriter{gone}), gone)
}

type failingWriter struct{ error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.error }

func ended(context.Context) (bool, error) { return true, nil }

func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k, ctx := newKeeper(), t.Context()
		b, err := k.store.Enqueue(ctx, store.NewBuild("b", 1, store.Request{Project: "p"}, ms(0)))
		require.NoError(t, err)
		change := func(c store.Change) {
			b, err = k.store.Change(ctx, b.ID, c)
			require.NoError(t, err)
		}
		change(store.Claim{Agent: "a", Nonce: "n", Max: 1})
		hints, err := k.store.Watch(ctx, store.Watched{})
		require.NoError(t, err)

		got := make(chan string, 100)
		start := time.Now()
		go func() {
			defer close(got)
			w := Watch{Hints: hints, Poll: time.Hour, Ended: func(ctx context.Context) (bool, error) {
				events, err := k.store.Events(ctx, "b", 1, 3, 1)
				return len(events) > 0, err
			}}
			for l, err := range k.reader().Follow(ctx, "n", 1, 2, w) {
				require.NoError(t, err)
				got <- show(l)
			}
		}()
		synctest.Wait()
		k.chunk(t, 1, "one\ntw")
		synctest.Wait()
		require.Empty(t, got)
		k.chunk(t, 2, "o\nthree\nfo")
		synctest.Wait()
		require.Equal(t, "2@1:two$", <-got)
		require.Equal(t, "3@2:three$", <-got)
		require.Zero(t, time.Since(start), "a hint is enough")
		require.NoError(t, k.store.AppendEvents(ctx, store.EventKey{Build: "b", Fence: 1, Seq: 1}, []build.Event{
			{Seq: 1, Kind: build.BuildStarted}, {Seq: 2, Kind: build.AttemptEnded, Node: "n", Attempt: 2}}))
		k.chunk(t, 3, "ur")
		synctest.Wait()
		require.Empty(t, got)
		require.NoError(t, k.store.AppendEvents(ctx, store.EventKey{Build: "b", Fence: 1, Seq: 3}, []build.Event{
			{Seq: 3, Kind: build.AttemptEnded, Node: "n", Attempt: 1}}))
		require.Equal(t, "4@2:four", <-got)
		_, more := <-got
		require.False(t, more)
	})
}

// Without hints it polls; it ends with the build, or whoever reads.
func TestFollowEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeper()
		k.chunk(t, 1, "one\ntwo\n")
		closed := make(chan store.Hint)
		close(closed)
		n, start := 0, time.Now()
		w := Watch{Hints: closed, Ended: func(context.Context) (bool, error) { n++; return n > 3, nil }}
		require.Len(t, shown(t, k.reader().Follow(t.Context(), "n", 1, 0, w)), 2)
		require.Equal(t, 3*time.Second, time.Since(start))

		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		n = 0
		for _, err := range k.reader().Follow(ctx, "n", 1, 0, Watch{}) {
			require.NoError(t, err)
			if n++; n == 2 {
				cancel()
			}
		}
		for range k.reader().Follow(t.Context(), "n", 1, 0, Watch{}) {
			break
		}
		gone := errors.New("gone")
		for _, err := range k.reader().Follow(t.Context(), "other", 1, 0, Watch{Ended: func(context.Context) (bool, error) { return false, gone }}) {
			require.ErrorIs(t, err, gone)
		}
	})
}

func TestSearch(t *testing.T) {
	k := newKeeper()
	k.chunk(t, 1, "alpha\nBeta beta\ngam")
	k.chunk(t, 2, "ma\n")
	k.gap("beta\n")
	k.chunk(t, 3, "delta\nbeta\nend of beta\nx\ny\nz\n")
	search := func(q Query, most int) (Count, []string) {
		found := []string{}
		count, err := k.reader().Search(t.Context(), "n", 1, q, func(m Match) bool {
			text := ""
			for _, l := range m.Before {
				text += fmt.Sprintf("%d-", l.Number)
			}
			text += fmt.Sprintf("%d%v", m.Number, m.Spans)
			for _, l := range m.After {
				text += fmt.Sprintf("+%d", l.Number)
			}
			found = append(found, text)
			return len(found) < most
		})
		require.NoError(t, err)
		return count, found
	}
	for _, test := range []struct {
		query Query
		count Count
		found []string
	}{
		{Query{Text: "beta"}, Count{3, 3}, []string{"2[[5 9]]", "6[[0 4]]", "7[[7 11]]"}},
		{Query{Text: "beta", Fold: true}, Count{3, 4}, []string{"2[[0 4] [5 9]]", "6[[0 4]]", "7[[7 11]]"}},
		{Query{Text: "gamma"}, Count{1, 1}, []string{"3[[0 5]]"}},
		{Query{Text: "a", Context: 1}, Count{6, 9}, nil},
		{Query{Text: "beta", Context: 2}, Count{3, 3}, []string{"1-2[[5 9]]+3+4", "5-6[[0 4]]", "7[[7 11]]+8+9"}},
		{Query{Regex: "^(end|x)"}, Count{2, 2}, []string{"7[[0 3]]", "8[[0 1]]"}},
		{Query{Regex: "^END", Fold: true}, Count{1, 1}, []string{"7[[0 3]]"}},
		{Query{Text: "left out"}, Count{}, []string{}},
		{Query{Text: ".*"}, Count{}, []string{}},
		{Query{Text: ".", Fold: true}, Count{}, []string{}},
	} {
		count, found := search(test.query, 99)
		require.Equal(t, test.count, count, "%+v", test.query)
		if test.found != nil {
			require.Equal(t, test.found, found, "%+v", test.query)
		}
	}
	count, found := search(Query{Text: "beta", Context: 1}, 2)
	require.Equal(t, Count{3, 3}, count, "it counts on")
	require.Len(t, found, 2)

	for q, want := range map[Query]string{
		{}:                       "nothing to search for",
		{Text: "a", Regex: "a"}:  "for one of",
		{Regex: "("}:             "missing closing )",
		{Regex: "(", Fold: true}: "missing closing )",
	} {
		_, err := k.reader().Search(t.Context(), "n", 1, q, nil)
		require.ErrorContains(t, err, want)
	}
}

// A line that is longer than a piece is one line, however often it matches.
func TestSearchInALongLine(t *testing.T) {
	k := newKeeper()
	for range 4 {
		k.chunk(t, 1, "needle"+strings.Repeat("x", 60_000))
	}
	count, err := k.reader().Search(t.Context(), "n", 1, Query{Text: "needle"}, func(Match) bool { return true })
	require.NoError(t, err)
	require.Equal(t, Count{Lines: 1, Matches: 4}, count)
}
