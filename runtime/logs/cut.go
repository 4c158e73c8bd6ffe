package logs

import (
	"bytes"
	"fmt"
	"time"
)

// Cut returns a Sink that keeps of each attempt's output the first head and
// the last tail bytes, and in place of what lies between says how much that
// was:
//
//	[piper: 10737287168 bytes with 135204611 line ends cut here]
//
// The tail is known when the attempt's Writer is closed, so it reaches s then,
// with the moments at which it arrived. An attempt's memory is at most twice tail
// bytes, and only once it has written more than head.
func Cut(s Sink, head, tail int64) Sink { return cutSink{s, head, tail} }

type cutSink struct {
	Sink
	head, tail int64
}

func (s cutSink) Open(node string, attempt int) (Writer, error) {
	w, err := s.Sink.Open(node, attempt)
	if err != nil {
		return nil, err
	}
	return &cutWriter{to: w, head: s.head, limit: s.tail, ended: true}, nil
}

type cutWriter struct {
	to    Writer
	head  int64 // bytes that may still pass
	limit int64
	ended bool // the last byte that passed is a line end

	tail   []byte // the end of what did not pass, at most twice limit
	pieces []piece
	bytes  int64     // cut so far
	lines  int64     // line ends among them
	last   time.Time // when the last byte arrived
}

// A piece is a part of the tail that arrived at one moment. Small pieces that
// follow each other are one, with the moment of the first, to bound their
// number.
type piece struct {
	at     time.Time
	length int
}

func (w *cutWriter) Write(at time.Time, p []byte) error {
	if n := min(w.head, int64(len(p))); n > 0 {
		w.head -= n
		w.ended = p[n-1] == '\n'
		if err := w.to.Write(at, p[:n]); err != nil {
			return err
		}
		p = p[n:]
	}
	if len(p) == 0 {
		return nil
	}
	w.last = at
	if over := int64(len(p)) - w.limit; over > 0 {
		// Nothing before the end of p can stay.
		w.drop(len(w.tail))
		w.count(p[:over])
		p = p[over:]
	}
	if len(p) == 0 {
		return nil
	}
	if int64(len(w.tail)+len(p)) > 2*w.limit {
		w.drop(len(w.tail) + len(p) - int(w.limit))
	}
	w.tail = append(w.tail, p...)
	small := int(w.limit / 1024)
	if n := len(w.pieces); n > 0 && (w.pieces[n-1].at.Equal(at) || w.pieces[n-1].length < small) {
		w.pieces[n-1].length += len(p)
	} else {
		w.pieces = append(w.pieces, piece{at, len(p)})
	}
	return nil
}

// drop cuts the first n bytes of the tail.
func (w *cutWriter) drop(n int) {
	w.count(w.tail[:n])
	w.tail = w.tail[:copy(w.tail, w.tail[n:])]
	gone := 0
	for n > 0 && w.pieces[gone].length <= n {
		n -= w.pieces[gone].length
		gone++
	}
	if n > 0 {
		w.pieces[gone].length -= n
	}
	w.pieces = w.pieces[:copy(w.pieces, w.pieces[gone:])]
}

// count counts p as cut.
func (w *cutWriter) count(p []byte) {
	w.bytes += int64(len(p))
	w.lines += int64(bytes.Count(p, newline))
}

// Close hands on the tail.
func (w *cutWriter) Close() error {
	err := w.finish()
	if closed := w.to.Close(); err == nil {
		err = closed
	}
	return err
}

func (w *cutWriter) finish() error {
	if over := len(w.tail) - int(w.limit); over > 0 {
		w.drop(over)
	}
	if w.bytes > 0 {
		at := w.last
		if len(w.pieces) > 0 {
			at = w.pieces[0].at
		}
		if err := w.mark(at); err != nil {
			return err
		}
	}
	for _, p := range w.pieces {
		if err := w.to.Write(p.at, w.tail[:p.length]); err != nil {
			return err
		}
		w.tail = w.tail[p.length:]
	}
	return nil
}

// mark says what was cut, at the beginning of a line.
func (w *cutWriter) mark(at time.Time) error {
	text := fmt.Sprintf("[piper: %d bytes with %d line ends cut here]\n", w.bytes, w.lines)
	if !w.ended {
		text = "\n" + text
	}
	return w.to.Write(at, []byte(text))
}
