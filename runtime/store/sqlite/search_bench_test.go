package sqlite

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/logs"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

var searchLines = flag.Int("search.lines", 200_000, "how many lines BenchmarkSearch looks through")

// vocabulary is what lines of logs are made of.
var vocabulary = strings.Fields(`the of compile link test ok FAIL error warning src/main.go internal/server handler request response connection timeout retry
download package module version cache hit miss step build running finished started elapsed seconds bytes written read file directory assertion expected
actual value goroutine stack trace panic recovered worker queue job agent deploy release production staging container image layer pull push registry`)

const (
	searchBuilds = 100
	searchOldest = "the Needle0ldest is here"
	searchSparse = "a sparse_needle stands here"
)

// BenchmarkSearch measures the first page of a search over the logs of a hundred
// builds, with their signatures and without: for a word of many lines, one of every
// tenth build, one of the oldest build alone and one of none.
//
//	go test ./runtime/store/sqlite -run '^$' -bench Search -search.lines 10000000 -timeout 1h
func BenchmarkSearch(b *testing.B) {
	s, err := Open(b.Context(), filepath.Join(b.TempDir(), "piper.db"), Options{})
	require.NoError(b, err)
	defer s.Close()
	size := fillLogs(b, s, *searchLines/searchBuilds)
	signLogs(b, s, size)

	for _, word := range []struct {
		name string
		q    logs.Query
		hits bool
	}{
		{"frequent", logs.Query{Text: "connection"}, true},
		{"sparse", logs.Query{Text: "sparse_needle"}, true},
		{"oldest", logs.Query{Text: "Needle0ldest"}, true},
		{"oldest-folded", logs.Query{Text: "NEEDLE0LDEST", Fold: true}, true},
		{"oldest-regex", logs.Query{Regex: `Needle\dldest.*here$`}, true},
		{"absent", logs.Query{Text: "nowhere to be found"}, false},
	} {
		for _, with := range []struct {
			name string
			store.Store
			signed bool
		}{{"signed", s, true}, {"bare", struct{ store.Store }{s}, false}} {
			b.Run(word.name+"/"+with.name, func(b *testing.B) {
				var page logs.Page
				for range b.N {
					var err error
					page, err = logs.ScanOf(with.Store).Search(b.Context(), logs.Wide{Query: word.q}, "", 100)
					require.NoError(b, err)
				}
				if with.signed {
					require.Equal(b, word.hits, len(page.Hits) > 0)
				}
				b.ReportMetric(float64(len(page.Hits)), "hits")
				b.ReportMetric(float64(page.Lines), "lines")
			})
		}
	}
}

// signLogs makes the signatures of all builds.
func signLogs(b *testing.B, s *Store, size int) {
	begin, kept := time.Now(), int64(0)
	for i := range searchBuilds {
		built, err := s.Build(b.Context(), buildNth(i))
		require.NoError(b, err)
		require.NoError(b, logs.Sign(b.Context(), s, built))
		r, err := s.Signature(b.Context(), built.ID, built.Fence)
		require.NoError(b, err)
		info, err := r.(*os.File).Stat()
		require.NoError(b, err)
		kept += info.Size()
		require.NoError(b, r.Close())
	}
	b.Logf("signed %d MB at %.0f MB/s; signatures are %.1f %% of the logs", size/1e6, float64(size)/1e6/time.Since(begin).Seconds(), 100*float64(kept)/float64(size))
}

func buildNth(i int) build.ID { return build.ID(fmt.Sprintf("build-%03d", i)) }

// fillLogs has each of the builds write some lines, and returns how many bytes all
// are.
func fillLogs(b *testing.B, s *Store, each int) (size int) {
	ctx := b.Context()
	digest, err := store.PutPlan(ctx, s, &plan.Plan{Format: 1, Pipeline: "build", Nodes: []plan.Node{{Name: "unit", Step: &plan.Step{Script: "true"}}}})
	require.NoError(b, err)
	for i := range searchBuilds {
		n, err := s.NextNumber(ctx)
		require.NoError(b, err)
		built, err := s.Enqueue(ctx, store.NewBuild(buildNth(i), n, store.Request{Project: "p", Pipeline: "build"}, at.Add(time.Duration(i)*time.Minute)))
		require.NoError(b, err)
		for _, c := range []store.Change{store.Claim{Agent: "a", Nonce: "n", Max: 3, At: at}, store.Planned{Agent: "a", Fence: 1, Commit: "c", Plan: digest, Total: 1}, store.Complete{Agent: "a", Fence: 1, State: build.Success, At: at}} {
			_, err = s.Change(ctx, built.ID, c)
			require.NoError(b, err)
		}
		require.NoError(b, s.AppendEvents(ctx, store.EventKey{Build: built.ID, Fence: 1, Seq: 1}, []build.Event{
			{Seq: 1, Time: at, Kind: build.BuildStarted}, {Seq: 2, Time: at, Kind: build.AttemptStarted, Node: "unit", Attempt: 1},
			{Seq: 3, Time: at, Kind: build.AttemptEnded, Node: "unit", Attempt: 1, State: build.Success}, {Seq: 4, Time: at, Kind: build.BuildEnded, State: build.Success},
		}))
		data := logOf(i, each)
		size += len(data)
		key := store.ChunkKey{Build: built.ID, Fence: 1, Node: "unit", Attempt: 1}
		var chunks []store.Chunk
		for line, offset := int64(0), int64(0); len(data) > 0; key.Seq++ {
			c := store.Chunk{Key: key, Line: line, Offset: offset, Data: data[:min(len(data), store.MaxChunk)], Times: []store.Stamp{{At: at}}}
			data = data[len(c.Data):]
			c.Lines = int64(bytes.Count(c.Data, []byte("\n")))
			line, offset = line+c.Lines, offset+int64(len(c.Data))
			if chunks = append(chunks, c); len(chunks) == 64 || len(data) == 0 {
				require.NoError(b, s.AppendChunks(ctx, chunks))
				chunks = nil
			}
		}
	}
	return size
}

// logOf is what a build writes.
func logOf(i, lines int) []byte {
	r := rand.New(rand.NewPCG(uint64(i), 7))
	var b bytes.Buffer
	for k := range lines {
		switch {
		case i == 0 && k == lines/2:
			b.WriteString(searchOldest + "\n")
			continue
		case i%10 == 5 && k == lines/3:
			b.WriteString(searchSparse + "\n")
			continue
		}
		fmt.Fprintf(&b, "2026-03-01T12:%02d:%02d.%03dZ ", r.IntN(60), r.IntN(60), r.IntN(1000))
		for range 6 {
			b.WriteString(vocabulary[r.IntN(len(vocabulary))] + " ")
		}
		fmt.Fprintf(&b, "id=%08x n=%d\n", r.Uint32(), k)
	}
	return b.Bytes()
}
