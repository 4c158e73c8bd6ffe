package progress

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
)

// redraw is the time between two frames.
const redraw = 100 * time.Millisecond

// A tty display has what happened scroll up, where it stays, and below it a
// live area that is drawn over: what runs, with its last lines, and how far
// the build is.
//
// Event and Output only note what is new; a goroutine of its own draws, so a
// slow terminal holds up nobody.
type tty struct {
	story
	out  out
	stop chan struct{}
	draw sync.WaitGroup

	mu     sync.Mutex // guards what follows
	scroll []byte     // to be written above the live area
	status status
	eta    eta

	frame  sync.Mutex // guards what follows: held while a frame is made and written
	screen screen
	lent   int // how many were given the terminal by suspend and have not resumed
}

func newTTY(o Options) *tty {
	return &tty{story: story{Options: o}, out: out{w: o.Out}, stop: make(chan struct{})}
}

func (d *tty) Begin(p *plan.Plan, _ *build.Build) {
	d.open(p)
	d.draw.Go(func() {
		d.paintFrame()
		ticker := time.NewTicker(redraw)
		defer ticker.Stop()
		for {
			select {
			case <-d.stop:
				return
			case <-ticker.C:
				d.paintFrame()
			}
		}
	})
}

// open prepares for the first frame.
func (d *tty) open(p *plan.Plan) {
	d.begin(p)
	d.status = status{total: len(p.Nodes), began: d.Now()}
	d.eta = newETA(p, d.History)
	d.print(d.header())
}

func (d *tty) Event(ev build.Event, b *build.Build) {
	n, ok := d.tell(ev, b)
	if !ok {
		return
	}
	var lines []string
	// What starts is seen in the live area, and an end says it all.
	if ev.Kind != build.AttemptStarted {
		lines = append(lines, d.say(n))
	}
	if n.ended && n.failure {
		n.attempt.mu.Lock()
		n.attempt.finish(d.Color)
		for _, line := range n.attempt.tail.last(tailSize) {
			lines = append(lines, "  "+d.paint(dim, bar)+" "+string(line))
		}
		n.attempt.mu.Unlock()
	}
	if n.ended {
		d.done(n)
	}

	d.mu.Lock()
	defer d.mu.Unlock()
	d.status.fold(ev, n)
	if ev.Expansion != nil {
		d.status.total = len(d.plan.Nodes)
		d.eta.grow(d.plan, ev.Expansion)
	}
	d.eta.fold(ev, n)
	for _, line := range lines {
		d.scroll = append(append(d.scroll, line...), "\r\n"...)
	}
}

// print adds text to what scrolls up.
func (d *tty) print(text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for line := range strings.Lines(text + "\n") {
		d.scroll = append(append(d.scroll, strings.TrimSuffix(line, "\n")...), "\r\n"...)
	}
}

// say is n as a line.
func (d *tty) say(n note) string {
	return d.paint(n.sign.color(), n.sign.symbol()) + " " + d.name(n.node) + " " + n.text
}

func (d *tty) Output(node *plan.Node, n int, _ time.Time, p []byte) {
	d.of(node, n, d.Now()).keep(p, d.Color)
}

// paintFrame draws what is new.
func (d *tty) paintFrame() {
	d.frame.Lock()
	defer d.frame.Unlock()
	if d.lent > 0 {
		return
	}
	cols, rows := d.Width()
	if !d.screen.settled(cols, rows) {
		return
	}
	running := d.all()
	now := d.Now()

	d.mu.Lock()
	scroll := slices.Clone(d.scroll)
	d.scroll = d.scroll[:0]
	st := d.status
	left, known := d.eta.left(running, now)
	d.mu.Unlock()

	d.out.write(d.screen.paint(scroll, d.live(running, st, left, known, now, cols, rows)))
}

// suspend clears the live area and draws nothing until resume.
func (d *tty) suspend() (resume func()) {
	d.paintFrame()
	d.frame.Lock()
	defer d.frame.Unlock()
	d.out.write(d.screen.paint(nil, nil)) // nothing, when it is lent already
	d.lent++
	return func() {
		d.frame.Lock()
		defer d.frame.Unlock()
		d.lent--
	}
}

func (d *tty) End(b *build.Build) {
	close(d.stop)
	d.draw.Wait()
	d.close(b)
}

// close draws the last frame, which has no live area.
func (d *tty) close(b *build.Build) {
	d.frame.Lock()
	defer d.frame.Unlock()
	d.print(strings.TrimSuffix(string(d.summary(b)), "\n"))
	d.out.write(d.screen.paint(d.scroll, nil))
}
