package record

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
)

// partSize is how large a file of a spool gets.
const partSize = 64 << 20

// A spool holds segments in files that have no name, so they are gone when they
// are closed, or this process is. The zero spool has no file yet. A segment is
// written as
//
//	length of what follows   4 bytes, little-endian
//	uvarint  Record.put when it last grew
//	uvarint  number of pieces
//	pieces   uvarint stream, varint Unix milliseconds, uvarint size, uvarint bytes and lines that were left out
//	uvarint  length of the data
//	data
//	events   JSON
type spool struct {
	dir     string
	parts   []*part
	held    int64 // bytes, in all of them
	failed  error // why it takes nothing more; it is tried again once it is empty
	buf     []byte
	streams []*stream // by the number under which the file knows them
}

// A part is one file.
type part struct {
	file        *os.File
	begins, end int64 // of what was not taken out
}

var errNoSpool = errors.New("no directory for a file")

func (s *spool) empty() bool    { return s.held == 0 }
func (s *spool) waiting() int64 { return s.held }

// mended reports whether it can take something. An empty one is always tried.
func (s *spool) mended() bool {
	if s.empty() {
		s.failed = nil
	}
	return s.failed == nil
}

// push adds a segment, or returns why it cannot.
func (s *spool) push(seg *segment) error {
	if !s.mended() {
		return s.failed
	}
	s.failed = s.write(seg)
	return s.failed
}

func (s *spool) write(seg *segment) error {
	if s.dir == "" {
		return errNoSpool
	}
	if last := len(s.parts) - 1; last < 0 || s.parts[last].end >= partSize {
		file, err := unnamed(s.dir)
		if err != nil {
			return err
		}
		s.parts = append(s.parts, &part{file: file})
	}
	if err := s.encode(seg); err != nil {
		return err
	}
	p := s.parts[len(s.parts)-1]
	if _, err := p.file.WriteAt(s.buf, p.end); err != nil {
		return err
	}
	p.end += int64(len(s.buf))
	s.held += int64(len(s.buf))
	return nil
}

// unnamed makes a file that nobody else finds.
func unnamed(dir string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	file, err := os.CreateTemp(dir, "spool-")
	if err != nil {
		return nil, err
	}
	if err := os.Remove(file.Name()); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

func (s *spool) encode(seg *segment) error {
	b := append(s.buf[:0], 0, 0, 0, 0)
	b = binary.AppendUvarint(b, uint64(seg.upto))
	b = binary.AppendUvarint(b, uint64(len(seg.pieces)))
	for _, p := range seg.pieces {
		b = binary.AppendUvarint(b, s.number(p.stream))
		b = binary.AppendVarint(b, p.at)
		b = binary.AppendUvarint(b, uint64(p.size))
		b = binary.AppendUvarint(b, uint64(p.gap.bytes))
		b = binary.AppendUvarint(b, uint64(p.gap.lines))
	}
	b = binary.AppendUvarint(b, uint64(len(seg.data)))
	b = append(b, seg.data...)
	if len(seg.events) > 0 {
		events, err := json.Marshal(seg.events)
		if err != nil {
			return err
		}
		b = append(b, events...)
	}
	binary.LittleEndian.PutUint32(b, uint32(len(b)-4))
	s.buf = b
	return nil
}

// number is what the file knows a stream by.
func (s *spool) number(of *stream) uint64 {
	if of.spooled == 0 {
		s.streams = append(s.streams, of)
		of.spooled = len(s.streams)
	}
	return uint64(of.spooled - 1)
}

// pop takes out the oldest segment.
func (s *spool) pop() (*segment, error) {
	seg, err := s.read()
	if err != nil {
		return nil, fmt.Errorf("read back what waited for the store: %w", err)
	}
	if s.empty() {
		s.close()
	}
	return seg, nil
}

var errSpool = errors.New("the file does not hold what was written to it")

func (s *spool) read() (*segment, error) {
	p := s.parts[0]
	var head [4]byte
	if _, err := p.file.ReadAt(head[:], p.begins); err != nil {
		return nil, err
	}
	size := int64(binary.LittleEndian.Uint32(head[:]))
	if size > p.end-p.begins-4 {
		return nil, errSpool
	}
	s.buf = slices.Grow(s.buf[:0], int(size))[:size]
	if _, err := p.file.ReadAt(s.buf, p.begins+4); err != nil {
		return nil, err
	}
	p.begins += size + 4
	s.held -= size + 4
	if p.begins == p.end && len(s.parts) > 1 {
		s.parts = s.parts[1:]
		if err := p.file.Close(); err != nil {
			return nil, err
		}
	}
	return s.decode(s.buf)
}

func (s *spool) decode(b []byte) (*segment, error) {
	ok := true
	uvarint := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			ok, n = false, 0
		}
		b = b[n:]
		return v
	}
	seg := &segment{upto: int64(uvarint())}
	for n := uvarint(); n > 0 && ok; n-- {
		number := uvarint()
		at, width := binary.Varint(b)
		if width <= 0 || number >= uint64(len(s.streams)) {
			return nil, errSpool
		}
		b = b[width:]
		seg.pieces = append(seg.pieces, piece{stream: s.streams[number], at: at, size: int(uvarint()),
			gap: gap{int64(uvarint()), int64(uvarint())}})
	}
	size := uvarint()
	if !ok || size > uint64(len(b)) {
		return nil, errSpool
	}
	seg.data = append(seg.data, b[:size]...)
	if b = b[size:]; len(b) > 0 {
		if err := json.Unmarshal(b, &seg.events); err != nil {
			return nil, fmt.Errorf("%w: %w", errSpool, err)
		}
	}
	return seg, nil
}

// close forgets all that is in it.
func (s *spool) close() {
	for _, p := range s.parts {
		p.file.Close() // it has no name: nothing can be wrong with it any more
	}
	for _, of := range s.streams {
		of.spooled = 0
	}
	s.parts, s.held, s.streams, s.buf = nil, 0, nil, nil
}
