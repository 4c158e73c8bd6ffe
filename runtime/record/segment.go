package record

import (
	"slices"

	"github.com/piper-build/piper/runtime/build"
)

// What a segment holds, roughly.
const (
	segmentBytes  = 128 << 10
	segmentEvents = 1 << 10
	segmentPieces = 1 << 14
)

// A segment is a part of the queue: output of any attempts in the order in which
// it came, and the events that came meanwhile.
type segment struct {
	data   []byte
	pieces []piece // they follow each other in data
	events []build.Event
	upto   int64 // Record.put when it last grew
}

// A piece is bytes of one attempt that arrived together.
type piece struct {
	stream *stream
	at     int64 // Unix milliseconds
	size   int
	gap    gap // before it
}

// A gap is what was left out.
type gap struct{ bytes, lines int64 }

func (s *segment) empty() bool { return len(s.pieces) == 0 && len(s.events) == 0 }

func (s *segment) full() bool {
	return len(s.data) >= segmentBytes || len(s.events) >= segmentEvents || len(s.pieces) >= segmentPieces
}

// write adds p, which is not empty.
func (s *segment) write(of *stream, at int64, p []byte) {
	if n := len(s.data) + len(p); n > cap(s.data) && n > segmentBytes/16 {
		s.data = slices.Grow(s.data, max(segmentBytes, n)-len(s.data)) // at once: who says much says more
	}
	s.data = append(s.data, p...)
	if last := len(s.pieces) - 1; last >= 0 && of.gap.bytes == 0 && s.pieces[last].stream == of && s.pieces[last].at == at {
		s.pieces[last].size += len(p)
		return
	}
	s.pieces = append(s.pieces, piece{stream: of, at: at, size: len(p), gap: of.gap})
	of.gap = gap{}
}

// reset makes s empty.
func (s *segment) reset() {
	clear(s.pieces)
	clear(s.events)
	s.data, s.pieces, s.events = s.data[:0], s.pieces[:0], s.events[:0]
}

// current returns the segment that what comes now belongs to.
func (r *Record) current() *segment {
	if r.open == nil {
		if last := len(r.free) - 1; last >= 0 {
			r.open, r.free = r.free[last], r.free[:last]
		} else {
			r.open = &segment{}
		}
	}
	return r.open
}

// added sees to s, the current segment, to which something was added.
func (r *Record) added(s *segment) {
	r.put++
	s.upto = r.put
	if s.full() {
		r.seal(s)
	}
	if r.asleep == idle || r.asleep == pacing && len(r.ready) > 0 {
		r.rouse()
	}
}

// seal ends the current segment. It goes to the file when it finds no room in
// memory and the store has stalled, or when something is in the file already and
// has to come before it. If the file does not take it, it has to stay, and
// output is left out from now on.
func (r *Record) seal(s *segment) {
	waits := !r.spool.empty()
	if waits || r.stalled && r.inMemory() >= r.o.Memory {
		err := r.spool.push(s)
		r.cutting = r.cutting || err != nil || r.spool.waiting() >= r.o.Quota
		if err == nil {
			r.open = nil
			r.recycle(s)
			return
		}
		if waits {
			return // it goes on to grow, by what can not be left out
		}
	}
	r.open = nil
	r.ready = append(r.ready, s)
}

// inMemory is how much waits there, each segment taken for a full one.
func (r *Record) inMemory() int64 { return int64(len(r.ready)+r.flight) * segmentBytes }

// recycle keeps s for reuse, unless there are enough, or it has grown.
func (r *Record) recycle(s *segment) {
	s.reset()
	if int64(len(r.free)) <= r.o.Memory/segmentBytes && cap(s.data) <= 2*segmentBytes && cap(s.events) <= 2*segmentEvents {
		r.free = append(r.free, s)
	}
}
