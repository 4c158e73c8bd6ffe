package starlark

import (
	"strings"
	"unicode/utf8"
)

// A token is a word, a number, a string or a mark of a text, or the end of a
// line that may end a statement ("\n"), or the end of the text ("").
type token struct {
	text    string
	at, end place // of its first character, and after its last
	open    int   // the index of the innermost bracket that is open before it, or -1
	indent  byte  // what its line begins with, if it is the first there
}

var (
	closing = map[string]string{"(": ")", "[": "]", "{": "}"}
	opening = map[string]string{")": "(", "]": "[", "}": "{"}
)

// tokens takes a text apart as the parser does, but for one that does not
// parse: it knows no errors. The last token is the end of the text.
func tokens(text string) []token {
	var list []token
	open, at, indent := -1, place{1, 1}, byte(0)
	newLine := true
	add := func(s string, end place) {
		list = append(list, token{s, at, end, open, indent})
		indent = 0
		switch {
		case closing[s] != "":
			open = len(list) - 1
		case opening[s] != "" && open >= 0:
			open = list[open].open
		}
	}
	endLine := func(end place) {
		if n := len(list); open < 0 && n > 0 && list[n-1].text != "\n" {
			add("\n", end)
		}
	}
	for len(text) > 0 {
		n := tokenLength(text)
		s := text[:n]
		end := place{at.line, at.column + int32(utf8.RuneCountInString(s))}
		if i := strings.LastIndexByte(s, '\n'); i >= 0 {
			end = place{at.line + int32(strings.Count(s, "\n")), 1 + int32(utf8.RuneCountInString(s[i+1:]))}
		}
		switch c := s[0]; {
		case c == '\n':
			endLine(end)
		case c == ' ' || c == '\t':
			if newLine {
				indent = c
			}
		case c != '\r' && c != '#' && c != '\\':
			add(s, end)
		}
		newLine = s[0] == '\n'
		if newLine {
			indent = 0
		}
		at, text = end, text[n:]
	}
	endLine(at)
	add("", at)
	return list
}

// tokenLength returns how many bytes the token has that s begins with, or the
// comment, or the space.
func tokenLength(s string) int {
	n := 0
	switch c := s[0]; {
	case c == '#':
		return len(s) - len(strings.TrimLeftFunc(s, func(r rune) bool { return r != '\n' }))
	case c == '\\' && strings.HasPrefix(strings.TrimPrefix(s[1:], "\r"), "\n"):
		return strings.IndexByte(s, '\n') + 1
	case c == '"' || c == '\'':
		return stringLength(s)
	case isNameByte(c):
		for n < len(s) && (isNameByte(s[n]) || s[n] == '.' && '0' <= c && c <= '9') {
			n++
		}
		switch s[:n] {
		case "r", "b", "rb":
			if n < len(s) && (s[n] == '"' || s[n] == '\'') {
				n += stringLength(s[n:])
			}
		}
		return n
	}
	for _, mark := range []string{"**=", "//=", "<<=", ">>=", "**", "//", "<<", ">>", "==", "!=", "<=", ">=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^="} {
		if strings.HasPrefix(s, mark) {
			return len(mark)
		}
	}
	return 1
}

// stringLength returns how many bytes the string has that s begins with. One
// that is not closed ends with its line, or with s.
func stringLength(s string) int {
	quote := quoteOf(s)
	for i := len(quote); i < len(s); i++ {
		switch {
		case s[i] == '\\':
			i++
		case strings.HasPrefix(s[i:], quote):
			return i + len(quote)
		case s[i] == '\n' && len(quote) == 1:
			return i
		}
	}
	return len(s)
}

func quoteOf(s string) string {
	if strings.HasPrefix(s, `"""`) || strings.HasPrefix(s, `'''`) {
		return s[:3]
	}
	return s[:1]
}

// quote returns the quotes that a string begins with.
func (t token) quote() string { return quoteOf(strings.TrimLeft(t.text, "rb")) }

func (t token) isString() bool {
	rest := strings.TrimLeft(t.text, "rb")
	return rest != "" && (rest[0] == '"' || rest[0] == '\'')
}

func (t token) isClosing() bool { return opening[t.text] != "" }

// isName reports whether t is a name or a word of the language.
func (t token) isName() bool {
	return t.text != "" && isNameByte(t.text[0]) && (t.text[0] < '0' || t.text[0] > '9') && !t.isString()
}

func (t token) isKeyword() bool {
	switch t.text {
	case "and", "break", "continue", "def", "elif", "else", "for", "if", "in", "lambda", "load", "not", "or", "pass", "return", "while":
		return true
	}
	return false
}

// startsBlock reports whether t begins a statement that ends with a colon.
func (t token) startsBlock() bool {
	switch t.text {
	case "def", "if", "elif", "else", "for", "while":
		return true
	}
	return false
}

// beginsValue reports whether an expression can begin with t, and none can go
// on with it.
func (t token) beginsValue() bool {
	switch {
	case t.text == "lambda" || t.text == "not" || t.text == "{":
		return true
	}
	return t.text != "" && (isNameByte(t.text[0]) || t.isString()) && !t.isKeyword()
}

// short returns the text of t for a message.
func (t token) short() string {
	if utf8.RuneCountInString(t.text) > 24 {
		return string([]rune(t.text)[:20]) + "…"
	}
	return strings.ReplaceAll(t.text, "\n", `\n`)
}

func (p place) before(q place) bool {
	return p.line < q.line || p.line == q.line && p.column < q.column
}
