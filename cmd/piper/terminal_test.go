package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/creack/pty"
	"github.com/stretchr/testify/require"
)

// patience is how long a test waits for what must come. It is never reached
// when all is well.
const patience = 2 * time.Minute

// A terminal has a program running in it.
type terminal struct {
	t    *testing.T
	cmd  *exec.Cmd
	tty  *os.File
	mu   sync.Mutex
	read bytes.Buffer // what was written to it and nobody has looked for yet
	more chan struct{}
}

// startTerminal runs argv in dir, in a terminal of its own.
func startTerminal(t *testing.T, dir string, argv []string, env ...string) *terminal {
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "PS1=", "PS2=", "TERM=dumb", "HOME="+t.TempDir(), "XDG_CONFIG_HOME=", "XDG_DATA_HOME=",
		"XDG_CACHE_HOME=", "XDG_DATA_HOME=", "XDG_STATE_HOME=", "LC_ALL=C.UTF-8", "INPUTRC=/dev/null", "HISTFILE=", "ENV=")
	cmd.Env = append(cmd.Env, env...)
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: 200})
	require.NoError(t, err)
	s := &terminal{t: t, cmd: cmd, tty: tty, more: make(chan struct{}, 1)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		buf := make([]byte, 4096)
		for {
			n, err := tty.Read(buf)
			s.mu.Lock()
			s.read.Write(buf[:n])
			s.mu.Unlock()
			select {
			case s.more <- struct{}{}:
			default:
			}
			if err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			cmd.Process.Kill()
			cmd.Wait()
		}
		tty.Close()
		<-done
	})
	return s
}

func (s *terminal) send(text string) {
	s.t.Helper()
	_, err := s.tty.WriteString(text)
	require.NoError(s.t, err)
}

// expect waits for text and returns what came before it.
func (s *terminal) expect(text string) string {
	s.t.Helper()
	deadline := time.After(patience)
	for {
		s.mu.Lock()
		seen := strings.ReplaceAll(s.read.String(), "\r", "")
		if before, after, ok := strings.Cut(seen, text); ok {
			s.read.Reset()
			s.read.WriteString(after)
			s.mu.Unlock()
			return before
		}
		s.mu.Unlock()
		select {
		case <-s.more:
		case <-deadline:
			require.FailNow(s.t, "the terminal never showed "+text, seen)
		}
	}
}

// exit waits for the program to end and returns its exit code.
func (s *terminal) exit() int {
	s.t.Helper()
	s.cmd.Wait()
	return s.cmd.ProcessState.ExitCode()
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o666))
}
