package stream

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/piper-build/piper/runtime/build"
)

// A Writer writes a stream. Many goroutines may use it; a line is never torn by
// another one. It waits for a reader that is slow. Once a write has failed, all
// fail with that error.
type Writer struct {
	to io.Writer

	mu  sync.Mutex // guards what follows
	buf bytes.Buffer
	enc *json.Encoder
	err error
}

// NewWriter makes a Writer of a stream to w.
func NewWriter(w io.Writer) *Writer {
	s := &Writer{to: w}
	s.enc = json.NewEncoder(&s.buf)
	s.enc.SetEscapeHTML(false)
	return s
}

// Event writes an event.
func (w *Writer) Event(ev build.Event) error { return w.Line(ev) }

// Line writes v, which is an object in JSON, as a line of another kind.
func (w *Writer) Line(v any) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.add(v)
	return w.flush()
}

// Output writes what an attempt of a node wrote at a time. It does not keep p.
func (w *Writer) Output(node string, attempt int, at time.Time, p []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(p) > 0 && w.err == nil {
		data := p[:min(len(p), MaxData)]
		for i := 1; i < utf8.UTFMax && len(data) < len(p) && !utf8.RuneStart(p[len(data)]); i++ {
			data = data[:len(data)-1] // no character is cut
		}
		p = p[len(data):]
		c := chunk{Kind: outputKind, Node: node, Attempt: attempt, Time: at.UTC()}
		if utf8.Valid(data) {
			text := string(data)
			c.Data = &text
		} else {
			c.Base64 = data
		}
		w.add(c)
		if w.buf.Len() >= maxHold {
			w.flush()
		}
	}
	return w.flush()
}

func (w *Writer) add(v any) {
	if err := w.enc.Encode(v); err != nil && w.err == nil {
		w.err = fmt.Errorf("write line: %w", err)
	}
}

// flush writes what was gathered, in one piece.
func (w *Writer) flush() error {
	if w.err == nil && w.buf.Len() > 0 {
		_, w.err = w.to.Write(w.buf.Bytes())
	}
	if w.buf.Cap() > 4*maxHold {
		w.buf = bytes.Buffer{} // one long line is no reason to keep as much for good
	}
	w.buf.Reset()
	return w.err
}
