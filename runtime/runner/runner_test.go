package runner_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/logs"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/process"
	"github.com/piper-build/piper/runtime/record"
	"github.com/piper-build/piper/runtime/runner"
	"github.com/piper-build/piper/runtime/secret"
	"github.com/piper-build/piper/runtime/store"
)

func TestMain(m *testing.M) {
	if process.IsGuard() {
		os.Exit(process.GuardMain())
	}
	if runner.IsChild() {
		os.Exit(runner.ChildMain())
	}
	if len(os.Args) > 2 && os.Args[1] == "helper" {
		os.Exit(helper(os.Args[2], os.Args[3:]))
	}
	os.Exit(m.Run())
}

// screen is a display that remembers.
type screen struct {
	mu     sync.Mutex
	output strings.Builder
	events []build.Event
	begun  bool
	ended  build.State
}

func (s *screen) Begin(*plan.Plan, *build.Build)       { s.begun = true }
func (s *screen) Event(ev build.Event, _ *build.Build) { s.events = append(s.events, ev) }
func (s *screen) End(b *build.Build)                   { s.ended = b.State() }
func (s *screen) Output(_ *plan.Node, _ int, _ time.Time, p []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.output.Write(p)
}

func scripts(lines ...string) *plan.Plan {
	p := &plan.Plan{Format: plan.Format, Project: plan.Project{Name: "shop"}, Pipeline: "build"}
	for i, line := range lines {
		n := plan.Node{Name: fmt.Sprintf("s%d", i+1), Step: &plan.Step{Script: line}}
		if i > 0 {
			n.Needs = []string{p.Nodes[i-1].Name}
		}
		p.Nodes = append(p.Nodes, n)
	}
	return p
}

func options(t *testing.T, p *plan.Plan) runner.Options {
	return runner.Options{Plan: p, Workspace: t.TempDir(), Environ: os.Environ(), Parallel: 2}
}

// kept has what o runs recorded, and returns where.
func kept(o *runner.Options) (*record.Record, *store.Memory) {
	s := store.NewMemory()
	r := record.Open(s, "b", 1, record.Options{})
	o.Recorder, o.Sink = r, r
	return r, s
}

// lastLine is the last line that the first attempt of a node wrote.
func lastLine(t *testing.T, s *store.Memory, node string) (last string) {
	for line, err := range logs.NewReader(s, "b", 1).Tail(t.Context(), node, 1, 1) {
		require.NoError(t, err)
		last = string(line.Text)
	}
	return last
}

func TestRun(t *testing.T) {
	p := scripts(`sleep 0.1; echo "token $TOKEN"; printf 1.2 >"$PIPER_OUTPUT/v"`, `echo "version $V"; exit 3`)
	p.Nodes[0].Step.Env = plan.Env{{Name: "TOKEN", Value: plan.Text{Parts: []plan.Part{{Secret: "pw"}}}}}
	p.Nodes[1].Step.Env = plan.Env{{Name: "V", Value: plan.Text{Parts: []plan.Part{{Output: &plan.Output{Step: "s1", Key: "v"}}}}}}
	o := options(t, p)
	s := &screen{}
	o.Display, o.LogDir = s, filepath.Join(t.TempDir(), "logs")
	o.Secrets = secret.Remember(secret.Values(map[string]string{"pw": "hunter22"}))
	recorder, records := kept(&o)
	b, err := runner.Run(t.Context(), o)
	require.NoError(t, err)
	require.NoError(t, recorder.Flush(t.Context()))
	require.NoError(t, recorder.Close())
	require.Equal(t, build.Failed, b.State())
	require.Equal(t, 3, *b.Node(1).Exit)

	require.True(t, s.begun)
	require.Equal(t, build.Failed, s.ended)
	require.Equal(t, "token ***\nversion 1.2\n", s.output.String(), "masked before it is shown")

	file, err := os.ReadFile(filepath.Join(o.LogDir, "s1.log"))
	require.NoError(t, err)
	require.Equal(t, "token ***\n", string(file))

	// What is recorded folds to what happened, and its output is there.
	events, err := records.Events(t.Context(), "b", 1, 1, 100)
	require.NoError(t, err)
	require.Equal(t, s.events, events)
	folded, err := build.Fold(p, events)
	require.NoError(t, err)
	require.Equal(t, b.Steps(), folded.Steps())
	require.Equal(t, "version 1.2", lastLine(t, records, "s2"))
}

func TestMissingSecretFailsTheStepThatNeedsIt(t *testing.T) {
	pw := plan.Env{{Name: "PW", Value: plan.Text{Parts: []plan.Part{{Secret: "pw"}}}}}
	for name, c := range map[string]struct {
		source secret.Source
		reason string
	}{
		"no source": {nil, `secret not found: "pw"`},
		"unknown":   {secret.Values(nil), `secret not found: "pw"`},
		"broken":    {secret.Files(map[string]string{"pw": "/does/not/exist"}), "no such file"},
		"short":     {secret.Values(map[string]string{"pw": "abc"}), "shorter than 4 bytes"},
	} {
		t.Run(name, func(t *testing.T) {
			p := scripts("true", "true")
			p.Nodes[1].Needs, p.Nodes[1].Step.Env = nil, pw
			o := options(t, p)
			o.Secrets = secret.Remember(c.source)
			b, err := runner.Run(t.Context(), o)
			require.NoError(t, err)
			require.Equal(t, build.Success, b.Node(0).State, "steps without it run")
			require.Equal(t, build.Failed, b.Node(1).State)
			require.Contains(t, b.Node(1).Reason, c.reason)
		})
	}
}

func TestOnFailSeesTheTask(t *testing.T) {
	p := scripts("touch here; exit 1")
	o := options(t, p)
	var seen runtime.Task
	o.OnFail = func(_ context.Context, t runtime.Task, res runtime.Result) { seen = t }
	_, err := runner.Run(t.Context(), o)
	require.NoError(t, err)
	require.FileExists(t, filepath.Join(seen.Workspace, "here"))
	require.Contains(t, seen.Env, "PIPER_STEP=s1")
}

// A service that is not ready yet has not failed.
func TestOnFailSeesNoCheck(t *testing.T) {
	p := scripts("true")
	p.Nodes[0].Step.Services = []string{"db"}
	p.Nodes = append(p.Nodes, plan.Node{Name: "db", Step: &plan.Step{Script: "exec sleep 1000",
		Service: &plan.Service{Ready: plan.Ready{Script: "test -e up || { touch up; exit 1; }"}}}})
	o := options(t, p)
	o.OnFail = func(_ context.Context, task runtime.Task, _ runtime.Result) { t.Errorf("%q failed", task.Argv) }
	b, err := runner.Run(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, build.Success, b.State())
}

func TestCancelStopsWhatRuns(t *testing.T) {
	o := options(t, scripts("echo up; sleep 1000", "true"))
	ctx, cancel := context.WithCancelCause(t.Context())
	s := &cancelling{cancel: cancel}
	o.Display = s
	b, err := runner.Run(ctx, o)
	require.NoError(t, err)
	require.Equal(t, build.Cancelled, b.State())
	require.Equal(t, build.Cancelled, b.Node(0).State)
}

// cancelling ends the build at the first output.
type cancelling struct {
	screen
	cancel context.CancelCauseFunc
}

func (c *cancelling) Output(*plan.Node, int, time.Time, []byte) { c.cancel(errors.New("enough")) }

func TestRunThatCannotBegin(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for name, change := range map[string]func(*testing.T, *runner.Options){
		"no logs": func(_ *testing.T, o *runner.Options) { o.LogDir = file },
		"no temp": func(t *testing.T, o *runner.Options) { t.Setenv("TMPDIR", file) },
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t, scripts("true"))
			change(t, &o)
			_, err := runner.Run(t.Context(), o)
			require.Error(t, err)
		})
	}
}

// What is not recorded has not happened.
func TestRunThatCannotBeRecorded(t *testing.T) {
	o := options(t, scripts("touch here"))
	recorder, _ := kept(&o)
	require.NoError(t, recorder.Close())
	_, err := runner.Run(t.Context(), o)
	require.ErrorIs(t, err, record.ErrClosed)
	require.NoFileExists(t, filepath.Join(o.Workspace, "here"))
}

func TestSecretsOfAnEarlierBuildStayMasked(t *testing.T) {
	secrets := secret.Remember(secret.Values(map[string]string{"pw": "hunter22"}))
	first := scripts("echo $PW >npmrc")
	first.Nodes[0].Step.Env = plan.Env{{Name: "PW", Value: plan.Text{Parts: []plan.Part{{Secret: "pw"}}}}}
	o := options(t, first)
	o.Secrets = secrets
	_, err := runner.Run(t.Context(), o)
	require.NoError(t, err)

	s := &screen{}
	o.Plan, o.Display = scripts("cat npmrc"), s
	_, err = runner.Run(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, "***\n", s.output.String())
}

// What a step does to its $PIPER_OUTPUT is its own affair.
func TestOutputDirectoryThatCannotBeRemoved(t *testing.T) {
	o := options(t, scripts(`mkdir "$PIPER_OUTPUT/d"; touch "$PIPER_OUTPUT/d/x"; chmod 500 "$PIPER_OUTPUT" "$PIPER_OUTPUT/d"; exit 1`, `ls -A "$PIPER_OUTPUT"; test -z "$(ls -A "$PIPER_OUTPUT")"`))
	o.Plan.Nodes[1].Needs, o.Parallel = nil, 1
	t.Setenv("TMPDIR", t.TempDir())
	b, err := runner.Run(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, build.Failed, b.Node(0).State)
	require.Equal(t, build.Success, b.Node(1).State)
	left, err := os.ReadDir(os.Getenv("TMPDIR"))
	require.NoError(t, err)
	require.Empty(t, left)
}

func TestPreviewIsWhatRuns(t *testing.T) {
	o := options(t, scripts("exit 1"))
	o.PassEnv, o.ID = []string{"PATH"}, "7"
	var ran runtime.Task
	o.OnFail = func(_ context.Context, t runtime.Task, _ runtime.Result) { ran = t }
	_, err := runner.Run(t.Context(), o)
	require.NoError(t, err)
	shown, err := runner.Preview(o, "s1")
	require.NoError(t, err)
	require.Equal(t, ran.Argv, shown.Argv)
	require.Equal(t, len(ran.Env), len(shown.Env))
	require.Subset(t, shown.Env, ran.Env[:len(ran.Env)-1], "all but $PIPER_OUTPUT")
}

// What is recorded of a build that grew, and of its services, folds to what
// happened.
func TestRecordedExpansionFolds(t *testing.T) {
	p := scripts("printf 'x y' >\"$PIPER_OUTPUT/names\"", "", "true")
	p.Nodes[0].Step.Services = []string{"db"}
	p.Nodes[1].Step, p.Nodes[1].Own().Expand = nil, &plan.Expand{After: "s1", Services: []string{"db"}}
	p.Nodes = append(p.Nodes, plan.Node{Name: "db", Step: &plan.Step{Script: "echo up; exec sleep 1000",
		Service: &plan.Service{Ready: plan.Ready{Log: "^up$"}}}})
	o := options(t, p)
	s := &screen{}
	o.Display = s
	o.Secrets = secret.Remember(secret.Values(map[string]string{"pw": "hunter22"}))
	o.Expand = func(_ context.Context, node *plan.Node, outputs map[string]string) (x plan.Expansion, err error) {
		require.Equal(t, "s2", node.Name)
		for _, name := range strings.Fields(outputs["names"]) {
			x.Nodes = append(x.Nodes, plan.Node{Name: name, Step: &plan.Step{Script: "echo " + name + " $PW", Services: []string{"db"},
				Env: plan.Env{{Name: "PW", Value: plan.Text{Parts: []plan.Part{{Secret: "pw"}}}}}}})
		}
		return x, nil
	}
	recorder, records := kept(&o)
	b, err := runner.Run(t.Context(), o)
	require.NoError(t, err)
	require.NoError(t, recorder.Flush(t.Context()))
	require.NoError(t, recorder.Close())
	require.Equal(t, build.Success, b.State())
	require.Contains(t, s.output.String(), "x ***\n")
	require.NotContains(t, s.output.String(), "hunter22")

	events, err := records.Events(t.Context(), "b", 1, 1, 100)
	require.NoError(t, err)
	require.Equal(t, s.events, events)
	folded, err := build.Fold(p, events)
	require.NoError(t, err)
	require.True(t, b.Equal(folded))
	require.Equal(t, b.Steps(), folded.Steps())
	require.Contains(t, folded.Steps(), "y")
	require.Equal(t, "up", lastLine(t, records, "db"))
}

// A secret that nobody knew of when a service began is masked in what the
// service writes from then on.
func TestServiceLearnsSecrets(t *testing.T) {
	p := scripts("true", "")
	p.Nodes[0].Step.Services = []string{"db"}
	p.Nodes[1].Step, p.Nodes[1].Own().Expand = nil, &plan.Expand{After: "s1", Services: []string{"db"}}
	p.Nodes = append(p.Nodes, plan.Node{Name: "db", Step: &plan.Step{
		Script:  "echo hunter22 before; until test -e told; do sleep 0.02; done; echo hunter22; touch done; exec sleep 1000",
		Service: &plan.Service{}}})
	o := options(t, p)
	s := &screen{}
	o.Display = s
	o.Secrets = secret.Remember(secret.Values(map[string]string{"pw": "hunter22"}))
	o.Expand = func(context.Context, *plan.Node, map[string]string) (x plan.Expansion, err error) {
		for { // what was written before is not masked, as nobody knew
			s.mu.Lock()
			heard := strings.Contains(s.output.String(), "before")
			s.mu.Unlock()
			if heard {
				break
			}
			time.Sleep(time.Millisecond)
		}
		x.Nodes = []plan.Node{{Name: "x", Step: &plan.Step{Script: "touch told; until test -e done; do sleep 0.02; done", Services: []string{"db"},
			Env: plan.Env{{Name: "PW", Value: plan.Text{Parts: []plan.Part{{Secret: "pw"}}}}}}}}
		return x, nil
	}
	b, err := runner.Run(t.Context(), o)
	require.NoError(t, err)
	require.Equal(t, build.Success, b.State())
	require.Equal(t, "hunter22 before\n***\n", s.output.String())
}

// What a service leaves behind is killed, and so is one that does not listen.
func TestServiceThatDoesNotGo(t *testing.T) {
	for name, c := range map[string]struct {
		script string
		reason string
	}{
		"deaf":   {"trap '' TERM; sh -c 'trap \"\" TERM; echo up; while :; do sleep 0.1; done'", "killed, as it did not end within 200ms"},
		"forks":  {"(trap '' TERM; setsid sh -c 'while :; do sleep 0.1; done' >/dev/null 2>&1 &) ; echo up; exec sleep 1000", "killed, as it did not end within 200ms"},
		"listen": {"echo up; exec sleep 1000", ""},
		"floods": {"dd if=/dev/zero bs=65536 count=512 2>/dev/null; echo; echo up; exec sleep 1000", ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := scripts("true")
			p.Nodes[0].Step.Services = []string{"db"}
			p.Nodes = append(p.Nodes, plan.Node{Name: "db", Step: &plan.Step{Script: c.script, Grace: plan.Duration(time.Minute),
				Service: &plan.Service{Ready: plan.Ready{Log: "^up$"}}}})
			if c.reason != "" {
				p.Nodes[1].Step.Grace = plan.Duration(200 * time.Millisecond)
			}
			b, err := runner.Run(t.Context(), options(t, p))
			require.NoError(t, err)
			require.Equal(t, build.Success, b.State())
			require.Equal(t, c.reason, b.Node(1).Reason)
		})
	}
}
