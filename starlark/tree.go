package starlark

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"syscall"
)

// A Tree is the files that an evaluation can see. Paths are slash-separated and
// relative to its root; a path that leaves the tree is an error. The methods
// may be called by one goroutine at a time.
//
// An error is read by people, behind the name it is about. One that is
// fs.ErrNotExist is told in other words.
type Tree interface {
	// Files returns what fs sees, sorted. The caller does not change it.
	Files() ([]string, error)

	// Open opens a regular file, whether fs sees it or not.
	Open(name string) (io.ReadCloser, error)

	// Names returns the names of what stands in a directory and is none
	// itself, for the caller to keep.
	Names(dir string) ([]string, error)
}

// A Dir is the Tree below a directory. Nothing leaves it: not by the words of a
// path, not through a symbolic link.
type Dir struct {
	root *os.Root
	list func() ([]string, error)
}

// OpenDir opens the tree below root. Files answers what list does, or every
// file but those of .git when that is nil.
func OpenDir(root string, list func() ([]string, error)) (*Dir, error) {
	r, err := os.OpenRoot(root)
	if err != nil {
		return nil, fmt.Errorf("open the tree: %w", err)
	}
	return &Dir{r, list}, nil
}

// Close closes d. What was opened in it stays open.
func (d *Dir) Close() error { return d.root.Close() }

// Files implements Tree.
func (d *Dir) Files() ([]string, error) {
	if d.list != nil {
		return d.list()
	}
	return d.walk()
}

// walk lists every regular file and symbolic link but those of .git.
func (d *Dir) walk() ([]string, error) {
	var files []string
	err := fs.WalkDir(d.root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil && name == ".":
			return err
		case err != nil:
			return nil // a directory that cannot be read has no files to see
		case d.Name() == ".git":
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.Type().IsRegular() || d.Type()&fs.ModeSymlink != 0:
			files = append(files, name)
		}
		return nil
	})
	// WalkDir sorts each directory; the whole is to be sorted as paths are.
	slices.Sort(files)
	return files, err
}

// Open implements Tree. What it returns is an *os.File.
func (d *Dir) Open(name string) (io.ReadCloser, error) {
	// Without O_NONBLOCK a FIFO would hold us until someone writes to it.
	f, err := d.root.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		if err = reason(err); d.escapes(err) {
			err = errOutside
		}
		return nil, err
	}
	info, err := f.Stat()
	switch {
	case err != nil:
		err = reason(err)
	case info.IsDir():
		err = errors.New("is a directory")
	case !info.Mode().IsRegular():
		err = errors.New("is not a regular file")
	default:
		return f, nil
	}
	f.Close()
	return nil, err
}

var errOutside = errors.New("it leads out of the tree")

// escapes reports whether err, a reason, is that a path leaves the tree. Package
// os does not export its error, so another one is made to compare with.
func (d *Dir) escapes(err error) bool {
	_, outside := d.root.Lstat("..")
	return err == reason(outside)
}

// Names implements Tree.
func (d *Dir) Names(dir string) ([]string, error) { return fileNames(d.root.FS(), dir) }

// fileNames lists what stands in a directory and is none itself.
func fileNames(files fs.FS, dir string) ([]string, error) {
	entries, err := fs.ReadDir(files, dir)
	if err != nil {
		return nil, reason(err)
	}
	var names []string
	for _, e := range entries {
		if !e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

// A tree is a Tree that is asked for its files once. It is the builtins.Tree of
// an evaluation.
type tree struct {
	Tree
	files []string
	known bool
}

// Files implements builtins.Tree.
func (t *tree) Files() ([]string, error) {
	if t.known {
		return t.files, nil
	}
	files, err := t.Tree.Files()
	if err != nil {
		return nil, fmt.Errorf("list the files of the tree: %w", err)
	}
	t.files, t.known = files, true
	return files, nil
}

// MaxRead is how many bytes fs.read returns at most.
const MaxRead = 8 << 20

// Read implements builtins.Tree.
func (t *tree) Read(name string) ([]byte, error) {
	data, err := t.read(name, MaxRead)
	if errors.Is(err, errTooLarge) {
		return nil, fmt.Errorf("has more than %d bytes", MaxRead)
	}
	return data, err
}

var errTooLarge = errors.New("is too large")

// read returns a regular file's bytes, at most limit of them.
func (t *tree) read(name string, limit int) ([]byte, error) {
	f, err := t.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	size := 512
	if sized, ok := f.(interface{ Stat() (fs.FileInfo, error) }); ok {
		if info, err := sized.Stat(); err == nil {
			size = int(min(info.Size(), int64(limit)))
		}
	}
	data := make([]byte, 0, size+1)
	for {
		n, err := f.Read(data[len(data):cap(data)])
		data = data[:len(data)+n]
		switch {
		case len(data) > limit:
			return nil, errTooLarge
		case err == io.EOF:
			return data, nil
		case err != nil:
			return nil, reason(err)
		case len(data) == cap(data):
			data = append(data, 0)[:len(data)]
		}
	}
}

// reason drops the operation and the path from an error of package os: the
// message around it has them.
func reason(err error) error {
	var failed *fs.PathError
	if errors.As(err, &failed) {
		if errors.Is(failed.Err, fs.ErrNotExist) {
			return fs.ErrNotExist
		}
		return failed.Err
	}
	return err
}
