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
//
// An event or a piece of output is written at once, unless something was in the
// last millisecond: then it waits for the end of that, and is written together with
// what came meanwhile. To wake a reader costs more than what it reads.
type Writer struct {
	to io.Writer

	mu    sync.Mutex // guards what follows
	buf   bytes.Buffer
	enc   *json.Encoder
	err   error
	last  time.Time   // when something was written
	timer *time.Timer // ends the wait
	waits bool
}

// pace is how far writes are apart, if nobody asks for more.
const pace = time.Millisecond

// NewWriter makes a Writer of a stream to w.
func NewWriter(w io.Writer) *Writer {
	s := &Writer{to: w}
	s.enc = json.NewEncoder(&s.buf)
	s.enc.SetEscapeHTML(false)
	return s
}

// Event writes an event.
func (w *Writer) Event(ev build.Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.add(ev)
	return w.settle()
}

// Line writes v, which is an object in JSON, as a line of another kind, and
// whatever waits.
func (w *Writer) Line(v any) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.add(v)
	return w.flush()
}

// Flush writes what waits.
func (w *Writer) Flush() error {
	w.mu.Lock()
	defer w.mu.Unlock()
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
	return w.settle()
}

func (w *Writer) add(v any) {
	if err := w.enc.Encode(v); err != nil && w.err == nil {
		w.err = fmt.Errorf("write line: %w", err)
	}
}

// settle writes what was gathered, or sees to it that it is written soon.
func (w *Writer) settle() error {
	early := pace - time.Since(w.last)
	switch {
	case early <= 0 || w.err != nil || w.buf.Len() >= maxHold:
		return w.flush()
	case w.waits:
	case w.timer == nil:
		w.timer = time.AfterFunc(early, func() { w.Flush() })
	default:
		w.timer.Reset(early)
	}
	w.waits = true
	return nil
}

// flush writes what was gathered, in one piece.
func (w *Writer) flush() error {
	if w.waits {
		w.timer.Stop() // when it is too late for that, it finds nothing to write
		w.waits = false
	}
	if w.err == nil && w.buf.Len() > 0 {
		w.last = time.Now()
		_, w.err = w.to.Write(w.buf.Bytes())
	}
	if w.buf.Cap() > 4*maxHold {
		w.buf = bytes.Buffer{} // one long line is no reason to keep as much for good
	}
	w.buf.Reset()
	return w.err
}
