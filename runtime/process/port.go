package process

import (
	"time"

	"golang.org/x/sys/unix"
)

// Answers reports whether a port of this machine takes a TCP connection, at
// 127.0.0.1 or at ::1. (Package net would do as well, and cost every command a
// slower start.)
func Answers(port int) bool {
	return connects(unix.AF_INET, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}) ||
		connects(unix.AF_INET6, &unix.SockaddrInet6{Port: port, Addr: [16]byte{15: 1}})
}

// answerTime is how long this machine has to answer itself: less only when
// whoever listens has no room for another connection.
const answerTime = 250 * time.Millisecond

func connects(family int, to unix.Sockaddr) bool {
	fd, err := closingSocket(family)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	if err := unix.SetNonblock(fd, true); err != nil {
		return false
	}
	switch err := unix.Connect(fd, to); err {
	case nil:
	case unix.EINPROGRESS, unix.EINTR:
		if !connected(fd) {
			return false
		}
	default:
		return false
	}
	// Where nobody listens, a socket that was given that very port for its own
	// end is connected to itself.
	here, err := unix.Getsockname(fd)
	return err == nil && portOf(here) != portOf(to)
}

// connected waits for the outcome of a connect.
func connected(fd int) bool {
	deadline := time.Now().Add(answerTime)
	for {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		left := max(0, time.Until(deadline))
		n, err := unix.Poll(fds, int(left/time.Millisecond))
		switch {
		case err == unix.EINTR:
		case n <= 0:
			return false
		default:
			code, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
			return err == nil && code == 0
		}
	}
}

func portOf(a unix.Sockaddr) int {
	switch a := a.(type) {
	case *unix.SockaddrInet4:
		return a.Port
	case *unix.SockaddrInet6:
		return a.Port
	}
	return 0
}
