package logs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/logs"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

// A signing is a store that keeps signatures, and counts the chunks that are read.
type signing struct {
	*store.Memory
	kept map[build.ID][]byte
	read int
	full error // of what is to be written; nil is none
}

func newSigning() *signing { return &signing{Memory: store.NewMemory(), kept: map[build.ID][]byte{}} }

func (s *signing) Chunks(ctx context.Context, key store.ChunkKey, limit int) ([]store.Chunk, error) {
	found, err := s.Memory.Chunks(ctx, key, limit)
	s.read += len(found)
	return found, err
}

func (s *signing) Signature(_ context.Context, id build.ID, _ int64) (io.ReadCloser, error) {
	data, ok := s.kept[id]
	if !ok {
		return nil, store.ErrNotFound
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

func (s *signing) Sign(_ context.Context, id build.ID, _ int64) (store.Signature, error) {
	return &signature{s: s, id: id}, nil
}

type signature struct {
	bytes.Buffer
	s  *signing
	id build.ID
}

func (g *signature) Write(p []byte) (int, error) {
	if g.s.full != nil {
		return 0, g.s.full
	}
	return g.Buffer.Write(p)
}

func (g *signature) Keep() error {
	g.s.kept[g.id] = bytes.Clone(g.Bytes())
	return nil
}

func (g *signature) Close() error { return nil }

// scanned is a time like any other.
var scanned = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// An attempt is the chunks of one, of some step.
type attempt struct {
	step   string
	chunks []store.Chunk // without their keys
}

// keeps has a build that wrote something, and has ended as an agent ends it unless
// ends is false.
func (s *signing) keeps(t testing.TB, ends bool, wrote ...attempt) store.Build {
	ctx := t.Context()
	n, err := s.NextNumber(ctx)
	require.NoError(t, err)
	b, err := s.Enqueue(ctx, store.NewBuild(build.ID(fmt.Sprint("build-", n)), n, store.Request{Project: "p"}, scanned))
	require.NoError(t, err)
	digest, err := store.PutPlan(ctx, s, &plan.Plan{Format: 1, Pipeline: "unit", Nodes: []plan.Node{{Name: "unit", Step: &plan.Step{Script: "true"}}}})
	require.NoError(t, err)
	for _, c := range []store.Change{store.Claim{Agent: "a", Nonce: "n", Max: 3, At: scanned}, store.Planned{Agent: "a", Fence: 1, Commit: "c", Plan: digest, Total: 1}} {
		_, err = s.Change(ctx, b.ID, c)
		require.NoError(t, err)
	}
	events := []build.Event{{Seq: 1, Time: scanned, Kind: build.BuildStarted}}
	happens := func(kind build.Kind, step string, attempt int) {
		events = append(events, build.Event{Seq: int64(len(events) + 1), Time: scanned, Kind: kind, Node: step, Attempt: attempt})
	}
	tries := map[string]int{}
	for _, a := range wrote {
		tries[a.step]++
		happens(build.AttemptStarted, a.step, tries[a.step])
		happens(build.AttemptEnded, a.step, tries[a.step])
		for i := range a.chunks {
			a.chunks[i].Key = store.ChunkKey{Build: b.ID, Fence: 1, Node: a.step, Attempt: tries[a.step], Seq: int64(i)}
		}
		require.NoError(t, s.AppendChunks(ctx, a.chunks))
	}
	if ends {
		happens(build.BuildEnded, "", 0)
	}
	require.NoError(t, s.AppendEvents(ctx, store.EventKey{Build: b.ID, Fence: 1, Seq: 1}, events))
	b, err = s.Change(ctx, b.ID, store.Complete{Agent: "a", Fence: 1, State: build.Success, At: scanned})
	require.NoError(t, err)
	return b
}

// wrote is an attempt that wrote a text, in chunks of a size.
func wrote(step, text string, size int) attempt {
	a := attempt{step: step}
	var line, offset int64
	for data := []byte(text); len(data) > 0; {
		c := store.Chunk{Line: line, Offset: offset, Data: data[:min(size, len(data))]}
		data = data[len(c.Data):]
		c.Lines = int64(bytes.Count(c.Data, []byte("\n")))
		line, offset = line+c.Lines, offset+int64(len(c.Data))
		a.chunks = append(a.chunks, c)
	}
	return a
}

// bare is a store without what it has beside a Store.
func bare(s *signing) store.Store { return struct{ store.Store }{s} }

// pages are those of a search.
func pages(t testing.TB, s store.Store, q logs.Wide, limit int) (all []logs.Page) {
	for cursor := ""; ; {
		page, err := logs.ScanOf(s).Search(t.Context(), q, cursor, limit)
		require.NoError(t, err)
		all = append(all, page)
		if cursor = page.Next; cursor == "" {
			return all
		}
	}
}

func text(text string) logs.Wide { return logs.Wide{Query: logs.Query{Text: text}} }
func expr(expr string) logs.Wide { return logs.Wide{Query: logs.Query{Regex: expr}} }
func fold(text string) logs.Wide { return logs.Wide{Query: logs.Query{Text: text, Fold: true}} }

// hay is what nothing is to be found in.
const hay = "nothing but hay on line\n"

func TestWhatASignatureRulesOutIsNotRead(t *testing.T) {
	s := newSigning()
	for range 3 {
		s.keeps(t, true, wrote("unit", strings.Repeat(hay, 5_000), store.MaxChunk), wrote("lint", hay+"the Needle-42 is here\n"+hay, 7))
	}
	pages(t, s, text("a search that reads all of it"), 10)
	require.Len(t, s.kept, 3)
	for name, test := range map[string]struct {
		q    logs.Wide
		hits int
		all  bool // is read
	}{
		"text":                   {q: text("Needle-42"), hits: 3},
		"nowhere":                {q: text("thread")},
		"other case":             {q: text("needle-42"), all: true},
		"folded":                 {q: fold("NEEDLE-42"), hits: 3},
		"folded, nowhere":        {q: fold("THREAD")},
		"short":                  {q: text("dl"), hits: 3, all: true},
		"no bytes to go by":      {q: fold("ks"), all: true},
		"expression":             {q: expr(`N\w+e-\d+`), hits: 3, all: true},
		"with a literal":         {q: expr(`^the (Need)le-\d+\b`), hits: 3},
		"with one of many":       {q: expr(`(?:hay|[Nn](eedle){1,2}-)4[0-9]`), hits: 3, all: true},
		"repeated":               {q: expr(`(?:eedle){1,2}-4`), hits: 3},
		"repeated, nowhere":      {q: expr(`.*(thread)+`)},
		"not there at all":       {q: expr(`hay(thread)*`), hits: 10, all: true},
		"folded expression":      {q: expr(`(?i)THE nEEDLE`), hits: 3},
		"beyond ASCII":           {q: fold("日本語")},
		"beyond ASCII, in cases": {q: fold("größe"), all: true},
		"across lines":           {q: expr(`here\nnothing`)},
		"step":                   {q: logs.Wide{Query: text("Needle").Query, Step: "unit"}},
	} {
		t.Run(name, func(t *testing.T) {
			want := pages(t, bare(s), test.q, 10)
			s.read = 0
			require.Equal(t, want, pages(t, s, test.q, 10))
			require.Len(t, want[0].Hits, test.hits)
			if !test.all {
				require.LessOrEqual(t, s.read, 3*test.hits*16, "chunks")
			}
			if !test.all && test.hits == 0 {
				require.Zero(t, s.read)
			}
		})
	}
}

func TestOnlyWhatStaysIsSigned(t *testing.T) {
	s := newSigning()
	q := text("needle")
	died := s.keeps(t, false, wrote("unit", hay, 100))
	whole := s.keeps(t, true, wrote("unit", hay+"needle\n", 100))
	one := q
	one.Step = "unit"
	pages(t, s, one, 10)
	require.Empty(t, s.kept, "it looked at one step alone")
	pages(t, s, text("ne"), 10)
	require.Empty(t, s.kept, "it could make no use of one")
	require.NoError(t, logs.Sign(t.Context(), s, died))
	require.Empty(t, s.kept, "more may come")
	require.NoError(t, logs.Sign(t.Context(), s, store.Build{ID: "x"}), "it was not planned")
	require.NoError(t, logs.Sign(t.Context(), bare(s), whole), "it has no place for one")
	require.NoError(t, logs.Sign(t.Context(), s, whole))
	require.Len(t, s.kept, 1)
	made := s.kept[whole.ID]
	clear(s.kept)
	pages(t, s, q, 10)
	require.Equal(t, map[build.ID][]byte{whole.ID: made}, s.kept, "a search makes the same of what it read")
	clear(s.kept)
	pages(t, s, text("hay"), 1)
	require.Empty(t, s.kept, "it read a part")

	s.full = errors.New("no room")
	require.ErrorIs(t, logs.Sign(t.Context(), s, whole), s.full)
	require.Len(t, pages(t, s, q, 10)[0].Hits, 1, "one that cannot be kept does no harm")
	require.Empty(t, s.kept)
	s.full = nil
	long := s.keeps(t, true, wrote(strings.Repeat("x", 100_000), hay, 100))
	require.ErrorContains(t, logs.Sign(t.Context(), s, long), "record of")
}

// What was damaged on disk is read, whatever of it was, and signed anew.
func TestADamagedSignatureIsNotBelieved(t *testing.T) {
	defer logs.SetBlockSize(1000)()
	s := newSigning()
	b := s.keeps(t, true, wrote("unit", strings.Repeat(hay, 200), 700), wrote("unit", strings.Repeat(hay, 200)+"needle\n"+hay, 700))
	want := pages(t, bare(s), text("needle"), 10)
	require.NoError(t, logs.Sign(t.Context(), s, b))
	made := s.kept[b.ID]
	for i := 0; i < len(made); i += 1 + i/50 {
		for name, damaged := range map[string][]byte{"cut off": made[:i], "changed": bytes.Join([][]byte{made[:i], {^made[i]}, made[i+1:]}, nil), "doubled": append(bytes.Clone(made[:i]), made...)} {
			s.kept[b.ID] = damaged
			require.Equal(t, want, pages(t, s, text("needle"), 10), "%s at %d", name, i)
			if bytes.HasPrefix(damaged, made) {
				continue // it is whole
			}
			require.Equal(t, want, pages(t, s, text("needle"), 10))
			require.Equal(t, made, s.kept[b.ID], "%s at %d", name, i)
		}
	}
}

// words are what texts and needles are made of: what folds to more than one byte, and
// what is no UTF-8, among others.
var words = []string{"k", "K", "\u212a", "s", "S", "ſ", "a", "B", "ab", "é", "É", "ß", "\xff", "\xe2\x84", "\ufffd", "日", "\r", "\x00", " ", "1", "needle", "NEEDLE", "kiss"}

func randomText(r *rand.Rand, words []string, n int) string {
	var b strings.Builder
	for range n {
		b.WriteString(words[r.IntN(len(words))])
	}
	return b.String()
}

// randomAttempt cuts a text somehow, and may leave out some of it.
func randomAttempt(r *rand.Rand) attempt {
	var b strings.Builder
	for range r.IntN(40) {
		n := r.IntN(12)
		if r.IntN(500) == 0 {
			n = 30_000 // beyond a piece
		}
		b.WriteString(randomText(r, words[r.IntN(len(words)):], n))
		if r.IntN(10) > 0 {
			b.WriteByte('\n')
		}
	}
	size := []int{1 + r.IntN(30), 1000, store.MaxChunk}[r.IntN(3)]
	if b.Len() > 50_000 {
		size = max(size, 1000)
	}
	a := wrote([]string{"unit", "lint"}[r.IntN(2)], b.String(), size)
	if len(a.chunks) > 2 && r.IntN(2) == 0 {
		const bytes, lines = 1000, 5
		at := 1 + r.IntN(len(a.chunks)-1)
		for i := range a.chunks[at:] {
			a.chunks[at+i].Offset += bytes
			a.chunks[at+i].Line += lines
		}
		a.chunks[at].Cut = bytes
	}
	return a
}

// randomExpr is an expression, which may not be valid.
func randomExpr(r *rand.Rand, depth int) string {
	if depth == 0 {
		return regexp.QuoteMeta(strings.ToValidUTF8(randomText(r, words, 1+r.IntN(4)), "?"))
	}
	sub := func() string { return randomExpr(r, depth-1) }
	switch r.IntN(12) {
	case 0:
		return "(" + sub() + ")"
	case 1:
		return "(?i:" + sub() + ")"
	case 2:
		return "(?:" + sub() + "|" + sub() + ")"
	case 3:
		return "(?:" + sub() + ")" + []string{"*", "+", "?", "{0,2}", "{1,2}", "{2}", "+?"}[r.IntN(7)]
	case 4:
		return []string{".", ".*", `\d+`, "[a-k]", "[^a]", `\b`, "^", "$", `\n`, `\x{fffd}`, "[kK]", "[sS\u017f]"}[r.IntN(12)]
	default:
		return sub() + sub()
	}
}

// Whatever is looked for, in whatever text: with signatures a search finds and counts
// what it does without.
func TestSignaturesChangeNothing(t *testing.T) {
	defer logs.SetBlockSize(200)()
	rounds := 30
	if testing.Short() {
		rounds = 5
	}
	sifted, found := 0, 0
	for round := range rounds {
		r := rand.New(rand.NewPCG(uint64(round), 1))
		s := newSigning()
		for range 1 + r.IntN(4) {
			var all []attempt
			for range 1 + r.IntN(4) {
				all = append(all, randomAttempt(r))
			}
			b := s.keeps(t, r.IntN(8) > 0, all...)
			if r.IntN(2) == 0 {
				require.NoError(t, logs.Sign(t.Context(), s, b))
			}
		}
		for range 25 {
			var q logs.Wide
			q.Fold = r.IntN(2) == 0
			if r.IntN(2) == 0 {
				q.Text = randomText(r, words, 1+r.IntN(4))
			} else {
				q.Regex = randomExpr(r, 3)
			}
			if r.IntN(5) == 0 {
				q.Step = "unit"
			}
			if _, err := q.Compile(); err != nil {
				continue
			}
			limit := []int{3, 20, 100}[r.IntN(3)]
			s.read = 0
			want := pages(t, bare(s), q, limit)
			all := s.read
			s.read = 0
			require.Equal(t, want, pages(t, s, q, limit), "round %d: %+q, fold %v, step %q, %d a page", round, q.Text+q.Regex, q.Fold, q.Step, limit)
			if s.read < all {
				sifted++
			}
			found += len(want[0].Hits)
		}
	}
	require.NotZero(t, sifted)
	require.NotZero(t, found)
}

// Where something is left out, and no line ended in it, two lines have one number.
func TestLinesOfOneNumberAreInOneBlock(t *testing.T) {
	defer logs.SetBlockSize(1)()
	s := newSigning()
	b := s.keeps(t, true, attempt{step: "unit", chunks: []store.Chunk{{Data: []byte("hay")}, {Offset: 1003, Cut: 1000, Lines: 1, Data: []byte("needle\n")}}})
	require.NoError(t, logs.Sign(t.Context(), s, b))
	want := pages(t, bare(s), text("needle"), 10)
	require.Equal(t, int64(2), want[0].Lines)
	require.Equal(t, want, pages(t, s, text("needle"), 10))
}
