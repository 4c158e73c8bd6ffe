package progress

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
)

// maxGroup is how many bytes of a running attempt's output are held. Past it
// they are shown as a group of their own.
const maxGroup = 256 << 10

// A github display writes the log of a GitHub Actions job: what passed is
// folded into groups, failures stand open and are annotated where their step
// is defined. A group cannot be left and come back to, so what an attempt
// writes is held until it ends, or until it is too much to hold.
//
// The runner obeys commands that it finds in the log. Those of a step are none
// of its business: between a line that stops commands and one that has a
// token nobody can guess, it obeys nothing.
type github struct {
	story
	out   out
	token string
	stop  chan struct{}
	beats sync.WaitGroup
}

func newGitHub(o Options) *github {
	return &github{story: story{Options: o}, out: out{w: o.Out}, token: rand.Text(), stop: make(chan struct{})}
}

func (d *github) Begin(p *plan.Plan, _ *build.Build) {
	d.begin(p)
	d.out.write([]byte(inert(d.header()) + "\n"))
	d.beats.Go(func() { d.story.beats(d.stop, d.beat) })
}

func (d *github) Event(ev build.Event, b *build.Build) {
	n, ok := d.tell(ev, b)
	if !ok || ev.Kind == build.AttemptStarted && n.node.Approve() == nil {
		return
	}
	if !n.ended {
		d.out.write([]byte(d.say(n) + "\n"))
		return
	}
	held := d.rest(n.attempt)
	title := d.say(n)
	if n.attempt.parts > 0 {
		title += " (the rest)"
	}
	var w bytes.Buffer
	switch {
	case n.sign == failed:
		fmt.Fprintf(&w, "%s\n", title)
		d.quote(&w, held)
		fmt.Fprintf(&w, "%s\n", d.annotation("error", n))
	case len(held) == 0:
		fmt.Fprintf(&w, "%s\n", title)
	default:
		d.group(&w, title, held)
	}
	if n.sign == allowed {
		fmt.Fprintf(&w, "%s\n", d.annotation("warning", n))
	}
	d.out.write(w.Bytes())
	d.done(n)
}

// rest is what is held of a, which has ended.
func (d *github) rest(a *attempt) []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.lines.pending() {
		d.line(a, a.lines.part, a.lines.next)
		a.held = append(a.held[:len(a.held)-1], noEnd+"\n"...)
		a.lines.reset()
	}
	return a.held
}

func (d *github) say(n note) string {
	name := "piper"
	if n.node != nil {
		name = clean(n.node.Name)
	}
	return d.paint(n.sign.color(), n.sign.symbol()) + " " + inert(name+" "+n.text)
}

func (d *github) Output(node *plan.Node, n int, _ time.Time, p []byte) {
	a := d.of(node, n, d.Now())
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lines.add(p, func(line []byte, is piece) {
		d.line(a, line, is)
		if len(a.held) >= maxGroup {
			a.parts++
			var w bytes.Buffer
			d.group(&w, fmt.Sprintf("%s %s still running, part %d of its output", alive.symbol(), inert(clean(a.node.Name)), a.parts), a.held)
			d.out.write(w.Bytes())
			a.held = a.held[:0]
			a.heard, a.wait = d.Now(), firstBeat
		}
	})
}

// line holds a line of a step.
func (d *github) line(a *attempt, line []byte, is piece) {
	a.add(line, is, d.Color)
	mark := bar
	if is == more {
		mark = goesOn
	}
	a.held = append(append(a.held, mark+" "...), a.shown...)
	a.held = append(a.held, '\n')
}

func (d *github) group(w *bytes.Buffer, title string, lines []byte) {
	fmt.Fprintf(w, "::group::%s\n", message(title))
	d.quote(w, lines)
	w.WriteString("::endgroup::\n")
}

// quote writes lines so that none of them is obeyed.
func (d *github) quote(w *bytes.Buffer, lines []byte) {
	if len(lines) > 0 {
		fmt.Fprintf(w, "::stop-commands::%s\n%s::%s::\n", d.token, lines, d.token)
	}
}

func (d *github) beat(a *attempt, _ time.Duration) {
	written := ""
	if a.tail.n > 0 {
		written = ", " + count(a.tail.n) + " lines of output"
	}
	d.out.write([]byte(d.say(stillRuns(a, d.Now(), written)) + "\n"))
}

// annotation is the command that marks where the node of n is defined.
func (d *github) annotation(level string, n note) string {
	var at string
	if pos := n.node.Pos; pos.File != "" {
		at = fmt.Sprintf("file=%s,line=%d,", property(clean(pos.File)), pos.Line)
	}
	return fmt.Sprintf("::%s %stitle=%s::%s", level, at, property(clean(n.node.Name)), message(clean(n.node.Name)+" "+n.text))
}

// message is text as the data of a workflow command.
func message(text string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(text)
}

// property is text as a property of a workflow command.
func property(text string) string {
	return strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A", ":", "%3A", ",", "%2C").Replace(text)
}

// inert is text that does not have the older form of a command, which is
// obeyed anywhere in a line.
func inert(text string) string { return strings.ReplaceAll(text, "##[", "## [") }

func (d *github) End(b *build.Build) {
	close(d.stop)
	d.beats.Wait()
	var w bytes.Buffer
	for _, a := range d.all() { // when the machine failed, not each has ended
		if held := d.rest(a); len(held) > 0 {
			d.group(&w, d.say(note{sign: alive, node: a.node, text: "has not ended"}), held)
		}
	}
	d.quote(&w, []byte(d.section(b)))
	fmt.Fprintf(&w, "%s\n", d.last(b))
	d.out.write(w.Bytes())
}
