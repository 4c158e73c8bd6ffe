//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package process

import (
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// processes reads the process table, by way of ps(1).
func processes() (table, error) { return ps("-A") }

// readProc reads the line of one process.
func readProc(pid int) (proc, bool) {
	t, err := ps("-p", strconv.Itoa(pid))
	p, ok := t[pid]
	return p, err == nil && ok
}

func ps(args ...string) (table, error) {
	cmd := exec.Command("ps", append(args, "-o", "pid=,ppid=,stat=,lstart=,comm=")...)
	cmd.Env = []string{"PATH=/bin:/usr/bin", "LC_ALL=C"}
	lines, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("read process table: %w", err)
	}
	t := table{}
	for line := range strings.Lines(string(lines)) {
		f := strings.Fields(line)
		if len(f) < 9 {
			continue
		}
		pid, _ := strconv.Atoi(f[0])
		ppid, _ := strconv.Atoi(f[1])
		start, _ := time.Parse("Mon Jan 2 15:04:05 2006", strings.Join(f[3:8], " "))
		name := f[8][strings.LastIndexByte(f[8], '/')+1:]
		sid, _ := unix.Getsid(pid)
		pgid, _ := unix.Getpgid(pid)
		t[pid] = proc{pid: pid, ppid: ppid, pgid: pgid, sid: sid, start: uint64(start.Unix()), zombie: strings.HasPrefix(f[2], "Z"), name: name}
	}
	return t, nil
}

// environ returns nothing: other systems do not show it.
func environ(int) []byte { return nil }

// commandLine returns nothing: orphans come to nobody there, and no guard does.
func commandLine(int) []byte { return nil }

// pipeName returns nothing: other systems do not show who holds a pipe.
func pipeName(int) string { return "" }

// signalProc sends a signal to p, unless something else has its pid by now.
func signalProc(p proc, sig unix.Signal) error { return unix.Kill(p.pid, sig) }
