package repl

import (
	"slices"
	"strings"
)

// A scan follows the lines of one input, as far as is needed to know whether it
// is complete, and in which call the next word stands.
type scan struct {
	brackets []bracket // as many as anybody types
	deeper   int       // more of them, inside
	quote    string    // what ends the string that is open; "" when none is
	goesOn   bool      // the last line ends with a backslash
	block    bool      // a line ended with a colon: a body follows, up to an empty line
	done     bool      // the empty line came
}

// maxKept is how many brackets are kept, and arguments of each: what is not typed
// by a person has no use for completion, and no end.
const maxKept = 1000

// A bracket is one that is open.
type bracket struct {
	kind   byte     // '(', '[' or '{'
	callee string   // the name before a '(', with dots
	given  []string // names that were followed by a '=' in it
}

// clone returns a scan that goes its own way from here.
func (s *scan) clone() *scan {
	c := *s
	c.brackets = slices.Clone(s.brackets)
	for i := range c.brackets {
		c.brackets[i].given = slices.Clone(c.brackets[i].given)
	}
	return &c
}

// open reports whether the input goes on.
func (s *scan) open() bool {
	return s.inside() || s.block && !s.done
}

// inside reports whether the next line goes on with the last one.
func (s *scan) inside() bool { return len(s.brackets) > 0 || s.quote != "" || s.goesOn }

// endsBefore reports whether a line that follows a body is no part of it.
func (s *scan) endsBefore(line string) bool {
	if !s.block || s.inside() || line == "" || strings.IndexByte(" \t#\r", line[0]) >= 0 {
		return false
	}
	word := line
	if i := strings.IndexFunc(line, func(r rune) bool { return r < 'a' || r > 'z' }); i >= 0 {
		word = line[:i]
	}
	return !slices.Contains([]string{"else", "elif", "except", "finally"}, word)
}

// add takes in a line.
func (s *scan) add(line string) {
	if s.block && !s.inside() && strings.TrimSpace(line) == "" {
		s.done = true
		return
	}
	last := s.walk(line)
	if len(s.quote) == 1 && !s.goesOn {
		s.quote = "" // such a string ends with its line, which is an error
	}
	if last == ':' && !s.inside() {
		s.block = true
	}
}

// walk takes in a line, or the beginning of one. It returns the last character
// that is neither space nor comment.
func (s *scan) walk(line string) (last byte) {
	s.goesOn = false
	for i := 0; i < len(line); i++ {
		c := line[i]
		switch {
		case s.quote != "":
			switch {
			case c == '\\':
				i++
				s.goesOn = i >= len(line)
			case strings.HasPrefix(line[i:], s.quote):
				i += len(s.quote) - 1
				s.quote = ""
			}
			last = '"'
			continue
		case c == '#':
			i = len(line)
			continue
		case c == '"' || c == '\'':
			s.quote = string(c)
			if triple := strings.Repeat(s.quote, 3); strings.HasPrefix(line[i:], triple) {
				s.quote = triple
				i += 2
			}
		case c == '(' || c == '[' || c == '{':
			b := bracket{kind: c}
			if c == '(' {
				b.callee = trailingPath(strings.TrimRight(line[:i], " "))
			}
			if len(s.brackets) < maxKept {
				s.brackets = append(s.brackets, b)
			} else {
				s.deeper++
			}
		case c == ')' || c == ']' || c == '}':
			if n := len(s.brackets); s.deeper > 0 {
				s.deeper--
			} else if n > 0 {
				s.brackets = s.brackets[:n-1]
			}
		case c == '=':
			if n := len(s.brackets); n > 0 && len(s.brackets[n-1].given) < maxKept {
				b := &s.brackets[n-1]
				b.given = append(b.given, trailingPath(strings.TrimRight(line[:i], " ")))
			}
		case c == '\\' && i == len(line)-1:
			s.goesOn = true
		case c == ' ' || c == '\t' || c == '\r':
			continue
		}
		last = c
	}
	return last
}

// trailingPath returns the names, with dots between them, that text ends with.
func trailingPath(text string) string {
	return text[len(strings.TrimRightFunc(text, isPath)):]
}

func isPath(r rune) bool {
	return r == '.' || r == '_' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r >= 0x80
}
