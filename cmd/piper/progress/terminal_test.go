package progress

import (
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/mattn/go-runewidth"
)

// A terminalEmulator is as much of a terminal as a display may use: it panics
// on any other control sequence, so a test that writes to it also shows that
// nothing hostile came through.
type terminalEmulator struct {
	cols, rows int
	reflow     bool                // lines are wrapped anew when the width changes, as most terminals do
	widths     runewidth.Condition // what this terminal takes characters for

	history  []emulatedLine // scrolled off, the oldest first
	screen   []emulatedLine // at most rows
	row, col int
	full     bool // the cursor stands behind the last column
	hidden   bool // the cursor
	cut      bool // lines do not wrap

	mu     sync.Mutex
	rest   string // of a write, an incomplete sequence
	writes int    // since counted
}

// An emulatedLine is a row of a terminal.
type emulatedLine struct {
	cells   []rune // 0 is the right half of a wide character
	wrapped bool   // the next row goes on this one
}

func (t *terminalEmulator) IsTerminal() bool { return true }

func (t *terminalEmulator) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.writes++
	s := t.rest + string(p)
	t.rest = ""
	for len(s) > 0 {
		n := t.take(s)
		if n == 0 {
			t.rest = s
			break
		}
		s = s[n:]
	}
	return len(p), nil
}

// counted is how many writes there were since it was called last.
func (t *terminalEmulator) counted() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := t.writes
	t.writes = 0
	return n
}

// take obeys what s begins with, and returns its length.
func (t *terminalEmulator) take(s string) int {
	switch s[0] {
	case '\r':
		t.col, t.full = 0, false
		return 1
	case '\n':
		t.down()
		return 1
	case '\t':
		line, stop := t.line(t.row), min(t.col/8*8+8, t.cols-1)
		for len(line.cells) < stop {
			line.cells = append(line.cells, ' ')
		}
		t.col = stop
		return 1
	case '\x1b':
		return t.escape(s)
	}
	if !utf8.FullRuneInString(s) {
		return 0
	}
	r, n := utf8.DecodeRuneInString(s)
	if r < ' ' || r >= 0x7f && r < 0xa0 || r == utf8.RuneError && n == 1 {
		panic("control character " + strconv.Quote(s[:n]))
	}
	t.put(r)
	return n
}

func (t *terminalEmulator) escape(s string) int {
	if len(s) < 2 {
		return 0
	}
	if s[1] != '[' {
		panic("escape sequence " + strconv.Quote(s[:2]))
	}
	end := strings.IndexFunc(s[2:], func(r rune) bool { return r >= '@' && r <= '~' }) + 2
	if end < 2 {
		return 0
	}
	arg := s[2:end]
	switch {
	case s[end] == 'm':
	case s[end] == 'A':
		n, err := strconv.Atoi(arg)
		if err != nil {
			panic(err)
		}
		t.row, t.full = max(0, t.row-n), false
	case s[end] == 'K' && arg == "":
		t.erase(t.row, t.col)
	case s[end] == 'J' && arg == "":
		t.erase(t.row, t.col)
		for row := t.row + 1; row < len(t.screen); row++ {
			t.erase(row, 0)
		}
	case arg == "?25" && (s[end] == 'h' || s[end] == 'l'):
		t.hidden = s[end] == 'l'
	case arg == "?7" && (s[end] == 'h' || s[end] == 'l'):
		t.cut = s[end] == 'l'
	case arg == "?2026" && (s[end] == 'h' || s[end] == 'l'):
	default:
		panic("escape sequence " + strconv.Quote(s[:end+1]))
	}
	return end + 1
}

func (t *terminalEmulator) put(r rune) {
	width := t.widths.RuneWidth(r)
	if width == 0 {
		return // it stands on the character before it
	}
	if t.cut && t.col+width >= t.cols {
		t.col, t.full = t.cols-width, false
	}
	if t.full || t.col+width > t.cols {
		t.line(t.row).wrapped = true
		t.col = 0
		t.down()
	}
	line := t.line(t.row)
	for len(line.cells) < t.col+width {
		line.cells = append(line.cells, ' ')
	}
	line.cells[t.col] = r
	if width == 2 {
		line.cells[t.col+1] = 0
	}
	t.col += width
	t.full = t.col >= t.cols
	if t.full {
		t.col = t.cols - 1
	}
}

func (t *terminalEmulator) down() {
	t.full = false
	t.line(t.row)
	t.row++
	if t.row == t.rows {
		t.history = append(t.history, t.screen[0])
		t.screen = t.screen[1:]
		t.row--
	}
}

func (t *terminalEmulator) line(row int) *emulatedLine {
	for len(t.screen) <= row {
		t.screen = append(t.screen, emulatedLine{})
	}
	return &t.screen[row]
}

func (t *terminalEmulator) erase(row, col int) {
	line := t.line(row)
	line.cells = line.cells[:min(len(line.cells), col)]
	line.wrapped = false
}

// resize changes the size as a window manager would.
func (t *terminalEmulator) resize(cols, rows int) {
	t.line(t.row)
	t.full = false
	if t.reflow && cols != t.cols {
		t.rewrap(cols)
	}
	t.cols, t.rows = cols, rows
	t.col = min(t.col, cols-1)
	for len(t.screen) > rows {
		if t.row < len(t.screen)-1 { // below the cursor there is nothing
			t.screen = t.screen[:len(t.screen)-1]
			continue
		}
		t.history = append(t.history, t.screen[0])
		t.screen = t.screen[1:]
		t.row--
	}
}

// rewrap lays all lines out anew. The cursor stays on its character.
func (t *terminalEmulator) rewrap(cols int) {
	all := append(append([]emulatedLine(nil), t.history...), t.screen...)
	cursor := len(t.history) + t.row
	height := len(t.screen)
	var out []emulatedLine
	newRow := 0
	for i := 0; i < len(all); i++ {
		var cells []rune
		first := i
		for ; all[i].wrapped && i+1 < len(all); i++ {
			cells = append(cells, all[i].cells...)
		}
		cells = append(cells, all[i].cells...)
		start := len(out)
		for len(cells) > cols {
			n := cols
			if cells[n] == 0 {
				n--
			}
			out = append(out, emulatedLine{cells: cells[:n:n], wrapped: true})
			cells = cells[n:]
		}
		out = append(out, emulatedLine{cells: cells})
		if cursor >= first && cursor <= i {
			newRow = start + cursor - first
		}
	}
	for len(out) > newRow+1 && len(out[len(out)-1].cells) == 0 {
		out = out[:len(out)-1]
	}
	top := max(0, len(out)-min(max(height, 1), t.rows))
	t.history, t.screen = out[:top:top], out[top:]
	t.row = newRow - top
}

// text is the terminal's content from the first line on, wrapped lines joined.
func (t *terminalEmulator) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	var b strings.Builder
	for _, line := range append(append([]emulatedLine(nil), t.history...), t.screen...) {
		for _, r := range line.cells {
			if r != 0 {
				b.WriteRune(r)
			}
		}
		if !line.wrapped {
			b.WriteByte('\n')
		}
	}
	lines := strings.Split(b.String(), "\n")
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n") + "\n"
}
