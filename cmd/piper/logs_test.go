package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
	"github.com/piper-build/piper/runtime/store/sqlite"
)

// A shelf is a store on this machine, and piper asked about it.
type shelf struct {
	t   *testing.T
	dir string
}

// open opens the store for as long as do runs.
func (s *shelf) open(do func(ctx context.Context, at *sqlite.Store)) {
	s.t.Helper()
	at, err := sqlite.Open(s.t.Context(), filepath.Join(s.dir, "piper.db"), sqlite.Options{})
	require.NoError(s.t, err)
	do(s.t.Context(), at)
	require.NoError(s.t, at.Close())
}

// spoke makes a build whose steps wrote chunks, and which has ended.
func (s *shelf) spoke(created time.Time, wrote map[string][]store.Chunk) (b store.Build) {
	s.t.Helper()
	s.open(func(ctx context.Context, at *sqlite.Store) {
		number, err := at.NextNumber(ctx)
		require.NoError(s.t, err)
		b, err = at.Enqueue(ctx, store.NewBuild(build.NewID(created), number, store.Request{Project: "shop", Pipeline: "build", Params: map[string]string{"a": "b"}}, created))
		require.NoError(s.t, err)
		p := &plan.Plan{Format: 1, Pipeline: "build"}
		events := []build.Event{{Seq: 1, Time: created, Kind: build.BuildStarted}}
		var chunks []store.Chunk
		for _, step := range slices.Sorted(maps.Keys(wrote)) {
			p.Nodes = append(p.Nodes, plan.Node{Name: step, Step: &plan.Step{Script: "true"}})
			for _, kind := range []build.Kind{build.AttemptStarted, build.AttemptEnded} {
				ev := build.Event{Seq: int64(len(events) + 1), Time: created, Kind: kind, Node: step, Attempt: 1}
				if kind == build.AttemptEnded {
					ev.State = build.Success
				}
				events = append(events, ev)
			}
			for i, c := range wrote[step] {
				c.Key = store.ChunkKey{Build: b.ID, Fence: 1, Node: step, Attempt: 1, Seq: int64(i)}
				chunks = append(chunks, c)
			}
		}
		events = append(events, build.Event{Seq: int64(len(events) + 1), Time: created, Kind: build.BuildEnded, State: build.Success})
		digest, err := store.PutPlan(ctx, at, p)
		require.NoError(s.t, err)
		for _, c := range []store.Change{
			store.Claim{Agent: "a", Nonce: "n", Max: 3, At: created},
			store.Planned{Agent: "a", Fence: 1, Commit: "c0ffee", Plan: digest, Total: len(p.Nodes)},
			store.Complete{Agent: "a", Fence: 1, State: build.Success, At: created},
			store.Settle{Chore: store.Chore{Verb: store.StartAfter}},
		} {
			b, err = at.Change(ctx, b.ID, c)
			require.NoError(s.t, err)
		}
		require.NoError(s.t, at.AppendEvents(ctx, store.EventKey{Build: b.ID, Fence: 1, Seq: 1}, events))
		require.NoError(s.t, at.AppendChunks(ctx, chunks))
	})
	return b
}

// said are chunks of a text that came all at once.
func said(at time.Time, text string) []store.Chunk {
	return []store.Chunk{{Lines: int64(bytes.Count([]byte(text), []byte("\n"))), Times: []store.Stamp{{At: at}}, Data: []byte(text)}}
}

// piper runs piper on the store.
func (s *shelf) piper(args ...string) (code int, stdout, stderr string) {
	s.t.Helper()
	var out, err bytes.Buffer
	args = append(slices.Clone(args), "--store", "sqlite:"+filepath.Join(s.dir, "piper.db"))
	code = run(s.t.Context(), args, nil, &out, &err, "HOME="+s.dir, "PATH="+os.Getenv("PATH"))
	return code, out.String(), err.String()
}

func TestLogsSince(t *testing.T) {
	s := &shelf{t, t.TempDir()}
	for hours := 5; hours > 0; hours -= 2 {
		at := now().Add(-time.Duration(hours) * time.Hour)
		s.spoke(at, map[string][]store.Chunk{"unit": said(at, fmt.Sprintf("the needle of %d hours ago\n", hours))})
	}
	for since, want := range map[string][]string{
		"2h":  {"3 unit:1: the needle of 1 hours ago\n", "1 match in 1 line looked at"},
		"4h":  {"3 unit:1: the needle of 1 hours ago\n2 unit:1: the needle of 3 hours ago\n", "2 matches in 2 lines looked at"},
		"72h": {"3 unit:1: the needle of 1 hours ago\n2 unit:1: the needle of 3 hours ago\n1 unit:1: the needle of 5 hours ago\n", "3 matches in 3 lines looked at"},
		"10m": {"", "0 matches in 0 lines looked at"},
	} {
		code, stdout, stderr := s.piper("logs", "--search", "needle", "--since", since)
		require.Equal(t, want[0], stdout, since)
		require.Equal(t, "piper: "+want[1]+"\n", stderr, since)
		require.Equal(t, want[0] == "", code == exitFailed, since)
	}
}

func TestADiffSaysWhatItWasNotHeldAgainst(t *testing.T) {
	var out, errs bytes.Buffer
	g := &reading{app: &app{stdout: &output{to: &out}, stderr: &errs}}
	require.NoError(t, g.showDiff(api.LogDiff{Base: api.BuildRef{Number: 7}, Steps: []api.StepDiff{
		{Step: "long", New: 3, Base: true, Capped: true, Hits: []api.Match{{Line: api.Line{Number: 9, Text: "a"}}, {Line: api.Line{Number: 12, Text: "b"}}}},
		{Step: "fresh", New: 1, Hits: []api.Match{{Line: api.Line{Number: 1, Text: "c"}}}},
		{Step: "same", Base: true},
		{Step: "same-and-long", Base: true, Capped: true},
	}}))
	require.Equal(t, "+ long:9: a\n  ...\n+ long:12: b\n  ... and 1 more of long\n+ fresh:1: c\n", out.String())
	require.Equal(t, "piper: 4 lines of 2 steps new since build 7\n"+
		"piper: long wrote so much there that its end was not looked at: there may be less that is new\n"+
		"piper: fresh wrote nothing there\n", errs.String())
}
