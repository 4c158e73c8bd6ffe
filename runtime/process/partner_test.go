package process_test

import (
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/process"
)

func TestConverse(t *testing.T) {
	p, err := process.Converse([]string{"X=1"}, []string{"/bin/sh", "-c", `echo $X; pwd; read line; echo "heard $line"; echo oops >&2; exit 4`})
	require.NoError(t, err)
	_, err = io.WriteString(p, "hello\n")
	require.NoError(t, err)
	said, err := io.ReadAll(p)
	require.NoError(t, err)
	require.Equal(t, "1\n/\nheard hello\n", string(said))
	status, stderr, err := p.Wait()
	require.NoError(t, err)
	require.Equal(t, 4, status.ExitStatus())
	require.Equal(t, "oops\n", stderr)
	p.Kill() // which is not too late

	_, err = process.Converse(nil, []string{"/no/such/program"})
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = process.Converse([]string{"PATH=/none"}, []string{"sh"})
	require.ErrorIs(t, err, exec.ErrNotFound)
}

// TestConverseKilled: Kill ends a program that does not listen, what it has
// started, and whoever reads from it or writes to it.
func TestConverseKilled(t *testing.T) {
	dir, token := t.TempDir(), token()
	p, err := process.Converse(os.Environ(), []string{"/bin/sh", "-c", self() + " helper stubborn " + dir + " " + token + " & " + self() + " helper stubborn " + dir + " " + token})
	require.NoError(t, err)
	written := make(chan error)
	go func() {
		_, err := p.Write(make([]byte, 1<<20)) // more than a pipe holds
		written <- err
	}()
	eventually(t, "the program", func() bool { return files(dir) == 2 })
	p.Kill()
	require.Error(t, <-written)
	_, err = io.ReadAll(p)
	require.Error(t, err)
	status, _, err := p.Wait()
	require.NoError(t, err)
	require.Equal(t, syscall.SIGKILL, status.Signal())
	require.Empty(t, living(t, token))
}

// TestConverseInterrupted: what the program makes of it is its own.
func TestConverseInterrupted(t *testing.T) {
	p, err := process.Converse(os.Environ(), []string{"/bin/sh", "-c", `trap "echo heard; exit 3" INT; echo ready; while :; do sleep 0.01; done`})
	require.NoError(t, err)
	ready := make([]byte, len("ready\n"))
	_, err = io.ReadFull(p, ready)
	require.NoError(t, err)
	p.Interrupt()
	said, err := io.ReadAll(p)
	require.NoError(t, err)
	require.Equal(t, "heard\n", string(said))
	status, _, err := p.Wait()
	require.NoError(t, err)
	require.Equal(t, 3, status.ExitStatus())
	p.Interrupt() // which is not too late
}

// TestConverseLoud: of what goes to standard error the first is kept, however
// much it is.
func TestConverseLoud(t *testing.T) {
	p, err := process.Converse(os.Environ(), []string{"/bin/sh", "-c", "head -c 1000000 /dev/zero | tr '\\0' x >&2"})
	require.NoError(t, err)
	_, err = io.ReadAll(p)
	require.NoError(t, err)
	status, stderr, err := p.Wait()
	require.NoError(t, err)
	require.Equal(t, 0, status.ExitStatus())
	require.Equal(t, strings.Repeat("x", 64<<10), stderr)
}
