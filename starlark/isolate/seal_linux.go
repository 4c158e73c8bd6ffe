package isolate

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/piper-build/piper/runtime/process/landlock"
)

// seal takes from this process what evaluating does not need, for good. It may
// take memory bytes beyond what it has now, and seconds of processor time. What
// the kernel does not know is left out, and what holds is told.
func seal(memory, seconds int) (Held, error) {
	if err := closeInherited(); err != nil {
		return Held{}, err
	}
	size, err := addressSpace()
	if err != nil {
		return Held{}, err
	}
	for _, l := range []struct {
		resource int
		unix.Rlimit
	}{
		{unix.RLIMIT_AS, unix.Rlimit{Cur: size + uint64(memory), Max: size + uint64(memory)}},
		{unix.RLIMIT_CPU, unix.Rlimit{Cur: uint64(seconds), Max: unix.RLIM_INFINITY}}, // the parent raises it
		{unix.RLIMIT_NOFILE, unix.Rlimit{Cur: maxFiles, Max: maxFiles}},
		{unix.RLIMIT_FSIZE, unix.Rlimit{}},
		{unix.RLIMIT_CORE, unix.Rlimit{}},
	} {
		if err := unix.Prlimit(0, l.resource, &l.Rlimit, nil); err != nil {
			return Held{}, fmt.Errorf("set limit %d: %w", l.resource, err)
		}
	}
	// The Go runtime ignores SIGXCPU. To the kernel it is the end.
	var byDefault [64]byte
	if _, _, errno := unix.RawSyscall6(unix.SYS_RT_SIGACTION, uintptr(unix.SIGXCPU), uintptr(unsafe.Pointer(&byDefault)), 0, 8, 0, 0); errno != 0 {
		return Held{}, fmt.Errorf("set the default for SIGXCPU: %w", errno)
	}
	held := Held{Memory: true, Time: true, Landlock: barFiles()}
	held.Seccomp = seccomp() == nil
	return held, nil
}

// closeInherited closes the files that whoever started this process left open
// in it, beside its streams. Those of the Go runtime, which it may have opened by
// now, are told from them: they are closed on exec, and so cannot be inherited.
func closeInherited() error {
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return fmt.Errorf("find the files of this process: %w", err)
	}
	for _, file := range files {
		fd, err := strconv.Atoi(file.Name())
		if err != nil || fd < 3 {
			continue
		}
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			unix.Close(fd)
		}
	}
	return nil
}

// maxFiles is how many files a child may have open: its streams, and two of
// the Go runtime.
const maxFiles = 8

// addressSpace returns how many bytes this process has mapped.
func addressSpace() (uint64, error) {
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, fmt.Errorf("find the size of this process: %w", err)
	}
	pages, err := strconv.ParseUint(string(bytes.Fields(statm)[0]), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("find the size of this process: %w", err)
	}
	return pages * uint64(os.Getpagesize()), nil
}

// allowTime lets a child have more processor time: so many seconds since it
// began.
func allowTime(pid, seconds int) error {
	err := unix.Prlimit(pid, unix.RLIMIT_CPU, &unix.Rlimit{Cur: uint64(seconds), Max: unix.RLIM_INFINITY}, nil)
	if err != nil {
		return fmt.Errorf("raise limit of processor time: %w", err)
	}
	return nil
}

// barFiles bars this process from every file and from TCP, as far as the
// kernel's Landlock goes, and returns its version; 0 when it does not hold.
func barFiles() int {
	version := landlock.Version()
	if version < 1 {
		return 0
	}
	none := landlock.Ruleset{
		Files:   landlock.Files(version),
		Network: unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP,
		Scoped:  unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET,
	}
	if none.Open() != nil {
		return 0
	}
	defer none.Close()
	if none.RestrictProcess() != nil {
		return 0
	}
	return version
}
