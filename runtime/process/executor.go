package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/piper-build/piper/runtime"
	"github.com/piper-build/piper/runtime/build"
)

// An Executor runs steps as processes of this machine. It implements
// runtime.Executor. The zero Executor is ready for use, without a guard.
//
// An Executor must not be copied once it has been used.
type Executor struct {
	// Guard is the command line of a guard, such as GuardCommand returns. It is
	// there before the first step. Without one, what steps have started
	// outlives this process when it is killed.
	Guard []string

	// Drain is how long what a step has left behind may go on writing to the
	// step's output. 0 is two seconds.
	Drain time.Duration

	// Patience is how long processes may outlive SIGKILL, as they do in a
	// system call that hangs, before the attempt ends without them. 0 is ten
	// seconds.
	Patience time.Duration

	once  sync.Once
	err   error
	null  *os.File
	small sync.Pool // of *[smallRead]byte
	large sync.Pool // of *[largeRead]byte
	guard guard

	mu   sync.Mutex
	mark string // of the build that was seen last
}

var _ runtime.Executor = (*Executor)(nil)

// Execute runs one attempt of a step; see runtime.Executor. It does not close
// t.Output.
//
// A step that cannot be started as it is written has failed: with exit code 127
// when its command is not there, 126 when it is there and cannot be run, as
// from a shell, and without one when its directory is not to be had.
func (e *Executor) Execute(ctx context.Context, t runtime.Task) runtime.Result {
	if ctx.Err() != nil {
		return runtime.Result{State: build.Cancelled, Reason: "cancelled before it started"}
	}
	if err := e.open(); err != nil {
		return broken(err)
	}
	c, err := prepare(t)
	if err != nil {
		return refused(err)
	}
	defer c.close()
	e.remember(t.Env)

	e.Prepare()
	if len(e.Guard) > 0 {
		e.guard.wait()
	}
	a := attempt{executor: e, task: &t, ctx: ctx}
	started := time.Now()
	if err := a.start(c); err != nil {
		return refused(explain(c, err))
	}
	if t.Started != nil {
		t.Started()
	}
	r := a.run()
	r.Started, r.Ended = started, time.Now()
	return r
}

// Prepare begins to start the guard, which the first step would wait for: a
// caller with something else to do before that calls it early. An error shows
// with the first step.
func (e *Executor) Prepare() {
	if len(e.Guard) > 0 && e.open() == nil {
		e.guard.start(e.Guard)
	}
}

// open does what is needed once, before the first step.
func (e *Executor) open() error {
	e.once.Do(func() {
		e.small.New = func() any { return new([smallRead]byte) }
		e.large.New = func() any { return new([largeRead]byte) }
		if e.err = family.start(); e.err != nil {
			return
		}
		e.null, e.err = os.OpenFile(os.DevNull, os.O_RDWR, 0)
	})
	return e.err
}

// remember tells the guard what marks the processes of a build.
func (e *Executor) remember(env []string) {
	const name = "PIPER_BUILD="
	for _, entry := range env {
		if strings.HasPrefix(entry, name) {
			e.mu.Lock()
			if e.mark != entry {
				e.mark = entry
				family.note(entry)
			}
			e.mu.Unlock()
			return
		}
	}
}

// Close ends the guard, and what lives of processes that no step could be named
// for. It must not be called while a step runs. An Executor that was never used
// may be closed.
func (e *Executor) Close() error {
	e.once.Do(func() { e.err = errors.New("executor is closed") })
	if e.null == nil {
		return nil
	}
	_, err := family.kill(&tree{reaped: true}, e.patience())
	return errors.Join(err, e.guard.stop(), e.null.Close())
}

func (e *Executor) patience() time.Duration {
	if e.Patience > 0 {
		return e.Patience
	}
	return defaultPatience
}

func (e *Executor) drain() time.Duration {
	if e.Drain > 0 {
		return e.Drain
	}
	return defaultDrain
}

// refused is the result of an attempt that did not start.
func refused(err error) runtime.Result {
	var f *fault
	if !errors.As(err, &f) {
		return broken(err)
	}
	r := runtime.Result{State: build.Failed, Reason: f.reason}
	if f.exit != 0 {
		r.Exit = &f.exit
	} else {
		r.Final = true
	}
	return r
}

// broken is the result of an attempt that the machine failed.
func broken(err error) runtime.Result {
	return runtime.Result{State: build.Failed, Infra: true, Reason: err.Error()}
}

// A fault says why a task cannot be started as it is written.
type fault struct {
	exit   int // 0 for none
	reason string
}

func (f *fault) Error() string { return f.reason }

func faultf(exit int, format string, args ...any) error {
	return &fault{exit, fmt.Sprintf(format, args...)}
}

// ended is the result that a wait status stands for.
func ended(s syscall.WaitStatus) runtime.Result {
	if s.Signaled() {
		return runtime.Result{State: build.Failed, Signal: s.Signal().String()}
	}
	code := s.ExitStatus()
	r := runtime.Result{State: build.Success, Exit: &code}
	if code != 0 {
		r.State = build.Failed
	}
	return r
}
