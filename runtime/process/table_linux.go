package process

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// processes reads the process table. What ends while it is read is left out.
func processes() (table, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	t := make(table, len(names))
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if p, ok := readProc(pid); ok {
			t[pid] = p
		}
	}
	return t, nil
}

// Flags of a process, from include/linux/sched.h.
const (
	pfExiting    = 0x4
	pfForkNoExec = 0x40
)

// readProc reads the line of one process.
func readProc(pid int) (proc, bool) {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return proc{}, false
	}
	// The name stands in brackets, and may hold brackets and blanks itself.
	open, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	if open < 0 || end < open {
		return proc{}, false
	}
	field := bytes.Fields(stat[end+1:]) // from the third of proc_pid_stat(5) on
	if len(field) < 20 {
		return proc{}, false
	}
	number := func(i int) uint64 {
		n, _ := strconv.ParseUint(string(field[i]), 10, 64)
		return n
	}
	state := field[0][0]
	return proc{
		pid:      pid,
		ppid:     int(number(1)),
		pgid:     int(number(2)),
		sid:      int(number(3)),
		start:    number(19),
		zombie:   state == 'Z' || state == 'X',
		ending:   number(6)&pfExiting != 0,
		unexeced: number(6)&pfForkNoExec != 0,
		name:     string(stat[open+1 : end]),
	}, true
}

// environ returns the environment that a process was started with, or nothing
// when it may not be read.
func environ(pid int) []byte { return procFile(pid, "environ") }

// commandLine returns the arguments of a process, each ended by a zero byte.
func commandLine(pid int) []byte { return procFile(pid, "cmdline") }

// procFile reads a file that the system keeps about a process; nil when it may not
// be read, or is gone.
func procFile(pid int, name string) []byte {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/" + name)
	if err != nil {
		return nil
	}
	return data
}

// unsettled reports whether p is about to end or to become another program.
// While it is, it has no environment and no command line.
func unsettled(p proc) bool {
	line, err := os.ReadFile("/proc/" + strconv.Itoa(p.pid) + "/cmdline")
	now, ok := readProc(p.pid)
	return err != nil || len(line) == 0 || !ok || now.ending || now.zombie
}

// outputs returns what the standard output and error of a process are called.
func outputs(pid int) (names []string) {
	for _, fd := range []string{"1", "2"} {
		if name, err := os.Readlink("/proc/" + strconv.Itoa(pid) + "/fd/" + fd); err == nil {
			names = append(names, name)
		}
	}
	return names
}

// pipeName is what a pipe is called there.
func pipeName(fd int) string {
	var st unix.Stat_t
	if unix.Fstat(fd, &st) != nil {
		return ""
	}
	return "pipe:[" + strconv.FormatUint(st.Ino, 10) + "]"
}

// signalProc sends a signal to p, and to no process that has taken its pid
// since.
func signalProc(p proc, sig unix.Signal) error {
	fd, err := unix.PidfdOpen(p.pid, 0)
	if errors.Is(err, unix.ENOSYS) {
		return unix.Kill(p.pid, sig)
	}
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if now, ok := readProc(p.pid); !ok || now.start != p.start {
		return unix.ESRCH
	}
	return unix.PidfdSendSignal(fd, sig, nil, 0)
}

// childrenFile names the kernel's list of the children of this process. It
// lists those of one thread, but processes that lost their parent are all given
// to the first.
func childrenFile() (*os.File, error) {
	pid := strconv.Itoa(os.Getpid())
	f, err := os.Open("/proc/" + pid + "/task/" + pid + "/children")
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // a kernel without CONFIG_PROC_CHILDREN
	}
	return f, err
}
