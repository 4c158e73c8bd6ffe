package builtins

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"go.starlark.net/starlark"
)

func makePrint(c *call) (starlark.Value, error) {
	const sep = 1
	between := " "
	if c.given(sep) {
		between = c.str(sep)
	}
	message := c.message(between)
	if c.wrong == 0 && c.ev.Print != nil {
		c.ev.Print(c.ev.position(c.site()), message)
	}
	return starlark.None, nil
}

func makeFail(c *call) (starlark.Value, error) {
	const sep = 1
	between := " "
	if c.given(sep) {
		between = c.str(sep)
	}
	message := c.message(between)
	if c.wrong > 0 {
		return nil, ErrReported
	}
	if message == "" {
		message = "fail was called"
	}
	return nil, &Failure{message}
}

// A Failure is the error that fail makes.
type Failure struct{ Message string }

func (f *Failure) Error() string { return f.Message }

// ErrReported ends an evaluation whose last problem was reported.
var ErrReported = errors.New("this was reported")

// message joins the positional arguments as print writes them, with control
// characters made visible.
func (c *call) message(sep string) string {
	var b strings.Builder
	for i, v := range c.rest {
		if i > 0 {
			b.WriteString(sep)
		}
		s, ok := starlark.AsString(v)
		if !ok {
			s = unescapeMarkers(v.String())
		}
		text, err := c.ev.unmark(s)
		switch {
		case text.hasSecret:
			c.report(Problem{Param: c.Params[0].Name, Index: i, Code: "secret-misused", Message: c.Name + ": a secret cannot be shown"})
		case text.parts != nil:
			for _, p := range text.parts {
				if p.Output != nil {
					fmt.Fprintf(&b, "<output %s of %s>", p.Output.Key, p.Output.Step)
				} else {
					b.WriteString(p.Literal)
				}
			}
		case errors.Is(err, errPiece):
			c.report(Problem{Param: c.Params[0].Name, Index: i, Code: "bad-value", Message: c.Name + ": the text " + err.Error()})
		default:
			b.WriteString(s)
		}
	}
	return Visible(b.String())
}

// Visible returns s with everything that could steer a terminal, or make text
// look like other text, written as an escape.
func Visible(s string) string {
	hidden := func(r rune) bool {
		return r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 || isBidi(r) || r == '\uFFFD'
	}
	if strings.IndexFunc(s, hidden) < 0 {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if hidden(r) {
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// isBidi reports whether r changes the direction of the text after it.
func isBidi(r rune) bool {
	return r >= 0x202A && r <= 0x202E || r >= 0x2066 && r <= 0x2069 || r == 0x200E || r == 0x200F || r == 0x061C
}

// FirstBidi returns the index in source of the first character that changes the
// direction of text, or -1. What a reviewer sees must be what runs.
func FirstBidi(source []byte) int {
	for i := 0; i < len(source); i++ {
		switch c := source[i]; {
		case c == 0xD8 && i+1 < len(source) && source[i+1] == 0x9C:
			return i
		case c == 0xE2 && i+2 < len(source):
			if isBidi(rune(c&0x0F)<<12 | rune(source[i+1]&0x3F)<<6 | rune(source[i+2]&0x3F)) {
				return i
			}
		}
	}
	return -1
}
