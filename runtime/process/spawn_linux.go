//go:build amd64 || arm64

package process

import (
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"github.com/piper-build/piper/runtime/process/vfork"
)

// forkExec is syscall.ForkExec for a child whose Files are three, none of them
// one of the first three of this process, and of whose Sys only Setsid, Setpgid
// and PidFD are set. See package vfork for what it saves.
//
// It does not take part in syscall.ForkLock: whatever this process opens on
// Linux is closed on exec from the start.
func forkExec(path string, argv []string, attr *syscall.ProcAttr) (pid int, err error) {
	if unable.Load() {
		return syscall.ForkExec(path, argv, attr)
	}
	l := launches.Get().(*launch)
	defer launches.Put(l)
	if err := l.prepare(path, argv, attr); err != nil {
		return 0, err
	}
	pid, err = l.start()
	switch {
	case err == nil:
		*attr.Sys.PidFD = int(l.child.Pidfd)
	case pid < 0 && (err == syscall.ENOSYS || err == syscall.EINVAL || err == syscall.EPERM):
		unable.Store(true)
		return syscall.ForkExec(path, argv, attr)
	}
	return pid, err
}

// unable is set once the kernel, or what filters its calls, has turned out not
// to know all that package vfork asks for.
var unable atomic.Bool

// A launch is the memory for the start of a program. The child has addresses in
// it, so none of it is on a stack, nor in other hands before start returns.
type launch struct {
	child vfork.Child
	text  []byte // strings, each with a zero byte after it
	lists []*byte
}

var launches = sync.Pool{New: func() any { return new(launch) }}

// prepare writes down what the child is to do.
func (l *launch) prepare(path string, argv []string, attr *syscall.ProcAttr) error {
	for _, list := range [][]string{{path, attr.Dir}, argv, attr.Env} {
		if slices.ContainsFunc(list, func(s string) bool { return strings.IndexByte(s, 0) >= 0 }) {
			return syscall.EINVAL
		}
	}
	// There is room for all before anything gets an address.
	l.text = slices.Grow(l.text[:0], len(path)+len(attr.Dir)+2+size(argv)+size(attr.Env))
	l.lists = slices.Grow(l.lists[:0], len(argv)+len(attr.Env)+2)

	l.child.Calls = l.child.Calls[:0]
	if attr.Sys.Setsid {
		l.call(syscall.SYS_SETSID)
	}
	if attr.Sys.Setpgid {
		l.call(syscall.SYS_SETPGID, 0, 0)
	}
	l.call(syscall.SYS_RT_SIGPROCMASK, setMask, uintptr(unsafe.Pointer(&l.child.Mask)), 0, 8)
	if attr.Dir != "" {
		l.call(syscall.SYS_CHDIR, uintptr(unsafe.Pointer(l.string(attr.Dir))))
	}
	for i, fd := range attr.Files {
		l.call(syscall.SYS_DUP3, fd, uintptr(i), 0)
	}
	if raised() {
		l.call(syscall.SYS_PRLIMIT64, 0, syscall.RLIMIT_NOFILE, uintptr(unsafe.Pointer(&vfork.Files)), 0)
	}
	l.call(syscall.SYS_EXECVE, uintptr(unsafe.Pointer(l.string(path))), l.list(argv), l.list(attr.Env))
	return nil
}

const setMask = 2 // SIG_SETMASK

// raised reports whether the limit of open files is what package syscall has
// made of it, and nobody else has changed it since.
func raised() bool {
	var now syscall.Rlimit
	first := vfork.Files
	err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &now)
	return err == nil && now.Cur > first.Cur && now.Cur == first.Max-1 && now.Max == first.Max
}

// call adds a system call.
func (l *launch) call(number uintptr, args ...uintptr) {
	c := vfork.Call{Number: number}
	copy(c.Args[:], args)
	l.child.Calls = append(l.child.Calls, c)
}

// string returns s as the kernel takes it.
func (l *launch) string(s string) *byte {
	at := len(l.text)
	l.text = append(append(l.text, s...), 0)
	return &l.text[at]
}

// list returns the address of a list of strings as the kernel takes it.
func (l *launch) list(list []string) uintptr {
	at := len(l.lists)
	for _, s := range list {
		l.lists = append(l.lists, l.string(s))
	}
	l.lists = append(l.lists, nil)
	return uintptr(unsafe.Pointer(&l.lists[at]))
}

// start starts the child. The pid is negative when there never was one.
func (l *launch) start() (pid int, err error) {
	pid = l.child.Start()
	runtime.KeepAlive(l)
	if pid < 0 {
		return -1, syscall.Errno(-pid)
	}
	for _, c := range l.child.Calls {
		if c.Result < 0 {
			syscall.Close(int(l.child.Pidfd))
			for {
				if _, err := syscall.Wait4(pid, nil, 0, nil); err != syscall.EINTR {
					return 0, syscall.Errno(-c.Result)
				}
			}
		}
	}
	return pid, nil
}
