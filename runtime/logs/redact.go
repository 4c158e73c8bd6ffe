package logs

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// mask stands where a secret stood.
const mask = "***"

// A Redactor masks secrets. It knows each value as it is, each line of a value
// that has several, and both in the usual encodings: base64 wherever in a
// stream it begins, hexadecimal, URL, JSON and shell quoting. Every longest run
// of bytes that belong to one of these becomes "***". What nobody can list is
// out of its reach: a value that was reversed, compressed, spelled out letter
// by letter, or encoded twice. Masking is an aid against accidents.
//
// A nil Redactor masks nothing, and costs nothing. A Redactor may be used from
// many goroutines.
type Redactor struct {
	matcher *matcher // nil without secrets
}

// NewRedactor returns a Redactor for secrets, from name to value. A value of
// under four bytes is refused: masking it would mask half of what a step
// prints.
func NewRedactor(secrets map[string]string) (*Redactor, error) {
	seen := make(map[string]bool)
	var patterns []string
	for _, name := range slices.Sorted(maps.Keys(secrets)) {
		value := secrets[name]
		if len(value) < minPattern {
			return nil, fmt.Errorf("mask secret %q: value is shorter than %d bytes", name, minPattern)
		}
		for _, p := range encodings(value) {
			if !seen[p] {
				seen[p] = true
				patterns = append(patterns, p)
			}
		}
	}
	if len(patterns) == 0 {
		return &Redactor{}, nil
	}
	return &Redactor{matcher: newMatcher(patterns)}, nil
}

// Contains reports whether s shows a secret.
func (r *Redactor) Contains(s string) bool {
	if r == nil || r.matcher == nil {
		return false
	}
	_, found := r.matcher.scan(0, []byte(s), nil)
	return len(found) > 0
}

// String returns s with its secrets masked.
func (r *Redactor) String(s string) string {
	if r == nil || r.matcher == nil {
		return s
	}
	_, found := r.matcher.scan(0, []byte(s), nil)
	if len(found) == 0 {
		return s
	}
	var b strings.Builder
	at := 0
	for _, f := range found {
		b.WriteString(s[at:f.start])
		b.WriteString(mask)
		at = f.end
	}
	b.WriteString(s[at:])
	return b.String()
}

// Sink returns a Sink whose Writers mask before they hand on to s.
func (r *Redactor) Sink(s Sink) Sink {
	if r == nil || r.matcher == nil {
		return s
	}
	return redactingSink{r, s}
}

type redactingSink struct {
	redactor *Redactor
	Sink
}

func (s redactingSink) Open(node string, attempt int) (Writer, error) {
	w, err := s.Sink.Open(node, attempt)
	if err != nil {
		return nil, err
	}
	return s.redactor.Writer(w), nil
}

// Writer returns a Writer that masks before it hands on to w, however the
// bytes are cut into writes. It holds back only what a secret may begin with,
// until a later write or Close tells, and hands that on with the moment at
// which it arrived.
func (r *Redactor) Writer(w Writer) Writer {
	if r == nil || r.matcher == nil {
		return w
	}
	return &redactingWriter{matcher: r.matcher, to: w}
}

// window is how much a redactingWriter looks at in one go.
const window = 64 << 10

type redactingWriter struct {
	matcher *matcher
	to      Writer
	state   int32

	held   []byte    // read, but not decided: a secret may begin with it
	heldAt time.Time // when the first byte of held arrived
	spans  []span    // what is to be masked, counted from the first byte of held
	masked bool      // whether the byte before held was masked

	found []span // for reuse
	out   []byte // for reuse
}

func (w *redactingWriter) Write(at time.Time, p []byte) error {
	for len(p) > window {
		if err := w.write(at, p[:window]); err != nil {
			return err
		}
		p = p[window:]
	}
	return w.write(at, p)
}

func (w *redactingWriter) write(at time.Time, p []byte) error {
	w.state, w.found = w.matcher.scan(w.state, p, w.found[:0])
	held := len(w.held)
	for _, f := range w.found {
		w.spans = cover(w.spans, span{max(f.start+held, 0), f.end + held})
	}

	// A byte is decided when no secret can begin at or before it any more, or
	// when it is masked already.
	total := held + len(p)
	decided := max(total-int(w.matcher.nodes[w.state].depth), 0)
	for _, s := range w.spans {
		if s.start <= decided {
			decided = max(decided, s.end)
		}
	}
	return w.release(at, p, decided)
}

// release hands on the first n bytes of what is held and of p after it, and
// holds the rest.
func (w *redactingWriter) release(at time.Time, p []byte, n int) error {
	held := len(w.held)
	var err error
	if n > 0 && held > 0 {
		err = w.emit(w.heldAt, w.held[:min(n, held)], 0)
	}
	if n > held && err == nil {
		err = w.emit(at, p[:n-held], held)
	}

	switch {
	case n >= held:
		w.held, w.heldAt = append(w.held[:0], p[n-held:]...), at
	case n > 0:
		w.held = append(w.held[:copy(w.held, w.held[n:])], p...)
	default:
		w.held = append(w.held, p...)
	}
	rest := w.spans[:0]
	for _, s := range w.spans {
		if s.end > n {
			rest = append(rest, span{max(s.start-n, 0), s.end - n})
		}
	}
	w.spans = rest
	return err
}

// emit hands on p, which begins at place base of what spans counts, masked.
func (w *redactingWriter) emit(at time.Time, p []byte, base int) error {
	w.out = w.out[:0]
	done, end := 0, len(p)
	for _, s := range w.spans {
		start, stop := max(s.start-base, 0), min(s.end-base, end)
		if start >= stop {
			continue
		}
		if start > done {
			w.masked = false
		}
		w.out = append(w.out, p[done:start]...)
		if !w.masked {
			w.out = append(w.out, mask...)
		}
		w.masked, done = true, stop
	}
	if done == 0 { // nothing to mask, nothing to copy
		w.masked = false
		return w.to.Write(at, p)
	}
	if done < end {
		w.masked = false
		w.out = append(w.out, p[done:]...)
	}
	if len(w.out) == 0 {
		return nil
	}
	return w.to.Write(at, w.out)
}

// Close hands on what is held: no secret has come of it.
func (w *redactingWriter) Close() error {
	var err error
	if len(w.held) > 0 {
		err = w.release(w.heldAt, nil, len(w.held))
	}
	if closed := w.to.Close(); err == nil {
		err = closed
	}
	return err
}
