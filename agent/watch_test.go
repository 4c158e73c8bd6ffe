package agent

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

func TestWatch(t *testing.T) {
	const lease, gap = 30 * time.Second, 18 * time.Second
	type read struct{ at, beat int } // seconds
	for _, c := range []struct {
		name  string
		reads []read
		dead  bool // at the last of them
	}{
		{"it lives", []read{{0, 1}, {10, 2}, {20, 3}, {30, 4}, {40, 5}}, false},
		{"it stands still", []read{{0, 1}, {10, 1}, {20, 1}, {30, 1}}, true},
		{"not long enough", []read{{0, 1}, {10, 1}, {20, 1}, {29, 1}}, false},
		{"too few reads", []read{{0, 1}, {15, 1}, {30, 1}}, false},
		{"it came back", []read{{0, 1}, {10, 1}, {20, 1}, {29, 2}, {40, 2}}, false},
		{"the watcher was asleep", []read{{0, 1}, {10, 1}, {20, 1}, {50, 1}}, false},
		{"and watched again", []read{{0, 1}, {10, 1}, {50, 1}, {60, 1}, {70, 1}, {80, 1}}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := watch{lease: lease, gap: gap}
			var dead []store.Agent
			for i, r := range c.reads {
				dead = w.observe(time.Unix(int64(1000+r.at), 0), []store.Agent{{ID: "a", Beat: int64(r.beat)}})
				require.True(t, i == len(c.reads)-1 || len(dead) == 0, "too early, at %d", r.at)
			}
			require.Equal(t, c.dead, len(dead) == 1)
		})
	}
}

func TestDoomed(t *testing.T) {
	d := doomed{wait: 40 * time.Second}
	running := func(fence int64, cancel *store.Cancel) []store.Build {
		return []store.Build{{ID: "x", Fence: fence, Cancel: cancel}, {ID: "y", Fence: 1}}
	}
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	plain, forced := &store.Cancel{}, &store.Cancel{Force: true}
	require.Empty(t, d.due(at(0), running(1, plain)))
	require.Empty(t, d.due(at(60), running(1, plain)), "it may clean up")
	require.Empty(t, d.due(at(70), running(1, forced)), "it was forced just now")
	require.Empty(t, d.due(at(110), running(1, forced)))
	require.Len(t, d.due(at(111), running(1, forced)), 1)
	require.Empty(t, d.due(at(112), running(3, forced)), "it is another attempt")
	require.Empty(t, d.due(at(200), nil))
	require.Empty(t, d.due(at(300), running(3, plain)), "counted anew")
	require.Len(t, d.due(at(301).Add(build.CleanupLimit+40*time.Second), running(3, plain)), 1)
}
