package progress

import (
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
)

// A quiet display writes the failures and the last line, at the end.
type quiet struct {
	story
	out out
}

func newQuiet(o Options) *quiet {
	return &quiet{story: story{Options: o}, out: out{w: o.Out}}
}

func (d *quiet) Begin(p *plan.Plan, _ *build.Build) { d.begin(p) }

func (d *quiet) Event(ev build.Event, b *build.Build) {
	if n, ok := d.tell(ev, b); ok && n.ended {
		d.done(n)
	}
}

func (d *quiet) Output(node *plan.Node, n int, _ time.Time, p []byte) {
	d.of(node, n, d.Now()).keep(p, d.Color)
}

func (d *quiet) End(b *build.Build) { d.out.write(d.summary(b)) }
