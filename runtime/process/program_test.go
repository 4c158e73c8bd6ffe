package process_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/piper-build/piper/runtime/process"
)

func TestOutput(t *testing.T) {
	dir := t.TempDir()
	out, err := process.Output(t.Context(), dir, []string{"PATH=" + os.Getenv("PATH"), "X=1"}, "sh", "-c", `printf "$X $(pwd -P) $(cat | wc -c | tr -d ' ')"; echo seen >&2`)
	require.NoError(t, err)
	real, err := filepath.EvalSymlinks(dir)
	require.NoError(t, err)
	require.Equal(t, "1 "+real+" 0", string(out))
}

func TestOutputErrors(t *testing.T) {
	for _, c := range []struct {
		script string
		want   process.ExitError
		text   string
	}{
		{`exit 3`, process.ExitError{Program: "sh", Exit: 3}, "sh: exit status 3"},
		{`echo '  no such thing  ' >&2; exit 128`, process.ExitError{Program: "sh", Exit: 128, Stderr: "no such thing"}, "sh: exit status 128: no such thing"},
		{`kill -9 $$`, process.ExitError{Program: "sh", Exit: -1, Signal: "killed"}, "sh: killed"},
	} {
		_, err := process.Output(t.Context(), "", nil, "sh", "-c", c.script)
		var exit *process.ExitError
		require.ErrorAs(t, err, &exit)
		require.Equal(t, c.want, *exit)
		require.EqualError(t, err, c.text)
		require.Equal(t, c.want.Exit, exit.ExitCode())
	}

	_, err := process.Output(t.Context(), "", nil, "no-such-program")
	require.ErrorIs(t, err, exec.ErrNotFound)
	_, err = process.Output(t.Context(), "", []string{"PATH=" + t.TempDir()}, "sh")
	require.ErrorIs(t, err, exec.ErrNotFound)
	_, err = process.Output(t.Context(), "", nil, self(), "helper", "flood", "65", "0")
	require.ErrorIs(t, err, process.ErrOutput)
	_, err = process.Output(t.Context(), filepath.Join(t.TempDir(), "no"), nil, "sh")
	require.ErrorIs(t, err, os.ErrNotExist)
}

func TestOutputCancelled(t *testing.T) {
	dir, token := t.TempDir(), token()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		eventually(t, "the program", func() bool { return files(dir) == 2 })
		cancel()
	}()
	_, err := process.Output(ctx, "", nil, "sh", "-c", self()+" helper stubborn "+dir+" "+token+" & "+self()+" helper stubborn "+dir+" "+token)
	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, living(t, token))
}

func TestInteractive(t *testing.T) {
	var stdout, stderr bytes.Buffer
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "f"), nil, 0o600))
	err := process.Interactive(t.Context(), dir, []string{"PATH=" + os.Getenv("PATH"), "X=1"}, []string{"sh"},
		strings.NewReader("ls; echo $X; echo oops >&2; exit 4\n"), &stdout, &stderr)
	var exit *process.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 4, exit.Exit)
	require.Equal(t, "f\n1\n", stdout.String())
	require.Equal(t, "oops\n", stderr.String())
	require.NoError(t, process.Interactive(t.Context(), dir, nil, []string{"true"}, nil, nil, nil))
	require.ErrorIs(t, process.Interactive(t.Context(), dir, nil, []string{"no-such-program"}, nil, nil, nil), exec.ErrNotFound)
}

// TestInteractiveTerminal has a person press Ctrl-C: the shell must get it, and
// the process that started the shell must have the terminal back afterwards.
func TestInteractiveTerminal(t *testing.T) {
	cmd := exec.Command(self(), "helper", "interactive")
	terminal, err := pty.Start(cmd)
	require.NoError(t, err)
	defer terminal.Close()
	said := make(chan string)
	go func() {
		var all []byte
		buf := make([]byte, 4096)
		for {
			n, err := terminal.Read(buf)
			all = append(all, buf[:n]...)
			if bytes.Contains(all, []byte("ready\r\n")) && !bytes.Contains(all, []byte("^C")) {
				unix.Write(int(terminal.Fd()), []byte{3})
			}
			if err != nil {
				said <- string(all)
				return
			}
		}
	}()
	select {
	case all := <-said:
		require.Contains(t, all, "caught\r\n")
		require.Contains(t, all, "back\r\n")
	case <-time.After(patience):
		cmd.Process.Kill()
		t.Fatal("waited in vain: ", <-said)
	}
	require.NoError(t, cmd.Wait())
}

// A program that is being started is no stranger to one that has just ended.
func TestOutputSideBySide(t *testing.T) {
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 250 {
				if _, err := process.Output(t.Context(), "", nil, "true"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

// What is run aside makes room for others, and so does what it starts.
func TestOutputAside(t *testing.T) {
	out, err := process.Output(t.Context(), "", nil, "nice")
	require.NoError(t, err)
	before, err := strconv.Atoi(strings.TrimSpace(string(out)))
	require.NoError(t, err)
	// It is so from soon after the start on.
	out, err = process.OutputAside(t.Context(), "", nil, "sh", "-c", `while test "$(nice)" = "$0"; do :; done; nice`, strconv.Itoa(before))
	require.NoError(t, err)
	require.Equal(t, strconv.Itoa(min(19, before+10)), strings.TrimSpace(string(out)))

	_, err = process.OutputAside(t.Context(), "", nil, "sh", "-c", "exit 3")
	var exit *process.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 3, exit.Exit)
}
