package main

import (
	"fmt"
	"os"
	"strings"
	"text/tabwriter"

	"golang.org/x/term"
)

// columns returns how wide a text on w may be: as its terminal, or 80 columns.
func columns(w any) int {
	if o, ok := w.(*output); ok {
		w = o.to
	}
	if f, ok := w.(*os.File); ok {
		if n, _, err := term.GetSize(int(f.Fd())); err == nil && n > 0 {
			return n
		}
	}
	return 80
}

// wrapped cuts text before the word that goes past so many bytes. The first
// word is never cut.
func wrapped(text string, width int) (line, rest string) {
	if len(text) <= width {
		return text, ""
	}
	at := strings.LastIndexByte(text[:width+1], ' ')
	if at <= 0 {
		next := strings.IndexByte(text[width:], ' ')
		if next < 0 {
			return text, ""
		}
		at = width + next
	}
	return text[:at], text[at+1:]
}

// wrap returns text in lines of at most width bytes, where words are not longer.
// A line that begins with a space is code, and stays as it is.
func wrap(text string, width int) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		rest := strings.TrimSuffix(line, "\n")
		code := strings.HasPrefix(rest, " ")
		for first := true; first || rest != ""; first = false {
			line := rest
			if rest = ""; !code {
				line, rest = wrapped(line, width)
			}
			b.WriteString(line + "\n")
		}
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// wrapSignature returns the signature of a builtin in lines of at most width
// bytes, each broken before a parameter.
func wrapSignature(text string, width int) string {
	var b strings.Builder
	used := 0
	for part := range strings.SplitAfterSeq(text, ", ") {
		if used > 0 && used+len(strings.TrimRight(part, " ")) > width {
			b.WriteString("\n    ")
			used = 4
		}
		b.WriteString(part)
		used += len(part)
	}
	return strings.ReplaceAll(b.String(), " \n", "\n")
}

// printTable prints rows in columns. The last one is wrapped to the width of
// standard output.
func (a *app) printTable(rows [][]string) error {
	indent := 0
	for i := range len(rows[0]) - 1 {
		widest := 0
		for _, r := range rows {
			widest = max(widest, len(r[i]))
		}
		indent += widest + 2
	}
	width := max(columns(a.stdout)-indent, 20)
	w := tabwriter.NewWriter(a.stdout, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		last := len(r) - 1
		for i, line := range strings.Split(wrap(r[last], width), "\n") {
			cells := append(append([]string{}, r[:last]...), line)
			if i > 0 {
				clear(cells[:last])
			}
			row(w, cells...)
		}
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}
