package process

import (
	"io"
	"time"

	"golang.org/x/sys/unix"
)

const (
	smallRead = 64 << 10  // what a pipe holds unless it is changed
	largeRead = 256 << 10 // what one holds that was found full

	// soon is how close together the writes of a busy program come, and rush
	// how many such reads in a row show that it is one. The end of a step is
	// never held back, nor is a lone line but in the first three milliseconds.
	soon = time.Millisecond
	rush = 4

	// pause is how long what a busy program writes may gather: twice as long
	// each time when there was nothing, up to longPause. Then it is busy no
	// more.
	pause     = 200 * time.Microsecond
	longPause = 2 * time.Millisecond
)

// An input reads the output of a step, in chunks as large as they come.
//
// Once a pipe has been polled, Linux looks for somebody to wake at its every
// write, which costs a program that writes line by line a sixth of its time. So
// none is polled before it has to be: a step is taken for one that is over at
// once, which then wakes this process once less, or that writes at once and goes
// on.
type input struct {
	executor *Executor
	fd       int
	buf      []byte
	n        int           // what the last read gave
	at       time.Time     // of the last read
	quick    int           // reads in a row that came soon and were short
	rest     time.Duration // how long output may gather before one looks; 0 is to wait for it
}

// rested says what a rest has brought: something that was read, or nothing.
func (in *input) rested(something bool) {
	switch {
	case something && in.n == largeRead: // more than there is room for
		in.quick, in.rest = 0, 0
	case something:
		in.rest = pause
	case 2*in.rest <= longPause:
		in.rest *= 2
	default:
		in.quick, in.rest = 0, 0
	}
}

// read reads once, from a pipe that has something or is at its end. What it
// returns is good until the next call. It returns io.EOF at the end.
func (in *input) read() ([]byte, error) {
	switch {
	case in.buf == nil:
		in.buf = in.executor.small.Get().(*[smallRead]byte)[:]
	case in.n == smallRead && len(in.buf) == smallRead:
		in.release()
		in.buf = in.executor.large.Get().(*[largeRead]byte)[:]
		widen(in.fd)
	}
	n, err := unix.Read(in.fd, in.buf)
	in.n = max(0, n)
	if err == unix.EINTR || err == unix.EAGAIN {
		return nil, nil
	}
	if n <= 0 { // 0 of a pipe, EIO of a terminal
		return nil, io.EOF
	}
	now := time.Now()
	if n < len(in.buf) && now.Sub(in.at) < soon {
		if in.quick++; in.quick == rush {
			widen(in.fd)
			in.rest = max(in.rest, pause)
		}
	} else {
		in.quick = 0
	}
	in.at = now
	return in.buf[:n], nil
}

// release gives the buffer back.
func (in *input) release() {
	switch len(in.buf) {
	case smallRead:
		in.executor.small.Put((*[smallRead]byte)(in.buf))
	case largeRead:
		in.executor.large.Put((*[largeRead]byte)(in.buf))
	}
	in.buf = nil
}
