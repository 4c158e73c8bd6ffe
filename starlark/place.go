package starlark

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.starlark.net/syntax"

	"github.com/piper-build/piper/runtime/plan"
)

// Places: between what the interpreter knows of the source and what a person
// wants to be shown.

// place returns where the byte at an offset stands.
func (s *source) place(offset int) place {
	before := s.text[:offset]
	line := bytes.Count(before, []byte("\n"))
	start := bytes.LastIndexByte(before, '\n') + 1
	return place{int32(line + 1), int32(utf8.RuneCount(before[start:]) + 1)}
}

// index returns the index in line of the character at a column.
func index[T string | []byte](line T, column int32) int {
	i := max(int(column)-1, 0)
	if i <= len(line) && isASCII(line[:i]) {
		return i
	}
	n := int32(1)
	for i := range string(line) {
		if n == column {
			return i
		}
		n++
	}
	return len(line)
}

func isASCII[T string | []byte](s T) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

func isNameByte(c byte) bool {
	return c == '_' || 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || c >= utf8.RuneSelf
}

// callee moves the place of a call's opening parenthesis to the first character
// of what is called, where that is a name such as step or param.string.
func (s *source) callee(at place) place {
	line := s.bytes(at.line) // of each step: not a copy of the line
	i := index(line, at.column)
	if i >= len(line) || line[i] != '(' {
		return at
	}
	start := i
	for start > 0 && (isNameByte(line[start-1]) || line[start-1] == '.') {
		start--
	}
	return place{at.line, at.column - int32(utf8.RuneCount(line[start:i]))}
}

// mark returns the first and the last-but-one column of what stands at a place:
// the name of a call, of an attribute, or whatever one token is.
func (s *source) mark(at place) (first, end int32) {
	line := s.line(at.line)
	i := index(line, at.column)
	if i >= len(line) {
		return at.column, at.column + 1
	}
	switch c := line[i]; {
	case c == '(':
		if start := s.callee(at); start.column < at.column {
			return start.column, at.column
		}
	case c == '.':
		if n := nameLength(line[i+1:]); n > 0 {
			return at.column + 1, at.column + 1 + int32(n)
		}
	case c == '"' || c == '\'':
		if j := strings.IndexByte(line[i+1:], c); j >= 0 {
			return at.column, at.column + int32(utf8.RuneCountInString(line[i:i+j+2]))
		}
	case isNameByte(c):
		return at.column, at.column + int32(nameLength(line[i:]))
	}
	return at.column, at.column + 1
}

// nameLength returns how many characters of a name s begins with.
func nameLength(s string) int {
	n := 0
	for _, r := range s {
		if r != '_' && !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			break
		}
		n++
	}
	return n
}

// diagnose returns a diagnostic about what stands at a place.
func (s *source) diagnose(at place, code, message, hint string) plan.Diagnostic {
	first, end := s.mark(at)
	return s.diagnoseSpan(place{at.line, first}, place{at.line, end}, code, message, hint)
}

// diagnoseSpan returns a diagnostic about what stands between two places. Of
// several lines the first is marked.
func (s *source) diagnoseSpan(from, to place, code, message, hint string) plan.Diagnostic {
	line := s.line(from.line)
	end := to.column
	if to.line != from.line || int(end) > utf8.RuneCountInString(line)+1 {
		end = int32(utf8.RuneCountInString(strings.TrimRight(line, " \t"))) + 1
	}
	if end <= from.column {
		end = from.column + 1
	}
	return plan.Diagnostic{
		File: s.name, Line: int(from.line), Column: int(from.column), End: int(end),
		Severity: "error", Code: code, Message: message, Hint: hint, Excerpt: strings.Clone(line),
	}
}

// tree returns the syntax tree of s, parsed again when need be. It is nil when
// s does not parse.
func (s *source) tree() *syntax.File {
	if s.file == nil {
		s.file, _ = dialect.Parse(s.name, s.text, 0)
	}
	return s.file
}

// call returns the call whose opening parenthesis stands at a place, or nil.
func (s *source) call(at place) *syntax.CallExpr {
	if s.calls == nil {
		s.calls = make(map[place]*syntax.CallExpr)
		if file := s.tree(); file != nil {
			syntax.Walk(file, func(n syntax.Node) bool {
				if call, ok := n.(*syntax.CallExpr); ok {
					s.calls[place{call.Lparen.Line, call.Lparen.Col}] = call
				}
				return true
			})
		}
	}
	return s.calls[at]
}

// assigned returns the place where a global is assigned first, if that is a
// statement of the top level.
func (s *source) assigned(name string) place {
	for _, stmt := range s.tree().Stmts {
		if a, ok := stmt.(*syntax.AssignStmt); ok {
			if id, ok := a.LHS.(*syntax.Ident); ok && id.Name == name {
				return place{id.NamePos.Line, id.NamePos.Col}
			}
		}
	}
	return place{1, 1}
}

// argument returns the expression that gives a call's parameter its value, and
// the keyword before it, if there is one.
func argument(call *syntax.CallExpr, name string, index int) (keyword *syntax.Ident, value syntax.Expr) {
	for i, arg := range call.Args {
		if pair, ok := arg.(*syntax.BinaryExpr); ok && pair.Op == syntax.EQ {
			if id, ok := pair.X.(*syntax.Ident); ok && id.Name == name {
				return id, pair.Y
			}
			continue
		}
		if _, starred := arg.(*syntax.UnaryExpr); i == index && !starred {
			return nil, arg
		}
	}
	return nil, nil
}

// within follows path into an expression as far as it is written out there. It
// returns the key of a dict's entry, too.
func within(e syntax.Expr, path []any) (key, value syntax.Expr) {
	value = e
	for _, p := range path {
		for {
			paren, ok := value.(*syntax.ParenExpr)
			if !ok {
				break
			}
			value = paren.X
		}
		key = nil
		var next syntax.Expr
		switch p := p.(type) {
		case int:
			var list []syntax.Expr
			switch v := value.(type) {
			case *syntax.ListExpr:
				list = v.List
			case *syntax.TupleExpr:
				list = v.List
			}
			if p < len(list) {
				next = list[p]
			}
		case string:
			if dict, ok := value.(*syntax.DictExpr); ok {
				for _, entry := range dict.List {
					pair := entry.(*syntax.DictEntry)
					if lit, ok := pair.Key.(*syntax.Literal); ok && lit.Value == p {
						key, next = pair.Key, pair.Value
					}
				}
			}
		}
		if next == nil {
			return nil, value
		}
		value = next
	}
	return key, value
}
