package logs

import (
	"encoding/base64"
	"encoding/hex"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// encodings returns what value looks like when a program prints it: as it is,
// and in each of the usual encodings. Of a value with several lines, each
// line counts as a value of its own as well. Every string is at least
// minPattern bytes long, and none stands twice.
func encodings(value string) []string {
	e := make(encoder)
	e.value(value)
	e.value(strings.TrimSpace(value))
	e.add(strings.Join(strings.Fields(value), " ")) // echo $SECRET, without quotes
	if strings.ContainsRune(value, '\n') {
		e.add(strings.ReplaceAll(value, "\n", "\r\n")) // a terminal's doing
		for line := range strings.Lines(value) {
			// Without the space around it, or the indentation of every line
			// in the log would be masked.
			e.value(strings.TrimSpace(line))
		}
	}
	return slices.Collect(maps.Keys(e))
}

// An encoder is the set of encodings found so far.
type encoder map[string]struct{}

func (e encoder) add(s string) {
	if len(s) >= minPattern {
		e[s] = struct{}{}
	}
}

func (e encoder) value(v string) {
	if len(v) < minPattern {
		return
	}
	e.add(v)
	e.base64(v)
	e.base64(v + "\n") // echo "$SECRET" | base64
	e.hex(v)
	e.url(v)
	e.json(v)
	e.shell(v)
}

// base64 adds what of v's base64 does not depend on what stands before and
// after v, for each of the three places in a group of three bytes where v may
// begin; and all of it for a v that is encoded by itself, padded or not, in one
// line or in lines of 64 (openssl) or 76 (base64, MIME) characters.
func (e encoder) base64(v string) {
	for _, alphabet := range []*base64.Encoding{base64.RawStdEncoding, base64.RawURLEncoding} {
		for before := range 3 {
			text := alphabet.EncodeToString([]byte("\x00\x00\x00"[:before] + v))
			first := (8*before + 5) / 6       // the first character made of v's bits alone
			last := (8*before + 8*len(v)) / 6 // the first after it that is not
			e.add(text[first:last])
		}
		alone := alphabet.EncodeToString([]byte(v))
		padded := alphabet.WithPadding(base64.StdPadding).EncodeToString([]byte(v))
		e.add(alone)
		e.add(padded)
		for _, width := range []int{64, 76} {
			if len(padded) > width {
				e.lines(padded, width)
			}
		}
	}
}

// lines adds text broken into lines of width characters: the whole, and each
// line.
func (e encoder) lines(text string, width int) {
	var broken []string
	for len(text) > width {
		broken, text = append(broken, text[:width]), text[width:]
	}
	broken = append(broken, text)
	for _, line := range broken {
		e.add(line)
	}
	e.add(strings.Join(broken, "\n"))
	e.add(strings.Join(broken, "\r\n"))
}

func (e encoder) hex(v string) {
	lower := hex.EncodeToString([]byte(v))
	e.add(lower)
	e.add(strings.ToUpper(lower))
}

// url adds the percent-encodings. They agree on letters, digits and "-._", and
// differ in what else is left alone.
func (e encoder) url(v string) {
	for _, plain := range []string{
		"~",                 // RFC 3986, Go's QueryEscape, curl
		"",                  // older: '~' is encoded, too
		"~/",                // Python's quote
		"*",                 // HTML forms, Java
		"~!'()*",            // JavaScript's encodeURIComponent
		"~$&+=:@",           // Go's PathEscape
		"~$&+,;=",           // Go's user and password of a URL
		"~!'()*;/?:@&=+$,#", // JavaScript's encodeURI
	} {
		for _, space := range []string{"%20", "+"} {
			for _, digits := range []string{"0123456789ABCDEF", "0123456789abcdef"} {
				var b strings.Builder
				for i := range len(v) {
					c := v[i]
					switch {
					case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9',
						c == '-', c == '.', c == '_', strings.IndexByte(plain, c) >= 0:
						b.WriteByte(c)
					case c == ' ':
						b.WriteString(space)
					default:
						b.WriteByte('%')
						b.WriteByte(digits[c>>4])
						b.WriteByte(digits[c&15])
					}
				}
				e.add(b.String())
			}
		}
	}
}

// json adds what stands between the quotes of a JSON string. Encoders differ in
// what they escape beyond what they must, and in the case of hexadecimal
// digits.
func (e encoder) json(v string) {
	for _, extra := range []string{
		"",
		"<>&",      // Go
		"/",        // PHP
		"<>&'+`\"", // .NET
	} {
		for _, ascii := range []bool{false, true} {
			for _, digits := range []string{"0123456789abcdef", "0123456789ABCDEF"} {
				for _, short := range []bool{true, false} {
					e.add(jsonEscape(v, extra, ascii, short, digits))
				}
			}
		}
	}
}

func jsonEscape(v, extra string, ascii, short bool, digits string) string {
	var b strings.Builder
	unit := func(u uint16) {
		b.WriteString(`\u`)
		for shift := 12; shift >= 0; shift -= 4 {
			b.WriteByte(digits[u>>shift&15])
		}
	}
	for i := 0; i < len(v); {
		r, size := utf8.DecodeRuneInString(v[i:])
		switch {
		case r == '/' && extra == "/":
			b.WriteString(`\/`)
		case r < utf8.RuneSelf && strings.IndexByte(extra, byte(r)) >= 0:
			unit(uint16(r))
		case r == '"', r == '\\':
			b.WriteByte('\\')
			b.WriteByte(byte(r))
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\b' && short:
			b.WriteString(`\b`)
		case r == '\f' && short:
			b.WriteString(`\f`)
		case r < ' ', r == '\u2028', r == '\u2029', r == utf8.RuneError && size == 1 && ascii:
			unit(uint16(r))
		case r == utf8.RuneError && size == 1:
			b.WriteRune(r)
		case r >= utf8.RuneSelf && ascii:
			for _, u := range utf16.AppendRune(nil, r) {
				unit(u)
			}
		default:
			b.WriteString(v[i : i+size])
		}
		i += size
	}
	return b.String()
}

// shell adds what shells, and those who write for them, make of v: between
// single quotes, between double quotes, with backslashes (bash's %q), as $'…',
// which is Go's and Python's way, too.
func (e encoder) shell(v string) {
	e.add(strings.ReplaceAll(v, `'`, `'\''`))
	e.add(strings.ReplaceAll(v, `'`, `'"'"'`))
	e.add(strings.ReplaceAll(v, `'`, `\'`))
	e.add(escaped(v, "\\\"$`"))
	e.add(escaped(v, " \t!\"#$&'()*,;<>?[\\]^`{|}~"))
	e.add(strings.NewReplacer("\\", `\\`, "'", `\'`, "\n", `\n`, "\r", `\r`, "\t", `\t`).Replace(v))
	for _, quoted := range []string{strconv.Quote(v), strconv.QuoteToASCII(v)} {
		e.add(quoted[1 : len(quoted)-1])
	}
}

// escaped returns v with a backslash before each of special.
func escaped(v, special string) string {
	var b strings.Builder
	for i := range len(v) {
		if strings.IndexByte(special, v[i]) >= 0 {
			b.WriteByte('\\')
		}
		b.WriteByte(v[i])
	}
	return b.String()
}
