// Package server runs a RethinkDB server that can be killed, stopped and cut off.
package server

import (
	"fmt"
	"net"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// A Process is a rethinkdb from PATH.
type Process struct {
	Host string
	*exec.Cmd
	dir             string
	driver, cluster int // ports
	flags           []string
	ended           chan struct{}
}

// Start starts a server whose data is in dir, on ports that nobody has.
func Start(dir string, flags ...string) (*Process, error) {
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	return start(dir, ports[0], ports[1], flags)
}

// StartAgain starts a server that has ended, with the same data on the same ports.
func StartAgain(p *Process) (*Process, error) { return start(p.dir, p.driver, p.cluster, p.flags) }

func start(dir string, driver, cluster int, flags []string) (*Process, error) {
	var said strings.Builder
	c := exec.Command("rethinkdb", append([]string{"--directory", dir, "--bind", "127.0.0.1", "--driver-port", fmt.Sprint(driver), "--cluster-port", fmt.Sprint(cluster),
		"--no-http-admin", "--no-update-check", "--no-default-bind", "--cache-size", "256", "--server-name", fmt.Sprint("test_", driver)}, flags...)...)
	c.Stdout, c.Stderr = &said, &said
	bind(c)
	if err := c.Start(); err != nil {
		return nil, err
	}
	p := &Process{Host: fmt.Sprintf("127.0.0.1:%d", driver), Cmd: c, dir: dir, driver: driver, cluster: cluster, flags: flags, ended: make(chan struct{})}
	go func() {
		defer close(p.ended)
		c.Wait()
	}()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if conn, err := net.Dial("tcp", p.Host); err == nil {
			conn.Close()
			return p, nil
		}
		select {
		case <-p.ended:
			return nil, fmt.Errorf("rethinkdb ended: %s", said.String())
		default:
		}
	}
	p.Kill()
	return nil, fmt.Errorf("rethinkdb does not answer on %s", p.Host)
}

// Join are the flags with which another server joins this one.
func (p *Process) Join() []string { return []string{"--join", fmt.Sprint("127.0.0.1:", p.cluster)} }

// Kill ends the server at once, and waits for that.
func (p *Process) Kill() {
	p.Process.Kill()
	<-p.ended
}

// Alive reports whether the server has not ended.
func (p *Process) Alive() bool {
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// Stop has the server do nothing until Continue; its connections stay.
func (p *Process) Stop() error { return p.Process.Signal(syscall.SIGSTOP) }

// Continue ends a Stop.
func (p *Process) Continue() error { return p.Process.Signal(syscall.SIGCONT) }

func freePorts(n int) (ports []int, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close()
		ports = append(ports, l.Addr().(*net.TCPAddr).Port)
	}
	return ports, nil
}
