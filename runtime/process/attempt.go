package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/piper-build/piper/runtime"
	"github.com/piper-build/piper/runtime/build"
)

const (
	defaultDrain    = 2 * time.Second
	defaultPatience = 10 * time.Second

	// unwatched is how long a step runs before anything but its own end and
	// its time-out is looked at. Most no-op steps are over by then, and have
	// cost no goroutine.
	unwatched = 20 * time.Millisecond

	tick     = 250 * time.Millisecond // between two looks at the family of a long step
	stopTick = 10 * time.Millisecond  // between two looks at a tree that is to end
)

// An attempt is one process tree and the loop that watches it. The loop is one
// poll over the output, the end of the leader, and a wake-up pipe: the attempt
// belongs to one goroutine, and to one thread while it waits.
type attempt struct {
	executor *Executor
	task     *runtime.Task
	ctx      context.Context

	tree   *tree
	status syscall.WaitStatus
	exited bool
	broken error // of the output or the machine

	out   int // the end of the pipe that is read; -1 once it is at its end
	exit  int // readable when the leader has ended
	wake  int // readable when ctx or Kill wants attention; -1 until watched
	input input

	started  time.Time
	phase    phase
	why      build.State // Cancelled or TimedOut once it was asked to stop
	deadline time.Time   // of the phase
	late     bool        // the grace was over before the tree had ended
	killed   []string
}

// A phase is how far the end of an attempt is.
type phase int

const (
	running  phase = iota
	draining       // the leader has ended, others still write
	stopping       // asked to end
	killing        // to be killed
)

// start starts the leader.
func (a *attempt) start(c *command) error {
	a.out, a.exit, a.wake = -1, -1, -1
	r, w, err := openOutput(a.task.TTY)
	if err != nil {
		return err
	}
	defer unix.Close(w)
	t := &tree{output: pipeName(r)}
	if a.task.OutputDir != "" {
		t.mark = "PIPER_OUTPUT=" + a.task.OutputDir
	}
	a.started = time.Now()
	attr := &syscall.ProcAttr{
		Dir:   c.dir,
		Env:   c.env,
		Files: []uintptr{a.executor.null.Fd(), uintptr(w), uintptr(w)},
		Sys:   leading(&a.exit),
	}
	err = family.fork(t, func() (int, error) { return spawn(c, attr) })
	if err != nil {
		unix.Close(r)
		return err
	}
	a.tree, a.out = t, r
	if a.exit < 0 {
		if a.exit, err = watchExit(a.tree.leader); err != nil {
			a.fail(fmt.Errorf("watch step: %w", err))
		}
	}
	return nil
}

// spawn starts a command. A program that was written a moment ago may be held
// open by a process that is being forked, so it is tried again when busy; a
// file that is no program is given to sh, as execvp(3) does.
func spawn(c *command, attr *syscall.ProcAttr) (int, error) {
	for pause := time.Millisecond; ; pause *= 2 {
		pid, err := forkExec(c.path, c.argv, attr)
		switch {
		case err == syscall.ETXTBSY && pause < 200*time.Millisecond:
			time.Sleep(pause)
		case err == syscall.ENOEXEC && bytes.IndexByte(head(from(c.dir, c.path)), 0) < 0:
			return forkExec("/bin/sh", append([]string{"sh", c.path}, c.argv[1:]...), attr)
		default:
			return pid, err
		}
	}
}

// run watches the tree until it has ended.
func (a *attempt) run() runtime.Result {
	a.input = input{executor: a.executor, fd: a.out, rest: early}
	defer a.input.release()
	stop := func() {}
	defer func() { stop() }()
	looked := a.started
	for !a.over() {
		now := time.Now()
		if a.wake < 0 && (now.Sub(a.started) >= unwatched || a.phase != running) {
			stop = a.watch()
		}
		a.advance(now)
		if a.over() {
			break
		}
		if now.Sub(looked) >= tick {
			looked = now
			family.tend()
		}
		if a.rest() {
			continue
		}
		fds := [3]unix.PollFd{
			{Fd: int32(a.out), Events: unix.POLLIN},
			{Fd: int32(a.exit), Events: unix.POLLIN},
			{Fd: int32(a.wake), Events: unix.POLLIN},
		}
		if a.exited {
			fds[1].Fd = -1
		}
		n, err := unix.Poll(fds[:], a.wait(now))
		if err != nil && err != unix.EINTR {
			a.fail(fmt.Errorf("wait for step: %w", err))
			break
		}
		if n <= 0 {
			continue
		}
		if fds[0].Revents != 0 {
			a.read(fds[0].Revents)
			if fds[0].Revents == unix.POLLIN|unix.POLLHUP {
				continue // nobody writes any more: first comes what was written, then the end
			}
		}
		if fds[1].Revents != 0 {
			a.reap()
		}
		if fds[2].Revents != 0 {
			var b [16]byte
			unix.Read(a.wake, b[:])
		}
	}
	a.finish()
	return a.result()
}

// rest lets output gather for a moment, where that pays. It reports whether
// there was nothing else to see to.
func (a *attempt) rest() bool {
	if a.input.rest == 0 || a.exited || a.out < 0 || nap(a.input.rest, a.exit, a.wake) {
		return false
	}
	something := holds(a.out)
	if something {
		a.read(unix.POLLIN)
	}
	a.input.rested(something)
	return true
}

// over reports whether nothing is left to wait for.
func (a *attempt) over() bool {
	return a.phase == killing || a.exited && a.out < 0 && a.phase != stopping
}

// wait returns for how long the loop may sleep, in milliseconds.
func (a *attempt) wait(now time.Time) int {
	d := tick
	switch {
	case a.phase == stopping && a.exited:
		d = stopTick
	case a.wake < 0:
		d = unwatched - now.Sub(a.started)
	}
	if a.phase == running && a.task.Timeout > 0 {
		d = min(d, a.task.Timeout-now.Sub(a.started))
	}
	if !a.deadline.IsZero() {
		d = min(d, a.deadline.Sub(now))
	}
	return int(max(0, d+time.Millisecond-1) / time.Millisecond)
}

// advance moves to the phase that the clock, the context and the tree call for.
func (a *attempt) advance(now time.Time) {
	select {
	case <-a.task.Kill:
		a.stop(build.Cancelled, now, 0)
	default:
	}
	switch {
	case a.phase == killing:
	case a.phase == stopping:
		a.late = !now.Before(a.deadline)
		if a.late || a.exited && len(family.members(a.tree, false)) == 0 {
			a.phase = killing
		}
	case a.ctx.Err() != nil:
		a.stop(build.Cancelled, now, a.task.Grace)
	case a.task.Timeout > 0 && now.Sub(a.started) >= a.task.Timeout:
		a.stop(build.TimedOut, now, a.task.Grace)
	case a.phase == draining:
		if !now.Before(a.deadline) {
			a.phase = killing
		}
	case a.exited && a.out >= 0:
		a.phase, a.deadline = draining, now.Add(a.executor.drain())
		if len(family.members(a.tree, false)) == 0 {
			a.phase = killing
		}
	}
}

// stop asks the tree to end within grace. A step whose leader has ended has its
// result already, and is only cut short.
func (a *attempt) stop(why build.State, now time.Time, grace time.Duration) {
	switch {
	case a.phase == killing:
		return
	case a.exited && a.phase != stopping:
		a.phase = killing
		return
	case a.why == "":
		a.why = why
	}
	if grace <= 0 {
		a.phase = killing
		return
	}
	a.phase, a.deadline = stopping, now.Add(grace)
	family.signal(a.tree, unix.SIGTERM, unix.SIGCONT)
}

// fail gives the attempt up because the machine failed.
func (a *attempt) fail(err error) {
	a.broken = errors.Join(a.broken, err)
	a.phase = killing
}

// read takes one chunk of output.
func (a *attempt) read(events int16) {
	if events&(unix.POLLIN|unix.POLLHUP) == unix.POLLHUP && !a.task.TTY {
		a.closeOutput()
		return
	}
	p, err := a.input.read()
	if len(p) > 0 {
		if err := a.task.Output.Write(a.input.at, p); err != nil {
			a.fail(fmt.Errorf("write output: %w", err))
		}
	}
	if err != nil {
		a.closeOutput()
	}
}

func (a *attempt) closeOutput() {
	if a.out >= 0 {
		unix.Close(a.out)
		a.out = -1
	}
}

// reap takes the status of the leader, which has ended or is about to.
func (a *attempt) reap() {
	status, err := family.wait(a.tree)
	a.exited, a.status = true, status
	if err != nil {
		a.fail(fmt.Errorf("wait for step: %w", err))
	}
}

// finish kills what is left of the tree and takes the last of its output.
func (a *attempt) finish() {
	var err error
	if a.killed, err = family.kill(a.tree, a.executor.patience()); err != nil {
		a.broken = errors.Join(a.broken, err)
	}
	if !a.exited && err == nil {
		a.reap()
	}
	// Whoever still holds the other end is no process of the step: take what
	// is there, which is at most what a pipe holds.
	for taken := 0; a.out >= 0 && a.broken == nil && taken <= largeRead; {
		fds := []unix.PollFd{{Fd: int32(a.out), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, 0)
		if err == unix.EINTR {
			continue
		}
		if n <= 0 {
			break
		}
		a.read(fds[0].Revents)
		taken += a.input.n
	}
	a.closeOutput()
	if a.exit >= 0 {
		unix.Close(a.exit)
	}
	family.end(a.tree)
}

// watch wakes the loop when the context or Kill is done. The function that it
// returns ends the watch.
func (a *attempt) watch() (end func()) {
	var p [2]int
	if err := closingPipe(&p); err != nil {
		a.fail(fmt.Errorf("watch step: %w", err))
		return func() {}
	}
	a.wake = p[0]
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		cancelled, kill := a.ctx.Done(), a.task.Kill
		for {
			select {
			case <-done:
				return
			case <-cancelled:
				cancelled = nil
			case <-kill:
				kill = nil
			}
			unix.Write(p[1], []byte{0})
		}
	}()
	return func() {
		close(done)
		<-ended
		unix.Close(p[0])
		unix.Close(p[1])
	}
}

// result says how the attempt ended.
func (a *attempt) result() runtime.Result {
	if !a.exited {
		return broken(a.broken)
	}
	r := ended(a.status)
	switch {
	case a.broken != nil:
		r.State, r.Infra, r.Reason = build.Failed, true, a.broken.Error()
	case a.why == build.TimedOut:
		r.State, r.Reason = a.why, "timed out after "+a.task.Timeout.String()
	case a.why == build.Cancelled:
		r.State = a.why
	}
	if a.broken != nil {
		return r
	}
	if a.late {
		r.Reason = also(r.Reason, "killed, as it did not end within "+a.task.Grace.String())
	} else if a.why == "" && len(a.killed) > 0 {
		r.Reason = also(r.Reason, leftBehind(a.killed))
	}
	return r
}

// leftBehind says what a step did not clean up.
func leftBehind(names []string) string {
	const most = 3
	list := strings.Join(names[:min(most, len(names))], ", ")
	if len(names) > most {
		list += ", …"
	}
	if len(names) == 1 {
		return "killed 1 process that it left behind: " + list
	}
	return fmt.Sprintf("killed %d processes that it left behind: %s", len(names), list)
}

func also(a, b string) string {
	if a == "" {
		return b
	}
	return a + "; " + b
}
