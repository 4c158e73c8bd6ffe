package starlark

import (
	"fmt"
	"slices"
	"strings"

	"go.starlark.net/starlark"

	"github.com/piper-build/piper/builtins"
	"github.com/piper-build/piper/runtime/plan"
)

// What a Session knows about names, for who completes and explains them.

// Names returns all that an input can name, sorted.
func (s *Session) Names() []string {
	return slices.Compact(slices.Sorted(slices.Values(append(s.names.Keys(), starlark.Universe.Keys()...))))
}

// Attrs returns what can stand after the dot of a name, or of names with dots
// between them.
func (s *Session) Attrs(path string) []string {
	v, _ := s.lookup(path).(starlark.HasAttrs)
	if v == nil {
		return nil
	}
	return v.AttrNames()
}

// Params returns the names of the parameters of a function.
func (s *Session) Params(path string) []string {
	var names []string
	switch f := s.lookup(path).(type) {
	case *starlark.Function:
		for i := range f.NumParams() {
			name, _ := f.Param(i)
			names = append(names, name)
		}
	case starlark.Callable:
		b, _ := builtins.Lookup(f.Name())
		for _, p := range b.Params {
			if !p.Rest {
				names = append(names, p.Name)
			}
		}
	}
	return names
}

// Doc returns how a function of the file, or typed, is called, and what it says
// of itself. It is "" for anything else.
func (s *Session) Doc(path string) string {
	f, ok := s.lookup(path).(*starlark.Function)
	if !ok {
		return ""
	}
	at := f.Position()
	text := fmt.Sprintf("%s\n\ndefined at %s:%d", s.signature(f), at.Filename(), at.Line)
	if doc := strings.TrimSpace(f.Doc()); doc != "" {
		text += "\n\n" + builtins.Visible(doc)
	}
	return text
}

// Word returns the name that the language has for a builtin, whatever name it
// was given, or "".
func (s *Session) Word(path string) string {
	if f, ok := s.lookup(path).(starlark.Callable); ok {
		if b, ok := builtins.Lookup(f.Name()); ok {
			return b.Name
		}
	}
	return ""
}

// signature is f as it is defined: "name(a, b = 1)".
func (s *Session) signature(f *starlark.Function) string {
	n := f.NumParams()
	params := make([]string, n)
	for i := range n {
		params[i], _ = f.Param(i)
		if v := f.ParamDefault(i); v != nil {
			params[i] += " = " + s.e.words.Show(v)
		}
	}
	// *args and **kwargs are last there, what has to be named is before them.
	var rest []string
	if f.HasKwargs() {
		n--
		rest = []string{"**" + params[n]}
	}
	star := "*"
	if f.HasVarargs() {
		n--
		star += params[n]
	}
	named := n - f.NumKwonlyParams()
	if named < n || star != "*" {
		rest = slices.Concat([]string{star}, params[named:n], rest)
	}
	params = append(params[:named:named], rest...)
	return f.Name() + "(" + strings.Join(params, ", ") + ")"
}

// lookup follows a path of names. What is read on the way is not recorded.
func (s *Session) lookup(path string) starlark.Value {
	s.settle()
	defer s.e.words.Save()()
	var v starlark.Value
	for i, name := range strings.Split(path, ".") {
		if i == 0 {
			if v = s.names[name]; v == nil {
				v = starlark.Universe[name]
			}
			continue
		}
		has, ok := v.(starlark.HasAttrs)
		if !ok {
			return nil
		}
		v, _ = has.Attr(name)
	}
	return v
}

// Files returns the files of the tree that can be loaded and whose names begin
// with begin.
func (s *Session) Files(begin string) []string {
	all, _ := s.e.loader.tree.Files()
	var found []string
	for _, name := range all {
		if strings.HasSuffix(name, ".star") && strings.HasPrefix(name, begin) {
			found = append(found, name)
		}
	}
	return found
}

// CallsOf returns the calls that led to the node of a plan of that name that was
// defined at pos, the outermost first; the last one is that of step itself, or
// its like.
func (s *Session) CallsOf(name string, pos plan.Pos) []plan.Frame {
	return s.e.words.CallsOf(name, pos)
}
