package layout

import (
	"strconv"
	"strings"

	"github.com/mattn/go-runewidth"
)

const (
	minLabel  = 12 // cells: below a name stands what its step waits for
	maxLabel  = 32
	cellWidth = 8  // px of a monospaced character of 13 px
	padding   = 20 // beside the name, with place for a mark of its state
)

// Label is a name as it fits into its box in a monospaced font of 13 px: a long
// one ends in an ellipsis, and what has no look of its own, such as a mark that
// turns the direction of writing, is replaced.
func Label(name string) string {
	odd := func(r rune) bool { return r < ' ' || r > '~' }
	if len(name) <= maxLabel && !strings.ContainsFunc(name, odd) {
		return name // as most are
	}
	var b strings.Builder
	cells, runes := 0, []rune(name)
	for i, r := range runes {
		if !strconv.IsPrint(r) {
			r = '\uFFFD'
		}
		cells += cellsOf(r)
		if more := i+1 < len(runes); cells > maxLabel || cells == maxLabel && more {
			return b.String() + "…"
		}
		b.WriteRune(r)
	}
	return b.String()
}

// boxWidth is how wide the box of a node is that has this name.
func boxWidth(name string) int {
	cells := 0
	for _, r := range Label(name) {
		cells += cellsOf(r)
	}
	return max(cells, minLabel)*cellWidth + 2*padding
}

// cellsOf is how many columns r takes. Marks over another character count too:
// there could be any number of them.
func cellsOf(r rune) int {
	terminal := runewidth.Condition{StrictEmojiNeutral: true} // whatever the locale
	return max(1, terminal.RuneWidth(r))
}
