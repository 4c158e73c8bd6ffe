//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package process

import (
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// leading are the attributes of a leader: it starts a session of its own. It
// has no terminal then, so Ctrl-C does not reach it and a question for a
// password fails at once.
func leading(exit *int) *syscall.SysProcAttr {
	*exit = -1
	return &syscall.SysProcAttr{Setsid: true}
}

// closingPipe makes a pipe that no child inherits.
func closingPipe(p *[2]int) error {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	if err := unix.Pipe(p[:]); err != nil {
		return err
	}
	unix.CloseOnExec(p[0])
	unix.CloseOnExec(p[1])
	return nil
}

// closingSocket makes a TCP socket that no child inherits.
func closingSocket(family int) (int, error) {
	syscall.ForkLock.RLock()
	defer syscall.ForkLock.RUnlock()
	fd, err := unix.Socket(family, unix.SOCK_STREAM, 0)
	if err == nil {
		unix.CloseOnExec(fd)
	}
	return fd, err
}

// widen does nothing: these systems size their pipes themselves.
func widen(int) {}

// early is the first rest of a step: none, as it would not end with the step.
const early = 0

// nap sleeps for a moment.
func nap(d time.Duration, _ ...int) bool {
	time.Sleep(d)
	return false
}

// holds reports whether there is something to be read in a pipe.
func holds(pipe int) bool {
	fds := []unix.PollFd{{Fd: int32(pipe), Events: unix.POLLIN}}
	unix.Poll(fds, 0)
	return fds[0].Revents&unix.POLLIN != 0
}

// heldDir is a path to a directory that is open. Here it is its name.
func heldDir(_ *os.File, name string) string { return name }

// heldProgram opens a program. Here a child can start it by its own name alone.
func heldProgram(program string, _ int) (held *os.File, name string, err error) {
	held, err = os.Open(program)
	return held, program, err
}

// watchExit returns a file descriptor that is readable once a child has ended.
func watchExit(pid int) (int, error) {
	kq, err := unix.Kqueue()
	if err != nil {
		return -1, err
	}
	unix.CloseOnExec(kq)
	var event unix.Kevent_t
	unix.SetKevent(&event, pid, unix.EVFILT_PROC, unix.EV_ADD)
	event.Fflags = unix.NOTE_EXIT
	_, err = unix.Kevent(kq, []unix.Kevent_t{event}, nil, nil)
	if err == nil {
		return kq, nil
	}
	unix.Close(kq)
	if err != unix.ESRCH {
		return -1, err
	}
	// It has ended already: the end of a pipe without another is readable.
	var p [2]int
	if err := closingPipe(&p); err != nil {
		return -1, err
	}
	unix.Close(p[1])
	return p[0], nil
}

// awaitExit waits for a child to end, and leaves it to be reaped.
func awaitExit(pid int) {
	fd, err := watchExit(pid)
	if err != nil {
		time.Sleep(time.Millisecond) // the caller looks again
		return
	}
	unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
	unix.Close(fd)
}

// sharedFile makes a file without a name that no child inherits.
func sharedFile() (*os.File, error) {
	f, err := os.CreateTemp("", "piper-guard-*")
	if err != nil {
		return nil, err
	}
	return f, os.Remove(f.Name())
}

// Protect does nothing here: the system lets only root look into a process, or
// a debugger that the user has allowed.
func Protect() error { return nil }

// Expendable does nothing here: nobody can tell the system.
func Expendable() {}

// setAside has a process, and what it will start, get little of a processor that
// others want. Where that is not allowed it gets its share.
func setAside(pid int) {
	if nice, err := unix.Getpriority(unix.PRIO_PROCESS, pid); err == nil {
		unix.Setpriority(unix.PRIO_PROCESS, pid, min(19, nice+10))
	}
}
