package agent

import (
	"context"
	"errors"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

// unsettledAtOnce bounds how many builds with chores are in a view.
const unsettledAtOnce = 1000

// sweeps does what others left to be done, and ends what waits in vain.
func (l *life) sweeps(ctx context.Context) {
	left := map[build.ID]int64{} // what was unsettled the last time, as it was
	w := waiters{}
	var last *view
	l.every(ctx, "sweep", l.Timings.Sweep, func(ctx context.Context) {
		if v := l.view(); v != last {
			w = l.usher(ctx, w, v.Queue)
			left = l.sweep(ctx, left, v.Unsettled)
			last = v
		}
	})
}

// sweep does the chores of builds that have not changed since the view of the last one:
// those that did are likely to be in somebody's hands.
func (l *life) sweep(ctx context.Context, left map[build.ID]int64, unsettled []store.Build) map[build.ID]int64 {
	now := make(map[build.ID]int64, len(unsettled))
	for _, b := range unsettled {
		now[b.ID] = b.Rev
		if left[b.ID] == b.Rev && ctx.Err() == nil {
			l.settle(ctx, b)
		}
	}
	return now
}

// settle does what is to be done about b. What cannot be done now is left to the
// next sweep, of whoever sweeps first.
func (l *life) settle(ctx context.Context, b store.Build) {
	for _, chore := range b.Pending {
		if err := l.do(ctx, b, chore); err != nil {
			l.log.Warn("chore left", "build", b.ID, "verb", chore.Verb, "target", chore.Target, "error", err)
		}
	}
}

// do does one chore, and then strikes it off: in this order, since what was
// struck off is never looked at again.
func (l *life) do(ctx context.Context, b store.Build, chore store.Chore) (err error) {
	switch chore.Verb {
	case store.EnqueueChild:
		err = l.enqueue(ctx, b.Outbox[chore.Target].Child, b.Outbox[chore.Target].Request)
	case store.CancelChild:
		err = l.cancelChild(ctx, b.Outbox[chore.Target].Child, b.ID)
	case store.Release:
		err = l.release(ctx, chore.Target, b)
	case store.StartAfter:
		err = l.startAfter(ctx, b)
	default:
		err = errors.New("a newer version of Piper knows it")
	}
	if err == nil {
		_, err = l.Store.Change(ctx, b.ID, store.Settle{Chore: chore})
	}
	return err
}

// cancelChild cancels a build whose parent does not wait for it any more.
func (l *life) cancelChild(ctx context.Context, child, parent build.ID) error {
	_, err := l.Store.Change(ctx, child, store.RequestCancel{Cancel: store.Cancel{By: "build " + string(parent), Reason: "the build that waited for it has ended"}, At: l.clock()})
	return err // not found: it is yet to be made, and cancelled then
}
