//go:build linux && (amd64 || arm64)

package isolate

import (
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// calls are the system calls that evaluating needs, or rather the Go runtime
// and, in a program that is linked with it, C. None opens anything.
var calls = [...]uint32{
	unix.SYS_READ, unix.SYS_WRITE, unix.SYS_CLOSE,
	unix.SYS_FUTEX, unix.SYS_SCHED_YIELD, unix.SYS_SCHED_GETAFFINITY, unix.SYS_NANOSLEEP, unix.SYS_CLOCK_NANOSLEEP,
	unix.SYS_CLOCK_GETTIME, unix.SYS_GETTIMEOFDAY, unix.SYS_GETRANDOM, unix.SYS_GETPID, unix.SYS_GETTID,
	unix.SYS_MUNMAP, unix.SYS_MADVISE, unix.SYS_MINCORE, unix.SYS_MREMAP, unix.SYS_BRK,
	unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN, unix.SYS_SIGALTSTACK, unix.SYS_RESTART_SYSCALL,
	unix.SYS_EPOLL_CREATE1, unix.SYS_EPOLL_CTL, unix.SYS_EPOLL_PWAIT, unix.SYS_EVENTFD2,
	unix.SYS_SET_ROBUST_LIST, unix.SYS_RSEQ, unix.SYS_EXIT, unix.SYS_EXIT_GROUP,
}

// seccomp has the kernel refuse this process every system call but calls, and a
// few of which an argument decides: memory is mapped but cannot become a
// program, threads are started but no processes, signals reach this process
// alone.
func seccomp() error {
	var f filter
	f.load(offsetOfArch)
	f.add(jump(unix.BPF_JEQ, auditArch, 1, 0), verdict(unix.SECCOMP_RET_KILL_PROCESS))
	f.load(offsetOfNumber)
	for _, number := range calls {
		f.add(jump(unix.BPF_JEQ, number, 0, 1), verdict(unix.SECCOMP_RET_ALLOW))
	}
	f.only(unix.SYS_MMAP, 2, jump(unix.BPF_JSET, unix.PROT_EXEC, 1, 0))
	f.only(unix.SYS_MPROTECT, 2, jump(unix.BPF_JSET, unix.PROT_EXEC, 1, 0))
	f.only(unix.SYS_CLONE, 0, jump(unix.BPF_JSET, unix.CLONE_THREAD, 0, 1))
	f.only(unix.SYS_TGKILL, 0, jump(unix.BPF_JEQ, uint32(os.Getpid()), 0, 1))
	f.only(unix.SYS_PRCTL, 0, jump(unix.BPF_JEQ, unix.PR_SET_VMA, 0, 1))                                  // the runtime names its memory
	f.add(jump(unix.BPF_JEQ, unix.SYS_CLONE3, 0, 1), verdict(unix.SECCOMP_RET_ERRNO|uint32(unix.ENOSYS))) // so C tries clone
	f.add(verdict(unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)))

	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("set no_new_privs: %w", err)
	}
	program := unix.SockFprog{Len: uint16(len(f)), Filter: &f[0]}
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return fmt.Errorf("set seccomp filter: %w", errno)
	}
	if thread != 0 {
		return fmt.Errorf("set seccomp filter: thread %d has another", thread)
	}
	return nil
}

// Where what a filter decides by stands: struct seccomp_data.
const (
	offsetOfNumber = 0
	offsetOfArch   = 4
	offsetOfArgs   = 16 // eight bytes each, the lower half first
)

// A filter is a program of the kernel's packet filter, which sees each system
// call and says what becomes of it.
type filter []unix.SockFilter

func (f *filter) add(instructions ...unix.SockFilter) { *f = append(*f, instructions...) }

func (f *filter) load(offset uint32) {
	f.add(unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset})
}

// only allows a system call when test, of an argument, falls through.
func (f *filter) only(number uint32, arg uint32, test unix.SockFilter) {
	f.add(jump(unix.BPF_JEQ, number, 0, 4))
	f.load(offsetOfArgs + 8*arg)
	f.add(test, verdict(unix.SECCOMP_RET_ALLOW), verdict(unix.SECCOMP_RET_ERRNO|uint32(unix.EPERM)))
}

// jump skips as many instructions as yes or no says.
func jump(test uint16, k uint32, yes, no uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | test | unix.BPF_K, Jt: yes, Jf: no, K: k}
}

func verdict(action uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
}
