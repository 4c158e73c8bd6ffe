package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// A Partner is a program that Piper talks with: Write is its standard input,
// Read its standard output. It has a session of its own, which Ctrl-C does not
// reach. Somebody must Wait for it.
type Partner struct {
	cmd    *exec.Cmd
	tree   *tree
	in     *os.File // written by us
	out    *os.File // read by us
	stderr bytes.Buffer

	mu     sync.Mutex
	killed chan struct{} // closed by Kill
	dying  bool          // it is
	reaped bool          // its pid no longer means it
}

// Converse starts a program with exactly the environment env.
func Converse(env, argv []string) (*Partner, error) { return Confinement{}.Converse(env, argv) }

// Converse starts a program with exactly the environment env, confined.
func (c Confinement) Converse(env, argv []string) (*Partner, error) {
	p := &Partner{tree: &tree{role: helper}, killed: make(chan struct{})}
	p.cmd = program(context.Background(), "/", env, argv)
	theirIn, in, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	defer theirIn.Close()
	out, theirOut, err := os.Pipe()
	if err != nil {
		in.Close()
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	defer theirOut.Close()
	p.in, p.out = in, out
	p.cmd.Stdin, p.cmd.Stdout = theirIn, theirOut
	p.cmd.Stderr = &limited{to: &p.stderr, room: maxStderr}
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	p.cmd.WaitDelay = defaultDrain / 10 // of what it left behind, which is about to be killed
	err = c.confined(func() error {
		return family.fork(p.tree, func() (int, error) {
			if err := p.cmd.Start(); err != nil {
				return 0, err
			}
			return p.cmd.Process.Pid, nil
		})
	})
	if err != nil {
		in.Close()
		out.Close()
		return nil, fmt.Errorf("start %s: %w", argv[0], err)
	}
	return p, nil
}

// Pid returns the program's process id.
func (p *Partner) Pid() int { return p.cmd.Process.Pid }

// Read reads what the program wrote.
func (p *Partner) Read(b []byte) (int, error) { return p.out.Read(b) }

// Write writes what the program will read. It waits while that does not.
func (p *Partner) Write(b []byte) (int, error) { return p.in.Write(b) }

// Kill kills the program's group, and ends every Read and Write, whoever else
// may hold the other ends. It does not wait. Any goroutine may call it, at any
// time.
func (p *Partner) Kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.dying {
		p.dying = true
		close(p.killed)
	}
	if !p.reaped {
		syscall.Kill(-p.Pid(), syscall.SIGKILL)
	}
	p.in.SetDeadline(time.Unix(1, 0))
	p.out.SetDeadline(time.Unix(1, 0))
}

// Interrupt sends the program a SIGINT. Any goroutine may call it, at any time.
func (p *Partner) Interrupt() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.reaped {
		syscall.Kill(p.Pid(), syscall.SIGINT)
	}
}

// Wait waits for the program to end, kills what it left, and returns how it
// ended and the first 64 KiB of its standard error. It is called once. The error is
// an *Unkillable when something lives on, the program itself perhaps.
func (p *Partner) Wait() (syscall.WaitStatus, string, error) {
	defer p.in.Close()
	defer p.out.Close()
	err, stuck := p.tree.outlive(p.killed, func() error {
		err := p.cmd.Wait()
		p.mu.Lock()
		defer p.mu.Unlock()
		p.reaped = true
		return err
	})
	if stuck != nil {
		return 0, "", stuck
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		return 0, "", fmt.Errorf("wait for %s: %w", p.cmd.Path, err)
	}
	return p.cmd.ProcessState.Sys().(syscall.WaitStatus), p.stderr.String(), nil
}
