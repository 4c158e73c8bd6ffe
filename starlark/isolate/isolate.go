// Package isolate evaluates a PIPER.star in a process of its own, which can do
// no harm: it is for files that are not the caller's.
//
// The process is the child: this same program, started with nothing but three
// pipes and no environment. Before it has seen a byte of the request it gives
// up what it could hurt with. It may open no file and no connection and start
// no process (seccomp and Landlock, where the kernel has them), and memory and
// processor time are limited (RLIMIT_AS, RLIMIT_CPU). Then it evaluates the way
// Evaluate of package starlark does, and with the same code.
//
// What evaluation looks at, the child asks its parent for: a file, the list of
// files, a fact of git, a variable. The parent answers from below the root of
// the tree alone, and at most what an honest evaluation could ask for. Otherwise
// it believes nothing: a child that was taken over can send what it likes, so
// all that comes is bounded and the plan is validated before anyone else sees
// it. A child that takes too long, whatever it is at, is killed.
//
// What a child does is a call of its parent: it evaluates, runs the function of
// an expand, lists the tests of a file, runs one, or keeps a session that is
// handed one input after the other. All calls go the same way: the child asks
// what it has to, prints, and gives an account in pieces.
//
// What holds where: on Linux all of this, seccomp on amd64 and arm64, Landlock
// from its first version on in a program without C and from the eighth in one
// with it. Elsewhere the clock of the parent and the limit of processor time
// hold, memory and the file system do not. Probe tells.
package isolate

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/piper-build/piper/starlark"
)

// A Process is a child as its parent sees it; process.Partner is one. Write is
// its standard input, Read its standard output.
type Process interface {
	io.ReadWriter
	Pid() int

	// Kill ends it, and every Read and Write. It does not wait. Any goroutine
	// may call it.
	Kill()

	// Interrupt sends it a SIGINT. Any goroutine may call it.
	Interrupt()

	// Wait returns how it ended, and the first of its standard error. It is
	// called once.
	Wait() (syscall.WaitStatus, string, error)
}

// An Evaluator evaluates in children.
type Evaluator struct {
	// Start starts a process with exactly this environment.
	Start func(env, argv []string) (Process, error)

	// Grace is how long a child may take beyond the limit on time, which it
	// holds to by itself where it can; 0 is 150 ms.
	Grace time.Duration

	mu    sync.Mutex
	early map[limits]chan started // children that wait for their request
}

// limits are what a child is started with.
type limits struct{ memory, seconds int }

func limitsOf(l starlark.Limits) limits {
	return limits{l.Memory, int((l.Time + time.Second - 1) / time.Second)}
}

// A started is a child that was started, or why it was not.
type started struct {
	process Process
	err     error
}

// Prepare starts a child that the next evaluation within the same limits will
// use, and does not wait for it. Who prepares calls Close in the end.
func (e *Evaluator) Prepare(l starlark.Limits) {
	wanted := limitsOf(l.WithDefaults())
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.early[wanted] != nil {
		return
	}
	if e.early == nil {
		e.early = make(map[limits]chan started)
	}
	there := make(chan started, 1)
	e.early[wanted] = there
	go func() { there <- e.start(wanted) }()
}

// Close ends the children that were prepared in vain.
func (e *Evaluator) Close() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for wanted, there := range e.early {
		if s := <-there; s.err == nil {
			s.process.Kill()
			s.process.Wait()
		}
		delete(e.early, wanted)
	}
}

// take returns a child, one that was prepared if there is one.
func (e *Evaluator) take(wanted limits) (Process, error) {
	e.mu.Lock()
	there := e.early[wanted]
	delete(e.early, wanted)
	e.mu.Unlock()
	s := started{}
	if there != nil {
		s = <-there
	} else {
		s = e.start(wanted)
	}
	return s.process, s.err
}

func (e *Evaluator) start(wanted limits) started {
	self, err := os.Executable()
	if err != nil {
		return started{err: fmt.Errorf("find this program: %w", err)}
	}
	// One thread evaluates. With a second place to run it would collect garbage
	// beside, and take more processor time than time.
	// Where C is linked, each thread would reserve memory for it, which counts.
	env := []string{"GOMAXPROCS=1", "GOTRACEBACK=none", "MALLOC_ARENA_MAX=1"}
	p, err := e.Start(env, []string{self, childArg, strconv.Itoa(wanted.memory), strconv.Itoa(wanted.seconds)})
	return started{p, err}
}

// Held says what a child cannot do, on this machine.
type Held struct {
	Memory   bool `json:"memory"`   // take more than its limit
	Time     bool `json:"time"`     // take more processor time
	Seccomp  bool `json:"seccomp"`  // open a file or a connection, or start a process
	Landlock int  `json:"landlock"` // the same for files and TCP; the version of Landlock, 0 for none
}

// String says what is limited or barred, and by what.
func (h Held) String() string {
	parts := []string{"time"}
	if h.Time {
		parts = append(parts, "processor time")
	}
	if h.Memory {
		parts = append(parts, "memory")
	}
	switch {
	case h.Seccomp && h.Landlock > 0:
		parts = append(parts, fmt.Sprintf("files, network and processes (seccomp, Landlock %d)", h.Landlock))
	case h.Seccomp:
		parts = append(parts, "files, network and processes (seccomp)")
	case h.Landlock > 0:
		parts = append(parts, fmt.Sprintf("files (Landlock %d)", h.Landlock))
	default:
		parts = append(parts, "not files, network and processes")
	}
	return strings.Join(parts, ", ")
}

// Probe starts a child to see what holds.
func (e *Evaluator) Probe(ctx context.Context) (Held, error) {
	p, err := e.take(limitsOf(starlark.Limits{}.WithDefaults()))
	if err != nil {
		return Held{}, err
	}
	defer p.Wait()
	defer p.Kill()
	defer context.AfterFunc(ctx, p.Kill)()
	defer time.AfterFunc(10*time.Second, p.Kill).Stop()
	var held Held
	f, err := newFrameReader(p, maxChunk).next()
	if err == nil {
		err = f.decode(hello, &held)
	}
	if err != nil {
		return Held{}, fmt.Errorf("start a child to evaluate in: %w", err)
	}
	return held, nil
}

// Evaluate evaluates r in a child. It is a starlark.Evaluator. What it returns
// is what starlark.Evaluate returns, unless a limit was hit that only a process
// has. A compiled file is not kept, so r.Cache is not used.
func (e *Evaluator) Evaluate(ctx context.Context, r starlark.Request) (starlark.Result, error) {
	c, done, err := e.begin(ctx, &r)
	if err != nil {
		return starlark.Result{}, err
	}
	defer done()
	out, err := c.call(ctx, evaluate, newRequest(&r), newLibrary(&r))
	if err == nil && !r.CatalogOnly && !r.All {
		err = c.planned(ctx, out)
	}
	if err != nil {
		return starlark.Result{}, err
	}
	result := out.Result
	if out.Expands {
		// The child lives as long as ctx does.
		result.Expand = c.expander(ctx, result.Plan)
		context.AfterFunc(ctx, func() { c.reap() })
	} else {
		c.reap()
	}
	return result, out.err
}

// grace is what is left for a child to say that it ran into the limit by
// itself, and where. An answer within half a second of the limit is promised,
// also on a machine that is busy, so it is the smaller part of that.
func (e *Evaluator) grace() time.Duration { return cmp.Or(e.Grace, 150*time.Millisecond) }
