package plan

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/mattn/go-runewidth"
)

// Err returns ds as an error when there is one among them, and nil otherwise.
func (ds Diagnostics) Err() error {
	if !ds.HasErrors() {
		return nil
	}
	return ds
}

// HasErrors reports whether any of ds is more than a warning.
func (ds Diagnostics) HasErrors() bool {
	return slices.ContainsFunc(ds, func(d Diagnostic) bool { return d.Severity != "warning" })
}

// Sort puts ds in the order of their places. Those at the same place stay in
// the order they were found.
func (ds Diagnostics) Sort() {
	slices.SortStableFunc(ds, func(a, b Diagnostic) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// Error returns the text of all diagnostics, one after the other.
func (ds Diagnostics) Error() string {
	texts := make([]string, len(ds))
	for i, d := range ds {
		texts[i] = d.String()
	}
	return strings.Join(texts, "\n")
}

// String returns the diagnostic as people read it, several lines without the
// last line break:
//
//	PIPER.star:3:12: error: step "unti" is not defined in pipeline "test"
//	3 | depends_on=["unti"]
//	  |             ^^^^^^
//	hint: did you mean "unit" (PIPER.star:1:8)?
//
// What a terminal would not show, or would obey, is written as an escape.
func (d Diagnostic) String() string {
	var b strings.Builder
	pos := Pos{File: d.File, Line: int32(d.Line), Column: int32(d.Column)}
	if pos != (Pos{}) {
		b.WriteString(printable(pos.String()) + ": ")
	}
	b.WriteString(d.Severity + ": " + printable(d.Message))
	if d.Excerpt != "" && d.Line > 0 {
		gutter := strconv.Itoa(d.Line)
		line, caret := mark(strings.TrimRight(d.Excerpt, "\r\n"), d.Column, d.End)
		fmt.Fprintf(&b, "\n%s | %s", gutter, line)
		if caret != "" {
			fmt.Fprintf(&b, "\n%*s | %s", len(gutter), "", caret)
		}
	}
	for i, f := range slices.Backward(d.Stack) {
		const most = 10
		if len(d.Stack)-i > most {
			fmt.Fprintf(&b, "\n… %d more calls", i+1)
			break
		}
		if f.Pos != pos {
			fmt.Fprintf(&b, "\ncalled from %s (%s)", printable(f.Name), printable(f.Pos.String()))
		}
	}
	if d.Hint != "" {
		b.WriteString("\nhint: " + printable(d.Hint))
	}
	return b.String()
}

// mark returns a source line as it can be shown, and a line of carets for
// below it that mark the characters from column to end, at least one. Of a
// long line it shows the part around the mark.
func mark(source string, column, end int) (line, caret string) {
	const before, most = 60, 160 // characters
	count := utf8.RuneCountInString(source)
	first := min(max(column-1, 0), count)
	last := max(min(end-1, count), first+1)
	from, to := 0, count
	if count > most {
		from = max(0, min(first-before, count-most))
		to = from + most
	}

	var text, under strings.Builder
	add := func(cell, with string) {
		text.WriteString(cell)
		under.WriteString(strings.Repeat(with, width(cell)))
	}
	if from > 0 {
		add("…", " ")
	}
	for i := 0; i < to; i++ {
		_, size := utf8.DecodeRuneInString(source)
		if i >= from {
			with := " "
			if first <= i && i < last {
				with = "^"
			}
			add(cell(source[:size]), with)
		}
		source = source[size:]
	}
	if to < count {
		text.WriteString("…")
	}
	if first == count {
		under.WriteString("^") // the end of the line
	}
	if column <= 0 {
		return text.String(), ""
	}
	return text.String(), strings.TrimRight(under.String(), " ")
}

// width returns how many columns of a terminal text takes.
func width(text string) int {
	// Not runewidth's own function: that one looks at the locale.
	terminal := runewidth.Condition{StrictEmojiNeutral: true}
	n := 0
	for _, r := range text {
		n += terminal.RuneWidth(r)
	}
	return n
}

// cell returns one character of text as it can be shown: itself, or an escape
// when it has no look of its own (a control, a direction mark, a space that is
// none, a byte that is not UTF-8). A tab becomes four spaces.
func cell(s string) string {
	r, size := utf8.DecodeRuneInString(s)
	switch {
	case s == "\t":
		return "    "
	case r == utf8.RuneError && size == 1:
		return fmt.Sprintf(`\x%02x`, s[0])
	case strconv.IsPrint(r):
		return s
	default:
		quoted := strconv.QuoteRune(r)
		return quoted[1 : len(quoted)-1]
	}
}

// printable returns text as it can be shown. Its line breaks stay, and what
// follows them is set in, so that it cannot be taken for another message.
func printable(text string) string {
	plain := func(c byte) bool { return ' ' <= c && c < 0x7f }
	i := 0
	for i < len(text) && plain(text[i]) {
		i++
	}
	if i == len(text) {
		return text
	}
	var b strings.Builder
	b.WriteString(text[:i])
	for rest := strings.TrimRight(text[i:], "\n"); len(rest) > 0; {
		_, size := utf8.DecodeRuneInString(rest)
		if rest[0] == '\n' {
			b.WriteString("\n    ")
		} else {
			b.WriteString(cell(rest[:size]))
		}
		rest = rest[size:]
	}
	return b.String()
}
