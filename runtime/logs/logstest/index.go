package logstest

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/logs"
	"github.com/piper-build/piper/runtime/store"
)

// An Index is one in memory, for tests. The zero Index is empty, and there.
type Index struct {
	Kept time.Duration // what Keeps says

	mu      sync.Mutex // guards what follows
	lines   map[lineKey]logs.Hit
	whole   map[build.ID]bool
	away    string
	letters []logs.DeadLetter
	since   time.Time
	sent    int64
	had     int64
}

var _ logs.Index = (*Index)(nil)

type lineKey struct {
	build   build.ID
	fence   int64
	node    string
	attempt int
	begin   int64
}

// Away has the index be away, and why; "" has it be back.
func (x *Index) Away(why string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.away, x.since = why, time.Now()
}

// Refuse makes a dead letter.
func (x *Index) Refuse(reason, line string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.letters = append(x.letters, logs.DeadLetter{Time: time.Now(), Reason: reason, Line: json.RawMessage(line)})
}

// there locks the index, if it is there.
func (x *Index) there(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	x.mu.Lock()
	if why := x.away; why != "" {
		x.mu.Unlock()
		return fmt.Errorf("%w: %s", logs.ErrAway, why)
	}
	if x.lines == nil {
		x.lines, x.whole = map[lineKey]logs.Hit{}, map[build.ID]bool{}
	}
	return nil
}

// Append implements logs.Index.
func (x *Index) Append(ctx context.Context, o logs.Output, lines []logs.Line, _ logs.Position) error {
	if err := x.there(ctx); err != nil {
		return err
	}
	defer x.mu.Unlock()
	for _, l := range lines {
		key := lineKey{o.Build, o.Fence, o.Node, o.Attempt, l.Begin}
		if _, had := x.lines[key]; had {
			x.had++
			continue
		}
		l.Text = bytes.Clone(l.Text)
		x.lines[key] = logs.Hit{Output: o, Match: logs.Match{Line: l}}
		x.sent++
	}
	return nil
}

// Position implements logs.Index.
func (x *Index) Position(ctx context.Context, o logs.Output) (p logs.Position, err error) {
	if err := x.there(ctx); err != nil {
		return p, err
	}
	defer x.mu.Unlock()
	for key, h := range x.lines {
		if key.begin = 0; key == (lineKey{o.Build, o.Fence, o.Node, o.Attempt, 0}) && !p.Covers(h.Line) {
			p = logs.Position{Number: h.Line.Number, Begin: h.Begin}
		}
	}
	return p, nil
}

// Finish implements logs.Index.
func (x *Index) Finish(ctx context.Context, b store.Build, fence int64) error {
	if err := x.there(ctx); err != nil {
		return err
	}
	defer x.mu.Unlock()
	maps.DeleteFunc(x.lines, func(k lineKey, _ logs.Hit) bool { return k.build == b.ID && k.fence != fence })
	x.whole[b.ID] = true
	return nil
}

// Finished implements logs.Index.
func (x *Index) Finished(ctx context.Context, ids []build.ID) (map[build.ID]bool, error) {
	if err := x.there(ctx); err != nil {
		return nil, err
	}
	defer x.mu.Unlock()
	found := map[build.ID]bool{}
	for _, id := range ids {
		if x.whole[id] {
			found[id] = true
		}
	}
	return found, nil
}

// Delete implements logs.Index.
func (x *Index) Delete(ctx context.Context, id build.ID) error {
	if err := x.there(ctx); err != nil {
		return err
	}
	defer x.mu.Unlock()
	maps.DeleteFunc(x.lines, func(k lineKey, _ logs.Hit) bool { return k.build == id })
	delete(x.whole, id)
	return nil
}

// Health implements logs.Index.
func (x *Index) Health() logs.Health {
	x.mu.Lock()
	defer x.mu.Unlock()
	return logs.Health{Name: "Memory", Error: x.away, Since: x.since, Sent: x.sent, Had: x.had, Dead: int64(len(x.letters))}
}

// DeadLetters implements logs.Index.
func (x *Index) DeadLetters(ctx context.Context, limit int) ([]logs.DeadLetter, int64, error) {
	if err := x.there(ctx); err != nil {
		return nil, 0, err
	}
	defer x.mu.Unlock()
	return x.letters[max(0, len(x.letters)-limit):], int64(len(x.letters)), nil
}

// Keeps implements logs.Index.
func (x *Index) Keeps() time.Duration { return x.Kept }

// Search implements logs.Searcher.
func (x *Index) Search(ctx context.Context, q logs.Wide, cursor string, limit int) (page logs.Page, err error) {
	find, err := q.Compile()
	if err != nil {
		return page, err
	}
	var after logs.Hit
	if cursor != "" {
		n, err := fmt.Sscanf(cursor, "%d.%d.%d", &after.Output.Number, &after.Order, &after.Begin)
		if err != nil || n != 3 {
			return page, fmt.Errorf("search output: %w", store.ErrCursor)
		}
	}
	if err := x.there(ctx); err != nil {
		return page, err
	}
	defer x.mu.Unlock()
	var all []logs.Hit
	for _, h := range x.lines {
		h.Spans = find(h.Text)
		o := &h.Output
		switch {
		case h.Cut > 0 || len(h.Spans) == 0,
			q.Project != "" && o.Project != q.Project, q.Pipeline != "" && o.Pipeline != q.Pipeline,
			q.Step != "" && o.Node != q.Step, q.Build != "" && o.Build != q.Build,
			o.Created.Before(q.Since), !q.Until.IsZero() && !o.Created.Before(q.Until),
			q.Sees != nil && !q.Sees(o.Project):
		default:
			all = append(all, h)
		}
	}
	slices.SortFunc(all, inOrder)
	page.Total = int64(len(all))
	if cursor != "" {
		all = slices.DeleteFunc(all, func(h logs.Hit) bool { return inOrder(h, after) <= 0 })
	}
	if len(all) > limit {
		all = all[:limit]
		last := &all[limit-1]
		page.Next = fmt.Sprintf("%d.%d.%d", last.Output.Number, last.Order, last.Begin)
	}
	for _, h := range all {
		page.Matches += int64(len(h.Spans))
	}
	page.Hits = all
	return page, nil
}

func inOrder(a, b logs.Hit) int {
	return cmp.Or(cmp.Compare(b.Output.Number, a.Output.Number), cmp.Compare(a.Order, b.Order), cmp.Compare(a.Begin, b.Begin))
}
