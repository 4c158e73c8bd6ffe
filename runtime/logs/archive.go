package logs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// The two files of an Archive.
const (
	dataFile  = "output.log"
	indexFile = "output.index"
)

const (
	// archiveBuffer is how many bytes of output wait in memory at most.
	archiveBuffer = 256 << 10
	// archiveDelay is how long they wait at most.
	archiveDelay = 100 * time.Millisecond
	// indexBuffer is how much of the index waits in memory, roughly.
	indexBuffer = 32 << 10
)

// ErrClosed says that something was written after Close.
var ErrClosed = errors.New("log archive is closed")

// An Archive is a Sink that keeps the output of one build in a directory: the
// bytes of all attempts in one file, exactly as they were written and in the
// order they arrived, and beside it an index that says which bytes are whose
// and when they came, to the millisecond. Open gives them back, by line.
//
// Output reaches the files 100 ms after it was written at the latest; what a
// killed piper had not got so far is lost, and nothing before it. The files
// are not forced to the disk. After an error (a full disk, say) nothing more is
// written, and every Write and Close returns it: what had been written until
// then can be read.
//
// Opening a Writer touches no file. Memory does not grow with the output.
type Archive struct {
	mu     sync.Mutex // guards all that follows
	data   *os.File
	index  *os.File
	offset int64 // bytes in the data file
	buf    []byte

	block   blockWriter
	pending record // the newest chunk, which may still grow; of length 0 when there is none
	streams int

	timer  *time.Timer // flushes; nil before it was needed
	armed  bool
	err    error // the first one
	closed bool
}

// Create makes an Archive in dir, and dir when it is not there. Only the
// caller's user may read it. It is an error when dir holds an Archive already.
func Create(dir string) (*Archive, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create log archive: %w", err)
	}
	const flags = os.O_WRONLY | os.O_CREATE | os.O_EXCL
	data, err := os.OpenFile(filepath.Join(dir, dataFile), flags, 0o600)
	if err != nil {
		return nil, fmt.Errorf("create log archive: %w", err)
	}
	index, err := os.OpenFile(filepath.Join(dir, indexFile), flags, 0o600)
	if err == nil {
		_, err = index.WriteString(indexMagic)
	}
	if err != nil {
		data.Close()
		if index != nil {
			index.Close()
		}
		return nil, fmt.Errorf("create log archive: %w", err)
	}
	return &Archive{data: data, index: index}, nil
}

// Open returns the Writer of one attempt.
func (a *Archive) Open(node string, attempt int) (Writer, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.usable(); err != nil {
		return nil, err
	}
	a.settle()
	a.begin(0)
	a.block.opened(node, attempt)
	w := &archiveWriter{archive: a, stream: a.streams}
	a.streams++
	a.arm()
	return w, nil
}

// Flush writes what waits in memory, so that a Reader opened now sees it.
func (a *Archive) Flush() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.usable(); err != nil {
		return err
	}
	a.flush(nil)
	return a.err
}

// Close writes what waits in memory and closes the files. It returns the first
// error of all that were met.
func (a *Archive) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return a.usable()
	}
	a.closed = true
	if a.timer != nil {
		a.timer.Stop()
	}
	if a.err == nil {
		a.settle()
		a.begin(0)
		a.block.closed()
		a.flush(nil)
	}
	a.fail(a.data.Close())
	a.fail(a.index.Close())
	return a.err
}

type archiveWriter struct {
	archive *Archive
	stream  int
}

func (w *archiveWriter) Write(at time.Time, p []byte) error {
	return w.archive.write(w.stream, at.UnixMilli(), p)
}

// Close does nothing: the Archive sees to what waits.
func (w *archiveWriter) Close() error { return nil }

func (a *Archive) write(stream int, at int64, p []byte) error {
	if len(p) == 0 {
		return nil
	}
	chunk := record{stream: stream, at: at, length: int64(len(p)),
		newlines: int64(bytes.Count(p, newline)), ended: p[len(p)-1] == '\n'}

	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.usable(); err != nil {
		return err
	}
	full := len(a.buf)+len(p) > archiveBuffer
	large := len(p) >= archiveBuffer/4
	if full && !large {
		a.flush(nil)
	}
	a.add(chunk)
	if full && large {
		a.flush(p) // without a copy
		return a.err
	}
	if a.buf == nil {
		a.buf = make([]byte, 0, archiveBuffer)
	}
	a.buf = append(a.buf, p...)
	a.arm()
	return a.err
}

// add puts chunk into the index. Bytes of one stream that arrive in the same
// millisecond, with nothing between them, are one chunk.
func (a *Archive) add(chunk record) {
	p := &a.pending
	if p.length > 0 && p.stream == chunk.stream && p.at == chunk.at {
		p.length += chunk.length
		p.newlines += chunk.newlines
		p.ended = chunk.ended
		return
	}
	a.settle()
	a.begin(chunk.at)
	a.pending = chunk
}

// settle moves the pending chunk into the block.
func (a *Archive) settle() {
	if a.pending.length > 0 {
		a.block.chunk(a.pending)
		a.pending = record{}
	}
}

// begin begins a block unless one has begun.
func (a *Archive) begin(at int64) {
	if len(a.block.buf) == 0 {
		a.block.begin(a.offset, at)
	}
}

// arm makes sure that what waits is flushed in time.
func (a *Archive) arm() {
	switch {
	case len(a.block.buf) > indexBuffer:
		a.flush(nil)
	case a.timer == nil:
		a.timer, a.armed = time.AfterFunc(archiveDelay, a.tick), true
	case !a.armed:
		a.timer.Reset(archiveDelay)
		a.armed = true
	}
}

// tick is what the timer calls.
func (a *Archive) tick() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.armed = false
	if a.usable() == nil {
		a.flush(nil)
	}
}

// flush writes what waits, and more after it: the bytes first, then what the
// index says of them. When the bytes cannot all be written, the index is
// written all the same, for the sake of those that were.
func (a *Archive) flush(more []byte) {
	for _, p := range [][]byte{a.buf, more} {
		if len(p) > 0 && a.err == nil {
			n, err := a.data.Write(p)
			a.offset += int64(n)
			a.fail(err)
		}
	}
	a.buf = a.buf[:0]
	a.settle()
	if len(a.block.buf) > 0 {
		_, err := a.index.Write(a.block.bytes())
		a.block.buf = a.block.buf[:0]
		a.fail(err)
	}
}

// usable returns why nothing can be written.
func (a *Archive) usable() error {
	if a.err == nil && a.closed {
		return ErrClosed
	}
	return a.err
}

// fail remembers the first error.
func (a *Archive) fail(err error) {
	if err != nil && a.err == nil {
		a.err = fmt.Errorf("keep output: %w", err)
	}
}
