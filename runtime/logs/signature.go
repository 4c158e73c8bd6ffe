package logs

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"iter"
	"math/bits"

	"github.com/piper-build/piper/runtime/store"
)

// A signature tells of a build that has ended which of its lines something cannot
// be in. It lies in store.Signatures, and is a sequence of records, each with a
// checksum: a beginning, for each output one that names it, followed by one for
// each of its blocks, and an end.
//
// A block is some whole lines, together 64 KiB or little more. Its record is a
// Bloom filter with one hash: a bit is set for each gram of the lines, or of the
// pieces of long ones. So a line with a gram whose bit is not set is in another
// block. Lines are those of a Reader, wherever chunks begin and end, and one that
// says what was left out is in no block.
//
// It is made of outputs that do not grow any more. A search that finds that it is
// missing, of another version or damaged reads the output from there on.

// The kinds of record.
const (
	recordBegin  = 'b' // a signatureHead
	recordOutput = 'o' // a signatureOutput
	recordBlock  = 'l' // a block
	recordEnd    = 'e'
)

// signatureVersion is changed with what records mean, grams among that.
const signatureVersion = 1

type signatureHead struct {
	Version  int
	Pipeline string // of the build
}

type signatureOutput struct {
	Order   int
	Node    string
	Attempt int
}

// A block is a range of lines, and the bits of their grams.
type block struct {
	first, last int64 // the numbers of the lines
	lines       int64 // how many those are
	bits        []byte
}

// blockSize is how many bytes of lines a block has at least, but for the last one of
// an output.
var blockSize = 64 << 10

const (
	mostBits    = 1 << 16 // as many as there are grams
	blockHead   = 3 * 8
	maxRecord   = 64 << 10
	recordFrame = 1 + 4 + 4 // kind, length and checksum
)

// errSignature says that a signature is not to be used from here on.
var errSignature = errors.New("a signature that is damaged, or of another version")

// A signing is a signature in the making. What it is given lines of must not be
// changed meanwhile.
type signing struct {
	to      store.Signature
	w       *bufio.Writer
	err     error // the first
	block   block // that lines go into; its bits are those below
	size    int   // of its lines
	bits    [mostBits / 64]uint64
	scratch []byte
}

// newSigning begins a signature of what a build wrote, outputs being all of it. The
// error is store.ErrNotFound where no signatures are kept.
func newSigning(ctx context.Context, s store.Logs, o Output) (*signing, error) {
	kept, ok := s.(store.Signatures)
	if !ok {
		return nil, fmt.Errorf("signatures: %w", store.ErrNotFound)
	}
	to, err := kept.Sign(ctx, o.Build, o.Fence)
	if err != nil {
		return nil, err
	}
	g := &signing{to: to, w: bufio.NewWriterSize(to, 64<<10)}
	g.document(recordBegin, signatureHead{signatureVersion, o.Pipeline})
	return g, nil
}

// output begins an output. Its lines follow.
func (g *signing) output(o Output) {
	g.flush()
	g.document(recordOutput, signatureOutput{o.Order, o.Node, o.Attempt})
}

// line adds a line, or a piece of one.
func (g *signing) line(l Line) {
	if l.Cut > 0 {
		return
	}
	if l.Offset == 0 {
		if g.size >= blockSize && l.Number > g.block.last {
			g.flush()
		}
		if g.block.lines == 0 {
			g.block.first = l.Number
		}
		g.block.last = l.Number
		g.block.lines++
	}
	g.size += len(l.Text) + 1
	g.text(l.Text)
	if asASCII.in(l.Text) {
		g.text(asASCII.apply(l.Text))
	}
}

// text sets the bits of the grams of a text.
func (g *signing) text(text []byte) {
	if len(text) < 3 {
		return
	}
	at := uint32(lower[text[0]])<<8 | uint32(lower[text[1]])
	for _, c := range text[2:] {
		at = at<<8 | uint32(lower[c])
		h := gramOf(at)
		g.bits[h/64] |= 1 << (h % 64)
	}
}

// flush writes the block that lines went into. While few of its bits are set their
// number is halved.
func (g *signing) flush() {
	if g.block.lines == 0 {
		return
	}
	words := g.bits[:]
	set := 0
	for _, w := range words {
		set += bits.OnesCount64(w)
	}
	for len(words) > 1 && set*8 <= len(words)*64 {
		half := len(words) / 2
		set = 0
		for i := range half {
			words[i] |= words[half+i]
			set += bits.OnesCount64(words[i])
		}
		words = words[:half]
	}
	p := g.scratch[:0]
	for _, n := range []int64{g.block.first, g.block.last, g.block.lines} {
		p = binary.LittleEndian.AppendUint64(p, uint64(n))
	}
	for _, w := range words {
		p = binary.LittleEndian.AppendUint64(p, w)
	}
	g.record(recordBlock, p)
	g.scratch, g.block, g.size = p, block{}, 0
	clear(g.bits[:])
}

func (g *signing) document(kind byte, v any) {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // it is made of strings and numbers
	}
	if len(data) > maxRecord && g.err == nil {
		g.err = fmt.Errorf("a record of %d bytes", len(data))
	}
	g.record(kind, data)
}

func (g *signing) record(kind byte, data []byte) {
	if g.err != nil {
		return
	}
	var frame [recordFrame]byte
	frame[0] = kind
	binary.LittleEndian.PutUint32(frame[1:], uint32(len(data)))
	binary.LittleEndian.PutUint32(frame[5:], checksum(frame[:5], data))
	_, g.err = g.w.Write(frame[:])
	if g.err == nil {
		_, g.err = g.w.Write(data)
	}
}

func checksum(head, data []byte) uint32 {
	castagnoli := crc32.MakeTable(crc32.Castagnoli) // made once, and only where it is needed
	return crc32.Update(crc32.Checksum(head, castagnoli), castagnoli, data)
}

// keep has the signature be used from now on.
func (g *signing) keep() error {
	g.flush()
	g.record(recordEnd, nil)
	if g.err == nil {
		g.err = g.w.Flush()
	}
	if g.err == nil {
		g.err = g.to.Keep()
	}
	return g.err
}

// close is to be called in the end.
func (g *signing) close() { g.to.Close() }

// A signed reads a signature.
type signed struct {
	from     io.ReadCloser
	r        *bufio.Reader
	data     []byte
	pipeline string
	output   signatureOutput // of the block that was read last
}

// openSigned opens the signature of what a build wrote, if there is one that can be
// used.
func openSigned(ctx context.Context, s store.Logs, b *store.Build) (r *signed, ok bool) {
	kept, ok := s.(store.Signatures)
	if !ok || !b.Terminal() {
		return nil, false
	}
	from, err := kept.Signature(ctx, b.ID, b.Fence)
	if err != nil {
		return nil, false
	}
	r = &signed{from: from, r: bufio.NewReaderSize(from, 64<<10)}
	var head signatureHead
	kind, data, err := r.record()
	if err == nil && kind == recordBegin {
		err = json.Unmarshal(data, &head)
	}
	if err != nil || head.Version != signatureVersion {
		r.close()
		return nil, false
	}
	r.pipeline = head.Pipeline
	return r, true
}

func (r *signed) close() { r.from.Close() }

// A run is a block of an output, or some that follow on each other.
type run struct {
	signatureOutput
	block
	may bool // some of its lines may have what is looked for
}

// mostBlocks bounds a run.
const mostBlocks = 16

// runs yields the blocks. Those that may have all of grams are put together, or each
// would be looked for in the store by itself.
func (r *signed) runs(grams []gram) iter.Seq2[run, error] {
	return func(yield func(run, error) bool) {
		var held run
		var blocks int // in held
		for {
			b, err := r.next()
			ended := err == io.EOF
			if err != nil && !ended {
				yield(run{}, err)
				return
			}
			next := run{r.output, b, !ended && b.may(grams)}
			if next.may && 0 < blocks && blocks < mostBlocks && next.signatureOutput == held.signatureOutput {
				held.last = next.last
				blocks++
				continue
			}
			if blocks > 0 && !yield(held, nil) || ended {
				return
			}
			blocks = 0
			if next.may {
				held, blocks = next, 1
			} else if !yield(next, nil) {
				return
			}
		}
	}
}

// next returns the next block, which is not to be kept; io.EOF says that there are no
// more.
func (r *signed) next() (block, error) {
	for {
		kind, data, err := r.record()
		switch {
		case err != nil:
			return block{}, err
		case kind == recordEnd:
			return block{}, io.EOF
		case kind == recordBlock:
			return parseBlock(data)
		}
		r.output = signatureOutput{}
		if err := json.Unmarshal(data, &r.output); err != nil || kind != recordOutput {
			return block{}, errSignature
		}
	}
}

// record reads a record, whose data is not to be kept.
func (r *signed) record() (kind byte, data []byte, err error) {
	var frame [recordFrame]byte
	if _, err := io.ReadFull(r.r, frame[:]); err != nil {
		return 0, nil, errSignature
	}
	n := int(binary.LittleEndian.Uint32(frame[1:]))
	if n > maxRecord {
		return 0, nil, errSignature
	}
	if cap(r.data) < n {
		r.data = make([]byte, n)
	}
	data = r.data[:n]
	if _, err := io.ReadFull(r.r, data); err != nil || checksum(frame[:5], data) != binary.LittleEndian.Uint32(frame[5:]) {
		return 0, nil, errSignature
	}
	return frame[0], data, nil
}

// parseBlock reads a block out of a record.
func parseBlock(data []byte) (b block, err error) {
	if len(data) < blockHead+8 || bits.OnesCount(uint(len(data)-blockHead)) != 1 {
		return b, errSignature
	}
	for i, n := range []*int64{&b.first, &b.last, &b.lines} {
		*n = int64(binary.LittleEndian.Uint64(data[8*i:]))
	}
	b.bits = data[blockHead:]
	return b, nil
}

// may reports whether some of the lines may have all of grams.
func (b *block) may(grams []gram) bool {
	mask := len(b.bits) - 1
	for _, g := range grams {
		if b.bits[int(g/8)&mask]&(1<<(g%8)) == 0 {
			return false
		}
	}
	return true
}

// forget puts an empty signature in the place of one that is damaged, so that
// another one is made.
func forget(ctx context.Context, s store.Logs, b *store.Build) {
	to, err := s.(store.Signatures).Sign(ctx, b.ID, b.Fence)
	if err != nil {
		return
	}
	defer to.Close()
	_ = to.Keep()
}

// Signed reports whether what a build wrote has a signature.
func Signed(ctx context.Context, s store.Logs, b *store.Build) bool {
	r, ok := openSigned(ctx, s, b)
	if ok {
		r.close()
	}
	return ok
}

// Sign makes the signature of what a build wrote, so that a Scan need not read all
// of it. It makes none where the store keeps none, and of a build that has not
// ended, or not by itself: then more may come.
func Sign(ctx context.Context, s interface {
	History
	store.Logs
}, b store.Build) error {
	if _, ok := s.(store.Signatures); !ok {
		return nil
	}
	err := sign(ctx, s, &b)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("sign what build %d wrote: %w", b.Number, err)
	}
	return nil
}

func sign(ctx context.Context, s interface {
	History
	store.Logs
}, b *store.Build) error {
	outputs, whole, err := outputsOf(ctx, s, b)
	if err != nil || !whole || len(outputs) == 0 {
		return err
	}
	g, err := newSigning(ctx, s, outputs[0])
	if err != nil {
		return err
	}
	defer g.close()
	for _, o := range outputs {
		g.output(o)
		for line, err := range o.reader(s).Lines(ctx, o.Node, o.Attempt, 1, 0) {
			if err != nil {
				return err
			}
			g.line(line)
		}
	}
	return g.keep()
}
