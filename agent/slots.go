package agent

import (
	"context"
	"slices"
	"sync"
)

// Slots bound how many builds run at once. Whoever waits for one gets it before
// anybody who only tries.
type slots struct {
	mu       sync.Mutex
	free     int // less than 0 when some were taken though none was left
	withheld int // of those that are free, from whoever only tries
	waiting  []chan struct{}
	freed    func() // called when one is free and nobody waits; nil is nobody
}

// try takes a slot if one is free.
func (s *slots) try() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.free <= s.withheld || len(s.waiting) > 0 {
		return false
	}
	s.free--
	return true
}

// withhold keeps n more slots from whoever only tries; fewer when n is less than 0.
func (s *slots) withhold(n int) {
	s.mu.Lock()
	s.withheld += n
	free := s.free > s.withheld && len(s.waiting) == 0
	s.mu.Unlock()
	if free && s.freed != nil {
		s.freed()
	}
}

// take waits for a slot.
func (s *slots) take(ctx context.Context) error {
	s.mu.Lock()
	if s.free > 0 && len(s.waiting) == 0 {
		s.free--
		s.mu.Unlock()
		return nil
	}
	turn := make(chan struct{})
	s.waiting = append(s.waiting, turn)
	s.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	i := slices.Index(s.waiting, turn)
	if i >= 0 {
		s.waiting = slices.Delete(s.waiting, i, i+1)
	}
	s.mu.Unlock()
	if i < 0 { // it was given to us in this moment
		s.give()
	}
	return context.Cause(ctx)
}

// seize takes a slot, free or not: whoever does goes on in any case.
func (s *slots) seize() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free--
}

// give gives a slot back.
func (s *slots) give() {
	s.mu.Lock()
	s.free++
	if s.free > 0 && len(s.waiting) > 0 {
		close(s.waiting[0])
		s.waiting = s.waiting[1:]
		s.free--
	}
	free := s.free > s.withheld
	s.mu.Unlock()
	if free && s.freed != nil {
		s.freed()
	}
}

// any reports whether a slot is free for one who tries.
func (s *slots) any() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.free > s.withheld && len(s.waiting) == 0
}
