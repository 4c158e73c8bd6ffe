package runtime_test

import (
	"context"
	"errors"
	"maps"
	"os"
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
	"github.com/piper-build/piper/runtime/plan"
)

// scripted is an executor whose steps end as a test says.
type scripted struct {
	run func(ctx context.Context, t runtime.Task) runtime.Result

	mu    sync.Mutex
	tasks []runtime.Task
}

func (s *scripted) Execute(ctx context.Context, t runtime.Task) runtime.Result {
	s.mu.Lock()
	s.tasks = append(s.tasks, t)
	s.mu.Unlock()
	if s.run == nil {
		return ok()
	}
	return s.run(ctx, t)
}

func (s *scripted) task(name string) runtime.Task {
	for _, t := range s.tasks {
		if t.Node.Name == name {
			return t
		}
	}
	return runtime.Task{}
}

func (s *scripted) names() (names []string) {
	for _, t := range s.tasks {
		names = append(names, t.Node.Name)
	}
	return names
}

// tape keeps events in memory.
type tape []build.Event

func (t *tape) Record(events []build.Event) error {
	*t = append(*t, events...)
	return nil
}

func ok() runtime.Result { return exit(0) }

func exit(code int) runtime.Result {
	state := build.Success
	if code != 0 {
		state = build.Failed
	}
	return runtime.Result{State: state, Exit: &code}
}

// untilCancelled is a step that ends only when it is told to.
func untilCancelled(ctx context.Context, t runtime.Task) runtime.Result {
	select {
	case <-ctx.Done():
	case <-t.Kill:
	}
	return runtime.Result{State: build.Cancelled}
}

// steps is a plan of steps in a row.
func steps(names ...string) *plan.Plan {
	p := &plan.Plan{Format: plan.Format, Project: plan.Project{Name: "shop", Version: "v1"}, Pipeline: "build"}
	for i, name := range names {
		n := plan.Node{Name: name, Step: &plan.Step{Script: "true | " + name}}
		if i > 0 {
			n.Needs = []string{names[i-1]}
		}
		p.Nodes = append(p.Nodes, n)
	}
	return p
}

type outcome struct {
	*build.Build
	*scripted
	tape tape
	err  error
}

func (o outcome) states() map[string]build.State {
	states := map[string]build.State{}
	for i, n := range o.Plan().Nodes {
		states[n.Name] = o.Node(i).State
	}
	return states
}

// play runs p and checks what must hold of every run: the events that were
// recorded fold to the live state.
func play(ctx context.Context, t *testing.T, p *plan.Plan, x *scripted, change func(*runtime.Engine)) outcome {
	t.Helper()
	o := outcome{Build: build.New(p), scripted: x}
	e := runtime.Engine{Executor: x, Recorder: &o.tape, Workspace: "/w", Temp: t.TempDir(), Parallel: 2}
	if change != nil {
		change(&e)
	}
	o.err = e.Run(ctx, o.Build)
	if o.err == nil {
		folded, err := build.Fold(p, o.tape)
		require.NoError(t, err)
		require.Equal(t, o.Steps(), folded.Steps())
		require.Equal(t, o.State(), folded.State())
	}
	return o
}

func TestOrder(t *testing.T) {
	o := play(t.Context(), t, steps("a", "b", "c"), &scripted{}, nil)
	require.NoError(t, o.err)
	require.Equal(t, build.Success, o.State())
	require.Equal(t, []string{"a", "b", "c"}, o.names())
	require.Equal(t, []string{"/bin/sh", "-e", "-c", "true | b"}, o.task("b").Argv)
	require.Equal(t, time.Duration(plan.DefaultGrace), o.task("b").Grace)
}

func TestFailureSkips(t *testing.T) {
	p := steps("a", "b", "c")
	p.Nodes[2].Own().RunOn = plan.Always
	o := play(t.Context(), t, p, &scripted{run: func(_ context.Context, t runtime.Task) runtime.Result {
		if t.Node.Name == "a" {
			return exit(7)
		}
		return ok()
	}}, nil)
	require.NoError(t, o.err)
	require.Equal(t, build.Failed, o.State())
	require.Equal(t, map[string]build.State{"a": build.Failed, "b": build.Skipped, "c": build.Success}, o.states())
	step, _ := o.Step("a")
	require.Equal(t, 7, *step.Exit)
}

func TestEnvironment(t *testing.T) {
	p := steps("a", "b")
	p.Environment = "here"
	p.Environments = []plan.Environment{{Name: "here", Kind: "host", PassEnv: []string{"FROM_ENV"},
		Env: plan.Env{{Name: "LEVEL", Value: plan.Lit("environment")}, {Name: "X", Value: plan.Lit("environment")}}}}
	p.Env = plan.Env{{Name: "LEVEL", Value: plan.Lit("plan")}, {Name: "TERM", Value: plan.Lit("dumb")}}
	p.PassEnv = []string{"SSL_*", "PIPER_STORE"}
	p.Nodes[0].Step.Env = plan.Env{{Name: "X", Value: plan.Lit("step")}, {Name: "PIPER_STEP", Value: plan.Lit("no")}}
	p.Nodes[1].Step.PassEnv = []string{"GOPROXY", "PATH", "X"}
	caller := []string{"PATH=/bin", "HOME=/h", "USER=u", "LANG=C", "TERM=xterm", "TMPDIR=/tmp", "GOPROXY=off", "SSL_CERT=/c",
		"FROM_ENV=1", "SECRET=no", "X=caller", "PIPER_STORE=no", "CLI=1"}
	o := play(t.Context(), t, p, &scripted{}, func(e *runtime.Engine) {
		e.Environ = func() []string { return caller }
		e.Lookup = func(name string) (string, bool) {
			for _, kv := range caller {
				if k, v, _ := strings.Cut(kv, "="); k == name {
					return v, true
				}
			}
			return "", false
		}
		e.PassEnv = []string{"CLI"}
		e.ID, e.Commit, e.Branch = "id", "abc", "main"
	})
	require.NoError(t, o.err)
	a := o.task("a")
	shared := []string{"PATH=/bin", "HOME=/h", "USER=u", "LANG=C", "TERM=dumb", "TMPDIR=/tmp", "CLI=1", "SSL_CERT=/c", "FROM_ENV=1",
		"LEVEL=environment", "PIPER=1", "PIPER_PROJECT=shop", "PIPER_PIPELINE=build", "PIPER_BUILD=id", "PIPER_VERSION=v1",
		"PIPER_COMMIT=abc", "PIPER_BRANCH=main", "PIPER_WORKSPACE=/w", "PIPER_ATTEMPT=1"}
	require.ElementsMatch(t, append(slices.Clone(shared), "X=step", "PIPER_STEP=a", "PIPER_OUTPUT="+a.OutputDir), a.Env)
	b := o.task("b")
	require.ElementsMatch(t, append(slices.Clone(shared), "X=environment", "GOPROXY=off", "PIPER_STEP=b", "PIPER_OUTPUT="+b.OutputDir), b.Env)
}

func TestPlainScripts(t *testing.T) {
	p := steps("a", "b")
	p.Nodes[1].Step.Shell = "bash"
	o := play(t.Context(), t, p, &scripted{}, func(e *runtime.Engine) {
		e.Plain = func(string) ([]string, bool) { return []string{"/bin/true"}, true }
	})
	require.Equal(t, []string{"/bin/true"}, o.task("a").Argv)
	require.Equal(t, []string{"bash", "-e", "-c", "true | b"}, o.task("b").Argv, "a named shell is always started")
}

func TestRetryWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := steps("a")
		p.Nodes[0].Step.Retry = &plan.Retry{Attempts: 3, Backoff: plan.Duration(10 * time.Second)}
		start := time.Now()
		o := play(t.Context(), t, p, &scripted{run: func(_ context.Context, t runtime.Task) runtime.Result { return exit(3 - t.Attempt) }}, nil)
		require.NoError(t, o.err)
		require.Equal(t, build.Success, o.State())
		require.Len(t, o.tasks, 3)
		require.Equal(t, 30*time.Second, time.Since(start).Round(time.Second), "10 s, then 20 s")
	})
}

func TestOutputs(t *testing.T) {
	write := func(name, value string) func(string) error {
		return func(dir string) error { return os.WriteFile(filepath.Join(dir, name), []byte(value), 0o600) }
	}
	for name, c := range map[string]struct {
		leave  func(dir string) error
		want   map[string]string
		reason string
	}{
		"value":          {leave: write("v", "1.2\n"), want: map[string]string{"v": "1.2"}},
		"nothing":        {leave: func(string) error { return nil }},
		"not UTF-8":      {leave: write("v", "\xff"), reason: `output "v": is not UTF-8`},
		"NUL":            {leave: write("v", "a\x00b"), reason: `output "v": holds a NUL byte`},
		"large":          {leave: write("v", strings.Repeat("x", 64<<10+1)), reason: `output "v": is larger than 64 KiB`},
		"secret":         {leave: write("v", "is hunter2!"), reason: `output "v" holds a secret`},
		"directory":      {leave: func(dir string) error { return os.Mkdir(filepath.Join(dir, "v"), 0o700) }, reason: `output "v": is not a regular file`},
		"symlink":        {leave: func(dir string) error { return os.Symlink("/etc/passwd", filepath.Join(dir, "v")) }, reason: `output "v": is not a regular file`},
		"directory gone": {leave: os.RemoveAll},
		"no name":        {leave: write("a b", "1"), reason: `output "a b": is no name for an output`},
		"not UTF-8 name": {leave: write("b\xff", "1"), reason: `output "b\xff": is no name for an output`},
		"a file instead": {leave: func(dir string) error {
			if err := os.Remove(dir); err != nil {
				return err
			}
			return os.WriteFile(dir, nil, 0o600)
		}, reason: "read $PIPER_OUTPUT"},
		"secret name": {leave: write("hunter2", "1"), reason: "holds a secret"},
		"many": {leave: func(dir string) error {
			for i := range 257 {
				if err := write(strings.Repeat("x", 1+i%200)+string(rune('a'+i/200)), "")(dir); err != nil {
					return err
				}
			}
			return nil
		}, reason: "$PIPER_OUTPUT holds 257 files; at most 256 are allowed"},
	} {
		t.Run(name, func(t *testing.T) {
			o := play(t.Context(), t, steps("a", "b"), &scripted{run: func(_ context.Context, task runtime.Task) runtime.Result {
				entries, err := os.ReadDir(task.OutputDir)
				require.NoError(t, err)
				require.Empty(t, entries, "each attempt finds it empty")
				if task.Node.Name == "a" {
					require.NoError(t, c.leave(task.OutputDir))
				}
				return ok()
			}}, func(e *runtime.Engine) {
				e.Parallel = 1
				e.Leaks = func(s string) bool { return strings.Contains(s, "hunter2") }
			})
			require.NoError(t, o.err)
			a, _ := o.Step("a")
			require.Equal(t, c.want, a.Outputs)
			if c.reason == "" {
				require.Equal(t, build.Success, o.State())
				return
			}
			require.Equal(t, build.Failed, a.State)
			require.Contains(t, a.Reason, c.reason)
		})
	}
}

func TestOutputReachesLaterSteps(t *testing.T) {
	p := steps("a", "b", "c")
	version := plan.Text{Parts: []plan.Part{{Literal: "v"}, {Output: &plan.Output{Step: "a", Key: "version"}}}}
	p.Nodes[1].Step = &plan.Step{Argv: []plan.Text{plan.Lit("tag"), version}, Env: plan.Env{{Name: "V", Value: version}}}
	p.Nodes[2] = plan.Node{Name: "c", Needs: []string{"b"}, More: &plan.More{Trigger: &plan.Trigger{Pipeline: "deploy", Params: plan.Env{{Name: "version", Value: version}}}}}
	var params map[string]string
	o := play(t.Context(), t, p, &scripted{run: func(_ context.Context, task runtime.Task) runtime.Result {
		if task.Node.Name == "a" {
			require.NoError(t, os.WriteFile(filepath.Join(task.OutputDir, "version"), []byte("7"), 0o600))
		}
		return ok()
	}}, func(e *runtime.Engine) {
		e.Trigger = func(_ context.Context, _ *plan.Node, p map[string]string, made func(build.ID)) (build.State, error) {
			params = p
			made("child")
			return build.Success, nil
		}
	})
	require.NoError(t, o.err)
	require.Equal(t, build.Success, o.State())
	require.Equal(t, []string{"tag", "v7"}, o.task("b").Argv)
	require.Contains(t, o.task("b").Env, "V=v7")
	require.Equal(t, map[string]string{"version": "v7"}, params)
	c, _ := o.Step("c")
	require.Equal(t, build.ID("child"), c.Child)
}

func TestWhatAStepLacks(t *testing.T) {
	secret := plan.Text{Parts: []plan.Part{{Secret: "pw"}}}
	missing := plan.Text{Parts: []plan.Part{{Output: &plan.Output{Step: "a", Key: "nope"}}}}
	for name, c := range map[string]struct {
		step   plan.Step
		engine func(*runtime.Engine)
		reason string
	}{
		"no secrets": {step: plan.Step{Script: "x", Env: plan.Env{{Name: "PW", Value: secret}}}, reason: `env PW: secret "pw" is not available here`},
		"missing secret": {step: plan.Step{Script: "x", Env: plan.Env{{Name: "PW", Value: secret}}}, reason: "env PW: no such secret", engine: func(e *runtime.Engine) {
			e.Secret = func(string) (string, error) { return "", errors.New("no such secret") }
		}},
		"missing output": {step: plan.Step{Argv: []plan.Text{missing}}, reason: `step a wrote no output "nope"`},
		"NUL in value":   {step: plan.Step{Script: "x", Env: plan.Env{{Name: "N", Value: plan.Lit("a\x00")}}}, reason: "env N: the value holds a NUL byte"},
		"requirement": {step: plan.Step{Script: "x", Requires: []plan.Requirement{{Op: "eq", Key: "os", Values: []string{"plan9"}, Reason: "it is"}}}, reason: "needs plan9",
			engine: func(e *runtime.Engine) {
				e.Meets = func(_ context.Context, reqs []plan.Requirement) error {
					return errors.New("needs " + reqs[0].Values[0])
				}
			}},
		"no log": {step: plan.Step{Script: "x"}, reason: "open log: disk full", engine: func(e *runtime.Engine) {
			e.Output = func(n *plan.Node, _ int) (runtime.Output, error) {
				if n.Name == "b" {
					return nil, errors.New("disk full")
				}
				return sink{}, nil
			}
		}},
		"log not closed": {step: plan.Step{Script: "x"}, reason: "close log: disk full", engine: func(e *runtime.Engine) {
			e.Output = func(n *plan.Node, _ int) (runtime.Output, error) {
				if n.Name == "b" {
					return sink{errors.New("disk full")}, nil
				}
				return sink{}, nil
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			p := steps("a", "b", "c")
			p.Nodes[1].Step = &c.step
			o := play(t.Context(), t, p, &scripted{}, c.engine)
			require.NoError(t, o.err)
			b, _ := o.Step("b")
			require.Equal(t, build.Failed, b.State)
			require.Contains(t, b.Reason, c.reason)
			require.NotContains(t, o.names(), "c")
			if name != "log not closed" {
				require.NotContains(t, o.names(), "b", "it fails before it starts")
			}
		})
	}
}

type sink struct{ err error }

func (sink) Write(time.Time, []byte) error { return nil }
func (s sink) Close() error                { return s.err }

func TestCancel(t *testing.T) {
	p := steps("a", "b", "clean")
	p.Nodes[2].Own().RunOn = plan.Always
	ctx, cancel := context.WithCancelCause(t.Context())
	o := play(ctx, t, p, &scripted{run: func(ctx context.Context, task runtime.Task) runtime.Result {
		if task.Node.Name == "a" {
			cancel(errors.New("interrupted by ann"))
			return untilCancelled(ctx, task)
		}
		return ok()
	}}, nil)
	require.NoError(t, o.err)
	require.Equal(t, build.Cancelled, o.State())
	require.Equal(t, map[string]build.State{"a": build.Cancelled, "b": build.Cancelled, "clean": build.Success}, o.states())
	require.True(t, slices.ContainsFunc(o.tape, func(ev build.Event) bool {
		return ev.Kind == build.CancelRequested && ev.Reason == "interrupted by ann" && !ev.Force
	}))
}

func TestKill(t *testing.T) {
	p := steps("a", "clean")
	p.Nodes[1].Own().RunOn = plan.Always
	cancels := make(chan runtime.Cancel, 1)
	o := play(t.Context(), t, p, &scripted{run: func(_ context.Context, task runtime.Task) runtime.Result {
		cancels <- runtime.Cancel{By: "ada", Reason: "wrong branch", Force: true}
		<-task.Kill
		return runtime.Result{State: build.Cancelled}
	}}, func(e *runtime.Engine) { e.Cancels = cancels })
	require.NoError(t, o.err)
	require.Equal(t, map[string]build.State{"a": build.Cancelled, "clean": build.Cancelled}, o.states())
	require.Equal(t, "cancelled by ada: wrong branch", o.Reason())
}

// Each cancel is an event that says who asked; what asks with force ends what
// the first left to clean up.
func TestCancels(t *testing.T) {
	p := steps("a", "clean")
	p.Nodes[1].Own().RunOn = plan.Always
	cancels := make(chan runtime.Cancel)
	o := play(t.Context(), t, p, &scripted{run: func(ctx context.Context, task runtime.Task) runtime.Result {
		if task.Node.Name == "a" {
			go func() { cancels <- runtime.Cancel{By: "ada"} }()
			<-ctx.Done()
		} else {
			go func() { cancels <- runtime.Cancel{By: "bob", Reason: "too slow", Force: true}; close(cancels) }()
			<-task.Kill
		}
		return runtime.Result{State: build.Cancelled}
	}}, func(e *runtime.Engine) { e.Cancels = cancels })
	require.NoError(t, o.err)
	var asked []runtime.Cancel
	for _, ev := range o.tape {
		if ev.Kind == build.CancelRequested {
			asked = append(asked, runtime.Cancel{By: ev.By, Reason: ev.Reason, Force: ev.Force})
		}
	}
	require.Equal(t, []runtime.Cancel{{By: "ada"}, {By: "bob", Reason: "too slow", Force: true}}, asked)
}

// TestIntend: a step that must not run twice is announced before each of its
// attempts, and does not start when that fails.
func TestIntend(t *testing.T) {
	once := func() *plan.Plan {
		p := steps("build", "deploy", "tell")
		p.Nodes[1].Step.Once, p.Nodes[1].Step.Retry = true, &plan.Retry{Attempts: 2}
		return p
	}
	t.Run("before it starts", func(t *testing.T) {
		var log []string
		o := play(t.Context(), t, once(), &scripted{run: func(_ context.Context, task runtime.Task) runtime.Result {
			log = append(log, "run "+task.Node.Name)
			if task.Node.Name == "deploy" && task.Attempt == 1 {
				return exit(1)
			}
			return ok()
		}}, func(e *runtime.Engine) {
			e.Intend = func(_ context.Context, node *plan.Node) error {
				log = append(log, "intend "+node.Name)
				return nil
			}
		})
		require.NoError(t, o.err)
		require.Equal(t, build.Success, o.State())
		require.Equal(t, []string{"run build", "intend deploy", "run deploy", "intend deploy", "run deploy", "run tell"}, log)
	})
	t.Run("refused", func(t *testing.T) {
		o := play(t.Context(), t, once(), &scripted{}, func(e *runtime.Engine) {
			e.Intend = func(context.Context, *plan.Node) error { return errors.New("the build is another agent's") }
		})
		require.NoError(t, o.err)
		require.Equal(t, build.Failed, o.State())
		require.Equal(t, []string{"build"}, o.names())
		deploy, _ := o.Step("deploy")
		require.Equal(t, 1, deploy.Attempt, "it is not tried again")
		require.True(t, deploy.Infra)
		require.Equal(t, "note that it starts: the build is another agent's", deploy.Reason)
	})
	t.Run("cancelled meanwhile", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		o := play(ctx, t, once(), &scripted{}, func(e *runtime.Engine) {
			e.Intend = func(ctx context.Context, _ *plan.Node) error {
				cancel()
				<-ctx.Done()
				return ctx.Err()
			}
		})
		require.NoError(t, o.err)
		require.Equal(t, build.Cancelled, o.State())
		require.Equal(t, []string{"build"}, o.names())
	})
	t.Run("nobody to ask", func(t *testing.T) {
		o := play(t.Context(), t, once(), &scripted{}, nil)
		require.Equal(t, build.Success, o.State())
	})
	t.Run("not what the machine lacks", func(t *testing.T) {
		p := once()
		p.Nodes[1].Step.Requires = []plan.Requirement{{Op: "has", Key: "gpu"}}
		o := play(t.Context(), t, p, &scripted{}, func(e *runtime.Engine) {
			e.Meets = func(context.Context, []plan.Requirement) error { return errors.New("no gpu") }
			e.Intend = func(context.Context, *plan.Node) error { t.Error("it never starts"); return nil }
		})
		require.Equal(t, build.Failed, o.State())
	})
}

func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := steps("a", "b", "clean")
		p.Timeout = plan.Duration(time.Minute)
		p.Nodes[2].Own().RunOn = plan.Always
		start := time.Now()
		o := play(t.Context(), t, p, &scripted{run: untilCancelled}, nil)
		require.NoError(t, o.err)
		require.Equal(t, build.TimedOut, o.State())
		require.Equal(t, time.Minute+build.CleanupLimit, time.Since(start).Round(time.Second), "cleaning up is bounded as well")
		require.Equal(t, []string{"a", "clean"}, o.names())
	})
}

// A trigger that does not wait has ended once its build is made. What its
// function still has to say comes later, while other steps run.
func TestTriggerThatDoesNotWait(t *testing.T) {
	p := steps("a", "b")
	p.Nodes[0] = plan.Node{Name: "a", More: &plan.More{Trigger: &plan.Trigger{Pipeline: "deploy"}}}
	p.Nodes[1].Needs = []string{"a"}
	returned := make(chan struct{})
	o := play(t.Context(), t, p, &scripted{run: func(context.Context, runtime.Task) runtime.Result {
		<-returned
		time.Sleep(10 * time.Millisecond)
		return ok()
	}}, func(e *runtime.Engine) {
		e.Trigger = func(_ context.Context, _ *plan.Node, _ map[string]string, made func(build.ID)) (build.State, error) {
			defer close(returned)
			made("child")
			return build.Success, nil
		}
	})
	require.NoError(t, o.err)
	require.Equal(t, build.Success, o.State())
}

// What another attempt would only repeat is not tried again.
func TestNoRetryOfTheHopeless(t *testing.T) {
	p := steps("a")
	p.Nodes[0].Step.Retry = &plan.Retry{Attempts: 3, Backoff: plan.Duration(time.Hour)}
	p.Nodes[0].Step.Env = plan.Env{{Name: "PW", Value: plan.Text{Parts: []plan.Part{{Secret: "pw"}}}}}
	o := play(t.Context(), t, p, &scripted{}, nil)
	require.NoError(t, o.err)
	require.Equal(t, build.Failed, o.State())
	require.Equal(t, 1, o.Node(0).Attempt)
}

// A cleanup step may ask for a grace that is longer than the limit.
func TestCleanupLimitTakesTheGrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := steps("a", "clean")
		p.Nodes[1].Own().RunOn = plan.Always
		ctx, cancel := context.WithCancel(t.Context())
		o := play(ctx, t, p, &scripted{run: func(ctx context.Context, task runtime.Task) runtime.Result {
			if task.Node.Name == "a" {
				cancel()
				<-ctx.Done()
				require.EqualError(t, context.Cause(ctx), "cancelled: cancelled", "what stops it says why")
			} else {
				<-task.Kill
			}
			return runtime.Result{State: build.Cancelled}
		}}, nil)
		require.NoError(t, o.err)
		require.Equal(t, build.Cancelled, o.State())
	})
}

func TestTrigger(t *testing.T) {
	for name, c := range map[string]struct {
		trigger func(ctx context.Context, node *plan.Node, params map[string]string, made func(build.ID)) (build.State, error)
		state   build.State
		reason  string
		child   build.ID
	}{
		"nobody": {nil, build.Success, "no build was triggered", ""},
		"shown": {func(context.Context, *plan.Node, map[string]string, func(build.ID)) (build.State, error) {
			return build.Success, nil
		}, build.Success, "no build was triggered", ""},
		"made": {func(_ context.Context, _ *plan.Node, _ map[string]string, made func(build.ID)) (build.State, error) {
			made("x")
			return build.Success, nil
		}, build.Success, "", "x"},
		"child failed": {func(_ context.Context, _ *plan.Node, _ map[string]string, made func(build.ID)) (build.State, error) {
			made("x")
			return build.TimedOut, nil
		}, build.Failed, "build x of deploy is timed_out", "x"},
		"error": {func(context.Context, *plan.Node, map[string]string, func(build.ID)) (build.State, error) {
			return "", errors.New("a loop: build → deploy → build")
		}, build.Failed, "a loop: build → deploy → build", ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := steps("a")
			p.Nodes[0] = plan.Node{Name: "deploy", More: &plan.More{Trigger: &plan.Trigger{Pipeline: "deploy", Wait: true}}}
			o := play(t.Context(), t, p, &scripted{}, func(e *runtime.Engine) { e.Trigger = c.trigger })
			require.NoError(t, o.err)
			step, _ := o.Step("deploy")
			require.Equal(t, c.state, step.State)
			require.Equal(t, c.reason, step.Reason)
			require.Equal(t, c.child, step.Child)
		})
	}
}

func TestApprove(t *testing.T) {
	for name, c := range map[string]struct {
		approve func(ctx context.Context, node *plan.Node) (runtime.Approval, error)
		state   build.State
		reason  string
	}{
		"nobody": {nil, build.Failed, "there is nobody to approve it here"},
		"yes": {func(context.Context, *plan.Node) (runtime.Approval, error) {
			return runtime.Approval{Approved: true, By: "ann"}, nil
		}, build.Success, ""},
		"no": {func(context.Context, *plan.Node) (runtime.Approval, error) { return runtime.Approval{By: "ann"}, nil }, build.Failed, "refused by ann"},
		"not now": {func(context.Context, *plan.Node) (runtime.Approval, error) {
			return runtime.Approval{Reason: "it is Friday"}, nil
		}, build.Failed, "it is Friday"},
		"error": {func(context.Context, *plan.Node) (runtime.Approval, error) {
			return runtime.Approval{}, errors.New("no terminal")
		}, build.Failed, "no terminal"},
	} {
		t.Run(name, func(t *testing.T) {
			p := steps("a")
			p.Nodes[0] = plan.Node{Name: "ship", More: &plan.More{Approve: &plan.Approve{Prompt: "ship it?"}}}
			o := play(t.Context(), t, p, &scripted{}, func(e *runtime.Engine) { e.Approve = c.approve })
			require.NoError(t, o.err)
			step, _ := o.Step("ship")
			require.Equal(t, c.state, step.State)
			require.Equal(t, c.reason, step.Reason)
		})
	}
}

func TestApproveCancelled(t *testing.T) {
	p := steps("a")
	p.Nodes[0] = plan.Node{Name: "ship", More: &plan.More{Approve: &plan.Approve{}}}
	ctx, cancel := context.WithCancel(t.Context())
	o := play(ctx, t, p, &scripted{}, func(e *runtime.Engine) {
		e.Approve = func(ctx context.Context, _ *plan.Node) (runtime.Approval, error) {
			cancel()
			<-ctx.Done()
			return runtime.Approval{}, ctx.Err()
		}
	})
	require.NoError(t, o.err)
	require.Equal(t, build.Cancelled, o.State())
}

// failingTape refuses to record after some events.
type failingTape struct{ left int }

func (f *failingTape) Record(events []build.Event) error {
	if f.left -= len(events); f.left < 0 {
		return errors.New("disk full")
	}
	return nil
}

func TestRecorderErrorEndsTheBuild(t *testing.T) {
	for left := range 4 {
		p := steps("a", "b")
		p.Nodes[1].Needs = nil
		var stopped bool
		o := play(t.Context(), t, p, &scripted{run: func(ctx context.Context, task runtime.Task) runtime.Result {
			if task.Node.Name == "b" {
				res := untilCancelled(ctx, task)
				stopped = true
				return res
			}
			return ok()
		}}, func(e *runtime.Engine) { e.Recorder = &failingTape{left} })
		require.ErrorContains(t, o.err, "record build: disk full")
		require.Equal(t, left == 3, stopped, "what runs is stopped, what was not recorded does not start")
		require.Equal(t, left == 3, len(o.tasks) > 0)
	}
}

func TestSlotsBoundSteps(t *testing.T) {
	var p plan.Plan
	for i := range 20 {
		p.Nodes = append(p.Nodes, plan.Node{Name: string(rune('a' + i)), Step: &plan.Step{Script: "x"}})
	}
	var mu sync.Mutex
	now, most := 0, 0
	dirs := map[string]bool{}
	o := play(t.Context(), t, &p, &scripted{run: func(_ context.Context, task runtime.Task) runtime.Result {
		mu.Lock()
		now++
		most = max(most, now)
		dirs[task.OutputDir] = true
		mu.Unlock()
		time.Sleep(time.Millisecond)
		mu.Lock()
		now--
		mu.Unlock()
		return ok()
	}}, func(e *runtime.Engine) { e.Parallel = 3 })
	require.NoError(t, o.err)
	require.LessOrEqual(t, most, 3)
	require.LessOrEqual(t, len(slices.Collect(maps.Keys(dirs))), 3)
}
