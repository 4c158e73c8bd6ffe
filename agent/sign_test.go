package agent

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

// signatures are a store's, and how often one was made.
type signatures struct {
	store.Store
	*made
}

func (s signatures) List(ctx context.Context, f store.Filter, cursor string, limit int) ([]store.Build, string, error) {
	if s.away.Load() && (cursor != "") == s.late {
		return nil, "", store.ErrInDoubt
	}
	return s.Store.List(ctx, f, cursor, limit)
}

type made struct {
	away atomic.Bool // builds cannot be listed: the first page, or the others
	late bool

	mu    sync.Mutex
	times map[build.ID]int
	last  map[build.ID][]byte
}

func newMade() *made { return &made{times: map[build.ID]int{}, last: map[build.ID][]byte{}} }

func (m *made) of(id build.ID) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.times[id]
}

func (m *made) Signature(_ context.Context, id build.ID, _ int64) (io.ReadCloser, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.times[id] == 0 {
		return nil, store.ErrNotFound
	}
	return io.NopCloser(bytes.NewReader(m.last[id])), nil
}

func (m *made) Sign(_ context.Context, id build.ID, _ int64) (store.Signature, error) {
	return &signature{made: m, id: id}, nil
}

type signature struct {
	bytes.Buffer
	made *made
	id   build.ID
}

func (*signature) Close() error { return nil }
func (g *signature) Keep() error {
	g.made.mu.Lock()
	defer g.made.mu.Unlock()
	g.made.times[g.id]++
	g.made.last[g.id] = g.Bytes()
	return nil
}

// Builds of others are signed when an agent starts, and a while after they end.
func TestWhatOthersWroteIsSigned(t *testing.T) {
	for _, late := range []bool{false, true} {
		t.Run(fmt.Sprint("late ", late), func(t *testing.T) { whatOthersWrote(t, late) })
	}
}

func whatOthersWrote(t *testing.T, late bool) {
	bubble(t, func(t *testing.T, w *world) {
		w.host("one", func(a *Agent) { a.Labels = map[string]string{"gpu": "yes"} }).start()
		var ended []store.Build
		for i := range signPage + 50 {
			ended = append(ended, w.ended(time.Minute, w.ask(fmt.Sprint(i), store.Request{Pipeline: "unit"}).ID))
		}
		made := newMade()
		made.late = late
		made.away.Store(true)
		w.host("two", func(a *Agent) { a.Store = signatures{a.Store, made} }).start()
		time.Sleep(time.Minute)
		made.away.Store(false)
		for _, b := range ended {
			w.wait(time.Hour, "what is old is signed", func() bool { return made.of(b.ID) == 1 })
		}
		b := w.ended(time.Minute, w.ask("late", store.Request{Pipeline: "unit"}).ID)
		w.wait(time.Hour, "what is new is signed", func() bool { return made.of(b.ID) > 0 })
		time.Sleep(time.Hour)
		for _, b := range append(ended, b) {
			require.Equal(t, 1, made.of(b.ID))
		}
	}, pipeline("unit", step("test", requireLabel("gpu"))))
}

func TestWhatABuildWroteIsSignedWhenItHasEnded(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		made := newMade()
		w.host("one", func(a *Agent) { a.Store = signatures{a.Store, made} }).start()
		w.takes = func(build.ID, string) time.Duration { return time.Hour }
		b := w.ask("x", store.Request{Pipeline: "unit"})
		w.wait(time.Minute, "it runs", func() bool { return w.see(b.ID).State == build.Running })
		require.Zero(t, made.of(b.ID))
		w.ended(3*time.Hour, b.ID)
		w.wait(time.Minute, "it is signed", func() bool { return made.of(b.ID) > 0 })
		require.Equal(t, 1, made.of(b.ID))
	}, pipeline("unit", step("lint"), step("test", needs("lint"))))
}
