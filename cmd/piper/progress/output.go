package progress

import (
	"bytes"
	"slices"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/piper-build/piper/runtime/plan"
)

const (
	maxLine  = 4 << 10 // bytes; a longer line is shown in pieces
	tailSize = 20      // lines that are kept of each running attempt
	maxTail  = 1 << 10 // bytes that are kept of each of them
)

// An attempt is one attempt of a node that has not ended yet.
type attempt struct {
	node *plan.Node
	n    int

	mu    sync.Mutex // guards what follows
	ended bool
	lines lines
	tail  tail
	shown []byte // of the line added last
	began time.Time
	heard time.Time     // of the last sign of life that was shown
	wait  time.Duration // how long to stay silent from then on

	prefix [2]string // of a line, by piece; display plain
	held   []byte    // lines to be shown; display github holds them until the end
	parts  int       // how often it had to show some before
}

// keep adds to the tail what p shows of it. Only lines that can still be there
// afterwards are looked at.
func (a *attempt) keep(p []byte, color bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	p, before := lastLines(p, tailSize)
	if before > 0 {
		a.lines.reset()
		a.tail.n += before
	}
	a.lines.add(p, func(line []byte, is piece) { a.add(line, is, color) })
}

// add puts a line into the tail, and leaves what is shown of it in a.shown.
// The caller has the lock.
func (a *attempt) add(line []byte, is piece, color bool) {
	a.shown = appendClean(a.shown[:0], line, color)
	a.tail.add(a.shown, is, bytes.IndexByte(line, '\r') >= 0)
}

// finish adds the line that was begun and never ended to the tail. The caller
// has the lock.
func (a *attempt) finish(color bool) {
	if a.lines.pending() {
		a.add(a.lines.part, a.lines.next, color)
		a.lines.reset()
	}
}

// attempts are the attempts that have not ended yet. Output may come from any
// goroutine, so they have a lock of their own, held only to find one.
type attempts struct {
	mu      sync.Mutex
	running map[attemptKey]*attempt
	order   []*attempt // as they started: the longest-running first
}

type attemptKey struct {
	node string
	n    int
}

// of finds an attempt, and makes it when it is new.
func (s *attempts) of(node *plan.Node, n int, now time.Time) *attempt {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := attemptKey{node.Name, n}
	if a := s.running[key]; a != nil {
		return a
	}
	a := &attempt{node: node, n: n, began: now, heard: now, wait: firstBeat}
	if s.running == nil {
		s.running = map[attemptKey]*attempt{}
	}
	s.running[key] = a
	s.order = append(s.order, a)
	return a
}

// end forgets a.
func (s *attempts) end(a *attempt) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.running, attemptKey{a.node.Name, a.n})
	for i := range s.order {
		if s.order[i] == a {
			s.order = slices.Delete(s.order, i, i+1)
			return
		}
	}
}

// all lists them, the longest-running first.
func (s *attempts) all() []*attempt {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.order)
}

// A piece says what part of a line it is.
type piece int

const (
	whole piece = iota // a line, or the first piece of one
	more               // goes on the piece before it
)

// lines cuts a stream into lines of bounded length. It holds the line that has
// not ended yet.
type lines struct {
	part []byte
	next piece
}

// add gives emit each line that p completes, without its newline. emit must
// not keep the line.
func (l *lines) add(p []byte, emit func(line []byte, is piece)) {
	for len(p) > 0 {
		line, rest, ended := bytes.Cut(p, newline)
		p = rest
		for len(l.part)+len(line) > maxLine {
			n := maxLine - len(l.part)
			l.part = append(l.part, line[:n]...)
			line = line[n:]
			cut := wholeRunes(l.part)
			emit(l.part[:cut], l.next)
			l.next = more
			l.part = l.part[:copy(l.part, l.part[cut:])]
		}
		switch {
		case !ended:
			l.part = append(l.part, line...)
			return
		case len(l.part) == 0:
			emit(line, l.next)
		default:
			l.part = append(l.part, line...)
			emit(l.part, l.next)
			l.part = l.part[:0]
		}
		l.next = whole
	}
}

var newline = []byte("\n")

// pending reports whether a line has begun and not ended.
func (l *lines) pending() bool { return len(l.part) > 0 || l.next == more }

func (l *lines) reset() { l.part, l.next = l.part[:0], whole }

// wholeRunes is the length of p without a character that its end cuts through.
func wholeRunes(p []byte) int {
	for i := len(p) - 1; i >= 0 && i >= len(p)-utf8.UTFMax; i-- {
		if utf8.RuneStart(p[i]) {
			if utf8.FullRune(p[i:]) {
				return len(p)
			}
			return i
		}
	}
	return len(p)
}

// lastLines is the end of p that has its last k whole lines, and how many
// whole lines stand before.
func lastLines(p []byte, k int) (end []byte, before int) {
	i := len(p)
	for ; k >= 0; k-- {
		if i = bytes.LastIndexByte(p[:i], '\n'); i < 0 {
			return p, 0
		}
	}
	return p[i+1:], bytes.Count(p[:i+1], newline)
}

// A tail keeps the last lines that were added, and counts all. Of a line in
// pieces it keeps the first one, or, when that draws over itself as progress
// bars do, the newest.
type tail struct {
	ring [][]byte
	n    int
}

func (t *tail) add(line []byte, is piece, drawn bool) {
	switch {
	case is == whole:
		t.n++
	case !drawn:
		return
	}
	if t.ring == nil {
		t.ring = make([][]byte, tailSize)
	}
	slot := &t.ring[(t.n-1)%tailSize]
	if len(line) <= maxTail {
		*slot = append((*slot)[:0], line...)
		return
	}
	line = line[:maxTail]
	line = line[:wholeRunes(line)]
	ending := "…"
	if esc := bytes.LastIndexByte(line, '\x1b'); esc >= 0 { // colours: not cut through, and switched off
		if bytes.IndexByte(line[esc:], 'm') < 0 {
			line = line[:esc]
		}
		ending = "\x1b[0m…"
	}
	*slot = append(append((*slot)[:0], line...), ending...)
}

// last gives at most k lines, the newest last. They are good until the next
// add.
func (t *tail) last(k int) [][]byte {
	k = min(k, t.n, tailSize)
	lines := make([][]byte, 0, k)
	for i := t.n - k; i < t.n; i++ {
		lines = append(lines, t.ring[i%tailSize])
	}
	return lines
}
