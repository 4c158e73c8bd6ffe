package starlark

import (
	"errors"
	"fmt"
	"strings"

	"go.starlark.net/resolve"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/piper-build/piper/builtins"
	"github.com/piper-build/piper/runtime/plan"
)

// locate turns what a builtin found into a diagnostic, the caret under the
// argument at fault.
func (e *evaluation) locate(p builtins.Problem) plan.Diagnostic {
	at := place{p.Call.Line, p.Call.Col}
	s := e.loader.sources[p.Call.Filename()]
	if s == nil {
		return plan.Diagnostic{File: p.Call.Filename(), Line: int(at.line), Column: int(at.column),
			Severity: "error", Code: p.Code, Message: builtins.Visible(p.Message), Hint: builtins.Visible(p.Hint), Stack: p.Stack}
	}
	d := s.diagnose(at, p.Code, builtins.Visible(p.Message), builtins.Visible(p.Hint))
	if call := s.call(at); call != nil && (p.Param != "" || p.Index >= 0) {
		keyword, value := argument(call, p.Param, p.Index)
		key, inside := within(value, p.Path)
		var node syntax.Node
		switch {
		case value == nil:
		case p.Key && key != nil:
			node = key
		case p.Key && keyword != nil && len(p.Path) == 0:
			node = keyword
		default:
			node = inside
		}
		if node != nil {
			from, to := node.Span()
			d = s.diagnoseSpan(place{from.Line, from.Col}, place{to.Line, to.Col}, d.Code, d.Message, d.Hint)
		}
	}
	d.Stack = p.Stack
	return d
}

// excerpts completes diagnostics about a plan, which point at the calls that
// made its parts.
func (e *evaluation) excerpts(list plan.Diagnostics) plan.Diagnostics {
	for i := range list {
		d := &list[i]
		s := e.loader.sources[d.File]
		if s == nil || d.Line == 0 {
			continue
		}
		at := place{int32(d.Line), int32(d.Column)}
		full := s.diagnose(at, d.Code, d.Message, d.Hint)
		d.End, d.Excerpt = full.End, full.Excerpt
	}
	return list
}

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
		d := s.syntaxError(bad)
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

func (s *source) syntaxError(e syntax.Error) plan.Diagnostic {
	at := place{e.Pos.Line, e.Pos.Col}
	if at.line > 1 && s.line(at.line) == "" && int(at.line) >= len(s.lines) {
		// The end of the file: show the last line that says something.
		for at.line > 1 && strings.TrimSpace(s.line(at.line)) == "" {
			at.line--
		}
		at.column = int32(len([]rune(strings.TrimRight(s.line(at.line), " \t"))))
	}
	if message, hint, column := habit(s.line(at.line), at.column); message != "" {
		at.column = column
		return s.diagnose(at, "syntax", message, hint)
	}
	return s.diagnose(at, "syntax", builtins.Visible(tokens.Replace(e.Msg)), "")
}

// tokens puts the parser's words for tokens into plain ones.
var tokens = strings.NewReplacer(
	"got newline", "the line ends too early", "got end of file", "the file ends too early",
	"got outdent", "the indentation ends too early", "got indent", "unexpected indentation",
)

func (s *source) resolveError(e resolve.Error, known func(string) bool) plan.Diagnostic {
	at := place{e.Pos.Line, e.Pos.Col}
	message, hint := e.Msg, ""
	if i := strings.Index(message, " (did you mean "); i >= 0 {
		message, hint = message[:i], "did you mean "+strings.TrimSuffix(message[i+len(" (did you mean "):], ")")
	}
	code := "syntax"
	if name, ok := strings.CutPrefix(message, "undefined: "); ok {
		code, message = "undefined-name", name+" is not defined"
		if h := foreign(name); h != "" {
			hint = h
		}
	} else if h := refused(message, s.line(at.line)); h != "" {
		hint = h
	}
	return s.diagnose(at, code, message, hint)
}

// runtimeError turns an error of the interpreter into a diagnostic at the
// user's innermost place.
func (e *evaluation) runtimeError(failure *starlark.EvalError) plan.Diagnostic {
	var at syntax.Position
	for i := len(failure.CallStack) - 1; i >= 0; i-- {
		pos := failure.CallStack[i].Pos
		if s := e.loader.sources[pos.Filename()]; s != nil && pos.Line > 0 {
			if at.Line == 0 || !s.standard() {
				at = pos
			}
			if !s.standard() {
				break
			}
		}
	}
	code, message, hint := "runtime", failure.Msg, ""
	var failed *builtins.Failure
	switch why := e.stopped.Load(); {
	case errors.As(failure, &failed):
		code, message = "fail", failed.Message
	case why != nil:
		code, message, hint = why.code, why.message, why.hint
	default:
		message, hint = advise(message, e.names.Has)
	}
	s := e.loader.sources[at.Filename()]
	var d plan.Diagnostic
	if s != nil && at.Line > 0 {
		d = s.diagnose(place{at.Line, at.Col}, code, builtins.Visible(message), builtins.Visible(hint))
	} else {
		d = plan.Diagnostic{File: e.File, Severity: "error", Code: code, Message: builtins.Visible(message), Hint: hint}
	}
	d.Stack = e.words.Frames(failure.CallStack)
	if len(d.Stack) > maxStack {
		left := len(d.Stack) - maxStack
		middle := plan.Frame{Name: fmt.Sprintf("(%d more)", left)}
		d.Stack = append(append(append([]plan.Frame(nil), d.Stack[:maxStack/2]...), middle), d.Stack[left+maxStack/2:]...)
	}
	return d
}

// maxStack is how many calls of a stack are worth reading.
const maxStack = 20
