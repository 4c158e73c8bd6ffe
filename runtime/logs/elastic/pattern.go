package elastic

import (
	"fmt"
	"regexp"
	"regexp/syntax"
	"strings"
	"unicode"

	"github.com/piper-build/piper/runtime/logs"
)

// mostWord bounds the text that Elasticsearch is asked for, which is not to take
// more effort than it allows by default.
const mostWord = 200

// pattern is the query for lines in which q is found. It is not exact if it may
// find more: Elasticsearch knows no word boundaries, and no line ends amid an
// expression.
func pattern(q logs.Query) (query object, exact bool, err error) {
	expr := q.Regex
	switch {
	case q.Text != "" && !q.Fold:
		text := q.Text[:runeStart([]byte(q.Text), min(len(q.Text), mostWord))]
		return object{"wildcard": object{"text": object{"value": "*" + strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`).Replace(text) + "*"}}}, text == q.Text, nil
	case q.Text != "":
		expr = regexp.QuoteMeta(q.Text)
	}
	flags := syntax.Perl
	if q.Fold {
		flags |= syntax.FoldCase
	}
	re, err := syntax.Parse(expr, flags)
	if err != nil {
		return nil, false, fmt.Errorf("search output: %w", err)
	}
	t := translator{exact: true}
	t.whole(re)
	if t.wrong != nil {
		return nil, false, t.wrong
	}
	if t.Len() > mostPattern {
		return nil, false, fmt.Errorf("%w: the expression is too long", logs.ErrQuery)
	}
	return object{"regexp": object{"text": object{"value": t.String(), "flags": "NONE"}}}, t.exact, nil
}

// A translator writes an expression of Go's as one of Lucene's, which is one of
// the whole line.
type translator struct {
	strings.Builder
	exact bool
	wrong error
}

// whole writes an expression that is found anywhere in a line, but for where it
// says at which end.
func (t *translator) whole(re *syntax.Regexp) {
	for re.Op == syntax.OpCapture {
		re = re.Sub[0]
	}
	if re.Op == syntax.OpAlternate {
		for i, sub := range re.Sub {
			if i > 0 {
				t.WriteByte('|')
			}
			t.WriteByte('(')
			t.whole(sub)
			t.WriteByte(')')
		}
		return
	}
	parts := []*syntax.Regexp{re}
	if re.Op == syntax.OpConcat {
		parts = re.Sub
	}
	begins, ends := false, false
	for len(parts) > 0 && (parts[0].Op == syntax.OpBeginLine || parts[0].Op == syntax.OpBeginText) {
		begins, parts = true, parts[1:]
	}
	for len(parts) > 0 && (parts[len(parts)-1].Op == syntax.OpEndLine || parts[len(parts)-1].Op == syntax.OpEndText) {
		ends, parts = true, parts[:len(parts)-1]
	}
	if !begins {
		t.WriteString(".*")
	}
	for _, part := range parts {
		t.part(part)
	}
	if !ends {
		t.WriteString(".*")
	}
}

func (t *translator) part(re *syntax.Regexp) {
	switch re.Op {
	case syntax.OpEmptyMatch:
		t.WriteString("()")
	case syntax.OpLiteral:
		for _, r := range re.Rune {
			if re.Flags&syntax.FoldCase != 0 && unicode.SimpleFold(r) != r {
				t.folded(r)
			} else {
				t.literal(r)
			}
		}
	case syntax.OpCharClass:
		if len(re.Rune) == 0 {
			t.wrong = fmt.Errorf("%w: nothing is like %s", logs.ErrQuery, re)
		}
		t.class(re.Rune)
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		t.WriteByte('.')
	case syntax.OpCapture:
		t.group(re.Sub[0])
	case syntax.OpStar, syntax.OpPlus, syntax.OpQuest:
		t.group(re.Sub[0])
		t.WriteByte(map[syntax.Op]byte{syntax.OpStar: '*', syntax.OpPlus: '+', syntax.OpQuest: '?'}[re.Op])
	case syntax.OpRepeat:
		t.group(re.Sub[0])
		switch {
		case re.Max < 0:
			fmt.Fprintf(t, "{%d,}", re.Min)
		default:
			fmt.Fprintf(t, "{%d,%d}", re.Min, re.Max)
		}
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			t.part(sub)
		}
	case syntax.OpAlternate:
		t.WriteByte('(')
		for i, sub := range re.Sub {
			if i > 0 {
				t.WriteByte('|')
			}
			t.group(sub)
		}
		t.WriteByte(')')
	case syntax.OpBeginLine, syntax.OpEndLine, syntax.OpBeginText, syntax.OpEndText, syntax.OpWordBoundary, syntax.OpNoWordBoundary:
		t.exact = false
		t.WriteString("()")
	default:
		t.wrong = fmt.Errorf("%w: Elasticsearch cannot look for %s", logs.ErrQuery, re)
	}
}

func (t *translator) group(re *syntax.Regexp) {
	t.WriteByte('(')
	t.part(re)
	t.WriteByte(')')
}

// literal writes a character that stands for itself.
func (t *translator) literal(r rune) {
	if r < 0x80 && !unicode.IsLetter(r) && !unicode.IsDigit(r) && r >= ' ' {
		t.WriteByte('\\')
	}
	t.WriteRune(r)
}

// folded writes a letter in each of its cases.
func (t *translator) folded(r rune) {
	t.WriteByte('[')
	t.literal(r)
	for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
		t.literal(f)
	}
	t.WriteByte(']')
}

// class writes a class of characters, given as ranges.
func (t *translator) class(ranges []rune) {
	const firstHalf, lastHalf = 0xD800, 0xDFFF // which are no characters by themselves
	t.WriteByte('[')
	put := func(from, to rune) {
		if from > to {
			return
		}
		t.literal(from)
		if from < to {
			t.WriteByte('-')
			t.literal(to)
		}
	}
	for i := 0; i+1 < len(ranges); i += 2 {
		from, to := ranges[i], ranges[i+1]
		if to < firstHalf || from > lastHalf {
			put(from, to)
			continue
		}
		put(from, firstHalf-1)
		put(lastHalf+1, to)
	}
	t.WriteByte(']')
}
