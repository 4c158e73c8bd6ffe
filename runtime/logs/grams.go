package logs

import (
	"bytes"
	"regexp/syntax"
	"slices"
	"unicode"
	"unicode/utf8"
)

// A gram is the hash of three bytes that follow on each other, in lower case as far
// as they are ASCII.
type gram uint16

// gramOf is that of the last three bytes of g.
func gramOf(g uint32) gram { return gram(uint64(g<<8) * 0x9E3779B97F4A7C15 >> 48) }

// lower is ASCII in lower case, and every other byte as it is.
var lower = func() (table [256]byte) {
	for i := range table {
		table[i] = byte(i)
		if 'A' <= i && i <= 'Z' {
			table[i] += 'a' - 'A'
		}
	}
	return table
}()

// grams returns those that are in every line in which q is found; none says that
// nothing is known of such a line.
func (q Query) grams() (all []gram) {
	if q.Errors {
		return nil
	}
	parts := [][]byte{[]byte(q.Text)}
	if q.Text == "" || q.Fold {
		re, err := syntax.Parse(q.expr(), syntax.Perl)
		if err != nil {
			return nil
		}
		var n needles
		n.walk(re)
		n.cut()
		parts = n.parts
	}
	for _, part := range parts {
		var g uint32
		for i, c := range part {
			if g = g<<8 | uint32(lower[c]); i >= 2 && !slices.Contains(all, gramOf(g)) {
				all = append(all, gramOf(g))
			}
		}
	}
	return all
}

// needles are texts that are in all that an expression matches.
type needles struct {
	parts [][]byte
	part  []byte // that may go on
}

// cut ends a part: what follows in a match is not known.
func (n *needles) cut() {
	if len(n.part) > 0 {
		n.parts, n.part = append(n.parts, n.part), nil
	}
}

// walk takes in an expression, which follows on what was taken in before.
func (n *needles) walk(re *syntax.Regexp) {
	switch re.Op {
	case syntax.OpLiteral:
		for _, r := range re.Rune {
			if text, ok := alike(r, re.Flags&syntax.FoldCase != 0); ok {
				n.part = append(n.part, text...)
			} else {
				n.cut()
			}
		}
	case syntax.OpConcat, syntax.OpCapture:
		for _, sub := range re.Sub {
			n.walk(sub)
		}
	case syntax.OpPlus, syntax.OpRepeat:
		if re.Op == syntax.OpPlus || re.Min > 0 {
			n.walk(re.Sub[0])
		}
		n.cut()
	case syntax.OpEmptyMatch, syntax.OpBeginLine, syntax.OpEndLine, syntax.OpBeginText, syntax.OpEndText, syntax.OpWordBoundary, syntax.OpNoWordBoundary:
	default:
		n.cut()
	}
}

// alike returns the bytes, but for the case of ASCII, of all that a rune of an
// expression matches, if those are the same. Where case is folded, a signature has
// the letters of asASCII as those. What stands for bytes that are no UTF-8 has none.
func alike(r rune, fold bool) (text []byte, ok bool) {
	if r == utf8.RuneError {
		return nil, false
	}
	text = lowered(r)
	if fold {
		text = asASCII.apply(text)
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			if !slices.Equal(asASCII.apply(lowered(f)), text) {
				return nil, false
			}
		}
	}
	return text, true
}

// asASCII are the letters that are ones of ASCII in another case: the long s, and the
// sign of Kelvin.
var asASCII = letters{{"\u017f", "s"}, {"\u212a", "k"}}

type letters [][2]string

// in reports whether one of them is in a text.
func (l letters) in(text []byte) bool {
	return slices.ContainsFunc(l, func(letter [2]string) bool { return bytes.Contains(text, []byte(letter[0])) })
}

// apply puts the others in their place.
func (l letters) apply(text []byte) []byte {
	for _, letter := range l {
		text = bytes.ReplaceAll(text, []byte(letter[0]), []byte(letter[1]))
	}
	return text
}

func lowered(r rune) []byte {
	text := utf8.AppendRune(nil, r)
	if len(text) == 1 {
		text[0] = lower[text[0]]
	}
	return text
}
