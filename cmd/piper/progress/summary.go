package progress

import (
	"fmt"
	"strings"

	"github.com/piper-build/piper/runtime/build"
)

// summary is what every display but json ends with: the failures, in the
// order they happened, and the last line.
func (s *story) summary(b *build.Build) []byte {
	var w strings.Builder
	w.WriteString(s.section(b))
	fmt.Fprintf(&w, "%s\n", s.last(b))
	return []byte(w.String())
}

// section is the section of failures, "" when there is none.
func (s *story) section(b *build.Build) string {
	var w strings.Builder
	for _, f := range s.failures {
		// A retry that was cancelled while it waited has not failed after all.
		step, _ := b.Step(f.node.Name)
		if step.State != build.Failed && step.State != build.TimedOut {
			continue
		}
		w.WriteByte('\n')
		s.describe(&w, f)
	}
	if w.Len() > 0 {
		w.WriteByte('\n')
	}
	return w.String()
}

// describe writes all that helps with f: where it is, what it said last, how to
// try it again.
func (s *story) describe(w *strings.Builder, f failure) {
	head := failed.symbol() + " " + clean(f.node.Name)
	if at := place(f.node); at != "" {
		head += " (" + at + ")"
	}
	fmt.Fprintf(w, "%s %s\n", s.paint(red, head), f.text)

	log := ""
	if s.LogPath != nil {
		log = clean(s.LogPath(f.node.Name, f.attempt))
	}
	if hidden := f.lines - len(f.tail); hidden > 0 {
		fmt.Fprintf(w, "  %s\n", s.paint(dim, "… "+count(hidden)+" before these"))
	}
	for _, line := range f.tail {
		fmt.Fprintf(w, "  %s %s\n", s.paint(dim, bar), line)
	}
	if log != "" {
		fmt.Fprintf(w, "  all of it: %s\n", log)
	}
	if s.Rerun != nil {
		if again := s.Rerun(s.plan, f.node); again != "" {
			fmt.Fprintf(w, "  again:     %s\n", clean(again))
		}
	}
}

// last is the last line: how the build ended, how its nodes did, how long it
// took, and its number.
func (s *story) last(b *build.Build) string {
	var n struct{ ok, failed, skipped, allowed, cancelled, open int }
	for i := range s.plan.Nodes {
		switch step := b.Node(i); step.State {
		case build.Success:
			n.ok++
		case build.Failed, build.TimedOut:
			if step.Allowed {
				n.allowed++
			} else {
				n.failed++
			}
		case build.Skipped:
			n.skipped++
		case build.Cancelled:
			n.cancelled++
		default:
			n.open++
		}
	}
	word := upper(b.State())
	c := red
	if b.State() == build.Success {
		c = green
	}
	text := fmt.Sprintf("%s %d ok, %d failed, %d skipped", s.paint(c, "piper: "+word), n.ok, n.failed, n.skipped)
	for _, rest := range []struct {
		n    int
		what string
	}{{n.allowed, "allowed to fail"}, {n.cancelled, "cancelled"}, {n.open, "not ended"}} {
		if rest.n > 0 {
			text += fmt.Sprintf(", %d %s", rest.n, rest.what)
		}
	}
	ended := b.Ended()
	if ended.IsZero() {
		ended = s.Now()
	}
	took := ended.Sub(b.Started())
	if b.Started().IsZero() {
		took = 0
	}
	text += " in " + short(took)
	if s.Number != nil {
		if n := s.Number(); n > 0 {
			text += fmt.Sprintf(" (build %d)", n)
		}
	}
	return text
}
