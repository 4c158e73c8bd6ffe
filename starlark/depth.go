package starlark

import "go.starlark.net/syntax"

// maxDepth is how deep an expression may be. The parser bounds what stands in
// brackets; a long row of operators or calls is as deep, and whoever walks over
// it recurs.
const maxDepth = 10_000

// tooDeep reports whether an expression in a list of statements is too deep,
// and where its statement begins.
func tooDeep(stmts []syntax.Stmt) (place, bool) {
	for _, stmt := range stmts {
		from, to := stmt.Span()
		if small(from, to) {
			continue
		}
		var exprs []syntax.Expr
		var bodies [][]syntax.Stmt
		switch s := stmt.(type) {
		case *syntax.ExprStmt:
			exprs = []syntax.Expr{s.X}
		case *syntax.AssignStmt:
			exprs = []syntax.Expr{s.LHS, s.RHS}
		case *syntax.ReturnStmt:
			exprs = []syntax.Expr{s.Result}
		case *syntax.DefStmt:
			exprs, bodies = s.Params, [][]syntax.Stmt{s.Body}
		case *syntax.ForStmt:
			exprs, bodies = []syntax.Expr{s.Vars, s.X}, [][]syntax.Stmt{s.Body}
		case *syntax.IfStmt:
			exprs, bodies = []syntax.Expr{s.Cond}, [][]syntax.Stmt{s.True, s.False}
		}
		if deep(0, exprs...) {
			return place{from.Line, from.Col}, true
		}
		for _, body := range bodies {
			if at, deep := tooDeep(body); deep {
				return at, true
			}
		}
	}
	return place{}, false
}

// small reports whether too little is written between two places for anything
// deep.
func small(from, to syntax.Position) bool {
	return from.Line == to.Line && to.Col-from.Col < 2*maxDepth
}

// deep reports whether one of list, which stands at a depth, is too deep.
func deep(depth int, list ...syntax.Expr) bool {
	for _, e := range list {
		if e != nil && !small(e.Span()) && deepOne(depth, e) {
			return true
		}
	}
	return false
}

// deepOne follows the left side of e in a loop: that is where the parser puts
// what is long. The other sides are at most as deep as brackets nest.
func deepOne(depth int, e syntax.Expr) bool {
	for ; depth <= maxDepth; depth++ {
		var others []syntax.Expr
		switch x := e.(type) {
		case *syntax.BinaryExpr:
			e, others = x.X, []syntax.Expr{x.Y}
		case *syntax.CallExpr:
			e, others = x.Fn, x.Args
		case *syntax.DotExpr:
			e = x.X
		case *syntax.IndexExpr:
			e, others = x.X, []syntax.Expr{x.Y}
		case *syntax.SliceExpr:
			e, others = x.X, []syntax.Expr{x.Lo, x.Hi, x.Step}
		case *syntax.ParenExpr:
			e = x.X
		case *syntax.UnaryExpr:
			e = x.X
		case *syntax.ListExpr:
			return deep(depth+1, x.List...)
		case *syntax.TupleExpr:
			return deep(depth+1, x.List...)
		case *syntax.DictExpr:
			return deep(depth+1, x.List...)
		case *syntax.DictEntry:
			return deep(depth+1, x.Key, x.Value)
		case *syntax.CondExpr:
			e, others = x.False, []syntax.Expr{x.Cond, x.True}
		case *syntax.LambdaExpr:
			e, others = x.Body, x.Params
		case *syntax.Comprehension:
			e = x.Body
			for _, clause := range x.Clauses {
				switch c := clause.(type) {
				case *syntax.ForClause:
					others = append(others, c.Vars, c.X)
				case *syntax.IfClause:
					others = append(others, c.Cond)
				}
			}
		default:
			return false
		}
		if deep(depth+1, others...) {
			return true
		}
		if e == nil {
			return false
		}
	}
	return true
}
