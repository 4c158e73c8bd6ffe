package lint

import (
	"fmt"
	"slices"
	"strings"

	"go.starlark.net/resolve"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/piper-build/piper/builtins"
)

// The checks on names.

func unusedLoads(f *file) {
	for _, stmt := range f.File.Stmts {
		load, ok := stmt.(*syntax.LoadStmt)
		if !ok {
			continue
		}
		for _, id := range load.To {
			if len(f.uses[id]) == 0 {
				f.warn(id, id.Name+" is loaded and not used", "take it out of the load statement")
			}
		}
	}
}

func duplicateLoads(f *file) {
	seen := map[string]*syntax.LoadStmt{}
	for _, stmt := range f.File.Stmts {
		load, ok := stmt.(*syntax.LoadStmt)
		if !ok {
			continue
		}
		name := load.ModuleName()
		if first := seen[name]; first != nil {
			f.warn(load.Module, fmt.Sprintf("%s is loaded in line %d already", name, first.Load.Line), "one load statement can name all that is wanted of it")
			continue
		}
		seen[name] = load
	}
}

func unusedVariables(f *file) {
	unpacked := map[*syntax.Ident]bool{} // by a tuple or a loop, where a name has to stand
	syntax.Walk(f.File, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.AssignStmt:
			if _, single := n.LHS.(*syntax.Ident); !single {
				define(unpacked, n.LHS)
			}
		case *syntax.ForStmt:
			define(unpacked, n.Vars)
		case *syntax.ForClause:
			define(unpacked, n.Vars)
		}
		return true
	})
	eachFunction(f, func(def *syntax.DefStmt, fn *resolve.Function) {
		for _, local := range fn.Locals[min(countParams(def.Params), len(fn.Locals)):] {
			id := local.First
			if len(f.uses[id]) == 0 && !unpacked[id] && !strings.HasPrefix(id.Name, "_") {
				f.warn(id, id.Name+" is set and not used", "take it out, or call it _"+id.Name)
			}
		}
	})
}

func unusedParameters(f *file) {
	eachFunction(f, func(def *syntax.DefStmt, fn *resolve.Function) {
		if handedOver(f, def) || onlyFails(def.Body) {
			return
		}
		params := map[*syntax.Ident]bool{}
		define(params, def.Params...)
		for _, local := range fn.Locals[:min(len(params), len(fn.Locals))] {
			id := local.First
			if params[id] && len(f.uses[id]) == 0 && !strings.HasPrefix(id.Name, "_") {
				f.warn(id, fmt.Sprintf("%s does not use its parameter %s", def.Name.Name, id.Name), "take it out, or call it _"+id.Name)
			}
		}
	})
}

// handedOver reports whether def is a function that somebody else calls, and so
// does not choose its parameters: its name is used for more than to call it.
func handedOver(f *file, def *syntax.DefStmt) bool {
	if f.called == nil {
		f.called = map[*syntax.Ident]bool{}
		syntax.Walk(f.File, func(n syntax.Node) bool {
			if call, ok := n.(*syntax.CallExpr); ok {
				if id, ok := call.Fn.(*syntax.Ident); ok {
					f.called[id] = true
				}
			}
			return true
		})
	}
	name := def.Name.Name
	if name == "main" || strings.HasPrefix(name, "test_") {
		return true
	}
	return slices.ContainsFunc(f.uses[variable(def.Name)], func(use *syntax.Ident) bool { return !f.called[use] })
}

// onlyFails reports whether a body has nothing to do with parameters: it is
// empty, or says why it cannot be called.
func onlyFails(body []syntax.Stmt) bool {
	for _, stmt := range body {
		switch s := stmt.(type) {
		case *syntax.BranchStmt:
		case *syntax.ExprStmt:
			if _, doc := s.X.(*syntax.Literal); !doc && callee(s.X) != "fail" {
				return false
			}
		default:
			return false
		}
	}
	return true
}

func shadowedBuiltins(f *file) {
	words := map[string]bool{}
	for _, name := range builtins.Names() {
		words[name] = true
	}
	builtin := func(name string) bool { return words[name] || starlark.Universe.Has(name) }
	warn := func(id *syntax.Ident) {
		f.warn(id, fmt.Sprintf("this %s hides the builtin %[1]s", id.Name), "give it another name")
	}
	soft := map[*syntax.Ident]bool{} // may have such a name, as long as it is not used as the builtin is
	syntax.Walk(f.File, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.DefStmt:
			define(soft, n.Params...)
		case *syntax.LambdaExpr:
			define(soft, n.Params...)
		case *syntax.ForClause:
			define(soft, n.Vars)
		}
		return true
	})
	misused := map[*syntax.Ident]bool{}
	syntax.Walk(f.File, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.CallExpr:
			if id, ok := n.Fn.(*syntax.Ident); ok {
				misused[variable(id)] = true
			}
		case *syntax.DotExpr:
			if id, ok := n.X.(*syntax.Ident); ok {
				if _, word := builtins.Lookup(id.Name + "." + n.Name.Name); word {
					misused[variable(id)] = true
				}
			}
		}
		return true
	})
	for id := range f.defs {
		if variable(id) != id || !builtin(id.Name) {
			continue
		}
		if !soft[id] || misused[id] {
			warn(id)
		}
	}
}

// eachFunction calls visit for each def of the file.
func eachFunction(f *file, visit func(*syntax.DefStmt, *resolve.Function)) {
	syntax.Walk(f.File, func(n syntax.Node) bool {
		if def, ok := n.(*syntax.DefStmt); ok {
			if fn, ok := def.Function.(*resolve.Function); ok {
				visit(def, fn)
			}
		}
		return true
	})
}

// countParams returns how many names params bind.
func countParams(params []syntax.Expr) int {
	bound := map[*syntax.Ident]bool{}
	define(bound, params...)
	return len(bound)
}
