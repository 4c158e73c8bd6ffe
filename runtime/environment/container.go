package environment

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/piper-build/piper/runtime"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
)

// A container runs each task in a new container of one image.
//
// The container belongs to podman or docker, not to the tree of the task's
// process: when the client program ends before its time, the container has to
// be removed by name. Where Piper itself is killed nobody is left to do that,
// and the container runs until its command ends.
type container struct {
	env      *plan.Environment
	executor *Executor
	client   client
	label    string // of every container of this build

	mu       sync.Mutex
	killed   bool              // a client ended before its time: its container may be left
	services map[string]string // the containers of services that run, by node
}

// A client is the program that speaks to a container engine.
type client struct {
	name string   // podman or docker
	args []string // of its run command, so that files in the workspace stay the caller's
	root bool     // the command is root in the container
}

// tidyTime bounds the removal of a container.
const tidyTime = time.Minute

func (e *Executor) makeContainer(ctx context.Context, env *plan.Environment) (place, error) {
	if env.Image == "" || strings.HasPrefix(env.Image, "-") {
		return nil, fmt.Errorf("%q is not the name of an image", env.Image)
	}
	c, err := e.findClient(ctx, env.Runtime)
	if err != nil {
		return nil, err
	}
	return &container{env: env, executor: e, client: c, label: "build.piper=" + unique()}, nil
}

// findClient finds a container engine that answers.
func (e *Executor) findClient(ctx context.Context, name string) (client, error) {
	names := []string{"podman", "docker"}
	switch name {
	case "":
	case "podman", "docker":
		names = []string{name}
	default:
		return client{}, fmt.Errorf("no container runtime %q is known: it is podman or docker", name)
	}
	var answers []string
	for _, name := range names {
		c, err := e.ask(ctx, name)
		if err == nil {
			return c, nil
		}
		answers = append(answers, err.Error())
	}
	return client{}, machineError{fmt.Errorf("no container engine answers: install %s, and see that this user may use it (%s)",
		strings.Join(names, " or "), strings.Join(answers, "; "))}
}

// ask asks a container engine whether it is there, and whether its root is the
// caller.
func (e *Executor) ask(ctx context.Context, name string) (client, error) {
	format := "{{.Host.Security.Rootless}}"
	if name == "docker" {
		format = "{{.SecurityOptions}}"
	}
	out, err := e.output(ctx, e.clientEnv(), name, "info", "--format", format)
	if err != nil {
		return client{}, err
	}
	rootless := strings.Contains(string(out), "rootless") || strings.TrimSpace(string(out)) == "true"
	id := fmt.Sprintf("%d:%d", os.Getuid(), os.Getgid())
	c := client{name: name, args: []string{"--user", id}, root: os.Getuid() == 0}
	switch {
	case rootless && name == "podman":
		c.args = []string{"--userns", "keep-id", "--user", id}
	case rootless:
		c.args, c.root = []string{"--user", "0:0"}, true // which is the caller outside
	}
	if name == "podman" {
		c.args = append(c.args, "--http-proxy=false", "--security-opt", "label=disable")
	}
	return c, nil
}

func (c *container) execute(ctx context.Context, next runtime.Executor, t runtime.Task) runtime.Result {
	if t.Check {
		return c.check(ctx, next, t)
	}
	name := unique()
	if t.Node != nil && t.Node.IsService() {
		c.serves(t.Node.Name, name)
		defer c.serves(t.Node.Name, "")
	}
	env, names, file, err := c.variables(t)
	if err != nil {
		return runtime.Result{State: build.Failed, Reason: fmt.Sprintf("environment %s: %v", c.env.Name, err), Infra: errors.As(err, new(machineError))}
	}
	if file != "" {
		defer os.Remove(file)
	}
	t.Argv, t.Env = c.command(name, t, names, file), env
	res := next.Execute(ctx, t)
	if res.Exit != nil && *res.Exit != clientFailed {
		return res
	}
	if res.Exit != nil && res.Reason == "" {
		res.Reason = fmt.Sprintf("%s could not run the image %s, or the command itself exited with %d", c.client.name, c.env.Image, clientFailed)
	}
	// The client is gone, and the container may not be.
	if err := c.removeContainer(ctx, name); err != nil {
		res.Reason = strings.TrimPrefix(res.Reason+"; ", "; ") + err.Error()
		res.Infra = true
	}
	return res
}

// check runs a command in the container that a service runs in, with the
// environment that this one has. Where the client ends before its time, the
// command goes on until it ends by itself, or with its container.
func (c *container) check(ctx context.Context, next runtime.Executor, t runtime.Task) runtime.Result {
	c.mu.Lock()
	name := c.services[t.Node.Name]
	c.mu.Unlock()
	if name == "" {
		return runtime.Result{State: build.Failed, Reason: "its container is not there"}
	}
	t.Argv = append([]string{c.client.name, "exec", name}, t.Argv...)
	t.Env = with(c.executor.clientEnv(), "PIPER_OUTPUT", t.OutputDir) // the mark of its processes
	return next.Execute(ctx, t)
}

// serves notes the container that a service runs in; "" is none any more.
func (c *container) serves(node, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if name == "" {
		delete(c.services, node)
		return
	}
	if c.services == nil {
		c.services = map[string]string{}
	}
	c.services[node] = name
}

// clientFailed is how podman and docker exit when it was they who failed.
const clientFailed = 125

// command is the client's command line that runs t in a container. It holds
// the names of variables, never their values, as anybody may read it.
func (c *container) command(name string, t runtime.Task, names []string, file string) []string {
	argv := []string{c.client.name, "run", "--rm", "--init", "--name", name, "--label", c.label}
	argv = append(argv, c.client.args...)
	argv = append(argv, "--mount", bind(t.Workspace))
	if t.OutputDir != "" && !below(t.Workspace, t.OutputDir) {
		argv = append(argv, "--mount", bind(t.OutputDir))
	}
	argv = append(argv, "--workdir", filepath.Join(t.Workspace, filepath.FromSlash(t.Dir)), "--entrypoint=")
	if t.TTY {
		argv = append(argv, "--tty")
	}
	for _, name := range names {
		argv = append(argv, "--env", name)
	}
	if file != "" {
		argv = append(argv, "--env-file", file)
	}
	argv = append(argv, c.env.Options...)
	return append(append(argv, c.env.Image), t.Argv...)
}

// bind is the mount of a directory at its own path. A comma parts its fields,
// so a path with one is quoted, as in CSV.
func bind(dir string) string {
	field := func(s string) string {
		if !strings.ContainsAny(s, `,"`) {
			return s
		}
		return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
	}
	return "type=bind," + field("source="+dir) + "," + field("target="+dir)
}

// below reports whether path is dir, or inside it.
func below(dir, path string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && filepath.IsLocal(rel)
}

// variables parts the environment of t. What the container is to have goes
// through the client's own environment, under names that the command line
// repeats. A variable that would change the client itself, such as DOCKER_HOST,
// goes through a file that only this user can read.
//
// PATH, HOME, USER and TMPDIR are those of the image, unless the plan declares
// them: the caller's would not fit.
func (c *container) variables(t runtime.Task) (env, names []string, file string, err error) {
	var text strings.Builder
	env = c.executor.clientEnv()
	seen := map[string]bool{}
	home := false
	for _, entry := range slices.Backward(t.Env) { // the last of a name holds
		name, value, _ := strings.Cut(entry, "=")
		if seen[name] {
			continue
		}
		seen[name] = true
		if inherited(name) && name != "LANG" && name != "TERM" && !c.declared(name, t) {
			continue
		}
		home = home || name == "HOME"
		if !clientVariable(name) {
			env = append(env, entry)
			names = append(names, name)
			continue
		}
		if strings.ContainsAny(value, "\r\n") {
			return nil, nil, "", fmt.Errorf("variable %s would change %s itself, so it cannot hold several lines", name, c.client.name)
		}
		fmt.Fprintf(&text, "%s=%s\n", name, value)
	}
	slices.Sort(names)
	if !home && !c.client.root {
		// The image knows no user of the caller's number, so home would be /.
		names = append(names, "HOME=/tmp")
	}
	if text.Len() > 0 {
		if file, err = writePrivate(c.executor.Temp, text.String()); err != nil {
			return nil, nil, "", machineError{err}
		}
	}
	return env, names, file, nil
}

func (c *container) declared(name string, t runtime.Task) bool {
	return c.executor.declared(name, c.env) ||
		t.Node != nil && t.Node.Step != nil && declares(name, t.Node.Step.Env, t.Node.Step.PassEnv)
}

// writePrivate writes a file that nobody else can read.
func writePrivate(dir, text string) (path string, err error) {
	f, err := os.CreateTemp(dir, "piper-env-")
	if err != nil {
		return "", err
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// clientEnv is what podman and docker need of the caller's environment.
func (e *Executor) clientEnv() []string {
	environ := os.Environ
	if e.Environ != nil {
		environ = e.Environ
	}
	return slices.DeleteFunc(slices.Clone(environ()), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return !clientVariable(name)
	})
}

// clientVariable reports whether podman or docker, or the loader and the
// runtime they were built with, look at a variable.
func clientVariable(name string) bool {
	switch strings.ToUpper(name) {
	case "PATH", "HOME", "USER", "TMPDIR", "SSH_AUTH_SOCK", "SSL_CERT_FILE", "SSL_CERT_DIR",
		"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "GODEBUG", "GOMAXPROCS", "GOGC", "GOMEMLIMIT", "GOTRACEBACK":
		return true
	}
	return slices.ContainsFunc([]string{"DOCKER_", "BUILDKIT_", "COMPOSE_", "PODMAN_", "CONTAINER_", "CONTAINERS_", "BUILDAH_",
		"REGISTRY_", "STORAGE_", "XDG_", "DBUS_", "LD_", "DYLD_"},
		func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

// removeContainer removes a container that may still run, also when ctx is
// done. An error says that it may still be there.
func (c *container) removeContainer(ctx context.Context, name string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyTime)
	defer cancel()
	c.mu.Lock()
	c.killed = true
	c.mu.Unlock()
	// Engines differ in what they say of one that is not there, so look after.
	_, removal := c.ask(ctx, "rm", "--force", "--volumes", name)
	left, err := c.left(ctx)
	switch {
	case err == nil && !slices.Contains(left, name):
		return nil
	case err == nil && removal == nil:
		return fmt.Errorf("container %s is still there though %s removed it", name, c.client.name)
	}
	return fmt.Errorf("container %s may still run: %w", name, cmp.Or(err, removal))
}

// left lists the containers of this build that are there.
func (c *container) left(ctx context.Context) ([]string, error) {
	out, err := c.ask(ctx, "ps", "--all", "--filter", "label="+c.label, "--format", "{{.Names}}")
	return strings.Fields(string(out)), err
}

func (c *container) ask(ctx context.Context, args ...string) ([]byte, error) {
	return c.executor.output(ctx, c.executor.clientEnv(), append([]string{c.client.name}, args...)...)
}

// remove removes what a killed client asked for too late to be seen then.
func (c *container) remove() error {
	if !c.killed {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), tidyTime)
	defer cancel()
	left, err := c.left(ctx)
	if err != nil || len(left) == 0 {
		return err
	}
	_, err = c.ask(ctx, append([]string{"rm", "--force", "--volumes"}, left...)...)
	return err
}
