package agent

import (
	"context"
	"sync"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

// Topics tell those who wait for a build that something has happened to it.
type topics struct {
	mu      sync.Mutex
	waiting map[build.ID]map[chan struct{}]bool
}

// listen returns a channel that has something whenever there was a hint at id,
// until stop is called.
func (t *topics) listen(id build.ID) (hint <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.waiting == nil {
		t.waiting = map[build.ID]map[chan struct{}]bool{}
	}
	if t.waiting[id] == nil {
		t.waiting[id] = map[chan struct{}]bool{}
	}
	t.waiting[id][c] = true
	return c, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if delete(t.waiting[id], c); len(t.waiting[id]) == 0 {
			delete(t.waiting, id)
		}
	}
}

// tell hints at id.
func (t *topics) tell(id build.ID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for c := range t.waiting[id] {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// feed passes on what the store hints at. When hints end it looks at everything
// and asks for new ones.
func (l *life) feed(ctx context.Context) {
	for {
		watching, stop := context.WithCancel(ctx)
		hints, err := l.Store.Watch(watching, store.Watched{Agent: l.id})
		if err == nil {
			for hint := range hints {
				l.topic.tell(hint.Build)
				switch {
				case l.running(hint.Build) != nil: // what it does itself is no news
				case hint.Others:
					l.glance()
				default:
					l.look()
				}
			}
		}
		stop()
		if !sleep(ctx, l.about("feed", l.Timings.Busy)) {
			return
		}
		l.look()
	}
}

// attend passes on, until ctx is done, what the store hints at of a build that may
// be another agent's. Where it does not hint, whoever waits polls.
func (l *life) attend(ctx context.Context, id build.ID) {
	hints, err := l.Store.Watch(ctx, store.Watched{Build: id})
	if err != nil {
		return
	}
	for range hints {
		l.topic.tell(id)
	}
}

// until reads a build whenever there may be something new of it, but not sooner
// than least after the last time, until enough says so. The error is that of ctx.
func (l *life) until(ctx context.Context, id build.ID, least time.Duration, enough func(store.Build) bool) (store.Build, error) {
	hint, stop := l.topic.listen(id)
	defer stop()
	for {
		b, err := l.Store.Build(ctx, id)
		if err == nil && enough(b) {
			return b, nil
		}
		if !sleep(ctx, least) {
			return store.Build{}, context.Cause(ctx)
		}
		timer := time.NewTimer(l.about("until "+string(id), l.Timings.Busy))
		select {
		case <-ctx.Done():
		case <-hint:
		case <-timer.C:
		}
		timer.Stop()
	}
}
