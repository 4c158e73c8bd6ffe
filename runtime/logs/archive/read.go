package archive

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
)

// mostRecord bounds a line of a file: the longest is a plan.
const mostRecord = 256 << 20

// A sink takes what a file has, as it is read. What fails ends the reading.
type sink interface {
	header(h *Header) error
	plan(p *plan.Plan) error
	event(ev build.Event) error
	line(l *Line) error
	output() error // no more lines of that attempt
}

// nowhere is a sink that takes nothing.
type nowhere struct{}

func (nowhere) header(*Header) error    { return nil }
func (nowhere) plan(*plan.Plan) error   { return nil }
func (nowhere) event(build.Event) error { return nil }
func (nowhere) line(*Line) error        { return nil }
func (nowhere) output() error           { return nil }

// Check reads a file and sees whether it is whole and as it was written. Its errors
// say in which line it is not.
func Check(ctx context.Context, from io.Reader) (Header, Sum, error) {
	return read(ctx, from, nowhere{})
}

func read(ctx context.Context, from io.Reader, to sink) (Header, Sum, error) {
	r := reader{in: bufio.NewReaderSize(from, 256<<10), to: to, all: sha256.New(), kept: sha256.New()}
	for !r.ended {
		if err := ctx.Err(); err != nil {
			return r.head, r.sum, err
		}
		r.number++
		text, err := r.record()
		if err == nil {
			err = r.take(text)
		}
		if err != nil {
			return r.head, r.sum, fmt.Errorf("line %d: %w", r.number, err)
		}
	}
	if _, err := r.in.ReadByte(); err == nil {
		return r.head, r.sum, fmt.Errorf("line %d: something follows the end: %w", r.number+1, ErrBroken)
	} else if !errors.Is(err, io.EOF) {
		return r.head, r.sum, err
	}
	return r.head, r.sum, nil
}

// A reader is one pass over a file.
type reader struct {
	in     *bufio.Reader
	to     sink
	number int       // of the line of the file
	all    hash.Hash // of the lines before that
	text   []byte
	kind   string // of the line before
	head   Header
	sum    Sum
	ended  bool

	out    outputRecord // the attempt whose lines are read; its Kind is "" when there is none
	first  int          // the line of the file in which it began
	kept   hash.Hash
	next   int64 // the Line that has to come
	offset int64
}

func broken(format string, args ...any) error {
	return fmt.Errorf(format+": %w", append(args, ErrBroken)...)
}

// record reads a line of the file.
func (r *reader) record() ([]byte, error) {
	r.text = r.text[:0]
	for {
		part, err := r.in.ReadSlice('\n')
		r.text = append(r.text, part...)
		switch {
		case err == nil:
			return r.text, nil
		case len(r.text) > mostRecord:
			return nil, broken("it is longer than %d bytes", mostRecord)
		case errors.Is(err, bufio.ErrBufferFull):
		case !errors.Is(err, io.EOF):
			return nil, err
		case len(r.text) > 0:
			return nil, broken("the file is cut off in it")
		case r.number == 1:
			return nil, broken("the file is empty")
		default:
			return nil, broken("the file is cut off before it")
		}
	}
}

// after says which kinds come after which.
var after = map[string][]string{
	"":       {"header"},
	"header": {"plan"},
	"plan":   {"event", "line", "output", "end"},
	"event":  {"event", "line", "output", "end"},
	"line":   {"line", "output"},
	"output": {"line", "output", "end"},
}

// take takes a line of the file.
func (r *reader) take(text []byte) error {
	var what struct {
		Kind   string `json:"kind"`
		Schema int    `json:"schema"`
	}
	if err := json.Unmarshal(text, &what); err != nil {
		return broken("it is no JSON object (%v)", err)
	}
	if r.number == 1 {
		switch {
		case what.Kind != "header" || what.Schema < 1:
			return broken("it does not begin what piper logs --export writes")
		case what.Schema > Schema:
			return fmt.Errorf("it is of schema %d, and this piper reads those up to %d: %w", what.Schema, Schema, ErrSchema)
		}
	}
	if !slices.Contains(after[r.kind], what.Kind) {
		return broken("no %q comes after %q", what.Kind, r.kind)
	}
	r.kind = what.Kind
	var err error
	switch what.Kind {
	case "header":
		if err = decode(text, &r.head); err == nil {
			err = r.to.header(&r.head)
		}
	case "plan":
		err = r.plan(text)
	case "event":
		err = r.event(text)
	case "line":
		err = r.line(text)
	case "output":
		err = r.output(text)
	case "end":
		return r.end(text)
	}
	r.all.Write(text)
	return err
}

func decode(text []byte, into any) error {
	if err := json.Unmarshal(text, into); err != nil {
		return broken("it is not what it should be (%v)", err)
	}
	return nil
}

func (r *reader) plan(text []byte) error {
	var record planRecord
	if err := decode(text, &record); err != nil {
		return err
	}
	p, err := plan.Decode(record.Plan)
	if err != nil {
		return broken("there is no plan in it (%v)", err)
	}
	if got := p.Digest(); got != r.head.Build.PlanDigest {
		return broken("the plan's digest is %s, and the header names %s", got, r.head.Build.PlanDigest)
	}
	return r.to.plan(p)
}

func (r *reader) event(text []byte) error {
	var record eventRecord
	if err := decode(text, &record); err != nil {
		return err
	}
	if r.sum.Events++; record.Event.Seq != r.sum.Events {
		return broken("it has event %d, where %d has to come", record.Event.Seq, r.sum.Events)
	}
	return r.to.event(record.Event)
}

// begin begins an attempt, unless its lines are being read.
func (r *reader) begin(step string, attempt int) error {
	if r.out.Kind != "" {
		if r.out.Step != step || r.out.Attempt != attempt {
			return broken("it is of step %q, attempt %d, and that of step %q, attempt %d, has not ended", step, attempt, r.out.Step, r.out.Attempt)
		}
		return nil
	}
	r.out = outputRecord{Kind: "output", Step: step, Attempt: attempt}
	r.first, r.next, r.offset = r.number, 1, 0
	r.kept.Reset()
	return nil
}

func (r *reader) line(text []byte) error {
	var l Line
	if err := decode(text, &l); err != nil {
		return err
	}
	if err := r.begin(l.Step, l.Attempt); err != nil {
		return err
	}
	has := (l.Text != nil) != (l.Raw != nil)
	switch {
	case (l.Cut == 0) != has || l.Cut < 0 || l.CutLines < 0 || l.Cut == 0 && l.CutLines > 0:
		return broken("it has to have one of text, raw and cut")
	case l.Line != r.next || l.Cut == 0 && l.Offset != r.offset:
		return broken("it has line %d from byte %d on, where line %d from byte %d on has to come", l.Line, l.Offset, r.next, r.offset)
	case l.Cut > 0:
		r.next, r.offset = r.next+l.CutLines, 0
	case l.Partial:
		r.offset += int64(len(l.Bytes()))
	default:
		r.next, r.offset = r.next+1, 0
	}
	r.out.Lines++
	r.out.Bytes += keep(r.kept, &l)
	return r.to.line(&l)
}

func (r *reader) output(text []byte) error {
	var record outputRecord
	if err := decode(text, &record); err != nil {
		return err
	}
	if err := r.begin(record.Step, record.Attempt); err != nil {
		return err
	}
	r.out.Digest = digestOf(r.kept)
	if record != r.out {
		return broken("step %q, attempt %d, has %d lines, %d bytes, %s, and what stands from line %d on has %d, %d, %s",
			record.Step, record.Attempt, record.Lines, record.Bytes, record.Digest, r.first, r.out.Lines, r.out.Bytes, r.out.Digest)
	}
	r.sum.Outputs++
	r.sum.Lines += r.out.Lines
	r.sum.Bytes += r.out.Bytes
	r.out.Kind = ""
	return r.to.output()
}

func (r *reader) end(text []byte) error {
	var record endRecord
	if err := decode(text, &record); err != nil {
		return err
	}
	r.sum.Digest = digestOf(r.all)
	if record.Sum != r.sum {
		return broken("there should be %s before it, and there are %s", record.Sum, r.sum)
	}
	r.ended = true
	return nil
}
