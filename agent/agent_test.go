package agent

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

func TestABuildIsRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, pipeline("unit", step("lint"), step("test", needs("lint"))))
		h := w.host("one", nil)
		h.start()
		b := w.ask("x", store.Request{Pipeline: "unit"})
		b = w.ended(20*time.Second, b.ID)
		require.Equal(t, build.Success, b.State, b.Reason)
		require.Equal(t, build.Progress{Total: 2, Done: 2}, b.Progress)
		require.NoError(t, h.drain())
		require.Zero(t, w.rescues)
		require.Empty(t, w.broken)
	})
}
