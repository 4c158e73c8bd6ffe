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
	// how many such reads in a row show that it is one. A lone line is never
	// held back, nor is the end of a step.
	soon = time.Millisecond
	rush = 4
)

// An input reads the output of a step, in chunks as large as they come.
type input struct {
	executor *Executor
	fd       int
	buf      []byte
	n        int       // what the last read gave
	at       time.Time // of the last read
	quick    int       // reads in a row that came soon and were short
}

// busy reports whether it pays to wait a moment before the next read.
func (in *input) busy() bool { return in.quick >= rush }

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
