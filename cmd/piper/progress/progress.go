// Package progress shows a running build.
//
// There is one stream, the events of a build and the bytes its steps write,
// and several displays of it:
//
//	plain    a line for everything, in the order it happened: for logs
//	tty      finished steps scroll up, what runs is redrawn at the bottom
//	json     the stream itself, one JSON object per line, on Results (package stream)
//	quiet    the failures and the last line
//	github   plain, with the groups and annotations of GitHub Actions
//	auto     tty on a terminal, github on GitHub Actions, else plain
//
// All but json end with the same two things, so that nobody has to scroll:
// what failed, with the last lines it wrote and the command that runs it
// again, and one line that counts.
//
// What a step writes is never trusted. Only colours survive of its escape
// sequences, and each of its lines stands behind a bar that no line of Piper's
// own has, so output cannot pass for a result.
//
// # Readers that go away
//
// A display that cannot write any more, because its reader has gone, falls
// silent; the build goes on. For that the program must have the signal
// SIGPIPE delivered to it (os/signal.Notify), as it otherwise ends the program
// on a write to a closed standard stream.
package progress

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
)

// A Display shows one build.
type Display interface {
	// Begin is called once, before the first event.
	Begin(p *plan.Plan, b *build.Build)

	// Event is called for each event in order, one at a time, once b has
	// folded it in. The build may already be a few events further.
	Event(ev build.Event, b *build.Build)

	// Output takes what an attempt wrote: raw bytes in which secrets are
	// already masked. It is called from many goroutines, for one attempt by one
	// at a time, and not after the attempt's end was told to Event. It may
	// wait for a slow reader. p is not kept.
	Output(node *plan.Node, attempt int, at time.Time, p []byte)

	// End is called once, after all else, and shows the summary.
	End(b *build.Build)
}

// Options are what a display needs to know. The zero value of each field is
// usable.
type Options struct {
	Out     io.Writer // where progress goes, usually standard error; nil drops it
	Results io.Writer // where mode json writes, usually standard output; nil drops it
	Color   bool      // whether Out shows colours

	// Width is the size of the terminal behind Out, in characters, asked for
	// at each redraw. nil asks the terminal itself.
	Width func() (cols, rows int)

	Getenv func(name string) string // the environment, for mode auto; nil is empty

	Version string                                     // of Piper
	File    string                                     // the name of the PIPER.star
	Rerun   func(p *plan.Plan, node *plan.Node) string // the command that runs only this node of p again; nil or "" is none
	LogPath func(node string, attempt int) string      // the file that has the whole output; nil or "" is none
	Number  func() int64                               // under which the build, which has ended, is recorded; nil or 0 is not
	History map[string]time.Duration                   // how long each node took in the past, to estimate the end
	Now     func() time.Time                           // nil is the real clock
}

// Modes are the names that New knows, in the order to show them.
func Modes() []string {
	return []string{"auto", "tty", "plain", "json", "quiet", "github"}
}

// New makes the display that mode names.
func New(mode string, o Options) (Display, error) {
	if o.Out == nil {
		o.Out = io.Discard
	}
	if o.Results == nil {
		o.Results = io.Discard
	}
	if o.Getenv == nil {
		o.Getenv = func(string) string { return "" }
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Width == nil {
		o.Width = sizeOf(o.Out)
	}
	if mode == "auto" {
		mode = pick(o)
	}
	switch mode {
	case "tty":
		return newTTY(o), nil
	case "plain":
		return newPlain(o), nil
	case "json":
		return newJSON(o), nil
	case "quiet":
		return newQuiet(o), nil
	case "github":
		return newGitHub(o), nil
	}
	if near, ok := plan.Nearest(mode, Modes()); ok {
		return nil, fmt.Errorf("unknown progress mode %q: did you mean %q? There are %s", mode, near, strings.Join(Modes(), ", "))
	}
	return nil, fmt.Errorf("unknown progress mode %q: there are %s", mode, strings.Join(Modes(), ", "))
}

// The smallest terminal on which a live area is of use.
const minCols, minRows = 20, 4

// pick is the mode that auto stands for.
func pick(o Options) string {
	kind := o.Getenv("TERM")
	if isTerminal(o.Out) && kind != "" && kind != "dumb" {
		if cols, rows := o.Width(); cols >= minCols && rows >= minRows {
			return "tty"
		}
	}
	if o.Getenv("GITHUB_ACTIONS") == "true" {
		return "github"
	}
	return "plain"
}

// A terminal says of itself that it is one; files are asked.
type terminal interface{ IsTerminal() bool }

func isTerminal(w io.Writer) bool {
	switch w := w.(type) {
	case terminal:
		return w.IsTerminal()
	case *os.File:
		return term.IsTerminal(int(w.Fd()))
	}
	return false
}

// sizeOf asks the terminal behind w for its size; what is none has the size of
// the oldest.
func sizeOf(w io.Writer) func() (cols, rows int) {
	return func() (int, int) {
		if f, ok := w.(*os.File); ok {
			if cols, rows, err := term.GetSize(int(f.Fd())); err == nil && cols > 0 && rows > 0 {
				return cols, rows
			}
		}
		return 80, 24
	}
}

// A suspender is a display that shares its terminal.
type suspender interface{ suspend() (resume func()) }

// Suspend has d leave the terminal to someone else, such as a prompt or a
// shell, until resume is called. The build goes on meanwhile and is shown
// afterwards. Displays that only ever add lines are not held up.
func Suspend(d Display) (resume func()) {
	if s, ok := d.(suspender); ok {
		return s.suspend()
	}
	return func() {}
}
