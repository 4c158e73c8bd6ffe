package starlark

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.starlark.net/starlark"
)

// steps returns a file of n step(...) calls, one per line.
func steps(n int) string {
	var b strings.Builder
	b.WriteString("pipeline(name = \"build\", steps = [parallel([\n")
	for i := range n {
		fmt.Fprintf(&b, "    step(\"s%d\", run = \"true %d\", env = {\"N\": \"%d\"}, timeout = \"10m\"),\n", i, i, i)
	}
	b.WriteString("])])\n")
	return b.String()
}

// lines returns a file of n lines in the way that people write steps.
func lines(n int) string {
	var b strings.Builder
	b.WriteString("all = []\n")
	for i := range n / 8 {
		fmt.Fprintf(&b, "all.append(step(\n    name = \"s%d\",\n    run = [\"go\", \"test\", \"./pkg%d\"],\n    inputs = [\"**/*.go\"],\n    env = {\"N\": \"%d\"},\n    timeout = \"10m\",\n))\n\n", i, i, i)
	}
	b.WriteString("pipeline(name = \"build\", steps = [parallel(all)])\n")
	return b.String()
}

var huge = Limits{Steps: 1 << 40, Time: time.Hour, Nodes: 1 << 20, Source: 1 << 30}

// plain executes source with go.starlark.net and builtins that do nothing.
func plain(tb testing.TB, source string) {
	nothing := starlark.NewBuiltin("nothing", func(*starlark.Thread, *starlark.Builtin, starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
		return starlark.None, nil
	})
	env := starlark.StringDict{"step": nothing, "parallel": nothing, "pipeline": nothing}
	_, err := starlark.ExecFileOptions(&dialect, &starlark.Thread{}, "PIPER.star", source, env)
	require.NoError(tb, err)
}

// digested evaluates source up to the plan's digest.
func digested(tb testing.TB, dir, cache string) {
	r, err := Evaluate(context.Background(), Request{Root: dir, Limits: huge, Cache: cache})
	require.NoError(tb, err)
	require.Len(tb, r.Plan.Digest(), len("sha256:")+64)
}

// processor returns the processor time that this process has used. On a machine
// with other work it says more than the clock.
func processor() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// side is one of two sides that are held against each other.
type side struct {
	name string
	run  func()
}

// compare runs a and b in turn and reports the ratio b / a of their medians of
// processor time.
func compare(b *testing.B, rounds int, first, second side) {
	times := [2][]time.Duration{}
	for range b.N {
		for range rounds {
			for i, s := range []side{first, second} {
				runtime.GC()
				before := processor()
				s.run()
				times[i] = append(times[i], processor()-before)
			}
		}
	}
	median := func(list []time.Duration) float64 {
		slices.Sort(list)
		return float64(list[len(list)/2]) / 1e6
	}
	x, y := median(times[0]), median(times[1])
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(x, first.name+"-cpu-ms")
	b.ReportMetric(y, second.name+"-cpu-ms")
	b.ReportMetric(y/x, "ratio")
}

// BenchmarkPlan holds evaluation against the bare interpreter: the goal for
// 1,000 and 10,000 steps is at most 1.3 of it.
func BenchmarkPlan(b *testing.B) {
	for _, n := range []int{1_000, 10_000} {
		source := steps(n)
		dir := b.TempDir()
		require.NoError(b, os.WriteFile(filepath.Join(dir, "PIPER.star"), []byte(source), 0o666))
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			compare(b, 7,
				side{"plain", func() { plain(b, source) }},
				side{"piper", func() { digested(b, dir, "") }})
		})
	}
}

// BenchmarkAgain evaluates a file of 100,000 lines that did not change: the
// goal is at most 0.20 of the first time.
func BenchmarkAgain(b *testing.B) {
	dir, cache := b.TempDir(), b.TempDir()
	require.NoError(b, os.WriteFile(filepath.Join(dir, "PIPER.star"), []byte(lines(100_000)), 0o666))
	digested(b, dir, cache)
	compare(b, 7,
		side{"first", func() { digested(b, dir, b.TempDir()) }},
		side{"again", func() { digested(b, dir, cache) }})
}
