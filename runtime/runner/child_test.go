package runner_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/runner"
	"github.com/piper-build/piper/runtime/stream"
)

// helper is each program that a test needs: a mode, and what that takes.
func helper(mode string, args []string) int {
	switch mode {
	case "listen": // PORT: take connections there
		l, err := net.Listen("tcp", "127.0.0.1:"+args[0])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer l.Close()
		time.Sleep(time.Hour)
	case "stubborn": // DIR TOKEN: leave a file in DIR, and never end, whatever signal comes
		signal.Ignore()
		if err := os.WriteFile(filepath.Join(args[0], strconv.Itoa(os.Getpid())), nil, 0o600); err != nil {
			return 1
		}
		time.Sleep(time.Hour)
	case "agent": // SCRIPT TOKEN: run a build of it in a child, and say what came of it
		return agent(args[0])
	default:
		fmt.Fprintln(os.Stderr, "no such helper:", mode)
		return 2
	}
	return 0
}

// agent prints how a build ended, how much it wrote, and how much memory this
// process had at most.
func agent(script string) int {
	c := runner.Command{Env: os.Environ()}
	counts := &counting{}
	b, err := c.Run(context.Background(), runner.Job{Plan: scripts(script), Workspace: os.TempDir(), Environ: os.Environ()}, counts)
	fmt.Println(b.State(), err, counts.n, peak("self"))
	return 0
}

// counting is a world that only counts what is written.
type counting struct {
	world
	n int
}

func (c *counting) Event(build.Event) error { return nil }
func (c *counting) Output(_ string, _ int, _ time.Time, p []byte) error {
	c.n += len(p)
	return nil
}

// peak is how many KiB of memory a process had at most.
func peak(pid string) (kib int) {
	status, _ := os.ReadFile("/proc/" + pid + "/status")
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	fmt.Sscan(rest, &kib)
	return kib
}

// self is this program.
func self() string {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return exe
}

var tokens atomic.Int64

// A thicket is a step that is hard to get rid of: processes that ignore signals,
// one of them in a session of its own and without its environment.
type thicket struct {
	dir, token, script string
}

func newThicket(t *testing.T) thicket {
	h := thicket{dir: t.TempDir(), token: fmt.Sprintf("token-%d-%d", os.Getpid(), tokens.Add(1))}
	one := self() + " helper stubborn " + h.dir + " " + h.token
	h.script = "trap '' TERM; echo $PPID >" + h.dir + "/runner.new; mv " + h.dir + "/runner.new " + h.dir + "/runner\n" +
		one + " & setsid env -i " + one + " & (setsid " + one + " &)\nwait; sleep 1000"
	return h
}

// runner waits until all of h is there, and returns the process id of its runner.
func (h thicket) runner(t *testing.T) int {
	h.eventually(t, "the step", func() bool { return len(h.files()) == 4 })
	text, err := os.ReadFile(filepath.Join(h.dir, "runner"))
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	return pid
}

func (h thicket) files() []os.DirEntry {
	entries, _ := os.ReadDir(h.dir)
	return entries
}

// gone waits until nothing of h lives, nor its runner and that one's guard.
func (h thicket) gone(t *testing.T, pid int) {
	h.eventually(t, "its end", func() bool {
		stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		dead := len(stat) == 0 || bytes.Contains(stat, []byte(") Z "))
		return dead && len(living(t, h.token)) == 0 && len(living(t, fmt.Sprintf("__guard %d", pid))) == 0
	})
}

func (h thicket) eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("waited in vain: ", what, living(t, h.token))
		}
	}
}

// living returns the command lines of the living processes with a text in theirs.
func living(t *testing.T, text string) (found []string) {
	out, err := exec.Command("ps", "-A", "-ww", "-o", "stat=,args=").Output()
	require.NoError(t, err)
	for line := range strings.Lines(string(out)) {
		if strings.Contains(line, text) && !strings.HasPrefix(line, "Z") {
			found = append(found, line)
		}
	}
	return found
}

// TestDeath: whoever dies, nothing of the build outlives it.
func TestDeath(t *testing.T) {
	for name, kill := range map[string]func(agent, runner int){
		"agent":            func(agent, _ int) { syscall.Kill(agent, syscall.SIGKILL) },
		"runner":           func(_, runner int) { syscall.Kill(runner, syscall.SIGKILL) },
		"both":             func(agent, runner int) { syscall.Kill(agent, syscall.SIGKILL); syscall.Kill(runner, syscall.SIGKILL) },
		"both, runner 1st": func(agent, runner int) { syscall.Kill(runner, syscall.SIGKILL); syscall.Kill(agent, syscall.SIGKILL) },
		"agent of a runner that is stopped": func(agent, runner int) {
			syscall.Kill(runner, syscall.SIGSTOP)
			syscall.Kill(agent, syscall.SIGKILL)
			syscall.Kill(runner, syscall.SIGCONT)
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newThicket(t)
			cmd := exec.Command(self(), "helper", "agent", h.script, h.token)
			cmd.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
			var out bytes.Buffer
			cmd.Stdout, cmd.Stderr = &out, &out
			require.NoError(t, cmd.Start())
			pid := h.runner(t)
			kill(cmd.Process.Pid, pid)
			cmd.Wait()
			h.gone(t, pid)
			if name == "runner" {
				require.Contains(t, out.String(), "running the runner died before the build had ended: runner: killed ")
			}
		})
	}
}

// run runs a build of scripts in a child in the background.
func run(t *testing.T, ctx context.Context, c *runner.Command, h runner.Handler, lines ...string) func() (*build.Build, error) {
	t.Setenv("TMPDIR", t.TempDir())
	c.Env = os.Environ()
	var b *build.Build
	var err error
	done := make(chan struct{})
	j := runner.Job{Plan: scripts(lines...), Workspace: t.TempDir(), Environ: os.Environ(), Secrets: map[string]string{"token": "hunter22"}}
	go func() {
		defer close(done)
		b, err = c.Run(ctx, j, h)
	}()
	return func() (*build.Build, error) { <-done; return b, err }
}

// TestKill: a build whose context is done ends, and its machine has not failed.
func TestKill(t *testing.T) {
	h := newThicket(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	wait := run(t, ctx, &runner.Command{}, &world{output: map[string]string{}}, h.script, "true")
	pid := h.runner(t)
	cancel(errors.New("the build is another agent's"))
	b, err := wait()
	require.NoError(t, err)
	require.Equal(t, build.Cancelled, b.State())
	require.Equal(t, "cancelled: the build is another agent's", b.Reason())
	require.Empty(t, living(t, h.token), "at once")
	h.gone(t, pid)
}

// TestKillOfAStoppedRunner: a child that does not hear is killed.
func TestKillOfAStoppedRunner(t *testing.T) {
	h := newThicket(t)
	ctx, cancel := context.WithCancel(t.Context())
	wait := run(t, ctx, &runner.Command{Patience: 50 * time.Millisecond}, &world{output: map[string]string{}}, h.script)
	pid := h.runner(t)
	require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
	cancel()
	b, err := wait()
	require.ErrorIs(t, err, runner.ErrDied)
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "runner: killed")
	require.Equal(t, build.Running, b.State())
	h.gone(t, pid)
}

// TestStepKillsItsRunner: what is started has been told before.
func TestStepKillsItsRunner(t *testing.T) {
	b, err := run(t, t.Context(), &runner.Command{}, &world{output: map[string]string{}}, ":", "kill -9 $PPID; sleep 60")()
	require.ErrorIs(t, err, runner.ErrDied)
	require.Equal(t, build.Success, b.Node(0).State)
	require.Equal(t, build.Running, b.Node(1).State)
}

// TestExpendable: when memory runs out a step is killed, and not who started its
// runner.
func TestExpendable(t *testing.T) {
	const file = "/proc/self/oom_score_adj"
	before, err := os.ReadFile(file)
	if err != nil {
		t.Skip("the system cannot be told")
	}
	w := &world{output: map[string]string{}}
	b, err := run(t, t.Context(), &runner.Command{}, w, "cat "+file)()
	require.NoError(t, err)
	require.Equal(t, build.Success, b.State())
	require.Equal(t, map[string]string{"s1 #1": "900\n"}, w.output)
	after, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, before, after)
}

// TestPanic: what a child says when it breaks is in the error.
func TestPanic(t *testing.T) {
	h := newThicket(t)
	wait := run(t, t.Context(), &runner.Command{}, &world{output: map[string]string{}}, h.script)
	pid := h.runner(t)
	require.NoError(t, syscall.Kill(pid, syscall.SIGQUIT)) // of which Go makes a panic
	_, err := wait()
	require.ErrorIs(t, err, runner.ErrDied)
	require.ErrorContains(t, err, "exit status 2: SIGQUIT: quit")
	require.ErrorContains(t, err, "goroutine")
	require.Less(t, len(err.Error()), 5<<10)
	h.gone(t, pid)
}

// failingWorld is a handler that fails.
type failingWorld struct {
	world
	event, output error
}

func (w *failingWorld) Event(build.Event) error                     { return w.event }
func (w *failingWorld) Output(string, int, time.Time, []byte) error { return w.output }

// TestHandlerFails: what cannot be recorded does not go on.
func TestHandlerFails(t *testing.T) {
	full := errors.New("disk full")
	for name, w := range map[string]*failingWorld{"event": {event: full}, "output": {output: full}} {
		t.Run(name, func(t *testing.T) {
			b, err := run(t, t.Context(), &runner.Command{}, w, "echo up; exec sleep 1000")()
			require.ErrorIs(t, err, full)
			require.Equal(t, build.Cancelled, b.State())
		})
	}
}

// TestGarbage: what is no child of ours is found out, and ended.
func TestGarbage(t *testing.T) {
	begin := `echo '{"seq":1,"time":"2026-01-02T00:00:00Z","kind":"build_started"}'; `
	for name, c := range map[string]struct {
		script string
		is     error
		says   string
	}{
		"words":                    {"echo hello; sleep 1000", stream.ErrGarbage, `hear runner: line 1 cannot be read (invalid character 'h' looking for beginning of value): "hello"`},
		"words, and deaf":          {"trap '' TERM; echo hello; while :; do sleep 1; done", stream.ErrGarbage, "hello"},
		"endless line":             {"tr '\\0' x </dev/zero", stream.ErrGarbage, "line 1 is longer than 134217728 bytes"},
		"unknown kind":             {`echo '{"kind":"greeting"}'; sleep 1000`, stream.ErrGarbage, `a line of the unknown kind "greeting"`},
		"odd message":              {`echo '{"kind":"report","text":{}}'; sleep 1000`, nil, "hear runner: json: cannot unmarshal object"},
		"impossible":               {begin + `echo '{"seq":3,"kind":"build_ended"}'; sleep 1000`, build.ErrSequence, "apply event 3"},
		"output of nothing":        {begin + `echo '{"kind":"output","node":"s1","attempt":1,"data":"x"}'; sleep 1000`, stream.ErrGarbage, `output of attempt 1 of "s1", which does not run`},
		"output of nobody":         {begin + `echo '{"kind":"output","node":"x","attempt":1,"data":"x"}'; sleep 1000`, stream.ErrGarbage, `output of attempt 1 of "x"`},
		"end without an end":       {begin + `echo '{"kind":"exited"}'`, stream.ErrGarbage, "it says that the build has ended, which is running"},
		"end with an error":        {begin + `echo '{"kind":"exited","error":"disk full"}'`, nil, "disk full"},
		"end, but it stays":        {begin + `echo '{"kind":"exited","error":"disk full"}'; trap "" TERM; while :; do sleep 1; done`, nil, "disk full"},
		"exit 0":                   {begin, runner.ErrDied, "the runner died before the build had ended: runner: exit status 0"},
		"exit 0, at once":          {"", runner.ErrDied, "runner: exit status 0"},
		"exit 3":                   {"echo it was hunter22 >&2; exit 3", runner.ErrDied, "runner: exit status 3: it was ***"},
		"signal":                   {"kill -SEGV $$", runner.ErrDied, "runner: segmentation fault"},
		"torn":                     {begin + `printf '{"seq":2,"kind":"att'`, runner.ErrDied, "exit status 0"},
		"loud":                     {"head -c 10000000 /dev/zero | tr '\\0' x >&2; exit 1", runner.ErrDied, "xxx…"},
		"closes its output":        {"exec >&-; trap '' TERM; while :; do sleep 1; done", runner.ErrDied, "runner: killed"},
		"closes its input":         {begin + "exec <&-; echo hello", stream.ErrGarbage, "hello"},
		"asks what is no question": {begin + `echo '{"kind":"ask","id":1,"what":"time"}'; { read a; echo "$a"; read b; echo "$b"; } | grep -o 'nobody knows what' >&2; exit 1`, runner.ErrDied, "nobody knows what"},
	} {
		t.Run(name, func(t *testing.T) {
			if testing.Short() && name == "endless line" {
				t.Skip("it is long")
			}
			command := &runner.Command{Argv: []string{"/bin/sh", "-c", c.script}, Patience: 100 * time.Millisecond}
			b, err := run(t, t.Context(), command, &world{output: map[string]string{}}, "true "+strings.Repeat("x", 1<<20))()
			require.ErrorContains(t, err, c.says)
			if c.is != nil {
				require.ErrorIs(t, err, c.is)
			}
			require.NotErrorIs(t, err, io.EOF)
			require.Less(t, len(err.Error()), 5<<10)
			require.NotContains(t, []build.State{build.Success, build.Failed}, b.State())
		})
	}
	t.Run("no program", func(t *testing.T) {
		_, err := run(t, t.Context(), &runner.Command{Argv: []string{"/no/such/program"}}, &world{}, "true")()
		require.ErrorContains(t, err, "start runner: start /no/such/program")
	})
}

// TestChildHearsGarbage: a child says what it was given.
func TestChildHearsGarbage(t *testing.T) {
	for name, c := range map[string]struct {
		in, says string
		code     int
	}{
		"nothing":  {"", "", 0},
		"torn":     {`{"plan":`, "piper: read job: unexpected EOF\n", 2},
		"words":    {"hello\n", "piper: read job: invalid character 'h'", 2},
		"no plan":  {"{}\n", "piper: read job: decode plan:", 2},
		"old plan": {`{"plan":{"format":99}}` + "\n", "this piper reads format 1", 2},
	} {
		t.Run(name, func(t *testing.T) {
			argv, err := runner.ChildCommand()
			require.NoError(t, err)
			cmd := exec.Command(argv[0], argv[1:]...)
			cmd.Stdin = strings.NewReader(c.in)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			out, _ := cmd.Output()
			require.Empty(t, out)
			require.Equal(t, c.code, cmd.ProcessState.ExitCode())
			require.Contains(t, stderr.String(), c.says)
		})
	}
}

// TestChildIsClosed: what a child was told is nowhere that a step can look.
func TestChildIsClosed(t *testing.T) {
	w := &world{output: map[string]string{}}
	b, err := run(t, t.Context(), &runner.Command{}, w, `
		tr '\0' ' ' </proc/$PPID/cmdline | sed 's/^.*runner.test //'; echo
		cat /proc/$PPID/environ >/dev/null 2>&1 || echo environ closed
		head -c 1 /proc/$PPID/mem >/dev/null 2>&1 || echo mem closed
		ls /proc/$PPID/fd >/dev/null 2>&1 || echo fd closed
		ls -l /proc/self/fd | grep -c pipe`)()
	require.NoError(t, err)
	require.Equal(t, build.Success, b.State())
	if os.Geteuid() != 0 { // who may look everywhere
		require.Equal(t, "__runner \nenviron closed\nmem closed\nfd closed\n", w.output["s1 #1"][:len("__runner \nenviron closed\nmem closed\nfd closed\n")])
	}
	require.True(t, strings.HasPrefix(w.output["s1 #1"], "__runner \n"), w.output["s1 #1"])
}

// held is a handler that does not take what comes before it is let.
type held struct {
	counting
	first chan struct{}
	let   chan struct{}
}

func (h *held) Output(node string, attempt int, at time.Time, p []byte) error {
	if h.n == 0 {
		close(h.first)
	}
	<-h.let
	return h.counting.Output(node, attempt, at, p)
}

// TestSlowParent: a parent that does not read holds the step up.
func TestSlowParent(t *testing.T) {
	h := &held{first: make(chan struct{}), let: make(chan struct{})}
	dir := t.TempDir()
	wait := run(t, t.Context(), &runner.Command{}, h, "yes | head -c 64000000; touch "+dir+"/through")
	<-h.first
	require.Never(t, func() bool { _, err := os.Stat(dir + "/through"); return err == nil }, 300*time.Millisecond, 10*time.Millisecond)
	close(h.let)
	b, err := wait()
	require.NoError(t, err)
	require.Equal(t, build.Success, b.State())
	require.Equal(t, 64_000_000, h.n)
}

// TestFlood: however much a step writes, neither side grows.
func TestFlood(t *testing.T) {
	if testing.Short() {
		t.Skip("it is long")
	}
	const size = 1 << 30
	dir := t.TempDir()
	cmd := exec.Command(self(), "helper", "agent", fmt.Sprintf("yes 'a line of some length' | head -c %d; grep VmHWM /proc/$PPID/status >%s/peak", size, dir), "x")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	var state, problem string
	var n, agent, child int
	_, err = fmt.Sscan(string(out), &state, &problem, &n, &agent)
	require.NoError(t, err, string(out))
	text, err := os.ReadFile(dir + "/peak")
	require.NoError(t, err)
	fmt.Sscan(strings.TrimPrefix(string(text), "VmHWM:"), &child)
	require.Equal(t, "success", state, string(out))
	require.Equal(t, size, n)
	t.Logf("peak of the agent %d KiB, of the runner %d KiB", agent, child)
	require.NotZero(t, child)
	require.Less(t, max(agent, child), 96<<10)
}

// waiting is a world in which nobody answers before it is let.
type waiting struct {
	world
	asked, let chan struct{}
}

func (w *waiting) Approve(ctx context.Context, node string) (runtime.Approval, error) {
	w.asked <- struct{}{}
	<-w.let
	return w.world.Approve(ctx, node)
}

func (w *waiting) Trigger(ctx context.Context, node string, params map[string]string, made func(build.ID)) (build.State, error) {
	w.asked <- struct{}{}
	<-w.let
	return w.world.Trigger(ctx, node, params, made)
}

// TestOnlyWaits: that a build does nothing but wait is to be seen in the fold of
// its events: as many nodes run as there are questions about waiting.
func TestOnlyWaits(t *testing.T) {
	p := scripts("true")
	p.Nodes = append(p.Nodes, plan.Node{Name: "ok", Needs: []string{"s1"}, More: &plan.More{Approve: &plan.Approve{}}},
		plan.Node{Name: "t", Needs: []string{"s1"}, More: &plan.More{Trigger: &plan.Trigger{Pipeline: "deploy", Wait: true}}})
	w := &waiting{world: world{output: map[string]string{}}, asked: make(chan struct{}), let: make(chan struct{})}
	c := runner.Command{Env: os.Environ()}
	var b *build.Build
	var err error
	done := make(chan struct{})
	workspace := t.TempDir()
	go func() {
		defer close(done)
		b, err = c.Run(t.Context(), runner.Job{Plan: p, Workspace: workspace}, w)
	}()
	<-w.asked
	<-w.asked
	w.mu.Lock()
	fold, folded := build.Fold(p, w.events)
	w.mu.Unlock()
	require.NoError(t, folded)
	require.Equal(t, build.Progress{Total: 3, Done: 1, Running: 2, Asking: 1}, fold.Progress())
	close(w.let)
	<-done
	require.NoError(t, err)
	require.Equal(t, build.Success, b.State())
}

// patient is a world whose triggers wait until nobody needs them any more.
type patient struct {
	world
	asked chan struct{}
	cause error
}

func (w *patient) Trigger(ctx context.Context, node string, params map[string]string, made func(build.ID)) (build.State, error) {
	close(w.asked)
	<-ctx.Done()
	w.cause = context.Cause(ctx)
	return "", w.cause
}

// TestWhyNobodyAsksAnyMore: a question that is withdrawn is told from one whose
// runner has died, and which the next one may ask again.
func TestWhyNobodyAsksAnyMore(t *testing.T) {
	for name, test := range map[string]struct {
		run       string
		withdrawn bool
	}{
		"its step is stopped": {"while [ ! -e asked ]; do sleep 0.01; done; false", true},
		"the runner dies":     {"while [ ! -e asked ]; do sleep 0.01; done; kill -9 $PPID; sleep 60", false},
	} {
		t.Run(name, func(t *testing.T) {
			p := scripts(test.run)
			p.Groups = []plan.Group{{Name: "all", FailFast: true}}
			p.Nodes[0].Group = "all"
			p.Nodes = append(p.Nodes, plan.Node{Name: "t", Group: "all", More: &plan.More{Trigger: &plan.Trigger{Pipeline: "deploy", Wait: true}}})
			w := &patient{world: world{output: map[string]string{}}, asked: make(chan struct{})}
			workspace := t.TempDir()
			go func() {
				<-w.asked
				os.WriteFile(filepath.Join(workspace, "asked"), nil, 0o600)
			}()
			c := runner.Command{Env: os.Environ()}
			b, err := c.Run(t.Context(), runner.Job{Plan: p, Workspace: workspace, Parallel: 2, Environ: os.Environ()}, w)
			require.Equal(t, test.withdrawn, errors.Is(w.cause, runtime.ErrWithdrawn), w.cause)
			if test.withdrawn {
				require.NoError(t, err)
				require.Equal(t, build.Failed, b.State())
			} else {
				require.ErrorIs(t, err, runner.ErrDied)
			}
		})
	}
}

// BenchmarkNoop is a build of one step that does nothing, in this process and in
// a child.
func BenchmarkNoop(b *testing.B) {
	p := scripts("/bin/true")
	dir := b.TempDir()
	b.Run("here", func(b *testing.B) {
		for b.Loop() {
			if _, err := runner.Run(b.Context(), runner.Options{Plan: p, Workspace: dir}); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("away", func(b *testing.B) {
		c := runner.Command{Env: os.Environ()}
		for b.Loop() {
			if _, err := c.Run(b.Context(), runner.Job{Plan: p, Workspace: dir}, &counting{}); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// TestPrepared: a child that waits is used once, and in its workspace alone, ends
// when it is not needed, and one that could not be started is told of when it was
// to be used.
func TestPrepared(t *testing.T) {
	c := &runner.Command{Env: os.Environ()}
	dir := t.TempDir()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	c.Prepare(ctx, dir, "")
	c.Prepare(ctx, dir, "")
	for _, workspace := range []string{t.TempDir(), dir, dir} {
		w := &world{output: map[string]string{}}
		b, err := c.Run(t.Context(), runner.Job{Plan: scripts("echo up"), Workspace: workspace, Environ: os.Environ()}, w)
		require.NoError(t, err)
		require.Equal(t, build.Success, b.State())
		require.Equal(t, map[string]string{"s1 #1": "up\n"}, w.output)
	}

	// Its guard waits with it, and ends with it.
	guards := func() (found []string) {
		for _, line := range living(t, " __guard ") {
			if strings.Contains(line, self()) {
				found = append(found, line)
			}
		}
		return found
	}
	eventually := func(what string, is func() bool) {
		for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(5 * time.Millisecond) {
			require.True(t, time.Now().Before(deadline), what)
		}
	}
	eventually("the one that was replaced has ended", func() bool { return len(guards()) == 0 })
	c.Prepare(ctx, dir, "")
	eventually("no guard", func() bool { return len(guards()) == 1 })
	stop()
	eventually("the one that was not needed has ended", func() bool { return len(guards()) == 0 })

	ctx, stop = context.WithCancel(t.Context())
	defer stop()
	c.Prepare(ctx, "", "") // for anybody
	c.Prepare(ctx, "", "") // who is served already
	eventually("no guard", func() bool { return len(guards()) == 1 })
	_, err := c.Run(t.Context(), runner.Job{Plan: scripts("true"), Workspace: dir}, &world{output: map[string]string{}})
	require.NoError(t, err)
	require.Empty(t, guards(), "it was used")

	c = &runner.Command{Argv: []string{"/no/such/program"}}
	c.Prepare(t.Context(), dir, "")
	_, err = c.Run(t.Context(), runner.Job{Plan: scripts("true"), Workspace: dir}, &world{})
	require.ErrorContains(t, err, "start runner: ")
	c.Prepare(t.Context(), dir, "") // in vain
}
