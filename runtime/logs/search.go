package logs

import (
	"bytes"
	"context"
	"fmt"
	"regexp"
	"slices"
)

// A Query is what to search an attempt's output for.
type Query struct {
	Text    string // to be found as it stands
	Regex   string // in place of Text; its syntax is that of Go's regexp, and finding takes linear time
	Errors  bool   // in place of both: the lines that matter after a failure, as far as one can tell
	Fold    bool   // upper and lower case are the same
	From    int64  // the first line of which a Match is given; all are counted
	Context int    // how many lines before and after a match to give with it
}

// A Match is a line in which something was found, or a piece of a long one.
type Match struct {
	Line
	Spans  [][2]int // what was found, in Text
	Before []Line   // the lines before it, but for those that were given already
	After  []Line   // the lines up to the next match
}

// A Count is how often something was found.
type Count struct{ Lines, Matches int64 }

// Search calls found for each line in which q is found, in order, until that
// returns false, and counts all of them. Memory is taken for one match. What a
// Match holds is not to be kept.
//
// A line that is longer than 64 KiB is searched in pieces: what lies across two
// of them is not found. What was left out was not searched; its Lines are never
// matches.
func (r *Reader) Search(ctx context.Context, node string, attempt int, q Query, found func(Match) bool) (Count, error) {
	find, err := q.Compile()
	if err != nil {
		return Count{}, err
	}
	s := search{Query: q, found: found}
	last := int64(0) // the newest line that matched
	for line, err := range r.Lines(ctx, node, attempt, 1, 0) {
		if err != nil {
			return s.count, err
		}
		var spans [][2]int
		if line.Cut == 0 {
			spans = find(line.Text)
		}
		if len(spans) > 0 {
			s.count.Matches += int64(len(spans))
			if line.Number != last {
				s.count.Lines++
			}
			last = line.Number
		}
		if line.Number < q.From {
			spans = nil
		}
		s.take(line, spans)
	}
	s.hand()
	return s.count, nil
}

// Compile returns a function that finds what q is for in a line. It is to be given
// the lines of one output in order.
func (q Query) Compile() (func(line []byte) [][2]int, error) {
	switch {
	case q.Text == "" && q.Regex == "" && !q.Errors:
		return nil, fmt.Errorf("search output: nothing to search for")
	case q.Text != "" && q.Regex != "", q.Errors && q.Text+q.Regex != "":
		return nil, fmt.Errorf("search output: for one of a text, a regular expression and errors")
	case q.Errors:
		var f errorFinder
		return func(line []byte) [][2]int {
			if f.matters(line) {
				return [][2]int{{0, len(line)}}
			}
			return nil
		}, nil
	case q.Text != "" && !q.Fold:
		text := []byte(q.Text)
		return func(line []byte) (spans [][2]int) {
			for at := 0; ; {
				i := bytes.Index(line[at:], text)
				if i < 0 {
					return spans
				}
				spans = append(spans, [2]int{at + i, at + i + len(text)})
				at += i + len(text)
			}
		}, nil
	}
	re, err := regexp.Compile(q.expr())
	if err != nil {
		return nil, fmt.Errorf("search output: %w", err)
	}
	return func(line []byte) (spans [][2]int) {
		for _, m := range re.FindAllIndex(line, -1) {
			spans = append(spans, [2]int{m[0], m[1]})
		}
		return spans
	}, nil
}

// expr is the expression that q is, or its Text is as one.
func (q Query) expr() string {
	expr := q.Regex
	if expr == "" {
		expr = regexp.QuoteMeta(q.Text)
	}
	if q.Fold {
		expr = "(?i:" + expr + ")"
	}
	return expr
}

// A search gathers what belongs to a match.
type search struct {
	Query
	found func(Match) bool // nil once it wants no more
	count Count

	before []Line // the newest lines that belong to no match
	match  *Match // that still gathers its lines
}

// take takes the next line, and what was found in it.
func (s *search) take(line Line, spans [][2]int) {
	if s.found == nil {
		return
	}
	if len(spans) == 0 && s.Context == 0 {
		return
	}
	line.Text = bytes.Clone(line.Text)
	switch {
	case len(spans) > 0:
		s.hand()
		s.match = &Match{Line: line, Spans: spans, Before: s.before}
		s.before = nil
	case s.match != nil && len(s.match.After) < s.Context:
		s.match.After = append(s.match.After, line)
	default:
		s.hand()
		if s.before = append(s.before, line); len(s.before) > s.Context {
			s.before = slices.Delete(s.before, 0, 1)
		}
	}
}

// hand hands out the match that was gathered.
func (s *search) hand() {
	if s.match != nil && s.found != nil && !s.found(*s.match) {
		s.found = nil
	}
	s.match = nil
}
