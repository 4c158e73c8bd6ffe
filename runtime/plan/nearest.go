package plan

import "strings"

// Nearest returns the candidate that word is most likely a typing error of,
// and false when none is near: one slip (a character added, left out or
// replaced, or two neighbours swapped) is allowed for every three characters
// of the longer one, up to three slips. Upper and lower case are the same to
// it, '-' and '_' too. Among equals the first wins.
func Nearest(word string, candidates []string) (string, bool) {
	const most = 3
	var (
		d      distance
		folded = fold(word)
		best   string
		fewest = most + 1
	)
	for _, c := range candidates {
		allowed := min(fewest-1, max(len(word), len(c))/3)
		if c == "" || allowed < 0 {
			continue
		}
		if n := d.between(folded, fold(c), allowed); n <= allowed {
			best, fewest = c, n
		}
	}
	return best, fewest <= most
}

// fold returns what Nearest takes s for.
func fold(s string) string {
	return strings.ReplaceAll(strings.ToLower(s), "-", "_")
}

// A distance counts slips. It keeps its rows from one call to the next.
type distance struct{ rows [3][]int }

// between returns how many slips lie between a and b: the optimal string
// alignment distance over bytes, with more than limit as soon as it is sure to
// be more. It looks only at the diagonal band that can matter.
func (d *distance) between(a, b string, limit int) int {
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	more := limit + 1
	if max(len(a)-len(b), len(b)-len(a)) > limit {
		return more
	}
	for i := range d.rows {
		if len(d.rows[i]) <= len(b) {
			d.rows[i] = make([]int, len(b)+1)
		}
	}
	before, last, row := d.rows[0], d.rows[1], d.rows[2]
	for j := range len(b) + 1 {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		from, to := max(1, i-limit), min(len(b), i+limit)
		row[from-1] = more
		if from == 1 {
			row[0] = i
		}
		least := row[from-1]
		for j := from; j <= to; j++ {
			n := last[j-1]
			if a[i-1] != b[j-1] {
				n++
			}
			n = min(n, row[j-1]+1)
			if j < i+limit {
				n = min(n, last[j]+1)
			}
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				n = min(n, before[j-2]+1)
			}
			row[j] = n
			least = min(least, n)
		}
		if least > limit {
			return more
		}
		before, last, row = last, row, before
	}
	if n := last[len(b)]; n <= limit {
		return n
	}
	return more
}
