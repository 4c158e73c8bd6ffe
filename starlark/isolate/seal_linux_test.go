package isolate_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/piper-build/piper/starlark/isolate"
)

// deeds are what a child must not be able to do.
var deeds = map[string]func() error{
	"read a file":      func() error { _, err := os.ReadFile("/etc/passwd"); return err },
	"write a file":     func() error { return os.WriteFile("/tmp/piper-deed", nil, 0o666) },
	"list a directory": func() error { _, err := os.ReadDir("/"); return err },
	"remove a file":    func() error { return os.Remove("/tmp/piper-no-deed") },
	"connect":          func() error { _, err := net.Dial("tcp", "127.0.0.1:9"); return err },
	"listen":           func() error { _, err := net.Listen("tcp", "127.0.0.1:0"); return err },
	"open a socket":    func() error { _, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM, 0); return err },
	"start a program":  func() error { return exec.CommandContext(context.Background(), "/bin/true").Run() },
	"kill another":     func() error { return unix.Kill(os.Getppid(), 0) },
	"trace another":    func() error { return unix.PtraceAttach(os.Getppid()) },
	"raise a limit": func() error {
		return unix.Setrlimit(unix.RLIMIT_CPU, &unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY})
	},
	"map a program": func() error {
		_, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_EXEC, unix.MAP_ANON|unix.MAP_PRIVATE)
		return err
	},
}

// byLandlock are those that Landlock bars by itself. It knows TCP, but not the
// multipath TCP that Go listens with.
var byLandlock = []string{"read a file", "write a file", "list a directory", "start a program", "connect"}

// doDeeds seals this process in one way and says which deeds it could do.
func doDeeds(how string) int {
	switch how {
	case "inherited":
		return keepFiles()
	case "seal":
		held, err := isolate.Seal(256<<20, 60)
		if err != nil {
			fmt.Println(err)
			return 1
		}
		if !held.Seccomp {
			fmt.Println("unsupported")
			return 0
		}
	case "seccomp":
		if err := isolate.Seccomp(); err != nil {
			fmt.Println("unsupported")
			return 0
		}
	case "landlock":
		if isolate.Landlock() < 4 { // which knows of TCP
			fmt.Println("unsupported")
			return 0
		}
	}
	for name, deed := range deeds {
		if err := deed(); !errors.Is(err, os.ErrPermission) {
			fmt.Printf("could %s: %v\n", name, err)
		}
	}
	fmt.Println("done")
	return 0
}

// TestSealed: a process that is sealed can do none of the deeds, nor one that
// either half of the seal holds by itself.
func TestSealed(t *testing.T) {
	for _, how := range []string{"seal", "seccomp", "landlock"} {
		t.Run(how, func(t *testing.T) {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), "PIPER_TEST_DEEDS="+how)
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s", out)
			if string(out) == "unsupported\n" {
				t.Skip("this kernel cannot")
			}
			require.Contains(t, string(out), "done\n")
			if how != "landlock" {
				require.Equal(t, "done\n", string(out))
			}
			for _, name := range byLandlock {
				require.NotContains(t, string(out), "could "+name+":")
			}
		})
	}
}

// TestProbe says what holds here, so that a test that is skipped is noticed.
func TestProbe(t *testing.T) {
	held, err := evaluator().Probe(t.Context())
	require.NoError(t, err)
	require.True(t, held.Memory)
	require.True(t, held.Time)
	t.Logf("%+v", held)
}

// keepFiles seals this process, and says what it has left of its files.
func keepFiles() int {
	time.Sleep(time.Millisecond) // the runtime opens files of its own for its timers
	if _, err := isolate.Seal(256<<20, 60); err != nil {
		fmt.Println(err)
		return 1
	}
	if _, err := unix.Write(3, []byte("x")); err != unix.EBADF {
		fmt.Println("what was inherited is open:", err)
	}
	time.Sleep(time.Millisecond) // and needs them
	fmt.Println("done")
	return 0
}

// TestInherited: no file that was left open reaches a child; the Go runtime
// keeps its own.
func TestInherited(t *testing.T) {
	_, left, err := os.Pipe()
	require.NoError(t, err)
	defer left.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "PIPER_TEST_DEEDS=inherited")
	cmd.ExtraFiles = []*os.File{left}
	said, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", said)
	require.Equal(t, "done\n", string(said))
}
