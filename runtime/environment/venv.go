package environment

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/piper-build/piper/runtime"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
)

// A venv is a Python virtual environment. It stays when the build is over, so
// that the next one finds it.
type venv struct{ dir string }

func (v venv) execute(ctx context.Context, next runtime.Executor, t runtime.Task) runtime.Result {
	search := filepath.Join(v.dir, "bin")
	if rest, ok := get(t.Env, "PATH"); ok {
		search += string(filepath.ListSeparator) + rest
	}
	t.Env = append(without(t.Env, "PYTHONHOME", "VIRTUAL_ENV", "PATH"), "VIRTUAL_ENV="+v.dir, "PATH="+search)
	return next.Execute(ctx, t)
}

func (v venv) remove() error { return nil }

// stampName is a file in a virtual environment that says what it was made
// from. Where it is missing, somebody else made the environment.
const stampName = "piper-stamp"

// makeVenv makes the virtual environment where there is none, and installs the
// requirements where they are not those of last time. What python and pip print
// goes to the output of the step that came first.
func (e *Executor) makeVenv(ctx context.Context, env *plan.Environment, t runtime.Task) (place, error) {
	where, python := venvPath(env), env.Python
	if python == "" {
		python = "python3"
	}
	for _, other := range e.environments() {
		if other.Kind == "venv" && other.Name != env.Name && venvPath(&other) == where {
			return nil, fmt.Errorf("environment %s has the same path, %s: give one of them a path of its own", other.Name, where)
		}
	}
	root, err := os.OpenRoot(e.Workspace)
	if err != nil {
		return nil, machineError{err}
	}
	defer root.Close()
	digest, err := digestRequirements(root, env.Requirements)
	if err != nil {
		return nil, err
	}

	dir := filepath.Join(e.Workspace, filepath.FromSlash(where))
	stamp := path.Join(where, stampName)
	want := python + "\n" + digest + "\n"
	have, err := root.ReadFile(stamp)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read %s: %w", stamp, err)
	}
	madeBy, _, stamped := strings.Cut(string(have), "\n")
	fresh, err := venvState(root, where)
	if err != nil {
		return nil, err
	}
	if fresh == missing || fresh == broken || stamped && madeBy != python {
		have = nil
		if err := e.prepare(ctx, t, env, python, "-m", "venv", "--clear", dir); err != nil {
			return nil, fmt.Errorf("create a virtual environment in %s: %w", where, err)
		}
		// As python does by itself since 3.13: git, and so the plan, is not to
		// see its thousands of files.
		if err := root.WriteFile(path.Join(where, ".gitignore"), []byte("*\n"), 0o644); err != nil {
			return nil, machineError{err}
		}
	}
	if string(have) != want {
		if err := root.Remove(stamp); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, machineError{err}
		}
		if len(env.Requirements) > 0 {
			argv := []string{filepath.Join(dir, "bin", "python"), "-m", "pip", "install", "--disable-pip-version-check"}
			for _, file := range env.Requirements {
				argv = append(argv, "--requirement", filepath.FromSlash(file))
			}
			if err := e.prepare(ctx, t, env, argv...); err != nil {
				return nil, fmt.Errorf("install %s: %w", strings.Join(env.Requirements, ", "), err)
			}
		}
		if err := root.WriteFile(stamp, []byte(want), 0o644); err != nil {
			return nil, machineError{err}
		}
	}
	return venv{dir: dir}, nil
}

func venvPath(env *plan.Environment) string {
	if env.Path == "" {
		return ".venv"
	}
	return path.Clean(env.Path)
}

// What stands where a virtual environment is to be.
const (
	missing = iota
	broken  // one whose python is gone
	usable
)

// venvState refuses a place that holds something else, as making a virtual
// environment there would empty it.
func venvState(root *os.Root, where string) (int, error) {
	entries, err := fs.ReadDir(root.FS(), where)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return missing, nil
	case err != nil:
		return missing, err
	case len(entries) == 0:
		return missing, nil
	case !slices.ContainsFunc(entries, func(entry fs.DirEntry) bool { return entry.Name() == "pyvenv.cfg" }):
		return missing, fmt.Errorf("%s holds files, and is no virtual environment: choose another path, or move them away", where)
	}
	// Its python is a link out of the tree.
	if _, err := os.Stat(filepath.Join(root.Name(), filepath.FromSlash(where), "bin", "python")); err != nil {
		return broken, nil
	}
	return usable, nil
}

// prepare runs a command as part of making env, in the workspace, with what
// every step of env sees and without what the step of t adds for itself.
func (e *Executor) prepare(ctx context.Context, t runtime.Task, env *plan.Environment, argv ...string) error {
	t.Argv, t.Workspace, t.Dir, t.TTY, t.Started = argv, e.Workspace, "", false, nil
	t.Env = e.shared(t, env)
	res := e.Next.Execute(ctx, t)
	var err error
	switch {
	case res.State == build.Success:
		return nil
	case ctx.Err() != nil:
		return errGivenUp
	case res.Reason != "":
		err = errors.New(res.Reason)
	case res.State == build.TimedOut:
		err = errors.New("timed out")
	case res.Signal != "":
		err = fmt.Errorf("%s ended by a signal: %s", filepath.Base(argv[0]), res.Signal)
	case res.Exit != nil:
		err = fmt.Errorf("%s exited with %d", filepath.Base(argv[0]), *res.Exit)
	default:
		err = fmt.Errorf("%s %s", filepath.Base(argv[0]), res.State)
	}
	if res.Infra {
		return machineError{err}
	}
	return err
}

// shared is t's environment without what its step alone declares: a secret of
// one step is no business of an installer.
func (e *Executor) shared(t runtime.Task, env *plan.Environment) []string {
	if t.Node == nil || t.Node.Step == nil {
		return t.Env
	}
	step := t.Node.Step
	return slices.DeleteFunc(slices.Clone(t.Env), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return declares(name, step.Env, step.PassEnv) && !e.declared(name, env) && !inherited(name)
	})
}

// declared reports whether the plan or env says something of a variable.
func (e *Executor) declared(name string, env *plan.Environment) bool {
	return declares(name, e.Plan.Env, e.Plan.PassEnv) || declares(name, env.Env, env.PassEnv)
}

func declares(name string, env plan.Env, pass []string) bool {
	return slices.ContainsFunc(env, func(v plan.Var) bool { return v.Name == name }) ||
		slices.ContainsFunc(pass, func(glob string) bool {
			ok, err := path.Match(glob, name)
			return ok && err == nil
		})
}

// inherited reports whether every step has a variable from the caller.
func inherited(name string) bool {
	switch name {
	case "PATH", "HOME", "USER", "LANG", "TERM", "TMPDIR":
		return true
	}
	return false
}

// digestRequirements digests requirement files, and those that they include.
func digestRequirements(root *os.Root, files []string) (string, error) {
	sum := sha256.New()
	seen := map[string]bool{}
	for _, file := range files {
		if err := digestRequirement(sum, root, path.Clean(file), seen); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("sha256:%x", sum.Sum(nil)), nil
}

func digestRequirement(sum hash.Hash, root *os.Root, file string, seen map[string]bool) error {
	if seen[file] {
		return nil
	}
	seen[file] = true
	text, err := root.ReadFile(file)
	if err != nil {
		return fmt.Errorf("read requirements: %w", err)
	}
	fmt.Fprintf(sum, "%s %d\n%s\n", file, len(text), text)
	lines := bufio.NewScanner(strings.NewReader(string(text)))
	for lines.Scan() {
		if included, ok := includedBy(lines.Text()); ok && !strings.Contains(included, "://") {
			if err := digestRequirement(sum, root, path.Join(path.Dir(file), included), seen); err != nil {
				return err
			}
		}
	}
	return lines.Err()
}

// includedBy returns the file that a line "-r FILE" or "-c FILE" names.
func includedBy(line string) (string, bool) {
	line = strings.TrimSpace(line)
	for _, flag := range []string{"--requirement", "--constraint", "-r", "-c"} {
		if rest, ok := strings.CutPrefix(line, flag); ok {
			rest = strings.TrimLeft(rest, " \t=")
			name, _, _ := strings.Cut(rest, " #")
			return strings.TrimSpace(name), name != ""
		}
	}
	return "", false
}
