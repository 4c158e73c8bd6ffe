package record

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

// inFlight is how many segments are sent together at most, and patience how long
// the store has for that before it is asked again.
const (
	inFlight = 4
	patience = time.Minute
)

// A sender turns segments into what is sent.
type sender struct {
	chunks  []store.Chunk
	stamps  []store.Stamp
	streams []*stream // of the segment that is being cut
	mixed   []byte    // output that did not lie together
	events  []build.Event
}

// send takes what waits and sends it, until ctx is done or an error is meant.
func (r *Record) send(ctx context.Context) {
	defer close(r.ended)
	if r.o.Before != nil {
		if err := r.o.Before(ctx); err != nil {
			r.mu.Lock()
			defer r.mu.Unlock()
			if ctx.Err() == nil {
				r.fail(err)
			}
			return
		}
	}
	var last time.Time
	for {
		batch := r.take(last)
		if batch == nil {
			return
		}
		last = time.Now()
		err := r.sender.send(ctx, r, batch)
		r.mu.Lock()
		switch {
		case err == nil:
			r.acknowledge(batch)
		case ctx.Err() == nil:
			r.fail(fmt.Errorf("record build: %w", err))
		}
		r.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// take waits until there is something to send and the time for it has come. It
// returns nil once nothing is to be sent any more.
func (r *Record) take(last time.Time) (batch []*segment) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for !r.closing && r.err == nil {
		if len(r.ready) == 0 && r.spool.empty() && (r.open == nil || r.open.empty()) {
			r.sleep(idle, 0)
			continue
		}
		if early := r.o.Pace - time.Since(last); early > 0 && r.hurry == 0 && len(r.ready) == 0 && r.spool.empty() {
			r.sleep(pacing, early)
			continue
		}
		for len(batch) < inFlight {
			s := r.next()
			if s == nil {
				break
			}
			batch = append(batch, s)
		}
		if r.err != nil {
			return nil
		}
		r.flight = len(batch)
		return batch
	}
	return nil
}

// next takes the oldest segment; nil when there is none.
func (r *Record) next() (s *segment) {
	switch {
	case len(r.ready) > 0:
		s = r.ready[0]
		r.ready[0] = nil
		r.ready = r.ready[1:]
	case !r.spool.empty():
		var err error
		if s, err = r.spool.pop(); err != nil {
			r.fail(fmt.Errorf("record build: %w", err))
			return nil
		}
	case r.open != nil && !r.open.empty():
		s, r.open = r.open, nil
	}
	return s
}

// sleep waits to be roused; not longer than d, unless that is 0.
func (r *Record) sleep(how sleep, d time.Duration) {
	r.asleep = how
	r.mu.Unlock()
	var expired <-chan time.Time
	if d > 0 {
		timer := time.NewTimer(d)
		defer timer.Stop()
		expired = timer.C
	}
	select {
	case <-r.wake:
	case <-expired:
	}
	r.mu.Lock()
	r.asleep = awake
}

// acknowledge takes note that the store has batch.
func (r *Record) acknowledge(batch []*segment) {
	r.flight, r.stalled = 0, false
	r.acked = batch[len(batch)-1].upto
	for _, s := range batch {
		r.recycle(s)
	}
	if r.spool.mended() && r.spool.waiting() <= r.o.Quota/2 && r.inMemory() < r.o.Memory {
		r.cutting = false
	}
	r.advanced()
}

// send sends a batch: output first. It must not be called again before what it
// sent has been acknowledged.
func (s *sender) send(ctx context.Context, r *Record, batch []*segment) error {
	s.chunks, s.stamps, s.events, s.mixed = s.chunks[:0], s.stamps[:0], s.events[:0], s.mixed[:0]
	for _, segment := range batch {
		s.cut(segment)
		s.events = append(s.events, segment.events...)
	}
	if len(s.chunks) > 0 {
		if err := insist(ctx, func(ctx context.Context) error { return r.store.AppendChunks(ctx, s.chunks) }); err != nil {
			return err
		}
	}
	for events := s.events; len(events) > 0; {
		part := events[:min(len(events), segmentEvents)]
		key := store.EventKey{Build: r.id, Fence: r.fence, Seq: part[0].Seq}
		if err := insist(ctx, func(ctx context.Context) error { return r.store.AppendEvents(ctx, key, part) }); err != nil {
			return err
		}
		events = events[len(part):]
	}
	return nil
}

// insist is store.Insist with a store that may stall.
func insist(ctx context.Context, do func(ctx context.Context) error) error {
	return store.Insist(ctx, func() error {
		limited, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		err := do(limited)
		if err != nil && limited.Err() != nil && ctx.Err() == nil {
			err = fmt.Errorf("the store has not answered for %s (%w): %w", patience, err, store.ErrInDoubt)
		}
		return err
	})
}

// cut makes chunks of a segment: of each attempt in order, each as long as it
// may be.
func (s *sender) cut(from *segment) {
	s.streams = s.streams[:0]
	at := 0
	for i := range from.pieces {
		p := &from.pieces[i]
		of := p.stream
		if p.gap.bytes > 0 && len(of.taken) > 0 {
			s.finish(of, from)
		}
		if len(of.taken) == 0 {
			s.streams = append(s.streams, of)
		}
		of.taken = append(of.taken, placed{*p, at})
		of.size += p.size
		at += p.size
	}
	for _, of := range s.streams {
		s.finish(of, from)
	}
}

// finish makes chunks of what was taken of a stream.
func (s *sender) finish(of *stream, from *segment) {
	if len(of.taken) == 0 {
		return
	}
	data := s.gather(of, from)
	cut := of.taken[0].gap
	of.offset += cut.bytes
	of.line += cut.lines
	rest := of.taken
	for len(data) > 0 {
		c := store.Chunk{Key: of.key, Line: of.line, Offset: of.offset, Cut: cut.bytes}
		cut = gap{}
		c.Data = data[:min(len(data), store.MaxChunk)]
		data = data[len(c.Data):]
		c.Lines = int64(bytes.Count(c.Data, newline))
		first := len(s.stamps)
		for n := 0; n < len(c.Data); {
			p := &rest[0]
			if at := time.UnixMilli(p.at).UTC(); n == 0 || at != s.stamps[len(s.stamps)-1].At {
				s.stamps = append(s.stamps, store.Stamp{Offset: int32(n), At: at})
			}
			whole := min(p.size, len(c.Data)-n)
			n += whole
			if p.size -= whole; p.size == 0 {
				rest = rest[1:]
			}
		}
		c.Times = s.stamps[first:len(s.stamps):len(s.stamps)]
		of.key.Seq++
		of.line += c.Lines
		of.offset += int64(len(c.Data))
		s.chunks = append(s.chunks, c)
	}
	of.taken, of.size = of.taken[:0], 0
}

// gather returns what was taken of a stream in one piece.
func (s *sender) gather(of *stream, from *segment) []byte {
	first, last := of.taken[0], of.taken[len(of.taken)-1]
	if last.offset+last.size-first.offset == of.size {
		return from.data[first.offset:][:of.size] // nothing lies in between
	}
	if cap(s.mixed)-len(s.mixed) < of.size {
		s.mixed = make([]byte, 0, max(of.size, segmentBytes)) // what was gathered before stays where it is
	}
	begin := len(s.mixed)
	for _, p := range of.taken {
		s.mixed = append(s.mixed, from.data[p.offset:][:p.size]...)
	}
	return s.mixed[begin:]
}
