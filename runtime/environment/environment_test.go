package environment_test

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/environment"
	"github.com/piper-build/piper/runtime/plan"
)

// A direct executor runs a task's command plainly, and remembers it.
type direct struct {
	mu    sync.Mutex
	tasks []runtime.Task
	// instead, when set, stands for running the command.
	instead func(context.Context, runtime.Task) runtime.Result
}

func (d *direct) Execute(ctx context.Context, t runtime.Task) runtime.Result {
	d.mu.Lock()
	d.tasks = append(d.tasks, t)
	d.mu.Unlock()
	if d.instead != nil {
		return d.instead(ctx, t)
	}
	path, err := lookPath(t.Argv[0], t.Env)
	if err != nil {
		return runtime.Result{State: build.Failed, Reason: err.Error()}
	}
	cmd := exec.CommandContext(ctx, path, t.Argv[1:]...)
	cmd.Dir, cmd.Env = filepath.Join(t.Workspace, t.Dir), t.Env
	cmd.Stdout = writer{t.Output}
	cmd.Stderr = cmd.Stdout
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return runtime.Result{State: build.Cancelled, Signal: "killed"}
	case err == nil:
		return ended(0)
	case errors.As(err, &exit):
		return ended(exit.ExitCode())
	}
	return runtime.Result{State: build.Failed, Infra: true, Reason: err.Error()}
}

// ran returns the tasks so far.
func (d *direct) ran() []runtime.Task {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.tasks)
}

func ended(code int) runtime.Result {
	if code == 0 {
		return runtime.Result{State: build.Success, Exit: &code}
	}
	return runtime.Result{State: build.Failed, Exit: &code}
}

func lookPath(name string, env []string) (string, error) {
	if strings.Contains(name, "/") {
		return name, nil
	}
	for _, dir := range filepath.SplitList(value(env, "PATH")) {
		path := filepath.Join(dir, name)
		if info, err := os.Stat(path); err == nil && info.Mode()&0o111 != 0 {
			return path, nil
		}
	}
	return "", errors.New(name + ": command not found")
}

func value(env []string, name string) string {
	for _, entry := range slices.Backward(env) {
		if value, ok := strings.CutPrefix(entry, name+"="); ok {
			return value
		}
	}
	return ""
}

// A log is an output that can be read.
type log struct {
	mu sync.Mutex
	strings.Builder
}

func (l *log) Write(_ time.Time, p []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.Builder.Write(p)
	return nil
}

func (l *log) Close() error { return nil }

type writer struct{ runtime.Output }

func (w writer) Write(p []byte) (int, error) { return len(p), w.Output.Write(time.Now(), p) }

var _ io.Writer = writer{}

// task is a step in an environment.
func task(environment string, argv ...string) runtime.Task {
	return runtime.Task{
		Node:      &plan.Node{Name: "unit", Step: &plan.Step{Environment: environment}},
		Attempt:   1,
		Argv:      argv,
		Env:       []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "PIPER_WORKSPACE=/elsewhere"},
		Workspace: "/elsewhere",
		Output:    &log{},
	}
}

func planOf(environments ...plan.Environment) *plan.Plan {
	return &plan.Plan{Environments: environments}
}

// write makes files below dir: a name that ends in / is a directory, a content
// that begins with -> a link.
func write(t testing.TB, dir string, files map[string]string) {
	for name, text := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		switch target, link := strings.CutPrefix(text, "-> "); {
		case strings.HasSuffix(name, "/"):
			require.NoError(t, os.MkdirAll(path, 0o755))
		case link:
			require.NoError(t, os.Symlink(target, path))
		default:
			require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		}
	}
}

func TestHostChangesNothing(t *testing.T) {
	for name, p := range map[string]*plan.Plan{
		"no environment":      {},
		"one of kind host":    {Environment: "local", Environments: []plan.Environment{{Name: "local", Kind: "host"}}},
		"a step's own":        {Environment: "x", Environments: []plan.Environment{{Name: "x", Kind: "temp_dir"}, {Name: "own", Kind: "host"}}},
		"one without a step":  {},
		"none, others listed": {Environments: []plan.Environment{{Name: "x", Kind: "temp_dir"}}},
	} {
		t.Run(name, func(t *testing.T) {
			next := &direct{instead: func(context.Context, runtime.Task) runtime.Result { return ended(3) }}
			e := &environment.Executor{Next: next, Plan: p}
			given := task("", "true")
			switch name {
			case "a step's own":
				given = task("own", "true")
			case "one without a step":
				given.Node = nil
			}
			require.Equal(t, ended(3), e.Execute(t.Context(), given))
			require.Equal(t, []runtime.Task{given}, next.ran())
			require.NoError(t, e.Close())
		})
	}
}

func TestUnknown(t *testing.T) {
	e := &environment.Executor{Next: &direct{}, Plan: planOf(plan.Environment{Name: "odd", Kind: "cloud"})}
	require.Equal(t, runtime.Result{State: build.Failed, Reason: "environment gone is not in the plan"},
		e.Execute(t.Context(), task("gone", "true")))
	require.Equal(t, runtime.Result{State: build.Failed, Reason: `make environment odd: no kind "cloud" is known: it is host, temp_dir, venv or container`},
		e.Execute(t.Context(), task("odd", "true")))
	require.NoError(t, e.Close())
}

// A place is made by the first task; a task that comes meanwhile waits.
func TestMadeOnce(t *testing.T) {
	workspace, temp := t.TempDir(), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		next := &direct{instead: func(context.Context, runtime.Task) runtime.Result { return ended(0) }}
		e := &environment.Executor{Next: next, Workspace: workspace, Temp: temp,
			Plan: planOf(plan.Environment{Name: "copy", Kind: "temp_dir"}),
			Files: func() ([]string, error) {
				calls++
				time.Sleep(time.Hour)
				return nil, nil
			}}
		var wg sync.WaitGroup
		for range 20 {
			wg.Go(func() { require.Equal(t, ended(0), e.Execute(t.Context(), task("copy", "true"))) })
		}
		synctest.Wait()
		require.Empty(t, next.ran())
		impatient, cancel := context.WithCancel(t.Context())
		wg.Go(func() {
			require.Equal(t, runtime.Result{State: build.Cancelled, Reason: "cancelled before it started"}, e.Execute(impatient, task("copy", "true")))
		})
		synctest.Wait()
		cancel()
		wg.Wait()
		require.Equal(t, 1, calls)
		require.Len(t, next.ran(), 20)
		require.NoError(t, e.Close())
	})
	left, err := os.ReadDir(temp)
	require.NoError(t, err)
	require.Empty(t, left)
}

// When the task that makes a place is cancelled, one that waits takes over.
func TestMakerCancelled(t *testing.T) {
	workspace, temp := t.TempDir(), t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		first, cancel := context.WithCancel(t.Context())
		calls := 0
		e := &environment.Executor{Workspace: workspace, Temp: temp,
			Next: &direct{instead: func(context.Context, runtime.Task) runtime.Result { return ended(0) }},
			Plan: planOf(plan.Environment{Name: "copy", Kind: "temp_dir"}),
			Files: func() ([]string, error) {
				if calls++; calls == 1 {
					<-first.Done()
				}
				return []string{"a"}, nil
			}}
		var wg sync.WaitGroup
		wg.Go(func() {
			require.Equal(t, build.Cancelled, e.Execute(first, task("copy", "true")).State)
		})
		synctest.Wait()
		for range 3 {
			wg.Go(func() { require.Equal(t, ended(0), e.Execute(t.Context(), task("copy", "true"))) })
		}
		synctest.Wait()
		cancel()
		wg.Wait()
		require.Equal(t, 2, calls)
		require.NoError(t, e.Close())
	})
	left, err := os.ReadDir(temp)
	require.NoError(t, err)
	require.Empty(t, left)
}

// A place that could not be made is not made again, but for a step that is
// tried again.
func TestFailureStands(t *testing.T) {
	calls := 0
	e := &environment.Executor{Workspace: t.TempDir(), Temp: t.TempDir(),
		Next: &direct{instead: func(context.Context, runtime.Task) runtime.Result { return ended(0) }},
		Plan: planOf(plan.Environment{Name: "copy", Kind: "temp_dir"}),
		Files: func() ([]string, error) {
			if calls++; calls == 1 {
				return nil, errors.New("list files: no space")
			}
			return nil, nil
		}}
	failed := runtime.Result{State: build.Failed, Infra: true, Reason: "make environment copy: copy the tree: list files: no space"}
	require.Equal(t, failed, e.Execute(t.Context(), task("copy", "true")))
	require.Equal(t, failed, e.Execute(t.Context(), task("copy", "true")))
	require.Equal(t, 1, calls)
	again := task("copy", "true")
	again.Attempt = 2
	require.Equal(t, ended(0), e.Execute(t.Context(), again))
	require.Equal(t, ended(0), e.Execute(t.Context(), task("copy", "true")))
	require.Equal(t, 2, calls)
	require.NoError(t, e.Close())
}
