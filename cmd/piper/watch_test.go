package main

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
)

// noted is a display that notes the events that it is told.
type noted []int64

func (n *noted) Begin(*plan.Plan, *build.Build)            {}
func (n *noted) Event(ev build.Event, _ *build.Build)      { *n = append(*n, ev.Seq) }
func (n *noted) Output(*plan.Node, int, time.Time, []byte) {}
func (n *noted) End(*build.Build)                          {}

// An event that comes is shown if it is the next one. Others are known, or the
// build has to be asked for them.
func TestWatchNext(t *testing.T) {
	p := &plan.Plan{Format: plan.Format, Project: plan.Project{Name: "shop"}, Pipeline: "build", Nodes: []plan.Node{{Name: "x", Step: &plan.Step{Script: ":"}}}}
	shown := &noted{}
	w := &watching{fence: 2, display: shown}
	next := func(fence, seq int64, kind build.Kind) (bool, error) {
		data, err := json.Marshal(api.BuildEvent{Build: "b", Fence: fence, Event: build.Event{Seq: seq, Time: time.Unix(1e9, 0), Kind: kind}})
		require.NoError(t, err)
		return w.next(t.Context(), api.Message{Kind: api.MessageEvent, Data: data})
	}
	known, err := next(2, 1, build.BuildStarted)
	require.NoError(t, err)
	require.False(t, known, "nothing is shown yet")

	w.fold = build.New(p)
	for _, test := range []struct {
		fence, seq int64
		kind       build.Kind
		known      bool
	}{
		{2, 2, build.CancelRequested, false}, // one is missing
		{1, 1, build.BuildStarted, false},    // of an attempt before
		{3, 1, build.BuildStarted, false},    // of the next one
		{2, 1, build.BuildStarted, true},
		{2, 1, build.BuildStarted, true}, // again
		{2, 2, build.CancelRequested, true},
	} {
		known, err := next(test.fence, test.seq, test.kind)
		require.NoError(t, err)
		require.Equal(t, test.known, known, test)
	}
	require.Equal(t, noted{1, 2}, *shown)

	_, err = next(2, 3, build.BuildStarted)
	require.ErrorContains(t, err, "show build")
	_, err = w.next(t.Context(), api.Message{Kind: api.MessageEvent, Data: []byte("{")})
	require.Error(t, err)
}
