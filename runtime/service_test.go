package runtime_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
)

// served is a plan of steps in a row that all list the service db.
func served(ready plan.Ready, names ...string) *plan.Plan {
	p := steps(names...)
	for i := range p.Nodes {
		p.Nodes[i].Step.Services = []string{"db"}
	}
	db := plan.Node{Name: "db", Step: &plan.Step{Script: "serve", Service: &plan.Service{Ready: ready}}}
	p.Nodes = append([]plan.Node{db}, p.Nodes...)
	return p
}

// daemon runs db until it is told to end, and what else there is with run.
func daemon(run func(ctx context.Context, t runtime.Task) runtime.Result) *scripted {
	return &scripted{run: func(ctx context.Context, t runtime.Task) runtime.Result {
		if t.Node.Name == "db" && !t.Check {
			t.Started()
			return untilCancelled(ctx, t)
		}
		if run == nil {
			return ok()
		}
		return run(ctx, t)
	}}
}

// story is the events of a run in short.
func (o outcome) story() (lines []string) {
	for _, ev := range o.tape {
		words := []string{string(ev.Kind), ev.Node, string(ev.State), ev.Reason}
		lines = append(lines, strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), " "))
	}
	return lines
}

func TestService(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := served(plan.Ready{}, "a", "b")
		p.Nodes[1].Step.Retry = &plan.Retry{Attempts: 2}
		o := play(t.Context(), t, p, daemon(func(_ context.Context, t runtime.Task) runtime.Result {
			if t.Node.Name == "a" && t.Attempt == 1 {
				return exit(1)
			}
			return ok()
		}), func(e *runtime.Engine) { e.Parallel = 1 })
		require.NoError(t, o.err)
		require.Equal(t, []string{
			"build_started",
			"attempt_started db", "node_ready db",
			"attempt_started a", "attempt_ended a failed",
			"attempt_started a", "attempt_ended a success",
			"attempt_started b", "attempt_ended b success",
			"attempt_ended db success",
			"build_ended success",
		}, o.story(), "it takes no slot, and stays while a step is tried again")
		db := o.task("db")
		require.Equal(t, []string{"/bin/sh", "-e", "-c", "serve"}, db.Argv)
		require.Contains(t, db.Env, "PIPER_OUTPUT="+db.OutputDir)
		require.DirExists(t, db.OutputDir)
		require.NotEqual(t, o.task("a").OutputDir, db.OutputDir)
	})
}

// TestServiceCheckHangs: of a check that hangs when the time is over it is not
// said how it was ended.
func TestServiceCheckHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := served(plan.Ready{Script: "pg_isready"}, "a")
		p.Nodes[0].Step.Service.ReadyTimeout = plan.Duration(time.Second)
		x := &scripted{run: func(ctx context.Context, t runtime.Task) runtime.Result {
			if t.Check {
				<-ctx.Done()
				return runtime.Result{State: build.Cancelled, Signal: "killed"}
			}
			t.Started()
			return untilCancelled(ctx, t)
		}}
		o := play(t.Context(), t, p, x, nil)
		require.NoError(t, o.err)
		require.Equal(t, "was not ready within 1s: its check did not end", o.Node(0).Reason)
	})
}

func TestServiceReady(t *testing.T) {
	const after = 3 * time.Second // from its start, it can be used
	for name, c := range map[string]struct {
		ready  plan.Ready
		log    []string // what it writes then
		lacks  string   // what is said when it never does
		failed bool
	}{
		"port":    {ready: plan.Ready{Port: 5432}, lacks: "port 5432 takes no connection"},
		"script":  {ready: plan.Ready{Script: "pg_isready"}, lacks: "its check exited with 2: no response"},
		"program": {ready: plan.Ready{Argv: []plan.Text{plan.Lit("pg_isready"), plan.Lit("-q")}}, lacks: "its check exited with 2: no response"},
		"log": {ready: plan.Ready{Log: `^ready on port \d+$`}, log: []string{"not ready on port 1\nrea", "dy on port", " 5432\r\nmore"},
			lacks: `no line of its output matches "^ready on port \\d+$"`},
		"log, after a long line": {ready: plan.Ready{Log: `^up$`}, log: []string{strings.Repeat("up", 1<<20), "up\n", "up", "\n"}, lacks: `no line of its output matches "^up$"`},
	} {
		for _, never := range []bool{false, true} {
			t.Run(name+map[bool]string{true: ", never"}[never], func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := served(c.ready, "a")
					p.Nodes[0].Step.Service.ReadyTimeout = plan.Duration(20 * time.Second)
					var up atomic.Bool
					var log log
					var began, used time.Time
					x := &scripted{}
					x.run = func(ctx context.Context, t runtime.Task) runtime.Result {
						switch {
						case t.Check && up.Load():
							return ok()
						case t.Check:
							t.Output.Write(time.Now(), []byte("starting\nno response\n\n"))
							return exit(2)
						case t.Node.Name != "db":
							used = time.Now()
							return ok()
						}
						time.Sleep(time.Minute) // making its environment does not count
						t.Started()
						began = time.Now()
						select {
						case <-time.After(after):
							up.Store(!never)
							for _, text := range c.log {
								if !never {
									t.Output.Write(time.Now(), []byte(text))
								}
							}
						case <-ctx.Done():
						}
						return untilCancelled(ctx, t)
					}
					o := play(t.Context(), t, p, x, func(e *runtime.Engine) {
						e.Answers = func(port int) bool { return port == 5432 && up.Load() }
						e.Output = func(n *plan.Node, _ int) (runtime.Output, error) {
							if n.Name == "db" {
								return &log, nil
							}
							return sink{}, nil
						}
					})
					require.NoError(t, o.err)
					db := o.Node(0)
					if never {
						require.Equal(t, build.Failed, o.State())
						require.Equal(t, build.Failed, db.State)
						require.Equal(t, "was not ready within 20s: "+c.lacks, db.Reason)
						require.Equal(t, 20*time.Second, db.Ended.Sub(began.Truncate(time.Millisecond)))
						require.Equal(t, build.Skipped, o.Node(1).State)
						return
					}
					require.Equal(t, build.Success, o.State())
					require.GreaterOrEqual(t, used.Sub(began), after)
					require.LessOrEqual(t, used.Sub(began), after+time.Second, "it is looked at often enough")
					require.Equal(t, strings.Join(c.log, ""), log.String(), "its output passes through; that of a check is no part of it")
					for _, task := range x.tasks {
						if task.Check {
							require.Equal(t, "db", task.Node.Name)
							require.Equal(t, 1, countPrefix(task.Env, "PIPER_OUTPUT="))
							require.NotEqual(t, o.task("db").OutputDir, task.OutputDir)
							require.Nil(t, task.Started)
						}
					}
				})
			})
		}
	}
}

func countPrefix(env []string, prefix string) (n int) {
	for _, kv := range env {
		if strings.HasPrefix(kv, prefix) {
			n++
		}
	}
	return n
}

// log keeps what a step writes.
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

func TestServiceThatEnds(t *testing.T) {
	const step = 5 * time.Second // that uses it
	for name, c := range map[string]struct {
		ready  plan.Ready
		db     func(ctx context.Context, t runtime.Task) runtime.Result
		port   bool // is answered from the start
		state  build.State
		reason string
		users  map[string]build.State
	}{
		"at once": {ready: plan.Ready{Port: 1}, db: func(context.Context, runtime.Task) runtime.Result { return ok() },
			reason: "ended before it was ready"},
		"as a daemon": {ready: plan.Ready{Port: 1}, db: func(context.Context, runtime.Task) runtime.Result {
			r := ok()
			r.Reason = "killed 1 process that it left behind: postgres"
			return r
		}, reason: "ended before it was ready; killed 1 process that it left behind: postgres"},
		"badly": {ready: plan.Ready{Port: 1}, db: func(context.Context, runtime.Task) runtime.Result { return exit(3) },
			reason: "ended before it was ready"},
		"while it is used": {db: func(context.Context, runtime.Task) runtime.Result {
			time.Sleep(step / 2)
			return ok()
		}, reason: "ended by itself", users: map[string]build.State{"a": build.Success, "b": build.Skipped}},
		"without having started": {db: func(context.Context, runtime.Task) runtime.Result {
			return runtime.Result{State: build.Failed, Reason: "postgres: command not found"}
		}, reason: "postgres: command not found"},
		"because of the machine": {ready: plan.Ready{Port: 1}, db: func(context.Context, runtime.Task) runtime.Result {
			return runtime.Result{State: build.Failed, Reason: "write output: disk full", Infra: true}
		}, reason: "write output: disk full"},
		"before it began": {ready: plan.Ready{Port: 1}, port: true, db: func(context.Context, runtime.Task) runtime.Result { panic("it is started") },
			reason: "port 1 is taken: something else answered there before the service was started"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := served(c.ready, "a", "b")
				x := &scripted{run: func(ctx context.Context, t runtime.Task) runtime.Result {
					if t.Node.Name == "db" {
						if !strings.HasPrefix(name, "without") {
							t.Started()
						}
						return c.db(ctx, t)
					}
					time.Sleep(step)
					return ok()
				}}
				o := play(t.Context(), t, p, x, func(e *runtime.Engine) {
					e.Answers = func(int) bool { return c.port }
				})
				require.NoError(t, o.err)
				require.Equal(t, build.Failed, o.State())
				require.Equal(t, build.Failed, o.Node(0).State)
				require.Equal(t, c.reason, o.Node(0).Reason)
				if c.users == nil {
					c.users = map[string]build.State{"a": build.Skipped, "b": build.Skipped}
				}
				states := o.states()
				delete(states, "db")
				require.Equal(t, c.users, states)
			})
		})
	}
}

// What a service lacks before it can be started fails it like a step.
func TestWhatAServiceLacks(t *testing.T) {
	secret := plan.Text{Parts: []plan.Part{{Secret: "pw"}}}
	for name, c := range map[string]struct {
		change func(db *plan.Step)
		engine func(*runtime.Engine)
		reason string
	}{
		"secret":  {change: func(db *plan.Step) { db.Env = plan.Env{{Name: "PW", Value: secret}} }, reason: `env PW: secret "pw" is not available here`},
		"pattern": {change: func(db *plan.Step) { db.Service.Ready.Log = "(" }, reason: "ready: error parsing regexp: missing closing ): `(`"},
		"check":   {change: func(db *plan.Step) { db.Service.Ready.Argv = []plan.Text{secret} }, reason: `ready: secret "pw" is not available here`},
		"requirement": {change: func(db *plan.Step) { db.Requires = []plan.Requirement{{Op: "has", Key: "tool.pg"}} }, engine: func(e *runtime.Engine) {
			e.Meets = func(context.Context, []plan.Requirement) error { return errors.New("needs pg") }
		}, reason: "needs pg"},
	} {
		t.Run(name, func(t *testing.T) {
			p := served(plan.Ready{}, "a")
			if c.change != nil {
				c.change(p.Nodes[0].Step)
			}
			o := play(t.Context(), t, p, daemon(nil), c.engine)
			require.NoError(t, o.err)
			require.Equal(t, build.Failed, o.Node(0).State)
			require.Contains(t, o.Node(0).Reason, c.reason)
			require.Empty(t, o.tasks)
		})
	}
}

func TestServiceAndCancel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := served(plan.Ready{}, "a", "clean")
		p.Nodes[2].Own().RunOn = plan.Always
		ctx, cancel := context.WithCancel(t.Context())
		o := play(ctx, t, p, daemon(func(ctx context.Context, t runtime.Task) runtime.Result {
			if t.Node.Name == "a" {
				cancel()
				return untilCancelled(ctx, t)
			}
			return ok()
		}), nil)
		require.NoError(t, o.err)
		require.Equal(t, build.Cancelled, o.State())
		require.Equal(t, map[string]build.State{"db": build.Success, "a": build.Cancelled, "clean": build.Success}, o.states(),
			"a step that cleans up still has its service")
	})
}

func TestServiceAndDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := served(plan.Ready{Port: 1}, "a")
		p.Timeout = plan.Duration(10 * time.Second)
		o := play(t.Context(), t, p, daemon(nil), nil)
		require.NoError(t, o.err)
		require.Equal(t, build.TimedOut, o.State())
		require.Equal(t, 10*time.Second, o.Ended().Sub(o.Started()), "it is not waited for")
	})
}

// A forced cancel takes a service along that does not end when it is asked to.
func TestServiceAndKill(t *testing.T) {
	cancels := make(chan runtime.Cancel, 1)
	p := served(plan.Ready{}, "a")
	o := play(t.Context(), t, p, &scripted{run: func(ctx context.Context, t runtime.Task) runtime.Result {
		if t.Node.Name == "db" {
			t.Started()
			<-t.Kill
			return runtime.Result{State: build.Cancelled, Signal: "killed"}
		}
		cancels <- runtime.Cancel{Force: true}
		return untilCancelled(ctx, t)
	}}, func(e *runtime.Engine) { e.Cancels = cancels })
	require.NoError(t, o.err)
	require.Equal(t, map[string]build.State{"db": build.Cancelled, "a": build.Cancelled}, o.states())
}

// Whatever ends the run, a service does not outlive it.
func TestServiceAndBrokenRecorder(t *testing.T) {
	for left := range 6 {
		var live atomic.Int32
		o := play(t.Context(), t, served(plan.Ready{}, "a", "b"), &scripted{run: func(ctx context.Context, t runtime.Task) runtime.Result {
			live.Add(1)
			defer live.Add(-1)
			if t.Node.Name == "db" {
				t.Started()
				return untilCancelled(ctx, t)
			}
			return ok()
		}}, func(e *runtime.Engine) { e.Recorder = &failingTape{left} })
		require.ErrorContains(t, o.err, "disk full")
		require.Zero(t, live.Load())
	}
}
