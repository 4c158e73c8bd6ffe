package logs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"sort"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

// maxPiece is how many bytes of a line are handed out at once.
const maxPiece = 64 << 10

var newline = []byte{'\n'}

// ErrNoOutput says that a store has nothing that such an attempt wrote.
var ErrNoOutput = errors.New("no output kept")

// A Reader gives back what the attempts of one build wrote under one fence, as
// far as a store has it by now. It may be used from many goroutines. Reading k
// lines from anywhere takes time and memory for k lines at most.
//
// What was left out because there was too much of it is a Line of its own, which
// says so.
type Reader struct {
	logs  store.Logs
	id    build.ID
	fence int64
}

// NewReader returns a Reader of what the build id wrote under fence.
func NewReader(s store.Logs, id build.ID, fence int64) *Reader { return &Reader{s, id, fence} }

// A Line is a line of an attempt's output, a piece of one that is longer than
// 64 KiB, or says what was left out.
type Line struct {
	Number  int64     // from 1; where something was left out, of the line in which that begins
	Arrival time.Time // of its first byte, to the millisecond
	Begin   int64     // where Text begins in the output, in bytes
	Offset  int64     // of Text in the line; 0 but for the later pieces of a long one
	Text    []byte    // without the line end; not to be kept
	Newline bool      // a line end follows Text
	Cut     int64     // how many bytes were left out here; Text says it in words

	CutLines int64 // how many lines end in them: Number and that is the line after it
}

// A Size is how much an attempt has written.
type Size struct {
	Bytes int64 // with those that were left out
	Lines int64 // the last one counts even when no line end follows
	Last  time.Time
}

// chunk is the key of the first chunk of an attempt.
func (r *Reader) chunk(node string, attempt int) store.ChunkKey {
	return store.ChunkKey{Build: r.id, Fence: r.fence, Node: node, Attempt: attempt}
}

// problem is err with what it is about.
func problem(node string, attempt int, err error) error {
	return fmt.Errorf("read output of step %q, attempt %d: %w", node, attempt, err)
}

// Size says how much an attempt has written. Of one that has written nothing, or
// that there is not, it is ErrNoOutput.
func (r *Reader) Size(ctx context.Context, node string, attempt int) (Size, error) {
	key := r.chunk(node, attempt)
	next, err := r.logs.ChunkAt(ctx, key, math.MaxInt64)
	if err != nil {
		return Size{}, problem(node, attempt, err)
	}
	if key.Seq = next - 1; next == 0 {
		return Size{}, problem(node, attempt, ErrNoOutput)
	}
	c, err := r.one(ctx, key)
	if err != nil {
		return Size{}, problem(node, attempt, err)
	}
	size := Size{Bytes: c.Offset + int64(len(c.Data)), Lines: c.Line + c.Lines}
	if !bytes.HasSuffix(c.Data, newline) {
		size.Lines++
	}
	if n := len(c.Times); n > 0 {
		size.Last = c.Times[n-1].At
	}
	return size, nil
}

// one reads a chunk that is there.
func (r *Reader) one(ctx context.Context, key store.ChunkKey) (store.Chunk, error) {
	found, err := r.logs.Chunks(ctx, key, 1)
	if err == nil && len(found) == 0 {
		err = fmt.Errorf("chunk %d is gone", key.Seq)
	}
	if err != nil {
		return store.Chunk{}, err
	}
	return found[0], nil
}

// Lines yields the lines numbered from up to and including to. from under 1 is
// 1, to under 1 is the last. Numbers beyond the last line yield nothing.
func (r *Reader) Lines(ctx context.Context, node string, attempt int, from, to int64) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		l := newLines(r.chunk(node, attempt), from, to, yield)
		if err := l.read(ctx, r.logs); err != nil {
			yield(Line{}, problem(node, attempt, err))
			return
		}
		l.end()
	}
}

// Tail yields the last n lines.
func (r *Reader) Tail(ctx context.Context, node string, attempt int, n int64) iter.Seq2[Line, error] {
	return func(yield func(Line, error) bool) {
		if n < 1 {
			return
		}
		size, err := r.Size(ctx, node, attempt)
		switch {
		case errors.Is(err, ErrNoOutput):
			return
		case err != nil:
			yield(Line{}, err)
			return
		}
		r.Lines(ctx, node, attempt, size.Lines-n+1, 0)(yield)
	}
}

// A batch is how many chunks are read at once. Those that are small are, but not
// large ones: whoever is slow to take lines has them in memory meanwhile. 0 is 1.
type batch int

// mostTogether bounds a batch: the next chunks may be larger than the last ones.
const mostTogether = 16

// read reads the chunks from key on. false says that there are no more by now.
func (b *batch) read(ctx context.Context, s store.Logs, key *store.ChunkKey) (chunks []store.Chunk, more bool, err error) {
	n := max(int(*b), 1)
	chunks, err = s.Chunks(ctx, *key, n)
	key.Seq += int64(len(chunks))
	*b = 1
	if err != nil || len(chunks) < n {
		return chunks, false, err
	}
	size := 1
	for i := range chunks {
		size += len(chunks[i].Data)
	}
	*b = batch(min(2*n, n*store.MaxChunk/size, mostTogether))
	return chunks, true, nil
}

// lines is one pass over some lines of an attempt.
type lines struct {
	key      store.ChunkKey // of the chunk to read next
	batch    batch
	lost     bool  // that chunk is further on, or from is
	offset   int64 // of the byte to take next; chunks before it are passed over
	from, to int64
	yield    func(Line, error) bool

	line    Line // the line under way; Text is what was not handed out yet
	partial bool // the line has begun
	done    bool
}

func newLines(key store.ChunkKey, from, to int64, yield func(Line, error) bool) *lines {
	if to < 1 {
		to = math.MaxInt64
	}
	l := &lines{key: key, lost: true, from: max(from, 1), to: to, yield: yield}
	l.line.Number = 1
	l.done = l.from > l.to
	return l
}

// find goes to the chunk at which reading begins, or goes on: the line may begin
// at the end of the one before the first that holds some of it.
func (l *lines) find(ctx context.Context, s store.Logs) error {
	line := max(l.from, l.line.Number)
	if !l.lost || line == 1 {
		return nil
	}
	seq, err := s.ChunkAt(ctx, l.key, line-1)
	if err == nil {
		l.key.Seq, l.lost = max(seq-1, l.key.Seq), false
	}
	return err
}

// read takes in the chunks that there are.
func (l *lines) read(ctx context.Context, s store.Logs) error {
	if err := l.find(ctx, s); err != nil {
		return err
	}
	for more := true; more && !l.done; {
		chunks, rest, err := l.batch.read(ctx, s, &l.key)
		if err != nil {
			return err
		}
		for i := range chunks {
			l.chunk(&chunks[i])
		}
		more = rest
	}
	return nil
}

// end hands out a last line that has no end.
func (l *lines) end() {
	if l.partial && !l.done && l.line.Number >= l.from {
		l.hand(false)
	}
}

// chunk takes the lines that end in a chunk, and the beginning of another.
func (l *lines) chunk(c *store.Chunk) {
	if c = unread(c, l.offset); c == nil {
		return
	}
	if c.Cut > 0 {
		l.gap(c)
	}
	l.offset = c.Offset + int64(len(c.Data))
	if !l.partial {
		l.line.Number = c.Line + 1
	}
	data, at := c.Data, c.Offset
	for i, stamp := range c.Times {
		end := len(c.Data)
		if i+1 < len(c.Times) {
			end = int(c.Times[i+1].Offset)
		}
		l.take(data[:end-int(stamp.Offset)], at, stamp.At)
		data, at = c.Data[end:], c.Offset+int64(end)
	}
	if len(c.Times) == 0 {
		l.take(data, at, time.Time{})
	}
}

// unread is what of a chunk lies behind an offset; nil is nothing.
func unread(c *store.Chunk, offset int64) *store.Chunk {
	end := c.Offset + int64(len(c.Data))
	if offset >= end {
		return nil
	}
	if offset <= c.Offset-c.Cut {
		return c
	}
	rest := *c
	if rest.Cut = max(0, c.Offset-offset); rest.Cut > 0 {
		return &rest // the beginning of the gap was heard
	}
	n := int(offset - c.Offset)
	rest.Offset, rest.Data = offset, c.Data[n:]
	rest.Line += int64(bytes.Count(c.Data[:n], newline))
	rest.Times = nil
	for i, stamp := range c.Times {
		if i+1 < len(c.Times) && int(c.Times[i+1].Offset) <= n {
			continue
		}
		rest.Times = append(rest.Times, store.Stamp{Offset: max(0, stamp.Offset-int32(n)), At: stamp.At})
	}
	return &rest
}

// gap hands out what was left out before a chunk.
func (l *lines) gap(c *store.Chunk) {
	l.end()
	number := l.line.Number
	if !l.done && l.from <= c.Line+1 && number <= l.to {
		var at time.Time
		if len(c.Times) > 0 {
			at = c.Times[0].At
		}
		l.done = !l.yield(Line{Number: number, Arrival: at, Begin: c.Offset - c.Cut, Text: leftOut(c.Cut), Newline: true, Cut: c.Cut, CutLines: max(0, c.Line+1-number)}, nil)
	}
	l.partial, l.line.Text = false, l.line.Text[:0]
	l.done = l.done || c.Line+1 > l.to
}

// leftOut is how a gap is shown.
func leftOut(n int64) []byte { return fmt.Appendf(nil, "… %d bytes left out …", n) }

// take takes bytes that arrived together, and where they begin.
func (l *lines) take(p []byte, at int64, arrival time.Time) {
	for len(p) > 0 && !l.done {
		if !l.partial {
			l.partial = true
			l.line = Line{Number: l.line.Number, Arrival: arrival, Begin: at, Text: l.line.Text[:0]}
		}
		text, rest, ended := bytes.Cut(p, newline)
		at += int64(len(p) - len(rest))
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
func (l *lines) hand(newline bool) {
	l.line.Newline = newline
	if !l.yield(l.line, nil) {
		l.done = true
	}
	l.line.Offset += int64(len(l.line.Text))
	l.line.Begin += int64(len(l.line.Text))
	l.line.Text = l.line.Text[:0]
}

// Raw writes the bytes that an attempt wrote from the offset from up to to, as
// they were written, to w. Where some of them were left out, a line says so. to
// under 1 is the end.
func (r *Reader) Raw(ctx context.Context, node string, attempt int, from, to int64, w io.Writer) error {
	if to < 1 {
		to = math.MaxInt64
	}
	key, err := r.at(ctx, r.chunk(node, attempt), from)
	var b batch
	for more := true; more && err == nil && from < to; {
		var chunks []store.Chunk
		chunks, more, err = b.read(ctx, r.logs, &key)
		for _, c := range chunks {
			if err := raw(w, &c, from, to); err != nil {
				return err // the writer's own
			}
			from = max(from, c.Offset+int64(len(c.Data)))
		}
	}
	if err != nil {
		return problem(node, attempt, err)
	}
	return nil
}

// raw writes what of c lies between two offsets.
func raw(w io.Writer, c *store.Chunk, from, to int64) error {
	if c.Cut > 0 && from < c.Offset && to > c.Offset-c.Cut {
		if _, err := fmt.Fprintf(w, "\n%s\n", leftOut(c.Cut)); err != nil {
			return err
		}
	}
	size := int64(len(c.Data))
	begin, end := min(max(from-c.Offset, 0), size), min(max(to-c.Offset, 0), size)
	if begin >= end {
		return nil
	}
	_, err := w.Write(c.Data[begin:end])
	return err
}

// at returns the key of the chunk that holds the byte at an offset, or follows
// the gap that it fell into.
func (r *Reader) at(ctx context.Context, key store.ChunkKey, offset int64) (store.ChunkKey, error) {
	if offset <= 0 {
		return key, nil
	}
	next, err := r.logs.ChunkAt(ctx, key, math.MaxInt64)
	if err != nil {
		return key, err
	}
	first := key
	i := sort.Search(int(next), func(i int) bool {
		if err != nil {
			return true
		}
		var c store.Chunk
		first.Seq = int64(i)
		c, err = r.one(ctx, first)
		return offset < c.Offset+int64(len(c.Data))
	})
	key.Seq = int64(i)
	return key, err
}
