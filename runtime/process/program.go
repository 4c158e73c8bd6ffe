package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

const (
	// MaxOutput is how much a program run by Output may write.
	MaxOutput = 64 << 20

	maxStderr = 64 << 10 // the first of it is kept
)

// ErrOutput is the error of a program that wrote more than MaxOutput.
var ErrOutput = errors.New("more output than 64 MiB")

// An ExitError is the error of a program that ran and did not succeed.
type ExitError struct {
	Program string // the first word of its command line
	Exit    int    // -1 when a signal ended it
	Signal  string // such as "killed"
	Stderr  string // the first of it, trimmed
}

func (e *ExitError) Error() string {
	how := fmt.Sprintf("exit status %d", e.Exit)
	if e.Signal != "" {
		how = e.Signal
	}
	if e.Stderr == "" {
		return e.Program + ": " + how
	}
	return e.Program + ": " + how + ": " + e.Stderr
}

// ExitCode returns e.Exit, as the exec.ExitError of the standard library does.
func (e *ExitError) ExitCode() int { return e.Exit }

// Output runs a short program that Piper needs for itself, such as git, in dir
// and with the environment env, where nil is that of this process. It returns
// what the program wrote to its standard output. Its input is empty. A program
// that runs when ctx is done is killed, and so is what it leaves behind.
//
// The error is an *ExitError when the program ran, wraps exec.ErrNotFound when
// it is not in the PATH of env, ErrOutput when it wrote too much, ctx.Err when that
// ended it, and an *Unkillable when it did not.
func Output(ctx context.Context, dir string, env []string, argv ...string) ([]byte, error) {
	return output(ctx, false, dir, env, argv)
}

// OutputAside is Output for what nobody waits for: while others want the
// processor, the program gets little of it.
func OutputAside(ctx context.Context, dir string, env []string, argv ...string) ([]byte, error) {
	return output(ctx, true, dir, env, argv)
}

func output(ctx context.Context, aside bool, dir string, env, argv []string) ([]byte, error) {
	var stdout, stderr bytes.Buffer
	cmd := program(ctx, dir, env, argv)
	out := &limited{to: &stdout, room: MaxOutput, strict: true}
	// Not a pipe of cmd's: that is given up a while after the program has ended, also
	// when it is only for want of a processor that not all was read.
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("run %s: %w", argv[0], err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		defer r.Close()
		io.Copy(out, r)
	}()
	cmd.Stdout, cmd.Stderr = w, &limited{to: &stderr, room: maxStderr}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = defaultDrain
	err = run(cmd, ctx.Done(), aside)
	w.Close()
	if errors.As(err, new(*Unkillable)) {
		r.SetReadDeadline(time.Now())
	}
	<-read // whoever else held the other end was killed
	switch {
	case out.over:
		return nil, fmt.Errorf("run %s: %w", argv[0], ErrOutput)
	case err == nil || errors.Is(err, exec.ErrWaitDelay):
		return stdout.Bytes(), nil
	case errors.As(err, new(*Unkillable)):
		return nil, fmt.Errorf("run %s: %w", argv[0], errors.Join(ctx.Err(), err))
	case ctx.Err() != nil:
		return nil, fmt.Errorf("run %s: %w", argv[0], ctx.Err())
	}
	return nil, exited(argv[0], err, stderr.String())
}

// Interactive runs a program for a person, such as a shell: in dir, with
// exactly the environment env, and with these streams. When stdin is a terminal
// the program has it to itself until it ends, so Ctrl-C is its affair. The
// error is an *ExitError when the program ran and did not succeed.
func Interactive(ctx context.Context, dir string, env, argv []string, stdin io.Reader, stdout, stderr io.Writer) error {
	cmd := program(ctx, dir, env, argv)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, stdout, stderr
	cmd.WaitDelay = defaultDrain
	if tty, ok := stdin.(*os.File); ok && term.IsTerminal(int(tty.Fd())) {
		group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
		if err == nil && group == unix.Getpgrp() {
			cmd.SysProcAttr = &syscall.SysProcAttr{Foreground: true, Ctty: int(tty.Fd())}
			defer takeBack(tty, group)
		}
	}
	if err := run(cmd, nil, false); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		return exited(argv[0], err, "")
	}
	return nil
}

// takeBack makes this process the foreground of its terminal again, which the
// terminal allows a background process only while SIGTTOU is ignored.
func takeBack(tty *os.File, group int) {
	signal.Ignore(syscall.SIGTTOU)
	defer signal.Reset(syscall.SIGTTOU)
	unix.IoctlSetPointerInt(int(tty.Fd()), unix.TIOCSPGRP, group)
}

// program is a command that finds its program in the PATH that it is given.
func program(ctx context.Context, dir string, env, argv []string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Env = dir, env
	if env == nil || strings.Contains(argv[0], "/") {
		return cmd
	}
	path, err := find(argv[0], dir, lookup(env, "PATH"))
	if err != nil {
		cmd.Err = &exec.Error{Name: argv[0], Err: exec.ErrNotFound}
		return cmd
	}
	cmd.Path, cmd.Err = path, nil
	return cmd
}

// run runs a command as a tree of its own; aside, it leaves the processor to others.
// The error is an *Unkillable when it does not end though killed is done, or leaves
// what does not.
func run(cmd *exec.Cmd, killed <-chan struct{}, aside bool) error {
	t := &tree{role: helper}
	err := family.fork(t, func() (int, error) {
		if err := cmd.Start(); err != nil {
			return 0, err
		}
		return cmd.Process.Pid, nil
	})
	if err != nil {
		return err
	}
	if aside {
		setAside(cmd.Process.Pid)
	}
	if cmd.SysProcAttr == nil || !cmd.SysProcAttr.Setsid {
		err = cmd.Wait()
		family.reaped(t)
		family.end(t)
		return err
	}
	err, stuck := t.outlive(killed, cmd.Wait)
	if stuck != nil {
		return stuck
	}
	return err
}

// exited says how a program failed.
func exited(name string, err error, stderr string) error {
	var e *exec.ExitError
	if !errors.As(err, &e) {
		return fmt.Errorf("run %s: %w", name, err)
	}
	failed := &ExitError{Program: name, Exit: e.ExitCode(), Stderr: strings.TrimSpace(stderr)}
	if s, ok := e.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		failed.Signal = s.Signal().String()
	}
	return failed
}

// A limited writer passes on what there is room for. More is dropped, or an
// error when it is strict.
type limited struct {
	to     io.Writer
	room   int
	strict bool
	over   bool // there was more
}

func (w *limited) Write(p []byte) (int, error) {
	n := min(len(p), w.room)
	w.over = w.over || n < len(p)
	if w.over && w.strict {
		return 0, ErrOutput
	}
	w.room -= n
	if _, err := w.to.Write(p[:n]); err != nil {
		return 0, err
	}
	return len(p), nil
}
