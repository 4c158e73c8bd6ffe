package fsck_test

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
	"github.com/piper-build/piper/runtime/store/fsck"
)

var at = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const owner store.AgentID = "agent-a"

// A does is a change that does what it is told, guards or not.
type does func(b *store.Build)

func (d does) Apply(b *store.Build) (bool, error) { d(b); return true, nil }

// A world is a store with one build that went through everything: it was
// rescued once, held a group, wrote output and triggered another build.
type world struct {
	*store.Memory
	t      *testing.T
	plan   *plan.Plan
	events []build.Event
	chunks []store.Chunk
	child  store.Build
	orphan bool // the child is not kept
}

func newWorld(t *testing.T) *world {
	w := &world{Memory: store.NewMemory(), t: t, plan: &plan.Plan{Format: plan.Format, Pipeline: "p", Nodes: []plan.Node{
		{Name: "unit", Step: &plan.Step{Script: "make"}},
		{Name: "deploy", Needs: []string{"unit"}, More: &plan.More{Trigger: &plan.Trigger{Pipeline: "deploy"}}},
	}}}
	exit := 0
	w.child = store.NewBuild(store.Derive("trigger", "b", "deploy"), 2, store.Request{Project: "shop", Pipeline: "deploy", Cause: store.Cause{Kind: "trigger", Build: "b", Node: "deploy"}}, at)
	w.events = []build.Event{
		{Seq: 1, Time: at, Kind: build.BuildStarted},
		{Seq: 2, Time: at, Kind: build.AttemptStarted, Node: "unit", Attempt: 1},
		{Seq: 3, Time: at, Kind: build.AttemptEnded, Node: "unit", Attempt: 1, State: build.Success, Exit: &exit},
		{Seq: 4, Time: at, Kind: build.AttemptStarted, Node: "deploy", Attempt: 1},
		{Seq: 5, Time: at, Kind: build.NodeTriggered, Node: "deploy", Child: w.child.ID},
		{Seq: 6, Time: at, Kind: build.BuildEnded, State: build.Success},
	}
	key := func(seq int64) store.ChunkKey {
		return store.ChunkKey{Build: "b", Fence: 2, Node: "unit", Attempt: 1, Seq: seq}
	}
	w.chunks = []store.Chunk{
		{Key: key(0), Lines: 1, Data: []byte("one\ntw")},
		{Key: key(1), Line: 1, Lines: 1, Offset: 6, Data: []byte("o\n")},
		{Key: key(2), Line: 9, Lines: 1, Offset: 108, Cut: 100, Data: []byte("ten\n")},
	}
	return w
}

// keep writes the build down as it is, however wrong.
func (w *world) keep(change func(*store.Build)) {
	ctx := w.t.Context()
	_, err := w.Enqueue(ctx, store.NewBuild("b", 1, store.Request{Project: "shop", Pipeline: "release"}, at))
	require.NoError(w.t, err)
	require.NoError(w.t, w.PutBlob(ctx, w.plan.Digest(), w.plan.Canonical()))
	folded, err := build.Fold(w.plan, w.events)
	require.NoError(w.t, err)
	for _, c := range []store.Change{
		store.Claim{Agent: owner, Nonce: "1", Max: 3, At: at},
		store.Planned{Agent: owner, Fence: 1, Plan: w.plan.Digest(), Groups: []string{"prod"}, Total: 2},
		store.Rescue{Owner: owner, Fence: 1, Max: 3, At: at},
		store.Claim{Agent: owner, Fence: 2, Nonce: "2", Max: 3, At: at},
		store.Fire{Agent: owner, Fence: 3, Node: "deploy", Outgoing: store.Outgoing{Child: w.child.ID, Request: w.child.Request}},
		store.Settle{Chore: store.Chore{Verb: store.EnqueueChild, Target: "deploy"}},
		store.Complete{Agent: owner, Fence: 3, State: build.Success, Progress: folded.Progress(), At: at},
		store.Settle{Chore: store.Chore{Verb: store.Release, Target: "prod"}},
	} {
		_, err := w.Change(ctx, "b", c)
		require.NoError(w.t, err)
	}
	if change != nil {
		_, err = w.Change(ctx, "b", does(change))
		require.NoError(w.t, err)
	}
	if !w.orphan {
		_, err = w.Enqueue(ctx, w.child)
		require.NoError(w.t, err)
	}
	require.NoError(w.t, w.AppendEvents(ctx, store.EventKey{Build: "b", Fence: 3, Seq: 1}, w.events))
	for i := range w.chunks {
		w.chunks[i].Key.Fence = 3
	}
	require.NoError(w.t, w.AppendChunks(ctx, w.chunks))
}

func (w *world) findings() (found []string, counts fsck.Counts) {
	counts, err := fsck.Check(w.t.Context(), w, func(f fsck.Finding) {
		require.Contains(w.t, fsck.Codes, f.Code)
		found = append(found, strings.TrimPrefix(f.String(), "build 1 (b): "))
	})
	require.NoError(w.t, err)
	require.Equal(w.t, len(found), counts.Findings)
	return found, counts
}

func TestNothingIsWrong(t *testing.T) {
	w := newWorld(t)
	w.keep(nil)
	found, counts := w.findings()
	require.Empty(t, found)
	require.Equal(t, fsck.Counts{Builds: 2, Events: 6, Chunks: 3, Bytes: 12}, counts)
}

// An agent ends a build for what it does to the machine.
func TestWhatWasEndedByItsAgentHasFailed(t *testing.T) {
	w := newWorld(t)
	w.events = append(w.events[:2:2],
		build.Event{Seq: 3, Time: at, Kind: build.CancelRequested, Reason: "the disk is full", Force: true},
		build.Event{Seq: 4, Time: at, Kind: build.AttemptEnded, Node: "unit", Attempt: 1, State: build.Cancelled},
		build.Event{Seq: 5, Time: at, Kind: build.NodeSkipped, Node: "deploy", State: build.Cancelled, Reason: "cancelled: the disk is full"},
		build.Event{Seq: 6, Time: at, Kind: build.BuildEnded, State: build.Cancelled, Reason: "cancelled: the disk is full"})
	w.keep(func(b *store.Build) { b.State = build.Failed })
	found, _ := w.findings()
	require.Empty(t, found)
}

func TestWhatIsWrongIsFound(t *testing.T) {
	seen := map[string]bool{}
	for name, test := range map[string]struct {
		before func(w *world) // is kept
		build  func(b *store.Build)
		after  func(w *world)
		want   []string
	}{
		"a state that is none":   {build: func(b *store.Build) { b.State = "jolly" }, want: []string{`state: there is no state "jolly"`, "events: by them it is success, and it is jolly"}},
		"nobody has it":          {build: func(b *store.Build) { b.State = build.Running; b.Ended = time.Time{} }, want: []string{"state: it runs, and nobody has it"}},
		"somebody has it":        {build: func(b *store.Build) { b.Owner = owner }, want: []string{"state: it is success, and agent-a has it"}},
		"no end":                 {build: func(b *store.Build) { b.Ended = time.Time{} }, want: []string{"state: it has ended, and nobody knows when"}},
		"an end too early":       {build: func(b *store.Build) { b.State = build.Queued }, want: []string{"state: it is queued, and has ended at 2026-03-01 12:00:00 +0000 UTC"}},
		"cancelled in the queue": {build: func(b *store.Build) { b.State, b.Ended, b.Cancel = build.Queued, time.Time{}, &store.Cancel{} }, want: []string{"state: it is queued, and was cancelled"}},
		"attempts from nowhere":  {build: func(b *store.Build) { b.Attempt = 9 }, want: []string{"state: it had 9 attempts under 3 fences"}},
		"other words":            {build: func(b *store.Build) { b.Hash = "x" }, want: []string{"request: its hash is x, that of the request " + store.Request{Project: "shop", Pipeline: "release"}.Hash()}},
		"no plan":                {build: func(b *store.Build) { b.Plan = "sha256:none" }, want: []string{"plan: sha256:none is not there"}},
		"another plan": {build: func(b *store.Build) { b.Plan = "sha256:other" }, after: func(w *world) { require.NoError(t, w.PutBlob(t.Context(), "sha256:other", []byte("{}"))) },
			want: []string{"plan: sha256:other is there, and has the digest sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"}},
		"no plan but its digest": {build: func(b *store.Build) {
			b.Plan = "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
		},
			after: func(w *world) {
				require.NoError(t, w.PutBlob(t.Context(), "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a", []byte("{}")))
			},
			want: []string{"plan: sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a: decode plan: unknown plan format: it has format 0, this piper reads format 1"}},
		"a plan cut short": {build: func(b *store.Build) { b.Plan = "sha256:cut" }, after: func(w *world) { require.NoError(t, w.PutBlob(t.Context(), "sha256:cut", []byte("\x1f\x8b"))) },
			want: []string{"plan: sha256:cut: decompress plan: unexpected EOF"}},
		"events that cannot be": {after: func(w *world) {
			require.NoError(t, w.AppendEvents(t.Context(), store.EventKey{Build: "b", Fence: 1, Seq: 1}, []build.Event{{Seq: 1, Time: at, Kind: build.AttemptStarted, Node: "unit", Attempt: 1}}))
		}, want: []string{"events: fence 1, event 1: "}},
		"events that end otherwise": {build: func(b *store.Build) { b.State = build.Failed }, want: []string{"events: by them it is success, and it is failed"}},
		"no events":                 {before: func(w *world) { w.chunks = nil }, build: func(b *store.Build) { b.Fence++ }, want: []string{"events: by them it is queued, and it is success"}},
		"another progress":          {build: func(b *store.Build) { b.Progress.Done = 1 }, want: []string{"events: by them its progress is {Total:2 Running:0 Done:2 Failed:0 Skipped:0 Asking:0}, and it is {Total:2 Running:0 Done:1 Failed:0 Skipped:0 Asking:0}"}},
		"output is missing":         {before: func(w *world) { w.chunks[1].Offset, w.chunks[1].Line = 7, 2 }, want: []string{"log: unit, attempt 1, chunk 1 begins at byte 7, not 6", "log: unit, attempt 1, chunk 1 begins with line 2, not 1", "log: unit, attempt 1, chunk 2 begins at byte 108, not 109"}},
		"a cut that does not fit":   {before: func(w *world) { w.chunks[2].Cut = 99 }, want: []string{"log: unit, attempt 1, chunk 2 begins at byte 108, not 107"}},
		"no child":                  {before: func(w *world) { w.orphan = true }, want: []string{"trigger: deploy made build " + string(store.Derive("trigger", "b", "deploy")) + ", which is not there"}},
		"no child yet": {before: func(w *world) { w.orphan = true }, build: func(b *store.Build) {
			b.Pending = []store.Chore{{Verb: store.EnqueueChild, Target: "deploy"}}
		}},
		"another child": {build: func(b *store.Build) {
			b.Outbox = map[string]store.Outgoing{"deploy": {Child: store.Derive("trigger", "b", "deploy")}}
		}, want: []string{"trigger: deploy made build 2, which was asked for with other words"}},
		"a foreign chore": {build: func(b *store.Build) {
			b.Pending = []store.Chore{{Verb: "dance", Target: "deploy"}, {Verb: store.Release, Target: "other"}}
		}, want: []string{`chore: to dance "deploy"`, `chore: to release "other"`}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			if test.before != nil {
				test.before(w)
			}
			w.keep(test.build)
			if test.after != nil {
				test.after(w)
			}
			found, _ := w.findings()
			require.Len(t, found, len(test.want), found)
			for i, want := range test.want {
				require.Contains(t, found[i], want)
			}
			for _, f := range found {
				code, _, _ := strings.Cut(f, ":")
				seen[code] = true
			}
		})
	}
	seen["number"] = true // has a test of its own
	require.Equal(t, slices.Sorted(maps.Keys(fsck.Codes)), slices.Sorted(maps.Keys(seen)), "each kind of finding has a case")
}

func TestANumberIsOneBuilds(t *testing.T) {
	w := newWorld(t)
	w.keep(nil)
	_, err := w.Enqueue(t.Context(), store.NewBuild("twin", 1, store.Request{Project: "shop"}, at))
	require.NoError(t, err)
	found, _ := w.findings()
	require.Len(t, found, 1)
	require.Contains(t, found[0], "number: build ")
}

// A moving is a store whose build changes while it is looked at.
type moving struct {
	store.Store
	moved bool
}

func (m *moving) Events(ctx context.Context, id build.ID, fence, seq int64, limit int) ([]build.Event, error) {
	if !m.moved {
		m.moved = true
		if _, err := m.Change(ctx, id, does(func(b *store.Build) { b.State = build.Success })); err != nil {
			return nil, err
		}
	}
	return m.Store.Events(ctx, id, fence, seq, limit)
}

func TestABuildThatChangesIsLookedAtAgain(t *testing.T) {
	w := newWorld(t)
	w.keep(func(b *store.Build) { b.State = build.Failed })
	counts, err := fsck.Check(t.Context(), &moving{Store: w}, func(f fsck.Finding) { t.Error(f) })
	require.NoError(t, err)
	require.EqualValues(t, 6, counts.Events, "each is counted once")
}

func TestAStoreThatFails(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := fsck.Check(ctx, newWorld(t), func(fsck.Finding) {})
	require.ErrorIs(t, err, context.Canceled)
}
