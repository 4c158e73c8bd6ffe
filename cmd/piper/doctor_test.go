package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/placement"
	"github.com/piper-build/piper/runtime/store"
)

// lines are findings without what they hint at.
func lines(found ...finding) (all []string) {
	for _, f := range found {
		all = append(all, f.Level+" "+f.Check+" "+f.Message)
	}
	return all
}

func TestDoctorMachine(t *testing.T) {
	for _, test := range []struct {
		finding
		level, message string
	}{
		{gitFinding("", false), "error", "git is not installed"},
		{gitFinding("", true), "warning", "does not tell"},
		{gitFinding("2.9.5", true), "error", "2.30 is the least"},
		{gitFinding("2.30", true), "warning", "git is 2.30, which"},
		{gitFinding("2.36.9", true), "warning", "git is 2.36.9, which"},
		{gitFinding("2.37.0", true), "ok", "git is 2.37.0"},
		{gitFinding("2.100", true), "ok", "git is 2.100"},
		{diskFinding(1<<30-1, 10<<30), "error", "no build is claimed: 1023 of 10240 MiB are free"},
		{diskFinding(4<<30, 100<<30), "error", "no build is claimed"},
		{diskFinding(5<<30, 100<<30), "ok", "5120 of 102400 MiB are free"},
		{versionFinding("http://ci", "1.2.0", "1.2.0"), "ok", "http://ci is piper 1.2.0, as this is"},
		{versionFinding("http://ci", "1.1.0", "1.2.0"), "warning", "http://ci is piper 1.1.0, and this is 1.2.0"},
	} {
		require.Equal(t, test.level, test.Level, "%s", test.finding)
		require.Contains(t, test.Message, test.message)
		require.Equal(t, test.Level != "ok", test.Hint != "", "what is not in order says what to do: %s", test.finding)
	}

	socket := filepath.Join(t.TempDir(), "docker.sock")
	for i, level := range []string{"ok", "warning"} {
		if i == 1 {
			require.NoError(t, os.WriteFile(socket, nil, 0o600))
		}
		var found []finding
		d := &doctor{app: &app{environ: []string{"PATH="}}, sockets: []string{socket}, tell: func(f finding) { found = append(found, f) }}
		d.machine(t.Context())
		require.Equal(t, []string{"error", "ok", level}, []string{found[0].Level, found[1].Level, found[2].Level}, "%v", found)
	}
}

func TestDoctorDirectory(t *testing.T) {
	for name, test := range map[string]struct {
		dir, token, operator os.FileMode // 0 is not there
		text                 string
		want                 []string // without ok
	}{
		"in order":            {0o700, 0o600, 0o600, "environ: [CI]\n", nil},
		"no more than it":     {0o700, 0, 0, "", nil},
		"looked into":         {0o750, 0o600, 0, "", []string{"warning data-dir others may look into DIR (mode 0750)"}},
		"changed":             {0o770, 0o600, 0, "", []string{"error data-dir others may change what is in DIR (mode 0770)"}},
		"a token for all":     {0o700, 0o644, 0, "", []string{"error token DIR/token can be read or written by others (mode 0644)"}},
		"agent.yaml for all":  {0o700, 0, 0o644, "environ: [CI]\n", []string{"warning agent.yaml DIR/agent.yaml can be read by others (mode 0644)"}},
		"agent.yaml of all":   {0o700, 0, 0o666, "environ: [CI]\n", []string{"error agent.yaml DIR/agent.yaml:1: DIR/agent.yaml can be written by others (mode 0666)"}},
		"agent.yaml is wrong": {0o700, 0, 0o600, "environs: [CI]\n", []string{`error agent.yaml DIR/agent.yaml:1: unknown key "environs"`}},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "a")
			make := func(name, text string, mode os.FileMode) {
				if mode != 0 {
					require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
					require.NoError(t, os.Chmod(filepath.Join(dir, name), mode))
				}
			}
			require.NoError(t, os.Mkdir(dir, 0o700))
			make("token", "x", test.token)
			make("agent.yaml", test.text, test.operator)
			require.NoError(t, os.Chmod(dir, test.dir))
			var found []finding
			d := &doctor{app: &app{}, dir: dir, tell: func(f finding) {
				if f.Level != "ok" && f.Check != "disk" {
					require.NotEmpty(t, f.Hint, f)
					found = append(found, f)
				}
			}}
			d.directory(true)
			for i := range test.want {
				test.want[i] = strings.ReplaceAll(test.want[i], "DIR", dir)
			}
			require.Equal(t, test.want, lines(found...))
		})
	}
}

func TestDoctorAgents(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	agent := func(name string, age time.Duration, change ...func(*api.Agent)) api.Agent {
		a := api.Agent{ID: store.AgentID("id-" + name), Name: name, Host: name + ".example", Version: "1.2.0", Seen: now.Add(-age), Slots: 2, Free: 1}
		for _, c := range change {
			c(&a)
		}
		return a
	}
	called := func(name string) func(*api.Agent) { return func(a *api.Agent) { a.Name = name } }
	version := func(v string) func(*api.Agent) { return func(a *api.Agent) { a.Version = v } }
	draining := func(a *api.Agent) { a.Draining, a.Free = true, 0 }
	ending := func(a *api.Agent) { a.Ending = true }
	busy := func(a *api.Agent) { a.Running = []api.BuildRef{{Number: 1}} }
	stuck := func(a *api.Agent) { a.Slots, a.Free, a.Facts = 1, 1, map[string]string{"unkillable": "dd (7)"} }
	slotless := func(a *api.Agent) { a.Slots, a.Free = 0, 0 }
	earlier := func(a api.Agent) api.Agent { a.Seen = a.Seen.Add(-time.Second); return a }
	same := func(a api.Agent) api.Agent { return a }

	for name, test := range map[string]struct {
		before func(api.Agent) api.Agent // what was heard of it first
		agents []api.Agent
		want   []string
	}{
		"none":            {same, nil, []string{"warning agents there is no agent"}},
		"in order":        {same, []api.Agent{agent("a", time.Second), agent("b", 0)}, []string{"ok agents 2 agents at work, with 2 of 4 slots free"}},
		"silent":          {same, []api.Agent{agent("a", time.Hour)}, []string{"warning agents a on a.example has not been heard of for 1h0m0s"}},
		"silent, ahead":   {same, []api.Agent{agent("a", -time.Hour)}, []string{"warning agents a on a.example is not heard of, and was last by a clock that is 1h0m0s ahead"}},
		"late":            {earlier, []api.Agent{agent("a", 40*time.Second)}, []string{"ok agents 1 agent at work, with 1 of 2 slots free"}},
		"its clock":       {earlier, []api.Agent{agent("a", time.Hour)}, []string{"warning clocks the clock of a.example is 1h0m0s behind that of this machine", "ok agents 1 agent at work, with 1 of 2 slots free"}},
		"its clock ahead": {earlier, []api.Agent{agent("a", -2*time.Minute)}, []string{"warning clocks the clock of a.example is 2m0s ahead of that of this machine", "ok agents 1 agent at work, with 1 of 2 slots free"}},
		"one name":        {same, []api.Agent{agent("a", 0), agent("b", 0, called("a"))}, []string{"warning agents 2 agents are called a, on a.example, b.example", "ok agents 2 agents at work, with 2 of 4 slots free"}},
		"the dead have no name": {same, []api.Agent{agent("a", 0), agent("b", time.Hour, called("a"), version("0.9.0"))},
			[]string{"warning agents a on b.example has not been heard of for 1h0m0s", "ok agents 1 agent at work, with 1 of 2 slots free"}},
		"versions": {same, []api.Agent{agent("a", 0, version("1.10.0")), agent("b", 0, version("1.9.0")), agent("c", 0, version("1.10.0"))},
			[]string{"warning agents agents have different versions: 1.9.0 (b), 1.10.0 (a, c)", "ok agents 3 agents at work, with 3 of 6 slots free"}},
		"drained":  {same, []api.Agent{agent("a", 0, draining)}, []string{"warning agents a on a.example is draining, and runs nothing any more", "ok agents 1 agent at work, with 0 of 2 slots free"}},
		"draining": {same, []api.Agent{agent("a", 0, draining, busy)}, []string{"ok agents 1 agent at work, with 0 of 2 slots free"}},
		"ending":   {same, []api.Agent{agent("a", 0, draining, ending)}, []string{"ok agents 1 agent at work, with 0 of 2 slots free"}},
		"stuck":    {same, []api.Agent{agent("a", 0, stuck)}, []string{"warning agents a on a.example holds slots back as what builds left cannot be killed: dd (7)", "ok agents 1 agent at work, with 1 of 1 slot free"}},
		"slotless": {same, []api.Agent{agent("a", 0, slotless)}, []string{"warning agents a on a.example has no slots", "ok agents 1 agent at work, with 0 of 0 slots free"}},
	} {
		t.Run(name, func(t *testing.T) {
			var before []api.Agent
			for _, a := range test.agents {
				before = append(before, test.before(a))
			}
			found, _ := agentFindings(before, test.agents, now, placement.Lease)
			require.Equal(t, test.want, lines(found...))
		})
	}
	a := []api.Agent{agent("a", time.Hour)}
	require.True(t, doubtful(a, a, now, placement.Lease))
	require.False(t, doubtful([]api.Agent{earlier(a[0])}, a, now, placement.Lease), "it was heard of")
	require.False(t, doubtful(nil, []api.Agent{agent("a", 0)}, now, placement.Lease))
}

func TestDoctorBuilds(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	b := api.Build{Number: 7, Project: "shop", Created: now.Add(-3 * time.Hour)}
	why := func(able bool) api.Why {
		return api.Why{Why: placement.Why{Summary: "no eligible agent", Agents: []placement.Candidate{{ID: "a", Eligible: able}}}}
	}
	alive := map[store.AgentID]bool{"a": true}
	_, stuck := queueFinding(b, why(true), alive, now)
	require.False(t, stuck)
	f, stuck := queueFinding(b, why(false), alive, now)
	require.True(t, stuck)
	require.Equal(t, []string{"warning queue build 7 of shop has waited for 3h0m0s: no eligible agent"}, lines(f))
	f, stuck = queueFinding(b, why(true), nil, now)
	require.True(t, stuck)
	require.Equal(t, []string{"warning queue build 7 of shop has waited for 3h0m0s: no agent that could run it is at work"}, lines(f))

	ended := func(number int64, age time.Duration) store.Build {
		return store.Build{Number: number, State: build.Success, Ended: now.Add(-age), Pending: []store.Chore{{Verb: store.Release, Target: "shop/deploy"}}}
	}
	running := store.Build{Number: 1, State: build.Running, Pending: []store.Chore{{Verb: store.EnqueueChild}}}
	require.Equal(t, "ok", choreFinding([]store.Build{running, ended(2, time.Minute)}, now).Level)
	require.Equal(t, []string{"warning chores something is to be done since more than 10m0s about build 2 (release shop/deploy)"},
		lines(choreFinding([]store.Build{running, ended(2, time.Hour), ended(3, time.Minute)}, now)))
	many := choreFinding([]store.Build{ended(2, time.Hour), ended(3, time.Hour), ended(4, time.Hour), ended(5, time.Hour)}, now)
	require.Contains(t, many.Message, "build 4 (release shop/deploy) and 1 more")

	g := store.Group{Key: "shop/deploy", Holder: "h", Queue: []store.Waiter{{Number: 9, Build: "w"}}}
	for _, test := range []struct {
		holder store.Build
		there  bool
		want   string
	}{
		{running, true, ""},
		{ended(2, time.Minute), true, ""},
		{ended(2, time.Hour), true, "warning groups build 9 waits for shop/deploy, which build 2 holds and has ended 1h0m0s ago"},
		{store.Build{}, false, "error groups build 9 waits for shop/deploy, which build h holds, and there is no such build"},
	} {
		f, wrong := groupFinding(g, test.holder, test.there, now)
		require.Equal(t, test.want != "", wrong)
		if wrong {
			require.Equal(t, []string{test.want}, lines(f))
		}
	}
}

// What a store says is found in it: a build that waited, a chore that was left and a
// group whose holder is not there.
func TestDoctorStore(t *testing.T) {
	ctx := t.Context()
	s := store.NewMemory()
	long := time.Now().Add(-2 * time.Hour)
	waits := store.NewBuild("waits", 1, store.Request{Project: "shop"}, long)
	ended := store.NewBuild("ended", 2, store.Request{Project: "shop"}, long)
	ended.Rev, ended.State, ended.Ended, ended.Pending = 1, build.Failed, long, []store.Chore{{Verb: store.StartAfter}}
	for _, b := range []store.Build{waits, ended} {
		_, err := s.Enqueue(ctx, b)
		require.NoError(t, err)
	}
	for _, b := range []store.Waiter{{Number: 3, Build: "gone"}, {Number: 1, Build: "waits"}} {
		_, err := s.ChangeGroup(ctx, "shop/deploy", store.Acquire{Waiter: b})
		require.NoError(t, err)
	}
	var found []finding
	d := &doctor{app: &app{}, lease: placement.Lease, tell: func(f finding) { found = append(found, f) }}
	d.agents(ctx, d.served(s))
	d.leftovers(ctx, s)
	seen := map[string]string{}
	for _, f := range found {
		seen[f.Check] = f.Level + " " + f.Message
	}
	require.Equal(t, "warning there is no agent", seen["agents"])
	require.Regexp(t, `^warning build 1 of shop has waited for 2h0m\ds: there is no agent`, seen["queue"])
	require.Equal(t, "warning something is to be done since more than 10m0s about build 2 (after)", seen["chores"])
	require.Equal(t, "error build 1 waits for shop/deploy, which build gone holds, and there is no such build", seen["groups"])
}
