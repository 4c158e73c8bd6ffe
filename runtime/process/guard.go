package process

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// guardArg is the first argument of a guard; the session that it leaves alone
// is the second.
const guardArg = "__guard"

// GuardCommand returns the command line of a guard, for an Executor, in a
// program whose main calls GuardMain when IsGuard says so.
func GuardCommand() ([]string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find guard: %w", err)
	}
	return []string{self, guardArg}, nil
}

// IsGuard reports whether this process was started to be a guard. Then main
// calls GuardMain and nothing else.
func IsGuard() bool { return len(os.Args) == 3 && os.Args[1] == guardArg }

// GuardMain is the whole life of a guard. It waits for the process that started
// it to end, and then kills what that process left of its builds. It returns
// the exit code.
//
// Its standard input is a pipe whose other end only that process holds, its
// standard output the ledger of what to kill.
func GuardMain() int {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	session, err := strconv.Atoi(os.Args[2])
	if err != nil {
		return 2
	}
	l, err := mapLedger(os.Stdout)
	if err != nil {
		return 1
	}
	io.Copy(io.Discard, os.Stdin)
	began := time.Now()
	for clean := 0; clean < cleanLooks && time.Since(began) < 20*time.Second; {
		all, err := processes()
		if err != nil {
			return 1
		}
		left := leftovers(all, l, session)
		others := left
		if time.Since(began) < guardTime { // it knows of what we do not
			others = slices.DeleteFunc(slices.Clone(left), isGuard)
		}
		for _, sig := range []syscall.Signal{syscall.SIGSTOP, syscall.SIGKILL} {
			for _, p := range others {
				signalProc(p, sig)
			}
		}
		// A process that is another one all the time may be on no list. Its group is
		// killed all at once; not before, as who came from whom would be lost.
		for pid, start := range l.entries() {
			if start == 0 {
				syscall.Kill(-pid, syscall.SIGKILL)
			}
		}
		clean++
		pause := betweenLooks
		if len(left) > 0 {
			clean, pause = 0, time.Millisecond
		}
		time.Sleep(pause)
	}
	return 0
}

// leftovers returns the living processes that belong to what l tells of:
// those it names, those that bear a mark, those in a group or session of
// either, and all that came from any of them. The session of the process that
// is guarded is no reason: a person may work in it.
func leftovers(all table, l ledger, session int) []proc {
	roots, groups, sessions := map[int]bool{}, map[int]bool{}, map[int]bool{}
	take := func(p proc) {
		roots[p.pid] = true
		if p.sid != session {
			sessions[p.sid] = true
		}
	}
	for pid, start := range l.entries() {
		p, ok := all[pid]
		if start == 0 {
			groups[pid], sessions[pid] = true, true
		} else if ok && p.start == start {
			take(p)
		}
	}
	marks := l.marks()
	for _, p := range all {
		if len(marks) > 0 && !p.zombie && bears(environ(p.pid), marks...) {
			take(p)
		}
	}
	for _, p := range all {
		if groups[p.pgid] || sessions[p.sid] {
			roots[p.pid] = true
		}
	}
	var left []proc
	for _, p := range all.below(roots) {
		if !p.zombie && p.pid != os.Getpid() {
			left = append(left, p)
		}
	}
	return left
}

// bears reports whether an environment has one of these entries.
func bears(env []byte, entries ...string) bool {
	for entry := range bytes.SplitSeq(env, []byte{0}) {
		if slices.Contains(entries, string(entry)) {
			return true
		}
	}
	return false
}

// A process that is about to become another program bears no mark for a moment, so
// a guard looks more than once whether nothing is left.
const (
	cleanLooks   = 4
	betweenLooks = 10 * time.Millisecond
)

// guardTime is how long a guard of somebody else is left to its work, when that
// somebody is gone and all that was his is killed. Any process may look like one,
// so it is not long.
const guardTime = 2 * time.Second

// isGuard reports whether a process looks like a guard.
func isGuard(p proc) bool {
	argv := bytes.Split(commandLine(p.pid), []byte{0})
	return len(argv) > 2 && (string(argv[1]) == guardArg || string(argv[2]) == sleeping)
}

// sleeping is the script of a shell that becomes a guard when its input is at
// its end. A guard has nothing to do before that, and mostly never; until then
// a shell costs a fraction of the time and the memory.
const sleeping = `trap "" INT TERM HUP QUIT; read end; exec "$@"`

// A guard is the guarded process's side of a guard.
type guard struct {
	once sync.Once
	done chan struct{} // closed when starting it has come to an end
	tree *tree
	pipe *os.File // its end is the guard's sign
	err  error
}

// start starts the guard that argv names, once, without waiting for it.
func (g *guard) start(argv []string) {
	g.once.Do(func() {
		g.done = make(chan struct{})
		go func() {
			defer close(g.done)
			g.err = g.spawn(argv)
		}()
	})
}

// wait waits until the guard is there: from then on it will have its sign,
// however early this process ends.
func (g *guard) wait() {
	<-g.done
}

func (g *guard) spawn(argv []string) error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("start guard: %w", err)
	}
	defer null.Close()
	in, pipe, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start guard: %w", err)
	}
	defer in.Close()
	self, name, err := heldProgram(argv[0], 3)
	if err != nil {
		pipe.Close()
		return fmt.Errorf("start guard: %w", err)
	}
	defer self.Close()
	argv = append(argv[:len(argv):len(argv)], strconv.Itoa(family.session))
	attr := &syscall.ProcAttr{
		Dir:   "/",
		Env:   []string{},
		Files: []uintptr{in.Fd(), family.ledger.file.Fd(), null.Fd(), self.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	}
	t := &tree{role: watch}
	err = family.fork(t, func() (int, error) {
		shell := append([]string{"sh", "-c", sleeping, argv[0], name}, argv[1:]...)
		pid, err := syscall.ForkExec("/bin/sh", shell, attr)
		if err == syscall.ENOENT { // a machine without a shell
			return syscall.ForkExec(argv[0], argv, attr)
		}
		return pid, err
	})
	if err != nil {
		pipe.Close()
		return fmt.Errorf("start guard %s: %w", argv[0], err)
	}
	g.tree, g.pipe = t, pipe
	return nil
}

// stop ends the guard. There is nothing left for it to do.
func (g *guard) stop() error {
	g.once.Do(func() {})
	if g.done == nil {
		return nil
	}
	g.wait()
	if g.pipe == nil {
		return g.err
	}
	syscall.Kill(g.tree.leader, syscall.SIGKILL)
	family.wait(g.tree)
	family.end(g.tree)
	return g.pipe.Close()
}
