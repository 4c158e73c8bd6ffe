// Package environment decides where the process of a step stands.
//
// A plan knows four kinds of place. On the host a step sees the machine as it
// is. A temp_dir is a copy of the tree that all its steps share and that is
// gone after the build. A venv is a Python virtual environment, made and filled
// before the first of its steps. A container is run for each step by podman or
// docker, on the same tree at the same path.
//
// Executor stands in front of another runtime.Executor: it makes the place a
// task asks for when the first such task comes, changes the task to stand
// there, and hands it on. It starts no process by itself.
package environment

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/piper-build/piper/runtime"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/process"
)

// An Executor runs each task in the environment that its step, or else its
// plan, names. Its fields are set before the first task; Next and Plan must be.
// Close it after the last task.
//
// A place that cannot be made fails the step, and every other first attempt
// that asks for it; a step that is tried again has it made again.
type Executor struct {
	Next      runtime.Executor
	Plan      *plan.Plan
	Workspace string // absolute; what a temp_dir copies, and where a venv stands

	// Files lists what a temp_dir copies, slash-separated, below Workspace; nil
	// is everything but .git.
	Files func() ([]string, error)
	Temp  string // where copies go that are not kept; "" is os.TempDir
	Keep  bool   // leave every temp_dir behind, not only those that say so

	// Output asks podman and docker about themselves; nil is process.Output.
	Output func(ctx context.Context, dir string, env []string, argv ...string) ([]byte, error)
	// Environ is what podman and docker see of, such as DOCKER_HOST; nil is
	// os.Environ. No step sees it.
	Environ func() []string
	// Report is told what outlives the build, in words; nil is silence.
	Report func(message string)

	mu     sync.Mutex
	grown  *plan.Plan         // what Plan has become; nil while it is the same
	places map[string]*making // by the name of the environment
}

// A place is an environment that has been made.
type place interface {
	execute(ctx context.Context, next runtime.Executor, t runtime.Task) runtime.Result
	remove() error
}

// A making is a place that somebody makes, or has made.
type making struct {
	done  chan struct{} // closed when the rest is set
	place place
	err   error
}

// errGivenUp ends a making whose maker was cancelled: somebody else is to try.
var errGivenUp = errors.New("cancelled")

// A machineError is one that the author of the plan cannot mend.
type machineError struct{ error }

func (e machineError) Unwrap() error { return e.error }

// Grow says what Plan has become, for environments that it did not have.
func (e *Executor) Grow(p *plan.Plan) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.grown = p
}

// environments are all that there are by now.
func (e *Executor) environments() []plan.Environment {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.grown != nil {
		return e.grown.Environments
	}
	return e.Plan.Environments
}

// Execute runs t where it is to stand.
func (e *Executor) Execute(ctx context.Context, t runtime.Task) runtime.Result {
	env, err := e.environment(t)
	if err == nil && (env == nil || env.Kind == "host") {
		return e.Next.Execute(ctx, t)
	}
	var where place
	if err == nil {
		where, err = e.place(ctx, env, t)
	}
	var machine machineError
	switch {
	case err == nil:
		return where.execute(ctx, e.Next, t)
	case errors.Is(err, errGivenUp):
		return runtime.Result{State: build.Cancelled, Reason: "cancelled before it started"}
	default:
		return runtime.Result{State: build.Failed, Reason: err.Error(), Infra: errors.As(err, &machine)}
	}
}

// Close removes what was made for the build alone. It is called when no task
// runs any more, and may be called again.
func (e *Executor) Close() error {
	e.mu.Lock()
	places := e.places
	e.places = nil
	e.mu.Unlock()
	var errs []error
	for name, m := range places {
		if m.place == nil {
			continue
		}
		if err := m.place.remove(); err != nil {
			errs = append(errs, fmt.Errorf("remove environment %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

// environment finds what t is to stand in; nil is the plain host.
func (e *Executor) environment(t runtime.Task) (*plan.Environment, error) {
	name := e.Plan.Environment
	if t.Node != nil && t.Node.Step != nil && t.Node.Step.Environment != "" {
		name = t.Node.Step.Environment
	}
	if name == "" {
		return nil, nil
	}
	all := e.environments()
	i := slices.IndexFunc(all, func(env plan.Environment) bool { return env.Name == name })
	if i < 0 {
		return nil, fmt.Errorf("environment %s is not in the plan", name)
	}
	return &all[i], nil
}

// place returns where env stands, and makes it when t is the first to ask.
func (e *Executor) place(ctx context.Context, env *plan.Environment, t runtime.Task) (place, error) {
	for {
		m, mine := e.claim(env.Name, t.Attempt)
		if mine {
			m.place, m.err = e.make(ctx, env, t)
			switch {
			case m.err == nil:
			case ctx.Err() != nil:
				m.err = errGivenUp
				e.forget(env.Name)
			default:
				m.err = fmt.Errorf("make environment %s: %w", env.Name, m.err)
			}
			close(m.done)
			return m.place, m.err
		}
		select {
		case <-m.done:
			if !errors.Is(m.err, errGivenUp) {
				return m.place, m.err
			}
		case <-ctx.Done():
			return nil, errGivenUp
		}
	}
}

// claim returns the making of an environment, and whether the caller is to
// carry it out.
func (e *Executor) claim(name string, attempt int) (m *making, mine bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if m := e.places[name]; m != nil && !(attempt > 1 && m.failed()) {
		return m, false
	}
	if e.places == nil {
		e.places = map[string]*making{}
	}
	m = &making{done: make(chan struct{})}
	e.places[name] = m
	return m, true
}

func (m *making) failed() bool {
	select {
	case <-m.done:
		return m.err != nil
	default:
		return false
	}
}

func (e *Executor) forget(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.places, name)
}

func (e *Executor) make(ctx context.Context, env *plan.Environment, t runtime.Task) (place, error) {
	switch env.Kind {
	case "temp_dir":
		return e.makeTempDir(ctx, env)
	case "venv":
		return e.makeVenv(ctx, env, t)
	case "container":
		return e.makeContainer(ctx, env)
	}
	return nil, fmt.Errorf("no kind %q is known: it is host, temp_dir, venv or container", env.Kind)
}

func (e *Executor) output(ctx context.Context, env []string, argv ...string) ([]byte, error) {
	if e.Output != nil {
		return e.Output(ctx, e.Workspace, env, argv...)
	}
	return process.Output(ctx, e.Workspace, env, argv...)
}

func (e *Executor) report(format string, args ...any) {
	if e.Report != nil {
		e.Report(fmt.Sprintf(format, args...))
	}
}

// unique is a new name for something of an environment, fit for files and
// containers.
func unique() string { return "piper-" + strings.ToLower(rand.Text()) }

// get returns a variable of an environment. The last entry of a name holds.
func get(env []string, name string) (string, bool) {
	for _, entry := range slices.Backward(env) {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value, true
		}
	}
	return "", false
}

// without returns env less some names.
func without(env []string, names ...string) []string {
	return slices.DeleteFunc(slices.Clone(env), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.Contains(names, name)
	})
}

// with returns env with a variable set.
func with(env []string, name, value string) []string {
	return append(without(env, name), name+"="+value)
}
