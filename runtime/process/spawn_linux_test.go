//go:build amd64 || arm64

package process_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/piper-build/piper/runtime/process"
)

// TestForkExec holds forkExec against the one of package syscall.
func TestForkExec(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"data": "data", "script": "exit 7"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755))
	}
	require.NoError(t, os.Chmod(filepath.Join(dir, "data"), 0o644))
	long := strings.Repeat("x", 128<<10)
	for _, c := range []struct {
		name, path string
		argv, env  []string
		dir        string
		session    bool
	}{
		{name: "what it is given", path: "/bin/sh", argv: []string{"sh", "-c", `echo "$0|$1|$A|$PWD"; pwd; echo to stderr >&2; cat; exit 3`, "", "b c"}, env: []string{"A=é", "PATH=/usr/bin:/bin"}, dir: "/usr"},
		{name: "no directory", path: "/bin/pwd", argv: []string{"pwd"}},
		{name: "relative", path: "bin/pwd", argv: []string{"pwd"}, dir: "/"},
		{name: "signals", path: "/bin/grep", argv: []string{"grep", "^Sig[BIC]", "/proc/self/status"}},
		{name: "open files", path: "/bin/ls", argv: []string{"ls", "/proc/self/fd"}},
		{name: "its group", path: "/bin/sh", argv: []string{"sh", "-c", `read pid name state parent group session rest </proc/self/stat; echo $(($$ == group)) $(($$ == session))`}},
		{name: "its session", path: "/bin/sh", argv: []string{"sh", "-c", `read pid name state parent group session rest </proc/self/stat; echo $(($$ == group)) $(($$ == session))`}, session: true},
		{name: "killed", path: "/bin/sh", argv: []string{"sh", "-c", "kill -TERM $$"}},
		{name: "not there", path: "/no/such", argv: []string{"such"}},
		{name: "no directory of that name", path: "/bin/pwd", argv: []string{"pwd"}, dir: "/no/such"},
		{name: "not executable", path: dir + "/data", argv: []string{"data"}},
		{name: "no program", path: dir + "/script", argv: []string{"script"}},
		{name: "long argument", path: "/bin/true", argv: []string{"true", long}},
		{name: "zero byte in the path", path: "/bin/\x00", argv: []string{"true"}},
		{name: "zero byte in the directory", path: "/bin/true", argv: []string{"true"}, dir: "/\x00"},
		{name: "zero byte in an argument", path: "/bin/true", argv: []string{"true", "\x00"}},
		{name: "zero byte in the environment", path: "/bin/true", argv: []string{"true"}, env: []string{"A=\x00"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			attr := syscall.ProcAttr{Dir: c.dir, Env: c.env, Sys: &syscall.SysProcAttr{Setsid: c.session, Setpgid: !c.session}}
			wantOutput, wantStatus, wantErr := run(t, syscall.ForkExec, c.path, c.argv, attr)
			output, status, err := run(t, process.ForkExec, c.path, c.argv, attr)
			require.Equal(t, wantErr, err)
			require.Equal(t, wantStatus, status)
			require.Equal(t, wantOutput, output)
		})
	}
}

// run runs a program to its end, by way of start.
func run(t *testing.T, start func(string, []string, *syscall.ProcAttr) (int, error), path string, argv []string, attr syscall.ProcAttr) (output string, status syscall.WaitStatus, err error) {
	null, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer null.Close()
	out, err := os.Create(filepath.Join(t.TempDir(), "out"))
	require.NoError(t, err)
	defer out.Close()
	pidfd := -1
	sys := *attr.Sys
	sys.PidFD = &pidfd
	attr.Sys = &sys
	attr.Files = []uintptr{null.Fd(), out.Fd(), out.Fd()}
	pid, err := start(path, argv, &attr)
	if err != nil {
		require.Equal(t, -1, pidfd)
		_, none := unix.Wait4(-1, nil, unix.WNOHANG, nil)
		require.Equal(t, unix.ECHILD, none, "a child is left")
		return "", 0, err
	}
	defer unix.Close(pidfd)
	fds := []unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}
	for {
		if _, err := unix.Poll(fds, -1); err != unix.EINTR {
			require.NoError(t, err)
			break
		}
	}
	_, err = syscall.Wait4(pid, &status, 0, nil)
	require.NoError(t, err)
	text, err := os.ReadFile(out.Name())
	require.NoError(t, err)
	return string(text), status, nil
}

// TestForkExecAtOnce starts many programs from many threads, some of which fail.
func TestForkExecAtOnce(t *testing.T) {
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for i := range 100 {
				pidfd := -1
				null, err := os.Open(os.DevNull)
				if err != nil {
					t.Error(err)
					return
				}
				attr := &syscall.ProcAttr{Files: []uintptr{null.Fd(), null.Fd(), null.Fd()}, Sys: &syscall.SysProcAttr{Setpgid: true, PidFD: &pidfd}}
				pid, err := process.ForkExec([]string{"/bin/true", "/no/such"}[i%2], []string{"it"}, attr)
				null.Close()
				if i%2 == 1 {
					if err != syscall.ENOENT {
						t.Error(err)
					}
					continue
				}
				unix.Close(pidfd)
				var status syscall.WaitStatus
				if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil || status != 0 {
					t.Error(err, status)
				}
			}
		})
	}
	all.Wait()
}

// TestOpenFilesLimit has a step find the limit that this process found, which
// Go has raised for itself.
func TestOpenFilesLimit(t *testing.T) {
	cmd := exec.Command("sh", "-c", `ulimit -Sn 123; exec "$0" helper step sh -c "ulimit -Sn"`, self())
	out, err := cmd.CombinedOutput()
	require.NoError(t, err)
	require.Equal(t, "123\nsuccess exit=0\n", string(out))
}
