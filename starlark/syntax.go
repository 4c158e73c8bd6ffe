package starlark

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"go.starlark.net/syntax"

	"github.com/piper-build/piper/builtins"
	"github.com/piper-build/piper/runtime/plan"
)

// What is wrong with a file that does not parse. The parser says what it has
// read and what it would take; a person is told what to mend, and where.

// syntaxErrors returns what is wrong with a file that does not parse. The
// parser stops at its first error, so what follows the statement at fault is
// parsed by itself.
func (s *source) syntaxErrors(err error) plan.Diagnostics {
	const most = 20
	var found plan.Diagnostics
	text := append([]byte(nil), s.text...)
	for {
		var bad syntax.Error
		if !errors.As(err, &bad) {
			return append(found, s.diagnose(place{1, 1}, "syntax", err.Error(), ""))
		}
		d := s.syntaxError(bad, string(text))
		found = append(found, d)
		if len(found) == most || !blank(text, s, d.Line) {
			return found
		}
		if _, err = dialect.Parse(s.name, text, 0); err == nil {
			return found
		}
	}
}

// blank clears text up to the first line below a line where a statement begins,
// and reports whether there is one.
func blank(text []byte, s *source, line int) bool {
	s.line(1) // finds the lines
	inString := false
	for n := line + 1; n <= len(s.lines); n++ {
		above := s.line(int32(n - 1))
		if (strings.Count(above, `"""`)+strings.Count(above, `'''`))%2 == 1 {
			inString = !inString
		}
		here := s.line(int32(n))
		if inString || here == "" || !isNameByte(here[0]) || startsClause(here) {
			continue
		}
		for i := range s.lines[n-1] {
			if text[i] != '\n' {
				text[i] = ' '
			}
		}
		return true
	}
	return false
}

// startsClause reports whether a line goes on with a statement begun above it.
func startsClause(line string) bool {
	switch line[:nameLength(line)] {
	case "else", "elif", "except", "finally":
		return true
	}
	return false
}

// syntaxError returns the diagnostic of an error that the parser has found in
// text.
func (s *source) syntaxError(e syntax.Error, text string) plan.Diagnostic {
	list := tokens(text)
	f := fault{token: list[culprit(list, e)]}
	at := place{e.Pos.Line, e.Pos.Col}
	if readAhead(e.Msg) {
		at = f.at
	}
	if message, hint, column := habit(s.line(at.line), at.column); message != "" {
		return s.diagnose(place{at.line, column}, "syntax", message, hint)
	}
	if strings.HasPrefix(e.Msg, "unexpected input character") {
		f.at = at // it may stand in what would be a name without it
	}
	f.find(e.Msg, list, culprit(list, e))
	if f.message == "" {
		return s.diagnose(at, "syntax", builtins.Visible(e.Msg), "")
	}
	return s.diagnoseSpan(f.at, f.end, "syntax", builtins.Visible(f.message), builtins.Visible(f.hint))
}

// readAhead reports whether an error of the parser stands after the token that
// it is about.
func readAhead(message string) bool {
	for _, begin := range []string{"got ", "not an identifier", "keyword argument must", "load operand", "first operand of load", "original name of"} {
		if strings.HasPrefix(message, begin) {
			return !strings.HasSuffix(message, "want primary expression") && !strings.HasPrefix(message, "got indent") && !strings.HasPrefix(message, "got outdent")
		}
	}
	return strings.Contains(message, " does not associate with ")
}

// culprit returns the index of the token that an error is about.
func culprit(list []token, e syntax.Error) int {
	if strings.HasPrefix(e.Msg, "got end of file") {
		return len(list) - 1
	}
	at, ahead := place{e.Pos.Line, e.Pos.Col}, readAhead(e.Msg)
	i := 0
	for i+1 < len(list) && (list[i+1].at.before(at) || !ahead && list[i+1].at == at) {
		i++
	}
	if strings.HasPrefix(e.Msg, "got newline") && list[i].text != "\n" && i+1 < len(list) {
		i++ // the last line has no end
	}
	return i
}

// A fault is a token to look at, what is wrong with it and how to mend it.
type fault struct {
	token
	message, hint string
}

func (f *fault) say(message, hint string) { f.message, f.hint = message, hint }

// sayAfter is say about the place just after a token.
func (f *fault) sayAfter(t token, message, hint string) {
	f.at, f.end = t.end, place{t.end.line, t.end.column + 1}
	f.say(message, hint)
}

// find says what is wrong, from the parser's message about list[i].
func (f *fault) find(message string, list []token, i int) {
	got := list[i]
	var prev, beforeThat token // tokens of a line, not its end
	for j := i - 1; j >= 0 && beforeThat.text == ""; j-- {
		switch {
		case list[j].text == "\n":
		case prev.text == "":
			prev = list[j]
		default:
			beforeThat = list[j]
		}
	}
	start := i // of the statement
	for start > 0 && list[start-1].text != "\n" && list[start-1].text != ";" {
		start--
	}
	first := list[start]
	begins := first.at == got.at // the statement
	ends := got.text == "\n" || got.text == ""
	if ends && prev.text != "" { // where a line ends is told after its last word
		f.at, f.end = prev.end, place{prev.end.line, prev.end.column + 1}
	}
	_, want, _ := strings.Cut(message, ", want ")

	if !scanned(message) && got.open >= 0 {
		if f.brackets(list, i, prev, first, want) {
			return
		}
	}
	switch {
	case strings.HasPrefix(message, "unindent does not match"):
		f.say("this line begins in a column where no line above it begins", "lines of one block begin in the same column"+mixed(list))
	case strings.HasPrefix(message, "got indent"):
		f.say("unexpected indentation", "begin the line where the one above it begins"+mixed(list))
	case want == "indent":
		for start = i - 1; start > 0 && list[start-1].text != "\n"; start-- {
		}
		for start < i && list[start].text == "\n" {
			start++
		}
		block := list[start]
		if ends {
			f.say(fmt.Sprintf("nothing follows the %s on line %d", block.text, block.at.line), "write the lines that belong to it, indented, or pass")
			return
		}
		f.say(fmt.Sprintf("the line after the %s on line %d is not indented", block.text, block.at.line), "indent the lines that belong to it, or write pass there"+mixed(list))
	case strings.HasPrefix(message, "unexpected newline in string"):
		f.say("the string is not closed", fmt.Sprintf("write %s at its end; one of several lines begins and ends with %s", got.quote(), strings.Repeat(got.quote(), 3)))
	case strings.HasPrefix(message, "unexpected EOF in string"):
		f.end = place{f.at.line, f.at.column + int32(len(got.quote()))}
		f.say("the string is not closed", fmt.Sprintf("write %s at its end", got.quote()))
	case strings.HasPrefix(message, "invalid escape sequence"):
		f.say(message, `write \\ for a backslash, or r"..." for a string in which \ means nothing`)
	case strings.HasPrefix(message, "unexpected input character"):
		f.character(message, got)
	case strings.HasPrefix(message, "unexpected '"):
		f.say(fmt.Sprintf("this %s has no %s before it", got.text, opening[got.text]), "remove it, or look for one too many above it")
	case strings.HasPrefix(message, "conditional expression without else"):
		f.say("this if gives no value when its condition does not hold", "write x if condition else None")
	case strings.HasPrefix(message, "unparenthesized tuple"):
		f.say("there is a comma at the end of the line", "remove it, or write (x,) for a tuple of one item")
	case strings.Contains(message, "does not associate with"):
		f.say("comparisons do not chain", "write a < b and b < c")
	case message == "not an identifier":
		f.say("a name is missing here", "")
		if !ends {
			f.say(fmt.Sprintf("there has to be a name, not %s", got.short()), "")
		}
	case strings.HasPrefix(message, "keyword argument must"):
		hint := "write == to compare"
		if prev.isString() {
			hint = "the name of an argument has no quotes: name = value"
		}
		f.say("before the = of an argument there has to be a name", hint)
	case got.text == "=":
		f.equals(list, i, first)
	case want == "':'":
		f.colon(got, prev, first, ends)
	case want == "'('" && first.text == "def":
		f.say("the parameters of a function are missing", fmt.Sprintf("write def %s():", prev.text))
	case first.text == "load" && strings.Contains(message, "load"):
		if got.text == ")" && prev.isName() {
			f.token = prev
		}
		f.say("load takes a label and names, as strings", `write load("//ci/lib.star", "name")`)
	case want == "'('" && first.text == "load":
		f.say("load takes parentheses", `write load("//ci/lib.star", "name")`)
	case want == "in" && prev.text == "not":
		f.say("not stands before what it denies", "write not x, or x not in xs")
	case want == "in":
		f.say("a for goes over a list", "write for x in xs")
	case want == "newline":
		f.goesOn(got, prev, first)
	case want == "primary expression":
		f.value(got, prev, beforeThat, begins, ends)
	case strings.HasPrefix(message, "got "):
		f.say("unexpected "+got.short(), "")
	}
}

// scanned reports whether a message is about one token alone, whatever is
// around it.
func scanned(message string) bool {
	for _, begin := range []string{"unexpected ", "invalid ", "obsolete ", "stray ", "unindent ", "excessive "} {
		if strings.HasPrefix(message, begin) {
			return true
		}
	}
	return false
}

// brackets finds what is wrong within the bracket that is open before list[i].
func (f *fault) brackets(list []token, i int, prev, first token, want string) bool {
	got, open := list[i], list[list[i].open]
	value := got.beginsValue() && want != "primary expression" && !strings.Contains(want, "for")
	switch {
	case value && (closed(list, i) || got.at.line == prev.end.line):
		what := "the arguments of the call"
		switch {
		case open.text == "[":
			what = "the items of the list"
		case open.text == "{" && want == "':'":
			return f.entry()
		case open.text == "{":
			what = "the entries of the dict"
		case got.open > 1 && list[got.open-2].text == "def":
			what = "the parameters"
		}
		hint := "separate " + what + " by commas"
		if prev.isString() && got.isString() {
			hint += "; join strings with +"
		}
		f.sayAfter(prev, "a comma is missing here", hint)
	case got.isClosing() && opening[got.text] != open.text && !opensAround(list, i):
		f.say(fmt.Sprintf("this %s does not close the %s on line %d", got.text, open.text, open.at.line), fmt.Sprintf("write %s", closing[open.text]))
	case !closed(list, i) || got.text == ":" && first.startsBlock() && list[i+1].at.line > got.at.line:
		where := fmt.Sprintf("before %s", got.short())
		switch {
		case got.text == "":
			where = "before the end"
		case got.at.line > open.at.line && !got.isClosing():
			where = fmt.Sprintf("before line %d", got.at.line)
		case got.at.line > open.at.line:
			where += fmt.Sprintf(" on line %d", got.at.line)
		}
		f.token = open
		f.say(fmt.Sprintf("this %s is not closed", open.text), fmt.Sprintf("its %s is missing %s", closing[open.text], where))
	case got.text == "for" && open.text == "(" && want != "primary expression":
		f.say("there are no generator expressions", "write a list: [f(x) for x in xs]")
	case got.text == ":" && open.text == "(" && got.open > 1 && list[got.open-2].text == "def":
		f.say("there are no type annotations", "leave the type out")
	case got.text == ":" && open.text == "(" && prev.isName():
		f.say("an argument is given with =", fmt.Sprintf("write %s = ...", prev.text))
	case got.text == ":" && open.text == "[":
		f.say("a list has no keys", `write {"key": value} for a dict`)
	case open.text == "{" && want == "':'":
		return f.entry()
	case got.text == "=" && open.text == "{":
		return f.entry()
	case got.text == "=" && open.text == "[" && want != "primary expression":
		f.say("a list has no = in it", `write == to compare, {"key": value} for a dict`)
	case (got.text == "*" || got.text == "**") && open.text != "(" && want == "primary expression":
		f.say("there is no * in a list", "write xs + [x]")
	default:
		return false
	}
	return true
}

func (f *fault) entry() bool {
	f.say("an entry of a dict is written key: value", `such as {"name": 1}; a set is written set(["a", "b"])`)
	return true
}

// closed reports whether the bracket that is open before list[i] is closed
// from there on, by one of its kind.
func closed(list []token, i int) bool {
	open := []string{list[list[i].open].text}
	for _, t := range list[i:] {
		switch {
		case closing[t.text] != "":
			open = append(open, t.text)
		case t.isClosing():
			last := len(open) - 1
			if open[last] != opening[t.text] {
				return false
			}
			if open = open[:last]; last == 0 {
				return true
			}
		}
	}
	return false
}

// opensAround reports whether one of the brackets around the innermost one is
// closed by list[i].
func opensAround(list []token, i int) bool {
	for at := list[list[i].open].open; at >= 0; at = list[at].open {
		if list[at].text == opening[list[i].text] {
			return true
		}
	}
	return false
}

// equals says what is wrong with a = that has no place outside of brackets.
func (f *fault) equals(list []token, i int, first token) {
	switch {
	case first.text == "for":
		f.say("a for goes over a list", "write for i in range(n):")
		return
	case first.isName() && !first.isKeyword():
		for j := i - 1; j >= 0 && list[j].text != "\n"; j-- {
			if list[j].text == "=" && list[j].open < 0 {
				f.say("there is one = in an assignment", "write == to compare, or two assignments")
				return
			}
		}
	}
	f.say("= assigns, and has no place here", "write == to compare")
}

// colon says what is wrong where a colon is missing.
func (f *fault) colon(got, prev, first token, ends bool) {
	switch {
	case got.text == "if" && prev.text == "else":
		f.say("there is no else if", "write elif")
	case got.text == "{":
		f.say("a block is not written in braces", "write : and indent the lines below")
	case !first.startsBlock():
		f.sayAfter(prev, "a colon is missing here", "a lambda is written lambda x: value")
	case ends:
		f.sayAfter(prev, "a colon is missing at the end of the line", fmt.Sprintf("a line that begins with %s ends with a colon", first.text))
	case got.text == "then" || got.text == "do":
		f.say(fmt.Sprintf("there is no %s", got.text), "write : in its place")
	default:
		f.sayAfter(prev, "a colon is missing here", fmt.Sprintf("write : before %s", got.short()))
	}
}

// goesOn says what is wrong where a statement should have ended.
func (f *fault) goesOn(got, prev, first token) {
	_, known := builtins.Lookup(prev.text)
	switch {
	case got.text == ":" && prev.at == first.at:
		f.say("there are no type annotations", "leave the type out")
	case prev.isString() && prev.end == got.at:
		f.say("the string has ended before this", fmt.Sprintf(`write \%s for a quote within it, or begin and end it with the other kind of quote`, prev.quote()))
	case prev.isString() && got.isString():
		f.sayAfter(prev, "strings that stand side by side are not joined", "write + between them")
	case prev.at != first.at || !got.beginsValue():
		f.say(fmt.Sprintf("the statement has ended before %s", got.short()), "begin a new line, or is an operator missing?")
	case first.text == "elseif" || first.text == "elsif":
		f.token = first
		f.say("there is no "+first.text, "write elif")
	case first.text == "function" || first.text == "func" || first.text == "fn":
		f.token = first
		f.say("there is no "+first.text, fmt.Sprintf("write def %s", got.text))
	case first.text == "var" || first.text == "let" || first.text == "const" || first.text == "local" || first.text == "export":
		f.token = first
		f.say("there is no "+first.text, fmt.Sprintf("write %s = ...", got.text))
	case known || prev.text == "print" || prev.text == "fail":
		f.sayAfter(prev, fmt.Sprintf("%s takes parentheses", prev.text), fmt.Sprintf("write %s(%s)", prev.text, got.short()))
	default:
		f.say(fmt.Sprintf("the statement has ended before %s", got.short()), "begin a new line, or is an operator missing?")
	}
}

// value says what is wrong where there is no value.
func (f *fault) value(got, prev, beforeThat token, begins, ends bool) {
	switch {
	case begins && (got.text == "else" || got.text == "elif"):
		f.say(fmt.Sprintf("this %s has no if", got.text), fmt.Sprintf("%s begins in the column of its if", got.text))
	case begins && (got.text == "//" || got.text == "/"):
		f.say("this is no comment", "a comment begins with #")
	case begins && got.text == ".":
		f.say("a line does not begin with a dot", "put the whole expression in parentheses")
	case (prev.text == "+" || prev.text == "-") && beforeThat.text == prev.text && beforeThat.end == prev.at && ends:
		f.token = token{at: beforeThat.at, end: prev.end}
		f.say(fmt.Sprintf("there is no %s operator", prev.text+prev.text), fmt.Sprintf("write x %s= 1", prev.text))
	case prev.text == "=" && got.text == ">" && prev.end == got.at:
		f.token = token{at: prev.at, end: got.end}
		f.say("there is no => operator", "write >= to compare, key: value in a dict")
	case ends:
		f.sayAfter(prev, "a value is missing at the end of the line", "a line goes on below only within brackets")
	case got.text == ",":
		f.say("a value is missing before this comma", "remove the comma, or write the value")
	case got.text == "if":
		f.say("an if that gives a value begins with the value", "write x if condition else y")
	case got.text == "for":
		f.say("a for that makes a list follows its item", "write [f(x) for x in xs]")
	case got.text == "def":
		f.say("a def stands on a line of its own", "define the function above, and write its name here")
	case got.text == "return" && (prev.text == ":" || beforeThat.text == "lambda"):
		f.say("a lambda has no return", "write the value alone: lambda x: value")
	default:
		f.say("a value is missing before "+got.short(), "")
	}
}

// character says what is wrong with a character that the language has no use
// for.
func (f *fault) character(message string, got token) {
	_, quoted, _ := strings.Cut(message, "character ")
	c, _, _, _ := strconv.UnquoteChar(strings.TrimPrefix(quoted, "'"), '\'')
	f.end = place{f.at.line, f.at.column + 1}
	hint := ""
	switch c {
	case '?':
		hint = "write x if condition else y"
	case '$':
		hint = `a variable of the shell stands in a string: run = "echo $HOME"`
	case '`':
		hint = `a string stands in quotes: "text"`
	case '“', '”', '„', '‘', '’':
		hint = `write straight quotes: "text"`
	case '\u00a0':
		hint = "it looks like a space: write a plain one"
	case '\u200b', '\u200c', '\u200d', '\u2060', '\ufeff':
		hint = "it cannot be seen: delete it"
	}
	f.say(fmt.Sprintf("the character %s has no meaning here", quoted), hint)
}

// mixed goes on with a hint about indentation, where tabs and spaces are mixed.
func mixed(list []token) string {
	var tabs, spaces bool
	for _, t := range list {
		tabs, spaces = tabs || t.indent == '\t', spaces || t.indent == ' '
	}
	if tabs && spaces {
		return "; some lines begin with tabs, others with spaces: write spaces"
	}
	return ""
}
