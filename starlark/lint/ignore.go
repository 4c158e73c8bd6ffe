package lint

import "strings"

// ignored finds the comments that silence warnings: the codes, by the line that
// they are about. Line 0 is for the whole file.
//
// A line inside of a string may look like such a comment. It silences no more
// than a comment there would.
func ignored(text string) map[int32][]string {
	if !strings.Contains(text, "lint:") {
		return nil
	}
	lines := map[int32][]string{}
	n := int32(0)
	for line := range strings.Lines(text) {
		n++
		before, comment, ok := strings.Cut(line, "# lint: ignore")
		if !ok {
			continue
		}
		at := n
		if strings.TrimSpace(before) == "" {
			at++ // alone on its line: it is about the next
		}
		if rest, whole := strings.CutPrefix(comment, "-file"); whole {
			comment, at = rest, 0
		}
		if codes, ok := strings.CutPrefix(comment, "="); ok {
			codes, _, _ = strings.Cut(strings.TrimSpace(codes)+" ", " ")
			lines[at] = append(lines[at], strings.Split(codes, ",")...)
		}
	}
	return lines
}
