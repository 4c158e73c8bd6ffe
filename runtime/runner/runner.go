// Package runner runs one build in one process: a plan goes in, events and
// output come out.
//
// Run puts the parts together. The engine decides and resolves; the processes
// of steps are package process's, standing where package environment puts
// them; what they write is masked, then kept, then shown. piper exec calls Run
// itself.
//
// An agent has a child of its own program call it (Command, ChildMain), for each
// build another one: so no step shares a process, an environment or readable
// memory with what the agent knows, and all of a build can be ended by ending
// one process.
//
// # How the two talk
//
// The child hears JSON lines: a job, with the plan, all that it may know and the
// secrets, which so stand in no command line and no environment, and then answers,
// of which that about an expand has the secrets of what it found, and cancels. It
// says a stream (package stream), which is what piper exec --progress=json prints,
// with questions in it that only the agent can answer; its last line says that
// nothing of the build runs any more. message.go has all of both. Whatever else
// comes from a child is an error, and its end.
//
// A child whose agent does not read waits, and so do its steps. Nobody holds more
// than a line.
//
// # Who ends whom
//
// An agent that wants a build to end says so, and kills a child that does not
// obey. A child whose agent has died hears its input end, and ends the build at
// once. What a child leaves that was itself killed is for its guard (package
// process), and for the agent, which gets its orphans.
package runner

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/piper-build/piper/runtime"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/environment"
	"github.com/piper-build/piper/runtime/facts"
	"github.com/piper-build/piper/runtime/logs"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/process"
	"github.com/piper-build/piper/runtime/remove"
	"github.com/piper-build/piper/runtime/secret"
)

// Options say what to run and how. Plan and Workspace must be set.
type Options struct {
	Plan      *plan.Plan
	Workspace string   // absolute
	Temp      string   // where files go that are needed only meanwhile, absolute; "" is os.TempDir
	ID        build.ID // "" makes a new one
	Commit    string
	Branch    string

	Parallel int                      // steps at once; 0 is the number of processors
	MaxNodes int                      // of the plan, with all that expands find; 0 is plan.MaxNodes
	Environ  []string                 // the caller's environment
	PassEnv  []string                 // names and globs let through to every step
	Keep     bool                     // leave every temp_dir behind
	Secrets  *secret.Memory           // nil has none; whatever it ever gave is masked
	Facts    map[string]string        // that steps may require, beside what the machine says of itself
	Files    func() ([]string, error) // the tree's files, for environments that copy it

	Display  Display          // nil shows nothing
	LogDir   string           // a file per step goes there; "" for none
	Recorder runtime.Recorder // keeps the events; nil keeps none
	Sink     logs.Sink        // keeps the output, secrets masked, and is not closed; nil keeps none

	// History is what the nodes took before: with it the longest way through the
	// plan is started first.
	History map[string]time.Duration

	Approve func(ctx context.Context, node *plan.Node) (runtime.Approval, error)
	Trigger func(ctx context.Context, node *plan.Node, params map[string]string, made func(build.ID)) (build.State, error)
	Expand  func(ctx context.Context, node *plan.Node, outputs map[string]string) (plan.Expansion, error)
	Intend  func(ctx context.Context, node *plan.Node) error
	OnFail  func(ctx context.Context, t runtime.Task, res runtime.Result) // while a failed step's directory still stands
	Report  func(message string)                                          // what the build leaves behind, in words; nil is silence
	Cancels <-chan runtime.Cancel                                         // see runtime.Engine

	local *process.Executor // with a guard that is being started, which Run closes; nil makes one
}

// A Display shows a build. Begin comes first and End last. Event is called in
// order, one at a time, Output by many goroutines, one at a time for each attempt.
type Display interface {
	Begin(p *plan.Plan, b *build.Build)
	Event(ev build.Event, b *build.Build)
	Output(node *plan.Node, attempt int, at time.Time, p []byte)
	End(b *build.Build)
}

// Run runs a build to its end. How it ended is its State; the error is the
// machine's, and the build that comes with it shows how far it got.
func Run(ctx context.Context, o Options) (b *build.Build, err error) {
	if o.ID == "" {
		o.ID = build.NewID(time.Now())
	}
	b = build.New(o.Plan)
	b.Expect(o.History)

	local := o.local
	if local == nil {
		if local, err = guarded(); err != nil {
			return b, err
		}
	}
	defer func() { err = errors.Join(err, local.Close()) }()
	secrets := o.Secrets
	if secrets == nil {
		secrets = secret.Remember(nil)
	}
	masks := &mask{secrets: secrets}
	if err := masks.learn(o.Plan.Secrets()); err != nil {
		return b, err
	}
	if err := process.Protect(); err != nil { // what this process was told is not for steps
		return b, err
	}

	temp, err := os.MkdirTemp(o.Temp, "piper-")
	if err != nil {
		return b, fmt.Errorf("make temporary directory: %w", err)
	}
	defer func() { err = errors.Join(err, remove.Tree(temp)) }()

	kept := []logs.Sink{o.Sink}
	if o.LogDir != "" {
		dir, failed := logs.OpenDir(o.LogDir)
		if failed != nil {
			return b, failed
		}
		defer func() { err = errors.Join(err, dir.Close()) }()
		kept = append(kept, dir)
	}
	stands := &environment.Executor{Next: local, Plan: o.Plan, Workspace: o.Workspace,
		Temp: o.Temp, Files: o.Files, Keep: o.Keep, Environ: func() []string { return o.Environ }, Report: o.Report}
	if o.OnFail != nil {
		stands.Next = failing{local, o.OnFail}
	}
	machine := &facts.Machine{Environ: o.Environ, Static: o.Facts}

	engine := o.engine()
	engine.Executor = stands
	engine.Recorder = o.Recorder
	engine.Output = func(node *plan.Node, attempt int) (runtime.Output, error) {
		sinks := kept
		if o.Display != nil {
			sinks = append(slices.Clip(sinks), shown{o.Display, node})
		}
		w, err := logs.Tee(sinks...).Open(node.Name, attempt)
		if err != nil {
			return nil, err
		}
		return masks.Writer(w), nil
	}
	engine.Meets = func(ctx context.Context, reqs []plan.Requirement) error { return facts.Check(ctx, machine, reqs) }
	engine.Secret = secrets.Get
	engine.Leaks = masks.Contains
	engine.Mask = masks.String
	engine.Temp = temp
	if o.Expand != nil {
		engine.Expand = func(ctx context.Context, node *plan.Node, outputs map[string]string) (plan.Expansion, error) {
			found, err := o.Expand(ctx, node, outputs)
			if err == nil {
				err = masks.learn(found.Secrets())
			}
			return found, err
		}
	}
	engine.Observe = func(ev build.Event, b *build.Build) {
		if ev.Expansion != nil {
			stands.Grow(b.Plan())
		}
		if o.Display != nil {
			o.Display.Event(ev, b)
		}
	}
	if o.Display != nil {
		o.Display.Begin(o.Plan, b)
	}
	err = engine.Run(ctx, b)
	err = errors.Join(err, stands.Close())
	if o.Display != nil {
		o.Display.End(b)
	}
	return b, err
}

// guarded returns an executor whose guard is being started.
func guarded() (*process.Executor, error) {
	guard, err := process.GuardCommand()
	if err != nil {
		return nil, err
	}
	local := &process.Executor{Guard: guard}
	local.Prepare()
	return local, nil
}

// Preview is what Run would start first for a step or service of o.Plan; see
// runtime.Engine.Preview. An environment that is made for the build, such as a
// container, changes the task once more.
func Preview(o Options, node string) (runtime.Task, error) {
	engine := o.engine()
	return engine.Preview(o.Plan, node)
}

// engine is the engine as far as o alone says.
func (o *Options) engine() runtime.Engine {
	return runtime.Engine{
		Plain:     process.Plain,
		Answers:   process.Answers,
		Trigger:   o.Trigger,
		Approve:   o.Approve,
		Expand:    o.Expand,
		Intend:    o.Intend,
		Lookup:    lookup(o.Environ),
		Environ:   func() []string { return o.Environ },
		PassEnv:   o.PassEnv,
		Workspace: o.Workspace,
		Parallel:  o.Parallel,
		MaxNodes:  o.MaxNodes,
		ID:        o.ID,
		Commit:    o.Commit,
		Branch:    o.Branch,
		Cancels:   o.Cancels,
	}
}

// shown is the sink that a Display is for one node.
type shown struct {
	display Display
	node    *plan.Node
}

func (s shown) Open(_ string, attempt int) (logs.Writer, error) {
	return &shownWriter{s.display, s.node, attempt}, nil
}

func (s shown) Close() error { return nil }

type shownWriter struct {
	display Display
	node    *plan.Node
	attempt int
}

func (w *shownWriter) Write(at time.Time, p []byte) error {
	w.display.Output(w.node, w.attempt, at, p)
	return nil
}

func (w *shownWriter) Close() error { return nil }

// failing is an executor that lets somebody look at a step that failed before
// it is over.
type failing struct {
	runtime.Executor
	onFail func(context.Context, runtime.Task, runtime.Result)
}

func (f failing) Execute(ctx context.Context, t runtime.Task) runtime.Result {
	res := f.Executor.Execute(ctx, t)
	if !t.Check && (res.State == build.Failed || res.State == build.TimedOut) {
		f.onFail(ctx, t, res)
	}
	return res
}

func lookup(environ []string) func(string) (string, bool) {
	values := make(map[string]string, len(environ))
	for _, kv := range environ {
		if name, value, ok := strings.Cut(kv, "="); ok {
			values[name] = value
		}
	}
	return func(name string) (string, bool) {
		value, ok := values[name]
		return value, ok
	}
}
