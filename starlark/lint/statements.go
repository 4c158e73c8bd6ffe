package lint

import (
	"fmt"

	"go.starlark.net/resolve"
	"go.starlark.net/syntax"
)

// The checks on what statements do, and on dicts.

// leaves reports whether control never comes out at the end of body, and
// returns the first statement that it cannot reach.
func leaves(body []syntax.Stmt) (leaves bool, dead syntax.Stmt) {
	for i, stmt := range body {
		if !ends(stmt) {
			continue
		}
		if i+1 < len(body) {
			dead = body[i+1]
		}
		return true, dead
	}
	return false, nil
}

// ends reports whether control never comes out of stmt.
func ends(stmt syntax.Stmt) bool {
	switch s := stmt.(type) {
	case *syntax.ReturnStmt:
		return true
	case *syntax.BranchStmt:
		return s.Token != syntax.PASS
	case *syntax.ExprStmt:
		return callee(s.X) == "fail"
	case *syntax.IfStmt:
		yes, _ := leaves(s.True)
		no, _ := leaves(s.False)
		return yes && no
	}
	return false
}

func unreachable(f *file) {
	look := func(body []syntax.Stmt) {
		if _, dead := leaves(body); dead != nil {
			f.warn(dead, "this is never reached", "the statement before it always leaves")
		}
	}
	look(f.File.Stmts)
	syntax.Walk(f.File, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.DefStmt:
			look(n.Body)
		case *syntax.ForStmt:
			look(n.Body)
		case *syntax.IfStmt:
			look(n.True)
			look(n.False)
		}
		return true
	})
}

func returnValues(f *file) {
	eachFunction(f, func(def *syntax.DefStmt, fn *resolve.Function) {
		var valued, bare []*syntax.ReturnStmt
		eachStatement(def.Body, func(stmt syntax.Stmt) {
			if r, ok := stmt.(*syntax.ReturnStmt); ok && r.Result != nil {
				valued = append(valued, r)
			} else if ok {
				bare = append(bare, r)
			}
		})
		if len(valued) == 0 {
			return
		}
		const hint = "write return None where that is meant"
		for _, r := range bare {
			f.warn(r, fmt.Sprintf("%s returns no value here, and one in line %d", def.Name.Name, valued[0].Return.Line), hint)
		}
		if left, _ := leaves(def.Body); !left {
			f.warn(def.Name, fmt.Sprintf("%s returns a value in line %d, and may end without one", def.Name.Name, valued[0].Return.Line), hint)
		}
	})
}

// eachStatement calls visit for each statement of body and of the blocks
// inside it, but not of functions.
func eachStatement(body []syntax.Stmt, visit func(syntax.Stmt)) {
	for _, stmt := range body {
		visit(stmt)
		switch s := stmt.(type) {
		case *syntax.ForStmt:
			eachStatement(s.Body, visit)
		case *syntax.IfStmt:
			eachStatement(s.True, visit)
			eachStatement(s.False, visit)
		}
	}
}

func noEffects(f *file) {
	look := func(body []syntax.Stmt) {
		first := true
		eachStatement(body, func(stmt syntax.Stmt) {
			doc := first
			first = false
			s, ok := stmt.(*syntax.ExprStmt)
			if !ok || calls(s.X) {
				return
			}
			if _, literal := s.X.(*syntax.Literal); literal && doc {
				return
			}
			hint := "give it a name, or take it out"
			switch s.X.(type) {
			case *syntax.Ident, *syntax.DotExpr:
				hint = "is it to be called? Write () after it"
			}
			f.warn(s.X, "this value is dropped", hint)
		})
	}
	look(f.File.Stmts)
	eachFunction(f, func(def *syntax.DefStmt, _ *resolve.Function) { look(def.Body) })
}

// calls reports whether something is called in e, which may have an effect.
func calls(e syntax.Expr) bool {
	found := false
	syntax.Walk(e, func(n syntax.Node) bool {
		switch n.(type) {
		case *syntax.CallExpr:
			found = true
		case *syntax.LambdaExpr:
			return false
		}
		return !found
	})
	return found
}

func duplicateKeys(f *file) {
	syntax.Walk(f.File, func(n syntax.Node) bool {
		dict, ok := n.(*syntax.DictExpr)
		if !ok {
			return true
		}
		lines := map[string]int32{}
		for _, entry := range dict.List {
			key, ok := entry.(*syntax.DictEntry).Key.(*syntax.Literal)
			if !ok {
				continue
			}
			value := fmt.Sprint(key.Token, key.Value)
			if first, twice := lines[value]; twice {
				f.warn(key, fmt.Sprintf("the dict has the key %s from line %d already", key.Raw, first), "the evaluation ends here; take one of them out")
				continue
			}
			lines[value] = key.TokenPos.Line
		}
		return true
	})
}
