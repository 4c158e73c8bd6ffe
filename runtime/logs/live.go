package logs

import (
	"bytes"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/piper-build/piper/runtime/store"
)

// What a Live keeps of an output that is followed, so that who is busy with one
// line does not miss the next.
const (
	remembered       = 64 << 10 // bytes
	rememberedPieces = 1 << 10
)

// A Live lets who follows an attempt in the process that its output comes through
// hear it at once, before a store has it. The zero Live is ready; a nil one is
// never heard. While nobody follows it keeps nothing.
type Live struct {
	mu      sync.Mutex
	outputs map[store.ChunkKey]*spoken // that somebody writes, or follows
}

// Writer returns a Writer that hands everything on to w, and lets it be heard. The
// key is that of the attempt's first chunk.
func (l *Live) Writer(key store.ChunkKey, w Writer) Writer {
	if l == nil {
		return w
	}
	s := l.enter(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open = true
	return &liveWriter{w, s, func() { l.leave(key) }}
}

func (l *Live) enter(key store.ChunkKey) *spoken {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.outputs[key]
	if s == nil {
		if l.outputs == nil {
			l.outputs = map[store.ChunkKey]*spoken{}
		}
		s = &spoken{more: make(chan struct{})}
		l.outputs[key] = s
	}
	s.users++
	return s
}

func (l *Live) leave(key store.ChunkKey) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.outputs[key]
	if s.users--; s.users == 0 {
		delete(l.outputs, key)
	}
}

// A spoken is what one attempt writes.
type spoken struct {
	users int // the Live's

	mu           sync.Mutex // guards what follows
	open         bool       // somebody writes
	ears         int
	offset, line int64         // of what comes next
	pieces       []store.Chunk // the newest, without a Seq; they are not changed
	size         int           // bytes of those
	more         chan struct{} // closed, and replaced, when there is more, or open changes
}

type liveWriter struct {
	to    Writer
	s     *spoken
	leave func()
}

// Write implements Writer.
func (w *liveWriter) Write(at time.Time, p []byte) error {
	w.s.write(at, p)
	return w.to.Write(at, p)
}

// Close implements Writer.
func (w *liveWriter) Close() error {
	err := w.to.Close()
	w.s.mu.Lock()
	w.s.open = false
	w.s.tell()
	w.s.mu.Unlock()
	w.leave()
	return err
}

func (s *spoken) write(at time.Time, p []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(p) > 0 {
		part := p[:min(len(p), remembered)]
		p = p[len(part):]
		c := store.Chunk{Line: s.line, Offset: s.offset, Lines: int64(bytes.Count(part, newline))}
		s.offset += int64(len(part))
		s.line += c.Lines
		if s.ears == 0 {
			continue
		}
		c.Data, c.Times = bytes.Clone(part), []store.Stamp{{At: at.UTC().Truncate(time.Millisecond)}}
		s.pieces = append(s.pieces, c)
		for s.size += len(part); s.size > remembered || len(s.pieces) > rememberedPieces; s.pieces = s.pieces[1:] {
			s.size -= len(s.pieces[0].Data)
			s.pieces[0] = store.Chunk{}
		}
		s.tell()
	}
}

func (s *spoken) tell() {
	close(s.more)
	s.more = make(chan struct{})
}

// An ear is one who follows.
type ear struct {
	s     *spoken
	leave func()
}

// listen begins to hear an attempt; stop must be called. What was written before is not heard.
func (l *Live) listen(key store.ChunkKey) *ear {
	if l == nil {
		return nil
	}
	s := l.enter(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ears++
	return &ear{s, func() { l.leave(key) }}
}

func (e *ear) stop() {
	if e == nil {
		return
	}
	e.s.mu.Lock()
	if e.s.ears--; e.s.ears == 0 {
		e.s.pieces, e.s.size = nil, 0
	}
	e.s.mu.Unlock()
	e.leave()
}

// hear takes in what follows on what to has. It returns a channel that is closed
// once there is more; false says that the rest has to come from somewhere else.
func (e *ear) hear(to *lines) (more <-chan struct{}, ok bool) {
	if e == nil {
		return nil, false
	}
	for {
		var news []store.Chunk
		if news, more, ok = e.s.after(to.offset); len(news) == 0 || to.done {
			return more, ok
		}
		to.lost = true // in the store
		for i := range news {
			to.chunk(&news[i])
		}
	}
}

// after returns the pieces that hold what lies behind an offset, if all of it is
// there.
func (s *spoken) after(offset int64) (news []store.Chunk, more <-chan struct{}, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if offset > s.offset || offset < s.offset-int64(s.size) {
		return nil, s.more, false
	}
	first := sort.Search(len(s.pieces), func(i int) bool { return s.pieces[i].Offset+int64(len(s.pieces[i].Data)) > offset })
	return slices.Clone(s.pieces[first:]), s.more, s.open
}
