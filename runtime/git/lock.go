package git

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// How a lock is had.
const (
	shared    = unix.LOCK_SH
	exclusive = unix.LOCK_EX
)

// errBusy says that somebody else has a lock.
var errBusy = errors.New("another process has it")

// lock waits for a lock that all processes of this machine heed, until ctx is
// done. It is given back by unlock, or by the end of this process.
func lock(ctx context.Context, path string, how int) (unlock func(), err error) {
	for {
		unlock, err := tryLock(path, how)
		if !errors.Is(err, errBusy) {
			return unlock, err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for %s, which another process has: %w", path, context.Cause(ctx))
		}
	}
}

func tryLock(path string, how int) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock: %w", err)
	}
	for {
		switch err = unix.Flock(int(f.Fd()), how|unix.LOCK_NB); {
		case err == nil:
			return func() { f.Close() }, nil
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EWOULDBLOCK):
			err = errBusy
		default:
			err = fmt.Errorf("lock %s: %w", path, err)
		}
		f.Close()
		return nil, err
	}
}
