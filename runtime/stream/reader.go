package stream

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"
	"unicode/utf8"

	"github.com/piper-build/piper/runtime/build"
)

// ErrGarbage is what the error of a Reader wraps when what came is no stream.
var ErrGarbage = errors.New("it is no stream of a build")

// A Line is one line of a stream.
type Line struct {
	Event  *build.Event // set when it is an event
	Output *Output      // set when it is output
	Kind   string       // of any line
	Text   []byte       // of a line that is neither; good until the next is read
}

// Output is a piece of what an attempt wrote.
type Output struct {
	Node    string
	Attempt int
	Time    time.Time
	Data    []byte
}

// A Reader reads a stream, line by line. It holds one line at a time.
type Reader struct {
	in   *bufio.Reader
	max  int
	n    int    // of the line that was read last
	long []byte // a line that is longer than in holds
}

// NewReader makes a Reader of the stream r, with lines of up to MaxLine bytes.
func NewReader(r io.Reader) *Reader {
	return &Reader{in: bufio.NewReaderSize(r, maxHold), max: MaxLine}
}

// Next returns the next line. The error is io.EOF after the last one; it wraps
// ErrGarbage, and says what came in which line, when that is none of a stream.
func (r *Reader) Next() (Line, error) {
	r.n++
	text, err := r.line()
	if err != nil {
		return Line{}, err
	}
	var is struct {
		build.Event
		Data   *string `json:"data"`
		Base64 []byte  `json:"data_base64"`
	}
	switch err := json.Unmarshal(text, &is); {
	case !utf8.Valid(text):
		return Line{}, r.garbage("is not UTF-8", text)
	case err != nil:
		return Line{}, r.garbage(fmt.Sprintf("cannot be read (%v)", err), text)
	case is.Kind == "":
		return Line{}, r.garbage("has no kind", text)
	}
	l := Line{Kind: string(is.Kind)}
	switch {
	case is.Seq != 0:
		l.Event = &is.Event
	case l.Kind != outputKind:
		l.Text = text
	case is.Node == "" || is.Attempt == 0:
		return Line{}, r.garbage("does not say whose output it is", text)
	default:
		l.Output = &Output{Node: is.Node, Attempt: is.Attempt, Time: is.Time, Data: is.Base64}
		if is.Data != nil {
			l.Output.Data = []byte(*is.Data)
		}
	}
	return l, nil
}

// line returns the next line, good until the one after it is read.
func (r *Reader) line() ([]byte, error) {
	if cap(r.long) > 4*maxHold {
		r.long = nil
	}
	text, err := r.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		r.long = r.long[:0]
		for errors.Is(err, bufio.ErrBufferFull) && len(r.long) <= r.max {
			r.long = append(r.long, text...)
			text, err = r.in.ReadSlice('\n')
		}
		r.long = append(r.long, text...)
		text = r.long
	}
	switch {
	case len(text) > r.max:
		return nil, r.garbage(fmt.Sprintf("is longer than %d bytes", r.max), text)
	case err == io.EOF && len(text) > 0:
		return nil, fmt.Errorf("%w (%w)", r.garbage("breaks off", text), io.ErrUnexpectedEOF)
	case err != nil:
		return nil, err
	}
	return bytes.TrimSuffix(text, []byte("\n")), nil
}

// garbage is the error of a line.
func (r *Reader) garbage(what string, text []byte) error {
	const most = 100
	more := ""
	if len(text) > most {
		text, more = text[:most], "…"
	}
	return fmt.Errorf("line %d %s: %q%s: %w", r.n, what, text, more, ErrGarbage)
}
