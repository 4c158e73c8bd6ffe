package agent

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/logs"
	"github.com/piper-build/piper/runtime/placement"
	"github.com/piper-build/piper/runtime/store"
)

// shipPage is how many builds are looked at at once.
const shipPage = 100

// ships brings what builds wrote from the store to the index: what this agent's
// builds write, as they do, and those that have ended, as soon as the index takes
// it; of the newest builds those of agents that are gone; and now and then of all
// others, what was left of them. Whose a build is follows from who is
// there, so agents need not agree on it; where two of them do the same, the index
// drops what it has.
func (l *life) ships(ctx context.Context) {
	if l.Index == nil {
		return
	}
	var all sync.WaitGroup
	all.Go(func() {
		at := map[outputKey]logs.Position{}
		l.every(ctx, "ship running", l.Timings.Ship, func(ctx context.Context) { at = l.shipRunning(ctx, at) })
	})
	all.Go(func() { l.every(ctx, "ship ended", l.Timings.Ship, l.shipEnded) })
	all.Go(func() {
		whole := map[build.ID]bool{}
		l.every(ctx, "ship newest", l.Timings.Ship, func(ctx context.Context) { whole, _, _ = l.shipPage(ctx, "", whole) })
	})
	all.Go(func() {
		l.shipAll(ctx)
		l.every(ctx, "ship", l.Timings.Retain, l.shipAll)
	})
	all.Wait()
}

// An outputKey is what tells outputs apart.
type outputKey struct {
	build   build.ID
	fence   int64
	node    string
	attempt int
}

// shipRunning ships what this agent's builds wrote since at, and returns how far
// their outputs are.
func (l *life) shipRunning(ctx context.Context, at map[outputKey]logs.Position) map[outputKey]logs.Position {
	now := map[outputKey]logs.Position{}
	for _, r := range l.all() {
		b := r.now()
		if b.State != build.Running || ctx.Err() != nil {
			continue
		}
		outputs, err := logs.Outputs(ctx, l.Store, &b)
		if err != nil {
			l.shipFailed(ctx, b, err)
			continue
		}
		for _, o := range outputs {
			key := outputKey{o.Build, o.Fence, o.Node, o.Attempt}
			now[key], err = logs.Ship(ctx, l.Store, l.Index, o, at[key])
			if err != nil {
				l.shipFailed(ctx, b, err)
			}
		}
	}
	return now
}

// shipLater notes that a build of this agent has ended.
func (l *life) shipLater(id build.ID) {
	if l.Index == nil {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unshipped = append(l.unshipped, id)
}

// shipEnded ships what was left of this agent's builds when they ended. One that the
// index does not take is tried again after the others.
func (l *life) shipEnded(ctx context.Context) {
	l.mu.Lock()
	ids := slices.Clone(l.unshipped[:min(len(l.unshipped), shipPage)])
	l.mu.Unlock()
	if len(ids) == 0 {
		return
	}
	there, err := l.Index.Finished(ctx, ids)
	if err != nil {
		return // the index is away, which its Health tells
	}
	var left []build.ID
	for i, id := range ids {
		if there[id] {
			continue
		}
		b, err := l.Store.Build(ctx, id)
		if err == nil {
			err = logs.ShipBuild(ctx, l.Store, l.Index, b)
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			l.shipFailed(ctx, b, err)
			left = append(ids[i+1:], id)
			break
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.unshipped = append(l.unshipped[len(ids):], left...)
}

// shipFailed says why something is not in the index yet; it is tried again.
func (l *life) shipFailed(ctx context.Context, b store.Build, err error) {
	if ctx.Err() == nil && !errors.Is(err, store.ErrNotFound) {
		l.log.Warn("what a build wrote is not in the index of logs yet", "build", b.ID, "error", err)
	}
}

// shipAll ships what was left of builds that have ended, back to where the index
// would drop them.
func (l *life) shipAll(ctx context.Context) {
	for cursor := ""; ctx.Err() == nil; {
		_, next, err := l.shipPage(ctx, cursor, nil)
		if cursor = next; err != nil || cursor == "" {
			return
		}
	}
}

// shipPage ships what is this agent's to ship of a page of builds, but, unless known
// is nil, for those that it ran itself and those that are known to be whole in the
// index. It returns which are by then, and the cursor of the next page that has any
// builds which the index would keep.
func (l *life) shipPage(ctx context.Context, cursor string, known map[build.ID]bool) (whole map[build.ID]bool, next string, err error) {
	page, next, err := l.Store.List(ctx, store.Filter{}, cursor, shipPage)
	if err != nil {
		l.log.Warn("look for builds to ship", "error", err)
		return known, "", err
	}
	whole = map[build.ID]bool{}
	var left []store.Build
	var ids []build.ID
	recent := false
	for _, b := range page {
		if keeps := l.Index.Keeps(); keeps > 0 && b.Terminal() && time.Since(b.Ended) > keeps {
			continue
		}
		recent = true
		switch {
		case known[b.ID]:
			whole[b.ID] = true
		case b.Terminal() && b.Plan != "" && (known == nil || b.Last != l.id):
			left, ids = append(left, b), append(ids, b.ID)
		}
	}
	if !recent {
		next = ""
	}
	if len(left) == 0 {
		return whole, next, nil
	}
	there, err := l.Index.Finished(ctx, ids)
	if err != nil {
		return whole, "", err // the index is away, which its Health tells
	}
	for _, b := range left {
		if !there[b.ID] && l.shipper(&b) == l.id && ctx.Err() == nil {
			if err := logs.ShipBuild(ctx, l.Store, l.Index, b); err != nil {
				l.shipFailed(ctx, b, err)
				continue
			}
			there[b.ID] = true
		}
		if there[b.ID] {
			whole[b.ID] = true
		}
	}
	return whole, next, nil
}

// shipper is the agent that ships what a build wrote: the one that ran it, while it
// is there, and else the one among all that its ID picks.
func (l *life) shipper(b *store.Build) store.AgentID {
	agents := l.everybody()
	if slices.ContainsFunc(agents, func(a store.Agent) bool { return a.ID == b.Last }) {
		return b.Last
	}
	return placement.Pick(b, agents)
}
