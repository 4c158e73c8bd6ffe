package lint

import (
	"fmt"
	"strings"

	"go.starlark.net/syntax"
)

// makesNodes reports whether a builtin of that name returns a part of a flow.
func makesNodes(name string) bool {
	switch name {
	case "step", "service", "parallel", "sequence", "trigger", "approve", "expand":
		return true
	}
	return false
}

// unusedSteps looks for variables of the top level that hold steps and that
// nothing leads to. What leads somewhere is a statement that does more than
// give a name: the call of pipeline, above all. In a file that others load, its
// public names do, too.
func unusedSteps(f *file) {
	reached := map[*syntax.Ident]bool{} // variables of the top level, by where they are first bound
	holds := map[*syntax.Ident][]syntax.Node{}
	var pending []syntax.Node
	registers := false // this is a root file, and no library
	for _, stmt := range f.File.Stmts {
		switch s := stmt.(type) {
		case *syntax.LoadStmt:
		case *syntax.DefStmt:
			id := variable(s.Name)
			holds[id] = append(holds[id], s)
			registers = registers || s.Name.Name == "main"
		case *syntax.AssignStmt:
			if id, ok := s.LHS.(*syntax.Ident); ok && s.Op == syntax.EQ {
				holds[variable(id)] = append(holds[variable(id)], s.RHS)
				continue
			}
			pending = append(pending, s)
		default:
			if s, ok := stmt.(*syntax.ExprStmt); ok && (callee(s.X) == "step" || callee(s.X) == "service") {
				f.warn(s.X, fmt.Sprintf("this %s is made and dropped", callee(s.X)), "put it into the steps of a pipeline, or into what its impl returns")
			}
			pending = append(pending, s)
		}
	}
	syntax.Walk(f.File, func(n syntax.Node) bool {
		registers = registers || callee(n) == "pipeline"
		return !registers
	})
	for id := range holds {
		public := !registers && !strings.HasPrefix(id.Name, "_")
		if public || id.Name == "main" || strings.HasPrefix(id.Name, "test_") || f.wanted(id.Name) {
			reached[id] = true
			pending = append(pending, holds[id]...)
		}
	}
	for len(pending) > 0 {
		node := pending[len(pending)-1]
		pending = pending[:len(pending)-1]
		syntax.Walk(node, func(n syntax.Node) bool {
			if id, ok := n.(*syntax.Ident); ok {
				if first := variable(id); first != nil && !f.defs[id] && !reached[first] {
					reached[first] = true
					pending = append(pending, holds[first]...)
				}
			}
			return true
		})
	}
	for id, nodes := range holds {
		if reached[id] {
			continue
		}
		for _, n := range nodes {
			if !stepsIn(n) {
				continue
			}
			message, hint := "no pipeline uses "+id.Name, "put it into the steps of a pipeline, or into what its impl returns"
			if def, ok := n.(*syntax.DefStmt); ok {
				message = fmt.Sprintf("no pipeline uses the steps that %s makes", def.Name.Name)
			}
			f.warn(id, message, hint)
			break
		}
	}
}

// stepsIn reports whether a part of a flow is made in n.
func stepsIn(n syntax.Node) bool {
	found := false
	syntax.Walk(n, func(n syntax.Node) bool {
		found = found || makesNodes(callee(n))
		return !found
	})
	return found
}

// wanted reports whether another file loads name from f.
func (f *file) wanted(name string) bool {
	for _, other := range f.files {
		if other.Source == nil {
			continue
		}
		for _, stmt := range other.File.Stmts {
			load, ok := stmt.(*syntax.LoadStmt)
			if !ok || other.Loaded(load) != f.name {
				continue
			}
			for _, id := range load.From {
				if id.Name == name {
					return true
				}
			}
		}
	}
	return false
}
