package process

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/piper-build/piper/runtime"
	"golang.org/x/sys/unix"
)

// A command is a task in the terms of execve(2).
type command struct {
	path      string // of the program; when relative, from the working directory
	argv      []string
	env       []string
	workspace string
	dir       string   // what to change to
	held      *os.File // the directory, held open so that nothing can take its place
}

func (c *command) close() {
	if c.held != nil {
		c.held.Close()
	}
}

// prepare finds a task's directory and program. A workspace and a path that
// are not as they should be are left for the start to fail on, and explain to
// tell why: nearly all are, and looking takes time.
func prepare(t runtime.Task) (_ *command, err error) {
	c := &command{argv: t.Argv, env: t.Env, workspace: t.Workspace, dir: t.Workspace}
	if err := c.enter(t.Dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	if c.argv, err = split(t.Argv); err != nil {
		return nil, err
	}
	where := filepath.Join(t.Workspace, filepath.FromSlash(t.Dir))
	if c.path, err = find(c.argv[0], where, lookup(t.Env, "PATH")); err != nil {
		return nil, err
	}
	return c, nil
}

// enter resolves the directory dir of the workspace. The words of dir were
// looked at when the plan was made; what the file system makes of them is
// looked at here. A symbolic link may not leave the workspace, even to come
// back.
func (c *command) enter(dir string) error {
	if dir == "" || dir == "." {
		return nil
	}
	if err := c.checkWorkspace(); err != nil {
		return err
	}
	root, err := os.OpenRoot(c.workspace)
	if err != nil {
		return fmt.Errorf("open workspace: %w", err)
	}
	defer root.Close()
	name := filepath.FromSlash(dir)
	info, err := root.Stat(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return faultf(0, "directory %s is not there", dir)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ELOOP):
		return faultf(0, "directory %s cannot be entered: %v", dir, cause(err))
	case err != nil:
		return faultf(0, "directory %s leaves the workspace", dir)
	case !info.IsDir():
		return faultf(0, "directory %s is not a directory", dir)
	}
	if c.held, err = root.Open(name); err != nil {
		return faultf(0, "directory %s cannot be entered: %v", dir, cause(err))
	}
	c.dir = heldDir(c.held, filepath.Join(c.workspace, name))
	return nil
}

func (c *command) checkWorkspace() error {
	info, err := os.Stat(c.workspace)
	if err != nil || !info.IsDir() {
		return fmt.Errorf("open workspace %s: %w", c.workspace, cmpErr(err, syscall.ENOTDIR))
	}
	return nil
}

// cmpErr returns err, or instead when there is none.
func cmpErr(err, instead error) error {
	if err != nil {
		return err
	}
	return instead
}

// cause strips the name of the operation and the path from an error of package
// os.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// lookup returns the value of a variable. The last one counts, as in a shell.
func lookup(env []string, name string) (value string) {
	for _, entry := range env {
		if len(entry) > len(name) && entry[len(name)] == '=' && entry[:len(name)] == name {
			value = entry[len(name)+1:]
		}
	}
	return value
}

// find looks for a program as a shell does: a name with a slash is a path from
// dir, another is looked for in path.
func find(name, dir, path string) (string, error) {
	if name == "" {
		return "", faultf(127, "the command is empty")
	}
	if strings.Contains(name, "/") {
		return name, nil
	}
	said := path
	if path == "" {
		path, said = "/usr/bin:/bin", "not set"
	}
	var found error
	for entry := range strings.SplitSeq(path, ":") {
		if entry == "" {
			entry = "."
		}
		file := strings.TrimSuffix(entry, "/") + "/" + name
		err := runnable(from(dir, file))
		if err == nil {
			return file, nil
		}
		if found == nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ENOTDIR) {
			found = faultf(126, "%s: %v", file, err)
		}
	}
	if found != nil {
		return "", found
	}
	return "", faultf(127, "%s: command not found; PATH is %s", name, said)
}

// from is name seen from dir.
func from(dir, name string) string {
	if dir == "" || strings.HasPrefix(name, "/") {
		return name
	}
	return dir + "/" + name
}

var errDirectory = errors.New("is a directory")

// runnable reports why a file cannot be run.
func runnable(file string) error {
	var st unix.Stat_t
	if err := unix.Stat(file, &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return errDirectory
	}
	if st.Mode&0o111 == 0 {
		return unix.EACCES
	}
	return unix.Access(file, unix.X_OK)
}

const (
	// maxArg is the longest argument that Linux takes, MAX_ARG_STRLEN less the
	// byte that ends it. Other systems limit only the sum.
	maxArg = 128<<10 - 1

	// maxScript is the longest script that a step may have.
	maxScript = 1 << 20
)

// split gives a script that is longer than an argument may be to its shell in
// pieces: as positional parameters, put together and evaluated by a script of
// its own, which removes them first.
func split(argv []string) ([]string, error) {
	last := len(argv) - 1
	for i, arg := range argv {
		if strings.IndexByte(arg, 0) >= 0 {
			return nil, faultf(126, "argument %d holds a NUL byte", i)
		}
		if len(arg) <= maxArg {
			continue
		}
		if i != last || last < 3 || argv[last-1] != "-c" || argv[last-2] != "-e" {
			return nil, faultf(126, "argument %d is %d bytes long; at most %d can be passed", i, len(arg), maxArg)
		}
		if len(arg) > maxScript {
			return nil, faultf(126, "the script is %d bytes long; at most %d are allowed", len(arg), maxScript)
		}
	}
	if last < 3 || len(argv[last]) <= maxArg {
		return argv, nil
	}
	script, shell := argv[last], argv[last-3]
	boot := []byte(`eval "set --; `)
	var pieces []string
	for len(script) > 0 {
		n := min(len(script), maxArg)
		if n < len(script) {
			for n > maxArg-4 && script[n]&0xc0 == 0x80 {
				n-- // not inside a character
			}
		}
		pieces = append(pieces, script[:n])
		script = script[n:]
		boot = fmt.Appendf(boot, "${%d}", len(pieces))
	}
	boot = append(boot, '"')
	long := append(argv[:last:last], string(boot), shell)
	return append(long, pieces...), nil
}

// checkPath says why a path is none of a program.
func checkPath(name, dir string) error {
	switch err := runnable(from(dir, name)); {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR):
		return faultf(127, "%s: no such file", name)
	default:
		return faultf(126, "%s: %v", name, err)
	}
}

// explain says what an error of ForkExec means for the step.
func explain(c *command, err error) error {
	if err := c.checkWorkspace(); err != nil {
		return err
	}
	if err := checkPath(c.path, c.dir); err != nil {
		return err
	}
	name := c.argv[0]
	switch {
	case errors.Is(err, syscall.ENOENT):
		if interpreter := shebang(from(c.dir, c.path)); interpreter != "" {
			return faultf(127, "%s: its interpreter %s is not there", name, interpreter)
		}
		return faultf(127, "%s: no such file, or what it is linked with is not there", name)
	case errors.Is(err, syscall.E2BIG):
		return faultf(126, "%s: the arguments (%d bytes) and the environment (%d bytes) are longer than the system takes", name, size(c.argv), size(c.env))
	case errors.Is(err, syscall.EINVAL):
		return faultf(126, "%s: an argument or the environment holds a NUL byte", name)
	case errors.Is(err, syscall.ENOEXEC):
		return faultf(126, "%s: is not a program for this machine", name)
	case errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM), errors.Is(err, syscall.ENOTDIR),
		errors.Is(err, syscall.ELOOP), errors.Is(err, syscall.ENAMETOOLONG), errors.Is(err, syscall.ETXTBSY):
		return faultf(126, "%s: %v", name, err)
	}
	return fmt.Errorf("start %s: %w", name, err)
}

// shebang returns the interpreter that a script's first line names.
func shebang(file string) string {
	line, ok := bytes.CutPrefix(head(file), []byte("#!"))
	if !ok {
		return ""
	}
	line, _, _ = bytes.Cut(line, []byte("\n"))
	if words := bytes.Fields(line); len(words) > 0 {
		return string(words[0])
	}
	return ""
}

// head returns the first bytes of a file.
func head(file string) []byte {
	f, err := os.Open(file)
	if err != nil {
		return nil
	}
	defer f.Close()
	start := make([]byte, 256)
	n, _ := f.Read(start)
	return start[:n]
}

func size(list []string) (n int) {
	for _, s := range list {
		n += len(s) + 1
	}
	return n
}
