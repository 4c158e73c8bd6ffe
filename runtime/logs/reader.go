package logs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"time"
)

const (
	// maxPiece is how many bytes of a line are handed out at once.
	maxPiece = 64 << 10
	// windowSize is how much of a file is read at once.
	windowSize = 64 << 10
	// checkpointEvery is how much of the index at least lies between two
	// places at which reading a stream may begin.
	checkpointEvery = 64 << 10
)

var newline = []byte{'\n'}

// ErrNoOutput says that an Archive has no such attempt.
var ErrNoOutput = errors.New("no output kept")

// A Reader gives back what an Archive keeps, as it was when the Reader was
// opened. It may be used from many goroutines. Reading k lines from anywhere
// takes time for k lines; opening takes time for the index.
type Reader struct {
	data, index *os.File
	size        int64 // of data
	streams     []stream
	ids         map[attempt]int
	loss        Loss
}

// A Stream is what is kept of one attempt's output.
type Stream struct {
	Node        string
	Attempt     int
	Bytes       int64
	Lines       int64     // the last one counts even when no line end follows
	First, Last time.Time // when the first and last bytes arrived; zero when there are none
}

// An attempt is what a stream is kept under.
type attempt struct {
	node   string
	number int
}

type stream struct {
	Stream
	newlines int64
	partial  bool  // the last line has no end
	last     int64 // where in the index the block of the last chunk begins
	points   []checkpoint
}

// A checkpoint is a place at which reading a stream may begin.
type checkpoint struct {
	block    int64 // where in the index a block begins
	newlines int64 // of the stream, before that block
	partial  bool  // the block begins within a line
}

// A Loss says in what way an Archive is not whole. The zero Loss is none.
type Loss struct {
	Open  bool  // it was not closed: piper still writes it, or was killed
	Index int64 // bytes at the index's end that make no sense, and were not used
	Data  int64 // bytes at the data's end that nobody knows whose they are
	Gone  int64 // bytes that the index knows of, but that are not there
}

// String says it in words; "" is the zero Loss.
func (l Loss) String() string {
	var parts []string
	if l.Open {
		parts = append(parts, "it was not closed")
	}
	if l.Index > 0 {
		parts = append(parts, fmt.Sprintf("the last %d bytes of the index are damaged", l.Index))
	}
	if l.Data > 0 {
		parts = append(parts, fmt.Sprintf("the last %d bytes of output belong to no step", l.Data))
	}
	if l.Gone > 0 {
		parts = append(parts, fmt.Sprintf("%d bytes of output are missing", l.Gone))
	}
	return strings.Join(parts, ", ")
}

// Open opens the Archive in dir for reading. An Archive that was not closed,
// or whose end was torn off, is read as far as it is whole, and Loss tells.
func Open(dir string) (*Reader, error) {
	r := &Reader{ids: make(map[attempt]int)}
	var err error
	if r.data, err = os.Open(filepath.Join(dir, dataFile)); err != nil {
		return nil, fmt.Errorf("open log archive: %w", err)
	}
	if r.index, err = os.Open(filepath.Join(dir, indexFile)); err == nil {
		err = r.load()
	}
	if err != nil {
		r.Close()
		return nil, fmt.Errorf("open log archive: %w", err)
	}
	return r, nil
}

// Close closes the files.
func (r *Reader) Close() error {
	err := r.data.Close()
	if r.index != nil {
		err = errors.Join(err, r.index.Close())
	}
	return err
}

// Loss says what of the Archive could not be used.
func (r *Reader) Loss() Loss { return r.loss }

// Streams returns what is kept, in the order the attempts began.
func (r *Reader) Streams() []Stream {
	all := make([]Stream, len(r.streams))
	for i := range r.streams {
		all[i] = r.streams[i].Stream
	}
	return all
}

// Stream returns what is kept of one attempt.
func (r *Reader) Stream(node string, number int) (Stream, bool) {
	i, ok := r.ids[attempt{node, number}]
	if !ok {
		return Stream{}, false
	}
	return r.streams[i].Stream, true
}

// load reads the index once.
func (r *Reader) load() error {
	// The index first: it never speaks of bytes that were not written before.
	info, err := r.index.Stat()
	if err != nil {
		return err
	}
	indexed := info.Size()
	if info, err = r.data.Stat(); err != nil {
		return err
	}
	r.size = info.Size()

	magic := make([]byte, len(indexMagic))
	if n, err := r.index.ReadAt(magic, 0); err != nil && err != io.EOF {
		return err
	} else if !strings.HasPrefix(indexMagic, string(magic[:n])) {
		return fmt.Errorf("%s is not the index of one", r.index.Name())
	} else if n < len(magic) {
		r.loss = Loss{Open: true, Index: int64(n), Data: r.size}
		return nil
	}

	blocks := blockReader{from: &readAhead{from: io.NewSectionReader(r.index, 0, indexed)}, next: int64(len(magic))}
	known := int64(0) // bytes of data that the index tells of
	r.loss.Open = true
	for {
		err := blocks.block()
		if err == nil && blocks.offset != known {
			err = errTorn
			blocks.next = blocks.begins
		}
		if err == nil {
			err = r.loadBlock(&blocks)
			known = blocks.offset
		}
		if err == io.EOF || err == errTorn {
			break
		}
		if err != nil {
			return err
		}
	}
	r.loss.Index = indexed - blocks.next
	r.loss.Data = max(r.size-known, 0)
	return nil
}

// loadBlock takes in the records of a block.
func (r *Reader) loadBlock(b *blockReader) error {
	for {
		rec, ok, err := b.record()
		if err != nil || !ok {
			return err
		}
		switch {
		case rec.closed:
			r.loss.Open = false
		case rec.stream < 0:
			r.ids[attempt{rec.node, rec.attempt}] = len(r.streams)
			r.streams = append(r.streams, stream{Stream: Stream{Node: rec.node, Attempt: rec.attempt}})
		case rec.stream >= len(r.streams):
			return errTorn
		default:
			gone, err := r.clip(&rec, b.offset)
			if err != nil {
				return err
			}
			r.loss.Gone += gone
			if rec.length > 0 {
				r.streams[rec.stream].take(rec, b.begins)
			}
		}
	}
}

// clip takes off a chunk that ends at end what the data file does not have, and
// returns how much that is. What is left has to be counted anew.
func (r *Reader) clip(rec *record, end int64) (gone int64, err error) {
	gone = min(end-r.size, rec.length)
	if gone <= 0 {
		return 0, nil
	}
	rec.length, rec.newlines, rec.ended = rec.length-gone, 0, false
	rest := io.NewSectionReader(r.data, end-gone-rec.length, rec.length)
	for buf := make([]byte, windowSize); ; {
		n, err := rest.Read(buf)
		if n > 0 {
			rec.newlines += int64(bytes.Count(buf[:n], newline))
			rec.ended = buf[n-1] == '\n'
		}
		if err == io.EOF {
			return gone, nil
		}
		if err != nil {
			return gone, err
		}
	}
}

// take adds a chunk in the block that begins at block.
func (s *stream) take(rec record, block int64) {
	if n := len(s.points); n == 0 || block-s.points[n-1].block >= checkpointEvery {
		s.points = append(s.points, checkpoint{block, s.newlines, s.partial})
	}
	at := time.UnixMilli(rec.at).UTC()
	if s.Bytes == 0 {
		s.First = at
	}
	s.Last = at
	s.Bytes += rec.length
	s.newlines += rec.newlines
	s.partial = !rec.ended
	s.last = block
	s.Lines = s.newlines
	if s.partial {
		s.Lines++
	}
}

// A Line is a line of an attempt's output, or a piece of one that is longer
// than 64 KiB.
type Line struct {
	Number  int64     // from 1
	Arrival time.Time // of its first byte, to the millisecond
	Offset  int64     // of Text in the line; 0 but for the later pieces of a long one
	Text    []byte    // without the line end; not to be kept
	Newline bool      // a line end follows Text
}

// Lines yields the lines numbered from up to and including to. from under 1 is
// 1, to under 1 is the last. Numbers beyond the last line yield nothing. An
// attempt of which nothing is known yields ErrNoOutput.
func (r *Reader) Lines(node string, number int, from, to int64) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		i, ok := r.ids[attempt{node, number}]
		if !ok {
			yield(Line{}, fmt.Errorf("%w: of step %q, attempt %d", ErrNoOutput, node, number))
			return
		}
		s := &r.streams[i]
		from = max(from, 1)
		if to < 1 || to > s.Lines {
			to = s.Lines
		}
		if from > to {
			return
		}
		l := lineReader{reader: r, stream: s, id: i, from: from, to: to, yield: yield, data: readAhead{from: r.data}}
		if err := l.run(); err != nil {
			yield(Line{}, fmt.Errorf("read output of step %q, attempt %d: %w", node, number, err))
		}
	}
}

// Tail yields the last n lines.
func (r *Reader) Tail(node string, number int, n int64) iter.Seq2[Line, error] {
	from := int64(1)
	if s, ok := r.Stream(node, number); ok {
		if from = s.Lines - n + 1; n < 1 {
			from = s.Lines + 1
		}
	}
	return r.Lines(node, number, from, 0)
}

// A lineReader is one pass over some lines of a stream.
type lineReader struct {
	reader   *Reader
	stream   *stream
	id       int
	from, to int64
	yield    func(Line, error) bool

	line    Line // the line under way; Text is what was not handed out yet
	partial bool // the line has begun
	done    bool
	data    readAhead
}

func (l *lineReader) run() error {
	start := l.start()
	l.line.Number, l.partial = start.newlines+1, start.partial
	blocks := blockReader{from: &readAhead{from: l.reader.index}, next: start.block}
	for !l.done && blocks.next <= l.stream.last {
		if err := blocks.block(); err != nil {
			return err
		}
		for !l.done {
			rec, ok, err := blocks.record()
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			if rec.stream != l.id {
				continue
			}
			if err := l.chunk(rec, blocks.offset-rec.length); err != nil {
				return err
			}
		}
	}
	if !l.done && l.partial {
		l.hand(false)
	}
	return nil
}

// start returns the last checkpoint before the first line begins.
func (l *lineReader) start() checkpoint {
	points := l.stream.points
	i := sort.Search(len(points), func(i int) bool {
		p := points[i]
		return p.newlines+1 > l.from || p.newlines+1 == l.from && p.partial
	})
	return points[max(i-1, 0)]
}

// chunk takes the lines that end in a chunk, which begins at offset.
func (l *lineReader) chunk(rec record, offset int64) error {
	if _, err := l.reader.clip(&rec, offset+rec.length); err != nil {
		return err
	}
	last := l.line.Number + rec.newlines // the line in which the chunk ends
	if last < l.from || last == l.from && rec.ended {
		l.line.Number, l.partial = last, !rec.ended
		return nil
	}
	arrival := time.UnixMilli(rec.at).UTC()
	for rec.length > 0 && !l.done {
		p, err := l.data.peek(offset, rec.length)
		if err != nil {
			return err
		}
		offset += int64(len(p))
		rec.length -= int64(len(p))
		l.take(p, arrival)
	}
	return nil
}

// take takes bytes of the stream.
func (l *lineReader) take(p []byte, arrival time.Time) {
	for len(p) > 0 && !l.done {
		if !l.partial {
			l.partial = true
			l.line = Line{Number: l.line.Number, Arrival: arrival, Text: l.line.Text[:0]}
		}
		text, rest, ended := bytes.Cut(p, newline)
		if l.line.Number >= l.from {
			for room := maxPiece - len(l.line.Text); len(text) > room && !l.done; room = maxPiece {
				l.line.Text = append(l.line.Text, text[:room]...)
				text = text[room:]
				l.hand(false)
			}
			l.line.Text = append(l.line.Text, text...)
		}
		if ended {
			if l.line.Number >= l.from && !l.done {
				l.hand(true)
			}
			l.line.Number++
			l.partial = false
		}
		if l.line.Number > l.to {
			l.done = true
		}
		p = rest
	}
}

// hand hands out what was gathered of a line.
func (l *lineReader) hand(newline bool) {
	l.line.Newline = newline
	if !l.yield(l.line, nil) {
		l.done = true
	}
	l.line.Offset += int64(len(l.line.Text))
	l.line.Text = l.line.Text[:0]
}

// A readAhead reads a file, mostly forward, in large pieces.
type readAhead struct {
	from   io.ReaderAt
	window []byte
	at     int64 // where window begins
}

// peek returns some bytes from offset on, at least one and at most n, that are
// good until the next call.
func (r *readAhead) peek(offset, n int64) ([]byte, error) {
	if offset < r.at || offset >= r.at+int64(len(r.window)) {
		if r.window == nil {
			r.window = make([]byte, windowSize)
		}
		got, err := r.from.ReadAt(r.window[:windowSize], offset)
		r.window, r.at = r.window[:got], offset
		if got == 0 {
			return nil, err
		}
	}
	p := r.window[offset-r.at:]
	return p[:min(int64(len(p)), n)], nil
}

// ReadAt is io.ReaderAt.
func (r *readAhead) ReadAt(p []byte, offset int64) (n int, err error) {
	for n < len(p) {
		got, err := r.peek(offset+int64(n), int64(len(p)-n))
		if err != nil {
			return n, err
		}
		n += copy(p[n:], got)
	}
	return n, nil
}
