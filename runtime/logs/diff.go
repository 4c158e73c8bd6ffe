package logs

import (
	"bytes"
	"context"
	"errors"
	"hash/maphash"
	"regexp"
	"sync"
)

// mostKnown bounds the lines of a base that are remembered, each by 8 bytes or a
// few more.
const mostKnown = 1 << 20

// A Difference is how an output differs from that of an earlier build.
type Difference struct {
	New    int64 // lines that the earlier one has nothing like
	Base   bool  // the earlier one wrote anything
	Capped bool  // it wrote so much that its end was not looked at, so New may be too high
}

// Diff calls found for each line of an output that nothing in base is like, but
// for what differs from run to run (Normalize), in order, until that returns
// false, and counts all of them. A nil base is one of which there is nothing.
func (r *Reader) Diff(ctx context.Context, node string, attempt int, base *Reader, baseAttempt, around int, found func(Match) bool) (d Difference, err error) {
	seed := maphash.MakeSeed()
	known := map[uint64]struct{}{}
	if base != nil {
		for line, err := range base.Lines(ctx, node, baseAttempt, 1, 0) {
			if err != nil && !errors.Is(err, ErrNoOutput) {
				return d, err
			}
			d.Base = true
			if len(known) == mostKnown {
				d.Capped = true
				break
			}
			known[maphash.Bytes(seed, Normalize(line.Text))] = struct{}{}
		}
	}
	s := search{Query: Query{Context: around}, found: found}
	last := int64(0)
	for line, err := range r.Lines(ctx, node, attempt, 1, 0) {
		if err != nil {
			return d, err
		}
		var spans [][2]int
		if text := Normalize(line.Text); line.Cut == 0 && len(text) > 0 {
			if _, had := known[maphash.Bytes(seed, text)]; !had {
				spans = [][2]int{{0, len(line.Text)}}
				if line.Number != last {
					d.New++
				}
				last = line.Number
			}
		}
		s.take(line, spans)
	}
	s.hand()
	return d, nil
}

// Normalize returns a line without what differs from one run to the next though
// nothing has changed: colours, times, durations, hashes, UUIDs, addresses, ports
// and the names of temporary files. Other numbers stay: they may be what matters.
// It may return line itself.
func Normalize(line []byte) []byte {
	if bytes.ContainsAny(line, "\x1b\r") {
		line = words().colour.ReplaceAll([]byte(Sanitize(bytes.TrimRight(line, "\r"))), nil)
	}
	line = bytes.TrimRight(line, " \t")
	if !bytes.ContainsAny(line, "0123456789") && !bytes.Contains(line, []byte("/tmp/")) {
		return line
	}
	return varies().ReplaceAllFunc(line, func(found []byte) []byte {
		if hexWord(found) && !(bytes.ContainsAny(found, "0123456789") && bytes.ContainsAny(found, "abcdefABCDEF")) {
			return found // a word, or a number
		}
		return variable
	})
}

// variable takes the place of what varies.
var variable = []byte("…")

// hexWord reports whether all of p are hexadecimal digits.
func hexWord(p []byte) bool {
	for _, c := range p {
		if !('0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F') {
			return false
		}
	}
	return true
}

var varies = sync.OnceValue(func() *regexp.Regexp {
	const (
		day   = `(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)`
		month = `(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)`
		clock = `\d{1,2}:\d\d(?::\d\d(?:[.,]\d+)?)?`
		zone  = `(?: ?(?:Z|UTC|GMT|CES?T|E[SD]T|P[SD]T|[+-]\d\d:?\d\d))?`
	)
	return regexp.MustCompile(
		// UUIDs, with the fence of a workspace.
		`\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}(?:-\d+)?\b` +
			// Days, times of them, and both.
			`|\b\d{4}[-/]\d\d[-/]\d\d(?:[T ]` + clock + zone + `)?` +
			`|\b(?:` + day + `,? )?(?:` + month + ` +\d{1,2}|\d{1,2} ` + month + `)(?:,? \d{4})?(?: ` + clock + zone + `)?(?: \d{4})?\b` +
			`|\b` + clock + zone + `\b` +
			// Files with names that are drawn.
			`|/(?:private/)?var/folders/[^/\s]+/[^/\s]+/T/[^/\s:'"]+|(?:/private|/var)?/tmp/[^/\s:'"]+` +
			// Addresses, of memory and of hosts; ports.
			`|\b0x[0-9a-fA-F]+\b|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b|\[[0-9a-fA-F:]*:[0-9a-fA-F:]*\]:\d+|\blocalhost:\d+\b|\bport[ =:]+\d+\b` +
			// Durations.
			`|\b(?:\d+(?:\.\d+)?(?:ns|µs|us|ms|s|m|h))+\b|\b\d+(?:\.\d+)? (?:ns|µs|us|ms|s|secs?|seconds?|mins?|minutes?|hours?)\b` +
			// Hashes.
			`|\b[0-9a-fA-F]{7,128}\b`)
})
