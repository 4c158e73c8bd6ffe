package format

import (
	"fmt"
	"slices"
	"strings"

	"go.starlark.net/syntax"
)

// meaning is a syntax tree written in a row: all of it but positions, needless
// parentheses and the indentation of docstrings.
func meaning(file *syntax.File) []string {
	var row []string
	var open []syntax.Node
	docs := map[syntax.Node]bool{}
	syntax.Walk(file, func(n syntax.Node) bool {
		if n == nil {
			n, open = open[len(open)-1], open[:len(open)-1]
			if _, paren := n.(*syntax.ParenExpr); !paren {
				row = append(row, "end")
			}
			return true
		}
		open = append(open, n)
		switch n := n.(type) {
		case *syntax.ParenExpr:
		case *syntax.DefStmt:
			if doc, ok := n.Body[0].(*syntax.ExprStmt); ok {
				docs[doc.X] = true
			}
			row = append(row, fmt.Sprintf("%T %d", n, len(n.Params)))
		case *syntax.Literal:
			text := fmt.Sprint(n.Token, n.Value)
			if docs[n] {
				lines := strings.Split(text, "\n")
				for i, line := range lines {
					lines[i] = strings.TrimSpace(line)
				}
				text = strings.Join(lines, "\n")
			}
			row = append(row, text)
		default:
			row = append(row, fmt.Sprintf("%T %s", n, detail(n)))
		}
		return true
	})
	return row
}

// detail is what a node holds beside the nodes below it, or how many of these
// there are where that is not plain.
func detail(n syntax.Node) string {
	switch n := n.(type) {
	case *syntax.Ident:
		return n.Name
	case *syntax.AssignStmt:
		return n.Op.String()
	case *syntax.BinaryExpr:
		return n.Op.String()
	case *syntax.UnaryExpr:
		return n.Op.String()
	case *syntax.BranchStmt:
		return n.Token.String()
	case *syntax.Comprehension:
		return fmt.Sprint(n.Curly)
	case *syntax.IfStmt:
		return fmt.Sprint(len(n.True))
	case *syntax.LambdaExpr:
		return fmt.Sprint(len(n.Params))
	case *syntax.SliceExpr:
		return fmt.Sprint(n.Lo != nil, n.Hi != nil, n.Step != nil)
	}
	return ""
}

// comments returns the comments of a file, sorted: a printer may move one from
// the end of a line to the line above, and put a space after its sign.
func comments(file *syntax.File) []string {
	var found []string
	syntax.Walk(file, func(n syntax.Node) bool {
		if n == nil || n.Comments() == nil {
			return true
		}
		c := n.Comments()
		for _, comment := range slices.Concat(c.Before, c.Suffix, c.After) {
			found = append(found, strings.TrimSpace(strings.TrimLeft(comment.Text, "#")))
		}
		return true
	})
	slices.Sort(found)
	return found
}
