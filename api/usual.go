package api

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

const (
	usualOf    = 20  // successful builds of the whole of a pipeline,
	usualAmong = 100 // which are among as many of its newest
	usualFor   = time.Minute
	usualMost  = 10_000 // pipelines
)

// usuals are how long builds of each pipeline take. They are asked of the store
// once, and again when a build is seen that they are not of, or after a while, as
// what other servers see is not seen here.
type usuals struct {
	*Server
	mu sync.Mutex
	of map[pipelineKey]*usual
}

type pipelineKey struct{ project, name string }

type usual struct {
	mu     sync.Mutex
	since  time.Time
	ms     int64   // 0 is that nobody knows
	seen   []int64 // the numbers of the successful builds that were looked at
	oldest int64   // the least number that can be one of them
}

// tell says with a build how long it should take. The store is asked for so few
// builds of the pipeline's index that one which never succeeds costs no more.
func (u *usuals) tell(ctx context.Context, b *Build) error {
	if b.Pipeline == "" {
		return nil // its plan will name it
	}
	o := u.find(pipelineKey{b.Project, b.Pipeline})
	o.mu.Lock()
	defer o.mu.Unlock()
	news := b.State == build.Success && b.Number >= o.oldest && !slices.Contains(o.seen, b.Number)
	if age := u.now().Sub(o.since); news || age < 0 || age > usualFor {
		if err := o.read(ctx, u.Server, b.Project, b.Pipeline); err != nil {
			return err
		}
	}
	b.UsualMS = o.ms
	return nil
}

func (u *usuals) find(key pipelineKey) *usual {
	u.mu.Lock()
	defer u.mu.Unlock()
	o := u.of[key]
	if o == nil {
		if u.of == nil || len(u.of) >= usualMost {
			u.of = map[pipelineKey]*usual{}
		}
		o = &usual{}
		u.of[key] = o
	}
	return o
}

// read asks the store.
func (o *usual) read(ctx context.Context, s *Server, project, pipeline string) error {
	now := s.now()
	var took []time.Duration
	var seen []int64
	var last int64 // that counts
	oldest, looked := int64(0), 0
	for cursor := ""; looked < usualAmong && len(took) < usualOf; {
		page, next, err := s.Store.List(ctx, store.Filter{Project: project, Pipeline: pipeline}, cursor, min(2*usualOf, usualAmong-looked))
		if err != nil {
			return err
		}
		for i := range page {
			b := &page[i]
			if b.State != build.Success || len(took) == usualOf {
				continue
			}
			seen = append(seen, b.Number)
			if part := b.Request.Select; len(part.Only)+len(part.From)+len(part.Skip) == 0 {
				took = append(took, b.Ended.Sub(b.Started))
				last = b.Number
			}
		}
		if looked += len(page); len(page) > 0 {
			oldest = page[len(page)-1].Number
		}
		if cursor = next; cursor == "" {
			break
		}
	}
	if len(took) == usualOf {
		oldest = last
	}
	o.since, o.ms, o.seen, o.oldest = now, 0, seen, oldest
	if n := len(took); n > 0 {
		slices.Sort(took)
		o.ms = max(1, (took[(n-1)/2]+took[n/2]).Milliseconds()/2)
	}
	return nil
}
