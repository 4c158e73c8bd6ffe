package progress

import (
	"bytes"
	"fmt"
	"slices"
)

// A screen is the part of a terminal that is drawn over.
//
// Between two frames the cursor stands, visible, at the beginning of the line
// below the live area. So whatever happens to the program, nothing has to be
// restored: not after a panic, not after a kill.
type screen struct {
	live       []string // the lines that stand there now
	cols, rows int      // when they were drawn
	nextCols   int      // the size seen last, when it is another one
	nextRows   int
}

// settled reports whether the terminal may be drawn on: while someone pulls at
// its window, each frame could leave a copy of itself behind, so it has to
// have had its size for two frames in a row.
func (s *screen) settled(cols, rows int) bool {
	same := cols == s.cols && rows == s.rows || cols == s.nextCols && rows == s.nextRows || s.cols == 0
	s.nextCols, s.nextRows = cols, rows
	if same {
		s.cols, s.rows = cols, rows
	}
	return same
}

// paint returns what puts scroll, whole lines that end in \r\n, above a new
// live area. Each line of the live area must be narrower than the terminal,
// and all of them lower. It is empty when nothing would change.
//
// While the live area is written, lines do not wrap: a terminal that takes a
// character for wider than we do cuts the line and keeps the count of lines.
func (s *screen) paint(scroll []byte, live []string) []byte {
	if len(scroll) == 0 && slices.Equal(live, s.live) {
		return nil
	}
	var w bytes.Buffer
	// Drawn in one go where the terminal can, and without a jumping cursor.
	w.WriteString("\x1b[?2026h\x1b[?25l\r")
	if len(s.live) > 0 {
		fmt.Fprintf(&w, "\x1b[%dA", len(s.live))
	}
	if len(scroll) > 0 {
		w.WriteString("\x1b[J") // its lines may wrap, so what is below must go first
		w.Write(scroll)
	}
	w.WriteString("\x1b[?7l")
	for _, line := range live {
		w.WriteString(line)
		w.WriteString("\x1b[K\r\n")
	}
	w.WriteString("\x1b[J\x1b[?7h\x1b[?25h\x1b[?2026l")
	s.live = live
	return w.Bytes()
}
