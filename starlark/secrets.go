package starlark

import (
	"bytes"

	"go.starlark.net/resolve"
	"go.starlark.net/syntax"

	"github.com/piper-build/piper/runtime/plan"
)

// comparedSecrets returns the comparisons of a secret that can be seen in the
// source. The interpreter asks no value before it calls two of different types
// unequal, so secret("a") == "x" would quietly be False. file is resolved.
func (s *source) comparedSecrets(file *syntax.File) plan.Diagnostics {
	if !bytes.Contains(s.text, []byte("secret(")) {
		return nil
	}
	holds := make(map[*resolve.Binding]bool) // what a secret was assigned to
	isSecret := func(e syntax.Expr) bool {
		switch e := e.(type) {
		case *syntax.CallExpr:
			id, ok := e.Fn.(*syntax.Ident)
			return ok && id.Name == "secret"
		case *syntax.Ident:
			b, ok := e.Binding.(*resolve.Binding)
			return ok && holds[b]
		}
		return false
	}
	syntax.Walk(file, func(n syntax.Node) bool {
		if assign, ok := n.(*syntax.AssignStmt); ok && isSecret(assign.RHS) {
			if id, ok := assign.LHS.(*syntax.Ident); ok {
				if b, ok := id.Binding.(*resolve.Binding); ok {
					holds[b] = true
				}
			}
		}
		return true
	})
	var found plan.Diagnostics
	syntax.Walk(file, func(n syntax.Node) bool {
		pair, ok := n.(*syntax.BinaryExpr)
		if ok && (pair.Op == syntax.EQL || pair.Op == syntax.NEQ) && (isSecret(pair.X) || isSecret(pair.Y)) {
			from, to := pair.Span()
			found = append(found, s.diagnoseSpan(place{from.Line, from.Col}, place{to.Line, to.Col}, "secret-misused",
				"a secret cannot be compared: its value is known only when the build runs", "compare it in the step's script"))
		}
		return true
	})
	return found
}
