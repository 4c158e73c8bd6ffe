package agent

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/placement"
	"github.com/piper-build/piper/runtime/store"
)

// Waiters are builds in the queue, as this agent saw them on its own clock.
type waiters map[build.ID]waiter

// A waiter is one of them.
type waiter struct {
	fence int64
	since time.Time // it has waited for an agent, and not for another build
	able  time.Time // there was one that could run it, or it was first seen
}

// usherAtOnce bounds how much of the queue is looked at.
const usherAtOnce = 1000

// usher looks after what stands in the queue: it offers to somebody what nobody
// living is to take, and ends what has waited too long.
func (l *life) usher(ctx context.Context, known waiters, queue []store.Build) waiters {
	if len(queue) == wholeQueue { // there may be more
		var err error
		if queue, err = l.Store.Queue(ctx, "", usherAtOnce); err != nil {
			l.log.Warn("look at the queue", "error", err)
			return known
		}
	}
	agents := l.everybody()
	next := make(waiters, len(queue))
	for i := range queue {
		b := &queue[i]
		w, again := known[b.ID]
		if !again || w.fence != b.Fence {
			next[b.ID] = waiter{b.Fence, time.Now(), time.Now()}
			continue
		}
		able := slices.ContainsFunc(agents, func(a store.Agent) bool { return placement.Eligible(&a, b) })
		if able {
			w.able = time.Now()
		}
		grouped, err := l.waitsForGroup(ctx, b)
		if err != nil || grouped {
			w.since = time.Now()
		}
		next[b.ID] = w
		var c store.Change
		if end := l.overdue(b, agents, able, w); end.Reason != "" {
			c = end
		} else if to := placement.FirstChoice(b, agents); to != "" && !slices.ContainsFunc(agents, func(a store.Agent) bool { return a.ID == b.FirstChoice }) {
			c = store.Offer{Fence: b.Fence, To: to}
		} else {
			continue
		}
		got, err := l.Store.Change(ctx, b.ID, c)
		switch {
		case refused(err):
		case err != nil:
			l.log.Warn("change a queued build", "build", b.ID, "error", err)
		case got.Terminal():
			l.log.Info("build ended in the queue", "build", b.ID, "number", b.Number, "state", got.State, "reason", got.Reason)
		}
	}
	return next
}

// waitsForGroup reports whether another build has a group that b needs.
func (l *life) waitsForGroup(ctx context.Context, b *store.Build) (bool, error) {
	for _, key := range b.Groups {
		g, err := l.Store.Group(ctx, key)
		if err != nil || g.Holder != "" && g.Holder != b.ID {
			return true, err
		}
	}
	return false, nil
}

// overdue is T11 for a build in the queue: how it ends if it has waited too long.
// Else there is no Reason.
func (l *life) overdue(b *store.Build, agents []store.Agent, able bool, w waiter) store.Expire {
	end := store.Expire{Fence: b.Fence, State: build.Rejected, At: l.clock()}
	switch patience := time.Duration(b.Patience); {
	case patience > 0 && able && time.Since(w.since) >= patience:
		end.State, end.Reason = build.TimedOut, fmt.Sprintf("no agent had a free slot for it within %s", b.Patience)
	case patience > 0 && time.Since(w.since) < patience, patience == 0 && time.Since(w.able) < l.Timings.Patience:
	case b.Request.Here != "":
		end.Reason = "the process that was to run it never did"
	default:
		why := placement.Explain(b, placement.View{Agents: agents, Now: l.clock(), Lease: l.Timings.Lease})
		if end.Reason = why.Summary; why.Nearest != "" {
			end.Reason += ": " + why.Nearest
		}
	}
	return end
}
