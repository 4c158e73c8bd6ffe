package logs

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
)

// The index of an Archive is a line that names the format, and blocks:
//
//	length of the payload   4 bytes, little-endian
//	its CRC-32C             4 bytes, little-endian
//	payload                 uvarint  where in the data file the block begins
//	                        varint   a time, in Unix milliseconds
//	                        records  to the end
//
// A record is one of
//
//	opened  uvarint 0, uvarint attempt, uvarint length of the node's name, the name
//	closed  uvarint 1: the archive was closed; nothing follows
//	chunk   uvarint stream+2, varint milliseconds since the time before,
//	        uvarint length, uvarint line ends × 2 + whether the last byte is one
//
// Streams count from 0 in the order they were opened. Chunks follow each other
// in the data file without gaps, so their offsets need not be written. A block
// stands by itself: reading may begin at any.
const (
	indexMagic  = "piper log 1\n"
	blockHeader = 8
	maxBlock    = 64 << 20 // a length beyond it is garbage
)

const (
	recordOpened = iota
	recordClosed
	recordChunk // and all above
)

// errTorn says that a block is not whole.
var errTorn = errors.New("torn index block")

// A record is what one record of the index says. For a chunk, stream is set,
// else -1.
type record struct {
	closed bool

	node    string
	attempt int

	stream   int
	at       int64 // Unix milliseconds
	length   int64
	newlines int64
	ended    bool // its last byte is a line end
}

// A blockWriter makes a block.
type blockWriter struct {
	buf []byte // with room for the header; empty before begin
	at  int64
}

func (b *blockWriter) begin(offset, at int64) {
	b.buf = append(b.buf[:0], make([]byte, blockHeader)...)
	b.buf = binary.AppendUvarint(b.buf, uint64(offset))
	b.buf = binary.AppendVarint(b.buf, at)
	b.at = at
}

func (b *blockWriter) opened(node string, attempt int) {
	b.buf = append(b.buf, recordOpened)
	b.buf = binary.AppendUvarint(b.buf, uint64(attempt))
	b.buf = binary.AppendUvarint(b.buf, uint64(len(node)))
	b.buf = append(b.buf, node...)
}

func (b *blockWriter) closed() { b.buf = append(b.buf, recordClosed) }

func (b *blockWriter) chunk(r record) {
	b.buf = binary.AppendUvarint(b.buf, uint64(r.stream+recordChunk))
	b.buf = binary.AppendVarint(b.buf, r.at-b.at)
	b.buf = binary.AppendUvarint(b.buf, uint64(r.length))
	ends := uint64(r.newlines) << 1
	if r.ended {
		ends |= 1
	}
	b.buf = binary.AppendUvarint(b.buf, ends)
	b.at = r.at
}

// bytes returns the block, complete.
func (b *blockWriter) bytes() []byte {
	payload := b.buf[blockHeader:]
	binary.LittleEndian.PutUint32(b.buf, uint32(len(payload)))
	binary.LittleEndian.PutUint32(b.buf[4:], crc32.Checksum(payload, crc32.MakeTable(crc32.Castagnoli)))
	return b.buf
}

// A blockReader reads the blocks of an index, and the records of each.
type blockReader struct {
	from io.ReaderAt
	next int64 // where the next block begins

	header  [blockHeader]byte
	payload []byte // what is left of the block
	memory  []byte // for reuse
	begins  int64  // where the block began
	offset  int64  // in the data file, of the next chunk
	at      int64
}

// block goes to the next block. The error is io.EOF after the last, errTorn
// when what follows is not a whole block.
func (b *blockReader) block() error {
	n, err := b.from.ReadAt(b.header[:], b.next)
	switch {
	case n == 0 && err == io.EOF:
		return io.EOF
	case n < blockHeader && err == io.EOF:
		return errTorn
	case n < blockHeader:
		return err
	}
	length := int(binary.LittleEndian.Uint32(b.header[:]))
	if length > maxBlock {
		return errTorn
	}
	if cap(b.memory) < length {
		// Read before trusting the length with memory: a block is seldom large.
		if _, err := b.from.ReadAt(b.header[:1], b.next+blockHeader+int64(length)-1); err != nil {
			return tornAtEOF(err)
		}
		b.memory = make([]byte, length)
	}
	b.payload = b.memory[:length]
	if n, err := b.from.ReadAt(b.payload, b.next+blockHeader); n < length {
		return tornAtEOF(err)
	}
	sum := binary.LittleEndian.Uint32(b.header[4:])
	if sum != crc32.Checksum(b.payload, crc32.MakeTable(crc32.Castagnoli)) {
		return errTorn
	}
	begins := b.next
	offset, ok := b.uvarint()
	at, ok2 := b.varint()
	if !ok || !ok2 || offset < 0 {
		return errTorn
	}
	b.begins, b.next = begins, b.next+blockHeader+int64(length)
	b.offset, b.at = offset, at
	return nil
}

func tornAtEOF(err error) error {
	if err == io.EOF {
		return errTorn
	}
	return err
}

// record returns the next record of the block; ok is false after the last.
// A chunk's bytes end at b.offset.
func (b *blockReader) record() (r record, ok bool, err error) {
	if len(b.payload) == 0 {
		return record{}, false, nil
	}
	r.stream = -1
	kind, ok := b.uvarint()
	switch {
	case !ok:
		return record{}, false, errTorn
	case kind == recordClosed:
		r.closed = true
		return r, true, nil
	case kind == recordOpened:
		number, ok := b.uvarint()
		length, ok2 := b.uvarint()
		if !ok || !ok2 || length < 0 || length > int64(len(b.payload)) {
			return record{}, false, errTorn
		}
		r.attempt, r.node = int(number), string(b.payload[:length])
		b.payload = b.payload[length:]
		return r, true, nil
	}
	delta, ok1 := b.varint()
	length, ok2 := b.uvarint()
	ends, ok3 := b.uvarint()
	if !ok1 || !ok2 || !ok3 || kind < 0 || length < 0 || ends < 0 || ends>>1 > length || b.offset+length < b.offset {
		return record{}, false, errTorn
	}
	b.at += delta
	b.offset += length
	r.stream, r.at, r.length, r.newlines, r.ended = int(kind-recordChunk), b.at, length, ends>>1, ends&1 == 1
	return r, true, nil
}

func (b *blockReader) uvarint() (int64, bool) {
	v, n := binary.Uvarint(b.payload)
	if n <= 0 {
		return 0, false
	}
	b.payload = b.payload[n:]
	return int64(v), true
}

func (b *blockReader) varint() (int64, bool) {
	v, n := binary.Varint(b.payload)
	if n <= 0 {
		return 0, false
	}
	b.payload = b.payload[n:]
	return v, true
}
