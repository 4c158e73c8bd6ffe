package progress

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
)

// maxLive is how many of its last lines a running step shows at most.
const maxLive = 4

// A status is how far a build is.
type status struct {
	total, done, running, failed int
	began                        time.Time
	ending                       string // "cancelling", "killing"; "" while all is well
}

func (s *status) fold(ev build.Event, n note) {
	switch ev.Kind {
	case build.AttemptStarted:
		s.running++
	case build.AttemptEnded:
		s.running--
		if n.sign != retried {
			s.done++
		}
		if n.sign == failed {
			s.failed++
		}
	case build.NodeSkipped:
		s.done++
	case build.CancelRequested:
		s.ending = "cancelling (Ctrl-C kills)"
		if ev.Force {
			s.ending = "killing"
		}
	case build.DeadlinePassed:
		s.ending = "out of time"
	}
}

// live is the live area: what runs, the longest-running first and the services
// last, and the status at its foot.
func (d *tty) live(running []*attempt, st status, left time.Duration, known bool, now time.Time, cols, rows int) []string {
	cols = max(cols-1, 1)      // a full line would wrap
	room := max(rows-2, 1) - 1 // for what runs: the cursor and the status have a line each, and one stays for what scrolls
	slices.SortStableFunc(running, func(a, b *attempt) int { return cmp.Compare(behind(a.node), behind(b.node)) })
	shown := running
	if len(running) > room {
		shown = running[:max(room-1, 0)] // one for the rest
	}
	each := 0
	if len(shown) > 0 {
		each = min((room-len(shown))/len(shown), maxLive)
	}

	var lines []string
	for _, a := range shown {
		lines = append(lines, d.running(a, each, now, cols)...)
	}
	if rest := len(running) - len(shown); rest > 0 && room > 0 {
		lines = append(lines, fit(fmt.Sprintf("  … and %d more", rest), cols))
	}
	return append(lines, d.paint(bold, st.line(left, known, now, cols)))
}

// behind is 1 for what is shown after the others.
func behind(node *plan.Node) int {
	if node.IsService() {
		return 1
	}
	return 0
}

// running is a running attempt: its name and time, and below them at most n of
// its last lines.
func (d *tty) running(a *attempt, n int, now time.Time, cols int) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	took := " " + clock(now.Sub(a.began))
	name := fit(clean(a.node.Name), max(cols-2-len(took), 1))
	if pad := min(d.pad, cols-2-len(took)) - widths.StringWidth(name); pad > 0 {
		name += strings.Repeat(" ", pad)
	}
	head := fit(started.symbol()+" "+name+took, cols)
	if a.node.Approve() != nil {
		sign, asked := d.starting(a.node, a.n)
		head = d.paint(sign.color(), fit(sign.symbol()+" "+name+took+"  "+asked, cols))
	}
	lines := []string{head}

	if n == 0 {
		return lines
	}
	last := texts(a.tail.last(n))
	if len(a.lines.part) > 0 {
		last = append(last, string(appendClean(nil, a.lines.part, false)))
		last = last[max(0, len(last)-n):]
	}
	for _, line := range last {
		lines = append(lines, d.paint(dim, fit("    "+strings.ReplaceAll(uncolored(line), "\t", "    "), cols)))
	}
	return lines
}

// line is the status in at most cols columns: what matters least goes first.
func (s *status) line(left time.Duration, known bool, now time.Time, cols int) string {
	took := clock(now.Sub(s.began))
	done := fmt.Sprintf("%d/%d done", s.done, s.total)
	var ending, failed, eta string
	if s.ending != "" {
		ending = s.ending + ", "
	}
	if s.failed > 0 {
		failed = fmt.Sprintf(", %d failed", s.failed)
	}
	if known {
		eta = fmt.Sprintf(" (eta %s)", clock(left))
	}
	running := fmt.Sprintf(", %d running", s.running)
	for _, line := range []string{
		ending + done + running + failed + ", " + took + eta,
		ending + done + running + failed + ", " + took,
		ending + done + failed + ", " + took,
		done + failed + ", " + took,
		fmt.Sprintf("%d/%d", s.done, s.total) + failed + " " + took,
	} {
		if len(line) <= cols {
			return line
		}
	}
	return fit(fmt.Sprintf("%d/%d %s", s.done, s.total, took), cols)
}

// fit cuts text to at most cols columns. Characters are counted one by one,
// as terminals do not agree on what a cluster of them takes: that is never too
// little.
func fit(text string, cols int) string {
	if isPlain(text) && len(text) <= cols {
		return text
	}
	used, cut := 0, 0 // cut is where an ellipsis still fits
	for i := 0; i < len(text); {
		r, n := utf8.DecodeRuneInString(text[i:])
		i += n
		used += widths.RuneWidth(r)
		if used > cols {
			return text[:cut] + "…"
		}
		if used < cols {
			cut = i
		}
	}
	return text
}
