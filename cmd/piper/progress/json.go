package progress

import (
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/stream"
)

// A jsonDisplay writes the stream itself; package stream says how.
type jsonDisplay struct{ to *stream.Writer }

func newJSON(o Options) jsonDisplay { return jsonDisplay{stream.NewWriter(o.Results)} }

func (d jsonDisplay) Begin(*plan.Plan, *build.Build) {}

func (d jsonDisplay) Event(ev build.Event, _ *build.Build) { d.to.Event(ev) }

func (d jsonDisplay) Output(node *plan.Node, attempt int, at time.Time, p []byte) {
	d.to.Output(node.Name, attempt, at, p)
}

func (d jsonDisplay) End(*build.Build) {}
