package logs

import (
	"bytes"
	"strings"
	"time"
	"unicode/utf8"
)

// maxColumns is how many characters a line that is shown has at most; a longer
// one is shown in pieces.
const maxColumns = 4096

// A Sanitizer is a Writer that turns what a step writes into lines that are
// safe to show: what a terminal would be left showing, minus all that could
// drive the terminal of whoever looks.
//
// Colours and the like (SGR: bold, dim, italic, underline, reverse, strike,
// foreground, background) survive, and are switched off at the end of each
// line. A carriage return goes back to the line's start, so of a progress bar
// its last state is left; backspace, and erasing to the end of the line, work,
// too. Every other escape sequence is swallowed, a string such as a window's
// title (OSC, DCS) until its end or the line's. Other control characters are
// shown as pictures (␀), bytes that are not UTF-8 as �, and what turns the
// direction of writing around is left out.
//
// Time is linear in what is written. Memory is bounded. Use it for what is
// shown, never for what is kept.
type Sanitizer struct {
	// Line is called for each line, without its line end, and for each piece
	// of 4096 characters of a longer one; at is when its first byte arrived.
	// text is not to be kept.
	Line func(at time.Time, text []byte) error

	at     time.Time // of the line under way
	begun  bool
	line   []cell
	column int // where the next character goes
	style  style
	state  state
	params []byte // of the control sequence under way
	rune   []byte // the first bytes of a character that was torn
	out    []byte
	err    error // the first of Line
}

// A cell is one character on the line.
type cell struct {
	r     rune
	style style
}

// A state is where in an escape sequence the Sanitizer stands.
type state byte

const (
	plain   state = iota
	escape        // after ESC
	control       // in a control sequence: after ESC [
	text          // in a string that nobody sees
	textEnd       // after an ESC in such a string
)

// maxParams bounds the parameters of a control sequence. A longer one has no
// effect.
const maxParams = 128

// Sanitize returns the last state of line, which should hold no line end, as
// a Sanitizer shows it. Of a line of more than 4096 characters it is the end.
func Sanitize(line []byte) string {
	if clean(line) {
		return string(line)
	}
	var last string
	s := Sanitizer{Line: func(_ time.Time, text []byte) error {
		last = string(text)
		return nil
	}}
	s.write(line)
	s.flush()
	return last
}

// Write takes what a step wrote. The error is one of Line.
func (s *Sanitizer) Write(at time.Time, p []byte) error {
	for len(p) > 0 {
		part, rest, ended := bytes.Cut(p, newline)
		if !s.begun {
			s.at, s.begun = at, true
			if ended && s.style == (style{}) && clean(part) {
				s.begun, p = false, rest
				s.hand(part)
				continue
			}
		}
		s.write(part)
		if ended {
			s.flush()
		}
		p = rest
	}
	return s.err
}

// Close shows the last line when no line end follows it.
func (s *Sanitizer) Close() error {
	if s.begun {
		s.flush()
	}
	return s.err
}

// clean reports whether p can be shown as it is. It says no to what it would
// have to look at closely.
func clean(p []byte) bool {
	if len(p) > maxColumns {
		return false
	}
	for _, c := range p {
		if (c < ' ' && c != '\t') || c >= 0x7f {
			return false
		}
	}
	return true
}

// flush hands out the line and begins the next.
func (s *Sanitizer) flush() {
	if len(s.rune) > 0 {
		s.rune = s.rune[:0]
		s.put(utf8.RuneError)
	}
	s.emit()
	s.state, s.begun = plain, false
}

// emit hands out the line as it stands.
func (s *Sanitizer) emit() {
	s.out = s.out[:0]
	var now style
	for _, c := range s.line {
		if c.style != now {
			s.out = c.style.appendTo(s.out)
			now = c.style
		}
		s.out = utf8.AppendRune(s.out, c.r)
	}
	if now != (style{}) {
		s.out = append(s.out, "\x1b[0m"...)
	}
	s.line, s.column = s.line[:0], 0
	s.hand(s.out)
}

// hand calls Line, unless it has failed.
func (s *Sanitizer) hand(text []byte) {
	if s.err == nil {
		s.err = s.Line(s.at, text)
	}
}

// write takes a part of a line.
func (s *Sanitizer) write(p []byte) {
	for len(s.rune) > 0 && len(p) > 0 {
		// Complete the character that was torn.
		if !utf8.RuneStart(p[0]) {
			s.rune = append(s.rune, p[0])
			p = p[1:]
			if !utf8.FullRune(s.rune) {
				continue
			}
		}
		for torn := s.rune; len(torn) > 0; {
			r, size := utf8.DecodeRune(torn)
			s.take(r)
			torn = torn[size:]
		}
		s.rune = s.rune[:0]
	}
	for len(p) > 0 {
		if n := s.simple(p); n > 0 {
			p = p[n:]
			continue
		}
		r, size := rune(p[0]), 1
		if r >= utf8.RuneSelf {
			if !utf8.FullRune(p) {
				s.rune = append(s.rune, p...)
				return
			}
			r, size = utf8.DecodeRune(p)
		}
		s.take(r)
		p = p[size:]
	}
}

// simple takes the characters at the front of p of which there is nothing to
// decide, and returns how many. It is a short cut for most of all text.
func (s *Sanitizer) simple(p []byte) int {
	if s.state != plain || s.column != len(s.line) {
		return 0
	}
	p = p[:min(len(p), maxColumns-s.column)]
	for i, c := range p {
		if c < ' ' || c >= 0x7f {
			p = p[:i]
			break
		}
		s.line = append(s.line, cell{rune(c), s.style})
	}
	s.column = len(s.line)
	return len(p)
}

// take takes one character.
func (s *Sanitizer) take(r rune) {
	const esc, bel, can, sub, st = 0x1b, 0x07, 0x18, 0x1a, 0x9c
	switch {
	case r == can, r == sub:
		s.state = plain
		return
	case s.state == text && r == bel, s.state == text && r == st, s.state == textEnd && r == '\\':
		s.state = plain
		return
	case s.state == text && r != esc:
		return
	case s.state == text:
		s.state = textEnd
		return
	case r == esc:
		s.state = escape
		return
	}
	switch s.state {
	case plain:
		s.show(r)
	case escape, textEnd: // an ESC in a string ends it, whatever follows
		s.escaped(r)
	case control:
		s.controlled(r)
	}
}

// escaped takes a character after ESC.
func (s *Sanitizer) escaped(r rune) {
	switch {
	case r == '[':
		s.state, s.params = control, s.params[:0]
	case r == ']', r == 'P', r == 'X', r == '^', r == '_':
		s.state = text
	case ' ' <= r && r <= '/': // more of it follows
		s.state = escape
	case '0' <= r && r <= '~':
		s.state = plain
	default:
		s.state = plain
		s.show(r)
	}
}

// controlled takes a character of a control sequence.
func (s *Sanitizer) controlled(r rune) {
	switch {
	case ' ' <= r && r <= '?':
		if len(s.params) <= maxParams {
			s.params = append(s.params, byte(r))
		}
	case '@' <= r && r <= '~':
		s.state = plain
		if len(s.params) <= maxParams {
			s.execute(byte(r), string(s.params))
		}
	case r < ' ': // a terminal obeys it in passing
		s.show(r)
	default:
		s.state = plain
		s.show(r)
	}
}

// execute carries out a control sequence, if it is one of the few.
func (s *Sanitizer) execute(final byte, params string) {
	switch {
	case final == 'm' && strings.Trim(params, "0123456789;:") == "": // else it is something else
		s.style.apply(params)
	case final == 'K' && (params == "" || params == "0"):
		s.line = s.line[:min(s.column, len(s.line))]
	case final == 'K' && params == "2": // and a carriage return goes with it
		s.line, s.column = s.line[:0], 0
	case final == 'G' && (params == "" || params == "0" || params == "1"):
		s.column = 0
	}
}

// show puts a character on the line, or does what a control character does.
func (s *Sanitizer) show(r rune) {
	switch {
	case r == '\r':
		s.column = 0
	case r == '\b':
		s.column = max(s.column-1, 0)
	case r == '\a':
	case r == '\t':
		s.put(r)
	case r < ' ':
		s.put('␀' + r)
	case r == 0x7f:
		s.put('␡')
	case 0x80 <= r && r < 0xa0:
		s.put(utf8.RuneError)
	case r == 0x200e, r == 0x200f, r == 0x61c, 0x2028 <= r && r <= 0x202e, 0x2066 <= r && r <= 0x2069:
		// They turn the direction of writing around, or break the line.
	default:
		s.put(r)
	}
}

// put puts a character at the column. A full line is handed out as a piece.
func (s *Sanitizer) put(r rune) {
	if s.column == maxColumns {
		s.emit()
	}
	c := cell{r, s.style}
	if s.column < len(s.line) {
		s.line[s.column] = c
	} else {
		s.line = append(s.line, c)
	}
	s.column++
}
