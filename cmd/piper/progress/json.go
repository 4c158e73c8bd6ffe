package progress

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
)

// maxData is how many bytes of output one line of JSON has at most, so that
// readers may bound their lines.
const maxData = 16 << 10

// A stream display writes the stream itself; the package's doc says how.
type stream struct {
	out out
	mu  sync.Mutex // guards what follows
	buf bytes.Buffer
	enc *json.Encoder
}

// chunk is a line of kind "output".
type chunk struct {
	Kind    string    `json:"kind"`
	Node    string    `json:"node"`
	Attempt int       `json:"attempt"`
	Time    time.Time `json:"time"`
	Data    *string   `json:"data,omitempty"`
	Base64  string    `json:"data_base64,omitempty"`
}

func newJSON(o Options) *stream {
	d := &stream{out: out{w: o.Results}}
	d.enc = json.NewEncoder(&d.buf)
	d.enc.SetEscapeHTML(false)
	return d
}

func (d *stream) Begin(*plan.Plan, *build.Build) {}

func (d *stream) Event(ev build.Event, _ *build.Build) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.line(ev)
	d.flush()
}

func (d *stream) Output(node *plan.Node, attempt int, at time.Time, p []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for len(p) > 0 {
		data := p[:min(len(p), maxData)]
		if len(data) < len(p) {
			data = data[:wholeRunes(data)]
		}
		p = p[len(data):]
		c := chunk{Kind: "output", Node: node.Name, Attempt: attempt, Time: at.UTC()}
		if utf8.Valid(data) {
			text := string(data)
			c.Data = &text
		} else {
			c.Base64 = base64.StdEncoding.EncodeToString(data)
		}
		d.line(c)
		if d.buf.Len() >= maxHold {
			d.flush()
		}
	}
	d.flush()
}

func (d *stream) line(v any) {
	if err := d.enc.Encode(v); err != nil {
		panic(err) // neither an event nor a chunk holds anything that JSON cannot
	}
}

func (d *stream) flush() {
	d.out.write(d.buf.Bytes())
	d.buf.Reset()
}

func (d *stream) End(*build.Build) {}
