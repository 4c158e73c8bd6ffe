package agent

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Below these a file system counts as full: no build is claimed.
const (
	leastFree  = 1 << 30
	leastShare = 20 // one in so many bytes
)

// LeastFree is what has to be free of a file system of so many bytes, or no build
// is claimed.
func LeastFree(total uint64) uint64 { return max(leastFree, total/leastShare) }

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
	case free < LeastFree(total):
		return fmt.Sprintf("the disk is full: %d of %d MiB are free", free>>20, total>>20)
	}
	return ""
}

// diskHeld walks through dir. What is linked from elsewhere too counts in part, as
// that much would not be freed, and another file system in there not at all.
func diskHeld(ctx context.Context, dir string) (n uint64) {
	var top syscall.Stat_t
	if syscall.Lstat(dir, &top) != nil {
		return 0
	}
	filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return fs.SkipAll
		}
		if err != nil {
			return nil // it has just been removed, or is shut
		}
		info, err := e.Info()
		if err != nil {
			return nil
		}
		switch s := info.Sys().(*syscall.Stat_t); {
		case s.Dev == top.Dev && e.IsDir():
			n += uint64(s.Blocks) * 512
		case s.Dev == top.Dev:
			n += uint64(s.Blocks) * 512 / max(uint64(s.Nlink), 1)
		case e.IsDir():
			return fs.SkipDir
		}
		return nil
	})
	return n
}
