package agent

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Below these a file system counts as full: no build is claimed.
const (
	leastFree  = 1 << 30
	leastShare = 20 // one in so many bytes
)

// diskFree asks the operating system.
func diskFree(dir string) (free, total uint64, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, 0, fmt.Errorf("look at the file system of %s: %w", dir, err)
	}
	size := uint64(s.Bsize)
	return uint64(s.Bavail) * size, uint64(s.Blocks) * size, nil
}

// full says why the disk is too full for another build, or "".
func (a *Agent) full() string {
	free, total, err := a.Free(a.Dir)
	switch {
	case err != nil:
		return err.Error()
	case free < leastFree || free < total/leastShare:
		return fmt.Sprintf("the disk is full: %d of %d MiB are free", free>>20, total>>20)
	}
	return ""
}
