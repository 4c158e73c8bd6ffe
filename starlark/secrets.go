package starlark

import (
	"bytes"

	"go.starlark.net/resolve"
	"go.starlark.net/syntax"

	"github.com/piper-build/piper/runtime/plan"
)

// The interpreter asks no value before it calls two of different types unequal,
// so secret("a") == "x", step.output("v") != "1" and git.branch == "main" would
// quietly be False or True. What can be seen in the source is an error.

// comparisons returns the comparisons and the conditions in which a secret, an
// output or a function that was not called stands. file is resolved.
func (s *source) comparisons(file *syntax.File) plan.Diagnostics {
	names := func(word string) bool { return bytes.Contains(s.text, []byte(word)) }
	unknown := names("secret(") || names(".output(")
	if !unknown && !names("git.") && !names("fs.") {
		return nil // as in large files, which programs write
	}
	j := judge{source: s}
	if unknown {
		j.holds = held(file)
	}
	syntax.Walk(file, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.BinaryExpr:
			switch n.Op {
			case syntax.EQL, syntax.NEQ, syntax.LT, syntax.GT, syntax.LE, syntax.GE, syntax.IN, syntax.NOT_IN:
				j.compared(n)
			case syntax.AND, syntax.OR:
				j.asked(n.X)
			}
		case *syntax.UnaryExpr:
			if n.Op == syntax.NOT {
				j.asked(n.X)
			}
		case *syntax.IfStmt:
			j.asked(n.Cond)
		case *syntax.CondExpr:
			j.asked(n.Cond)
		case *syntax.IfClause:
			j.asked(n.Cond)
		}
		return true
	})
	return j.found
}

// A judge looks at the expressions of a file.
type judge struct {
	source *source
	holds  names // that hold a secret or an output
	found  plan.Diagnostics
}

// compared looks at a comparison.
func (j *judge) compared(pair *syntax.BinaryExpr) {
	for _, side := range []syntax.Expr{pair.X, pair.Y} {
		if what := unknown(side, j.holds); what != "" {
			j.report(pair, "secret-misused", what+" cannot be compared: its value is known only when the build runs", "compare it in the step's script")
			return
		}
		if name := uncalled(side); name != "" {
			j.report(side, "not-called", name+" is a function, which is not called here", "write "+name+"()")
			return
		}
	}
}

// asked looks at an expression that is asked whether it is true.
func (j *judge) asked(e syntax.Expr) {
	switch inner := e.(type) {
	case *syntax.ParenExpr:
		j.asked(inner.X)
		return
	case *syntax.BinaryExpr:
		if inner.Op == syntax.AND || inner.Op == syntax.OR { // X is looked at by itself
			j.asked(inner.Y)
			return
		}
	}
	if what := unknown(e, j.holds); what != "" {
		j.report(e, "secret-misused", what+" is no condition: its value is known only when the build runs", "look at it in the step's script")
	} else if name := uncalled(e); name != "" {
		j.report(e, "not-called", name+" is a function, which is not called here", "write "+name+"()")
	}
}

func (j *judge) report(n syntax.Node, code, message, hint string) {
	from, to := n.Span()
	j.found = append(j.found, j.source.diagnoseSpan(place{from.Line, from.Col}, place{to.Line, to.Col}, code, message, hint))
}

// names says of names, each by the place where it is bound first, what they
// hold: "a secret", "an output", or "" for anything else.
type names map[*syntax.Ident]string

// held returns the names to which nothing but secrets and outputs is assigned.
func held(file *syntax.File) names {
	holds := make(names)
	syntax.Walk(file, func(n syntax.Node) bool {
		if assign, ok := n.(*syntax.AssignStmt); ok {
			if id, ok := assign.LHS.(*syntax.Ident); ok {
				what, had := holds[bound(id)]
				switch {
				case had && what != "":
					holds[bound(id)] = unknown(assign.RHS, holds)
				case bound(id) == id: // not what a parameter or a loop gave
					holds[id] = unknown(assign.RHS, holds)
				}
			}
		}
		return true
	})
	return holds
}

// unknown says what e is when that can be seen to be a secret or an output, or
// text that holds one.
func unknown(e syntax.Expr, holds names) string {
	switch e := e.(type) {
	case *syntax.ParenExpr:
		return unknown(e.X, holds)
	case *syntax.Ident:
		return holds[bound(e)]
	case *syntax.BinaryExpr:
		if e.Op == syntax.PLUS || e.Op == syntax.PERCENT {
			return first(holds, e.X, e.Y)
		}
	case *syntax.TupleExpr:
		return first(holds, e.List...)
	case *syntax.CallExpr:
		switch fn := e.Fn.(type) {
		case *syntax.Ident:
			switch {
			case fn.Name == "secret":
				return "a secret"
			case fn.Name == "str":
				return first(holds, e.Args...)
			}
		case *syntax.DotExpr:
			switch fn.Name.Name {
			case "output":
				return "an output"
			case "format":
				return first(holds, e.Args...)
			}
		}
	}
	return ""
}

// bound returns the place where a name is bound first, or nil.
func bound(id *syntax.Ident) *syntax.Ident {
	if b, ok := id.Binding.(*resolve.Binding); ok {
		return b.First
	}
	return nil
}

// first returns what the first of list is that is unknown.
func first(holds names, list ...syntax.Expr) string {
	for _, e := range list {
		if what := unknown(e, holds); what != "" {
			return what
		}
	}
	return ""
}

// uncalled returns the name of the function of git or fs that e names.
func uncalled(e syntax.Expr) string {
	dot, ok := e.(*syntax.DotExpr)
	if !ok {
		return ""
	}
	switch of := dot.X.(type) {
	case *syntax.Ident:
		b, ok := of.Binding.(*resolve.Binding)
		if ok && b.Scope == resolve.Predeclared && (of.Name == "git" || of.Name == "fs") && word(of.Name, dot.Name.Name) {
			return of.Name + "." + dot.Name.Name
		}
	case *syntax.DotExpr:
		ctx, ok := of.X.(*syntax.Ident)
		if ok && ctx.Name == "ctx" && of.Name.Name == "git" && word("git", dot.Name.Name) {
			return "ctx.git." + dot.Name.Name
		}
	}
	return ""
}
