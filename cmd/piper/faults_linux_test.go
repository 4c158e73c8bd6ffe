package main

import (
	"database/sql"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/api/client"
	"github.com/piper-build/piper/api/webhook"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store/rethinkdb"
	"github.com/piper-build/piper/runtime/store/rethinkdb/rethinkdbtest"
)

// counting is a step that is hard to get rid of. It counts for ever; the second
// time it only counts a little.
const counting = `
def _count(ctx):
    return [step("count", env = {"HARM": ctx.params.harm}, run = """
        i=0; while [ $i -lt 200 ]; do echo line $i; i=$((i+1)); done
        mkdir "$HARM" 2>/dev/null || exit 0
        trap "" TERM
        setsid sleep 1000 &
        env -i setsid sh -c "while :; do sleep 0.1; done" sh "$PWD" &
        echo $PPID >"$HARM/new"; mv "$HARM/new" "$HARM/runner"
        while :; do echo line $i; i=$((i+1)); sleep 0.01; done"""),
        step("then", run = "echo done")]
pipeline(name = "build", params = {"harm": param.string()}, impl = _count)
`

// countedTo is what it writes until it has counted to n.
func countedTo(n int) string {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "line %d\n", i)
	}
	return text.String()
}

// What runs a build is killed amid a step: all that the step started ends, the
// build runs again, and what the step had written is there.
func TestKilledAmidAStep(t *testing.T) {
	for name, test := range map[string]struct {
		harm func(f *fleet, one *machine, runner int)
		gone string // what has nothing living in it soon after, below the fleet's directory
	}{
		"the agent, and another one takes over": {func(f *fleet, one *machine, _ int) {
			f.start("two", quick...)
			f.idle("two")
			one.kill()
		}, "one"},
		"the agent, which starts again": {func(f *fleet, one *machine, _ int) {
			one.kill()
			f.await("its processes' end", func() bool { return len(living(one.dir)) == 0 })
			f.start("one", quick...)
		}, "one/work"},
		"the runner": {func(f *fleet, one *machine, runner int) {
			require.NoError(f.t, syscall.Kill(runner, syscall.SIGKILL))
		}, "one/work"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t, counting)
			f.start("api", append(quick, "--no-worker")...)
			one := f.start("one", quick...)
			harm := filepath.Join(f.dir, "harm")
			b := f.ask("build", map[string]string{"harm": harm})
			f.await("it counts", func() bool { return strings.Count(f.wrote(b.ID, "count", 1), "\n") > 250 })
			text, err := os.ReadFile(filepath.Join(harm, "runner"))
			require.NoError(t, err)
			runner, err := strconv.Atoi(strings.TrimSpace(string(text)))
			require.NoError(t, err)
			work := filepath.Join(one.dir, "work", fmt.Sprintf("%s-1", b.ID))
			require.GreaterOrEqual(t, len(living(work)), 3, "the step and what it started")

			known := f.wrote(b.ID, "count", 1)
			test.harm(f, one, runner)
			f.await("the end of what the step started", func() bool { return len(living(work)) == 0 })
			b = f.ended(b.ID)
			require.Equal(t, build.Success, b.State, b.Reason)
			require.Equal(t, 2, b.Attempt)
			require.Equal(t, countedTo(200), f.wrote(b.ID, "count", 0))
			left := f.wrote(b.ID, "count", 1)
			require.True(t, strings.HasPrefix(left, known), "what was acknowledged is there")
			require.Equal(t, countedTo(strings.Count(left, "\n")), left)
			f.sound()
		})
	}
}

// An agent is stopped for longer than its lease while its builds go on without it,
// one to a bad end. Of that nothing counts when it goes on: the builds have run
// elsewhere by then.
func TestStoppedPastItsLease(t *testing.T) {
	t.Parallel()
	f := newFleet(t, `
def _late(ctx):
    return [step("late", env = {"HARM": ctx.params.harm, "END": ctx.params.end}, run = """
        mkdir "$HARM" 2>/dev/null || { echo new; exit 0; }
        echo old
        until [ -e "$END" ]; do sleep 0.05; done
        echo too late; : >"$HARM/over"; exit 3""")]
pipeline(name = "build", params = {"harm": param.string(), "end": param.string()}, impl = _late)
`)
	f.start("api", append(quick, "--no-worker")...)
	one := f.start("one", quick...)
	before := f.idle("one")
	end := filepath.Join(f.dir, "end")
	ends := f.ask("build", map[string]string{"harm": filepath.Join(f.dir, "ends"), "end": end})
	stays := f.ask("build", map[string]string{"harm": filepath.Join(f.dir, "stays"), "end": filepath.Join(f.dir, "never")})
	f.await("both run", func() bool { return f.wrote(ends.ID, "late", 1)+f.wrote(stays.ID, "late", 1) == "old\nold\n" })

	f.stop(one)
	write(t, f.dir, "end", "")
	f.await("one has come to its end", func() bool { return exists(filepath.Join(f.dir, "ends", "over")) })
	f.start("two", quick...)
	for _, b := range []*build.ID{&ends.ID, &stays.ID} {
		require.Equal(t, build.Success, f.ended(*b).State)
	}
	ends, stays = f.see(ends.ID), f.see(stays.ID)
	require.NotEmpty(t, living(filepath.Join(one.dir, "work")), "it runs on, as its agent is not there to know")

	one.signal(syscall.SIGCONT)
	f.await("it starts anew", func() bool { return f.idle("one").ID != before.ID })
	f.await("the end of what it ran", func() bool { return len(living(filepath.Join(one.dir, "work"))) == 0 })
	for _, was := range []api.Build{ends, stays} {
		is := f.see(was.ID)
		was.Rev, is.Rev = 0, 0 // what there is to do afterwards may just have been done
		require.Equal(t, was, is)
		require.Equal(t, "new\n", f.wrote(was.ID, "late", 0))
		require.True(t, strings.HasPrefix(f.wrote(was.ID, "late", 1), "old\n"), "the attempt that was lost keeps what it wrote to itself")
	}
	f.sound()

	// It is as good as new.
	again := f.ended(f.ask("build", map[string]string{"harm": filepath.Join(f.dir, "ends"), "end": end}).ID)
	require.Equal(t, build.Success, again.State)
}

// Whoever tells an agent twice to end does not want to wait for its builds: they are
// given back, for others to run at once.
func TestTwoSignals(t *testing.T) {
	t.Parallel()
	f := newFleet(t, `pipeline(name = "long", steps = [step("long", run = "echo begun; sleep 1000")])`)
	one := f.start("one")
	b := f.ask("long", nil)
	f.await("it runs", func() bool { return f.wrote(b.ID, "long", 0) == "begun\n" })
	one.signal(syscall.SIGTERM)
	f.await("it drains", func() bool { return strings.Contains(one.log.String(), "agent drains") })
	one.signal(syscall.SIGTERM)
	require.NoError(t, one.cmd.Wait())
	require.Contains(t, one.log.String(), "build given back")
	require.Contains(t, one.log.String(), "agent left")
}

var megabytes = flag.Int("flood", 256, "have TestFlood write so many MB at least")

// A step writes as fast as it can until the build beside it has ended. What is
// left out of it is counted to the byte, and takes no memory.
func TestFlood(t *testing.T) {
	f := newFleet(t, `
def _flood(ctx):
    return [step("flood", env = {"CALM": ctx.params.calm, "BLOCK": str(ctx.params.block), "BLOCKS": str(ctx.params.blocks)}, run = """
        echo begin
        total=6 n=0
        until [ -e "$CALM" ] && [ $n -ge $BLOCKS ]; do
            yes 123456789012345678901234567890123456789012345678901234567890123 | head -c $BLOCK
            total=$((total+BLOCK)) n=$((n+1))
        done
        echo end; echo $((total+4)) >"$CALM.total"
        """)]
pipeline(name = "flood", params = {"calm": param.string(), "block": param.int(), "blocks": param.int()}, impl = _flood)
pipeline(name = "calm", steps = [step("calm", run = "echo nothing much")])
`)
	const limit, block = 1 << 20, 64_000_000
	one := f.start("one", "--max-log", strconv.Itoa(limit>>20))
	f.idle("one")
	before := one.peak(t)
	calm := filepath.Join(f.dir, "calm")
	flood := f.ask("flood", map[string]string{"calm": calm, "block": strconv.Itoa(block), "blocks": strconv.Itoa(*megabytes * 1e6 / block)})
	f.await("it writes", func() bool { return len(f.wrote(flood.ID, "flood", 1)) > limit/2 })
	beside := f.ended(f.ask("calm", nil).ID)
	require.Equal(t, build.Success, beside.State)
	require.Equal(t, "nothing much\n", f.wrote(beside.ID, "calm", 0))
	require.Equal(t, build.Running, f.see(flood.ID).State)
	write(t, f.dir, "calm", "")
	for end := time.Now().Add(time.Duration(*megabytes/10) * time.Second); f.see(flood.ID).State == build.Running && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	require.Equal(t, build.Success, f.ended(flood.ID).State)
	text, err := os.ReadFile(calm + ".total")
	require.NoError(t, err)
	total, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	require.NoError(t, err)

	var first, last api.Line
	var kept, cut int64
	gaps := 0
	for from := int64(1); ; {
		page, err := f.Log(t.Context(), string(flood.ID), api.LogQuery{Step: "flood", From: from})
		require.NoError(t, err)
		require.Equal(t, total, page.Bytes)
		for _, line := range page.Lines {
			if line.Cut > 0 {
				gaps++
				cut += line.Cut
				continue
			}
			kept += int64(len(line.Text))
			if !line.Partial {
				kept++
			}
			if first.Number == 0 {
				first = line
			}
			last = line
		}
		if from = page.Next; from > page.Total {
			break
		}
	}
	t.Logf("%d MB: kept %d, left out %d in %d gaps; the agent had %d MiB at most, %d before", total/1e6, kept, cut, gaps, one.peak(t)>>20, before>>20)
	require.Equal(t, "begin", first.Text)
	require.Equal(t, "end", last.Text)
	require.Equal(t, 1, gaps)
	require.Equal(t, total, kept+cut)
	require.Less(t, kept, int64(3*limit))
	if !raceEnabled {
		require.Less(t, one.peak(t)-before, int64(64<<20))
	}
}

// What asks for the same thing again and again is one build, as the forge or the
// program that does may have lost the answer.
func TestOneBuildHoweverOftenItIsAskedFor(t *testing.T) {
	f := newFleet(t, `
pipeline(name = "sync", on = [on.webhook("sync")], steps = [step("say", run = "echo once")])
`)
	dir := filepath.Join(f.dir, "one")
	require.NoError(t, os.Mkdir(dir, 0o700))
	const secret = "0123456789abcdef"
	write(t, dir, "agent.yaml", "projects:\n  shop:\n    webhook: {kind: hmac, secret_file: hook}\n")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "hook"), []byte(secret), 0o600))
	f.start("one")

	// atOnce calls ask n times, side by side, and returns what it was answered.
	atOnce := func(n int, ask func() (build.ID, error)) map[build.ID]int {
		var mu sync.Mutex
		got := map[build.ID]int{}
		var all sync.WaitGroup
		for range n {
			all.Go(func() {
				id, err := ask()
				mu.Lock()
				defer mu.Unlock()
				if err != nil {
					t.Error(err)
				}
				got[id]++
			})
		}
		all.Wait()
		return got
	}

	const text = `{"stock":1}`
	deliver := func() (build.ID, error) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, f.first.url+"/v1/webhooks/shop", strings.NewReader(text))
		if err != nil {
			return "", err
		}
		for name, value := range map[string]string{"Content-Type": "application/json", "X-Piper-Event": "sync", "X-Piper-Delivery": "d1",
			"X-Piper-Signature": webhook.Sign([]byte(secret), "d1", "sync", []byte(text))} {
			r.Header.Set(name, value)
		}
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		var done api.Hooked
		if err := json.NewDecoder(resp.Body).Decode(&done); err != nil {
			return "", err
		}
		if len(done.Builds) != 1 {
			return "", fmt.Errorf("%s: %+v", resp.Status, done)
		}
		return done.Builds[0].ID, nil
	}
	const together, rest = 200, 800
	hooked := atOnce(together, deliver)
	for range rest {
		id, err := deliver()
		require.NoError(t, err)
		hooked[id]++
	}
	require.Len(t, hooked, 1)

	asked := atOnce(500, func() (build.ID, error) {
		b, err := f.CreateBuild(t.Context(), api.BuildRequest{Project: "shop"}, "key")
		return b.ID, err
	})
	require.Len(t, asked, 1)
	require.Len(t, f.builds(), 2)
	for _, b := range f.builds() {
		require.Equal(t, build.Success, f.ended(b.ID).State)
		require.Equal(t, 1, f.see(b.ID).Attempt)
		require.Equal(t, "once\n", f.wrote(b.ID, "say", 0))
	}
	f.sound()
}

// small mounts a file system of so many MiB at dir.
func small(t *testing.T, dir string, mebibytes int) {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o700))
	if err := syscall.Mount("piper-test", dir, "tmpfs", 0, fmt.Sprintf("size=%dm,mode=700", mebibytes)); err != nil {
		t.Skipf("SKIPPED: a full disk takes the right to mount one: %v", err)
	}
	t.Cleanup(func() { require.NoError(t, syscall.Unmount(dir, 0)) })
}

// fill leaves no room in the file system of dir until the function that it returns
// is called.
func fill(t *testing.T, dir string) (relieve func()) {
	t.Helper()
	ballast := filepath.Join(dir, "ballast")
	file, err := os.Create(ballast)
	require.NoError(t, err)
	for block := make([]byte, 64<<10); err == nil; {
		_, err = file.Write(block)
	}
	require.ErrorIs(t, err, syscall.ENOSPC)
	require.NoError(t, file.Close())
	return func() { require.NoError(t, os.Remove(ballast)) }
}

// The disk of the store is full: who asks for a build is told, who reads is
// answered, and the build that runs ends once there is room again, with all that
// it wrote.
func TestTheStoreIsFull(t *testing.T) {
	f := newFleet(t, `
def _talk(ctx):
    return [step("talk", env = {"GO": ctx.params.go}, run = """
        echo begun
        until [ -e "$GO" ]; do sleep 0.05; done
        seq 100000""")]
pipeline(name = "talk", params = {"go": param.string()}, impl = _talk)
`)
	small(t, filepath.Dir(f.store), 24)
	f.start("one")
	b := f.ask("talk", map[string]string{"go": filepath.Join(f.dir, "go")})
	f.await("it begins", func() bool { return f.wrote(b.ID, "talk", 0) == "begun\n" })
	relieve := fill(t, filepath.Dir(f.store))

	// The log that SQLite writes ahead has room for a little more.
	var problem *api.Problem
	f.await("there is no room", func() bool {
		_, err := f.CreateBuild(t.Context(), api.BuildRequest{Project: "shop", Pipeline: "talk", Params: map[string]string{"go": "x"}, Priority: -1}, "")
		return errors.As(err, &problem)
	})
	require.Equal(t, http.StatusInsufficientStorage, problem.Status)
	require.NotContains(t, problem.Error(), f.dir)
	require.Equal(t, build.Running, f.see(b.ID).State, "reading goes on")
	write(t, f.dir, "go", "")
	f.await("it is noticed", func() bool { return strings.Contains(f.first.log.String(), "is full") })
	relieve()
	b = f.ended(b.ID)
	t.Logf("%s at attempt %d: %s", b.State, b.Attempt, b.Reason)
	require.Equal(t, build.Success, b.State, b.Reason)
	require.Equal(t, 100_001, strings.Count(f.wrote(b.ID, "talk", 0), "\n"))
	for _, other := range f.builds() {
		_, err := f.Cancel(t.Context(), string(other.ID), api.CancelRequest{})
		require.NoError(t, err)
	}
	f.sound()
}

// A RethinkDB that has no room left ends, as if it were killed: who asks for a build is
// told, and the build that runs ends once the server is there again, with all that it
// wrote.
func TestTheDatabaseIsFull(t *testing.T) {
	f := newFleet(t, `
def _talk(ctx):
    return [step("talk", env = {"GO": ctx.params.go}, run = """
        echo begun
        until [ -e "$GO" ]; do sleep 0.05; seq 1000; done
        seq 100000""")]
pipeline(name = "talk", params = {"go": param.string()}, impl = _talk)
`)
	disk := filepath.Join(f.dir, "database")
	small(t, disk, 400)
	database := rethinkdbtest.StartIn(t, filepath.Join(disk, "data"))
	url := "rethinkdb://" + database.Host + "/piper"
	address, err := rethinkdb.ParseURL(url)
	require.NoError(t, err)
	require.NoError(t, rethinkdb.Init(t.Context(), address, rethinkdb.Options{}, rethinkdb.Layout{}))
	f.start("one", "--store", url)
	b := f.ask("talk", map[string]string{"go": filepath.Join(f.dir, "go")})
	f.await("it begins", func() bool { return strings.HasPrefix(f.wrote(b.ID, "talk", 0), "begun\n") })
	relieve := fill(t, disk)
	f.await("the server ends", func() bool { return !database.Alive() })
	_, err = f.CreateBuild(t.Context(), api.BuildRequest{Project: "shop", Pipeline: "talk", Params: map[string]string{"go": "x"}}, "again")
	require.True(t, client.Away(err), err)
	write(t, f.dir, "go", "")
	relieve()
	rethinkdbtest.StartAgain(t, database)
	f.await("the build ends", func() bool { // a server that has just started answers now and then
		now, err := f.Build(t.Context(), string(b.ID))
		b.State, b.Reason, b.Attempt = now.State, now.Reason, now.Attempt
		return err == nil && ended(b.State)
	})
	require.Equal(t, build.Success, b.State, b.Reason)
	require.Equal(t, 1, b.Attempt)
	lines := strings.Split(strings.TrimSuffix(f.wrote(b.ID, "talk", 0), "\n"), "\n")
	require.Equal(t, "begun", lines[0])
	require.Equal(t, 1, (len(lines)-100_000)%1000, "each line is there once")
	for i, line := range lines[1:] {
		if rounds := (len(lines) - 1 - 100_000); i < rounds {
			i %= 1000
		} else {
			i -= rounds
		}
		require.Equal(t, strconv.Itoa(i+1), line)
	}
	out, err := exec.Command("piper", "fsck", "--store", url).CombinedOutput()
	require.NoError(t, err, "%s", out)
}

// Another process keeps the file of the store locked, longer than a write waits
// for it: the agent says so, the step runs on, and nothing is lost.
func TestTheStoreIsLocked(t *testing.T) {
	t.Parallel()
	f := newFleet(t, `
def _talk(ctx):
    return [step("talk", env = {"GO": ctx.params.go}, run = """
        echo begun
        until [ -e "$GO" ]; do sleep 0.05; done
        seq 100000; : >"$GO.said" """)]
pipeline(name = "talk", params = {"go": param.string()}, impl = _talk)
`)
	one := f.start("one")
	b := f.ask("talk", map[string]string{"go": filepath.Join(f.dir, "go")})
	f.await("it begins", func() bool { return f.wrote(b.ID, "talk", 0) == "begun\n" })
	db, err := sql.Open("sqlite", f.store)
	require.NoError(t, err)
	defer db.Close()
	other, err := db.Conn(t.Context())
	require.NoError(t, err)
	f.await("the file is free", func() bool {
		_, err := other.ExecContext(t.Context(), "BEGIN IMMEDIATE")
		return err == nil
	})
	write(t, f.dir, "go", "")
	f.await("the step ends", func() bool { return exists(filepath.Join(f.dir, "go.said")) })
	f.await("the agent says so", func() bool {
		return strings.Contains(one.log.String(), "another process keeps the file locked")
	})
	require.Equal(t, build.Running, f.see(b.ID).State, "what is there can be read")
	require.Equal(t, "begun\n", f.wrote(b.ID, "talk", 0))
	_, err = other.ExecContext(t.Context(), "ROLLBACK")
	require.NoError(t, err)
	b = f.ended(b.ID)
	require.Equal(t, build.Success, b.State, b.Reason)
	require.Equal(t, 1, b.Attempt)
	require.Equal(t, 100_001, strings.Count(f.wrote(b.ID, "talk", 0), "\n"))
	f.sound()
}

// A step fills the disk of its agent, which takes no other build meanwhile. Before
// nothing is left that build is ended, and the one beside it goes on.
func TestTheDiskIsFull(t *testing.T) {
	f := newFleet(t, `
def _fill(ctx):
    return [step("fill", env = {"GO": ctx.params.go}, run = """
        head -c 100M /dev/zero >large
        echo filled
        until [ -e "$GO" ]; do sleep 0.05; done
        cat /dev/zero >larger || :
        sleep 1000""")]
def _beside(ctx):
    return [step("beside", env = {"GO": ctx.params.go}, run = """
        echo begun
        until [ -e "$GO" ]; do sleep 0.05; done
        head -c 1M /dev/zero >little""")]
pipeline(name = "fill", params = {"go": param.string()}, impl = _fill)
pipeline(name = "beside", params = {"go": param.string()}, impl = _beside)
pipeline(name = "small", steps = [step("small", run = "echo small")])
`)
	small(t, filepath.Join(f.dir, "one"), 1024+64) // where 1 GiB is to be free
	one := f.start("one", "--slots", "3", "--keep-failed")
	beside := f.ask("beside", map[string]string{"go": filepath.Join(f.dir, "over")})
	f.await("it runs", func() bool { return f.wrote(beside.ID, "beside", 0) == "begun\n" })
	b := f.ask("fill", map[string]string{"go": filepath.Join(f.dir, "go")})
	f.await("it fills the disk", func() bool { return f.wrote(b.ID, "fill", 0) == "filled\n" })
	next := f.ask("small", nil)
	f.await("the agent says why it takes none", func() bool { return strings.Contains(one.log.String(), "the disk is full") })
	require.Equal(t, build.Queued, f.see(next.ID).State)
	write(t, f.dir, "go", "")
	b = f.ended(b.ID)
	require.Equal(t, build.Failed, b.State)
	require.Contains(t, b.Reason, "the disk of agent one is full: its workspace held ")
	require.Equal(t, 1, b.Attempt)
	require.Equal(t, "filled\n", strings.SplitAfter(f.wrote(b.ID, "fill", 0), "\n")[0])
	require.Equal(t, build.Success, f.ended(next.ID).State)
	work := filepath.Join(one.dir, "work", fmt.Sprintf("%s-1", b.ID))
	f.await("its workspace is gone", func() bool { return !exists(work) })
	require.NoDirExists(t, filepath.Join(one.dir, "kept", filepath.Base(work)))
	require.Contains(t, one.log.String(), "workspace not kept")
	require.Empty(t, living(work))
	write(t, f.dir, "over", "")
	beside = f.ended(beside.ID)
	require.Equal(t, build.Success, beside.State, beside.Reason)
	f.sound()
}

// A step plants what git and shells would run, and makes links of its workspace.
// The next build obeys nothing of it, has a directory of its own, and nothing is
// left of either.
func TestWhatAStepPlants(t *testing.T) {
	t.Parallel()
	f := newFleet(t, `
pipeline(name = "plant", steps = [step("plant", run = """
    : >planted
    mkdir $HOME/hooks
    for hook in post-checkout reference-transaction post-index-change; do
        printf '#!/bin/sh\\n: >$HOME/ran\\n' >$HOME/hooks/$hook
    done
    chmod +x $HOME/hooks/*
    git config --global core.hooksPath $HOME/hooks
    git config --global core.fsmonitor ': >$HOME/ran; false'
    for rc in .profile .bashrc .shrc; do echo ': >$HOME/ran' >$HOME/$rc; done
    rm -rf .git; ln -s / .git
    mkdir ../elsewhere; mv "$PIPER_WORKSPACE" ../elsewhere; ln -s $HOME/hooks "$PIPER_WORKSPACE"
    """)])
pipeline(name = "next", steps = [step("next", run = "[ ! -e planted ]; [ -d .git ]; cat new")])
`)
	one := f.start("one")
	b := f.ended(f.ask("plant", nil).ID)
	require.Equal(t, build.Success, b.State, f.wrote(b.ID, "plant", 0))
	require.FileExists(t, filepath.Join(one.dir, ".gitconfig"))
	f.repo.write(f.repo.dir, "new", "text\n")
	f.repo.commit("two")
	b = f.ended(f.ask("next", nil).ID)
	require.Equal(t, build.Success, b.State, f.wrote(b.ID, "next", 0))
	require.Equal(t, "text\n", f.wrote(b.ID, "next", 0))
	require.NoFileExists(t, filepath.Join(one.dir, "ran"))
	require.FileExists(t, filepath.Join(one.dir, "hooks", "post-checkout"), "a link is not followed")
	f.await("nothing is left of either", func() bool {
		left, err := filepath.Glob(filepath.Join(one.dir, "work", "*-1"))
		require.NoError(t, err)
		return len(left) == 0
	})
}

// A step keeps every core busy for longer than the lease of its agent, which goes
// on saying that it lives.
func TestEveryCoreIsBusy(t *testing.T) {
	f := newFleet(t, `
def _spin(ctx):
    return [step("spin", env = {"GO": ctx.params.go}, run = """
        for i in $(seq $((4*$(nproc)))); do while :; do :; done & done
        until [ -e "$GO" ]; do sleep 0.05; done""")]
pipeline(name = "spin", params = {"go": param.string()}, impl = _spin)
`)
	one, two := f.start("one", quick...), f.start("two", quick...)
	b := f.ask("spin", map[string]string{"go": filepath.Join(f.dir, "go")})
	f.await("it runs", func() bool { return f.see(b.ID).State == build.Running })
	begun := f.idle("one").Seen
	f.await("they go on", func() bool {
		return f.idle("one").Seen.Sub(begun) > 6*time.Second && f.idle("two").Seen.Sub(begun) > 6*time.Second
	})
	write(t, f.dir, "go", "")
	b = f.ended(b.ID)
	require.Equal(t, build.Success, b.State, b.Reason)
	require.Equal(t, 1, b.Attempt)
	require.NotContains(t, one.log.String()+two.log.String(), "is thought dead")
	f.sound()
}

// A hundred clients follow a step that writes much, and never read: the build
// goes on, and the agent holds little for each.
func TestManyWhoFollowAndDoNotRead(t *testing.T) {
	size := "64M"
	if raceEnabled {
		size = "4M"
	}
	f := newFleet(t, strings.Replace(`
def _talk(ctx):
    return [step("talk", env = {"GO": ctx.params.go}, run = """
        echo begun
        until [ -e "$GO" ]; do sleep 0.05; done
        yes 123456789012345678901234567890123456789012345678901234567890123 | head -c SIZE""")]
pipeline(name = "talk", params = {"go": param.string()}, impl = _talk)
`, "SIZE", size, 1))
	one := f.start("one")
	b := f.ask("talk", map[string]string{"go": filepath.Join(f.dir, "go")})
	f.await("it begins", func() bool { return f.wrote(b.ID, "talk", 0) == "begun\n" })
	const clients = 100
	for range clients {
		c, err := net.Dial("tcp", strings.TrimPrefix(one.url, "http://"))
		require.NoError(t, err)
		defer c.Close()
		fmt.Fprintf(c, "GET /v1/builds/%s/log?step=talk&follow=true HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n\r\n", b.ID, strings.TrimPrefix(one.url, "http://"), f.Token)
		line := make([]byte, len("HTTP/1.1 200 OK"))
		_, err = io.ReadFull(c, line)
		require.NoError(t, err)
		require.Equal(t, "HTTP/1.1 200 OK", string(line))
	}
	before := one.status(t, "VmRSS:")
	write(t, f.dir, "go", "")
	b = f.ended(b.ID)
	require.Equal(t, build.Success, b.State, b.Reason)
	t.Logf("%d KiB before; %d KiB after, %d KiB at most", before>>10, one.status(t, "VmRSS:")>>10, one.peak(t)>>10)
	if !raceEnabled {
		require.Less(t, one.peak(t)-before, int64(128<<20))
	}
	f.sound()
}
