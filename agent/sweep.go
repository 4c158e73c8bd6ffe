package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/placement"
	"github.com/piper-build/piper/runtime/store"
)

// unsettledAtOnce bounds how many builds with chores are looked at in one sweep.
const unsettledAtOnce = 1000

// sweeps does what others left to be done, and ends what waits in vain.
func (l *life) sweeps(ctx context.Context) {
	left := map[build.ID]int64{} // what was unsettled the last time, as it was
	w := waiting{}
	l.every(ctx, l.Timings.Sweep, func(ctx context.Context) {
		left = l.sweep(ctx, left)
		l.expire(ctx, &w)
	})
}

// sweep does the chores of builds that have not changed since the last sweep:
// those that did are likely to be in somebody's hands.
func (l *life) sweep(ctx context.Context, left map[build.ID]int64) map[build.ID]int64 {
	unsettled, err := l.Store.Unsettled(ctx, unsettledAtOnce)
	if err != nil {
		l.log.Warn("look for chores", "error", err)
		return left
	}
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
	_, err := l.Store.Change(ctx, child, store.RequestCancel{Cancel: store.Cancel{By: "build " + string(parent), Reason: "the build that waited for it has ended"}, At: now()})
	return err // not found: it is yet to be made, and cancelled then
}

// A waiting is since when builds stand in the queue, on this agent's clock.
type waiting map[build.ID]sight

// expireAtOnce bounds how much of the queue is looked at for what waits too long.
const expireAtOnce = 1000

// expire is T11 for what is queued.
func (l *life) expire(ctx context.Context, w *waiting) {
	queue, err := l.Store.Queue(ctx, "", expireAtOnce)
	if err != nil {
		l.log.Warn("look at the queue", "error", err)
		return
	}
	next := waiting{}
	for i := range queue {
		b := &queue[i]
		s, known := (*w)[b.ID]
		if !known || s.fence != b.Fence {
			s = sight{fence: b.Fence, since: time.Now()}
		}
		next[b.ID] = s
		end, err := l.overdue(ctx, b, time.Since(s.since))
		if err != nil {
			l.log.Warn("look at a queued build", "build", b.ID, "error", err)
			continue
		}
		if end.Reason == "" {
			continue
		}
		got, err := l.Store.Change(ctx, b.ID, end)
		switch {
		case refused(err):
		case err != nil:
			l.log.Warn("end a queued build", "build", b.ID, "error", err)
		default:
			l.log.Info("build ended in the queue", "build", b.ID, "number", b.Number, "state", got.State, "reason", got.Reason)
			l.settle(ctx, got)
		}
	}
	*w = next
}

// overdue says how a build ends that has been queued for so long; with no Reason
// it goes on waiting.
func (l *life) overdue(ctx context.Context, b *store.Build, queued time.Duration) (end store.Expire, err error) {
	patience := l.Timings.Patience
	if b.Patience > 0 {
		patience = time.Duration(b.Patience)
	}
	if queued < patience {
		return end, nil
	}
	end = store.Expire{Fence: b.Fence, State: build.Rejected, At: now()}
	if b.Request.Here != "" {
		end.Reason = "the process that was to run it never did"
		return end, nil
	}
	agents := l.others()
	for i := range agents {
		if !placement.Eligible(&agents[i], b) {
			continue
		}
		if b.Patience == 0 {
			return store.Expire{}, nil // it will come to its turn
		}
		for _, key := range b.Groups { // to wait for another build is not to wait for an agent
			if g, err := l.Store.Group(ctx, key); err != nil || g.Holder != "" && g.Holder != b.ID {
				return store.Expire{}, err
			}
		}
		end.State, end.Reason = build.TimedOut, fmt.Sprintf("no agent had a free slot for it within %s", b.Patience)
		return end, nil
	}
	why := placement.Explain(b, placement.View{Agents: agents, Now: now(), Lease: l.Timings.Lease})
	end.Reason = fmt.Sprintf("%s within %s", why.Summary, patience)
	if why.Nearest != "" {
		end.Reason = fmt.Sprintf("%s: %s", why.Summary, why.Nearest)
	}
	return end, nil
}
