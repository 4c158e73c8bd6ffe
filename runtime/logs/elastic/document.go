package elastic

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/logs"
)

// A document is a line as it is sent.
type document struct {
	id   string
	body []byte
}

// The longest text that is found: no word of an index may be longer than 32766
// bytes. That of a longer line is several, which overlap by as much as may be
// looked for.
const (
	mostText = 10_000
	overlap  = 1_000
)

// key begins the ID of all that is kept of an output.
func key(o *logs.Output) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\x00%d\x00%s\x00%d", o.Build, o.Fence, o.Node, o.Attempt))
	return base64.RawURLEncoding.EncodeToString(sum[:16])
}

// mark is the ID of what says that all of a build is there.
func mark(id build.ID) string {
	sum := sha256.Sum256([]byte(id))
	return "end-" + base64.RawURLEncoding.EncodeToString(sum[:16])
}

// A writer makes documents of the lines of one output.
type writer struct {
	key  string
	same []byte // that all of them have: the rest of an object
	made time.Time
}

func newWriter(o *logs.Output) *writer {
	same, err := json.Marshal(struct {
		Build    build.ID  `json:"build"`
		Number   int64     `json:"number"`
		Project  string    `json:"project"`
		Pipeline string    `json:"pipeline"`
		Created  time.Time `json:"created"`
		Fence    int64     `json:"fence"`
		Order    int       `json:"order"`
		Step     string    `json:"step"`
		Attempt  int       `json:"attempt"`
	}{o.Build, o.Number, o.Project, o.Pipeline, o.Created.UTC(), o.Fence, o.Order, o.Node, o.Attempt})
	if err != nil {
		panic(fmt.Sprintf("elastic: an output that is not JSON: %v", err)) // it is made of strings and numbers
	}
	same[0] = ','
	return &writer{key(o), same, o.Created}
}

// document makes the document of a line.
func (w *writer) document(l *logs.Line) document {
	at := l.Arrival
	if at.IsZero() {
		at = w.made
	}
	b := make([]byte, 0, len(l.Text)+len(l.Text)/8+len(w.same)+160)
	b = append(b, `{"@timestamp":"`...)
	b = at.UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z")
	b = append(b, `","line":`...)
	b = strconv.AppendInt(b, l.Number, 10)
	b = append(b, `,"begin":`...)
	b = strconv.AppendInt(b, l.Begin, 10)
	if l.Offset > 0 {
		b = append(b, `,"offset":`...)
		b = strconv.AppendInt(b, l.Offset, 10)
	}
	if l.Newline {
		b = append(b, `,"whole":true`...)
	}
	id := w.key + "-" + strconv.FormatInt(l.Begin, 36)
	if l.Cut > 0 {
		b = append(b, `,"cut":`...)
		b = strconv.AppendInt(b, l.Cut, 10)
		b = append(b, `,"cut_lines":`...)
		b = strconv.AppendInt(b, l.CutLines, 10)
	} else {
		b = append(b, `,"text":`...)
		var exact bool
		b, exact = appendText(b, l.Text)
		if !exact {
			b = append(b, `,"raw":"`...)
			b = base64.StdEncoding.AppendEncode(b, l.Text)
			b = append(b, '"')
		}
	}
	return document{id, append(b, w.same...)}
}

// appendText appends what a line is found by: a string, or an array of them. It
// is not exact when that is not its bytes.
func appendText(b, text []byte) (_ []byte, exact bool) {
	if len(text) <= mostText {
		return appendString(b, text)
	}
	b = append(b, '[')
	for {
		part := text
		if len(part) > mostText {
			part = part[:runeStart(part, mostText)]
		}
		b, _ = appendString(b, part)
		if len(part) == len(text) {
			return append(b, ']'), false
		}
		b = append(b, ',')
		text = text[runeStart(part, len(part)-overlap):]
	}
}

// runeStart is the place at or shortly before i at which p can be cut.
func runeStart(p []byte, i int) int {
	for n := 0; n < utf8.UTFMax && i > 0 && i < len(p) && !utf8.RuneStart(p[i]); n++ {
		i--
	}
	return i
}

const hex = "0123456789abcdef"

// appendString appends a JSON string. It is exact unless text is not UTF-8: what
// is not is replaced.
func appendString(b, text []byte) (_ []byte, exact bool) {
	exact = true
	b = append(b, '"')
	begin := 0
	for i := 0; i < len(text); {
		c := text[i]
		if c >= ' ' && c < utf8.RuneSelf && c != '"' && c != '\\' {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, size := utf8.DecodeRune(text[i:])
			if r != utf8.RuneError || size > 1 {
				i += size
				continue
			}
			b = append(b, text[begin:i]...)
			b = append(b, "\uFFFD"...)
			exact = false
		} else {
			b = append(b, text[begin:i]...)
			if c == '"' || c == '\\' {
				b = append(b, '\\', c)
			} else {
				b = append(b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
			}
		}
		i++
		begin = i
	}
	return append(append(b, text[begin:]...), '"'), exact
}

// A source is a document as it comes back.
type source struct {
	Time     time.Time       `json:"@timestamp"`
	Line     int64           `json:"line"`
	Begin    int64           `json:"begin"`
	Offset   int64           `json:"offset"`
	Whole    bool            `json:"whole"`
	Cut      int64           `json:"cut"`
	CutLines int64           `json:"cut_lines"`
	Text     json.RawMessage `json:"text"`
	Raw      []byte          `json:"raw"`
	Build    build.ID        `json:"build"`
	Number   int64           `json:"number"`
	Project  string          `json:"project"`
	Pipeline string          `json:"pipeline"`
	Created  time.Time       `json:"created"`
	Fence    int64           `json:"fence"`
	Order    int             `json:"order"`
	Step     string          `json:"step"`
	Attempt  int             `json:"attempt"`
}

func (s *source) output() logs.Output {
	return logs.Output{Build: s.Build, Number: s.Number, Project: s.Project, Pipeline: s.Pipeline, Created: s.Created,
		Fence: s.Fence, Order: s.Order, Node: s.Step, Attempt: s.Attempt}
}

func (s *source) line() (logs.Line, error) {
	l := logs.Line{Number: s.Line, Arrival: s.Time, Begin: s.Begin, Offset: s.Offset, Text: s.Raw, Newline: s.Whole, Cut: s.Cut, CutLines: s.CutLines}
	if s.Raw != nil || s.Cut > 0 {
		return l, nil
	}
	var text string
	if err := json.Unmarshal(s.Text, &text); err != nil {
		return l, fmt.Errorf("read line %d of step %q of build %d: %w", s.Line, s.Step, s.Number, err)
	}
	l.Text = []byte(text)
	return l, nil
}
