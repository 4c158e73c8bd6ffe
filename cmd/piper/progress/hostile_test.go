package progress

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/creack/pty"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
)

// Whatever a step prints, each line of it stands behind its name and a bar,
// and no control character is left but SGR where colours are shown.
func TestHostilePlain(t *testing.T) {
	ours := regexp.MustCompile(`^(step-000 [▶✗] |  […│] |✗ step-000 |piper|$)`)
	theirs := regexp.MustCompile(`^step-000 [│┆] `)
	sgr := regexp.MustCompile(`\x1b\[[0-9;]*m`)
	control := regexp.MustCompile(`[\x00-\x08\x0b-\x1f\x7f\x{80}-\x{9f}\x{202a}-\x{202e}]`)
	rapid.Check(t, func(rt *rapid.T) {
		var out bytes.Buffer
		color := rapid.Bool().Draw(rt, "color")
		s := open(t, "plain", Options{Out: &out, Color: color}, parallelPlan(1))
		s.start(0)
		for _, text := range rapid.SliceOf(hostile()).Draw(rt, "output") {
			s.output(0, text)
		}
		s.finish(0, build.Failed)
		s.end(build.Failed)

		text := out.String()
		if color {
			text = sgr.ReplaceAllString(text, "")
		}
		for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
			require.NotRegexp(rt, control, line)
			if !theirs.MatchString(line) {
				require.Regexp(rt, ours, line, "line %d", i+1)
			}
		}
		require.Equal(rt, 1, strings.Count(text, "\nstep-000 ✗ "))
	})
}

// A runner obeys the commands of a log as GitHub's does.
type runner struct {
	token  string // that starts commands again; "" when they are on
	obeyed []string
}

func (r *runner) read(log string) {
	for line := range strings.Lines(log) {
		line = strings.TrimSpace(line)
		switch {
		case r.token != "":
			if line == "::"+r.token+"::" {
				r.token = ""
			}
		case strings.HasPrefix(line, "::stop-commands::"):
			r.token = strings.TrimPrefix(line, "::stop-commands::")
		case strings.HasPrefix(line, "::"):
			command, _, _ := strings.Cut(strings.TrimPrefix(line, "::"), "::")
			command, _, _ = strings.Cut(command, " ")
			r.obeyed = append(r.obeyed, command)
		case strings.Contains(line, "##["):
			r.obeyed = append(r.obeyed, line)
		}
	}
}

// No command of a step is obeyed, in whatever part of a line, and each of
// Piper's own is.
func TestHostileGitHub(t *testing.T) {
	commands := rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOf(rapid.SampledFrom([]string{
			"::error::x", "::set-env name=PATH::x", "##[add-path]x", "::stop-commands::TOKEN", "::TOKEN::", "::endgroup::", "::group::x",
			"\n", "\n", "\r", " ", "\t", "\x1b[1m", "\x1b]0;", "\a", "\u2028", "\v", "text",
		})).Draw(t, "commands"), "")
	})
	rapid.Check(t, func(rt *rapid.T) {
		var out bytes.Buffer
		s := open(t, "github", Options{Out: &out, Color: rapid.Bool().Draw(rt, "color")}, parallelPlan(2))
		token := s.d.(*github).token
		s.d.(*github).token = "a secret that takes longer to guess"
		s.start(0)
		s.start(1)
		s.output(0, commands.Draw(rt, "first")+"\n.\n")
		s.output(1, commands.Draw(rt, "second"))
		s.finish(0, build.Success)
		s.finish(1, build.Failed)
		s.end(build.Failed)

		require.Equal(rt, "TOKEN", token)
		var r runner
		r.read(out.String())
		require.Empty(rt, r.token)
		require.Equal(rt, []string{"group", "endgroup", "error"}, r.obeyed, "%s", out.String())
	})
}

// The check above can fail: a runner does obey what is not quoted.
func TestRunner(t *testing.T) {
	var r runner
	r.read("  ::error file=x::y\na ##[group]\n::stop-commands::t\n::error::\n::u::\n::t::\n::warning::z\n")
	require.Equal(t, []string{"error", "a ##[group]", "warning"}, r.obeyed)
}

// Names, reasons, prompts and whatever else Piper says itself are as inert as
// output.
func TestHostileNames(t *testing.T) {
	evil := "\x1b[2J\r\n::error::x\u202e"
	for _, mode := range []string{"plain", "tty", "quiet", "github"} {
		t.Run(mode, func(t *testing.T) {
			p := parallelPlan(2)
			p.Pipeline = evil
			p.Nodes[0].Name, p.Nodes[0].Pos.File = "step"+evil, evil
			p.Nodes[1].Own().AllowFailure = evil
			screen := &terminalEmulator{cols: 80, rows: 24}
			var out bytes.Buffer
			o := Options{Out: &out, Version: evil, File: evil, Width: func() (int, int) { return 80, 24 },
				Rerun:   func(*plan.Plan, *plan.Node) string { return evil },
				LogPath: func(string, int) string { return evil },
			}
			if mode == "tty" {
				o.Out = screen
			}
			s := open(t, mode, o, p)
			s.start(0)
			s.start(1)
			s.event(build.Event{Kind: build.CancelRequested, Reason: evil, By: evil})
			s.event(build.Event{Kind: build.AttemptEnded, Node: p.Nodes[0].Name, Attempt: 1, State: build.Failed, Reason: evil, Signal: evil})
			s.event(build.Event{Kind: build.AttemptEnded, Node: p.Nodes[1].Name, Attempt: 1, State: build.Failed, Reason: evil})
			s.event(build.Event{Kind: build.BuildEnded, State: build.Cancelled, Reason: evil})
			s.d.End(s.b)
			require.NotContains(t, out.String(), "\x1b")
			require.NotContains(t, out.String(), "\r")
			require.NotContains(t, out.String(), "\u202e")
			var r runner
			r.read(out.String())
			r.obeyed = slices.DeleteFunc(r.obeyed, func(c string) bool { return mode == "github" && (c == "error" || c == "warning") })
			require.Empty(t, r.obeyed)
		})
	}
}

// On a real terminal, auto is tty and knows the size.
func TestRealTerminal(t *testing.T) {
	master, slave, err := pty.Open()
	if err != nil {
		t.Skipf("no terminal can be had here: %v", err)
	}
	defer master.Close()
	defer slave.Close()
	require.NoError(t, pty.Setsize(slave, &pty.Winsize{Cols: 33, Rows: 11}))
	d, err := New("auto", Options{Out: slave, Getenv: func(string) string { return "xterm" }})
	require.NoError(t, err)
	require.IsType(t, &tty{}, d)
	cols, rows := d.(*tty).Width()
	require.Equal(t, [2]int{33, 11}, [2]int{cols, rows})
}

// A color never stands for itself: without colours the text is the same.
func TestColorAddsNothing(t *testing.T) {
	sgr := regexp.MustCompile(`\x1b\[[0-9;]*m`)
	for _, mode := range []string{"plain", "tty", "quiet", "github"} {
		file := fmt.Sprintf("testdata/release.%s", mode)
		plain, err := os.ReadFile(file)
		require.NoError(t, err)
		color, err := os.ReadFile(file + ".color")
		require.NoError(t, err)
		require.Equal(t, string(plain), sgr.ReplaceAllString(string(color), ""))
	}
}
