package isolate

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// A frame is one message: its kind, the length of its payload in four bytes,
// the payload.
type frame struct {
	kind    byte
	payload []byte
}

// The kinds of frames.
const (
	// From the parent.
	evaluate    byte = 'e' // a call: a request to evaluate. Its answer is an outcome
	expand      byte = 'x' // a call of the Expander that came of the last evaluation
	listTests   byte = 'l' // a call: a request for the tests of a file
	runTest     byte = 't' // a call: a request to run a test
	openSession byte = 's' // a call: a request to open a session
	say         byte = 'i' // a call: an input for the session
	data        byte = 'd' // a part of an answer
	answer      byte = 'a' // its end

	// From the child.
	hello    byte = 'h' // what holds; the first frame
	question byte = 'q' // which the parent answers at once
	printed  byte = 'p'
	part     byte = 'r' // a part of the result
	outcome  byte = 'o' // its end
)

// The bounds of frames. A child holds to them, and one that does not is no
// longer itself.
const (
	maxPart   = 2 << 20  // the payload of any frame of a child
	maxParts  = 8 << 20  // of all parts of one result
	maxChunk  = 64 << 10 // of a data frame
	maxParent = 64 << 20 // of any frame of a parent; and what one answer may come to
)

var errFrame = errors.New("what it sends is not understood")

const headSize = 5

// writeFrame writes a frame in one go.
func writeFrame(w io.Writer, kind byte, payload []byte) error {
	b := make([]byte, headSize, headSize+len(payload))
	b[0] = kind
	binary.BigEndian.PutUint32(b[1:], uint32(len(payload)))
	_, err := w.Write(append(b, payload...))
	return err
}

// A frameReader reads frames of at most limit bytes. A payload is good until
// the next is read.
type frameReader struct {
	r     *bufio.Reader
	limit int
	room  []byte
}

func newFrameReader(r io.Reader, limit int) *frameReader {
	return &frameReader{r: bufio.NewReaderSize(r, 16<<10), limit: limit}
}

// next reads a frame. The error is io.EOF when there is none.
func (f *frameReader) next() (frame, error) {
	var head [headSize]byte
	if _, err := io.ReadFull(f.r, head[:]); err != nil {
		return frame{}, err
	}
	n := int(binary.BigEndian.Uint32(head[1:]))
	if n > f.limit {
		return frame{}, fmt.Errorf("%w: a frame %q of %d bytes", errFrame, head[0], n)
	}
	if n > cap(f.room) {
		f.room = make([]byte, n) // which takes no memory before it is written to
	}
	payload := f.room[:n]
	if _, err := io.ReadFull(f.r, payload); err != nil {
		return frame{}, err
	}
	return frame{head[0], payload}, nil
}

// decode reads the payload of a frame that must be of a kind.
func (f frame) decode(kind byte, v any) error {
	if f.kind != kind {
		return fmt.Errorf("%w: a frame %q, want %q", errFrame, f.kind, kind)
	}
	if err := json.Unmarshal(f.payload, v); err != nil {
		return fmt.Errorf("%w: %w", errFrame, err)
	}
	return nil
}
