package isolate_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/piper-build/piper/starlark"
)

// BenchmarkEvaluate compares evaluating a small file in this process, in a
// child, and in a child that was started before.
func BenchmarkEvaluate(b *testing.B) {
	r := starlark.Request{Root: b.TempDir(), Source: []byte(calm)}
	e := evaluator()
	defer e.Close()
	for _, way := range []struct {
		name     string
		evaluate starlark.Evaluator
		before   func()
	}{
		{"here", starlark.Evaluate, func() {}},
		{"child", e.Evaluate, func() {}},
		{"prepared", e.Evaluate, func() { e.Prepare(r.Limits); time.Sleep(20 * time.Millisecond) }},
	} {
		b.Run(way.name, func(b *testing.B) {
			var took []time.Duration
			for range b.N {
				way.before()
				begin := time.Now()
				if _, err := way.evaluate(context.Background(), r); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(begin))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "ms/p50")
			b.ReportMetric(float64(took[len(took)*95/100].Microseconds())/1000, "ms/p95")
		})
	}
}
