package agent

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

func TestStrangers(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var said bytes.Buffer
	log := slog.New(slog.NewTextHandler(&said, nil))
	me := store.Agent{ID: "me", Name: "one"}
	var s strangers
	meet := func(agents ...store.Agent) []string {
		said.Reset()
		s = s.meet(log, me, append(agents, me), at)
		return strings.FieldsFunc(said.String(), func(r rune) bool { return r == '\n' })
	}
	namesake := store.Agent{ID: "a", Name: "one", Host: "h", Beat: 1, Seen: at}
	slow := store.Agent{ID: "b", Name: "two", Host: "h", Beat: 1, Seen: at.Add(-10 * time.Minute)}
	right := store.Agent{ID: "c", Name: "three", Beat: 1, Seen: at.Add(-50 * time.Second)}

	lines := meet(namesake, slow, right)
	require.Len(t, lines, 1, "how old what it said is cannot be known yet")
	require.Contains(t, lines[0], "same name")
	require.Contains(t, lines[0], "other=a host=h")
	require.Empty(t, meet(namesake, slow, right), "an agent that is silent has no clock")
	slow.Beat++
	right.Beat++
	lines = meet(namesake, slow, right)
	require.Len(t, lines, 1)
	require.Contains(t, lines[0], "clock")
	require.Contains(t, lines[0], "name=two other=b host=h ahead=-10m0s")
	slow.Beat++
	require.Empty(t, meet(namesake, slow, right), "it was said")
}

// Who else there is has to be known, and said, before a build is claimed.
func TestNoBuildIsClaimedBeforeTheOthersAreKnown(t *testing.T) {
	bubble(t, func(t *testing.T, w *world) {
		var said bytes.Buffer
		w.host("one", nil).start()
		time.Sleep(time.Second)
		two := w.host("two", func(a *Agent) {
			a.Name = "one"
			a.Log = slog.New(slog.NewTextHandler(&said, nil))
			a.Store.(*link).blind = true
		})
		w.hosts[0].kill()
		w.ask("x", store.Request{Pipeline: "unit"})
		two.start()
		time.Sleep(15 * time.Second)
		require.Equal(t, build.Queued, w.see("build-x").State)
		two.link.mu.Lock()
		two.link.blind = false
		two.link.mu.Unlock()
		require.Equal(t, build.Success, w.ended(time.Minute, "build-x").State)
		named, claimed, _ := strings.Cut(said.String(), "build claimed")
		require.Contains(t, named, "same name")
		require.NotEmpty(t, claimed)
	}, pipeline("unit", step("test")))
}
