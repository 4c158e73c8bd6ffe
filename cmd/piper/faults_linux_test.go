package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/runtime/build"
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

	one.signal(syscall.SIGSTOP)
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

// A step writes as fast as it can until the build beside it has ended. What is
// left out of it is counted to the byte, and takes no memory.
func TestFlood(t *testing.T) {
	f := newFleet(t, `
def _flood(ctx):
    return [step("flood", env = {"CALM": ctx.params.calm, "BLOCK": str(ctx.params.block)}, run = """
        echo begin
        total=6 n=0
        until [ -e "$CALM" ] && [ $n -ge 4 ]; do
            yes 123456789012345678901234567890123456789012345678901234567890123 | head -c $BLOCK
            total=$((total+BLOCK)) n=$((n+1))
        done
        echo end; echo $((total+4)) >"$CALM.total"
        """)]
pipeline(name = "flood", params = {"calm": param.string(), "block": param.int()}, impl = _flood)
pipeline(name = "calm", steps = [step("calm", run = "echo nothing much")])
`)
	const limit, block = 1 << 20, 64_000_000
	one := f.start("one", "--max-log", strconv.Itoa(limit>>20))
	f.idle("one")
	before := one.peak(t)
	calm := filepath.Join(f.dir, "calm")
	flood := f.ask("flood", map[string]string{"calm": calm, "block": strconv.Itoa(block)})
	f.await("it writes", func() bool { return len(f.wrote(flood.ID, "flood", 1)) > limit/2 })
	beside := f.ended(f.ask("calm", nil).ID)
	require.Equal(t, build.Success, beside.State)
	require.Equal(t, "nothing much\n", f.wrote(beside.ID, "calm", 0))
	require.Equal(t, build.Running, f.see(flood.ID).State)
	write(t, f.dir, "calm", "")
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
