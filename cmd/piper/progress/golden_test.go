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
	flaky.AllowFailure = "upstream rests on Sundays"
	slow := step("slow", 8, "unit")
	slow.Step.Timeout = plan.Duration(time.Minute)
	cleanup := step("cleanup", 11, "integration", "slow")
	cleanup.RunOn = plan.Always
	late := step("tidy", 4, "compile")
	late.RunOn = plan.Always

	return map[string]*plan.Plan{
		"release": {Format: plan.Format, Pipeline: "release", Nodes: []plan.Node{
			step("lint", 3), unit, flaky,
			{Name: "go", Pos: at(6), Needs: []string{"lint"}, Approve: &plan.Approve{Prompt: "Ship it?"}},
			step("integration", 7, "unit"), slow,
			{Name: "deploy", Pos: at(9), Needs: []string{"go"}, Trigger: &plan.Trigger{Pipeline: "deploy", Wait: true}},
			step("publish", 10, "integration"), cleanup,
		}},
		"cancel": {Format: plan.Format, Pipeline: "build", Nodes: []plan.Node{
			step("compile", 1), step("test", 2), step("package", 3, "compile", "test"), late,
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
			d.Output(&p.Nodes[i], r.Attempt, r.Time, r.output(t))
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
		Rerun:   func(step string) string { return "piper exec release --only " + step },
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
