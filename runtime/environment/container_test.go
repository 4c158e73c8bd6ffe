package environment_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/environment"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/process"
)

// fakeEngine stands for podman and docker where none runs: a program that notes
// its arguments and environment, keeps a file for each container, and runs the
// command here.
const fakeEngine = `#!/bin/sh
self=$(basename "$0")
[ "$1" = ps ] || { printf '%s\n' "$self" "$@" > "$DOCKER_STATE/argv"; }
case "$1" in
info)
	cat "$DOCKER_STATE/$self.info" 2>/dev/null || { echo "no daemon at $DOCKER_HOST" >&2; exit 1; } ;;
ps)
	[ ! -e "$DOCKER_STATE/mute" ] || { echo "daemon went away" >&2; exit 1; }
	ls "$DOCKER_STATE/running" ;;
rm)
	[ ! -e "$DOCKER_STATE/mute" ] || { echo "daemon went away" >&2; exit 1; }
	[ ! -e "$DOCKER_STATE/stuck" ] || exit 0
	shift 3; for name; do rm "$DOCKER_STATE/running/$name" || exit 1; done ;;
run)
	env > "$DOCKER_STATE/env"
	while [ "$1" != image:1 ]; do
		case "$1" in
		--name) name=$2 ;;
		--env-file) cp -p "$2" "$DOCKER_STATE/envfile" ;;
		esac
		shift
	done
	shift
	: > "$DOCKER_STATE/running/$name"
	"$@"; code=$?
	rm "$DOCKER_STATE/running/$name"
	exit $code ;;
exec)
	[ -e "$DOCKER_STATE/running/$2" ] || { echo "no such container" >&2; exit 1; }
	shift 2
	"$@" ;;
esac
`

// A dock is a machine with fake container engines.
type dock struct {
	*environment.Executor
	t                     *testing.T
	state, bin, workspace string
}

// newDock installs the named engines; each answers with the text that follows
// its name after a colon, or not at all when there is none.
func newDock(t *testing.T, env plan.Environment, engines ...string) *dock {
	d := &dock{t: t, state: t.TempDir(), bin: t.TempDir(), workspace: t.TempDir()}
	require.NoError(t, os.Mkdir(d.state+"/running", 0o755))
	for _, engine := range engines {
		name, info, answers := strings.Cut(engine, ":")
		require.NoError(t, os.WriteFile(d.bin+"/"+name, []byte(fakeEngine), 0o755))
		if answers {
			d.set(name+".info", info)
		}
	}
	env.Name, env.Kind = "box", "container"
	if env.Image == "" {
		env.Image = "image:1"
	}
	d.Executor = &environment.Executor{Next: &direct{}, Workspace: d.workspace, Temp: t.TempDir(), Plan: planOf(env),
		Output: process.Output,
		Environ: func() []string {
			return []string{"PATH=" + d.bin + ":/usr/bin:/bin", "HOME=/root", "DOCKER_STATE=" + d.state, "DOCKER_HOST=unix:///caller", "SECRET_OF_CALLER=x"}
		}}
	return d
}

func (d *dock) set(name, text string) {
	require.NoError(d.t, os.WriteFile(d.state+"/"+name, []byte(text), 0o644))
}

func (d *dock) read(name string) string {
	text, err := os.ReadFile(d.state + "/" + name)
	require.NoError(d.t, err)
	return string(text)
}

func (d *dock) run(t runtime.Task) runtime.Result {
	t.Workspace = d.workspace
	return d.Execute(d.t.Context(), t)
}

// argv is the last command line, with what differs between runs replaced.
func (d *dock) argv() []string {
	argv := strings.Split(strings.TrimSuffix(d.read("argv"), "\n"), "\n")
	for i, arg := range argv {
		switch {
		case i > 0 && argv[i-1] == "--name":
			require.Regexp(d.t, `^piper-[a-z0-9]{26}$`, arg)
			arg = "NAME"
		case strings.HasPrefix(arg, "build.piper="):
			arg = "LABEL"
		case strings.HasPrefix(arg, d.Temp+"/piper-env-"):
			arg = "ENVFILE"
		}
		argv[i] = strings.ReplaceAll(arg, d.workspace, "WS")
	}
	return argv
}

func (d *dock) running() []string {
	entries, err := os.ReadDir(d.state + "/running")
	require.NoError(d.t, err)
	names := []string{}
	for _, entry := range entries {
		names = append(names, entry.Name())
	}
	return names
}

func TestFakeContainerCommandLine(t *testing.T) {
	id := fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid())
	for name, test := range map[string]struct {
		env    plan.Environment
		engine string
		change func(*runtime.Task)
		want   string
	}{
		"docker": {engine: "docker:[name=seccomp,profile=builtin name=cgroupns]",
			want: "docker run --rm --init --name NAME --label LABEL --user " + id + " --mount type=bind,source=WS,target=WS --workdir WS --entrypoint= --env PIPER_WORKSPACE image:1 true"},
		"rootless docker": {engine: "docker:[name=seccomp,profile=builtin name=rootless]",
			want: "docker run --rm --init --name NAME --label LABEL --user 0:0 --mount type=bind,source=WS,target=WS --workdir WS --entrypoint= --env PIPER_WORKSPACE image:1 true"},
		"podman": {engine: "podman:false\n",
			want: "podman run --rm --init --name NAME --label LABEL --user " + id + " --http-proxy=false --security-opt label=disable --mount type=bind,source=WS,target=WS --workdir WS --entrypoint= --env PIPER_WORKSPACE image:1 true"},
		"rootless podman": {engine: "podman:true\n",
			want: "podman run --rm --init --name NAME --label LABEL --userns keep-id --user " + id + " --http-proxy=false --security-opt label=disable --mount type=bind,source=WS,target=WS --workdir WS --entrypoint= --env PIPER_WORKSPACE image:1 true"},
		"all that a step can say": {engine: "docker:[]", env: plan.Environment{Options: []string{"--network", "none"}, Runtime: "docker"},
			change: func(t *runtime.Task) {
				t.TTY, t.Dir, t.OutputDir = true, "sub/dir", "/out"
				t.Argv = []string{"sh", "-c", "echo --name x"}
			},
			want: "docker run --rm --init --name NAME --label LABEL --user " + id + " --mount type=bind,source=WS,target=WS --mount type=bind,source=/out,target=/out --workdir WS/sub/dir --entrypoint= --tty --env PIPER_WORKSPACE --network none image:1 sh -c echo --name x"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDock(t, test.env, test.engine)
			step := task("box", "true")
			if test.change != nil {
				test.change(&step)
			}
			write(t, d.workspace, map[string]string{"sub/dir/": ""})
			require.Equal(t, ended(0), d.run(step))
			argv := strings.Join(d.argv(), " ")
			got := strings.Replace(argv, " --env HOME=/tmp", "", 1)
			require.Equal(t, test.want, got)
			// root has a home in any image; the caller's number has none.
			require.Equal(t, strings.Contains(test.want, "--user 0:0"), got == argv)
			require.Empty(t, d.running())
			require.NoError(t, d.Close())
		})
	}
}

func TestFakeContainerMounts(t *testing.T) {
	for name, test := range map[string]struct{ workspace, output, want string }{
		"a comma and a quote": {`/a,b"c`, "", `--mount|type=bind,"source=/a,b""c","target=/a,b""c"|--workdir`},
		"a colon":             {"/a:b", "", "--mount|type=bind,source=/a:b,target=/a:b|--workdir"},
		"output inside":       {"/ws", "/ws/.out", "--mount|type=bind,source=/ws,target=/ws|--workdir"},
		"output beside":       {"/ws", "/ws.out", "--mount|type=bind,source=/ws,target=/ws|--mount|type=bind,source=/ws.out,target=/ws.out|--workdir"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDock(t, plan.Environment{}, "docker:[]")
			next := &direct{instead: func(context.Context, runtime.Task) runtime.Result { return ended(0) }}
			d.Next = next
			step := task("box", "true")
			step.Workspace, step.OutputDir = test.workspace, test.output
			require.Equal(t, ended(0), d.Execute(t.Context(), step))
			require.Contains(t, strings.Join(next.ran()[0].Argv, "|"), test.want)
		})
	}
}

// Values reach the container through the client's environment, or through a
// file when the client itself would take them to heart. None is on the command
// line, and nothing of the caller's is passed on.
func TestFakeContainerEnvironment(t *testing.T) {
	d := newDock(t, plan.Environment{Env: plan.Env{{Name: "DOCKER_HOST"}}}, "docker:[]")
	step := task("box", "true")
	step.Node.Step.Env = plan.Env{{Name: "PATH"}, {Name: "TOKEN"}, {Name: "CERT"}}
	step.Env = append(step.Env, "LANG=C.UTF-8", "USER=ann", "TMPDIR=/host", "TOKEN=first", "TOKEN=hush hush", "CERT=one\ntwo", "EMPTY=",
		"PATH=/image/bin", "DOCKER_HOST=tcp://inner=1", "LD_PRELOAD=inner.so")
	require.Equal(t, ended(0), d.run(step))

	argv := strings.Join(d.argv(), " ")
	require.Contains(t, argv, "--env CERT --env EMPTY --env LANG --env PIPER_WORKSPACE --env TOKEN ")
	for _, value := range []string{"hush", "first", "one", "image/bin", "inner", "/host", "ann"} {
		require.NotContains(t, argv, value)
	}
	require.ElementsMatch(t, []string{"PATH=/image/bin", "DOCKER_HOST=tcp://inner=1", "LD_PRELOAD=inner.so"}, strings.Fields(d.read("envfile")))
	info, err := os.Stat(d.state + "/envfile")
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	left, err := os.ReadDir(d.Temp)
	require.NoError(t, err)
	require.Empty(t, left)

	client := d.read("env")
	require.Contains(t, client, "TOKEN=hush hush\n")
	require.Contains(t, client, "CERT=one\ntwo\n")
	require.Contains(t, client, "DOCKER_HOST=unix:///caller\n")
	require.NotContains(t, client, "SECRET_OF_CALLER")
	require.NotContains(t, client, "inner")

	lines := task("box", "true")
	lines.Env = append(lines.Env, "DOCKER_CONFIG=one\ntwo")
	require.Equal(t, runtime.Result{State: build.Failed, Reason: "environment box: variable DOCKER_CONFIG would change docker itself, so it cannot hold several lines"}, d.run(lines))

	step.Env = append(step.Env, "DOCKER_HOST=x")
	d.Temp = "/nonexistent"
	res := d.run(step)
	require.True(t, res.Infra)
	require.Contains(t, res.Reason, "environment box: open /nonexistent/piper-env-")
}

// What looks whether a service is ready looks inside its container.
func TestFakeContainerServiceIsChecked(t *testing.T) {
	d := newDock(t, plan.Environment{}, "docker:[]")
	service := task("box", "sh", "-c", "until [ -e stop ]; do sleep 0.01; done")
	service.Node.Step.Service = &plan.Service{}
	check := service
	check.Check, check.Argv = true, []string{"true"}

	gone := runtime.Result{State: build.Failed, Reason: "its container is not there"}
	require.Equal(t, gone, d.run(check))
	done := make(chan runtime.Result)
	go func() { done <- d.run(service) }()
	require.Eventually(t, func() bool { return d.run(check).State == build.Success }, time.Minute, 10*time.Millisecond)
	require.Equal(t, []string{"docker", "exec", d.running()[0], "true"}, d.argv())
	check.Argv = []string{"sh", "-c", "exit 3"}
	require.Equal(t, ended(3), d.run(check))

	require.NoError(t, os.WriteFile(filepath.Join(d.workspace, "stop"), nil, 0o644))
	require.Equal(t, ended(0), <-done)
	require.Equal(t, gone, d.run(check))
}

// An expand may find steps with environments that the plan did not have.
func TestGrow(t *testing.T) {
	next := &direct{instead: func(context.Context, runtime.Task) runtime.Result { return ended(0) }}
	e := &environment.Executor{Next: next, Plan: &plan.Plan{}}
	late := task("late", "true")
	require.Equal(t, runtime.Result{State: build.Failed, Reason: "environment late is not in the plan"}, e.Execute(t.Context(), late))
	e.Grow(planOf(plan.Environment{Name: "late", Kind: "host"}))
	require.Equal(t, ended(0), e.Execute(t.Context(), late))
}

func TestFakeContainerEngineIsChosen(t *testing.T) {
	for name, test := range map[string]struct {
		runtime string
		engines []string
		want    string // the engine that runs, or
		fails   []string
	}{
		"podman comes first":           {engines: []string{"podman:false", "docker:[]"}, want: "podman"},
		"the one that answers":         {engines: []string{"podman", "docker:[]"}, want: "docker"},
		"the one that is there":        {engines: []string{"docker:[]"}, want: "docker"},
		"the one that was asked for":   {runtime: "docker", engines: []string{"podman:false", "docker:[]"}, want: "docker"},
		"none":                         {fails: []string{"no container engine answers: install podman or docker, and see that this user may use it (", "podman", "docker", "not found"}},
		"none that answers":            {engines: []string{"docker"}, fails: []string{"install podman or docker", "no daemon at unix:///caller"}},
		"not the one that is wanted":   {runtime: "podman", engines: []string{"docker:[]"}, fails: []string{"no container engine answers: install podman, and see"}},
		"one that nobody has heard of": {runtime: "rkt", engines: []string{"docker:[]"}, fails: []string{`no container runtime "rkt" is known: it is podman or docker`}},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDock(t, plan.Environment{Runtime: test.runtime}, test.engines...)
			res := d.run(task("box", "true"))
			if test.want != "" {
				require.Equal(t, ended(0), res)
				require.Equal(t, test.want, d.argv()[0])
				return
			}
			require.Equal(t, build.Failed, res.State)
			require.Equal(t, test.runtime != "rkt", res.Infra)
			for _, words := range append(test.fails, "make environment box: ") {
				require.Contains(t, res.Reason, words)
			}
		})
	}
	for _, image := range []string{"-v", "--privileged"} {
		d := newDock(t, plan.Environment{Image: image}, "docker:[]")
		require.Equal(t, runtime.Result{State: build.Failed, Reason: fmt.Sprintf("make environment box: %q is not the name of an image", image)}, d.run(task("box", "true")))
	}
}

// A container is gone when its step has ended, however it ended.
func TestFakeContainerEnds(t *testing.T) {
	code := func(n int) *int { return &n }
	const image = "docker could not run the image image:1, or the command itself exited with 125"
	for name, test := range map[string]struct {
		client runtime.Result
		engine string // what is wrong with the engine when the client has ended
		want   runtime.Result
		left   bool // until Close, that is
	}{
		"exit":               {client: ended(7), want: ended(7), left: true}, // the engine removes it by itself
		"killed":             {client: runtime.Result{State: build.Cancelled, Signal: "killed"}, want: runtime.Result{State: build.Cancelled, Signal: "killed"}},
		"timed out":          {client: runtime.Result{State: build.TimedOut, Signal: "terminated"}, want: runtime.Result{State: build.TimedOut, Signal: "terminated"}},
		"the client failed":  {client: ended(125), want: runtime.Result{State: build.Failed, Exit: code(125), Reason: image}},
		"not started":        {client: runtime.Result{State: build.Failed, Reason: "directory x is not there"}, want: runtime.Result{State: build.Failed, Reason: "directory x is not there"}},
		"the engine is gone": {client: ended(125), engine: "mute", want: runtime.Result{State: build.Failed, Exit: code(125), Infra: true, Reason: image + "; container NAME may still run: docker: exit status 1: daemon went away"}, left: true},
		"it cannot be removed": {client: runtime.Result{State: build.Cancelled, Signal: "killed"}, engine: "stuck",
			want: runtime.Result{State: build.Cancelled, Signal: "killed", Infra: true, Reason: "container NAME is still there though docker removed it"}, left: true},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDock(t, plan.Environment{}, "docker:[]")
			var container string
			ctx, cancel := context.WithCancel(t.Context())
			d.Next = &direct{instead: func(_ context.Context, task runtime.Task) runtime.Result {
				for i, arg := range task.Argv {
					if arg == "--name" {
						container = task.Argv[i+1]
					}
				}
				d.set("running/"+container, "")
				if test.engine != "" {
					d.set(test.engine, "")
				}
				cancel() // removing must not depend on it
				return test.client
			}}
			res := d.Execute(ctx, task("box", "true"))
			res.Reason = strings.ReplaceAll(res.Reason, container, "NAME")
			require.Equal(t, test.want, res)
			if !test.left {
				require.Empty(t, d.running())
				require.NoError(t, d.Close())
				return
			}
			require.Equal(t, []string{container}, d.running())
			switch test.engine {
			case "":
				require.NoError(t, d.Close())
			case "mute":
				require.EqualError(t, d.Close(), "remove environment box: docker: exit status 1: daemon went away")
			case "stuck":
				require.NoError(t, os.Remove(d.state+"/stuck"))
				require.NoError(t, d.Close())
				require.Empty(t, d.running())
			}
		})
	}
}

// The processes of a step that is stopped end with its client; the container is
// removed by name.
func TestFakeContainerIsStopped(t *testing.T) {
	d := newDock(t, plan.Environment{}, "docker:[]")
	local := &process.Executor{}
	d.Next = local
	ctx, cancel := context.WithCancel(t.Context())
	step := task("box", "sh", "-c", "echo started; exec sleep 1000")
	step.Workspace, step.Output = d.workspace, &onWrite{do: cancel}
	res := d.Execute(ctx, step)
	require.Equal(t, build.Cancelled, res.State)
	require.False(t, res.Infra, res.Reason)
	require.Equal(t, []string{"docker", "rm", "--force", "--volumes", "NAME"}, append(d.argv()[:4], "NAME"))
	require.Empty(t, d.running())
	require.NoError(t, d.Close())
	require.NoError(t, local.Close())
}

// An onWrite is an output that does something when it is written to.
type onWrite struct {
	log
	do func()
}

func (o *onWrite) Write(at time.Time, p []byte) error {
	o.do()
	return o.log.Write(at, p)
}

// A real engine runs a real step. The image has to be there already, or the
// network.
func TestContainer(t *testing.T) {
	for _, engine := range []string{"podman", "docker"} {
		t.Run(engine, func(t *testing.T) {
			const image = "docker.io/library/busybox:latest"
			if _, err := process.Output(t.Context(), "/", nil, engine, "run", "--rm", image, "true"); err != nil {
				t.Skipf("SKIPPED: no %s that can run %s: %v", engine, image, err)
			}
			dir := t.TempDir()
			write(t, dir, map[string]string{"sub/in": "text"})
			e := &environment.Executor{Next: &direct{}, Workspace: dir, Temp: t.TempDir(),
				Plan: planOf(plan.Environment{Name: "box", Kind: "container", Image: image, Runtime: engine})}
			step := task("box", "sh", "-ec", `cat in; echo " $TOKEN $DOCKER_HOST"; echo made > made; pwd; touch "$PIPER_OUTPUT/url"; exit 3`)
			step.Workspace, step.Dir, step.OutputDir = dir, "sub", t.TempDir()
			step.Env = append(step.Env, "TOKEN=hush", "DOCKER_HOST=inner", "PIPER_OUTPUT="+step.OutputDir)
			require.Equal(t, ended(3), e.Execute(t.Context(), step), step.Output.(*log))
			require.Equal(t, "text hush inner\n"+dir+"/sub\n", step.Output.(*log).String())
			require.FileExists(t, filepath.Join(step.OutputDir, "url"))
			info, err := os.Stat(dir + "/sub/made")
			require.NoError(t, err)
			require.EqualValues(t, os.Getuid(), info.Sys().(*syscall.Stat_t).Uid)
			require.NoError(t, e.Close())
		})
	}
}
