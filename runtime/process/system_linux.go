package process

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// leading are the attributes of a leader: it starts a process group of its own.
//
// Where this process has a terminal, the leader starts a session too. Then it
// has none, so a question for a password fails at once instead of stopping the
// step for good. Elsewhere it does not, because the scheduler gives each
// session its equal share (sched_autogroup_enabled), and many short ones cost
// half as much again.
//
// When the kernel can, it leaves in exit a file descriptor that is readable
// once the process has ended, else -1.
func leading(exit *int) *syscall.SysProcAttr {
	*exit = -1
	return &syscall.SysProcAttr{Setsid: family.terminal, Setpgid: !family.terminal, PidFD: exit}
}

// closingPipe makes a pipe that no child inherits.
func closingPipe(p *[2]int) error { return unix.Pipe2(p[:], unix.O_CLOEXEC) }

// closingSocket makes a TCP socket that no child inherits.
func closingSocket(family int) (int, error) {
	return unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
}

// widen lets a pipe hold more, if the user's share of such memory allows it.
func widen(pipe int) { unix.FcntlInt(uintptr(pipe), unix.F_SETPIPE_SZ, largeRead) }

// early is the first rest of a step: longer than one that does nothing takes.
const early = time.Millisecond

// nap sleeps for a moment, and reports whether one of fds has something before.
func nap(d time.Duration, fds ...int) bool {
	var set [2]unix.PollFd
	for i, fd := range fds {
		set[i] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	}
	n, err := unix.Ppoll(set[:len(fds)], &unix.Timespec{Nsec: int64(d)}, nil)
	return n > 0 || err != nil
}

// holds reports whether there is something to be read in a pipe, without polling
// it.
func holds(pipe int) bool {
	n, err := unix.IoctlGetInt(pipe, unix.TIOCINQ)
	return err == nil && n > 0
}

// heldDir is a path to a directory that is open, by which a child can change
// to it whatever has become of its name.
func heldDir(dir *os.File, name string) string {
	return "/proc/self/fd/" + strconv.Itoa(int(dir.Fd()))
}

// heldProgram opens a program, for a child that gets it as fd: there it can be
// started by the name that is returned, whatever has become of its own.
func heldProgram(program string, fd int) (held *os.File, name string, err error) {
	n, err := unix.Open(program, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, "", &os.PathError{Op: "open", Path: program, Err: err}
	}
	return os.NewFile(uintptr(n), program), "/proc/self/fd/" + strconv.Itoa(fd), nil
}

// watchExit returns a file descriptor that is readable once a child has ended,
// on a kernel that gave none when the child was started.
func watchExit(pid int) (int, error) {
	var p [2]int
	if err := closingPipe(&p); err != nil {
		return -1, err
	}
	go func() {
		awaitExit(pid)
		unix.Close(p[1])
	}()
	return p[0], nil
}

// awaitExit waits for a child to end, and leaves it to be reaped.
func awaitExit(pid int) {
	for unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil) == unix.EINTR {
	}
}

// sharedFile makes a file without a name that no child inherits.
func sharedFile() (*os.File, error) {
	fd, err := unix.MemfdCreate("piper-guard", unix.MFD_CLOEXEC)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), "piper-guard"), nil
}

// Protect closes the memory and the environment of this process to other
// processes of the same user, the steps it runs among them, and keeps it from
// leaving a core file. It holds until the process starts another program.
func Protect() error {
	return os.NewSyscallError("prctl", unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0))
}

// Expendable has the system kill this process, and those that it starts, before
// others when memory runs out. It is for before Protect, which closes the file.
// Where the system does not let us, it is as likely to kill something else.
func Expendable() {
	const file, score = "/proc/self/oom_score_adj", 900
	text, _ := os.ReadFile(file)
	if now, err := strconv.Atoi(strings.TrimSpace(string(text))); err == nil && now < score {
		os.WriteFile(file, []byte(strconv.Itoa(score)), 0)
	}
}

// setAside has a process, and what it will start, get little of a processor that
// others want. Where that is not allowed it gets its share.
func setAside(pid int) {
	if left, err := unix.Getpriority(unix.PRIO_PROCESS, pid); err == nil { // 20 less how nice it is
		nice := min(19, 20-left+10)
		unix.Setpriority(unix.PRIO_PROCESS, pid, nice)
		// Where each session has its share of the processor that is of one in it.
		os.WriteFile("/proc/"+strconv.Itoa(pid)+"/autogroup", []byte(strconv.Itoa(nice)), 0)
	}
}
