package main

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
)

func TestApprove(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "PIPER.star", `
pipeline(name = "build", steps = [approve("ok", prompt = "Really ship?"), step("ship", run = "echo shipped")])
pipeline(name = "plain", steps = [approve("ok")])
`)
	tests := []struct {
		name, keys, shows string
		code              int
	}{
		{"yes", "y\n", "ship │ shipped", exitOK},
		{"the whole word", "YES\n", "ship │ shipped", exitOK},
		{"no", "n\n", "ship - skipped", exitFailed},
		{"just enter", "\n", "piper: FAILED", exitFailed},
		{"end of input", "\x04", "read the answer: EOF", exitFailed},
		{"interrupt", "\x03", "piper: CANCELLED", exitInterrupted},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := startTerminal(t, dir, []string{"piper", "exec"})
			s.expect("ok: Really ship? [y/N] ")
			s.send(test.keys)
			s.expect(test.shows)
			require.Equal(t, test.code, s.exit())
		})
	}
	t.Run("in front of a live display", func(t *testing.T) {
		s := startTerminal(t, dir, []string{"piper", "exec", "plain"}, "TERM=xterm-256color")
		s.expect("ok: go on? [y/N] ")
		s.send("y\n")
		s.expect("1 ok, 0 failed")
		require.Equal(t, exitOK, s.exit())
	})
}

func TestShellOnFail(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "PIPER.star", `
pipeline(name = "build", steps = [step("bad", run = "exit 7", dir = "sub", env = {"MARK": "yes"}), step("after", run = "true")])
`)
	require.NoError(t, os.Mkdir(dir+"/sub", 0o777))
	s := startTerminal(t, dir, []string{"piper", "exec", "--shell-on-fail"}, "SHELL=/bin/sh")
	s.expect("piper: bad failed with exit 7; this is /bin/sh in " + dir + "/sub, with its environment. Leave it to go on.")
	s.send("echo in:$PWD:$MARK:$PIPER_STEP; exit 3\n")
	s.expect("in:" + dir + "/sub:yes:bad")
	s.expect("again:     piper exec build --only bad")
	require.Equal(t, exitFailed, s.exit())
}

// A prompt leaves the terminal alone once it is answered: what is typed next is
// the shell's.
func TestPromptThenShell(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "PIPER.star", `
pipeline(name = "build", steps = [approve("ok"), step("bad", run = "exit 7")])
`)
	s := startTerminal(t, dir, []string{"piper", "exec", "--shell-on-fail"}, "SHELL=/bin/sh")
	s.expect("ok: go on? [y/N] ")
	s.send("y\n")
	s.expect("Leave it to go on.")
	s.send("echo fir''st\n")
	s.expect("first\n")
	s.send("exit\n")
	s.expect("piper: FAILED")
	require.Equal(t, exitFailed, s.exit())
}

func TestSignals(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "PIPER.star", `
pipeline(name = "build", steps = [step("wait", run = "trap 'echo leaving; exit 1' INT TERM; echo up; while :; do sleep 1; done", grace = "10m"), step("after", run = "true")])
pipeline(name = "deaf", steps = [step("wait", run = "trap '' INT TERM; echo up; while :; do sleep 1; done", grace = "10m")])
`)
	tests := []struct {
		name, pipeline string
		signals        []os.Signal
		code           int
	}{
		{"interrupt", "build", []os.Signal{os.Interrupt}, exitInterrupted},
		{"terminate", "build", []os.Signal{syscall.SIGTERM}, exitTerminated},
		{"hang up", "build", []os.Signal{syscall.SIGHUP}, exitHungUp},
		{"interrupt twice", "deaf", []os.Signal{os.Interrupt, os.Interrupt}, exitInterrupted},
		{"terminate, then interrupt", "deaf", []os.Signal{syscall.SIGTERM, os.Interrupt}, exitTerminated},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			cmd := exec.Command("piper", "exec", test.pipeline, "--progress=plain")
			cmd.Dir = dir
			cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "XDG_DATA_HOME=", "XDG_STATE_HOME=", "XDG_CONFIG_HOME=", "XDG_CACHE_HOME=")
			seen := &watched{}
			cmd.Stderr = seen
			require.NoError(t, cmd.Start())
			seen.wait(t, "│ up")
			for i, sig := range test.signals {
				require.NoError(t, cmd.Process.Signal(sig))
				if i == 0 && len(test.signals) > 1 {
					seen.wait(t, "cancelling")
				}
			}
			cmd.Wait()
			require.Equal(t, test.code, cmd.ProcessState.ExitCode(), seen.String())
			require.Contains(t, seen.String(), "piper: CANCELLED")
			require.Contains(t, seen.String(), "wait still runs")
			require.NotContains(t, seen.String(), "did not end within")
			if test.pipeline == "build" {
				require.Contains(t, seen.String(), "wait  │ leaving")
				require.Regexp(t, `after - cancelled before it ran: (interrupted|terminated)\n`, seen.String())
			}
		})
	}
}

// A service is gone when piper is, however that came about.
func TestKillTakesServicesAlong(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "PIPER.star", `
db = service("db", run = "trap '' INT TERM; echo $$ > pid; while :; do sleep 1; done", ready = ready.run("test -s pid"))
pipeline(name = "build", steps = [step("use", run = "echo up; sleep 1000", services = [db])])
`)
	cmd := exec.Command("piper", "exec", "--progress=plain")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "XDG_DATA_HOME=", "XDG_STATE_HOME=", "XDG_CONFIG_HOME=", "XDG_CACHE_HOME=")
	seen := &watched{}
	cmd.Stderr = seen
	require.NoError(t, cmd.Start())
	seen.wait(t, "│ up")
	text, err := os.ReadFile(filepath.Join(dir, "pid"))
	require.NoError(t, err)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	require.NoError(t, err)
	require.NoError(t, syscall.Kill(pid, 0))
	require.NoError(t, cmd.Process.Kill())
	cmd.Wait()
	require.Eventually(t, func() bool { return gone(pid) }, time.Minute, 10*time.Millisecond)
}

// gone reports whether a process has ended, though nobody may have asked how.
func gone(pid int) bool {
	out, err := exec.Command("ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
	return err != nil || strings.HasPrefix(string(out), "Z")
}

// A machine at fault is told from a build at fault.
func TestFailureCode(t *testing.T) {
	broken := build.Event{State: build.Failed, Infra: true}
	tests := []struct {
		name      string
		one, two  build.Event
		allowance string // of the first
		code      int
	}{
		{"both broken", broken, broken, "", exitInfra},
		{"one broken", build.Event{State: build.Success}, broken, "", exitInfra},
		{"one failed", build.Event{State: build.Failed}, broken, "", exitFailed},
		{"one timed out", build.Event{State: build.TimedOut}, broken, "", exitFailed},
		{"one was allowed to fail", build.Event{State: build.Failed}, broken, "flaky", exitInfra},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			step := &plan.Step{Script: "true"}
			b := build.New(&plan.Plan{Nodes: []plan.Node{{Name: "one", Step: step, More: &plan.More{AllowFailure: test.allowance}}, {Name: "two", Step: step}}})
			apply := func(ev build.Event) {
				ev.Seq, ev.Time = b.Seq()+1, time.Unix(int64(b.Seq()), 0)
				require.NoError(t, b.Apply(ev))
			}
			apply(build.Event{Kind: build.BuildStarted})
			for node, ended := range map[string]build.Event{"one": test.one, "two": test.two} {
				apply(build.Event{Kind: build.AttemptStarted, Node: node, Attempt: 1})
				ended.Kind, ended.Node, ended.Attempt = build.AttemptEnded, node, 1
				apply(ended)
			}
			apply(build.Event{Kind: build.BuildEnded, State: build.Failed})
			require.Equal(t, test.code, (&execution{}).exitCode(b))
		})
	}
}

// A reader that leaves early takes neither the build nor its exit code along.
func TestReadersThatLeave(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "PIPER.star", `
pipeline(name = "build", steps = [step("talk", run = "i=0; while [ $i -lt 2000 ]; do echo line $i; i=$((i+1)); done; touch done; exit 7")])
`)
	for _, args := range [][]string{{"exec", "--progress=json"}, {"exec", "--json"}, {"exec", "--progress=plain"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			os.Remove(dir + "/done")
			r, w, err := os.Pipe()
			require.NoError(t, err)
			require.NoError(t, r.Close())
			cmd := exec.Command("piper", args...)
			cmd.Dir, cmd.Stdout, cmd.Stderr = dir, w, w
			cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "XDG_DATA_HOME=", "XDG_STATE_HOME=", "XDG_CONFIG_HOME=", "XDG_CACHE_HOME=")
			require.NoError(t, cmd.Start())
			require.NoError(t, w.Close())
			cmd.Wait()
			require.Equal(t, exitFailed, cmd.ProcessState.ExitCode(), cmd.ProcessState)
			require.FileExists(t, dir+"/done")
		})
	}
}

// watched is output that a test can wait for.
type watched struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

var _ io.Writer = (*watched)(nil)

func (w *watched) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.Write(p)
}

func (w *watched) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.buf.String()
}

func (w *watched) wait(t *testing.T, text string) {
	t.Helper()
	require.Eventually(t, func() bool { return strings.Contains(w.String(), text) }, patience, 5*time.Millisecond, text)
}
