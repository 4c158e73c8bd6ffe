package process

import (
	"fmt"

	"github.com/creack/pty"
	"golang.org/x/sys/unix"
)

// openOutput makes what a step writes to, w, and the end where that is read.
func openOutput(tty bool) (r, w int, err error) {
	if !tty {
		var p [2]int
		if err := closingPipe(&p); err != nil {
			return -1, -1, fmt.Errorf("open pipe: %w", err)
		}
		return p[0], p[1], nil
	}
	master, slave, err := pty.Open()
	if err != nil {
		return -1, -1, fmt.Errorf("open terminal: %w", err)
	}
	defer master.Close()
	defer slave.Close()
	if err := pty.Setsize(master, &pty.Winsize{Rows: 24, Cols: 80}); err != nil {
		return -1, -1, fmt.Errorf("size terminal: %w", err)
	}
	if err := plainOutput(int(slave.Fd())); err != nil {
		return -1, -1, fmt.Errorf("set up terminal: %w", err)
	}
	if r, err = duplicate(int(master.Fd())); err != nil {
		return -1, -1, fmt.Errorf("open terminal: %w", err)
	}
	if w, err = duplicate(int(slave.Fd())); err != nil {
		unix.Close(r)
		return -1, -1, fmt.Errorf("open terminal: %w", err)
	}
	return r, w, nil
}

// plainOutput makes a terminal pass on what is written to it as it is, a line
// feed alone included.
func plainOutput(fd int) error {
	t, err := unix.IoctlGetTermios(fd, getTermios)
	if err != nil {
		return err
	}
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO
	return unix.IoctlSetTermios(fd, setTermios, t)
}

// duplicate gives an open file another descriptor that no child inherits.
func duplicate(fd int) (int, error) {
	return unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3)
}
