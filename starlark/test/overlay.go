package test

import (
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"

	"github.com/piper-build/piper/starlark"
)

// An overlay is a tree with files laid over it. nil hides the file below.
type overlay struct {
	starlark.Tree
	files map[string]*string
}

// Files implements starlark.Tree.
func (o *overlay) Files() ([]string, error) {
	below, err := o.Tree.Files()
	if err != nil || len(o.files) == 0 {
		return below, err
	}
	var files []string
	for _, name := range below {
		if _, covered := o.files[name]; !covered {
			files = append(files, name)
		}
	}
	for name, text := range o.files {
		if text != nil {
			files = append(files, name)
		}
	}
	slices.Sort(files)
	return files, nil
}

// Open implements starlark.Tree.
func (o *overlay) Open(name string) (io.ReadCloser, error) {
	text, covered := o.files[path.Clean(name)]
	switch {
	case !covered:
		return o.Tree.Open(name)
	case text == nil:
		return nil, fs.ErrNotExist
	}
	return io.NopCloser(strings.NewReader(*text)), nil
}

// Names implements starlark.Tree.
func (o *overlay) Names(dir string) ([]string, error) {
	names, err := o.Tree.Names(dir)
	for name, text := range o.files {
		if path.Dir(name) != path.Clean(dir) {
			continue
		}
		names = slices.DeleteFunc(names, func(n string) bool { return n == path.Base(name) })
		if text != nil {
			names, err = append(names, path.Base(name)), nil
		}
	}
	slices.Sort(names)
	return names, err
}
