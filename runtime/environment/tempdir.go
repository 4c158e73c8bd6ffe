package environment

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/piper-build/piper/runtime"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/remove"
)

// A tempDir is a copy of the tree.
type tempDir struct {
	dir    string
	keep   bool
	report func(format string, args ...any)
}

func (e *Executor) makeTempDir(ctx context.Context, env *plan.Environment) (place, error) {
	// A name may hold slashes, which a pattern may not.
	pattern := "piper-" + strings.ReplaceAll(env.Name, "/", "-") + "-"
	keep, temp := e.Keep || env.Keep, e.Temp
	if keep {
		temp = "" // which may not last
	}
	dir, err := os.MkdirTemp(temp, pattern)
	if err != nil {
		return nil, machineError{err}
	}
	if err := copyTree(ctx, dir, e.Workspace, e.Files); err != nil {
		return nil, machineError{errors.Join(fmt.Errorf("copy the tree: %w", err), remove.Tree(dir))}
	}
	return &tempDir{dir: dir, keep: keep, report: func(format string, args ...any) {
		e.report("environment "+env.Name+": "+format, args...)
	}}, nil
}

func (d *tempDir) execute(ctx context.Context, next runtime.Executor, t runtime.Task) runtime.Result {
	t.Workspace = d.dir
	t.Env = with(t.Env, "PIPER_WORKSPACE", d.dir)
	return next.Execute(ctx, t)
}

func (d *tempDir) remove() error {
	if d.keep {
		d.report("kept in %s", d.dir)
		return nil
	}
	return remove.Tree(d.dir)
}

// copyTree copies the files that list names from one directory into another:
// their modes and times too, links as links. Nothing outside from is read, and
// nothing outside to is written. A file that has gone since it was listed, and
// one that is neither file, directory nor link, is left out.
func copyTree(ctx context.Context, to, from string, list func() ([]string, error)) error {
	source, err := os.OpenRoot(from)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := os.OpenRoot(to)
	if err != nil {
		return err
	}
	defer target.Close()
	if list == nil {
		list = func() ([]string, error) { return everything(ctx, source, target) }
	}
	paths, err := list()
	if err != nil {
		return err
	}
	c := copying{from: source, to: target, modes: map[string]fs.FileMode{".": 0o700}}
	for _, path := range paths {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := c.copy(ctx, path); err != nil {
			return err
		}
	}
	return c.finish()
}

// everything lists a tree without .git, and without the copy itself.
func everything(ctx context.Context, root, except *os.Root) ([]string, error) {
	skip, err := except.Stat(".")
	if err != nil {
		return nil, err
	}
	var paths []string
	err = fs.WalkDir(root.FS(), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.Name() == ".git" {
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		if entry.IsDir() {
			if err := ctx.Err(); err != nil {
				return err
			}
			if info, err := entry.Info(); err == nil && os.SameFile(info, skip) {
				return fs.SkipDir
			}
		}
		paths = append(paths, path)
		return nil
	})
	return paths, err
}

// A copying is a tree while it is copied.
type copying struct {
	from, to *os.Root
	modes    map[string]fs.FileMode // of the directories made: set at the end, as one may forbid to write
}

func (c *copying) copy(ctx context.Context, name string) error {
	info, err := c.from.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if err := c.makeDir(path.Dir(name)); err != nil {
		return err
	}
	switch info.Mode().Type() {
	case fs.ModeDir:
		return c.makeDir(name)
	case fs.ModeSymlink:
		target, err := c.from.Readlink(name)
		if err != nil {
			return err
		}
		return c.to.Symlink(target, name)
	case 0:
		return c.copyFile(ctx, name, info)
	}
	return nil
}

func (c *copying) makeDir(name string) error {
	if _, made := c.modes[name]; made {
		return nil
	}
	if err := c.makeDir(path.Dir(name)); err != nil {
		return err
	}
	info, err := c.from.Stat(name)
	if err != nil {
		return err
	}
	c.modes[name] = info.Mode().Perm()
	return c.to.Mkdir(name, 0o700)
}

func (c *copying) copyFile(ctx context.Context, name string, info fs.FileInfo) (err error) {
	source, err := c.from.Open(name)
	if err != nil {
		return err
	}
	defer source.Close()
	target, err := c.to.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, target.Close()) }()
	// Between two *os.File, io.Copy lets the kernel copy, or share the blocks
	// where the file system can. What is appended meanwhile is not waited for.
	for left := info.Size(); left > 0; {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, err := io.CopyN(target, source, min(left, 64<<20))
		if errors.Is(err, io.EOF) {
			break // it was cut short
		}
		if err != nil {
			return err
		}
		left -= n
	}
	if err := target.Chmod(info.Mode().Perm()); err != nil {
		return err
	}
	return c.to.Chtimes(name, info.ModTime(), info.ModTime())
}

// finish gives the directories their modes, the innermost first.
func (c *copying) finish() error {
	names := make([]string, 0, len(c.modes))
	for name := range c.modes {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range slices.Backward(names) {
		if err := c.to.Chmod(name, c.modes[name]); err != nil {
			return err
		}
	}
	return nil
}
