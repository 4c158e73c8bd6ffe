package agent

import (
	"context"
	"sync"

	"github.com/piper-build/piper/runtime/logs"
	"github.com/piper-build/piper/runtime/store"
)

const (
	// maxUnsigned bounds how many builds of this agent wait for a signature. Others
	// get it when all are looked at.
	maxUnsigned = 100

	signPage = 100 // builds that are looked at at once
)

// signs makes the signatures of what builds wrote: of this agent's builds one after
// the other, once they have ended; of others, which `piper exec` recorded, or which
// were imported or restored, when it starts, and of the newest now and then. Nothing
// waits for that, so the store may take its time.
func (l *life) signs(ctx context.Context) {
	if _, ok := l.unbounded.(store.Signatures); !ok {
		return
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			select {
			case b := <-l.unsigned:
				l.sign(ctx, b)
			case <-ctx.Done():
				return
			}
		}
	})
	all.Go(func() {
		for cursor, more := "", true; more; {
			next, err := l.signPage(ctx, cursor)
			if cursor, more = next, next != ""; err != nil {
				more = sleep(ctx, l.Timings.Retain)
			}
		}
		l.every(ctx, "sign newest", l.Timings.Retain, func(ctx context.Context) { l.signPage(ctx, "") })
	})
	all.Wait()
}

// signLater notes that a build of this agent has ended.
func (l *life) signLater(b store.Build) {
	select {
	case l.unsigned <- b:
	default:
	}
}

// signPage signs what builds of a page wrote that have ended, and have no signature.
// It returns the cursor of the page to look at then: after an error the same, "" when
// there are no more.
func (l *life) signPage(ctx context.Context, cursor string) (next string, err error) {
	page, next, err := l.Store.List(ctx, store.Filter{}, cursor, signPage)
	if err != nil {
		if ctx.Err() == nil {
			l.log.Warn("look for builds to sign", "error", err)
		}
		return cursor, err
	}
	for _, b := range page {
		if ctx.Err() == nil && b.Terminal() && !logs.Signed(ctx, l.unbounded, &b) {
			l.sign(ctx, b)
		}
	}
	return next, nil
}

// sign signs what a build wrote.
func (l *life) sign(ctx context.Context, b store.Build) {
	if err := logs.Sign(ctx, l.unbounded, b); err != nil && ctx.Err() == nil {
		l.log.Warn("a search has to read what a build wrote", "build", b.ID, "error", err)
	}
}
