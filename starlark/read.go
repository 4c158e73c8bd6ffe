package starlark

import (
	"go.starlark.net/resolve"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/piper-build/piper/runtime/plan"
)

// A Source is one file for the packages below this one, which look at what is
// written and run nothing.
type Source struct {
	File   *syntax.File
	source *source
}

// ReadSource parses text, the file called name, with its comments, and binds
// each name to what it stands for; one that the file does not define counts as
// predeclared. It reports what is wrong with the text and its syntax.
func ReadSource(name string, text []byte) (*Source, plan.Diagnostics) {
	s := &source{name: name, text: text}
	if limit := (Limits{}).WithDefaults().Source; len(text) > limit {
		l := loader{limits: Limits{Source: limit}}
		message, hint := l.why(name, errTooLarge)
		return nil, plan.Diagnostics{{File: name, Severity: "error", Code: "too-large", Message: message, Hint: hint}}
	}
	if at, problem, hint := unreadable(text); at >= 0 {
		return nil, plan.Diagnostics{s.diagnose(s.place(at), "bad-encoding", problem, hint)}
	}
	file, err := dialect.Parse(name, text, syntax.RetainComments)
	if err != nil {
		return nil, s.syntaxErrors(err)
	}
	if pos, deep := tooDeep(file.Stmts); deep {
		return nil, plan.Diagnostics{s.diagnose(pos, "syntax", "the expression is too deep", "give its parts names")}
	}
	err = resolve.File(file, func(string) bool { return true }, starlark.Universe.Has)
	if list, ok := err.(resolve.ErrorList); ok {
		return nil, s.resolveErrors(list, file, nil)
	}
	return &Source{File: file, source: s}, nil
}

// Warn returns a warning about what stands between two positions.
func (s *Source) Warn(from, to syntax.Position, code, message, hint string) plan.Diagnostic {
	d := s.source.diagnoseSpan(place{from.Line, from.Col}, place{to.Line, to.Col}, code, message, hint)
	d.Severity = "warning"
	return d
}

// Loaded returns the name of the file that a load statement of s is about, or
// "" when its label stands for none.
func (s *Source) Loaded(load *syntax.LoadStmt) string {
	name, _, _ := resolveLabel(load.ModuleName(), s.source.name)
	return name
}
