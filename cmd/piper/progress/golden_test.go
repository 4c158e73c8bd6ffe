package progress

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
)

var update = flag.Bool("update", false, "rewrite testdata")

// plans are what the recordings in testdata are of.
func plans() map[string]*plan.Plan {
	at := func(line int32) plan.Pos { return plan.Pos{File: "PIPER.star", Line: line, Column: 1} }
	step := func(name string, line int32, needs ...string) plan.Node {
		return plan.Node{Name: name, Pos: at(line), Needs: needs, Step: &plan.Step{Script: "true"}}
	}
	unit := step("unit", 4)
	unit.Step.Retry = &plan.Retry{Attempts: 2, Backoff: plan.Duration(4 * time.Second)}
	flaky := step("flaky", 5)
	flaky.Own().AllowFailure = "upstream rests on Sundays"
	slow := step("slow", 8, "unit")
	slow.Step.Timeout = plan.Duration(time.Minute)
	cleanup := step("cleanup", 11, "integration", "slow")
	cleanup.Own().RunOn = plan.Always
	db := step("db", 1)
	db.Step.Service = &plan.Service{Ready: plan.Ready{Log: "ready"}}
	cache := step("cache", 2)
	cache.Step.Service = &plan.Service{Ready: plan.Ready{Port: 6379}}
	list := step("list", 3)
	list.Step.Services = []string{"db"}
	late := step("tidy", 4, "compile")
	late.Own().RunOn = plan.Always

	return map[string]*plan.Plan{
		"release": {Format: plan.Format, Pipeline: "release", Nodes: []plan.Node{
			step("lint", 3), unit, flaky,
			{Name: "go", Pos: at(6), Needs: []string{"lint"}, More: &plan.More{Approve: &plan.Approve{Prompt: "Ship it?"}}},
			step("integration", 7, "unit"), slow,
			{Name: "deploy", Pos: at(9), Needs: []string{"go"}, More: &plan.More{Trigger: &plan.Trigger{Pipeline: "deploy", Wait: true}}},
			step("publish", 10, "integration"), cleanup,
		}},
		"cancel": {Format: plan.Format, Pipeline: "build", Nodes: []plan.Node{
			step("compile", 1), step("test", 2), step("package", 3, "compile", "test"), late,
		}},
		"growing": {Format: plan.Format, Pipeline: "test", Nodes: []plan.Node{
			db, cache, list,
			{Name: "list/expand", Pos: at(5), Needs: []string{"list"}, More: &plan.More{Expand: &plan.Expand{After: "list", Services: []string{"db", "cache"}}}},
			{Name: "nothing", Pos: at(6), Needs: []string{"list"}, More: &plan.More{Expand: &plan.Expand{After: "list"}}},
			{Name: "broken", Pos: at(7), Needs: []string{"list"}, More: &plan.More{Expand: &plan.Expand{After: "list"}}},
			step("report", 8, "list/expand"),
		}},
		"ok": {Format: plan.Format, Pipeline: "build", Nodes: []plan.Node{step("compile", 1), step("test", 2, "compile")}},
	}
}

// A record is one line of a recording: an event, or a piece of output. Its
// form is that of mode json.
type record struct {
	build.Event
	Data   *string `json:"data"`
	Base64 string  `json:"data_base64"`
}

func (r *record) output(t *testing.T) []byte {
	if r.Data != nil {
		return []byte(*r.Data)
	}
	data, err := base64.StdEncoding.DecodeString(r.Base64)
	require.NoError(t, err)
	return data
}

func recording(t *testing.T, name string) []record {
	data, err := os.ReadFile(filepath.Join("testdata", name+".jsonl"))
	require.NoError(t, err)
	var records []record
	for in := bufio.NewScanner(bytes.NewReader(data)); in.Scan(); {
		var r record
		require.NoError(t, json.Unmarshal(in.Bytes(), &r))
		records = append(records, r)
	}
	return records
}

// play shows a recording at its own pace, inside the bubble of the caller.
func play(t *testing.T, d Display, p *plan.Plan, records []record) {
	b := build.New(p)
	d.Begin(p, b)
	for _, r := range records {
		time.Sleep(time.Until(r.Time))
		synctest.Wait()
		if r.Kind == "output" {
			i, ok := b.Lookup(r.Node)
			require.True(t, ok)
			d.Output(&b.Plan().Nodes[i], r.Attempt, r.Time, r.output(t))
			continue
		}
		require.NoError(t, b.Apply(r.Event), "%+v", r.Event)
		d.Event(r.Event, b)
	}
	d.End(b)
}

// options are those of the golden files.
func options() Options {
	return Options{
		Version: "0.1.0",
		File:    "PIPER.star",
		Width:   func() (int, int) { return 80, 24 },
		Rerun:   func(_ *plan.Plan, node *plan.Node) string { return "piper exec release --only " + node.Name },
		LogPath: func(node string, attempt int) string { return "logs/" + node + ".log" },
		History: map[string]time.Duration{"lint": time.Second, "unit": time.Second, "integration": time.Minute, "slow": time.Minute, "cleanup": time.Second},
	}
}

// TestGolden holds every display of every recording. Read what changed before
// you commit an -update.
func TestGolden(t *testing.T) {
	for name, p := range plans() {
		for _, mode := range []string{"plain", "tty", "quiet", "github"} {
			for _, color := range []bool{false, true} {
				if color && name != "release" {
					continue
				}
				file := filepath.Join("testdata", name+"."+mode)
				if color {
					file += ".color"
				}
				t.Run(filepath.Base(file), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						screen := &terminalEmulator{cols: 80, rows: 24}
						var raw bytes.Buffer
						o := options()
						o.Color = color
						o.Out = &raw
						if mode == "tty" {
							o.Out = screen
						}
						d, err := New(mode, o)
						require.NoError(t, err)
						if g, ok := d.(*github); ok {
							g.token = "TOKEN"
						}
						play(t, d, p, recording(t, name))
						got := raw.String()
						if mode == "tty" {
							require.False(t, screen.hidden, "the cursor is back")
							got = screen.text()
						}
						golden(t, file, got)
					})
				})
			}
		}
	}
}

func golden(t *testing.T, file, got string) {
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(got), 0o644))
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, string(want), got)
}

// TestJSON holds that mode json loses nothing: playing a recording gives the
// recording.
func TestJSON(t *testing.T) {
	for name, p := range plans() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var results, progress bytes.Buffer
				o := options()
				o.Out, o.Results = &progress, &results
				d, err := New("json", o)
				require.NoError(t, err)
				play(t, d, p, recording(t, name))
				golden(t, filepath.Join("testdata", name+".jsonl"), results.String())
				require.Empty(t, progress.String())
			})
		})
	}
}

// TestFrames holds the live area at moments of a build.
func TestFrames(t *testing.T) {
	for _, size := range []struct{ cols, rows int }{{80, 24}, {40, 8}, {20, 5}} {
		t.Run("", func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				screen := &terminalEmulator{cols: size.cols, rows: size.rows}
				o := options()
				o.Out, o.Width = screen, func() (int, int) { return size.cols, size.rows }
				d, err := New("tty", o)
				require.NoError(t, err)
				done := make(chan struct{})
				var frames strings.Builder
				go func() {
					defer close(done)
					for _, at := range []time.Duration{650, 1350, 5300, 6500, 8000, 30000, 53000} {
						time.Sleep(time.Until(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).Add(at*time.Millisecond + 30*time.Millisecond)))
						frames.WriteString("== " + (at * time.Millisecond).String() + "\n" + screen.text())
					}
				}()
				play(t, d, plans()["release"], recording(t, "release"))
				<-done
				golden(t, filepath.Join("testdata", fmt.Sprintf("frames.%dx%d", size.cols, size.rows)), frames.String())
			})
		})
	}
}

// The build may be further than the event that is shown, here at its end all
// along; what is said stays right.
func TestBuildIsFurther(t *testing.T) {
	p := plans()["release"]
	b := build.New(p)
	records := recording(t, "release")
	for _, r := range records {
		if r.Kind != "output" {
			require.NoError(t, b.Apply(r.Event))
		}
	}
	for _, mode := range []string{"plain", "tty", "quiet", "github"} {
		t.Run(mode, func(t *testing.T) {
			var out bytes.Buffer
			d, err := New(mode, Options{Out: &out})
			require.NoError(t, err)
			d.Begin(p, b)
			for _, r := range records {
				if r.Kind != "output" {
					d.Event(r.Event, b)
				}
			}
			d.End(b)
			if mode != "quiet" {
				require.Regexp(t, `unit +↻ failed in 1.4s: exit 2; attempt 2 of 2 follows|↻ unit +failed in 1.4s: exit 2; attempt 2 of 2 follows`, out.String())
			}
			require.Equal(t, 1, strings.Count(out.String(), "✗ integration (PIPER.star:7)"))
			require.NotContains(t, out.String(), "✗ unit")
			require.Contains(t, out.String(), "piper: FAILED 5 ok, 2 failed, 1 skipped, 1 allowed to fail in 1m6s")
		})
	}
}

// A node that waited for its next attempt when the build was cancelled has not
// failed, even when its failure is shown only after that.
func TestCancelledRetry(t *testing.T) {
	p := parallelPlan(1)
	p.Nodes[0].Step.Retry = &plan.Retry{Attempts: 2, Backoff: plan.Duration(time.Minute)}
	name := p.Nodes[0].Name
	events := []build.Event{
		{Kind: build.BuildStarted},
		{Kind: build.AttemptStarted, Node: name, Attempt: 1},
		{Kind: build.AttemptEnded, Node: name, Attempt: 1, State: build.Failed, Reason: "no luck"},
		{Kind: build.CancelRequested, Reason: "interrupted"},
		{Kind: build.NodeSkipped, Node: name, State: build.Cancelled, Reason: "interrupted"},
		{Kind: build.BuildEnded, State: build.Cancelled},
	}
	for further, shown := range map[bool]string{
		false: "↻ failed in 0s: no luck; attempt 2 of 2 in 1m0s",
		true:  "✗ failed in 0s: no luck (attempt 1 of 2)",
	} {
		b := build.New(p)
		apply := func(i int) {
			events[i].Seq, events[i].Time = int64(i+1), time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
			require.NoError(t, b.Apply(events[i]))
		}
		for i := range events {
			if further {
				apply(i)
			}
		}
		var out bytes.Buffer
		d, err := New("plain", Options{Out: &out})
		require.NoError(t, err)
		d.Begin(p, b)
		for i := range events {
			if !further {
				apply(i)
			}
			d.Event(events[i], b)
		}
		d.End(b)
		require.Equal(t, `piper   pipeline=build steps=1
step-000 ▶ started
step-000 `+shown+`
piper    - cancelling: interrupted; nothing runs
step-000 - cancelled: interrupted
piper: CANCELLED 0 ok, 0 failed, 0 skipped, 1 cancelled in 0s
`, out.String())
	}
}

// When the machine fails there may be no end of an attempt. What it wrote is
// shown all the same.
func TestNotEnded(t *testing.T) {
	for mode, want := range map[string]string{
		"plain": `piper   pipeline=build steps=1
step-000 ▶ started
step-000 │ half (no newline)
`,
		"github": `piper   pipeline=build steps=1
::group::… step-000 has not ended
::stop-commands::TOKEN
│ half (no newline)
::TOKEN::
::endgroup::
`,
		"quiet": "",
	} {
		t.Run(mode, func(t *testing.T) {
			var out bytes.Buffer
			s := open(t, mode, Options{Out: &out, Now: func() time.Time { return time.Time{} }}, parallelPlan(1))
			s.start(0)
			s.output(0, "half")
			s.d.End(s.b)
			text, last, _ := strings.Cut(out.String(), "piper: UNFINISHED")
			require.Equal(t, want, text)
			require.Contains(t, last, " 1 not ended in ")
		})
	}
}

// The word of the last line, for each end of a build and for none.
func TestLastLine(t *testing.T) {
	p := parallelPlan(1)
	for state, want := range map[build.State]string{
		build.Success: "OK", build.Failed: "FAILED", build.Cancelled: "CANCELLED", build.TimedOut: "TIMED OUT",
		build.Lost: "LOST", build.Rejected: "REJECTED", build.Running: "UNFINISHED", build.Queued: "UNFINISHED",
	} {
		require.Equal(t, want, upper(state))
	}
	var out bytes.Buffer
	d, err := New("quiet", Options{Out: &out})
	require.NoError(t, err)
	b := build.New(p)
	d.Begin(p, b)
	d.End(b)
	require.Equal(t, "piper: UNFINISHED 0 ok, 0 failed, 0 skipped, 1 not ended in 0s\n", out.String())
}

// Whoever stops a build is told what still runs.
func TestStopping(t *testing.T) {
	for name, test := range map[string]struct {
		running int
		ev      build.Event
		want    string
	}{
		"nothing":  {0, build.Event{Kind: build.CancelRequested}, "piper    - cancelling; nothing runs"},
		"one":      {1, build.Event{Kind: build.CancelRequested, By: "ann", Reason: "wrong branch"}, "piper    - cancelling by ann: wrong branch; step-000 still runs"},
		"many":     {11, build.Event{Kind: build.CancelRequested}, "piper    - cancelling; step-000, step-001, step-002, step-003, step-004, step-005, step-006, step-007 and 3 more still run"},
		"killed":   {2, build.Event{Kind: build.CancelRequested, Force: true}, "piper    - killing; step-000, step-001 still run"},
		"deadline": {1, build.Event{Kind: build.DeadlinePassed, Reason: "timed out after 1h0m0s"}, "piper    ✗ out of time: timed out after 1h0m0s; step-000 still runs"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, mode := range []string{"plain", "tty"} {
				var out bytes.Buffer
				p := parallelPlan(11)
				p.Timeout = plan.Duration(time.Hour)
				s := open(t, mode, Options{Out: &out}, p)
				for i := range test.running {
					s.start(i)
				}
				s.event(test.ev)
				s.d.End(s.b)
				if mode == "plain" {
					require.Contains(t, out.String(), "\n"+test.want+"\n")
				}
			}
		})
	}
}

// A build that ends for a reason that no step shows says it.
func TestReasonOfBuild(t *testing.T) {
	for _, test := range []struct {
		state  build.State
		reason string
		fails  bool
		want   string
	}{
		{build.Rejected, "needs piper >= 2", false, "piper    ✗ needs piper >= 2\n"},
		{build.Lost, "the agent is gone", false, "piper    ✗ the agent is gone\n"},
		{build.Failed, "step-000 failed", true, ""},
		{build.Cancelled, "interrupted", false, ""},
		{build.Rejected, "", false, ""},
	} {
		d := newPlain(Options{})
		d.begin(parallelPlan(1))
		if test.fails {
			d.failures = make([]failure, 1)
		}
		n, ok := d.tell(build.Event{Kind: build.BuildEnded, State: test.state, Reason: test.reason}, nil)
		require.Equal(t, test.want != "", ok)
		if ok {
			require.Equal(t, test.want, d.say(n)+"\n")
		}
	}
}

// Events of a newer Piper, or of a node that the plan has not, say nothing.
func TestUnknownEvents(t *testing.T) {
	var out bytes.Buffer
	s := open(t, "plain", Options{Out: &out}, parallelPlan(1))
	s.d.Event(build.Event{Kind: "node_admired", Node: "step-000"}, s.b)
	s.d.Event(build.Event{Kind: build.AttemptStarted, Node: "elsewhere", Attempt: 1}, s.b)
	require.Equal(t, "piper   pipeline=build steps=1\n", out.String())
	s.d.End(s.b)
}
