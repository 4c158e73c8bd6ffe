package progress

import (
	"fmt"
	"strings"
	"time"

	"github.com/mattn/go-runewidth"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
)

// maxNamePad is how wide the column of names gets at most. Longer names are
// shown whole and stand out of it.
const maxNamePad = 30

// maxFailures is how many failures keep their last lines for the summary. The
// others are listed without.
const maxFailures = 100

// widths measures text. It asks no locale, so that a build looks the same
// everywhere.
var widths = runewidth.Condition{StrictEmojiNeutral: true}

// A story is what every display tells: it folds events into notes, keeps what
// runs, and remembers what failed. It belongs to the goroutine of Event, but
// for its attempts.
type story struct {
	Options
	plan *plan.Plan
	attempts
	pad      int
	failures []failure
}

// A note is a line of Piper's own.
type note struct {
	sign    sign
	node    *plan.Node // nil when it is about the build
	text    string
	attempt *attempt // that started or ended
	ended   bool     // the attempt has, and must be given to done
	failure bool     // the node has failed, allowed or not
	more    []string // what else there is to say why
}

// A failure is a node that failed.
type failure struct {
	node    *plan.Node
	attempt int
	text    string
	tail    []string // its last lines
	lines   int      // how many it wrote
}

func (s *story) begin(p *plan.Plan) {
	s.plan = p
	for i := range p.Nodes {
		s.pad = max(s.pad, widths.StringWidth(clean(p.Nodes[i].Name)))
	}
	s.pad = min(s.pad, maxNamePad)
}

// header is the first line.
func (s *story) header() string {
	return s.paint(bold, fmt.Sprintf("piper %s %s pipeline=%s steps=%d",
		clean(s.Version), clean(s.File), clean(s.plan.Pipeline), len(s.plan.Nodes)))
}

// name is a node's name, or Piper's own, padded so that what follows stands in
// a column.
func (s *story) name(node *plan.Node) string {
	name := "piper"
	if node != nil {
		name = clean(node.Name)
	}
	return name + strings.Repeat(" ", max(0, s.pad-widths.StringWidth(name)))
}

// tell folds ev in. The note is what to say about it; ok is false when there
// is nothing to say.
func (s *story) tell(ev build.Event, b *build.Build) (n note, ok bool) {
	switch ev.Kind {
	case build.CancelRequested:
		return note{sign: skipped, text: s.stopping("cancelling", ev)}, true
	case build.DeadlinePassed:
		return note{sign: failed, text: s.stopping("out of time", ev)}, true
	case build.BuildEnded:
		// What failed and who cancelled was said before.
		said := len(s.failures) > 0 || ev.State == build.Success || ev.State == build.Cancelled || ev.State == build.TimedOut
		return note{sign: failed, text: clean(ev.Reason)}, ev.Reason != "" && !said
	case build.BuildStarted:
		return n, false
	}

	if ev.Expansion != nil {
		s.plan = b.Plan() // which has grown; b may be further, and it more
	}
	i, found := b.Lookup(ev.Node)
	if !found {
		return n, false
	}
	n.node = &s.plan.Nodes[i]
	switch ev.Kind {
	case build.AttemptStarted:
		n.attempt = s.of(n.node, ev.Attempt, ev.Time)
		n.attempt.mu.Lock()
		n.attempt.began = ev.Time
		n.attempt.mu.Unlock()
		n.sign, n.text = s.starting(n.node, ev.Attempt)
	case build.NodeReady:
		a := s.of(n.node, ev.Attempt, ev.Time)
		a.mu.Lock()
		n.sign, n.text = passed, "ready after "+short(ev.Time.Sub(a.began))
		a.mu.Unlock()
	case build.NodeTriggered:
		n.sign, n.text = started, "triggered build "+clean(string(ev.Child))
	case build.NodeSkipped:
		n.sign, n.text = skipped, "skipped"
		switch {
		case ev.State == build.Cancelled && b.Node(i).Attempt > 0: // it was to be tried again
			n.text = "cancelled"
		case ev.State == build.Cancelled:
			n.text = "cancelled before it ran"
		}
		if why := strings.TrimPrefix(ev.Reason, "cancelled: "); why != "" { // that much was said
			n.text += ": " + clean(why)
		}
	case build.AttemptEnded:
		n.attempt, n.ended = s.of(n.node, ev.Attempt, ev.Time), true
		if n.node.Expand() != nil {
			ev.Reason, n.more = firstOf(ev.Reason)
		}
		n.sign, n.text = outcome(n.node, ev, ev.Time.Sub(n.attempt.began), again(n.node, ev, b.Node(i)))
		n.failure = n.sign == failed || n.sign == allowed
	default:
		return n, false // of a newer Piper
	}
	return n, true
}

// starting says that an attempt of node begins.
func (s *story) starting(node *plan.Node, attempt int) (sign, string) {
	switch {
	case node.Approve() != nil:
		text := "waiting for approval"
		if node.Approve().Prompt != "" {
			text += ": " + clean(node.Approve().Prompt)
		}
		return asking, text
	case node.Trigger() != nil:
		text := "triggering " + clean(node.Trigger().Pipeline)
		if node.Trigger().Project != "" {
			text += " of " + clean(node.Trigger().Project)
		}
		return started, text
	case node.Expand() != nil:
		return started, "looking for more steps"
	case node.IsService():
		return started, "starting"
	case attempt > 1:
		return started, fmt.Sprintf("started, attempt %d of %d", attempt, attemptsOf(node))
	}
	return started, "started"
}

// again says that another attempt follows the one that ev ended; "" when none
// does. step is where the node stands by now.
func again(node *plan.Node, ev build.Event, step build.Step) string {
	next := fmt.Sprintf("attempt %d of %d", ev.Attempt+1, attemptsOf(node))
	switch {
	case step.Attempt > ev.Attempt:
		return next + " follows"
	case step.State == build.Waiting && step.NotBefore.After(ev.Time):
		return next + " in " + short(step.NotBefore.Sub(ev.Time))
	case step.State == build.Waiting:
		return next + " follows"
	}
	return ""
}

// stopping says that the build is asked to end, and what still runs.
func (s *story) stopping(verb string, ev build.Event) string {
	if ev.Force {
		verb = "killing"
	}
	text := verb + by(ev.By)
	if ev.Reason != "" {
		text += ": " + clean(ev.Reason)
	}
	const shown = 8
	running := s.all()
	names := make([]string, 0, shown)
	for _, a := range running[:min(len(running), shown)] {
		names = append(names, clean(a.node.Name))
	}
	switch more := len(running) - len(names); {
	case len(names) == 0:
		return text + "; nothing runs"
	case more > 0:
		return fmt.Sprintf("%s; %s and %d more still run", text, strings.Join(names, ", "), more)
	case len(names) == 1:
		return fmt.Sprintf("%s; %s still runs", text, names[0])
	default:
		return fmt.Sprintf("%s; %s still run", text, strings.Join(names, ", "))
	}
}

// done forgets the attempt of n, which has ended, and keeps of it what the
// summary needs.
func (s *story) done(n note) {
	a := n.attempt
	a.mu.Lock()
	defer a.mu.Unlock()
	a.finish(s.Color)
	a.ended = true
	if n.sign == failed {
		f := failure{node: n.node, attempt: a.n, text: n.text, lines: a.tail.n}
		if len(s.failures) < maxFailures {
			f.tail = append(texts(a.tail.last(tailSize)), n.more...)
			f.lines += len(n.more)
		}
		s.failures = append(s.failures, f)
	}
	s.end(a)
}

// firstOf parts a reason into its first line and the others: what is wrong in a
// PIPER.star is shown with its place.
func firstOf(reason string) (first string, rest []string) {
	first, more, _ := strings.Cut(strings.TrimRight(reason, "\n"), "\n")
	for line := range strings.Lines(more) {
		rest = append(rest, clean(strings.TrimSuffix(line, "\n")))
	}
	return first, rest
}

func texts(lines [][]byte) []string {
	texts := make([]string, len(lines))
	for i, line := range lines {
		texts[i] = string(line)
	}
	return texts
}

// firstBeat is how long a step may be silent before a line says that it still
// runs. The next such lines come after twice, four times that, and so on, but
// no later than lastBeat.
const firstBeat, lastBeat = 30 * time.Second, 5 * time.Minute

// beats calls beat for each attempt that has been silent for too long, until
// stop is closed. beat has the attempt's lock.
func (s *story) beats(stop <-chan struct{}, beat func(a *attempt, silent time.Duration)) {
	next := firstBeat
	for {
		timer := time.NewTimer(next)
		select {
		case <-stop:
			timer.Stop()
			return
		case <-timer.C:
		}
		now := s.Now()
		next = firstBeat
		for _, a := range s.all() {
			a.mu.Lock()
			if a.ended {
				a.mu.Unlock()
				continue
			}
			silent := now.Sub(a.heard)
			if silent >= a.wait {
				beat(a, silent)
				a.wait = min(2*a.wait, lastBeat)
				a.heard = now
				silent = 0
			}
			next = min(next, a.wait-silent)
			a.mu.Unlock()
		}
	}
}
