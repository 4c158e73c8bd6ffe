package progress

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mattn/go-runewidth"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/piper-build/piper/runtime/build"
)

// Whatever runs, ends, is printed or resized, on a terminal that wraps lines
// anew and on one that does not: every line about a step that ended stands in
// the terminal exactly once, in order, nothing but SGR reaches it, the live
// area fits and leaves nothing behind, and the cursor is visible between frames.
func TestScrollback(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		screen := &terminalEmulator{
			cols:   rapid.IntRange(20, 100).Draw(t, "cols"),
			rows:   rapid.IntRange(4, 30).Draw(t, "rows"),
			reflow: rapid.Bool().Draw(t, "reflow"),
			widths: runewidth.Condition{EastAsianWidth: rapid.Bool().Draw(t, "wide")},
		}
		now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
		p := parallelPlan(rapid.IntRange(1, 40).Draw(t, "steps"))
		d := newTTY(Options{
			Out:   screen,
			Color: rapid.Bool().Draw(t, "color"),
			Width: func() (int, int) { return screen.cols, screen.rows },
			Now:   func() time.Time { return now },
		})
		b := build.New(p)
		seq := int64(0)
		event := func(ev build.Event) {
			seq++
			ev.Seq, ev.Time = seq, now
			require.NoError(t, b.Apply(ev))
			d.Event(ev, b)
		}
		frame := func() {
			d.paintFrame()
			require.False(t, screen.hidden)
			require.LessOrEqual(t, len(d.screen.live)+1, max(d.screen.rows, 2))
			for _, line := range d.screen.live {
				require.Less(t, columns(uncolored(line)), d.screen.cols, "%q", line)
			}
		}

		d.open(p)
		event(build.Event{Kind: build.BuildStarted})
		next := 0
		resized := rapid.Bool().Draw(t, "resized")
		var running []int
		var want []string
		end := func(i int) {
			i = running[i]
			running = slices.DeleteFunc(running, func(j int) bool { return i == j })
			ev := build.Event{Kind: build.AttemptEnded, Node: p.Nodes[i].Name, Attempt: 1, State: build.Success}
			sign := "✓"
			if rapid.IntRange(0, 3).Draw(t, "fails") == 0 {
				one := 1
				ev.State, ev.Exit, sign = build.Failed, &one, "✗"
			}
			event(ev)
			want = append(want, sign+" "+ev.Node)
		}
		t.Repeat(map[string]func(*rapid.T){
			"": func(*rapid.T) {},
			"start": func(t *rapid.T) {
				if next == len(p.Nodes) {
					t.Skip("all have started")
				}
				event(build.Event{Kind: build.AttemptStarted, Node: p.Nodes[next].Name, Attempt: 1})
				running = append(running, next)
				next++
			},
			"end": func(t *rapid.T) {
				if len(running) == 0 {
					t.Skip("nothing runs")
				}
				end(rapid.IntRange(0, len(running)-1).Draw(t, "which"))
			},
			"output": func(t *rapid.T) {
				if len(running) == 0 {
					t.Skip("nothing runs")
				}
				i := rapid.SampledFrom(running).Draw(t, "who")
				d.Output(&p.Nodes[i], 1, now, []byte(hostile().Draw(t, "output")))
			},
			"wait": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.IntRange(1, 5000).Draw(t, "ms")) * time.Millisecond)
				frame()
			},
			"resize": func(t *rapid.T) {
				if !resized {
					t.Skip("the size holds")
				}
				screen.resize(rapid.IntRange(20, 100).Draw(t, "cols"), rapid.IntRange(4, 30).Draw(t, "rows"))
				frame()
			},
		})
		for len(running) > 0 {
			end(0)
		}
		d.close(b)

		text := screen.text()
		var got []string
		for _, m := range regexp.MustCompile(`(?m)([✓✗] step-\d\d\d) (ok|failed) in`).FindAllStringSubmatch(text, -1) {
			got = append(got, m[1])
		}
		require.Equal(t, want, got, "%s", text)
		require.Equal(t, 1, strings.Count(text, "piper: "), "%s", text)
		if !resized {
			require.NotContains(t, text, "▶", "nothing is left of the live area")
		}
	})
}

func columns(text string) (n int) {
	for _, r := range text {
		n += widths.RuneWidth(r)
	}
	return n
}

// hostile is what steps may print: text, wide characters, broken UTF-8, and
// everything that moves a cursor or talks to a terminal.
func hostile() *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		pieces := rapid.SliceOfN(rapid.SampledFrom([]string{
			"text", "\n", "\n", "\r", "\r\n", "\t", "日本語", "é", "e\u0301", "👩‍👩‍👧", "\u202e", "\xff\xfe", "\xe6\x97", "\x00", "\a", "\b\b", "\x7f",
			"\x1b[31m", "\x1b[0m", "\x1b[2J", "\x1b[H", "\x1b[999999999C", "\x1b[5A", "\x1b[?1049h", "\x1b]0;title\a", "\x1b]52;c;AAAA\x1b\\", "\x1b]8;;javascript:x\a",
			"\x1bP1;1q", "\x1bc", "\x1b7", "\x1b", "\x1b[", "\u009b2J", "\x9b5A", "\x1b[38;5;1", "\x1b[?25l",
			"step-000 ok in 1s", strings.Repeat("long ", 400), strings.Repeat("│", 300),
		}), 0, 12).Draw(t, "pieces")
		return strings.Join(pieces, "")
	})
}

// With more steps than rows, the longest-running ones are shown and the others
// counted.
func TestMoreStepsThanRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		screen := &terminalEmulator{cols: 40, rows: 8}
		s := open(t, "tty", Options{Out: screen, Width: func() (int, int) { return 40, 8 }}, parallelPlan(30))
		for i := range 30 {
			s.start(i)
			time.Sleep(10 * time.Second)
		}
		synctest.Wait()
		require.Equal(t, `piper   pipeline=build steps=30
▶ step-000 5:00
▶ step-001 4:50
▶ step-002 4:40
▶ step-003 4:30
  … and 26 more
0/30 done, 30 running, 5:00
`, screen.text())
		for i := range 30 {
			s.finish(i, build.Success)
		}
		s.end(build.Success)
	})
}

// At most ten frames a second are drawn however much is written, and none when
// there is nothing new to see.
func TestFrameRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		screen := &terminalEmulator{cols: 80, rows: 24}
		s := open(t, "tty", Options{Out: screen, Width: func() (int, int) { return 80, 24 }}, parallelPlan(1))
		s.start(0)
		time.Sleep(time.Second)
		synctest.Wait()
		screen.counted()
		for i := range 10_000 {
			s.output(0, fmt.Sprintf("line %d\n", i))
			time.Sleep(time.Millisecond)
		}
		frames := screen.counted()
		require.LessOrEqual(t, frames, 101)
		require.Greater(t, frames, 50)
		time.Sleep(time.Second)
		screen.counted()
		time.Sleep(10 * time.Second)
		require.LessOrEqual(t, screen.counted(), 11, "only the clock moves")
		s.finish(0, build.Success)
		s.end(build.Success)
	})
}

// Between suspend and resume the terminal is someone else's.
func TestSuspend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		screen := &terminalEmulator{cols: 80, rows: 24}
		s := open(t, "tty", Options{Out: screen, Width: func() (int, int) { return 80, 24 }}, parallelPlan(2))
		s.start(0)
		s.start(1)
		time.Sleep(time.Second)
		resume := Suspend(s.d)
		require.Equal(t, "piper   pipeline=build steps=2\n", screen.text(), "the live area is gone")
		fmt.Fprint(screen, "$ make\r\nok\r\n")
		screen.counted()
		s.finish(0, build.Success)
		time.Sleep(time.Minute)
		require.Zero(t, screen.counted())
		again := Suspend(s.d)
		resume()
		time.Sleep(time.Second)
		require.Zero(t, screen.counted(), "someone else still has it")
		again()
		time.Sleep(time.Second)
		synctest.Wait()
		require.Equal(t, `piper   pipeline=build steps=2
$ make
ok
✓ step-000 ok in 1s
▶ step-001 1:03
1/2 done, 1 running, 1:03
`, screen.text())
		s.finish(1, build.Success)
		s.end(build.Success)
	})
	Suspend(newPlain(Options{}))() // others need not make way
}

// A build that ends while the terminal is lent out still shows its summary.
func TestEndWhileSuspended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		screen := &terminalEmulator{cols: 80, rows: 24}
		s := open(t, "tty", Options{Out: screen, Width: func() (int, int) { return 80, 24 }}, parallelPlan(1))
		s.start(0)
		Suspend(s.d)
		s.finish(0, build.Success)
		s.end(build.Success)
		require.Equal(t, "piper   pipeline=build steps=1\n✓ step-000 ok in 0s\npiper: OK 1 ok, 0 failed, 0 skipped in 0s\n", screen.text())
	})
}

func TestStatusLine(t *testing.T) {
	s := status{total: 40, done: 12, running: 3, failed: 1}
	now := s.began.Add(130 * time.Second)
	for cols, want := range map[int]string{
		80: "12/40 done, 3 running, 1 failed, 2:10 (eta 0:50)",
		47: "12/40 done, 3 running, 1 failed, 2:10",
		30: "12/40 done, 1 failed, 2:10",
		20: "12/40, 1 failed 2:10",
		19: "12/40 2:10",
		8:  "12/40 2…",
	} {
		require.Equal(t, want, s.line(50*time.Second, true, now, cols), "%d columns", cols)
	}
	s.ending = "cancelling (Ctrl-C kills)"
	require.Equal(t, "cancelling (Ctrl-C kills), 12/40 done, 3 running, 1 failed, 2:10", s.line(0, false, now, 80))
}

// A terminal whose window is being pulled at is left alone until its size
// holds.
func TestSettled(t *testing.T) {
	var s screen
	for _, step := range []struct {
		cols int
		want bool
	}{{80, true}, {80, true}, {79, false}, {70, false}, {70, true}, {80, false}, {80, true}} {
		require.Equal(t, step.want, s.settled(step.cols, 24), "%+v", step)
	}
}
