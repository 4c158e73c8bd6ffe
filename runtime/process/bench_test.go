package process_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/piper-build/piper/runtime"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/process"
)

// A contender runs n no-op steps, two at a time.
type contender struct {
	name string
	run  func(n int)
}

// BenchmarkStep measures what a step costs that does nothing, in turn with the
// least that it can cost (testdata/spawn.c) and with os/exec. The figures are
// ratios to the former, of medians over rounds, of time and of processor time;
// b.N is not used.
func BenchmarkStep(b *testing.B) {
	for _, c := range []struct {
		name string
		argv []string
	}{
		{"shell", []string{"/bin/sh", "-e", "-c", ":"}},
		{"shell with a line", []string{"/bin/sh", "-e", "-c", "echo hello"}},
		{"program", []string{"/bin/true"}},
	} {
		b.Run(c.name, func(b *testing.B) {
			const rounds, steps = 15, 500
			contenders := []contender{
				{"c", inC(b, c.argv)},
				{"piper", inPiper(b, c.argv)},
				{"exec", inOSExec(b, c.argv)},
			}
			wall, cpu := make([][]time.Duration, len(contenders)), make([][]time.Duration, len(contenders))
			for round := range rounds + 1 {
				for i, each := range contenders {
					start, used := time.Now(), processorTime(b)
					each.run(steps)
					if round > 0 { // the first warms up
						wall[i] = append(wall[i], time.Since(start))
						cpu[i] = append(cpu[i], processorTime(b)-used)
					}
				}
			}
			for i, each := range contenders {
				b.ReportMetric(float64(median(wall[i]))/float64(median(wall[0])), each.name+"/c")
				b.ReportMetric(float64(median(cpu[i]))/float64(median(cpu[0])), each.name+"/c-cpu")
			}
			b.ReportMetric(float64(median(wall[0]).Microseconds())/steps, "c-µs/step")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// processorTime is what this process and those that it waited for have used.
func processorTime(b *testing.B) (sum time.Duration) {
	for _, who := range []int{unix.RUSAGE_SELF, unix.RUSAGE_CHILDREN} {
		var u unix.Rusage
		require.NoError(b, unix.Getrusage(who, &u))
		sum += time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	return sum
}

func median(d []time.Duration) time.Duration {
	slices.Sort(d)
	return d[len(d)/2]
}

// inC runs steps in testdata/spawn.c.
func inC(b *testing.B, argv []string) func(n int) {
	program := filepath.Join(b.TempDir(), "spawn")
	out, err := exec.Command("cc", "-O2", "-pthread", "-o", program, "testdata/spawn.c").CombinedOutput()
	if err != nil {
		b.Skipf("no C compiler: %v\n%s", err, out)
	}
	return func(n int) {
		cmd := exec.Command(program, append([]string{strconv.Itoa(n), "2"}, argv...)...)
		cmd.Env = benchEnv
		require.NoError(b, cmd.Run())
	}
}

// twoAtATime calls run n times from two goroutines.
func twoAtATime(n int, run func()) {
	var left atomic.Int64
	left.Store(int64(n))
	var slots sync.WaitGroup
	for range 2 {
		slots.Go(func() {
			for left.Add(-1) >= 0 {
				run()
			}
		})
	}
	slots.Wait()
}

var benchEnv = []string{"PATH=" + os.Getenv("PATH"), "HOME=/", "LANG=C", "PIPER=1", "PIPER_BUILD=bench", "PIPER_OUTPUT=/nowhere"}

func inPiper(b *testing.B, argv []string) func(n int) {
	e := &process.Executor{}
	b.Cleanup(func() { require.NoError(b, e.Close()) })
	dir := b.TempDir()
	return func(n int) {
		twoAtATime(n, func() {
			r := e.Execute(b.Context(), runtime.Task{Argv: argv, Env: benchEnv, Workspace: dir, OutputDir: "/nowhere", Output: drop{}})
			if r.State != build.Success {
				b.Error(show(r))
			}
		})
	}
}

func inOSExec(b *testing.B, argv []string) func(n int) {
	dir := b.TempDir()
	return func(n int) {
		twoAtATime(n, func() {
			var out bytes.Buffer
			cmd := exec.Command(argv[0], argv[1:]...)
			cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, benchEnv, &out, &out
			if err := cmd.Run(); err != nil {
				b.Error(err)
			}
		})
	}
}

// drop is an Output that keeps nothing.
type drop struct{}

func (drop) Write(time.Time, []byte) error { return nil }
func (drop) Close() error                  { return nil }
