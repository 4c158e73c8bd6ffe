package progress

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
)

// A sign is what a line of Piper's own begins with. Each has a symbol and a
// colour, and a word always stands beside it.
type sign int

const (
	started sign = iota
	passed
	failed
	allowed
	retried
	skipped
	asking
	alive
)

func (s sign) symbol() string {
	switch s {
	case started:
		return "▶"
	case passed:
		return "✓"
	case failed:
		return "✗"
	case allowed:
		return "!"
	case retried:
		return "↻"
	case skipped:
		return "-"
	case asking:
		return "?"
	}
	return "…"
}

func (s sign) color() color {
	switch s {
	case passed:
		return green
	case failed:
		return red
	case allowed, retried, asking:
		return yellow
	}
	return dim
}

// A color is the parameter of an SGR sequence.
type color string

const (
	bold   color = "1"
	dim    color = "2"
	red    color = "31"
	green  color = "32"
	yellow color = "33"
)

// paint is text in a color, where colours are shown.
func (o *Options) paint(c color, text string) string {
	if !o.Color || text == "" {
		return text
	}
	return "\x1b[" + string(c) + "m" + text + "\x1b[0m"
}

// outcome says how an attempt of node that took the time d ended. again is
// what happened to the node afterwards, when that is another attempt.
func outcome(node *plan.Node, ev build.Event, d time.Duration, again string) (sign, string) {
	var verb string
	mark := failed
	switch ev.State {
	case build.Success:
		mark, verb = passed, "ok in "+short(d)
		switch {
		case node.Approve() != nil:
			verb = "approved" + by(ev.By) + " after " + short(d)
		case node.Expand() != nil && ev.Expansion == nil:
			verb = "found nothing in " + short(d)
		case node.Expand() != nil:
			verb = "found " + found(ev.Expansion) + " in " + short(d)
		case node.IsService():
			verb = "stopped after " + short(d)
			ev.Exit, ev.Signal = nil, "" // it was asked to end
		}
	case build.TimedOut:
		verb = "timed out after " + short(d)
	case build.Cancelled:
		mark, verb = skipped, "cancelled after "+short(d)
	default:
		verb = "failed in " + short(d)
		if node.Approve() != nil {
			verb = "refused" + by(ev.By) + " after " + short(d)
		}
	}
	text, why := verb, cause(ev)
	switch {
	case ev.State == build.TimedOut && ev.Reason != "":
		text = clean(ev.Reason) // it says after what time, and the signal was ours
	case why != "":
		text += ": " + why
	}
	if mark != failed {
		return mark, text
	}
	switch {
	case again != "":
		return retried, text + "; " + again
	case node.AllowFailure() != "":
		return allowed, text + " (allowed: " + clean(node.AllowFailure()) + ")"
	}
	if max := attemptsOf(node); max > 1 {
		text += fmt.Sprintf(" (attempt %d of %d)", ev.Attempt, max)
	}
	return failed, text
}

// found says how much an expand found.
func found(x *plan.Expansion) string {
	if len(x.Nodes) == 1 {
		return "1 step"
	}
	return count(len(x.Nodes)) + " steps"
}

// cause says in words what ended an attempt; "" when its state says it all.
func cause(ev build.Event) string {
	var parts []string
	if ev.Infra {
		parts = append(parts, "the machine failed")
	}
	switch {
	case ev.Exit != nil && *ev.Exit != 0:
		parts = append(parts, "exit "+strconv.Itoa(*ev.Exit))
	case ev.Signal != "":
		parts = append(parts, "signal "+clean(ev.Signal))
	}
	if ev.Reason != "" {
		parts = append(parts, clean(ev.Reason))
	}
	return strings.Join(parts, ": ")
}

func by(who string) string {
	if who == "" {
		return ""
	}
	return " by " + clean(who)
}

// attemptsOf is how often node is tried at most.
func attemptsOf(node *plan.Node) int {
	if node.Step == nil || node.Step.Retry == nil {
		return 1
	}
	return node.Step.Retry.Attempts
}

// place is where node was defined, "" when nobody knows.
func place(node *plan.Node) string {
	if node.Pos.File == "" {
		return ""
	}
	return clean(node.Pos.File) + ":" + strconv.Itoa(int(node.Pos.Line))
}

// upper is the word for a build's state on the last line.
func upper(s build.State) string {
	switch s {
	case build.Success:
		return "OK"
	case build.Failed:
		return "FAILED"
	case build.Cancelled:
		return "CANCELLED"
	case build.TimedOut:
		return "TIMED OUT"
	case build.Lost:
		return "LOST"
	case build.Rejected:
		return "REJECTED"
	}
	return "UNFINISHED"
}

// short is a duration as precise as anyone reads it: 85ms, 1.2s, 2m10s.
func short(d time.Duration) string {
	switch {
	case d < 0:
		d = 0
	case d < time.Second:
		d = d.Round(time.Millisecond)
	case d < time.Minute:
		d = d.Round(100 * time.Millisecond)
	default:
		d = d.Round(time.Second)
	}
	return d.String()
}

// clock is a duration as a clock shows it: 0:07, 2:10, 1:00:00.
func clock(d time.Duration) string {
	s := int(max(d, 0) / time.Second)
	if s < 3600 {
		return fmt.Sprintf("%d:%02d", s/60, s%60)
	}
	return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
}

// count is a number with its thousands apart: 1,234.
func count(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// clean is s on one line, with everything that a terminal would obey or hide
// written out. It is for names and reasons; what steps write goes through
// appendClean.
func clean(s string) string {
	if isPlain(s) {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == unicode.ReplacementChar && s[i] != "\uFFFD"[0]:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == '\n', r == '\t':
			b.WriteByte(' ')
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			q := strconv.QuoteRuneToASCII(r)
			b.WriteString(q[1 : len(q)-1])
		}
	}
	return b.String()
}

// isPlain reports whether s is printable ASCII.
func isPlain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// stillRuns is the sign of life of a silent attempt.
func stillRuns(a *attempt, now time.Time, more string) note {
	verb := "still running"
	if a.node.Approve() != nil {
		verb = "still waiting for approval"
	}
	return note{sign: alive, node: a.node, text: verb + ", " + seconds(now.Sub(a.began)) + " so far" + more}
}

// seconds is a duration without fractions of a second.
func seconds(d time.Duration) string { return d.Round(time.Second).String() }
