package progress

import (
	"strings"

	"github.com/piper-build/piper/runtime/logs"
)

// appendClean appends what a terminal would be left showing of a line, or a
// piece of one, that a step wrote: colours survive where they are shown,
// nothing else that a terminal obeys does.
func appendClean(dst, line []byte, color bool) []byte {
	if n := len(line); n > 0 && line[n-1] == '\r' {
		line = line[:n-1]
	}
	if isPlainLine(line) {
		return append(dst, line...)
	}
	text := logs.Sanitize(line)
	if !color {
		text = uncolored(text)
	}
	return append(dst, text...)
}

// isPlainLine reports whether a terminal shows line as it is. Most lines are,
// so this is what the speed of a display hangs on.
func isPlainLine(line []byte) bool {
	for _, c := range line {
		if c < ' ' && c != '\t' || c > '~' {
			return false
		}
	}
	return true
}

// uncolored is a clean line without its colours, the only escape sequences
// that are left in it.
func uncolored(line string) string {
	var b strings.Builder
	for {
		before, after, found := strings.Cut(line, "\x1b[")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		_, line, _ = strings.Cut(after, "m")
	}
}
