package record

import (
	"bytes"
	"time"

	"github.com/piper-build/piper/runtime/store"
)

// tailSize is how much is kept of the end of an output of which something is
// left out.
const tailSize = 32 << 10

// A stream is what one attempt writes.
type stream struct {
	key store.ChunkKey // of the next chunk; this and what follows are the sender's

	line, offset int64
	taken        []placed // of the segment that is cut into chunks
	size         int      // of those

	// Guarded by Record.mu:

	kept int64 // bytes that were not left out
	gap  gap   // before the next piece
	tail *tail // what of the newest output may still be left out; nil when all is kept

	spooled int // its number in the file, from 1; 0 is none
}

// A placed is a piece and where in its segment's data it lies.
type placed struct {
	piece
	offset int
}

// A writer is the logs.Writer of one attempt.
type writer struct {
	record *Record
	stream *stream
}

// Write implements logs.Writer.
func (w *writer) Write(at time.Time, p []byte) error {
	r, of := w.record, w.stream
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(p) > 0 {
		if err := r.usable(); err != nil {
			return err
		}
		room := segmentBytes
		if r.o.Limit > 0 {
			room = int(min(int64(room), r.o.Limit-of.kept))
		}
		if r.cutting || room <= 0 {
			if of.tail == nil {
				of.tail = &tail{}
			}
			of.tail.add(at.UnixMilli(), p)
			return nil
		}
		if of.tail != nil {
			r.settle(of)
			continue
		}
		if r.open == nil && r.inMemory() >= r.o.Memory && !r.stalled && r.spool.empty() {
			r.wait()
			continue
		}
		s := r.current()
		n := min(len(p), room, segmentBytes-len(s.data))
		s.write(of, at.UnixMilli(), p[:n])
		of.kept += int64(n)
		p = p[n:]
		r.added(s)
	}
	return nil
}

// Close implements logs.Writer.
func (w *writer) Close() error {
	r := w.record
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err == nil && w.stream.tail != nil {
		r.settle(w.stream)
	}
	return r.err
}

// wait waits until the store has acknowledged something, and calls it stalled
// when it takes too long.
func (r *Record) wait() {
	progress := r.progress
	r.mu.Unlock()
	timer := time.NewTimer(r.o.Patience)
	defer timer.Stop()
	select {
	case <-progress:
		r.mu.Lock()
	case <-timer.C:
		r.mu.Lock()
		if progress == r.progress {
			r.stalled = true
			r.advanced() // who waits too need not any more
		}
	}
}

// settle puts what is kept of a stream's tail into the queue.
func (r *Record) settle(of *stream) {
	t := of.tail
	of.tail = nil
	t.settle()
	of.gap = t.gap
	of.kept += int64(len(t.data))
	for i, m := range t.marks {
		end := len(t.data)
		if i+1 < len(t.marks) {
			end = t.marks[i+1].offset
		}
		s := r.current()
		s.write(of, m.at, t.data[m.offset:end])
		r.added(s)
	}
}

// A tail is the end of what is being left out.
type tail struct {
	data  []byte
	marks []mark // where in data something begins that arrived at another time
	gap   gap    // before data
}

type mark struct {
	offset int
	at     int64
}

// add adds p, and forgets what is too old.
func (t *tail) add(at int64, p []byte) {
	if over := len(p) - tailSize; over > 0 {
		t.trim(len(t.data))
		t.gap.bytes += int64(over)
		t.gap.lines += int64(bytes.Count(p[:over], newline))
		p = p[over:]
	}
	if last := len(t.marks) - 1; last < 0 || t.marks[last].at != at {
		t.marks = append(t.marks, mark{len(t.data), at})
	}
	t.data = append(t.data, p...)
	if len(t.data) > 2*tailSize {
		t.trim(len(t.data) - tailSize)
	}
}

var newline = []byte{'\n'}

// trim leaves out the first n bytes.
func (t *tail) trim(n int) {
	t.gap.bytes += int64(n)
	t.gap.lines += int64(bytes.Count(t.data[:n], newline))
	t.data = t.data[:copy(t.data, t.data[n:])]
	if len(t.data) == 0 {
		t.marks = t.marks[:0]
		return
	}
	first := 0
	for i := range t.marks {
		if t.marks[i].offset -= n; t.marks[i].offset <= 0 {
			t.marks[i].offset, first = 0, i
		}
	}
	t.marks = t.marks[:copy(t.marks, t.marks[first:])]
}

// settle leaves tailSize bytes at most, from the beginning of a line on if
// anything before was left out and there is one.
func (t *tail) settle() {
	t.trim(max(0, len(t.data)-tailSize))
	if t.gap.bytes > 0 {
		if end := bytes.IndexByte(t.data, '\n') + 1; end < len(t.data) {
			t.trim(end)
		}
	}
}
