package starlark

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"go.starlark.net/resolve"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/piper-build/piper/runtime/plan"
)

// The bounds of what is loaded.
const (
	maxFiles     = 64
	maxLoadDepth = 16
)

// dialect is what a PIPER.star may write beyond plain Starlark. Without the
// rebinding of globals two top-level loops over i would clash.
var dialect = syntax.FileOptions{Set: true, TopLevelControl: true, GlobalReassign: true}

// A loader reads, parses and compiles the root file and all that it loads,
// before anything runs: so every syntax error of every file is found at once.
type loader struct {
	tree    *tree
	limits  Limits
	cache   *cache
	known   func(name string) bool // whether a name is predeclared
	names   func() []string        // those that are, and those that Starlark has
	main    string                 // the root file's name
	sources map[string]*source
	cover   *Coverage
	order   []*source // each after what it loads
	found   plan.Diagnostics
}

// root loads the root file. text is its source, or nil to read it.
func (l *loader) root(name string, text []byte) *source {
	l.main = name
	if text == nil {
		var err error
		if text, err = l.read(name); err != nil {
			d := plan.Diagnostic{File: name, Severity: "error", Code: "unreadable-file"}
			d.Message, d.Hint = l.why(name, err)
			if errors.Is(err, fs.ErrNotExist) {
				d.Code, d.Hint = "no-such-file", "piper init writes one"
			}
			l.found = append(l.found, d)
			return nil
		}
	}
	s := l.add(name, text)
	l.follow(s, []*source{s})
	return s
}

// why says in a sentence why the named file cannot be read.
func (l *loader) why(name string, err error) (message, hint string) {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if near, ok := l.near(name); ok {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
		return name + " is not there", hint
	case errors.Is(err, errTooLarge):
		return fmt.Sprintf("%s has more than %d bytes", name, l.limits.Source), fmt.Sprintf("split it, or raise the setting max_source (%d)", l.limits.Source)
	}
	return fmt.Sprintf("%s cannot be read: %v", name, err), ""
}

// add compiles a file and notes what it loads.
func (l *loader) add(name string, text []byte) *source {
	s := &source{name: name, text: text, sum: sha256.Sum256(text)}
	l.sources[name] = s
	if len(text) > l.limits.Source {
		d := plan.Diagnostic{File: name, Severity: "error", Code: "too-large"}
		d.Message, d.Hint = l.why(name, errTooLarge)
		l.found = append(l.found, d)
		return s
	}
	if l.cover == nil && l.cache.get(s) {
		for i := range s.program.NumLoads() {
			label, pos := s.program.Load(i)
			s.loads = append(s.loads, loading{label: label, pos: pos})
		}
		return s
	}
	if at, problem, hint := unreadable(text); at >= 0 {
		pos := s.place(at)
		l.found = append(l.found, s.diagnose(pos, "bad-encoding", problem, hint))
		return s
	}
	l.compile(s)
	return s
}

// compile parses, resolves and compiles s. A file with errors still says what
// it loads.
func (l *loader) compile(s *source) {
	file, err := dialect.Parse(s.name, s.text, 0)
	if err != nil {
		l.found = append(l.found, s.syntaxErrors(err)...)
		s.loads = s.scanLoads()
		return
	}
	if pos, deep := tooDeep(file.Stmts); deep {
		l.found = append(l.found, s.diagnose(pos, "syntax", "the expression is too deep", "give its parts names"))
		return
	}
	for _, stmt := range file.Stmts {
		if load, ok := stmt.(*syntax.LoadStmt); ok {
			s.loads = append(s.loads, loading{label: load.ModuleName(), pos: load.Module.TokenPos})
		}
	}
	s.program, err = starlark.FileProgram(file, l.known)
	var list resolve.ErrorList
	switch {
	case errors.As(err, &list):
		l.found = append(l.found, s.resolveErrors(list, file, l.names())...)
	case err != nil: // FileProgram has no other
		l.found = append(l.found, s.diagnose(place{1, 1}, "syntax", err.Error(), ""))
	default:
		if compared := s.comparisons(file); compared != nil {
			l.found = append(l.found, compared...)
			return
		}
		if l.cover != nil {
			l.cover.instrument(s, l.known)
			return
		}
		l.cache.put(s)
		garbage.compiled(len(s.text))
	}
}

// scanLoads finds the load statements of a file that does not parse.
func (s *source) scanLoads() []loading {
	var loads []loading
	n := int32(0)
	for line := range strings.Lines(string(s.text)) {
		n++
		if rest, ok := strings.CutPrefix(line, `load("`); ok {
			if label, _, ok := strings.Cut(rest, `"`); ok {
				loads = append(loads, loading{label: label, pos: syntax.MakePosition(&s.name, n, int32(len(`load("`)))})
			}
		}
	}
	return loads
}

// follow loads what s loads. path is how s was reached, s last.
func (l *loader) follow(s *source, path []*source) {
	for i := range s.loads {
		load := &s.loads[i]
		problem := func(code, message, hint string) {
			d := s.diagnose(place{load.pos.Line, load.pos.Col}, code, message, hint)
			l.found = append(l.found, d)
		}
		name, bad, hint := resolveLabel(load.label, s.name)
		if bad != "" {
			problem("bad-label", "load: "+bad, hint)
			continue
		}
		if at := slices.IndexFunc(path, func(p *source) bool { return p.name == name }); at >= 0 {
			var names []string
			for _, p := range path[at:] {
				names = append(names, p.name)
			}
			problem("load-cycle", "load: a cycle: "+strings.Join(append(names, name), " loads "), "move what both need into a third file")
			continue
		}
		from, had := l.sources[name]
		if !had {
			switch {
			case len(path) >= maxLoadDepth:
				problem("load-limit", fmt.Sprintf("load: more than %d files load each other in a row", maxLoadDepth), "")
				continue
			case len(l.sources) >= maxFiles:
				problem("load-limit", fmt.Sprintf("load: more than %d files are loaded", maxFiles), "")
				continue
			}
			text, err := l.read(name)
			if err != nil {
				code := "unreadable-file"
				if errors.Is(err, fs.ErrNotExist) {
					code = "no-such-file"
				}
				message, hint := l.why(name, err)
				problem(code, "load: "+message, hint)
				continue
			}
			from = l.add(name, text)
			l.follow(from, append(path, from))
		}
		load.from = from
	}
	if !slices.Contains(l.order, s) {
		l.order = append(l.order, s)
	}
}
