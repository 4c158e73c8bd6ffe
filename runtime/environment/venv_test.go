package environment_test

import (
	"archive/zip"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/environment"
	"github.com/piper-build/piper/runtime/plan"
)

// fakePython makes environments of one link, and notes what it is asked for.
const fakePython = `#!/bin/sh
echo "python $*" >> "$CALLS"
case "$1 $2" in
"-m venv")
	[ -z "$VENV_FAILS" ] || { echo no ensurepip; exit 1; }
	rm -rf "$4"; mkdir -p "$4/bin"; : > "$4/pyvenv.cfg"; ln -s "$0" "$4/bin/python" ;;
"-m pip")
	echo "token=$TOKEN index=$PIP_INDEX_URL"
	[ -z "$PIP_FAILS" ] || { echo no such package; exit 1; } ;;
esac
`

// A workbench is a workspace and a fake python3.
type workbench struct {
	*environment.Executor
	t                *testing.T
	workspace, calls string
	bin              string
	env              []string
}

func newWorkbench(t *testing.T, environments ...plan.Environment) *workbench {
	w := &workbench{t: t, workspace: t.TempDir(), bin: t.TempDir()}
	w.calls = filepath.Join(t.TempDir(), "calls")
	for _, name := range []string{"python3", "python3.9"} {
		require.NoError(t, os.WriteFile(w.bin+"/"+name, []byte(fakePython), 0o755))
	}
	w.env = []string{"PATH=" + w.bin + ":/usr/bin:/bin", "CALLS=" + w.calls, "PYTHONHOME=/odd"}
	w.build(environments...)
	return w
}

// build begins another build in the same workspace.
func (w *workbench) build(environments ...plan.Environment) {
	w.Executor = &environment.Executor{Next: &direct{}, Workspace: w.workspace, Plan: planOf(environments...)}
}

func (w *workbench) run(t runtime.Task) runtime.Result {
	t.Env, t.Workspace = append(w.env, t.Env[1:]...), w.workspace
	return w.Execute(w.t.Context(), t)
}

// took returns what python was asked for since the last call.
func (w *workbench) took() []string {
	text, _ := os.ReadFile(w.calls)
	os.Remove(w.calls)
	return strings.FieldsFunc(strings.ReplaceAll(string(text), w.workspace, "WS"), func(r rune) bool { return r == '\n' })
}

func TestVenvStands(t *testing.T) {
	w := newWorkbench(t, plan.Environment{Name: "py", Kind: "venv"})
	step := task("py", "sh", "-c", `echo "$VIRTUAL_ENV|$PATH|${PYTHONHOME-unset}"; command -v python`)
	require.Equal(t, ended(0), w.run(step))
	require.Equal(t, fmt.Sprintf("%[1]s/.venv|%[1]s/.venv/bin:%[2]s:/usr/bin:/bin|unset\n%[1]s/.venv/bin/python\n", w.workspace, w.bin),
		step.Output.(*log).String())
	require.NoError(t, w.Close())
	ignored, err := os.ReadFile(w.workspace + "/.venv/.gitignore")
	require.NoError(t, err)
	require.Equal(t, "*\n", string(ignored))
}

// Each case is a row of builds in one workspace: what changes before each, and
// what python is asked for by its two steps together.
func TestVenvIsMadeWhenItMustBe(t *testing.T) {
	const create, install = "python -m venv --clear WS/.venv", "python -m pip install --disable-pip-version-check --requirement req.txt"
	type build struct {
		change func(w *workbench, env *plan.Environment)
		takes  []string
	}
	again := build{takes: nil}
	file := func(name, text string) func(*workbench, *plan.Environment) {
		return func(w *workbench, _ *plan.Environment) { write(w.t, w.workspace, map[string]string{name: text}) }
	}
	for name, builds := range map[string][]build{
		"unchanged":               {{nil, []string{create, install}}, again, again},
		"requirements change":     {{nil, []string{create, install}}, {file("req.txt", "b"), []string{install}}, again},
		"included ones change":    {{file("req.txt", "a\n-r more/x.txt # why\n"), []string{create, install}}, {file("more/c.txt", "y<3"), []string{install}}, again},
		"something else changes":  {{nil, []string{create, install}}, {file("setup.py", "b"), nil}},
		"the interpreter changes": {{nil, []string{create, install}}, {func(_ *workbench, env *plan.Environment) { env.Python = "python3.9" }, []string{create, install}}, again},
		"its python is gone": {{nil, []string{create, install}}, {func(w *workbench, _ *plan.Environment) {
			os.Remove(w.workspace + "/.venv/bin/python")
			os.Symlink("/nonexistent/python", w.workspace+"/.venv/bin/python")
		}, []string{create, install}}, again},
		"it is removed":      {{nil, []string{create, install}}, {func(w *workbench, _ *plan.Environment) { os.RemoveAll(w.workspace + "/.venv") }, []string{create, install}}},
		"no requirements":    {{func(_ *workbench, env *plan.Environment) { env.Requirements = nil }, []string{create}}},
		"an empty directory": {{file(".venv/", ""), []string{create, install}}, again},
		"somebody else's": {{func(w *workbench, _ *plan.Environment) {
			write(w.t, w.workspace, map[string]string{".venv/pyvenv.cfg": "", ".venv/bin/python": fakePython})
			os.Chmod(w.workspace+"/.venv/bin/python", 0o755)
		}, []string{install}}, again},
	} {
		t.Run(name, func(t *testing.T) {
			env := plan.Environment{Name: "py", Kind: "venv", Requirements: []string{"req.txt"}}
			w := newWorkbench(t)
			write(t, w.workspace, map[string]string{"req.txt": "a", "more/x.txt": "--constraint=c.txt\n-r https://example.org/r.txt", "more/c.txt": "y<2"})
			for i, b := range builds {
				if b.change != nil {
					b.change(w, &env)
				}
				w.build(env)
				require.Equal(t, ended(0), w.run(task("py", "true")))
				require.Equal(t, ended(0), w.run(task("py", "true")))
				require.Equal(t, append([]string{}, b.takes...), w.took(), "build %d", i)
			}
		})
	}
}

// A failed installation is not taken for a finished one.
func TestVenvInstallFails(t *testing.T) {
	env := plan.Environment{Name: "py", Kind: "venv", Requirements: []string{"req.txt"}}
	w := newWorkbench(t, env)
	write(t, w.workspace, map[string]string{"req.txt": "a"})
	w.env = append(w.env, "PIP_FAILS=1")
	failed := runtime.Result{State: build.Failed, Reason: "make environment py: install req.txt: python exited with 1"}
	step := task("py", "true")
	require.Equal(t, failed, w.run(step))
	require.Contains(t, step.Output.(*log).String(), "no such package\n")
	require.Equal(t, failed, w.run(task("py", "true")))
	require.Len(t, w.took(), 2)
	retried := task("py", "true")
	retried.Attempt = 2
	require.Equal(t, failed, w.run(retried))
	require.Len(t, w.took(), 1)

	w.env = w.env[:len(w.env)-1]
	w.build(env)
	require.Equal(t, ended(0), w.run(task("py", "true")))
	require.Len(t, w.took(), 1)
}

func TestVenvCannotBeMade(t *testing.T) {
	for name, test := range map[string]struct {
		env   plan.Environment
		tree  map[string]string
		vars  []string
		fails string
		infra bool
	}{
		"no python":             {env: plan.Environment{Python: "python9"}, fails: "create a virtual environment in .venv: python9: command not found"},
		"python cannot":         {vars: []string{"VENV_FAILS=1"}, fails: "create a virtual environment in .venv: python3 exited with 1"},
		"no requirements file":  {env: plan.Environment{Requirements: []string{"req.txt"}}, fails: "read requirements: openat req.txt: no such file or directory"},
		"no included file":      {env: plan.Environment{Requirements: []string{"a/req.txt"}}, tree: map[string]string{"a/req.txt": "-rb.txt"}, fails: "read requirements: openat a/b.txt: no such file or directory"},
		"requirements outside":  {env: plan.Environment{Requirements: []string{"../req.txt"}}, fails: "read requirements: openat ../req.txt: path escapes from parent"},
		"a directory of files":  {env: plan.Environment{Path: "src"}, tree: map[string]string{"src/a.py": ""}, fails: "src holds files, and is no virtual environment: choose another path, or move them away"},
		"the workspace itself":  {env: plan.Environment{Path: "."}, tree: map[string]string{"a.py": ""}, fails: ". holds files, and is no virtual environment: choose another path, or move them away"},
		"outside the workspace": {env: plan.Environment{Path: "../x"}, fails: "path escapes from parent"},
		"through a link":        {env: plan.Environment{Path: "out/venv"}, tree: map[string]string{"out": "-> /tmp"}, fails: "path escapes from parent"},
		"a file in its place":   {env: plan.Environment{Path: "file"}, tree: map[string]string{"file": ""}, fails: "not a directory"},
		"path of another":       {env: plan.Environment{Path: "./other"}, fails: "environment two has the same path, other: give one of them a path of its own"},
	} {
		t.Run(name, func(t *testing.T) {
			test.env.Name, test.env.Kind = "py", "venv"
			w := newWorkbench(t, test.env, plan.Environment{Name: "two", Kind: "venv", Path: "other"}, plan.Environment{Name: "h", Kind: "host", Path: ".venv"})
			w.env = append(w.env, test.vars...)
			write(t, w.workspace, test.tree)
			before := listing(t, w.workspace)
			res := w.run(task("py", "true"))
			require.Equal(t, build.Failed, res.State)
			require.Equal(t, test.infra, res.Infra)
			require.Contains(t, res.Reason, "make environment py: ")
			require.Contains(t, res.Reason, test.fails)
			require.Equal(t, before, listing(t, w.workspace))
		})
	}
	w := newWorkbench(t, plan.Environment{Name: "py", Kind: "venv"})
	w.workspace = "/nonexistent"
	w.Workspace = "/nonexistent"
	require.Equal(t, runtime.Result{State: build.Failed, Infra: true, Reason: "make environment py: open /nonexistent: no such file or directory"}, w.run(task("py", "true")))
}

// How the making ended decides how it is told.
func TestVenvMakingEnds(t *testing.T) {
	code := 3
	for name, test := range map[string]struct{ res, want runtime.Result }{
		"exit":     {runtime.Result{State: build.Failed, Exit: &code}, runtime.Result{State: build.Failed, Reason: "python3 exited with 3"}},
		"signal":   {runtime.Result{State: build.Failed, Signal: "killed"}, runtime.Result{State: build.Failed, Reason: "python3 ended by a signal: killed"}},
		"time-out": {runtime.Result{State: build.TimedOut, Signal: "killed"}, runtime.Result{State: build.Failed, Reason: "timed out"}},
		"machine":  {runtime.Result{State: build.Failed, Infra: true, Reason: "no memory"}, runtime.Result{State: build.Failed, Reason: "no memory", Infra: true}},
		"cancel":   {runtime.Result{State: build.Cancelled}, runtime.Result{State: build.Failed, Reason: "python3 cancelled"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorkbench(t, plan.Environment{Name: "py", Kind: "venv"})
			w.Next = &direct{instead: func(context.Context, runtime.Task) runtime.Result { return test.res }}
			test.want.Reason = "make environment py: create a virtual environment in .venv: " + test.want.Reason
			require.Equal(t, test.want, w.run(task("py", "true")))
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	w := newWorkbench(t, plan.Environment{Name: "py", Kind: "venv"})
	w.Next = &direct{instead: func(context.Context, runtime.Task) runtime.Result {
		cancel()
		return runtime.Result{State: build.Cancelled}
	}}
	require.Equal(t, build.Cancelled, w.Execute(ctx, task("py", "true")).State)
}

// The installer sees what all steps of the environment see, and not the
// secrets of the step that happens to come first.
func TestVenvInstallerSeesNoStepsSecret(t *testing.T) {
	w := newWorkbench(t, plan.Environment{Name: "py", Kind: "venv", Requirements: []string{"req.txt"},
		Env: plan.Env{{Name: "PIP_INDEX_URL", Value: plan.Lit("https://example.org")}}})
	write(t, w.workspace, map[string]string{"req.txt": "a"})
	step := task("py", "sh", "-c", "echo step token=$TOKEN")
	step.Node.Step.Env = plan.Env{{Name: "TOKEN", Value: plan.Text{Parts: []plan.Part{{Secret: "token"}}}}, {Name: "PATH"}, {Name: "PIP_INDEX_URL"}}
	step.Node.Step.PassEnv = []string{"AWS_*"}
	step.Env = append(step.Env, "TOKEN=hush", "AWS_KEY=hush", "PIP_INDEX_URL=https://example.org")
	require.Equal(t, ended(0), w.run(step))
	require.Equal(t, "token= index=https://example.org\nstep token=hush\n", step.Output.(*log).String())
	for _, made := range w.Next.(*direct).ran()[:2] {
		require.NotContains(t, strings.Join(made.Env, "\n"), "hush")
	}
}

// The real thing: python makes an environment, and pip installs a wheel that
// lies in the workspace.
func TestVenvOfPython(t *testing.T) {
	if out, err := exec.Command("python3", "-c", "import venv, ensurepip").CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: no python3 that can make virtual environments: %v\n%s", err, out)
	}
	dir := t.TempDir()
	writeWheel(t, dir+"/hello-1.0-py3-none-any.whl", map[string]string{
		"hello.py":                          "print('hello from', __file__)\n",
		"hello-1.0.dist-info/METADATA":      "Metadata-Version: 2.1\nName: hello\nVersion: 1.0\n",
		"hello-1.0.dist-info/WHEEL":         "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
		"hello-1.0.dist-info/RECORD":        "hello.py,,\nhello-1.0.dist-info/METADATA,,\nhello-1.0.dist-info/WHEEL,,\nhello-1.0.dist-info/RECORD,,\n",
		"hello-1.0.dist-info/top_level.txt": "hello\n",
	})
	write(t, dir, map[string]string{"requirements.txt": "--no-index\n./hello-1.0-py3-none-any.whl\n"})
	e := &environment.Executor{Next: &direct{}, Workspace: dir,
		Plan: planOf(plan.Environment{Name: "py", Kind: "venv", Path: "build/env", Requirements: []string{"requirements.txt"}})}
	step := task("py", "python", "-m", "hello")
	step.Workspace = dir
	require.Equal(t, ended(0), e.Execute(t.Context(), step), step.Output.(*log))
	require.Contains(t, step.Output.(*log).String(), "hello from "+dir+"/build/env/lib/python3")
	require.NoError(t, e.Close())
}

func writeWheel(t *testing.T, path string, files map[string]string) {
	f, err := os.Create(path)
	require.NoError(t, err)
	defer f.Close()
	archive := zip.NewWriter(f)
	for name, text := range files {
		w, err := archive.Create(name)
		require.NoError(t, err)
		_, err = w.Write([]byte(text))
		require.NoError(t, err)
	}
	require.NoError(t, archive.Close())
}
