package logs

import (
	"bytes"
	"slices"
	"sync"
	"time"
)

// keepClosed is how many attempts a Tail remembers after they were closed.
const keepClosed = 64

// A Tail is a Sink that remembers the last lines of each running attempt, and
// of the 64 that were closed last: a display or the report of a failure asks
// for them soon after. Its memory is bounded for each attempt, whatever it
// writes.
type Tail struct {
	lines, bytes int

	mu       sync.Mutex
	attempts map[attempt]*tailWriter
	closed   []attempt // oldest first
}

type attempt struct {
	node   string
	number int
}

// NewTail returns a Tail of the last lines, or what of them fits in bytes.
func NewTail(lines, bytes int) *Tail {
	return &Tail{lines: lines, bytes: bytes, attempts: make(map[attempt]*tailWriter)}
}

// Open begins to remember an attempt.
func (t *Tail) Open(node string, number int) (Writer, error) {
	w := &tailWriter{tail: t, id: attempt{node, number}}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.attempts[w.id] = w
	return w, nil
}

// Close forgets nothing: the report of a build comes after its end.
func (t *Tail) Close() error { return nil }

// Forget drops what is remembered of an attempt.
func (t *Tail) Forget(node string, number int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.attempts, attempt{node, number})
}

// A TailText is the end of what an attempt wrote.
type TailText struct {
	First int64    // the number of the first line, from 1
	Lines [][]byte // without their line ends; the last may still grow
	Cut   bool     // the first line has lost its beginning
	Bytes int64    // written so far in all
}

// Last returns the last lines of an attempt. It may be called while the
// attempt writes, from any goroutine.
func (t *Tail) Last(node string, number int) TailText {
	t.mu.Lock()
	w := t.attempts[attempt{node, number}]
	t.mu.Unlock()
	if w == nil {
		return TailText{}
	}
	return w.last()
}

// A tailWriter keeps up to twice the bytes it must, so that moving them to the
// front is rare, and always one more, to know whether a line begins after it.
type tailWriter struct {
	tail *Tail
	id   attempt

	mu      sync.Mutex
	kept    []byte
	total   int64 // bytes written
	newline int64 // line ends written
}

func (w *tailWriter) Write(_ time.Time, p []byte) error {
	limit := w.tail.bytes + 1
	w.mu.Lock()
	defer w.mu.Unlock()
	w.total += int64(len(p))
	w.newline += int64(bytes.Count(p, newline))
	if len(p) >= limit {
		w.kept = append(w.kept[:0], p[len(p)-limit:]...)
		return nil
	}
	if len(w.kept)+len(p) > 2*limit {
		w.kept = w.kept[:copy(w.kept, w.kept[len(w.kept)-limit+len(p):])]
	}
	w.kept = append(w.kept, p...)
	return nil
}

// Close keeps the attempt among the last that were closed.
func (w *tailWriter) Close() error {
	t := w.tail
	t.mu.Lock()
	defer t.mu.Unlock()
	t.closed = append(t.closed, w.id)
	if len(t.closed) > keepClosed {
		delete(t.attempts, t.closed[0])
		t.closed = t.closed[1:]
	}
	return nil
}

func (w *tailWriter) last() TailText {
	w.mu.Lock()
	defer w.mu.Unlock()
	text := TailText{Bytes: w.total}
	from := max(len(w.kept)-w.tail.bytes, 0)
	whole := int64(len(w.kept)) == w.total // the first line that is kept is whole
	if from > 0 {
		whole = w.kept[from-1] == '\n'
	}
	kept := w.kept[from:]
	number := w.newline // of the last line
	if len(kept) > 0 && kept[len(kept)-1] != '\n' {
		number++
	}
	kept = bytes.TrimSuffix(kept, newline)

	// Walk back from the end, one line at a time.
	end := len(kept)
	for len(text.Lines) < w.tail.lines && number > 0 {
		start := bytes.LastIndexByte(kept[:end], '\n') + 1
		text.Lines = append(text.Lines, bytes.Clone(kept[start:end]))
		text.First = number
		number--
		if start == 0 {
			text.Cut = !whole
			break
		}
		end = start - 1
	}
	slices.Reverse(text.Lines)
	return text
}

var newline = []byte{'\n'}
