package process_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	goruntime "runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/process"
)

// patience is how long a test waits for what must happen. It is long, as
// nothing may fail because the machine is slow.
const patience = 60 * time.Second

// A keeper is an Output that keeps what it is given.
type keeper struct {
	bytes.Buffer
	times  []time.Time
	err    error
	wrote  chan struct{} // closed at the first write, unless nil
	chunks int
}

func (k *keeper) Write(at time.Time, p []byte) error {
	if k.chunks++; k.chunks == 1 && k.wrote != nil {
		close(k.wrote)
	}
	k.times = append(k.times, at)
	k.Buffer.Write(p)
	return k.err
}

func (k *keeper) Close() error { return nil }

// task is a task that runs argv in a new workspace.
func task(t testing.TB, out runtime.Output, argv ...string) runtime.Task {
	dir := t.TempDir()
	output := t.TempDir()
	return runtime.Task{
		Argv:      argv,
		Env:       []string{"PATH=" + os.Getenv("PATH"), "PIPER_BUILD=" + filepath.Base(dir), "PIPER_OUTPUT=" + output},
		Workspace: dir,
		OutputDir: output,
		Output:    out,
	}
}

func script(t testing.TB, out runtime.Output, text string) runtime.Task {
	return task(t, out, "sh", "-e", "-c", text)
}

// executor is an Executor that is closed when the test ends.
func executor(t testing.TB) *process.Executor {
	e := &process.Executor{}
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}

// show writes a result on one line.
func show(r runtime.Result) string {
	var b strings.Builder
	b.WriteString(string(r.State))
	if r.Exit != nil {
		fmt.Fprintf(&b, " exit=%d", *r.Exit)
	}
	if r.Signal != "" {
		fmt.Fprintf(&b, " signal=%q", r.Signal)
	}
	if r.Infra {
		b.WriteString(" infra")
	}
	if r.Reason != "" {
		fmt.Fprintf(&b, ": %s", r.Reason)
	}
	return b.String()
}

func TestExecute(t *testing.T) {
	for _, c := range []struct{ name, script, result, output string }{
		{"nothing", `:`, "success exit=0", ""},
		{"a line", `echo hello`, "success exit=0", "hello\n"},
		{"no newline at the end", `printf hello`, "success exit=0", "hello"},
		{"both streams in order", `echo a; echo b >&2; echo c; echo d >&2`, "success exit=0", "a\nb\nc\nd\n"},
		{"empty input", `cat; wc -c | tr -d ' '`, "success exit=0", "0\n"},
		{"exit code", `exit 3`, "failed exit=3", ""},
		{"highest exit code", `exit 255`, "failed exit=255", ""},
		{"first failure ends it", `false; echo not here`, "failed exit=1", ""},
		{"killed", `kill -9 $$`, `failed signal="killed"`, ""},
		{"segmentation fault", `kill -SEGV $$`, `failed signal="segmentation fault"`, ""},
		{"terminated", `kill $$`, `failed signal="terminated"`, ""},
		{"aborted", `kill -ABRT $$`, `failed signal="aborted"`, ""},
		{"child of a child fails", `(exit 7) || true; exit 0`, "success exit=0", ""},
		{"closed output", `exec >&- 2>&-; exit 4`, "failed exit=4", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			out := &keeper{}
			r := executor(t).Execute(t.Context(), script(t, out, c.script))
			require.Equal(t, c.result, show(r))
			require.Equal(t, c.output, out.String())
			require.False(t, r.Started.IsZero())
			require.False(t, r.Ended.Before(r.Started))
		})
	}
}

func TestTimeout(t *testing.T) {
	tk := script(t, &keeper{}, `sleep 1000`)
	tk.Timeout, tk.Grace = 50*time.Millisecond, patience
	r := executor(t).Execute(t.Context(), tk)
	require.Equal(t, `timed_out signal="terminated": timed out after 50ms`, show(r))
}

func TestCancel(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	out := &keeper{wrote: make(chan struct{})}
	tk := script(t, out, `trap 'echo bye; exit 5' TERM; echo ready; while :; do sleep 0.01; done`)
	tk.Grace = patience
	go func() { <-out.wrote; cancel() }()
	r := executor(t).Execute(ctx, tk)
	require.Equal(t, build.Cancelled, r.State, show(r))
	require.Equal(t, "ready\nbye\n", strings.ReplaceAll(out.String(), "Terminated\n", ""))
}

func TestLeftBehind(t *testing.T) {
	tk := script(t, &keeper{}, `setsid sleep 1000 & sleep 1000 >/dev/null 2>&1 & echo; sleep 0.2`)
	e := executor(t)
	e.Drain = 10 * time.Millisecond
	r := e.Execute(t.Context(), tk)
	require.Equal(t, `success exit=0: killed 2 processes that it left behind: sleep, sleep`, show(r))
}

// Of many steps nothing is left: no process, no open file, no goroutine.
func TestManyStepsLeaveNothing(t *testing.T) {
	if goruntime.GOOS != "linux" {
		t.Skip("open files are only known on Linux")
	}
	e, tk := executor(t), script(t, &meter{}, ":")
	run := func(n int) {
		var running sync.WaitGroup
		for range 4 {
			running.Go(func() {
				tk := tk
				tk.Output = &meter{}
				for range n / 4 {
					if r := e.Execute(t.Context(), tk); r.State != build.Success {
						t.Error(show(r))
					}
				}
			})
		}
		running.Wait()
	}
	run(40)
	open, goroutines := files("/proc/self/fd"), goruntime.NumGoroutine()
	run(2000)
	require.LessOrEqual(t, files("/proc/self/fd"), open)
	eventually(t, "the end of all goroutines", func() bool { return goruntime.NumGoroutine() <= goroutines })
	threads, err := filepath.Glob("/proc/self/task/*/children") // which not every kernel has
	require.NoError(t, err)
	for _, thread := range threads {
		children, _ := os.ReadFile(thread)
		require.Empty(t, string(children))
	}
}
