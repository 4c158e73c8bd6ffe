package progress

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
)

// A session drives a display and the build it shows.
type session struct {
	t *testing.T
	d Display
	p *plan.Plan
	b *build.Build
	n int64
}

// parallelPlan has n steps that wait for nothing.
func parallelPlan(n int) *plan.Plan {
	p := &plan.Plan{Format: plan.Format, Pipeline: "build"}
	for i := range n {
		p.Nodes = append(p.Nodes, plan.Node{
			Name: fmt.Sprintf("step-%03d", i),
			Pos:  plan.Pos{File: "PIPER.star", Line: int32(i + 1), Column: 1},
			Step: &plan.Step{Script: "true"},
		})
	}
	return p
}

func open(t *testing.T, mode string, o Options, p *plan.Plan) *session {
	d, err := New(mode, o)
	require.NoError(t, err)
	if g, ok := d.(*github); ok {
		g.token = "TOKEN"
	}
	s := &session{t: t, d: d, p: p, b: build.New(p)}
	d.Begin(p, s.b)
	s.event(build.Event{Kind: build.BuildStarted})
	return s
}

func (s *session) event(ev build.Event) {
	s.n++
	ev.Seq, ev.Time = s.n, time.Now().UTC().Truncate(time.Millisecond)
	require.NoError(s.t, s.b.Apply(ev), "%+v", ev)
	s.d.Event(ev, s.b)
}

func (s *session) start(i int) {
	s.event(build.Event{Kind: build.AttemptStarted, Node: s.p.Nodes[i].Name, Attempt: 1})
}

func (s *session) finish(i int, state build.State) {
	ev := build.Event{Kind: build.AttemptEnded, Node: s.p.Nodes[i].Name, Attempt: 1, State: state}
	if state == build.Failed {
		one := 1
		ev.Exit = &one
	}
	s.event(ev)
}

func (s *session) output(i int, text string) {
	s.d.Output(&s.p.Nodes[i], 1, time.Now(), []byte(text))
}

func (s *session) end(state build.State) {
	s.event(build.Event{Kind: build.BuildEnded, State: state})
	s.d.End(s.b)
}

// A step that is silent is said to run, after 30 s, then ever less often;
// output starts that anew.
func TestHeartbeat(t *testing.T) {
	for mode, want := range map[string]string{
		"plain": `piper   pipeline=build steps=1
step-000 ▶ started
step-000 … still running, 30s so far, silent for 30s
step-000 … still running, 1m30s so far, silent for 1m0s
step-000 │ hello
step-000 … still running, 2m10s so far, silent for 30s
step-000 … still running, 3m10s so far, silent for 1m0s
step-000 ✓ ok in 3m20s
piper: OK 1 ok, 0 failed, 0 skipped in 3m20s
`,
		"github": `piper   pipeline=build steps=1
… step-000 still running, 30s so far
… step-000 still running, 1m30s so far
::group::✓ step-000 ok in 3m20s
::stop-commands::TOKEN
│ hello
::TOKEN::
::endgroup::
piper: OK 1 ok, 0 failed, 0 skipped in 3m20s
`,
		"quiet": `piper: OK 1 ok, 0 failed, 0 skipped in 3m20s
`,
	} {
		t.Run(mode, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var out bytes.Buffer
				s := open(t, mode, Options{Out: &out}, parallelPlan(1))
				s.start(0)
				time.Sleep(100 * time.Second)
				s.output(0, "hello\n")
				time.Sleep(100 * time.Second)
				synctest.Wait()
				s.finish(0, build.Success)
				s.end(build.Success)
				require.Equal(t, want, out.String())
			})
		})
	}
}

// A progress bar, which never ends its line, does not pass for silence, nor
// keep a log silent.
func TestHeartbeatOfProgressBar(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		s := open(t, "plain", Options{Out: &out}, parallelPlan(1))
		s.start(0)
		for i := range 100 {
			s.output(0, fmt.Sprintf("\r%d%%", i))
			time.Sleep(time.Second)
		}
		synctest.Wait()
		s.finish(0, build.Success)
		s.end(build.Success)
		require.Equal(t, `piper   pipeline=build steps=1
step-000 ▶ started
step-000 … still running, 30s so far, no whole line for 30s
step-000 … still running, 1m30s so far, no whole line for 1m0s
step-000 │ 99% (no newline)
step-000 ✓ ok in 1m40s
piper: OK 1 ok, 0 failed, 0 skipped in 1m40s
`, out.String())
	})
}

// A writer that stops taking bytes holds up steps that write to it, and
// nothing deadlocks once it goes on.
func TestSlowReader(t *testing.T) {
	for _, mode := range []string{"plain", "tty", "json", "quiet", "github"} {
		t.Run(mode, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				gate := make(chan struct{})
				w := writer(func(p []byte) (int, error) { <-gate; return len(p), nil })
				p := parallelPlan(8)
				d, err := New(mode, Options{Out: w, Results: w})
				require.NoError(t, err)
				s := &session{t: t, d: d, p: p, b: build.New(p)}
				var steps sync.WaitGroup
				steps.Go(func() {
					d.Begin(p, s.b)
					s.event(build.Event{Kind: build.BuildStarted})
					for i := range 8 {
						s.start(i)
						steps.Go(func() {
							for range 100 {
								s.output(i, strings.Repeat("a line\n", 100))
							}
						})
					}
				})
				time.Sleep(time.Hour) // heartbeats, frames
				close(gate)
				steps.Wait()
				for i := range 8 {
					s.finish(i, build.Success)
				}
				s.end(build.Success)
			})
		})
	}
}

type writer func(p []byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

// A reader that has gone ends the display, not the build: after the first
// error nothing more is written.
func TestReaderGone(t *testing.T) {
	for _, mode := range []string{"plain", "tty", "json", "quiet", "github"} {
		t.Run(mode, func(t *testing.T) {
			r, w, err := os.Pipe()
			require.NoError(t, err)
			defer w.Close()
			require.NoError(t, r.Close())
			tries := 0
			gone := writer(func(p []byte) (int, error) {
				tries++
				n, err := w.Write(p)
				require.Error(t, err)
				return n, err
			})
			s := open(t, mode, Options{Out: gone, Results: gone}, parallelPlan(2))
			s.start(0)
			s.start(1)
			s.output(0, strings.Repeat("a line\n", 100_000))
			s.finish(0, build.Failed)
			s.finish(1, build.Success)
			s.end(build.Failed)
			require.Equal(t, 1, tries)
		})
	}
}

func TestAuto(t *testing.T) {
	size := func(cols, rows int) func() (int, int) { return func() (int, int) { return cols, rows } }
	screen := &terminalEmulator{}
	for _, test := range []struct {
		name string
		o    Options
		term string
		gh   string
		want Display
	}{
		{"terminal", Options{Out: screen, Width: size(80, 24)}, "xterm", "", &tty{}},
		{"terminal on an action's machine", Options{Out: screen, Width: size(80, 24)}, "xterm", "true", &tty{}},
		{"too narrow", Options{Out: screen, Width: size(19, 24)}, "xterm", "", &plain{}},
		{"too low", Options{Out: screen, Width: size(80, 3)}, "xterm", "", &plain{}},
		{"dumb", Options{Out: screen, Width: size(80, 24)}, "dumb", "", &plain{}},
		{"no TERM", Options{Out: screen, Width: size(80, 24)}, "", "", &plain{}},
		{"pipe", Options{Out: io.Discard}, "xterm", "", &plain{}},
		{"nothing set", Options{}, "", "", &plain{}},
		{"github", Options{Out: io.Discard}, "xterm", "true", &github{}},
		{"github in other words", Options{Out: io.Discard}, "xterm", "1", &plain{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.o.Getenv = func(name string) string {
				return map[string]string{"TERM": test.term, "GITHUB_ACTIONS": test.gh}[name]
			}
			d, err := New("auto", test.o)
			require.NoError(t, err)
			require.IsType(t, test.want, d)
		})
	}
}

func TestUnknownMode(t *testing.T) {
	for mode, near := range map[string]string{"plin": "plain", "JSON5": "json", "qiet": "quiet", "github-actions": "", "": ""} {
		_, err := New(mode, Options{})
		if near == "" {
			require.EqualError(t, err, fmt.Sprintf("unknown progress mode %q: there are auto, tty, plain, json, quiet, github", mode))
		} else {
			require.EqualError(t, err, fmt.Sprintf("unknown progress mode %q: did you mean %q? There are auto, tty, plain, json, quiet, github", mode, near))
		}
	}
}

// A terminal that is not one has the size of the oldest.
func TestSizeOfFile(t *testing.T) {
	f, err := os.Open(os.DevNull)
	require.NoError(t, err)
	defer f.Close()
	require.False(t, isTerminal(f))
	cols, rows := sizeOf(f)()
	require.Equal(t, [2]int{80, 24}, [2]int{cols, rows})
}
