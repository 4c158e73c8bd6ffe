package main

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/runner"
	"github.com/piper-build/piper/runtime/store"
)

func BenchmarkRecording(b *testing.B) {
	path := filepath.Join(b.TempDir(), "piper.db")
	p := &plan.Plan{Format: plan.Format, Project: plan.Project{Name: "bench"}, Pipeline: "build", Nodes: []plan.Node{{Name: "s1", Step: &plan.Step{Script: ":"}}}}
	for b.Loop() {
		t0 := time.Now()
		l := newLocal(path)
		id := runner.NewID(time.Now())
		r := l.recordBuild(id, p, store.Request{Project: "bench"})
		t1 := time.Now()
		<-r.begun
		t2 := time.Now()
		bb := build.New(p)
		ev := func(k build.Kind, n string, a int, st build.State) {
			e := build.Event{Seq: bb.Seq() + 1, Time: now(), Kind: k, Node: n, Attempt: a, State: st}
			require.NoError(b, bb.Apply(e))
			r.Record([]build.Event{e})
		}
		ev(build.BuildStarted, "", 0, "")
		ev(build.AttemptStarted, "s1", 1, "")
		ev(build.AttemptEnded, "s1", 1, build.Success)
		ev(build.BuildEnded, "", 0, build.Success)
		require.NoError(b, r.finish(bb, nil))
		t3 := time.Now()
		l.close()
		_, _, _, _ = t0, t1, t2, t3
		b.ReportMetric(float64(t2.Sub(t1).Microseconds()), "begin-us")
		b.ReportMetric(float64(t3.Sub(t2).Microseconds()), "finish-us")
		l.store.Close()
	}
}
