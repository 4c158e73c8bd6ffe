package progress

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
)

func TestOutcome(t *testing.T) {
	zero, one := 0, 1
	step := plan.Node{Name: "a", Step: &plan.Step{}}
	retry := plan.Node{Name: "a", Step: &plan.Step{Retry: &plan.Retry{Attempts: 3}}}
	lax := plan.Node{Name: "a", Step: &plan.Step{}, More: &plan.More{AllowFailure: "it is new"}}
	approve := plan.Node{Name: "a", More: &plan.More{Approve: &plan.Approve{}}}
	trigger := plan.Node{Name: "a", More: &plan.More{Trigger: &plan.Trigger{Pipeline: "b"}}}
	for _, test := range []struct {
		node  plan.Node
		ev    build.Event
		again string
		sign  sign
		text  string
	}{
		{step, build.Event{State: build.Success, Exit: &zero}, "", passed, "ok in 1.5s"},
		{step, build.Event{State: build.Failed, Exit: &one}, "", failed, "failed in 1.5s: exit 1"},
		{step, build.Event{State: build.Failed, Signal: "killed"}, "", failed, "failed in 1.5s: signal killed"},
		{step, build.Event{State: build.Failed, Reason: "secret \"x\" is\nmissing\x1b[2J"}, "", failed, `failed in 1.5s: secret "x" is missing\x1b[2J`},
		{step, build.Event{State: build.Failed, Exit: &one, Reason: "output \"v\" is not UTF-8"}, "", failed, `failed in 1.5s: exit 1: output "v" is not UTF-8`},
		{step, build.Event{State: build.Failed, Infra: true, Reason: "disk full"}, "", failed, "failed in 1.5s: the machine failed: disk full"},
		{step, build.Event{State: build.TimedOut}, "", failed, "timed out after 1.5s"},
		{step, build.Event{State: build.TimedOut, Signal: "killed", Reason: "timed out after 1s; killed"}, "", failed, "timed out after 1s; killed"},
		{step, build.Event{State: build.Cancelled, Signal: "interrupt"}, "", skipped, "cancelled after 1.5s: signal interrupt"},
		{lax, build.Event{State: build.Failed, Exit: &one}, "", allowed, "failed in 1.5s: exit 1 (allowed: it is new)"},
		{lax, build.Event{State: build.TimedOut}, "", allowed, "timed out after 1.5s (allowed: it is new)"},
		{lax, build.Event{State: build.Success}, "", passed, "ok in 1.5s"},
		{retry, build.Event{State: build.Failed, Attempt: 1, Exit: &one}, "attempt 2 of 3 in 4s", retried, "failed in 1.5s: exit 1; attempt 2 of 3 in 4s"},
		{retry, build.Event{State: build.Failed, Attempt: 3, Exit: &one}, "", failed, "failed in 1.5s: exit 1 (attempt 3 of 3)"},
		{approve, build.Event{State: build.Success, By: "ann"}, "", passed, "approved by ann after 1.5s"},
		{approve, build.Event{State: build.Success}, "", passed, "approved after 1.5s"},
		{approve, build.Event{State: build.Failed, By: "bob", Reason: "not on a Friday"}, "", failed, "refused by bob after 1.5s: not on a Friday"},
		{trigger, build.Event{State: build.Success, Reason: "no build was triggered"}, "", passed, "ok in 1.5s: no build was triggered"},
	} {
		t.Run(test.text, func(t *testing.T) {
			sign, text := outcome(&test.node, test.ev, 1500*time.Millisecond, test.again)
			require.Equal(t, test.sign, sign)
			require.Equal(t, test.text, text)
		})
	}
}

// Each sign is told apart without colours.
func TestSigns(t *testing.T) {
	seen := map[string]bool{}
	for s := started; s <= alive; s++ {
		require.False(t, seen[s.symbol()], s.symbol())
		seen[s.symbol()] = true
		require.Equal(t, 1, columns(s.symbol()))
		require.NotEqual(t, bar, s.symbol(), "output has it")
	}
}

// A retry is told from an end by where the node stands, even when the build is
// some events further.
func TestAgain(t *testing.T) {
	node := plan.Node{Step: &plan.Step{Retry: &plan.Retry{Attempts: 3}}}
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	ev := build.Event{Time: now, Attempt: 1}
	for want, step := range map[string]build.Step{
		"":                       {State: build.Failed, Attempt: 1},
		"attempt 2 of 3 in 5s":   {State: build.Waiting, Attempt: 1, NotBefore: now.Add(5 * time.Second)},
		"attempt 2 of 3 follows": {State: build.Waiting, Attempt: 1, NotBefore: now},
	} {
		require.Equal(t, want, again(&node, ev, step))
	}
	require.Equal(t, "attempt 2 of 3 follows", again(&node, ev, build.Step{State: build.Running, Attempt: 2}))
	require.Equal(t, "attempt 2 of 3 follows", again(&node, ev, build.Step{State: build.Success, Attempt: 2}))
}

func TestNumbers(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-time.Second:                       "0s",
		0:                                  "0s",
		1499 * time.Microsecond:            "1ms",
		999 * time.Millisecond:             "999ms",
		1234 * time.Millisecond:            "1.2s",
		59 * time.Second:                   "59s",
		130*time.Second + time.Millisecond: "2m10s",
		2*time.Hour + 3*time.Minute:        "2h3m0s",
	} {
		require.Equal(t, want, short(d))
	}
	for d, want := range map[time.Duration]string{
		-time.Second: "0:00", 7 * time.Second: "0:07", 130 * time.Second: "2:10", time.Hour + 2*time.Second: "1:00:02",
	} {
		require.Equal(t, want, clock(d))
	}
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		require.Equal(t, want, count(n))
	}
}

func TestClean(t *testing.T) {
	for s, want := range map[string]string{
		"build/linux-amd64": "build/linux-amd64",
		"größe 日本":          "größe 日本",
		"a\nb\tc\r":         `a b c\r`,
		"\x1b]0;pwn\a":      `\x1b]0;pwn\a`,
		"a\u202eb\u200bc":   `a\u202eb\u200bc`,
		"\xff\u009b":        `\xff\u009b`,
		"\uFFFD":            "\uFFFD",
	} {
		require.Equal(t, want, clean(s))
	}
}

// Data and properties of workflow commands are escaped as the runner reads
// them back.
func TestAnnotation(t *testing.T) {
	d := newGitHub(Options{})
	n := note{node: &plan.Node{Name: "a,b:c", Pos: plan.Pos{File: "ci/x:y,100%.star", Line: 7}}, text: "failed: 50%\r\n::warning::x"}
	require.Equal(t, "::error file=ci/x%3Ay%2C100%25.star,line=7,title=a%2Cb%3Ac::a,b:c failed: 50%25%0D%0A::warning::x", d.annotation("error", n))
	n.node.Pos = plan.Pos{}
	require.Equal(t, "::error title=a%2Cb%3Ac::a,b:c failed: 50%25%0D%0A::warning::x", d.annotation("error", n))
	require.NotEqual(t, newGitHub(Options{}).token, d.token, "nobody can guess it")
	require.Equal(t, "- a ## [error]x", d.say(note{sign: skipped, node: &plan.Node{Name: "a"}, text: "##[error]x"}))
}

func TestETA(t *testing.T) {
	step := func(name, group string, needs ...string) plan.Node {
		return plan.Node{Name: name, Group: group, Needs: needs, Step: &plan.Step{}}
	}
	// a and b are in the group g, c waits for g, d for nobody, e for c.
	p := &plan.Plan{
		Groups: []plan.Group{{Name: "outer"}, {Name: "g", Group: "outer"}},
		Nodes: []plan.Node{
			step("a", "g"), step("b", "g"), step("c", "", "outer"), step("d", ""), step("e", "", "c"),
			{Name: "ask", More: &plan.More{Approve: &plan.Approve{}}},
		},
	}
	const s = time.Second
	history := map[string]time.Duration{"a": 10 * s, "b": 20 * s, "c": 5 * s, "d": 5 * s}
	now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

	e := newETA(p, history)
	require.True(t, e.known)
	require.Equal(t, 10*s, e.average, "e is taken for an average step")
	require.Equal(t, 50*s, e.work)
	require.Equal(t, 15*s, e.after["a"])
	require.Equal(t, 15*s, e.after["b"])
	require.Equal(t, 10*s, e.after["c"])
	require.Zero(t, e.after["d"])

	start := func(i int) *attempt {
		e.fold(build.Event{Kind: build.AttemptStarted}, note{node: &p.Nodes[i]})
		return &attempt{node: &p.Nodes[i], began: now}
	}
	left := func(after time.Duration, running ...*attempt) any {
		d, ok := e.left(running, now.Add(after))
		if !ok {
			return "unknown"
		}
		return d
	}
	a := start(0)
	require.Equal(t, 50*s, left(0, a), "one at a time: all the work")
	b := start(1)
	require.Equal(t, 35*s, left(0, a, b), "two at a time: the longest path")
	require.Equal(t, 25*s, left(10*s, a, b))
	require.Equal(t, 15*s, left(time.Minute, a, b), "a step that is late is expected to end any moment")
	e.fold(build.Event{Kind: build.AttemptEnded}, note{node: &p.Nodes[0], sign: passed})
	require.Equal(t, 35*s, left(0, b))
	e.fold(build.Event{Kind: build.AttemptEnded}, note{node: &p.Nodes[1], sign: retried})
	require.Equal(t, 40*s, e.work, "a retry leaves the work to do")
	for _, i := range []int{1, 2, 3} {
		e.fold(build.Event{Kind: build.NodeSkipped}, note{node: &p.Nodes[i]})
	}
	last := start(4)
	require.Equal(t, "unknown", left(10*s, last), "later than ever")
	require.Equal(t, "unknown", left(0, last, start(5)), "a person takes as long as it takes")

	few := newETA(p, map[string]time.Duration{"a": s, "b": s})
	require.False(t, few.known)
	none := newETA(p, nil)
	require.False(t, none.known)
	_, ok := none.left(nil, now)
	require.False(t, ok)
}
