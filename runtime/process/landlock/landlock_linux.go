package landlock

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Version is which Landlock the kernel has; 0 is none. Each knows all that those
// before it did.
func Version() int {
	version, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if errno != 0 {
		return 0
	}
	return int(version)
}

// What may be done with a file, and with a directory and all below it.
const (
	Execute = unix.LANDLOCK_ACCESS_FS_EXECUTE
	Read    = unix.LANDLOCK_ACCESS_FS_READ_FILE
	Write   = unix.LANDLOCK_ACCESS_FS_WRITE_FILE | unix.LANDLOCK_ACCESS_FS_TRUNCATE

	ofFiles = Execute | Read | Write | unix.LANDLOCK_ACCESS_FS_IOCTL_DEV
)

// Files is all that a version can take away of what is done with files.
func Files(version int) uint64 {
	rights := [...]uint64{1<<13 - 1, 1<<14 - 1, 1<<15 - 1, 1<<15 - 1, 1<<16 - 1} // of versions 1 to 5
	return rights[min(version, len(rights))-1]
}

// A Ruleset is what is to be given up, but for what it allows. Network and Scoped
// are the kernel's own flags: versions that do not know them ignore them.
type Ruleset struct {
	Files, Network, Scoped uint64

	fd int
}

// Open asks the kernel for the ruleset. Who opens one calls Close.
func (r *Ruleset) Open() error {
	attr := unix.LandlockRulesetAttr{Handled_access_fs: r.Files}
	size := unsafe.Sizeof(attr.Handled_access_fs)
	version := Version()
	if version >= 4 {
		attr.Handled_access_net = r.Network
		size += unsafe.Sizeof(attr.Handled_access_net)
	}
	if version >= 6 {
		attr.Scoped = r.Scoped
		size += unsafe.Sizeof(attr.Scoped)
	}
	fd, _, errno := unix.Syscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), size, 0)
	if errno != 0 {
		return fmt.Errorf("make a ruleset of Landlock: %w", errno)
	}
	r.fd = int(fd)
	return nil
}

// Close forgets the ruleset. Who is restricted by it stays so.
func (r *Ruleset) Close() error { return unix.Close(r.fd) }

// Allow leaves rights to a file, or to all below a directory. A link is not
// followed, and what cannot be opened is left out, as it cannot be used either.
func (r *Ruleset) Allow(path string, dir bool, rights uint64) error {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	if !dir {
		rights &= ofFiles
	}
	rule := unix.LandlockPathBeneathAttr{Allowed_access: rights & r.Files, Parent_fd: int32(fd)}
	if _, _, errno := unix.Syscall6(unix.SYS_LANDLOCK_ADD_RULE, uintptr(r.fd), unix.LANDLOCK_RULE_PATH_BENEATH, uintptr(unsafe.Pointer(&rule)), 0, 0, 0); errno != 0 {
		return &os.PathError{Op: "allow", Path: path, Err: errno}
	}
	return nil
}

// RestrictThread restricts the thread that this goroutine is locked to. A process
// without privileges can get none from then on, as with sudo.
func (r *Ruleset) RestrictThread() error {
	_, _, errno := unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(r.fd), 0, 0)
	if errno == unix.EPERM {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("set no_new_privs: %w", err)
		}
		_, _, errno = unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(r.fd), 0, 0)
	}
	if errno != 0 {
		return fmt.Errorf("restrict a thread with Landlock: %w", errno)
	}
	return nil
}

// RestrictProcess restricts all threads of this process, which can get no new
// privileges from then on. Before version 8 a thread is restricted by itself, and
// a program that is linked with C cannot be made to do the same in all its threads.
func (r *Ruleset) RestrictProcess() error {
	var errno syscall.Errno
	if Version() >= 8 {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("set no_new_privs: %w", err)
		}
		_, _, errno = unix.Syscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(r.fd), unix.LANDLOCK_RESTRICT_SELF_TSYNC, 0)
	} else if _, _, errno = syscall.AllThreadsSyscall6(unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0, 0); errno == 0 {
		_, _, errno = syscall.AllThreadsSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, uintptr(r.fd), 0, 0)
	}
	if errno != 0 {
		return fmt.Errorf("restrict this process with Landlock: %w", errno)
	}
	return nil
}
