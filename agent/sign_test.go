package agent

import (
	"context"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

// signatures are a store's that counts those that are kept.
type signatures struct {
	store.Store
	*signatureCount
}

type signatureCount struct {
	mu   sync.Mutex
	kept map[build.ID]int
}

func (s signatures) Signature(context.Context, build.ID, int64) (io.ReadCloser, error) {
	return nil, store.ErrNotFound
}

func (s signatures) Sign(_ context.Context, id build.ID, _ int64) (store.Signature, error) {
	return signature{s, id}, nil
}

func (s *signatureCount) of(id build.ID) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.kept[id]
}

type signature struct {
	s  signatures
	id build.ID
}

func (signature) Write(p []byte) (int, error) { return len(p), nil }
func (signature) Close() error                { return nil }
func (g signature) Keep() error {
	g.s.mu.Lock()
	defer g.s.mu.Unlock()
	g.s.kept[g.id]++
	return nil
}

func TestWhatABuildWroteIsSignedWhenItHasEnded(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		count := &signatureCount{kept: map[build.ID]int{}}
		w.host("one", func(a *Agent) { a.Store = signatures{a.Store, count} }).start()
		w.takes = func(build.ID, string) time.Duration { return time.Hour }
		b := w.ask("x", store.Request{Pipeline: "unit"})
		w.wait(time.Minute, "it runs", func() bool { return w.see(b.ID).State == build.Running })
		require.Zero(t, count.of(b.ID))
		w.ended(3*time.Hour, b.ID)
		w.wait(time.Minute, "it is signed", func() bool { return count.of(b.ID) > 0 })
		require.Equal(t, 1, count.of(b.ID))
	}, pipeline("unit", step("lint"), step("test", needs("lint"))))
}
