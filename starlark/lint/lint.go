// Package lint looks for what is allowed in a .star file, and most likely a
// mistake or a danger.
//
// A check reads the syntax tree; nothing is run. What bazelbuild's linter finds
// in any Starlark is found here under the same name or a plainer one, made anew
// on the interpreter's own tree: linking that linter brings in protocol buffers,
// four megabytes and a millisecond of each start.
//
// A check stays silent where it is not sure. Of what it cannot see, a value that
// comes from a file it cannot read or from a dict made in a loop, it thinks no
// evil.
//
// A comment on the line of a warning, or alone on the line above, silences it:
//
//	run = "deploy " + ctx.event.branch,  # lint: ignore=unquoted-value only we push here
//
// Several codes go with commas between them; "# lint: ignore-file=code" is for
// the whole file.
package lint

import (
	"slices"

	"go.starlark.net/resolve"
	"go.starlark.net/syntax"

	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/starlark"
)

// A Check is one kind of warning.
type Check struct {
	Code string `json:"code"` // of its diagnostics
	Doc  string `json:"doc"`

	file    func(*file) // looks at one file
	project func(*project)
}

// Checks returns all there are, in the order of their names.
func Checks() []Check {
	return []Check{
		{Code: "duplicate-key", file: duplicateKeys,
			Doc: "A dict is written with the same key twice, which ends the evaluation."},
		{Code: "duplicate-load", file: duplicateLoads,
			Doc: "Two load statements name the same file; one can load all."},
		{Code: "no-effect", file: noEffects,
			Doc: "A statement computes a value and drops it. Was it to be called, or given a name?"},
		{Code: "return-value", file: returnValues,
			Doc: "A function returns a value on some paths and nothing on others, where None comes out."},
		{Code: "shadowed-builtin", file: shadowedBuiltins,
			Doc: "A variable has the name of a builtin, which can no longer be used there. Parameters and the variables of a comprehension may have such a name, as long as the builtin is not used below them."},
		{Code: "unquoted-value", project: unquotedValues,
			Doc: "A value that others choose (a branch, a tag, a title, an author, a payload, an environment variable, a parameter of free text) is put into the text of a shell command. Whoever chooses it chooses what runs. " +
				"Pass it by env, where \"$NAME\" is only text to the shell; or make run a list, which no shell reads; or use shlex.quote. A parameter is safe with choices or with a pattern from ^ to $ that leaves out what a shell obeys; so is a value inside of if x == \"main\" or if x in [...]."},
		{Code: "unreachable", file: unreachable,
			Doc: "A statement follows one that always leaves: return, break, continue or fail()."},
		{Code: "unused-load", file: unusedLoads,
			Doc: "A name is loaded and not used."},
		{Code: "unused-parameter", file: unusedParameters,
			Doc: "A function does not use its parameter. Functions that are handed over as values, such as an impl, do not choose their parameters; a name that begins with _ says that it is meant."},
		{Code: "unused-step", file: unusedSteps,
			Doc: "A step is made that no pipeline uses."},
		{Code: "unused-variable", file: unusedVariables,
			Doc: "A variable of a function is set and not used. A name that begins with _ says that it is meant."},
	}
}

// A Request says what to look at.
type Request struct {
	Files []string                          // below the tree
	Read  func(name string) ([]byte, error) // of a file below the tree, or one such as "@piper//go.star"
}

// Run looks for everything in the files of r, and in what happens in the files
// that these load. The warnings are sorted; errors among them are files that do
// not parse, which nothing else is said about. Run fails when Read does for one
// of r.Files.
func Run(r Request) (plan.Diagnostics, error) {
	p := &project{read: r.Read, files: map[string]*file{}}
	for _, name := range r.Files {
		f, err := p.open(name)
		if err != nil {
			return nil, err
		}
		f.asked = true
		p.found = append(p.found, f.wrong...)
	}
	for _, check := range Checks() {
		p.check = check.Code
		if check.project != nil {
			check.project(p)
			continue
		}
		for _, name := range r.Files {
			if f := p.files[name]; f.Source != nil {
				check.file(f)
			}
		}
	}
	p.found.Sort()
	return p.found, nil
}

// A project is the files that are looked at, and those that they load.
type project struct {
	read  func(name string) ([]byte, error)
	files map[string]*file
	check string // the code of the check at work
	found plan.Diagnostics
}

// A file is one file of a project.
type file struct {
	*starlark.Source // nil when it does not parse
	*project
	name    string
	asked   bool // for, and not only loaded
	wrong   plan.Diagnostics
	defs    map[*syntax.Ident]bool            // where a name is given its value
	uses    map[*syntax.Ident][]*syntax.Ident // by where a variable is first bound: where it is read
	called  map[*syntax.Ident]bool            // names that are called where they stand; filled when first asked for
	ignored map[int32][]string                // by line: the codes that a comment silences; line 0 is all
}

// open reads a file, once.
func (p *project) open(name string) (*file, error) {
	if f := p.files[name]; f != nil {
		return f, nil
	}
	text, err := p.read(name)
	if err != nil {
		return nil, err
	}
	f := &file{project: p, name: name}
	p.files[name] = f
	if f.Source, f.wrong = starlark.ReadSource(name, text); f.Source != nil {
		f.defs, f.uses = names(f.File)
		f.ignored = ignored(string(text))
	}
	return f, nil
}

// warn reports what stands between the ends of a node.
func (f *file) warn(n syntax.Node, message, hint string) {
	from, to := n.Span()
	f.report(f.Warn(from, to, f.check, message, hint))
}

// report reports d, unless a comment silences it.
func (f *file) report(d plan.Diagnostic) {
	for _, line := range []int32{0, int32(d.Line)} {
		if slices.Contains(f.ignored[line], d.Code) {
			return
		}
	}
	same := func(known plan.Diagnostic) bool { // found on another way to the same place
		return known.File == d.File && known.Line == d.Line && known.Column == d.Column && known.Code == d.Code && known.Message == d.Message
	}
	if !slices.ContainsFunc(f.found, same) {
		f.found = append(f.found, d)
	}
}

// names finds where variables get their values, and where they are read.
func names(tree *syntax.File) (defs map[*syntax.Ident]bool, uses map[*syntax.Ident][]*syntax.Ident) {
	defs, uses = map[*syntax.Ident]bool{}, map[*syntax.Ident][]*syntax.Ident{}
	syntax.Walk(tree, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.AssignStmt:
			define(defs, n.LHS)
		case *syntax.ForStmt:
			define(defs, n.Vars)
		case *syntax.ForClause:
			define(defs, n.Vars)
		case *syntax.DefStmt:
			defs[n.Name] = true
			define(defs, n.Params...)
		case *syntax.LambdaExpr:
			define(defs, n.Params...)
		case *syntax.LoadStmt:
			for _, id := range n.To {
				defs[id] = true
			}
			return false
		case *syntax.Ident:
			if first := variable(n); first != nil && !defs[n] {
				uses[first] = append(uses[first], n)
			}
		}
		return true
	})
	return defs, uses
}

// define notes the names that targets, or parameters, give values to.
func define(defs map[*syntax.Ident]bool, targets ...syntax.Expr) {
	for _, target := range targets {
		switch x := target.(type) {
		case *syntax.Ident:
			defs[x] = true
		case *syntax.ParenExpr:
			define(defs, x.X)
		case *syntax.TupleExpr:
			define(defs, x.List...)
		case *syntax.ListExpr:
			define(defs, x.List...)
		case *syntax.UnaryExpr: // *args
			if x.X != nil {
				define(defs, x.X)
			}
		case *syntax.BinaryExpr: // a parameter with a default
			define(defs, x.X)
		}
	}
}

// variable returns where the variable that id names is first bound; nil when it
// is none of the file's.
func variable(id *syntax.Ident) *syntax.Ident {
	if b, ok := id.Binding.(*resolve.Binding); ok {
		return b.First
	}
	return nil
}

// predeclared returns the name of the builtin that e names, or "".
func predeclared(e syntax.Expr) string {
	switch x := e.(type) {
	case *syntax.Ident:
		if b, ok := x.Binding.(*resolve.Binding); ok && (b.Scope == resolve.Predeclared || b.Scope == resolve.Universal) {
			return x.Name
		}
	case *syntax.DotExpr:
		if space := predeclared(x.X); space != "" {
			return space + "." + x.Name.Name
		}
	}
	return ""
}

// callee returns the name of the builtin that e calls, or "".
func callee(e syntax.Node) string {
	if call, ok := e.(*syntax.CallExpr); ok {
		return predeclared(call.Fn)
	}
	return ""
}
