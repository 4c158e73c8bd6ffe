// Package runtime runs a plan.
//
// The Engine owns a build while it runs: it folds events through package
// build, asks that what happens next, and has an Executor carry it out. It
// knows no operating system, no database and no Starlark: processes are an
// Executor's, what happened goes to a Recorder, what steps write to an Output.
//
// A service is a step to its Executor. That it is watched until it is ready, and
// has failed when it ends unasked, is the Engine's doing (service.go). What an
// expand finds grows the plan while the build runs (expand.go): places in it go
// on to mean the same, so what was started before is none the wiser.
//
// The package shares its name with the standard library's runtime, which it
// may import plainly; a file that needs both names the standard one goruntime.
package runtime

import (
	"context"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
)

// An Executor runs one attempt of one step.
//
// Execute returns when the process and everything it started have ended. When
// ctx is done it asks the whole tree to end, waits for the task's grace, and
// kills what is left; when the task's Kill is closed it kills at once.
// It is called from many goroutines.
type Executor interface {
	Execute(ctx context.Context, t Task) Result
}

// A Task is one attempt of a step, with everything resolved.
type Task struct {
	Node    *plan.Node
	Attempt int

	Argv      []string      // never empty; a script is {shell, "-e", "-c", script} by now
	Env       []string      // the whole environment, "NAME=value"
	Workspace string        // absolute
	Dir       string        // slash-separated, below Workspace; "" is Workspace
	Timeout   time.Duration // 0 is none
	Grace     time.Duration
	TTY       bool
	OutputDir string // what $PIPER_OUTPUT names: exists, and is empty

	Kill    <-chan struct{} // closed to give up the grace; nil never is
	Started func()          // called when its process has started; nil when nobody asks
	Check   bool            // it only asks whether the service Node is ready, and stands where that does
	Output  Output          // never nil
}

// An Output takes what one attempt writes, both streams in the order written.
// Write must not keep p. An error of Write ends the attempt as a failure of
// the machine. Output is used by one goroutine at a time.
type Output interface {
	Write(at time.Time, p []byte) error
	Close() error
}

// A Result is how an attempt ended. A command that exits with 1 has a Result,
// not an error: Err is set only when the machine failed or the step could not
// be started as written.
type Result struct {
	State  build.State // Success, Failed, TimedOut or Cancelled
	Exit   *int        // nil when it did not exit by itself
	Signal string      // such as "killed"; "" when it exited by itself
	Reason string      // in words, when State does not say it all
	Infra  bool        // the machine failed, not the command
	Final  bool        // it could not be started as written: trying again cannot help

	Started, Ended time.Time // of the process; zero when there was none
}

// A Recorder keeps the events of a build. It is called by one goroutine at a
// time, in order, with batches that are never empty. An error ends the build:
// what is not recorded has not happened.
type Recorder interface {
	Record(events []build.Event) error
}
