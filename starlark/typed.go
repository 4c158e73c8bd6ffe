package starlark

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"go.starlark.net/resolve"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/piper-build/piper/runtime/plan"
)

// What is typed into a Session. All inputs are one source, so that a function
// typed long ago still has the lines that an error in it points at.

// input executes text and hands the value of the expression at its end, if
// there is one, to last.
func (s *Session) input(ctx context.Context, text string, line int, last func(starlark.Value)) (Result, error) {
	parsed := false
	result, err := s.try(ctx, func() {
		file := s.parse(text, line)
		if file == nil {
			return
		}
		parsed = true
		if !s.follow(file) {
			return
		}
		before, had := s.names["_"]
		ends := keepLast(file)
		s.e.words.MayRegister, s.e.words.Replace = true, true
		err := starlark.ExecREPLChunk(file, s.e.thread, s.names)
		s.e.words.MayRegister, s.e.words.Replace = false, false
		if err != nil {
			s.e.failed(err)
			return
		}
		if !ends {
			return
		}
		v := s.names["_"]
		if v == starlark.None {
			delete(s.names, "_")
			if had {
				s.names["_"] = before
			}
		}
		if len(s.e.words.Problems()) == 0 {
			last(v)
		}
	})
	if !parsed {
		s.typed.blank(line)
	}
	return result, err
}

// keepLast has the expression that file ends with, if it does, bound to _.
func keepLast(file *syntax.File) bool {
	n := len(file.Stmts)
	if n == 0 {
		return false
	}
	last, ok := file.Stmts[n-1].(*syntax.ExprStmt)
	if ok {
		at, _ := last.Span()
		file.Stmts[n-1] = &syntax.AssignStmt{OpPos: at, Op: syntax.EQ, LHS: &syntax.Ident{NamePos: at, Name: "_"}, RHS: last.X}
	}
	return ok
}

// typing is the dialect of what is typed: what it loads is there for the inputs
// after it, too.
func typing() *syntax.FileOptions {
	options := dialect
	options.LoadBindsGlobally = true
	return &options
}

// parse adds an input to what was typed and looks at it before it runs. It is
// nil when something is wrong.
func (s *Session) parse(text string, line int) *syntax.File {
	e := s.e
	wrong := func(list ...plan.Diagnostic) *syntax.File {
		for _, d := range list {
			d.Message = strings.Replace(d.Message, "the file ", "the input ", 1)
			e.found = append(e.found, d)
		}
		return nil
	}
	if len(text) > e.Limits.Source {
		return wrong(plan.Diagnostic{File: Typed, Line: line, Column: 1, Severity: "error", Code: "too-large",
			Message: fmt.Sprintf("the input has more than %d bytes", e.Limits.Source),
			Hint:    fmt.Sprintf("put it into a file, or raise the setting max_source (%d)", e.Limits.Source)})
	}
	start := s.typed.extend(line, text)
	if at, problem, hint := unreadable([]byte(text)); at >= 0 {
		return wrong(s.typed.diagnose(s.typed.place(start+at), "bad-encoding", problem, hint))
	}
	begins := strings.TrimLeft(text, " ") // space before it says nothing
	read := func() (*syntax.File, error) {
		return typing().Parse(Typed, syntax.FilePortion{Content: []byte(begins), FirstLine: int32(line), FirstCol: int32(1 + len(text) - len(begins))}, 0)
	}
	file, err := read()
	if err != nil {
		return wrong(s.typed.syntaxErrors(err)...)
	}
	if at, deep := tooDeep(file.Stmts); deep {
		return wrong(s.typed.diagnose(at, "syntax", "the expression is too deep", "give its parts names"))
	}
	var list resolve.ErrorList
	if errors.As(resolve.REPLChunk(file, s.names.Has, none, starlark.Universe.Has), &list) {
		return wrong(s.typed.resolveErrors(list, file, s.Names())...)
	}
	// Comparisons are looked at in a file, which tells the builtins from other names.
	if file, err := read(); err == nil && resolve.File(file, s.names.Has, starlark.Universe.Has) == nil {
		if compared := s.typed.comparisons(file); compared != nil {
			return wrong(compared...)
		}
	}
	s.typed.file.Stmts = append(s.typed.file.Stmts, file.Stmts...)
	s.typed.calls = nil
	return file
}

func none(string) bool { return false }

// follow loads and runs what an input loads.
func (s *Session) follow(file *syntax.File) bool {
	s.typed.loads = nil
	for _, stmt := range file.Stmts {
		if load, ok := stmt.(*syntax.LoadStmt); ok {
			s.typed.loads = append(s.typed.loads, loading{label: load.ModuleName(), pos: load.Module.TokenPos})
		}
	}
	if s.typed.loads == nil {
		return true
	}
	l := &s.e.loader
	l.follow(s.typed, []*source{s.typed})
	l.order = slices.DeleteFunc(l.order, func(o *source) bool { return o == s.typed })
	return s.execute()
}

// extend adds an input, which begins in a line, to a source that has fewer
// lines than that. It returns where the input begins.
func (s *source) extend(line int, text string) (start int) {
	add := func(more string) {
		for i, c := range []byte(more) {
			if c == '\n' {
				s.lines = append(s.lines, len(s.text)+i+1)
			}
		}
		s.text = append(s.text, more...)
	}
	add(strings.Repeat("\n", max(line-len(s.lines), 0)))
	start = len(s.text)
	add(strings.TrimSuffix(text, "\n") + "\n")
	return start
}

// blank makes nothing of what stands from a line on.
func (s *source) blank(line int) {
	if line > len(s.lines) {
		return
	}
	for i, c := range s.text[s.lines[line-1]:] {
		if c != '\n' {
			s.text[s.lines[line-1]+i] = ' '
		}
	}
}
