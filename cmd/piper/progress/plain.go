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
	var held []byte
	if n.ended {
		n.attempt.mu.Lock()
		if n.attempt.lines.pending() {
			held = d.line(held, n.attempt, n.attempt.lines.part, n.attempt.lines.next)
			held = append(held[:len(held)-1], d.paint(dim, noEnd)+"\n"...)
			n.attempt.lines.reset()
		}
		n.attempt.mu.Unlock()
	}
	d.out.write(append(held, d.say(n)+"\n"...))
	if n.ended {
		d.done(n)
	}
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
	a.heard, a.wait = now, firstBeat
	held := a.held[:0]
	a.lines.add(p, func(line []byte, is piece) {
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

// beat says that a silent attempt still runs.
func (d *plain) beat(a *attempt, silent time.Duration) {
	d.out.write([]byte(d.say(stillRuns(a, d.Now(), ", silent for "+seconds(silent))) + "\n"))
}

func (d *plain) End(b *build.Build) {
	close(d.stop)
	d.beats.Wait()
	d.out.write(d.summary(b))
}
