package progress

import (
	"sync"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
)

// Between a name and a line stands a bar when the line is the step's, and a
// sign when it is Piper's.
const (
	bar     = "│"
	goesOn  = "┆"             // before a piece that goes on the line above
	noEnd   = " (no newline)" // after a line that was never ended
	maxHold = 64 << 10        // bytes gathered for one write
)

// A plain display writes a line for everything. Nothing is left out, and each
// line is written as soon as it is whole.
type plain struct {
	story
	out   out
	stop  chan struct{}
	beats sync.WaitGroup
}

func newPlain(o Options) *plain {
	return &plain{story: story{Options: o}, out: out{w: o.Out}, stop: make(chan struct{})}
}

func (d *plain) Begin(p *plan.Plan, _ *build.Build) {
	d.begin(p)
	d.out.write([]byte(d.header() + "\n"))
	d.beats.Go(func() { d.story.beats(d.stop, d.beat) })
}

func (d *plain) Event(ev build.Event, b *build.Build) {
	n, ok := d.tell(ev, b)
	if !ok {
		return
	}
	if !n.ended {
		d.out.write([]byte(d.say(n) + "\n"))
		return
	}
	d.out.write(append(d.rest(n.attempt), d.say(n)+"\n"...))
	d.done(n)
}

// rest is the line of a that was begun and never ended.
func (d *plain) rest(a *attempt) []byte {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.lines.pending() {
		return nil
	}
	line := d.line(nil, a, a.lines.part, a.lines.next)
	a.lines.reset()
	return append(line[:len(line)-1], d.paint(dim, noEnd)+"\n"...)
}

// say is n as a line.
func (d *plain) say(n note) string {
	return d.name(n.node) + " " + d.paint(n.sign.color(), n.sign.symbol()+" "+n.text)
}

func (d *plain) Output(node *plan.Node, n int, _ time.Time, p []byte) {
	now := d.Now()
	a := d.of(node, n, now)
	a.mu.Lock()
	defer a.mu.Unlock()
	held := a.held[:0]
	a.lines.add(p, func(line []byte, is piece) {
		a.heard, a.wait = now, firstBeat
		held = d.line(held, a, line, is)
		if len(held) >= maxHold {
			d.out.write(held)
			held = held[:0]
		}
	})
	d.out.write(held)
	a.held = held
}

// line appends a line of a step, and keeps it in the tail.
func (d *plain) line(dst []byte, a *attempt, line []byte, is piece) []byte {
	if a.prefix[whole] == "" {
		a.prefix[whole] = d.name(a.node) + " " + d.paint(dim, bar) + " "
		a.prefix[more] = d.name(a.node) + " " + d.paint(dim, goesOn) + " "
	}
	a.add(line, is, d.Color)
	dst = append(dst, a.prefix[is]...)
	dst = append(dst, a.shown...)
	return append(dst, '\n')
}

// beat says that an attempt still runs that is silent, or writes on a line
// that does not end.
func (d *plain) beat(a *attempt, silent time.Duration) {
	how := ", silent for "
	if a.lines.pending() {
		how = ", no whole line for "
	}
	d.out.write([]byte(d.say(stillRuns(a, d.Now(), how+seconds(silent))) + "\n"))
}

func (d *plain) End(b *build.Build) {
	close(d.stop)
	d.beats.Wait()
	for _, a := range d.all() { // when the machine failed, not each has ended
		d.out.write(d.rest(a))
	}
	d.out.write(d.summary(b))
}
