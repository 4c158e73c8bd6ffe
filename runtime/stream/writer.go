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
	to   io.Writer
	pace time.Duration // how far apart writes are that may wait

	mu    sync.Mutex // guards what follows
	buf   bytes.Buffer
	enc   *json.Encoder
	err   error
	last  time.Time   // when something was written
	timer *time.Timer // ends the wait
	waits bool
}

// NewWriter makes a Writer of a stream to w.
func NewWriter(w io.Writer) *Writer { return NewPacedWriter(w, 0) }

// NewPacedWriter makes one for a reader that it costs more to wake than to give
// much. When something was written a moment ago, less than pace, output and the end
// of an attempt wait for the rest of that, and for the next line of another kind.
// What comes alone is written at once, and so is that an attempt begins: whoever
// reads knows of it when its process is started.
func NewPacedWriter(w io.Writer, pace time.Duration) *Writer {
	s := &Writer{to: w, pace: pace}
	s.enc = json.NewEncoder(&s.buf)
	s.enc.SetEscapeHTML(false)
	return s
}

// Event writes an event.
func (w *Writer) Event(ev build.Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.add(ev)
	if ev.Kind == build.AttemptEnded {
		return w.settle()
	}
	return w.flush()
}

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
	return w.settle()
}

// add gathers a line.
func (w *Writer) add(v any) {
	if err := w.enc.Encode(v); err != nil && w.err == nil {
		w.flush() // what waits
		w.err = fmt.Errorf("write line: %w", err)
	}
}

// settle writes what was gathered, or sees to it that it is written soon.
func (w *Writer) settle() error {
	early := w.pace - time.Since(w.last)
	switch {
	case early <= 0 || w.err != nil || w.buf.Len() == 0 || w.buf.Len() >= maxHold:
		return w.flush()
	case w.waits:
	case w.timer == nil:
		w.timer = time.AfterFunc(early, w.late)
	default:
		w.timer.Reset(early)
	}
	w.waits = true
	return nil
}

// late writes what has waited.
func (w *Writer) late() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.flush()
}

// flush writes what was gathered, in one piece.
func (w *Writer) flush() error {
	if w.waits {
		w.timer.Stop() // when it is too late for that, what comes next is written early
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
