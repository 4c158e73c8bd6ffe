package logs

import (
	"strconv"
	"strings"
)

// A style is how a character looks. Colours are 0 for the terminal's own, else
// one of the kinds below and a value.
type style struct {
	fg, bg uint32
	attrs  uint16 // a bit for each SGR number from 1 to 9
}

const (
	named   = 1 << 24 // the SGR number for a foreground: 30 to 37, 90 to 97
	palette = 2 << 24 // one of 256
	exact   = 3 << 24 // red, green and blue
)

// shownAttrs are bold, dim, italic, underline, reverse and strike. Blinking is
// a nuisance, and concealing would hide what was written.
const shownAttrs = 1<<1 | 1<<2 | 1<<3 | 1<<4 | 1<<7 | 1<<9

// apply changes a style by the parameters of an SGR sequence. What is unknown
// changes nothing.
func (s *style) apply(params string) {
	for rest, more := params, true; more; {
		var param string
		param, rest, more = strings.Cut(rest, ";")
		n, sub, _ := strings.Cut(param, ":")
		switch code := number(n); {
		case code == 0:
			*s = style{}
		case code == 4 && sub == "0":
			s.attrs &^= 1 << 4
		case code >= 1 && code <= 9:
			s.attrs |= 1 << code & shownAttrs
		case code == 21: // underlined twice
			s.attrs |= 1 << 4
		case code == 22:
			s.attrs &^= 1<<1 | 1<<2
		case code >= 23 && code <= 29:
			s.attrs &^= 1 << (code - 20)
		case code >= 30 && code <= 37, code >= 90 && code <= 97:
			s.fg = named | uint32(code)
		case code >= 40 && code <= 47, code >= 100 && code <= 107:
			s.bg = named | uint32(code-10)
		case code == 39:
			s.fg = 0
		case code == 49:
			s.bg = 0
		case code == 38 || code == 48 || code == 58: // 58: the underline's, not shown
			var colour uint32
			if sub != "" {
				colour, _ = extended(sub, ":")
			} else {
				colour, rest = extended(rest, ";")
				more = more && rest != ""
			}
			switch {
			case colour == 0:
			case code == 38:
				s.fg = colour
			case code == 48:
				s.bg = colour
			}
		}
	}
}

// extended reads "5;n" or "2;r;g;b" at the front of params, and returns what
// follows; the colour is 0 when it is neither. Between colons "2::r:g:b" is
// right as well.
func extended(params, separator string) (colour uint32, rest string) {
	kind, rest, _ := strings.Cut(params, separator)
	want := 0
	switch kind {
	case "5":
		colour, want = palette, 1
	case "2":
		colour, want = exact, 3
		if separator == ":" && strings.Count(rest, ":") > 2 {
			_, rest, _ = strings.Cut(rest, ":") // the colour space
		}
	}
	for range want {
		var param string
		param, rest, _ = strings.Cut(rest, separator)
		n := number(param)
		if n < 0 || n > 255 {
			return 0, rest
		}
		colour = colour&0xff000000 | (colour&0xffff)<<8 | uint32(n)
	}
	return colour, rest
}

// number reads a parameter: an empty one is 0, what is none or too large -1.
func number(param string) int {
	n := 0
	for i := range len(param) {
		c := param[i]
		if c < '0' || c > '9' || n > 999 {
			return -1
		}
		n = n*10 + int(c-'0')
	}
	return n
}

// appendTo appends the SGR sequence that sets s, whatever was set before.
func (s style) appendTo(b []byte) []byte {
	b = append(b, "\x1b[0"...)
	for code := 1; code <= 9; code++ {
		if s.attrs&(1<<code) != 0 {
			b = append(b, ';', byte('0'+code))
		}
	}
	b = appendColour(b, s.fg, 0)
	b = appendColour(b, s.bg, 10)
	return append(b, 'm')
}

// appendColour appends the parameters of a colour; background is what a
// background's numbers lie above a foreground's.
func appendColour(b []byte, colour uint32, background int) []byte {
	value := int(colour & 0xffffff)
	switch colour &^ 0xffffff {
	case named:
		b = appendParams(b, value+background)
	case palette:
		b = appendParams(b, 38+background, 5, value)
	case exact:
		b = appendParams(b, 38+background, 2, value>>16, value>>8&0xff, value&0xff)
	}
	return b
}

func appendParams(b []byte, params ...int) []byte {
	for _, p := range params {
		b = strconv.AppendInt(append(b, ';'), int64(p), 10)
	}
	return b
}
