package process_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	goruntime "runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/process"
)

// A meter is an Output that counts.
type meter struct {
	bytes, chunks int64
	lines         int64
	largest       int
	last          byte
}

func (m *meter) Write(_ time.Time, p []byte) error {
	m.bytes += int64(len(p))
	m.chunks++
	m.lines += int64(bytes.Count(p, []byte("\n")))
	m.largest = max(m.largest, len(p))
	m.last = p[len(p)-1]
	return nil
}

func (m *meter) Close() error { return nil }

// memory is how much memory this process has in use, in bytes.
func memory(t *testing.T) int64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		t.Skip("memory in use is only known on Linux")
	}
	_, rest, _ := strings.Cut(string(status), "VmRSS:")
	n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
	require.NoError(t, err)
	return n << 10
}

// TestHostileOutput has steps that write much, or strangely.
func TestHostileOutput(t *testing.T) {
	size := 1024
	if testing.Short() || race {
		size = 256
	}
	for _, c := range []struct {
		name  string
		line  int
		lines int64
	}{
		{"lines", 64, int64(size) << 20 / 64},
		{"one long line", 0, 0},
		{"empty lines", 1, int64(size) << 20},
	} {
		t.Run(c.name, func(t *testing.T) {
			e, m := executor(t), &meter{}
			require.Equal(t, build.Success, e.Execute(t.Context(), script(t, m, "echo")).State)
			goruntime.GC()
			before, m := memory(t), &meter{}
			r := e.Execute(t.Context(), task(t, m, self(), "helper", "flood", strconv.Itoa(size), strconv.Itoa(c.line)))
			require.Equal(t, build.Success, r.State, show(r))
			require.EqualValues(t, size<<20, m.bytes)
			require.Equal(t, c.lines, m.lines)
			require.Less(t, m.largest, 1<<20)
			require.Less(t, memory(t)-before, int64(32<<20))
		})
	}

	t.Run("binary", func(t *testing.T) {
		out := &keeper{}
		tk := script(t, out, `cat data data`)
		data := make([]byte, 3*65536+1)
		for i := range data {
			data[i] = byte(i * i >> 3)
		}
		require.NoError(t, os.WriteFile(filepath.Join(tk.Workspace, "data"), data, 0o600))
		r := executor(t).Execute(t.Context(), tk)
		require.Equal(t, build.Success, r.State, show(r))
		require.True(t, bytes.Equal(append(data, data...), out.Bytes()))
	})

	t.Run("what was written before the end is kept", func(t *testing.T) {
		// The last of it is in the pipe when the leader ends, and a process that
		// does not write keeps the pipe open.
		dir, token := t.TempDir(), token()
		out := &slow{}
		e := executor(t)
		e.Drain = time.Millisecond
		r := e.Execute(t.Context(), script(t, out, fmt.Sprintf(
			`%s helper wait %s %s & until [ $(ls %[2]s | wc -l) = 1 ]; do sleep 0.01; done; i=0; while [ $i -lt 5000 ]; do echo line $i; i=$((i+1)); done`, self(), dir, token)))
		require.Equal(t, build.Success, r.State, show(r))
		require.Equal(t, 5000, strings.Count(out.String(), "\n"))
		require.Contains(t, out.String(), "line 4999\n")
		require.Empty(t, living(t, token))
	})

	t.Run("one line at a time arrives as it is written", func(t *testing.T) {
		// Each line waits for the one before to have arrived.
		dir := t.TempDir()
		out := &answering{dir: dir}
		r := executor(t).Execute(t.Context(), script(t, out, fmt.Sprintf(
			`i=0; while [ $i -lt 50 ]; do echo $i; until [ -f %s/$i ]; do :; done; i=$((i+1)); done`, dir)))
		require.Equal(t, build.Success, r.State, show(r))
		require.Equal(t, 50, files(dir))
	})

	t.Run("times never go back", func(t *testing.T) {
		out := &keeper{}
		r := executor(t).Execute(t.Context(), script(t, out, `i=0; while [ $i -lt 300 ]; do echo $i; i=$((i+1)); done`))
		last := r.Started
		for _, at := range out.times {
			require.False(t, at.Before(last))
			last = at
		}
		require.False(t, r.Ended.Before(last))
	})

	t.Run("closes everything", func(t *testing.T) {
		out := &keeper{}
		r := executor(t).Execute(t.Context(), script(t, out, `echo before; exec 0<&- 1>&- 2>&- 3>&- 4>&- 5>&- 6>&- 7>&- 8>&- 9>&-; sleep 0.1; exit 6`))
		require.Equal(t, "failed exit=6", show(r))
		require.Equal(t, "before\n", out.String())
	})

	t.Run("closed output and a time-out", func(t *testing.T) {
		tk := script(t, &keeper{}, `exec 1>&- 2>&-; sleep 1000`)
		tk.Timeout = 50 * time.Millisecond
		require.Equal(t, build.TimedOut, executor(t).Execute(t.Context(), tk).State)
	})

	t.Run("inherits nothing", func(t *testing.T) {
		r, w, err := os.Pipe()
		require.NoError(t, err)
		defer r.Close()
		defer w.Close()
		out := &keeper{}
		result := executor(t).Execute(t.Context(), task(t, out, self(), "helper", "inherited"))
		require.Equal(t, "success exit=0", show(result))
		require.Equal(t, "0\n1\n2\n", out.String())
	})

	t.Run("fakes its result", func(t *testing.T) {
		out := &keeper{}
		const text = "::add-mask::x\n\x1b[32mStep finished OK\x1b[0m\ndata: {\"state\":\"success\"}\n"
		r := executor(t).Execute(t.Context(), script(t, out, "printf '%s' '"+text+"'; exit 1"))
		require.Equal(t, "failed exit=1", show(r))
		require.Equal(t, text, out.String())
	})
}

// A slow Output takes its time over the first chunk.
type slow struct{ keeper }

func (s *slow) Write(at time.Time, p []byte) error {
	if s.chunks == 0 {
		time.Sleep(100 * time.Millisecond)
	}
	return s.keeper.Write(at, p)
}

// An answering Output makes a file of each line that it is given.
type answering struct{ dir string }

func (a *answering) Write(_ time.Time, p []byte) error {
	for line := range strings.Lines(string(p)) {
		if err := os.WriteFile(filepath.Join(a.dir, strings.TrimSpace(line)), nil, 0o600); err != nil {
			return err
		}
	}
	return nil
}

func (a *answering) Close() error { return nil }

// TestHostileSignals has steps that do not want to end.
func TestHostileSignals(t *testing.T) {
	for _, c := range []struct{ name, script string }{
		{"ignores every signal", `$H stubborn $D $T`},
		{"and so do its children", `$H stubborn $D $T & $H stubborn $D $T & $H stubborn $D $T`},
		{"stops itself", `$H wait $D $T & until [ "$(ls $D)" ]; do sleep 0.01; done; kill -STOP $$`},
		{"stops its group", `$H wait $D $T & until [ "$(ls $D)" ]; do sleep 0.01; done; trap "" TERM; kill -STOP 0`},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir, token := t.TempDir(), token()
			tk := script(t, &keeper{}, strings.NewReplacer("$H", self()+" helper", "$D", dir, "$T", token).Replace(c.script))
			tk.Grace = 50 * time.Millisecond
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			go func() {
				eventually(t, "the first process", func() bool { return files(dir) > 0 })
				cancel()
			}()
			r := executor(t).Execute(ctx, tk)
			require.Equal(t, build.Cancelled, r.State, show(r))
			require.Empty(t, living(t, token))
		})
	}

	t.Run("stubborn until its grace is over", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		tk := task(t, &keeper{}, self(), "helper", "stubborn", dir, token())
		tk.Grace, tk.Timeout = 30*time.Millisecond, 30*time.Millisecond
		r := executor(t).Execute(t.Context(), tk)
		require.Equal(t, build.TimedOut, r.State)
		if files(dir) > 0 { // else it was ended before it was stubborn
			require.Equal(t, `timed_out signal="killed": timed out after 30ms; killed, as it did not end within 30ms`, show(r))
		}
	})

	t.Run("killed at once", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		kill := make(chan struct{})
		tk := task(t, &keeper{}, self(), "helper", "stubborn", dir, token())
		tk.Grace, tk.Kill = time.Hour, kill
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			eventually(t, "the process", func() bool { return files(dir) > 0 })
			cancel()
			close(kill)
		}()
		require.Equal(t, `cancelled signal="killed"`, show(executor(t).Execute(ctx, tk)))
	})

	t.Run("known to the guard before they are killed", func(t *testing.T) {
		// Once the shell is killed nothing tells where its child came from.
		t.Parallel()
		dir := t.TempDir()
		kill := make(chan struct{})
		tk := script(t, &keeper{}, "trap '' TERM; setsid env -i "+self()+" helper stubborn "+dir+" "+token()+" & wait; wait")
		tk.Grace, tk.Kill = time.Hour, kill
		ctx, cancel := context.WithCancel(t.Context())
		pid := 0
		go func() {
			eventually(t, "the process", func() bool { return files(dir) > 0 })
			entries, _ := os.ReadDir(dir)
			pid, _ = strconv.Atoi(entries[0].Name())
			cancel()
			eventually(t, "the guard's knowledge", func() bool { return process.Noted(pid) })
			close(kill)
		}()
		require.Equal(t, `cancelled signal="killed"`, show(executor(t).Execute(ctx, tk)))
		require.False(t, process.Noted(pid), "and forgotten then")
	})

	t.Run("killed without being cancelled", func(t *testing.T) {
		t.Parallel()
		kill := make(chan struct{})
		tk := script(t, &keeper{}, `sleep 1000`)
		tk.Grace, tk.Kill = time.Hour, kill
		close(kill)
		require.Equal(t, `cancelled signal="killed"`, show(executor(t).Execute(t.Context(), tk)))
	})

	t.Run("cancelled before it started", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.Equal(t, `cancelled: cancelled before it started`, show(executor(t).Execute(ctx, script(t, &keeper{}, `:`))))
	})

	t.Run("ends well when asked to", func(t *testing.T) {
		t.Parallel()
		tk := script(t, &keeper{}, `trap 'exit 0' TERM; while :; do sleep 0.01; done`)
		tk.Grace, tk.Timeout = patience, 300*time.Millisecond
		r := executor(t).Execute(t.Context(), tk)
		require.Equal(t, build.TimedOut, r.State)
	})

	t.Run("forks while it is asked to end", func(t *testing.T) {
		t.Parallel()
		dir := t.TempDir()
		tk := script(t, &keeper{}, `for n in 1 2 3 4 5 6; do (for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 1000 & done; wait) & done; : >`+dir+`/forking; wait`)
		tk.Grace = patience
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			eventually(t, "the first child", func() bool { return files(dir) > 0 })
			cancel()
		}()
		require.Equal(t, `cancelled signal="terminated"`, show(executor(t).Execute(ctx, tk)))
	})

	t.Run("has ended when it is cancelled", func(t *testing.T) {
		// Only a process that it left behind still writes.
		t.Parallel()
		dir, token := t.TempDir(), token()
		e := executor(t)
		e.Drain = time.Hour
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() {
			eventually(t, "the process", func() bool { return files(dir) > 0 })
			cancel()
		}()
		r := e.Execute(ctx, script(t, &keeper{}, self()+" helper stubborn "+dir+" "+token+" & exit 0"))
		require.Equal(t, "success exit=0: killed 1 process that it left behind: "+filepath.Base(self())[:min(15, len(filepath.Base(self())))], show(r))
		require.Empty(t, living(t, token))
	})
}

func TestTerminal(t *testing.T) {
	out := &keeper{}
	tk := script(t, out, `[ -t 1 ] && [ -t 2 ] && ! [ -t 0 ] && stty size <&1; echo two; printf three >&2`)
	tk.TTY = true
	r := executor(t).Execute(t.Context(), tk)
	require.Equal(t, "success exit=0", show(r))
	require.Equal(t, "24 80\ntwo\nthree", out.String())

	m := &meter{}
	tk = task(t, m, self(), "helper", "flood", "4", "64")
	tk.TTY = true
	require.Equal(t, "success exit=0", show(executor(t).Execute(t.Context(), tk)))
	require.EqualValues(t, 4<<20, m.bytes)
}

// TestUnderTerminal runs the tests that differ when this process has a
// terminal once more, with one.
func TestUnderTerminal(t *testing.T) {
	if os.Getenv("PIPER_TEST_TERMINAL") != "" {
		tty, err := os.Open("/dev/tty")
		require.NoError(t, err)
		tty.Close()
		out := &keeper{}
		r := executor(t).Execute(t.Context(), script(t, out, `(: </dev/tty) 2>/dev/null || echo none`))
		require.Equal(t, "success exit=0", show(r))
		require.Equal(t, "none\n", out.String())
		return
	}
	cmd := exec.Command(self(), "-test.run=^(TestUnderTerminal|TestExecute|TestHostileStep|TestGuard)$", "-test.short")
	cmd.Env = append(os.Environ(), "PIPER_TEST_TERMINAL=1")
	terminal, err := pty.Start(cmd)
	require.NoError(t, err)
	defer terminal.Close()
	out, _ := io.ReadAll(terminal) // ends with EIO
	require.NoError(t, cmd.Wait(), string(out))
}

// TestGuardEnds has the guard of a process that is in order.
func TestGuardEnds(t *testing.T) {
	for name, text := range map[string]string{"at the end": `:`, "with a step that fails": `exit 3`} {
		t.Run(name, func(t *testing.T) {
			token := token()
			out, err := piperCommand(t, token, text).CombinedOutput()
			require.Empty(t, living(t, token))
			require.NoError(t, err, string(out))
			// The streams are at their end, so no guard holds them; it was reaped.
			require.Contains(t, string(out), "exit=")
		})
	}
}

// TestKillsItsPiper has a step that kills the process that runs it.
func TestKillsItsPiper(t *testing.T) {
	if !apart(t) {
		return
	}
	dir, token := t.TempDir(), token()
	cmd := piperCommand(t, token, fmt.Sprintf(
		`%s helper stubborn %s %s & until [ "$(ls %[2]s)" ] && ps -A -ww -o args= | grep -v grep | grep -q guard-%[3]s; do sleep 0.05; done; kill -9 $PPID; sleep 1000`, self(), dir, token))
	require.ErrorContains(t, cmd.Run(), syscall.SIGKILL.String())
	eventually(t, "the end of all processes", func() bool { return len(living(t, token)) == 0 })
}

// TestUnkillable has a step that leaves a process behind which outlives SIGKILL,
// as here one of another user does. It is said, and the next step waits for
// nothing.
func TestUnkillable(t *testing.T) {
	out, pid := unkillable(t, "unkillable")
	require.Equal(t, fmt.Sprintf("failed exit=0 infra: processes cannot be killed: root (%s)\nsuccess exit=0\n", pid), out)
}

// TestUnkillablePrograms: nobody waits for ever for a program that does not end.
func TestUnkillablePrograms(t *testing.T) {
	for mode, want := range map[string]string{"stuck": "", "asked": "true\n"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			out, pid := unkillable(t, mode)
			require.Equal(t, want+fmt.Sprintf("processes cannot be killed: root (%s) [root (%[1]s)]\n", pid), out)
		})
	}
}

// unkillable is what a helper wrote that starts a process which it cannot kill, and
// the pid of that.
func unkillable(t *testing.T, mode string) (string, string) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("SKIPPED: it takes root to make such a process")
	}
	dir, err := os.MkdirTemp("", "unkillable")
	require.NoError(t, err)
	defer os.RemoveAll(dir)
	pids := filepath.Join(dir, "pids")
	require.NoError(t, os.Mkdir(pids, 0o777))
	program, err := os.ReadFile(self())
	require.NoError(t, err)
	exe, root := filepath.Join(dir, "test"), filepath.Join(dir, "root")
	require.NoError(t, os.WriteFile(exe, program, 0o755))
	require.NoError(t, os.WriteFile(root, program, 0o755))
	for path, mode := range map[string]os.FileMode{dir: 0o755, pids: 0o777, root: 0o755 | os.ModeSetuid} {
		require.NoError(t, os.Chmod(path, mode))
	}
	cmd := exec.Command(exe, "helper", mode, dir, root)
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	var out bytes.Buffer
	cmd.Stdout = &out
	require.NoError(t, cmd.Start())
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	select {
	case err = <-done:
	case <-time.After(patience):
		cmd.Process.Kill()
		err = fmt.Errorf("it waits: %w", <-done)
	}
	left, _ := os.ReadDir(pids)
	for _, entry := range left {
		if entry.Name() == "none" {
			t.Skip("SKIPPED: no program becomes root here")
		}
		pid, _ := strconv.Atoi(entry.Name())
		require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
	}
	require.NoError(t, err, out.String())
	require.Len(t, left, 1)
	return out.String(), left[0].Name()
}

// TestProtect has a step that looks into the process that runs it.
func TestProtect(t *testing.T) {
	if goruntime.GOOS != "linux" {
		t.Skip("other systems show nothing to begin with")
	}
	exe := filepath.Join(t.TempDir(), "protected")
	program, err := os.ReadFile(self())
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(exe, program, 0o755))
	for dir := filepath.Dir(exe); dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
		require.NoError(t, os.Chmod(dir, 0o755))
	}
	cmd := exec.Command(exe, "helper", "protected")
	cmd.Env = append(os.Environ(), "CANARY=seen")
	cmd.Dir = "/"
	if os.Getuid() == 0 { // root may look into everything
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Equal(t, "environ closed\nmem closed\nfd closed\nfailed exit=7\nchildren: 0\n", string(out))
	_ = process.Protect
}
