package secret

import (
	"bytes"
	"fmt"
	"strings"
)

// maxFile is the size of the largest file that ReadFile takes.
const maxFile = 1 << 20

// A SyntaxError says where a file of secrets cannot be understood. It shows no
// part of the file but a name.
type SyntaxError struct {
	File    string
	Line    int // from 1
	Message string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("%s:%d: %s", e.File, e.Line, e.Message) }

// ReadFile reads a file of many secrets, in the form that Parse describes.
func ReadFile(path string) (map[string]string, error) {
	data, err := read(path, maxFile)
	switch {
	case err != nil:
		return nil, fmt.Errorf("read secrets: %w", err)
	case len(data) > maxFile:
		return nil, fmt.Errorf("read secrets: %s is longer than %d KiB", path, maxFile>>10)
	}
	return Parse(path, data)
}

// Parse reads secrets, one to a line:
//
//	# a comment, on a line of its own
//	TOKEN=everything up to the end of the line, # and "quotes" too
//	quoted="a value with spaces around it, \"escapes\" (\n \r \t \\ \") and
//	as many lines as it likes"
//	raw='the same without escapes'
//
// Space around a name, an equals sign and an unquoted value is dropped; a
// value is quoted when it begins with a quote. A name may stand once.
// Errors are of type *SyntaxError; file is the name that they give.
func Parse(file string, data []byte) (map[string]string, error) {
	p := parser{file: file, rest: string(bytes.TrimPrefix(data, []byte("\ufeff"))), line: 1}
	values, lines := map[string]string{}, map[string]int{}
	for p.rest != "" {
		start := p.line
		name, value, ok, err := p.entry()
		switch {
		case err != nil:
			return nil, err
		case !ok:
			continue
		case lines[name] != 0:
			return nil, p.errorf(start, "secret %q stands on line %d already", name, lines[name])
		}
		if err := Check(value); err != nil {
			return nil, p.errorf(start, "secret %q: %v", name, err)
		}
		values[name], lines[name] = value, start
	}
	return values, nil
}

// A parser reads a file from its front.
type parser struct {
	file string
	rest string
	line int // of the first byte of rest
}

func (p *parser) errorf(line int, format string, args ...any) error {
	return &SyntaxError{File: p.file, Line: line, Message: fmt.Sprintf(format, args...)}
}

// entry reads one entry; ok is false when there was an empty line or a comment
// instead.
func (p *parser) entry() (name, value string, ok bool, err error) {
	start := p.line
	line, rest, _ := strings.Cut(p.rest, "\n")
	if text := strings.TrimSpace(line); text == "" || text[0] == '#' {
		p.rest = rest
		p.line++
		return "", "", false, nil
	}
	name, value, found := strings.Cut(line, "=")
	if !found {
		return "", "", false, p.errorf(start, "want NAME=value")
	}
	name, value = strings.TrimSpace(name), strings.TrimSpace(value)
	if err := CheckName(name); err != nil {
		// What stands before '=' may be the middle of a value whose quotes are
		// missing, so it is not shown.
		return "", "", false, p.errorf(start, "what stands before '=' is no secret's name")
	}
	if value == "" || value[0] != '"' && value[0] != '\'' {
		p.rest = rest
		p.line++
		return name, value, true, nil
	}
	quote := value[0]
	p.rest = p.rest[strings.IndexByte(p.rest, quote)+1:]
	value, err = p.quoted(quote, start, name)
	return name, value, true, err
}

// quoted reads up to the closing quote, and the rest of the line after it.
func (p *parser) quoted(quote byte, start int, name string) (string, error) {
	var value strings.Builder
	for i := 0; i < len(p.rest); i++ {
		c := p.rest[i]
		switch {
		case c == quote:
			after, rest, _ := strings.Cut(p.rest[i+1:], "\n")
			if strings.TrimSpace(after) != "" {
				return "", p.errorf(p.line, "secret %q: text after the closing quote", name)
			}
			p.rest = rest
			p.line++
			return value.String(), nil
		case c == '\\' && quote == '"':
			i++
			if i == len(p.rest) {
				continue
			}
			switch e := p.rest[i]; e {
			case 'n':
				value.WriteByte('\n')
			case 'r':
				value.WriteByte('\r')
			case 't':
				value.WriteByte('\t')
			case '\\', '"':
				value.WriteByte(e)
			default:
				return "", p.errorf(p.line, `secret %q: unknown escape; write \n \r \t \" or \\, or use single quotes`, name)
			}
		default:
			if c == '\n' {
				p.line++
			}
			value.WriteByte(c)
		}
	}
	return "", p.errorf(start, "secret %q: the closing quote is missing", name)
}
