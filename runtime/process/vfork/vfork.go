//go:build linux && (amd64 || arm64)

// Package vfork starts a child that shares this process's memory until it
// becomes another program, as vfork(2) does, and that makes a list of system
// calls until then. Package syscall can start a child too, by sixty more system
// calls, a pipe among them, and one more turn of the parent.
//
// The child runs no Go and uses no stack. It is a few instructions of assembly
// that work through the list, so there is nothing of Go's runtime that it could
// disturb or has to know. No signal handler runs in it: signals are blocked
// until the list says otherwise, and by then there are no handlers left.
//
// The package imports nothing. Go therefore initialises it before package
// syscall, which raises the limit of open files, for this process alone.
package vfork

import "unsafe"

// A Call is a system call, and what came of it: an error is its number,
// negated.
type Call struct {
	Number uintptr
	Args   [4]uintptr
	Result int
}

// A Child is a process to be started. It, and all that its calls point to, must
// be on the heap, as Go moves stacks.
type Child struct {
	// Calls are made one after another until one fails, which ends the child.
	// The last is an execve.
	Calls []Call

	// Mask is which signals are blocked in the thread that starts the child.
	// Start fills it in; a call may point to it.
	Mask uint64

	// Pidfd is a file descriptor that stands for the child.
	Pidfd int32

	clone cloneArgs
}

// cloneArgs are the arguments of clone3(2), as far as its first version had
// them.
type cloneArgs struct {
	flags, pidfd uint64
	_            [2]uint64 // child_tid, parent_tid
	exitSignal   uint64
	_            [3]uint64 // stack, stack_size, tls
}

const (
	cloneVM           = 0x100
	clonePidfd        = 0x1000
	cloneVfork        = 0x4000
	cloneClearSighand = 0x1_0000_0000
	sigchld           = 17
)

// Start starts c and returns once it has become another program or has failed
// to, which the result of the call that failed says: c has ended then, and is
// to be waited for. A negative pid is the error of clone3 itself, which Linux
// knows since 5.3, and all of what is asked of it since 5.5.
func (c *Child) Start() (pid int) {
	c.clone = cloneArgs{
		flags:      cloneVM | cloneVfork | clonePidfd | cloneClearSighand,
		pidfd:      uint64(uintptr(unsafe.Pointer(&c.Pidfd))),
		exitSignal: sigchld,
	}
	return start(&c.clone, unsafe.Sizeof(c.clone), &c.Calls[0], &c.Mask)
}

// start calls clone3 with all signals blocked. The child makes calls.
func start(clone *cloneArgs, size uintptr, calls *Call, mask *uint64) (pid int)

// A Limit is a resource limit, as Linux has it.
type Limit struct{ Cur, Max uint64 }

// Files is the limit of open files that this process was started with.
var Files = openFiles()

func openFiles() Limit {
	const nofile = 7 // RLIMIT_NOFILE
	call(prlimit64, 0, nofile, 0, uintptr(unsafe.Pointer(&files)))
	return files
}

var files Limit

// call makes a system call.
func call(number, a, b, c, d uintptr) (result int)
