package starlark

import (
	"errors"
	"fmt"
	"slices"
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
		e.words.NeedsStacks = true
		at := place{int32(d.Line), int32(d.Column)}
		d.Stack = e.words.StackOf(plan.Pos{File: d.File, Line: at.line, Column: at.column})
		full := s.diagnose(at, d.Code, d.Message, d.Hint)
		d.End, d.Excerpt = full.End, full.Excerpt
	}
	return list
}

// resolveErrors returns what the resolver found. names is what a file can name
// without defining it.
func (s *source) resolveErrors(list resolve.ErrorList, file *syntax.File, names []string) plan.Diagnostics {
	if module, ok := file.Module.(*resolve.Module); ok {
		for _, b := range slices.Concat(module.Globals, module.Locals) {
			names = append(names, b.First.Name)
		}
	}
	var found plan.Diagnostics
	for _, e := range list[:min(len(list), maxResolveErrors)] {
		at := place{e.Pos.Line, e.Pos.Col}
		message, _, _ := strings.Cut(e.Msg, " (did you mean ")
		if name, ok := strings.CutPrefix(message, "undefined: "); ok {
			hint := foreign(name)
			if near, ok := plan.Nearest(name, names); ok && hint == "" {
				hint = fmt.Sprintf("did you mean %s?", near)
			}
			found = append(found, s.diagnose(at, "undefined-name", name+" is not defined", hint))
			continue
		}
		message, hint := refused(message, s.line(at.line))
		found = append(found, s.diagnose(at, "syntax", message, hint))
	}
	return found
}

// maxResolveErrors is how many errors of one file are worth reading.
const maxResolveErrors = 100

// runtimeError turns an error of the interpreter into a diagnostic at the
// user's innermost place.
func (e *evaluation) runtimeError(failure *starlark.EvalError) plan.Diagnostic {
	var at syntax.Position
	calls := failure.CallStack
	if n := len(calls) - 1; n > 0 && strings.HasPrefix(failure.Msg, "function "+calls[n].Name+" ") {
		calls = calls[:n] // the call itself was wrong, the function did not begin
	}
	for i := len(calls) - 1; i >= 0; i-- {
		pos := calls[i].Pos
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
		message, hint = advise(message)
		if s := e.loader.sources[at.Filename()]; s != nil {
			message, hint = s.notCalled(place{at.Line, at.Col}, message, hint)
		}
	}
	s := e.loader.sources[at.Filename()]
	var d plan.Diagnostic
	if s != nil && at.Line > 0 {
		if name := s.hidden(place{at.Line, at.Col}, message); name != "" && e.names.Has(name) {
			hint = fmt.Sprintf("this file's own %s hides the builtin %s; give the variable another name", name, name)
		}
		d = s.diagnose(place{at.Line, at.Col}, code, builtins.Visible(message), builtins.Visible(hint))
		if arg := s.onlyArgument(place{at.Line, at.Col}); arg != nil && code == "runtime" && len(calls) > 0 && calls[len(calls)-1].Pos.Filename() == "<builtin>" {
			from, to := arg.Span()
			d = s.diagnoseSpan(place{from.Line, from.Col}, place{to.Line, to.Col}, d.Code, d.Message, d.Hint)
		}
	} else {
		d = plan.Diagnostic{File: e.File, Severity: "error", Code: code, Message: builtins.Visible(message), Hint: hint}
	}
	d.Stack = e.words.Frames(calls)
	return d
}

// notOffered reports the names that a load statement asks for and the file that
// it loads has not, when that is what failed.
func (e *evaluation) notOffered(failure *starlark.EvalError) bool {
	calls := failure.CallStack
	at := calls[len(calls)-1].Pos
	s := e.loader.sources[at.Filename()]
	if s == nil || s.tree() == nil {
		return false
	}
	before := len(e.found)
	for _, stmt := range s.tree().Stmts {
		load, ok := stmt.(*syntax.LoadStmt)
		if !ok || load.Load.Line != at.Line {
			continue
		}
		i := slices.IndexFunc(s.loads, func(l loading) bool { return l.label == load.ModuleName() && l.from != nil })
		if i < 0 {
			continue
		}
		from := s.loads[i].from
		for _, name := range load.From {
			if from.globals.Has(name.Name) {
				continue
			}
			public := slices.DeleteFunc(from.globals.Keys(), func(n string) bool { return n[0] == '_' })
			start := place{name.NamePos.Line, name.NamePos.Col}
			e.found = append(e.found, s.diagnose(start, "undefined-name",
				fmt.Sprintf("load: %s does not define %s", from.name, name.Name), offer(name.Name, public)))
		}
	}
	return len(e.found) > before
}

// onlyArgument returns the argument of a call of a function that is given one:
// what else can a builtin object to.
func (s *source) onlyArgument(at place) syntax.Expr {
	call := s.call(at)
	if call == nil || len(call.Args) != 1 {
		return nil
	}
	switch fn := call.Fn.(type) {
	case *syntax.Ident:
		return call.Args[0]
	case *syntax.DotExpr:
		if space, ok := fn.X.(*syntax.Ident); ok && word(space.Name, fn.Name.Name) {
			return call.Args[0]
		}
	}
	return nil // of a method the value may be at fault
}

// word reports whether there is a builtin space.name.
func word(space, name string) bool {
	_, ok := builtins.Lookup(space + "." + name)
	return ok
}

// notCalled says which builtin it is that is used as if it was a value, when
// message is about one.
func (s *source) notCalled(at place, message, hint string) (string, string) {
	if !strings.Contains(message, "builtin_function_or_method") {
		return message, hint
	}
	line := s.line(at.line)
	i := index(line, at.column)
	name := line[len(strings.TrimRight(line[:i], nameBytes+".")):i]
	if rest, ok := strings.CutPrefix(line[i:], "in "); ok {
		name = rest[:len(rest)-len(strings.TrimLeft(rest, nameBytes+"."))]
	}
	if _, ok := builtins.Lookup(name); !ok {
		return message, hint
	}
	write := name + "(...)"
	if name == "os.environ" {
		write = `os.environ("NAME", "default")`
	}
	if strings.HasPrefix(message, "unhandled index") {
		return name + " is a function, not a dict", "write " + write
	}
	return strings.Replace(message, "builtin_function_or_method", "the function "+name, 1), "write " + write
}

// hidden returns the name that is called at a place, when message says that it
// is nothing to call.
func (s *source) hidden(at place, message string) string {
	if !strings.HasPrefix(message, "invalid call of non-function") {
		return ""
	}
	first, end := s.mark(at)
	line := s.line(at.line)
	return line[index(line, first):index(line, end)]
}
