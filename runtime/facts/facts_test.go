package facts_test

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	goruntime "runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/piper-build/piper/runtime/facts"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/process"
)

// bench is a PATH of scripts.
func bench(t *testing.T, scripts map[string]string) *facts.Machine {
	dir := t.TempDir()
	for name, script := range scripts {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"+script), 0o755))
	}
	return &facts.Machine{Environ: []string{"PATH=/nonexistent:relative:" + dir, "SECRET=hush"}}
}

func TestThisMachine(t *testing.T) {
	var m facts.Machine
	get := func(key string) string {
		value, ok, err := m.Get(t.Context(), key)
		require.NoError(t, err)
		require.Equal(t, value != "", ok)
		return value
	}
	require.Equal(t, goruntime.GOOS, get("os"))
	require.Equal(t, goruntime.GOARCH, get("arch"))
	require.Regexp(t, `^[0-9]+\.`, get("kernel"))
	require.NotEmpty(t, get("virtual"))
	host, err := os.Hostname()
	require.NoError(t, err)
	require.Equal(t, host, get("hostname"))
	cpus, err := strconv.Atoi(get("cpus"))
	require.NoError(t, err)
	require.Positive(t, cpus)
	require.LessOrEqual(t, cpus, goruntime.NumCPU())
	memory, err := strconv.ParseUint(get("memory"), 10, 64)
	require.NoError(t, err)
	require.Greater(t, memory, uint64(16<<20))
	for _, key := range []string{"", "colour", "tools.", "tools.nobody-has-this", "tools./bin/sh", "tools...", "tool.sh"} {
		require.Empty(t, get(key), key)
	}
}

func TestToolsTellTheirVersion(t *testing.T) {
	m := bench(t, map[string]string{
		"go":     `[ "$*" = version ] && echo go version go1.27rc1 linux/amd64`,
		"java":   `[ "$*" = -version ] && echo 'openjdk version "17.0.9" 2023-10-17' >&2`,
		"plain":  `[ "$*" = --version ] && echo plain 590 of 2024`,
		"words":  `echo no number here`,
		"fails":  `echo 1.2.3; exit 1`,
		"killed": `kill -9 $$`,
		"loud":   `exec yes 9.9`,
		"env":    `echo 1.0; [ -z "$SECRET" ] || echo leaked >&2`,
		"two w":  `echo 2.5`,
	})
	for name, want := range map[string]string{"go": "1.27rc1", "java": "17.0.9", "plain": "590", "words": "", "fails": "", "killed": "", "loud": "", "env": "1.0", "two w": "2.5"} {
		value, ok, err := m.Get(t.Context(), "tools."+name)
		require.NoError(t, err, name)
		require.True(t, ok, name)
		require.Equal(t, want, value, name)
	}
}

// What is no program that PATH leads to is not there.
func TestToolsThatAreNotThere(t *testing.T) {
	m := bench(t, map[string]string{"tool": "echo 1.0"})
	dir := filepath.SplitList(strings.TrimPrefix(m.Environ[0], "PATH="))[2]
	require.NoError(t, os.WriteFile(dir+"/text", []byte("1.0"), 0o644))
	require.NoError(t, os.Mkdir(dir+"/dir", 0o755))
	require.NoError(t, os.Symlink("gone", dir+"/link"))
	for _, name := range []string{"text", "dir", "link", "nothing"} {
		_, ok, err := m.Get(t.Context(), "tools."+name)
		require.NoError(t, err)
		require.False(t, ok, name)
	}
}

func TestStaticFactsWin(t *testing.T) {
	m := bench(t, map[string]string{"docker": "echo 1.0"})
	m.Static = map[string]string{"gpu": "h100", "os": "plan9", "tools.docker": "25.0", "hostname": ""}
	for key, want := range map[string]string{"gpu": "h100", "os": "plan9", "tools.docker": "25.0", "hostname": ""} {
		value, ok, err := m.Get(t.Context(), key)
		require.NoError(t, err)
		require.Equal(t, want, value)
		require.Equal(t, want != "", ok)
	}
}

func TestAll(t *testing.T) {
	m := bench(t, map[string]string{"docker": "echo Docker version 25.0.3, build x", "make": "echo make", "odd-tool": "echo 1.0"})
	m.Static = map[string]string{"zone": "b", "hostname": ""}
	all, err := m.All(t.Context())
	require.NoError(t, err)
	require.Equal(t, goruntime.GOOS, all["os"])
	require.Equal(t, "25.0.3", all["tools.docker"])
	require.Equal(t, "b", all["zone"])
	require.Contains(t, all, "tools.make")
	for _, key := range []string{"hostname", "tools.git", "tools.odd-tool"} {
		require.NotContains(t, all, key)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = m.All(ended)
	require.ErrorIs(t, err, context.Canceled)
}

// A fact is looked for once; whoever else wants it waits, and takes over when
// the one who looks gives up.
func TestFoundOnce(t *testing.T) {
	m := bench(t, map[string]string{"slow": ""})
	synctest.Test(t, func(t *testing.T) {
		impatient, cancel := context.WithCancel(t.Context())
		var asked int
		m.Output = func(ctx context.Context, _ string, _ []string, _ ...string) ([]byte, error) {
			if asked++; asked == 1 {
				<-impatient.Done()
				return nil, ctx.Err()
			}
			return []byte("slow 2.0"), nil
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			_, _, err := m.Get(impatient, "tools.slow")
			require.ErrorIs(t, err, context.Canceled)
		})
		synctest.Wait()
		for range 5 {
			wg.Go(func() {
				value, ok, err := m.Get(t.Context(), "tools.slow")
				require.NoError(t, err)
				require.True(t, ok)
				require.Equal(t, "2.0", value)
			})
		}
		leaves, leave := context.WithCancel(t.Context())
		wg.Go(func() {
			_, _, err := m.Get(leaves, "tools.slow")
			require.ErrorIs(t, err, context.Canceled)
		})
		synctest.Wait()
		leave()
		synctest.Wait()
		cancel()
		wg.Wait()
		require.Equal(t, 2, asked)
	})
}

// A tool that hangs is there, and does not tell its version.
func TestToolThatHangs(t *testing.T) {
	m := bench(t, map[string]string{"hangs": ""})
	synctest.Test(t, func(t *testing.T) {
		m.Output = func(ctx context.Context, _ string, _ []string, _ ...string) ([]byte, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		value, ok, err := m.Get(t.Context(), "tools.hangs")
		require.NoError(t, err)
		require.True(t, ok)
		require.Empty(t, value)
	})
}

func TestMachineCannotBeAsked(t *testing.T) {
	m := bench(t, map[string]string{"tool": ""})
	broken := errors.New("run /bin/sh: no more processes")
	m.Output = func(context.Context, string, []string, ...string) ([]byte, error) { return nil, broken }
	_, _, err := m.Get(t.Context(), "tools.tool")
	require.ErrorIs(t, err, broken)
	err = facts.Check(t.Context(), m, []plan.Requirement{{Op: "eq", Key: "tools.tool", Values: []string{"1"}}})
	require.EqualError(t, err, "check requirement tools.tool 1: run /bin/sh: no more processes")
}

func req(op, key string, values ...string) plan.Requirement {
	return plan.Requirement{Op: op, Key: key, Values: values}
}

func because(reason string, r plan.Requirement) plan.Requirement {
	r.Reason = reason
	return r
}

func of(op string, of ...plan.Requirement) plan.Requirement { return plan.Requirement{Op: op, Of: of} }

func TestCheck(t *testing.T) {
	m := bench(t, map[string]string{"docker": "echo Docker version 20.10.5", "mute": "exit 1"})
	m.Static = map[string]string{"os": "linux", "arch": "amd64", "cpus": "8", "memory": strconv.Itoa(16 << 30), "hostname": "ci-7", "gpu": "h100", "kernel": "6.1.0-18-amd64"}
	told := maps.Clone(m.Static)
	told["tools.docker"], told["tools.mute"] = "20.10.5", ""
	for name, test := range map[string]struct {
		r    plan.Requirement
		want string // of the error; "" when the requirement is met
	}{
		"eq":                    {req("eq", "os", "linux"), ""},
		"eq not":                {req("eq", "os", "darwin"), "needs os darwin, found linux"},
		"eq of numbers":         {req("eq", "memory", "16GiB"), ""},
		"eq of no number":       {req("eq", "cpus", "eight"), "needs cpus eight, found 8"},
		"one_of":                {req("one_of", "arch", "arm64", "amd64"), ""},
		"one_of not":            {because("only built there", req("one_of", "arch", "arm64", "riscv64")), "only built there: needs arch arm64 or riscv64, found amd64"},
		"at_least":              {req("at_least", "tools.docker", "20.9"), ""},
		"at_least itself":       {req("at_least", "tools.docker", "v20.10.5"), ""},
		"at_least not":          {because("image store", req("at_least", "tools.docker", "25.0")), "image store: needs tools.docker at least 25.0, found 20.10.5"},
		"at_least of a kernel":  {req("at_least", "kernel", "6.1"), ""},
		"at_least of nothing":   {because("pods", req("at_least", "tools.podman", "4")), "pods: needs tools.podman at least 4, found nothing"},
		"at_least of a mute":    {req("at_least", "tools.mute", "4"), "needs tools.mute at least 4, found it without a version"},
		"at_least of no number": {req("at_least", "hostname", "4"), "needs hostname at least 4, found ci-7"},
		"cpus":                  {req("at_least", "cpus", "8"), ""},
		"cpus not":              {req("at_least", "cpus", "10"), "needs cpus at least 10, found 8"},
		"memory":                {req("at_least", "memory", "16G"), ""},
		"memory in bytes":       {req("at_least", "memory", "17179869184"), ""},
		"memory not":            {req("at_least", "memory", "17.5GB"), "needs memory at least 17.5GB, found 16.0GiB"},
		"has":                   {req("has", "tools.docker"), ""},
		"has what is mute":      {req("has", "tools.mute"), ""},
		"has not":               {because("pods", req("has", "tools.podman")), "pods: needs tools.podman, found nothing"},
		"has static":            {req("has", "gpu"), ""},
		"matches":               {req("matches", "hostname", "ci-[0-9]+"), ""},
		"matches as a whole":    {req("matches", "hostname", "^(i-|ci-)$"), "needs hostname matching ^(i-|ci-)$, found ci-7"},
		"matches the beginning": {req("matches", "hostname", "^ci-"), ""},
		"all_of":                {of("all_of", req("eq", "os", "linux"), req("has", "gpu")), ""},
		"all_of not":            {because("training", of("all_of", req("eq", "os", "darwin"), req("has", "gpu"), because("fast", req("has", "lidar")))), "training: needs os darwin, found linux; training: fast: needs lidar, found nothing"},
		"any_of":                {of("any_of", req("has", "tools.podman"), req("has", "tools.docker")), ""},
		"any_of not":            {because("images", of("any_of", req("has", "tools.podman"), req("at_least", "tools.docker", "25"))), "images: needs tools.podman or tools.docker at least 25, found tools.podman nothing, tools.docker 20.10.5"},
		"any_of none":           {of("any_of"), "check requirement : it combines nothing"},
		"not":                   {of("not", req("eq", "os", "darwin")), ""},
		"not not":               {because("no fork", of("not", req("eq", "os", "linux"))), "no fork: needs anything but os linux, found it"},
		"nested": {of("any_of", of("all_of", req("eq", "os", "darwin"), req("eq", "arch", "arm64")), of("not", req("has", "gpu"))),
			"needs (os darwin and arch arm64) or anything but gpu, found os linux, arch amd64, it"},

		"a slip":            {req("at_least", "memmory", "1G"), `needs memmory at least 1G, found nothing (did you mean "memory"?)`},
		"a tool's name":     {req("has", "docker"), `needs docker, found nothing (did you mean "tools.docker"?)`},
		"tool for tools":    {req("has", "tool.git"), `needs tool.git, found nothing (did you mean "tools.git"?)`},
		"nothing like it":   {req("has", "quantum"), "needs quantum, found nothing"},
		"a slip inside":     {of("any_of", req("eq", "oss", "linux")), `needs oss linux, found oss nothing (did you mean "os"?)`},
		"no such condition": {req("like", "os", "x"), `check requirement like os: there is no condition "like"`},
		"no key":            {req("eq", "", "x"), "check requirement x: it names no fact"},
		"no value":          {req("eq", "os"), "check requirement os: it has 0 values"},
		"too many values":   {req("at_least", "cpus", "1", "2"), "check requirement cpus at least 1 or 2: it has 2 values"},
		"no version":        {req("at_least", "tools.docker", "new"), `check requirement tools.docker at least new: "new" is no version`},
		"no number":         {req("at_least", "memory", "8 apples"), `check requirement memory at least 8 apples: "8 apples" is no number`},
		"no expression":     {req("matches", "os", "x)|(y"), "check requirement os matching x)|(y: error parsing regexp: unexpected ): `x)|(y`"},
		"no condition deep": {of("not", of("all_of", req("like", "os", "x"))), `check requirement anything but like os: there is no condition "like"`},
	} {
		t.Run(name, func(t *testing.T) {
			err := facts.Check(t.Context(), m, []plan.Requirement{test.r})
			require.Equal(t, err, facts.Hold(told, []plan.Requirement{test.r}), "what was told is held like what is there")
			if test.want == "" {
				require.NoError(t, err)
				return
			}
			var unmet facts.Unmet
			require.Equal(t, !strings.HasPrefix(test.want, "check requirement"), errors.As(err, &unmet))
			require.EqualError(t, err, test.want)
		})
	}
	require.NoError(t, facts.Check(t.Context(), m, nil))
	err := facts.Check(t.Context(), m, []plan.Requirement{req("has", "lidar"), req("eq", "os", "linux"), because("why", req("has", "sonar"))})
	require.Equal(t, facts.Unmet{{Key: "lidar", Wanted: "lidar", Found: "nothing"}, {Key: "sonar", Reason: "why", Wanted: "sonar", Found: "nothing"}}, err)
}

func TestKeys(t *testing.T) {
	require.Equal(t, []string{"os", "tools.go", "gpu"}, facts.Keys([]plan.Requirement{req("eq", "os", "linux"),
		of("any_of", req("has", "tools.go"), of("not", req("eq", "os", "darwin"))), req("has", "gpu")}))
	require.Empty(t, facts.Keys(nil))
}

// Check asks for what is named, and asks no tool when it only has to be there.
func TestSeen(t *testing.T) {
	values := map[string]string{"os": "linux", "memory": "17179869184", "tools.mute": ""}
	for want, r := range map[string]plan.Requirement{
		"linux":                          req("eq", "os", "linux"),
		"16.0GiB":                        req("at_least", "memory", "8GiB"),
		"it without a version":           req("has", "tools.mute"),
		"nothing":                        of("not", req("has", "tools.docker")),
		"os linux, tools.docker nothing": of("any_of", req("eq", "os", "linux"), req("has", "tools.docker")),
	} {
		require.Equal(t, want, facts.Seen(values, r))
	}
}

func TestCheckAsksNoMore(t *testing.T) {
	m := bench(t, map[string]string{"a": "", "b": "", "c": ""})
	var asked []string
	m.Output = func(_ context.Context, _ string, _ []string, argv ...string) ([]byte, error) {
		asked = append(asked, filepath.Base(argv[3]))
		return []byte("1.0"), nil
	}
	require.NoError(t, facts.Check(t.Context(), m, []plan.Requirement{
		req("has", "tools.a"), req("at_least", "tools.b", "1"), req("eq", "tools.b", "1.0"),
		of("any_of", req("eq", "tools.b", "1.0"), req("eq", "tools.c", "1.0")),
	}))
	require.Equal(t, []string{"b"}, asked)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	m.Output = process.Output
	require.ErrorIs(t, facts.Check(ctx, m, []plan.Requirement{req("eq", "tools.c", "1.0")}), context.Canceled)
}

func TestCompareVersions(t *testing.T) {
	// Each row is in order, from the lowest; what stands together is level.
	for _, row := range [][][]string{
		{{"0"}, {"0.1"}, {"1", "1.0", "v1.0.0", "01.000", "1+build.7"}, {"1.0.1"}, {"1.2"}, {"1.9"}, {"1.10"}, {"2"}},
		{{"1.22-dev", "1.22.dev0"}, {"1.22alpha1", "1.22a1"}, {"1.22-alpha.2"}, {"1.22b1", "1.22beta1"}, {"1.22rc1", "1.22-rc.1", "1.22-RC1", "1.22pre1"}, {"1.22rc2"}, {"1.22rc10"}, {"1.22", "go1.22"}, {"1.22.1"}},
		{{"20.10.5"}, {"20.10.5-1"}, {"25.0.0-rc.1"}, {"25.0"}},
		{{"1.8.0_292"}, {"1.8.0_392"}, {"11.0.2"}, {"17-ea"}, {"17"}},
		{{"6.1"}, {"6.1.0-18-amd64"}, {"6.1.1-generic"}},
		{{"9.2"}, {"9.2p1"}, {"9.10"}},
		{{"99999999999999999999998"}, {"99999999999999999999999"}},
		{{"", "latest", "…"}, {"1"}},
	} {
		for i, low := range row {
			for j, high := range row {
				for _, a := range low {
					for _, b := range high {
						require.Equal(t, compareInts(i, j), facts.CompareVersions(a, b), "%q, %q", a, b)
					}
				}
			}
		}
	}
}

func compareInts(a, b int) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

// Whatever the words, the order is an order: sorting cannot go wrong.
func TestVersionsAreOrdered(t *testing.T) {
	version := rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(rapid.SampledFrom([]string{"0", "1", "2", "10", ".", "-", "rc", "beta", "dev", "x", "+", "é"}), 0, 6).Draw(t, "parts"), "")
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b, c := version.Draw(t, "a"), version.Draw(t, "b"), version.Draw(t, "c")
		require.Zero(t, facts.CompareVersions(a, a))
		require.Equal(t, facts.CompareVersions(a, b), -facts.CompareVersions(b, a))
		all := []string{a, b, c}
		slices.SortFunc(all, facts.CompareVersions)
		require.LessOrEqual(t, facts.CompareVersions(all[0], all[1]), 0)
		require.LessOrEqual(t, facts.CompareVersions(all[1], all[2]), 0)
		require.LessOrEqual(t, facts.CompareVersions(all[0], all[2]), 0)
	})
}
