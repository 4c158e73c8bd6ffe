package format

import (
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"go.starlark.net/syntax"
)

// hideBytes puts a name in the place of each bytes literal of text, which the
// printer does not know. The function it returns puts the literals back.
func hideBytes(text string, file *syntax.File) (hidden string, show func(string) string) {
	var literals []*syntax.Literal
	syntax.Walk(file, func(n syntax.Node) bool {
		if l, ok := n.(*syntax.Literal); ok && l.Token == syntax.BYTES {
			literals = append(literals, l)
		}
		return true
	})
	if len(literals) == 0 {
		return text, func(s string) string { return s }
	}
	lines := strings.SplitAfter(text, "\n")
	offset := func(at syntax.Position) int {
		n := 0
		for _, line := range lines[:at.Line-1] {
			n += len(line)
		}
		for range at.Col - 1 {
			_, size := utf8.DecodeRuneInString(text[n:])
			n += size
		}
		return n
	}
	name := "bytes_"
	for strings.Contains(text, name) {
		name += "_"
	}
	var pairs []string
	slices.SortFunc(literals, func(a, b *syntax.Literal) int { return offset(b.TokenPos) - offset(a.TokenPos) })
	hidden = text
	for i, l := range literals { // from the end, so that offsets stay
		at := offset(l.TokenPos)
		pairs = append(pairs, fmt.Sprintf("%s%d_", name, i), l.Raw)
		hidden = hidden[:at] + pairs[2*i] + hidden[at+len(l.Raw):]
	}
	return hidden, strings.NewReplacer(pairs...).Replace
}
