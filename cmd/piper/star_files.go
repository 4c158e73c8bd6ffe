package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/piper-build/piper/runtime/git"
)

// starFiles is the .star files of a tree that a command was asked for. Nothing
// outside of the tree is read or written, not through a symbolic link either.
type starFiles struct {
	root  *os.Root
	dir   string   // of root, absolute, without symbolic links
	names []string // below root, slash-separated, sorted
}

// starFiles finds what args name: files, and directories for all the files
// inside. Without args it is every file of the project. The files of a project
// are those that git does not ignore; a symbolic link counts only when it is
// named.
func (a *app) starFiles(ctx context.Context, args []string) (*starFiles, error) {
	dir, err := filepath.EvalSymlinks(a.projectDir())
	if err != nil {
		return nil, fmt.Errorf("find the tree: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("open the tree: %w", err)
	}
	s := &starFiles{root: root, dir: dir}
	all := func() ([]string, error) { return s.list(ctx) }
	if len(args) == 0 {
		s.names, err = all()
		if err == nil && len(s.names) == 0 {
			err = usagef("there is no .star file in %s", dir)
		}
	}
	for _, arg := range args {
		if err == nil {
			err = s.add(a.path(arg), arg, all)
		}
	}
	if err != nil {
		root.Close()
		return nil, err
	}
	slices.Sort(s.names)
	s.names = slices.Compact(s.names)
	return s, nil
}

// add adds the file, or what is in the directory, at an absolute path.
func (s *starFiles) add(at, spelled string, all func() ([]string, error)) error {
	real, err := filepath.EvalSymlinks(at)
	if errors.Is(err, fs.ErrNotExist) {
		return usagef("%s is not there", spelled)
	} else if err != nil {
		return usagef("%s: %w", spelled, err)
	}
	below, err := filepath.Rel(s.dir, real)
	if err != nil || !filepath.IsLocal(below) {
		return &usageError{
			message: fmt.Sprintf("%s is not in the tree %s", spelled, s.dir),
			hint:    "-C DIR goes to another tree first",
		}
	}
	below = filepath.ToSlash(below)
	info, err := s.root.Stat(below)
	switch {
	case err != nil:
		return usagef("%s: %w", spelled, err)
	case info.Mode().IsRegular():
		s.names = append(s.names, below)
		return nil
	case !info.IsDir():
		return usagef("%s is not a regular file", spelled)
	}
	files, err := all()
	if err != nil {
		return err
	}
	before := len(s.names)
	for _, file := range files {
		if below == "." || strings.HasPrefix(file, below+"/") {
			s.names = append(s.names, file)
		}
	}
	if len(s.names) == before {
		return usagef("there is no .star file in %s", spelled)
	}
	return nil
}

// list returns every file of the tree.
func (s *starFiles) list(ctx context.Context) ([]string, error) {
	var files []string
	repo, err := git.Open(s.dir)
	switch {
	case err == nil:
		repo.Context = ctx
		if files, err = repo.Files(); err != nil {
			return nil, err
		}
	case errors.Is(err, git.ErrNotRepository):
		err := fs.WalkDir(s.root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
			if err == nil && d.Name() == ".git" && d.IsDir() {
				return fs.SkipDir
			}
			files = append(files, name)
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("list the files of %s: %w", s.dir, err)
		}
	default:
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(files), func(name string) bool {
		if path.Ext(name) != ".star" {
			return true
		}
		info, err := s.root.Lstat(name)
		return err != nil || !info.Mode().IsRegular()
	}), nil
}

// maxStarFile is how many bytes of a file are read: more than an evaluation
// takes, so that it is the parser that says so.
const maxStarFile = 1<<20 + 1

// read returns a file's bytes and its mode.
func (s *starFiles) read(name string) ([]byte, fs.FileMode, error) {
	// Without O_NONBLOCK a FIFO would hold us until someone writes to it.
	f, err := s.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("read %s: not a regular file", name)
	}
	if err != nil {
		return nil, 0, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxStarFile))
	return data, info.Mode().Perm(), err
}

// write replaces a file, whole or not at all. A file that may not be written
// is not replaced either.
func (s *starFiles) write(name string, data []byte, mode fs.FileMode) error {
	old, err := s.root.OpenFile(name, os.O_WRONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return err
	}
	old.Close()
	temp := path.Join(path.Dir(name), fmt.Sprintf(".%s.%d.tmp", path.Base(name), os.Getpid()))
	f, err := s.root.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode)
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = s.root.Rename(temp, name)
	}
	if err != nil {
		s.root.Remove(temp)
	}
	return err
}
