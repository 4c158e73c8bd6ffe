package runner_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/process"
	"github.com/piper-build/piper/runtime/runner"
	"github.com/piper-build/piper/runtime/secret"
)

// Whatever a plan can ask for has to come out the same in this process, which is
// how exec runs it, and in a child, which is how an agent does.

// A feature is a plan that asks for something.
type feature struct {
	nodes  func(t *testing.T) []plan.Node
	plan   func(p *plan.Plan) // the rest of the plan
	job    func(j *runner.Job)
	cancel runtime.Cancel // comes once the node b has written something, if it is not zero
	needs  []string       // the fields of Job and the methods of Handler that it would not work without
	state  build.State
	output string // that appears
}

// step is one with a script, after others.
func step(name, script string, needs ...string) plan.Node {
	return plan.Node{Name: name, Needs: needs, Step: &plan.Step{Script: script}}
}

// with changes the step of a node.
func with(n plan.Node, change func(s *plan.Step)) plan.Node {
	change(n.Step)
	return n
}

func nodes(nodes ...plan.Node) func(*testing.T) []plan.Node {
	return func(*testing.T) []plan.Node { return nodes }
}

func text(parts ...plan.Part) plan.Text { return plan.Text{Parts: parts} }

func literal(s string) plan.Text { return plan.Text{Literal: s} }

// fakePython makes a venv that is a link.
const fakePython = `#!/bin/sh
case "$1 $2" in
"-m venv") mkdir -p "$4/bin"; : > "$4/pyvenv.cfg"; ln -s "$0" "$4/bin/python" ;;
"-m pip") echo "pip $*" ;;
*) echo "python $*" ;;
esac
`

var features = map[string]feature{
	"script":      {nodes: nodes(step("a", "echo out; echo err >&2; exit 7")), state: build.Failed, output: "out\nerr\n"},
	"argv":        {nodes: nodes(plan.Node{Name: "a", Step: &plan.Step{Argv: []plan.Text{literal("echo"), literal("a b"), literal("$X")}}}), output: "a b $X\n"},
	"shell":       {nodes: nodes(with(step("a", `echo "$BASH_VERSION" | grep -c .`), func(s *plan.Step) { s.Shell = "bash" })), output: "1\n"},
	"dir":         {nodes: nodes(step("a", "mkdir -p sub/dir"), with(step("b", "pwd", "a"), func(s *plan.Step) { s.Dir = "sub/dir" })), output: "/sub/dir\n"},
	"missing dir": {nodes: nodes(with(step("a", "pwd"), func(s *plan.Step) { s.Dir = "none" })), state: build.Failed},
	"no program":  {nodes: nodes(step("a", "no-such-program")), state: build.Failed},
	"binary":      {nodes: nodes(step("a", `printf '\377\200\n'; head -c 70000 /dev/zero`)), output: "\xff\x80\n"},
	"env": {
		nodes: nodes(with(step("a", `echo "$A $B $C"`), func(s *plan.Step) { s.Env = plan.Env{{Name: "C", Value: literal("step")}} })),
		plan: func(p *plan.Plan) {
			p.Environment = "e"
			p.Environments = []plan.Environment{{Name: "e", Kind: "host", Env: plan.Env{{Name: "B", Value: literal("environment")}, {Name: "C", Value: literal("not this")}}}}
			p.Env = plan.Env{{Name: "A", Value: literal("plan")}}
		},
		output: "plan environment step\n",
	},
	"piper's own words": {nodes: nodes(step("a", `env | grep ^PIPER | grep -v OUTPUT= | sort`)), needs: []string{"ID", "Commit", "Branch"}, output: "PIPER_BUILD=" + theID},
	"pass_env": {
		nodes: nodes(with(step("a", `env | grep GIVEN | sort | od -c`), func(s *plan.Step) { s.PassEnv = []string{"GIVEN_STEP*"} })),
		plan: func(p *plan.Plan) {
			p.PassEnv = []string{"GIVEN_PLAN"}
			p.Environment = "e"
			p.Environments = []plan.Environment{{Name: "e", Kind: "host", PassEnv: []string{"GIVEN_ENVIRONMENT"}}}
		},
		needs: []string{"Environ"},
	},
	"pass_env of the caller": {nodes: nodes(step("a", `echo "$GIVEN_CALLER"`)), needs: []string{"PassEnv", "Environ"}, output: "caller\n"},
	"secrets": {
		nodes: nodes(with(step("a", `echo "it is $TOKEN"; echo "$TOKEN" | base64; printf %s "$RAW" | od -An -c`), func(s *plan.Step) {
			s.Env = plan.Env{{Name: "RAW", Value: text(plan.Part{Secret: "raw"})}, {Name: "TOKEN", Value: text(plan.Part{Secret: "token"})}}
		})),
		needs: []string{"Secrets"}, output: "it is ***\n",
	},
	"missing secret": {nodes: nodes(with(step("a", "true"), func(s *plan.Step) {
		s.Env = plan.Env{{Name: "TOKEN", Value: text(plan.Part{Secret: "none"})}}
	})), state: build.Failed},
	"secret in an output": {nodes: nodes(with(step("a", `echo "$TOKEN" >"$PIPER_OUTPUT/leak"`), func(s *plan.Step) {
		s.Env = plan.Env{{Name: "TOKEN", Value: text(plan.Part{Secret: "token"})}}
	})), needs: []string{"Secrets"}, state: build.Failed},
	"outputs": {nodes: nodes(step("a", `printf 'ü 1.2\n' >"$PIPER_OUTPUT/v"`), with(step("b", `echo "version $V"`, "a"), func(s *plan.Step) {
		s.Env = plan.Env{{Name: "V", Value: text(plan.Part{Output: &plan.Output{Step: "a", Key: "v"}})}}
	})), output: "version ü 1.2\n"},
	"timeout": {nodes: nodes(with(step("a", "exec sleep 1000"), func(s *plan.Step) { s.Timeout = plan.Duration(300 * time.Millisecond) })), state: build.Failed},
	"grace": {nodes: nodes(with(step("a", `trap 'echo asked' TERM; echo begun; while :; do :; done`), func(s *plan.Step) { // a child would be asked, too
		s.Timeout, s.Grace = plan.Duration(2*time.Second), plan.Duration(time.Second)
	})), state: build.Failed, output: "asked\n"},
	"retry": {nodes: nodes(with(step("a", `echo "attempt $PIPER_ATTEMPT"; test "$PIPER_ATTEMPT" = 3 || exit 9`), func(s *plan.Step) {
		s.Retry = &plan.Retry{Attempts: 3, Backoff: plan.Duration(time.Millisecond), On: []string{"9"}}
	})), output: "attempt 3\n"},
	"tty": {nodes: nodes(with(step("a", "test -t 1 && echo a terminal"), func(s *plan.Step) { s.TTY = true })), output: "a terminal"},
	"requires": {nodes: nodes(with(step("a", "echo in vain"), func(s *plan.Step) {
		s.Requires = []plan.Requirement{{Op: "eq", Key: "os", Values: []string{"plan9"}, Reason: "it is nice"}}
	})), state: build.Failed},
	"requires a label": {nodes: nodes(with(step("a", "echo met"), func(s *plan.Step) {
		s.Requires = []plan.Requirement{{Op: "has", Key: "tools.python3"}, {Op: "eq", Key: "labels.zone", Values: []string{"a"}}}
	})), needs: []string{"Facts"}, output: "met\n"},
	"left behind": {nodes: nodes(step("a", `sleep 1000 >/dev/null 2>&1 & until grep -q sleep /proc/$!/comm; do :; done; echo gone`)), output: "gone\n"},

	"allow_failure": {nodes: nodes(plan.Node{Name: "a", More: &plan.More{AllowFailure: "flaky"}, Step: &plan.Step{Script: "exit 1"}}, step("b", "echo after", "a")), output: "after\n"},
	"run_on": {nodes: nodes(step("a", "exit 1"), step("b", "true", "a"),
		plan.Node{Name: "c", Needs: []string{"b"}, More: &plan.More{RunOn: plan.Failure}, Step: &plan.Step{Script: "echo failed"}},
		plan.Node{Name: "d", Needs: []string{"c"}, More: &plan.More{RunOn: plan.Always}, Step: &plan.Step{Script: "echo always"}}), state: build.Failed, output: "always\n"},
	"fail_fast": {
		nodes: nodes(plan.Node{Name: "a", Group: "g", Step: &plan.Step{Script: "until test -e up; do sleep 0.01; done; exit 1"}},
			plan.Node{Name: "b", Group: "g", Step: &plan.Step{Script: "touch up; exec sleep 1000"}},
			plan.Node{Name: "c", Group: "g", Needs: []string{"b"}, Step: &plan.Step{Script: "true"}}),
		plan:  func(p *plan.Plan) { p.Groups = []plan.Group{{Name: "g", FailFast: true}} },
		needs: []string{"Parallel"}, state: build.Failed,
	},
	"limit": {
		nodes: nodes(plan.Node{Name: "a", Group: "g", Step: &plan.Step{Script: alone}}, plan.Node{Name: "b", Group: "g", Step: &plan.Step{Script: alone}}),
		plan:  func(p *plan.Plan) { p.Groups = []plan.Group{{Name: "out"}, {Name: "g", Group: "out", Limit: 1}} }, output: "alone\n",
	},
	"concurrency": {nodes: nodes(with(step("a", alone), func(s *plan.Step) { s.Concurrency = "db" }), with(step("b", alone), func(s *plan.Step) { s.Concurrency = "db" })), output: "alone\n"},
	"deadline": {
		nodes: nodes(step("a", "exec sleep 1000")),
		plan:  func(p *plan.Plan) { p.Timeout = plan.Duration(300 * time.Millisecond) }, state: build.TimedOut,
	},
	"history": {
		nodes: nodes(step("a", "true"), step("b", "true"), step("c", "true")),
		job: func(j *runner.Job) {
			j.Parallel, j.History = 1, map[string]time.Duration{"c": time.Minute, "b": time.Second, "a": time.Millisecond}
		},
		needs: []string{"History"},
	},

	"service ready by log": {nodes: nodes(with(step("a", "echo used"), func(s *plan.Step) { s.Services = []string{"db"} }),
		with(step("db", "echo up; exec sleep 1000"), func(s *plan.Step) {
			s.Service = &plan.Service{Ready: plan.Ready{Log: "^up$"}, ReadyTimeout: plan.Duration(time.Minute)}
		})), output: "used\n"},
	"service ready by command": {nodes: nodes(with(step("a", "echo used"), func(s *plan.Step) { s.Services = []string{"db", "cache"} }),
		with(step("db", "touch db; exec sleep 1000"), func(s *plan.Step) { s.Service = &plan.Service{Ready: plan.Ready{Script: "test -e db"}} }),
		with(step("cache", "touch cache; exec sleep 1000"), func(s *plan.Step) {
			s.Service = &plan.Service{Ready: plan.Ready{Argv: []plan.Text{literal("test"), literal("-e"), literal("cache")}}}
		})), output: "used\n"},
	"service ready by port": {nodes: func(t *testing.T) []plan.Node {
		port := freePort(t)
		return []plan.Node{with(step("a", "echo used"), func(s *plan.Step) { s.Services = []string{"db"} }),
			with(step("db", ""), func(s *plan.Step) {
				s.Argv = []plan.Text{literal(self()), literal("helper"), literal("listen"), literal(fmt.Sprint(port))}
				s.Service = &plan.Service{Ready: plan.Ready{Port: port}}
			})}
	}, output: "used\n"},

	"temp_dir": {
		nodes: nodes(with(step("a", "ls -A; touch here"), func(s *plan.Step) { s.Environment = "copy" }), step("b", "ls -A", "a")),
		plan: func(p *plan.Plan) {
			p.Environments = []plan.Environment{{Name: "copy", Kind: "temp_dir", Keep: true}}
		},
		needs: []string{"Files", "Report"}, output: "tracked\n",
	},
	"keep": {
		nodes: nodes(with(step("a", "pwd >$HOME/where"), func(s *plan.Step) { s.Environment = "copy" })),
		plan: func(p *plan.Plan) {
			p.Environments = []plan.Environment{{Name: "copy", Kind: "temp_dir"}}
		},
		job: func(j *runner.Job) { j.Keep = true }, needs: []string{"Keep"},
	},
	"no files": {
		nodes: nodes(with(step("a", "true"), func(s *plan.Step) { s.Environment = "copy" })),
		plan:  func(p *plan.Plan) { p.Environments = []plan.Environment{{Name: "copy", Kind: "temp_dir"}} },
		job: func(j *runner.Job) {
			j.Files = func() ([]string, error) { return nil, errors.New("git is on holiday") }
		},
		state: build.Failed,
	},
	"venv": {
		nodes: nodes(with(step("a", "python it"), func(s *plan.Step) { s.Environment = "py" })),
		plan: func(p *plan.Plan) {
			p.Environments = []plan.Environment{{Name: "py", Kind: "venv", Path: "env", Python: "python3", Requirements: []string{"tracked"},
				Requires: []plan.Requirement{{Op: "has", Key: "tools.python3"}}}}
		},
		output: "python it\n",
	},

	"trigger":             {nodes: nodes(trigger("t", false), step("a", "true", "t")), needs: []string{"Trigger"}},
	"trigger and wait":    {nodes: nodes(trigger("t", true), step("a", "true", "t")), needs: []string{"Trigger"}},
	"trigger that fails":  {nodes: nodes(trigger("fails", true)), needs: []string{"Trigger"}, state: build.Failed},
	"trigger that cannot": {nodes: nodes(trigger("cannot", true)), needs: []string{"Trigger"}, state: build.Failed},
	"trigger with an output": {nodes: nodes(step("a", `echo v1 >"$PIPER_OUTPUT/v"`), plan.Node{Name: "t", Needs: []string{"a"}, More: &plan.More{Trigger: &plan.Trigger{Pipeline: "deploy", Project: "shop", Ref: "main",
		Params: plan.Env{{Name: "version", Value: text(plan.Part{Literal: "v"}, plan.Part{Output: &plan.Output{Step: "a", Key: "v"}})}}}}}), needs: []string{"Trigger"}},
	"approve":         {nodes: nodes(plan.Node{Name: "ok", More: &plan.More{Approve: &plan.Approve{Prompt: "Ship it?"}}}, step("a", "echo shipped", "ok")), needs: []string{"Approve"}, output: "shipped\n"},
	"refuse":          {nodes: nodes(plan.Node{Name: "refused", More: &plan.More{Approve: &plan.Approve{}}}), needs: []string{"Approve"}, state: build.Failed},
	"approve, cannot": {nodes: nodes(plan.Node{Name: "cannot", More: &plan.More{Approve: &plan.Approve{}}}), needs: []string{"Approve"}, state: build.Failed},
	"approve, stopped": {
		nodes: nodes(plan.Node{Name: "waits", More: &plan.More{Approve: &plan.Approve{}}}),
		plan:  func(p *plan.Plan) { p.Timeout = plan.Duration(200 * time.Millisecond) }, state: build.TimedOut,
	},
	"trigger, stopped": {
		nodes: nodes(trigger("waits", true)),
		plan:  func(p *plan.Plan) { p.Timeout = plan.Duration(200 * time.Millisecond) }, needs: []string{"Trigger"}, state: build.TimedOut,
	},
	"expand": {
		nodes: nodes(with(step("a", `printf 'x y' >"$PIPER_OUTPUT/names"`), func(s *plan.Step) { s.Services = []string{"db"} }),
			plan.Node{Name: "e", Needs: []string{"a"}, More: &plan.More{Expand: &plan.Expand{After: "a", Services: []string{"db"}}}},
			step("z", "echo last", "e"),
			with(step("db", "exec sleep 1000"), func(s *plan.Step) { s.Service = &plan.Service{} })),
		needs: []string{"Expand"}, output: "found x ***\n",
	},
	"expand that is wrong":  {nodes: nodes(step("a", "true"), plan.Node{Name: "wrong", Needs: []string{"a"}, More: &plan.More{Expand: &plan.Expand{After: "a"}}}), needs: []string{"Expand"}, state: build.Failed},
	"expand that cannot":    {nodes: nodes(step("a", "true"), plan.Node{Name: "cannot", Needs: []string{"a"}, More: &plan.More{Expand: &plan.Expand{After: "a"}}}), needs: []string{"Expand"}, state: build.Failed},
	"expand to many":        {nodes: nodes(step("a", `printf 'x y' >"$PIPER_OUTPUT/names"`), plan.Node{Name: "e", Needs: []string{"a"}, More: &plan.More{Expand: &plan.Expand{After: "a"}}}), job: func(j *runner.Job) { j.MaxNodes = 3 }, needs: []string{"MaxNodes"}, state: build.Failed},
	"once":                  {nodes: nodes(with(step("a", "echo once"), func(s *plan.Step) { s.Once = true })), needs: []string{"Intend"}, output: "once\n"},
	"once, and it must not": {nodes: nodes(with(step("cannot", "echo never"), func(s *plan.Step) { s.Once = true })), needs: []string{"Intend"}, state: build.Failed},
	"cancel": {
		nodes:  nodes(step("a", "true"), step("b", "echo up; exec sleep 1000", "a"), plan.Node{Name: "c", Needs: []string{"b"}, More: &plan.More{RunOn: plan.Always}, Step: &plan.Step{Script: "echo cleaned"}}),
		cancel: runtime.Cancel{By: "ada", Reason: "not that"}, needs: []string{"Cancels"}, state: build.Cancelled, output: "cleaned\n",
	},
	"cancel by force": {
		nodes:  nodes(step("b", "trap '' TERM; echo up; while :; do sleep 1; done"), plan.Node{Name: "c", Needs: []string{"b"}, More: &plan.More{RunOn: plan.Always}, Step: &plan.Step{Script: "echo cleaned"}}),
		cancel: runtime.Cancel{By: "ada", Force: true}, needs: []string{"Cancels"}, state: build.Cancelled,
	},
	"workspace": {nodes: nodes(step("a", "pwd; cat tracked")), needs: []string{"Workspace"}, output: "it\n"},
}

// alone is a script that fails beside another one of its kind.
const alone = `mkdir lock; sleep 0.05; rmdir lock; echo alone`

const theID = "0192f0c0-0000-7000-8000-000000000001"

func trigger(name string, wait bool) plan.Node {
	return plan.Node{Name: name, More: &plan.More{Trigger: &plan.Trigger{Pipeline: "deploy", Wait: wait}}}
}

func freePort(t *testing.T) int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

// A world is what a build meets outside its process, and what is seen there.
type world struct {
	cancels chan runtime.Cancel
	cancel  runtime.Cancel // that is sent there once b has written something, if it is not zero

	mu     sync.Mutex
	events []build.Event
	output map[string]string // by node and attempt
	said   []string          // what was asked and reported
}

func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.said = append(w.said, fmt.Sprintf(format, args...))
}

func (w *world) Event(ev build.Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.events = append(w.events, ev)
	return nil
}

func (w *world) Output(node string, attempt int, at time.Time, p []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.output[fmt.Sprintf("%s #%d", node, attempt)] += string(p)
	if node == "b" && w.cancel != (runtime.Cancel{}) {
		w.cancels <- w.cancel
	}
	return nil
}

func (w *world) Approve(ctx context.Context, node string) (runtime.Approval, error) {
	w.note("approve %s", node)
	switch node {
	case "cannot":
		return runtime.Approval{}, errors.New("nobody is there")
	case "waits":
		<-ctx.Done()
		w.note("no longer")
		return runtime.Approval{}, ctx.Err()
	}
	return runtime.Approval{Approved: node == "ok", By: "ada", Reason: "why not"}, nil
}

func (w *world) Trigger(ctx context.Context, node string, params map[string]string, made func(build.ID)) (build.State, error) {
	w.note("trigger %s %q", node, params)
	if node == "cannot" {
		return "", errors.New("no such pipeline")
	}
	made("child-of-" + build.ID(node))
	switch node {
	case "fails":
		return build.Failed, nil
	case "waits":
		<-ctx.Done()
		w.note("no longer")
		return build.Cancelled, nil
	}
	return build.Success, nil
}

// found is the secret of what expands find.
var found = map[string]string{"found": "hunter33"}

func (w *world) Expand(_ context.Context, node string, outputs map[string]string) (x plan.Expansion, secrets map[string]string, err error) {
	w.note("expand %s %q", node, outputs)
	switch node {
	case "wrong":
		return x, nil, fmt.Errorf("expand: %w", plan.Diagnostics{{File: "PIPER.star", Line: 3, Severity: "error", Code: "bad-value", Message: "no"}})
	case "cannot":
		return x, nil, errors.New("the evaluator is gone")
	}
	for _, name := range strings.Fields(outputs["names"]) {
		n := step(name, "echo found "+name+" $TOKEN; echo $FOUND")
		n.Step.Env = plan.Env{{Name: "FOUND", Value: text(plan.Part{Secret: "found"})}, {Name: "TOKEN", Value: text(plan.Part{Secret: "token"})}}
		x.Nodes = append(x.Nodes, n)
	}
	return x, found, nil
}

func (w *world) Intend(_ context.Context, node string) error {
	w.note("intend %s", node)
	if node == "cannot" {
		return errors.New("the build is another agent's")
	}
	return nil
}

// stage makes a feature's job in a workspace of its own.
func (f feature) stage(t *testing.T, made []plan.Node) (runner.Job, *world) {
	p := &plan.Plan{Format: plan.Format, Project: plan.Project{Name: "shop", Version: "v1"}, Pipeline: "build", Nodes: made}
	if f.plan != nil {
		f.plan(p)
	}
	require.NoError(t, plan.Validate(p, 0).Err())
	w := &world{output: map[string]string{}, cancels: make(chan runtime.Cancel, 1), cancel: f.cancel}
	home := t.TempDir()
	j := runner.Job{Plan: p, Workspace: filepath.Join(home, "w \xff"), ID: theID, Commit: "c0ffee", Branch: "main", Parallel: 2, Cancels: w.cancels,
		PassEnv: []string{"GIVEN_CALLER"},
		Secrets: map[string]string{"token": "hunter22", "raw": "\xff\xfe\xfd\xfc"},
		Files:   func() ([]string, error) { w.note("files"); return []string{"tracked"}, nil },
		Report:  func(message string) { w.note("report %s", message) },
		Facts:   map[string]string{"labels.zone": "a"},
		Environ: []string{"PATH=" + home + ":" + os.Getenv("PATH"), "HOME=" + home, "GIVEN_PLAN=plan \xff", "GIVEN_ENVIRONMENT=environment", "GIVEN_STEP_1=step", "GIVEN_CALLER=caller", "GIVEN_NOT=x"},
	}
	require.NoError(t, os.Mkdir(j.Workspace, 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(home, "python3"), []byte(fakePython), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(j.Workspace, "tracked"), []byte("it\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(j.Workspace, "untracked"), []byte("it\n"), 0o600))
	if f.job != nil {
		f.job(&j)
	}
	return j, w
}

// here runs a job as exec does.
func here(t *testing.T, j runner.Job, w *world) *build.Build {
	b, err := runner.Run(t.Context(), runner.Options{
		Plan: j.Plan, Workspace: j.Workspace, ID: j.ID, Commit: j.Commit, Branch: j.Branch, Parallel: j.Parallel, MaxNodes: j.MaxNodes,
		Environ: j.Environ, PassEnv: j.PassEnv, Keep: j.Keep, Secrets: secret.Remember(secret.First(secret.Values(j.Secrets), secret.Values(found))), Files: j.Files, History: j.History, Facts: j.Facts,
		Report: j.Report, Cancels: j.Cancels, Display: shows{w},
		Approve: func(ctx context.Context, n *plan.Node) (runtime.Approval, error) { return w.Approve(ctx, n.Name) },
		Trigger: func(ctx context.Context, n *plan.Node, params map[string]string, made func(build.ID)) (build.State, error) {
			return w.Trigger(ctx, n.Name, params, made)
		},
		Expand: func(ctx context.Context, n *plan.Node, outputs map[string]string) (plan.Expansion, error) {
			x, _, err := w.Expand(ctx, n.Name, outputs)
			return x, err
		},
		Intend: func(ctx context.Context, n *plan.Node) error { return w.Intend(ctx, n.Name) },
	})
	require.NoError(t, err)
	return b
}

// shows is a Display for a world.
type shows struct{ *world }

func (shows) Begin(*plan.Plan, *build.Build)         {}
func (shows) End(*build.Build)                       {}
func (s shows) Event(ev build.Event, _ *build.Build) { s.world.Event(ev) }
func (s shows) Output(n *plan.Node, attempt int, at time.Time, p []byte) {
	s.world.Output(n.Name, attempt, at, p)
}

// away runs a job as an agent does, which keeps steps from its files where it can.
func away(t *testing.T, j runner.Job, h runner.Handler) *build.Build {
	c := runner.Command{Env: os.Environ()}
	if process.CanConfine() == nil {
		c.Confine = process.Hide("/of-an-agent")
	}
	b, err := c.Run(t.Context(), j, h)
	require.NoError(t, err)
	return b
}

var (
	temporary = regexp.MustCompile(`/\S*/piper-[\w-]+`)
	volatile  = regexp.MustCompile(`/w \\xff|/w \xff|/w \x{fffd}`)
)

// story is what is to be the same: for each node what happened to it, in order,
// and all else that could be seen.
func (w *world) story(j runner.Job, b *build.Build) map[string][]string {
	home := filepath.Dir(j.Workspace)
	clean := func(s string) string {
		s = strings.ReplaceAll(s, home, "HOME")
		return volatile.ReplaceAllString(temporary.ReplaceAllString(s, "TEMP"), "/w")
	}
	story := map[string][]string{}
	for i, ev := range w.events {
		if ev.Seq != int64(i+1) || ev.Time.IsZero() {
			story["order"] = append(story["order"], fmt.Sprint(ev.Seq))
		}
		ev.Seq, ev.Time = 0, time.Time{}
		line := fmt.Sprintf("%s %d %s %s %q infra=%t final=%t %q %s %s force=%t", ev.Kind, ev.Attempt, ev.State, ev.Signal, clean(ev.Reason), ev.Infra, ev.Final, ev.Outputs, ev.Child, ev.By, ev.Force)
		if ev.Exit != nil {
			line += fmt.Sprint(" exit ", *ev.Exit)
		}
		if x := ev.Expansion; x != nil {
			for _, n := range x.Nodes {
				line += " " + n.Name
			}
		}
		story["node "+ev.Node] = append(story["node "+ev.Node], line)
	}
	for key, text := range w.output {
		story["output "+key] = []string{clean(text)}
	}
	for _, s := range w.said {
		story["said"] = append(story["said"], clean(s))
	}
	slices.Sort(story["said"])
	for node, step := range b.Steps() {
		step.Started, step.Ended, step.Ready, step.NotBefore, step.Exit = time.Time{}, time.Time{}, time.Time{}, time.Time{}, nil
		step.Reason = clean(step.Reason)
		story["state"] = append(story["state"], fmt.Sprintf("%s: %+v", node, step))
	}
	slices.Sort(story["state"])
	story["end"] = []string{string(b.State()), clean(b.Reason())}
	if j.Parallel == 1 { // the order is a part of it
		for _, ev := range w.events {
			story["sequence"] = append(story["sequence"], string(ev.Kind)+" "+ev.Node)
		}
	}
	left, _ := filepath.Glob(filepath.Join(home, "where"))
	for _, file := range left {
		dir, _ := os.ReadFile(file)
		_, err := os.Stat(strings.TrimSpace(string(dir)))
		story["kept"] = []string{fmt.Sprint(err == nil)}
	}
	return story
}

func TestSameHereAndAway(t *testing.T) {
	for name, f := range features {
		t.Run(name, func(t *testing.T) {
			t.Setenv("TMPDIR", t.TempDir())
			made := f.nodes(t)
			j, w := f.stage(t, made)
			b := here(t, j, w)
			want := w.story(j, b)
			state := f.state
			if state == "" {
				state = build.Success
			}
			require.Equal(t, state, b.State(), "%v", want)
			all := strings.Join(slices.Concat(slices.Collect(mapValues(want))...), "\n")
			require.Contains(t, all, f.output)

			j, w = f.stage(t, made)
			b = away(t, j, w)
			require.Equal(t, want, w.story(j, b))
		})
	}
}

func mapValues(m map[string][]string) func(yield func([]string) bool) {
	return func(yield func([]string) bool) {
		for _, v := range m {
			if !yield(v) {
				return
			}
		}
	}
}

// lacking is a handler that has one method less.
type lacking struct {
	*world
	method string
}

var errLacking = errors.New("it got lost on the way")

func (l lacking) Approve(ctx context.Context, node string) (runtime.Approval, error) {
	if l.method == "Approve" {
		return runtime.Approval{}, errLacking
	}
	return l.world.Approve(ctx, node)
}

func (l lacking) Trigger(ctx context.Context, node string, params map[string]string, made func(build.ID)) (build.State, error) {
	if l.method == "Trigger" {
		return "", errLacking
	}
	return l.world.Trigger(ctx, node, params, made)
}

func (l lacking) Expand(ctx context.Context, node string, outputs map[string]string) (plan.Expansion, map[string]string, error) {
	if l.method == "Expand" {
		return plan.Expansion{}, nil, errLacking
	}
	return l.world.Expand(ctx, node, outputs)
}

func (l lacking) Intend(ctx context.Context, node string) error {
	if l.method == "Intend" {
		return errLacking
	}
	return l.world.Intend(ctx, node)
}

// TestTemp: what a build needs only meanwhile lies where it is told, and does not
// stay.
func TestTemp(t *testing.T) {
	temp := t.TempDir()
	w := &world{output: map[string]string{}}
	b := away(t, runner.Job{Plan: scripts("echo $PIPER_OUTPUT"), Workspace: t.TempDir(), Temp: temp, Environ: os.Environ()}, w)
	require.Equal(t, build.Success, b.State())
	require.True(t, strings.HasPrefix(w.output["s1 #1"], temp+"/piper-"), w.output)
	left, err := os.ReadDir(temp)
	require.NoError(t, err)
	require.Empty(t, left)
}

// TestLossShows: were any part of a job, or any question, lost on its way to the
// child, TestSameHereAndAway would fail.
func TestLossShows(t *testing.T) {
	parts := map[string]bool{}
	for _, of := range []reflect.Type{reflect.TypeFor[runner.Job](), reflect.TypeFor[runner.Handler]()} {
		if of.Kind() == reflect.Interface {
			for i := range of.NumMethod() {
				parts[of.Method(i).Name] = true
			}
			continue
		}
		for i := range of.NumField() {
			parts[of.Field(i).Name] = true
		}
	}
	for _, always := range []string{"Plan", "Event", "Output"} { // without which there is nothing at all
		delete(parts, always)
	}
	delete(parts, "Temp") // which is the machine's affair: see TestTemp
	for part := range parts {
		t.Run(part, func(t *testing.T) {
			t.Setenv("TMPDIR", t.TempDir())
			name := ""
			for each, f := range features {
				if slices.Contains(f.needs, part) && (name == "" || each < name) {
					name = each
				}
			}
			require.NotEmpty(t, name, "no feature needs it")
			f := features[name]
			made := f.nodes(t)
			j, w := f.stage(t, made)
			want := w.story(j, here(t, j, w))

			j, w = f.stage(t, made)
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			field := reflect.ValueOf(&j).Elem().FieldByName(part)
			switch {
			case part == "Workspace":
				j.Workspace = t.TempDir()
			case part == "Parallel":
				j.Parallel = 1
			case part == "Cancels":
				j.Cancels = nil
				time.AfterFunc(time.Second, stop) // or it would never end
			case field.IsValid():
				field.SetZero()
			}
			if part == "Parallel" {
				time.AfterFunc(time.Second, stop)
			}
			c := runner.Command{Env: os.Environ()}
			b, err := c.Run(ctx, j, lacking{w, part})
			require.NoError(t, err)
			require.NotEqual(t, want, w.story(j, b))
		})
	}
}

// TestOptionsAreSent: what exec can ask for an agent can, but for what needs the
// terminal or the disk of a person.
func TestOptionsAreSent(t *testing.T) {
	here := []string{"Display", "LogDir", "OnFail", "Recorder", "Sink"} // a parent records what it hears
	for i := range reflect.TypeFor[runner.Options]().NumField() {
		field := reflect.TypeFor[runner.Options]().Field(i)
		if !field.IsExported() {
			continue // nobody can ask for it
		}
		name := field.Name
		_, sent := reflect.TypeFor[runner.Job]().FieldByName(name)
		_, asked := reflect.TypeFor[runner.Handler]().MethodByName(name)
		require.Equal(t, !slices.Contains(here, name), sent || asked, name)
	}
}

// TestFeaturesAreAll: each field that a plan may have is set by some feature.
func TestFeaturesAreAll(t *testing.T) {
	set := map[string]bool{}
	var look func(v reflect.Value)
	look = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.Pointer:
			if !v.IsNil() {
				look(v.Elem())
			}
		case reflect.Slice:
			for i := range v.Len() {
				look(v.Index(i))
			}
		case reflect.Struct:
			for i := range v.NumField() {
				if !v.Field(i).IsZero() {
					set[v.Type().Name()+"."+v.Type().Field(i).Name] = true
				}
				look(v.Field(i))
			}
		}
	}
	for _, f := range features {
		j, _ := f.stage(t, f.nodes(t))
		look(reflect.ValueOf(*j.Plan))
	}
	// What no engine looks at, and what needs podman or docker.
	without := []string{"Plan.Params", "Plan.QueueTimeout", "Plan.Concurrency", "Plan.Priority", "Plan.Inputs", "Project.Piper",
		"Node.Pos", "Group.Pos", "Environment.Pos", "Step.Doc", "Step.Inputs", "Step.Outputs", "Environment.Doc",
		"Environment.Image", "Environment.Runtime", "Environment.Options", "Requirement.Of"}
	for _, of := range []reflect.Type{reflect.TypeFor[plan.Plan](), reflect.TypeFor[plan.Project](), reflect.TypeFor[plan.Node](), reflect.TypeFor[plan.Group](),
		reflect.TypeFor[plan.Step](), reflect.TypeFor[plan.Service](), reflect.TypeFor[plan.Ready](), reflect.TypeFor[plan.Retry](), reflect.TypeFor[plan.Trigger](),
		reflect.TypeFor[plan.Approve](), reflect.TypeFor[plan.Expand](), reflect.TypeFor[plan.Environment](), reflect.TypeFor[plan.Requirement](), reflect.TypeFor[plan.Part]()} {
		for i := range of.NumField() {
			name := of.Name() + "." + of.Field(i).Name
			require.Equal(t, !slices.Contains(without, name), set[name], name)
		}
	}
}
