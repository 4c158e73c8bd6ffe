package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/logs"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
	"github.com/piper-build/piper/runtime/store/sqlite"
)

// opened is the store of a user whose home is home.
func opened(t *testing.T, home string) *sqlite.Store {
	s, err := sqlite.Open(t.Context(), filepath.Join(home, ".local/share/piper/piper.db"), sqlite.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// piperIn is piper in dir, for a user whose home is home.
func piperIn(home, dir string, args ...string) *exec.Cmd {
	cmd := exec.Command("piper", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+home, "USER=ann", "XDG_DATA_HOME=", "XDG_STATE_HOME=", "XDG_CONFIG_HOME=", "XDG_CACHE_HOME=")
	return cmd
}

// What is recorded is what happened.
func TestExecIsRecorded(t *testing.T) {
	home, dir, ctx := t.TempDir(), t.TempDir(), t.Context()
	write(t, dir, "PIPER.star", `
project(name = "shop")
pipeline(name = "build", params = {"word": param.string(default = "up")}, impl = lambda ctx: [
    step("one", run = "echo first; echo " + ctx.params.word),
    trigger("deploy"),
    step("two", run = "echo second; exit 3"),
])
pipeline(name = "deploy", steps = [step("push", run = "echo pushed; sleep 0.06")])
`)
	out, err := piperIn(home, dir, "exec", "build", "-p", "word=down", "--json", "--progress=quiet", "--triggers=run", "--keep-going").Output()
	require.Error(t, err)
	var told buildResult
	require.NoError(t, json.Unmarshal(out, &told), string(out))
	require.Equal(t, int64(1), told.Number)
	require.Equal(t, int64(2), told.Triggered[0].Number)

	s := opened(t, home)
	b, err := s.BuildNumbered(ctx, 1)
	require.NoError(t, err)
	require.Equal(t, told.ID, b.ID)
	require.Equal(t, build.Failed, b.State)
	require.Equal(t, build.Progress{Total: 3, Done: 3, Failed: 1}, b.Progress)
	require.Equal(t, told.Ended, b.Ended)
	require.Equal(t, told.PlanDigest, b.Plan)
	require.Equal(t, "shop", b.Request.Project)
	require.Equal(t, map[string]string{"word": "down"}, b.Request.Params)
	require.Equal(t, store.Cause{Kind: "manual", By: "ann"}, b.Request.Cause)
	require.NotEmpty(t, b.Request.Here)
	require.Empty(t, b.Pending)

	data, err := s.Blob(ctx, b.Plan)
	require.NoError(t, err)
	p, err := plan.Decode(data)
	require.NoError(t, err)
	events, err := s.Events(ctx, b.ID, b.Fence, 1, 100)
	require.NoError(t, err)
	folded, err := build.Fold(p, events)
	require.NoError(t, err)
	for _, step := range told.Steps {
		got, _ := folded.Step(step.Name)
		require.Equal(t, step.Step, got)
	}
	var lines []string
	for line, err := range logs.NewReader(s, b.ID, b.Fence).Lines(ctx, "one", 1, 0, 0) {
		require.NoError(t, err)
		lines = append(lines, string(line.Text))
	}
	require.Equal(t, []string{"first", "down"}, lines)

	children, _, err := s.List(ctx, store.Filter{Parent: b.ID}, "", 10)
	require.NoError(t, err)
	require.Len(t, children, 1)
	require.Equal(t, "deploy", children[0].Request.Pipeline)
	require.Equal(t, store.Cause{Kind: "trigger", Build: b.ID, Number: b.Number, Node: "deploy", By: "ann"}, children[0].Request.Cause)
	require.Equal(t, build.Success, children[0].State)

	// The next time, it is known how long it took.
	a := &app{environ: []string{"HOME=" + home}}
	require.Contains(t, a.history(dir, "deploy").took, "push")
	require.NotContains(t, a.history(dir, "build").took, "two", "a failure says nothing of how long it takes")
}

// A build whose process was killed is called lost by the next, while one that
// runs is left alone.
func TestExecThatWasKilledIsLost(t *testing.T) {
	home, dir := t.TempDir(), t.TempDir()
	write(t, dir, "PIPER.star", `
project(name = "shop")
pipeline(name = "wait", steps = [step("wait", run = "echo up; touch up; sleep 1000")])
pipeline(name = "build", steps = [step("ok", run = "true")])
`)
	start := func() *exec.Cmd {
		cmd := piperIn(home, dir, "exec", "wait", "--progress=plain")
		seen := &watched{}
		cmd.Stderr = seen
		require.NoError(t, cmd.Start())
		seen.wait(t, "│ up")
		return cmd
	}
	recorded := func(number int64) store.Build {
		var b store.Build
		require.Eventually(t, func() (ok bool) {
			s, err := sqlite.Open(t.Context(), filepath.Join(home, ".local/share/piper/piper.db"), sqlite.Options{})
			if err == nil {
				b, err = s.BuildNumbered(t.Context(), number)
				s.Close()
			}
			return err == nil
		}, patience, 5*time.Millisecond)
		return b
	}
	dead := start()
	require.Equal(t, build.Running, recorded(1).State)
	require.NoError(t, dead.Process.Kill())
	dead.Wait()
	alive := start()
	require.Equal(t, build.Running, recorded(2).State)
	out, err := piperIn(home, dir, "exec", "build").CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "(build 3)")

	lost := recorded(1)
	require.Equal(t, build.Lost, lost.State)
	require.Equal(t, "the process that ran it is gone", lost.Reason)
	require.Equal(t, build.Running, recorded(2).State)
	require.Equal(t, build.Success, recorded(3).State)

	require.NoError(t, alive.Process.Signal(os.Interrupt))
	alive.Wait()
	require.Equal(t, build.Cancelled, recorded(2).State)
	left, err := os.ReadDir(filepath.Join(home, ".local/share/piper/running"))
	require.NoError(t, err)
	require.Empty(t, left)
}

// Of the builds that ran here the newest stay; those of others are theirs.
func TestOnlyTheNewestBuildsStay(t *testing.T) {
	ctx := t.Context()
	l := newLocal(filepath.Join(t.TempDir(), "piper.db"))
	require.NoError(t, l.open(ctx))
	t.Cleanup(func() { l.close(); l.store.Close() })
	var here, others, running []build.ID
	for i := range int64(keepBuilds + 12) {
		id := build.ID(fmt.Sprint("b", i))
		r := store.Request{Project: "shop", Here: l.id}
		kind := &here
		switch i % 4 {
		case 0:
			r.Here, kind = "", &others
		case 1:
			if i == 1 {
				kind = &running
			}
		}
		*kind = append(*kind, id)
		b, _, err := store.NewBuild(id, i+1, r, now()).Changed(store.Claim{Agent: l.id, Nonce: "n", Max: 1})
		require.NoError(t, err)
		_, err = l.store.Enqueue(ctx, b)
		require.NoError(t, err)
		require.NoError(t, l.store.AppendEvents(ctx, store.EventKey{Build: id, Fence: 1, Seq: 1}, []build.Event{{Seq: 1, Kind: build.BuildStarted}}))
		if i != 1 {
			_, err = l.store.Change(ctx, id, store.Complete{Agent: l.id, Fence: 1, State: build.Success})
			require.NoError(t, err)
		}
	}
	require.NoError(t, l.collect(ctx, "other"))
	require.NoError(t, l.collect(ctx, "shop"))
	gone := here[:len(here)-keepBuilds]
	require.NotEmpty(t, gone)
	for _, ids := range [][]build.ID{here, others, running} {
		for _, id := range ids {
			b, err := l.store.Build(ctx, id)
			require.NoError(t, err)
			events, err := l.store.Events(ctx, id, 1, 1, 10)
			require.NoError(t, err)
			kept := !slices.Contains(gone, id)
			require.Equal(t, kept, !b.Collected, id)
			require.Equal(t, kept, len(events) == 1, id)
		}
	}
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	require.ErrorContains(t, l.collect(cancelled, "shop"), "remove old builds: ")
}

func TestBrokenHistoryIsNone(t *testing.T) {
	a := &app{environ: []string{"HOME=" + t.TempDir()}}
	h := a.history("/src/shop", "a/b")
	require.Empty(t, h.took)
	require.NoError(t, os.MkdirAll(filepath.Dir(h.file), 0o700))
	require.NoError(t, os.WriteFile(h.file, []byte("{"), 0o600))
	require.Empty(t, a.history("/src/shop", "a/b").took)
	require.NoError(t, os.WriteFile(h.file, []byte(`{"s":1500}`), 0o600))
	require.Equal(t, map[string]time.Duration{"s": 1500 * time.Millisecond}, a.history("/src/shop", "a/b").took)
	require.Empty(t, a.history("/other/shop", "a/b").took)
	require.Empty(t, (&app{}).history("/src/shop", "a/b"))
}
