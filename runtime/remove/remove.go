// Package remove takes away a tree that somebody left who may have meant harm:
// whatever its modes, however deep or wide it is, and nothing outside of it.
package remove

import (
	"errors"
	"os"
	"path"
	"path/filepath"
	"strconv"
)

// deepest is how far down a tree is taken apart as it stands. Each level takes
// file descriptors, so what is further down is moved up first.
const deepest = 64

// Tree removes a directory and all that is in it. Links are removed, never
// followed; that holds for dir too. When there is none that is no error. Nobody
// else may be at work in it.
func Tree(dir string) error {
	first := os.RemoveAll(dir)
	if first == nil {
		return nil
	}
	parent, err := os.OpenRoot(filepath.Dir(dir))
	if err != nil {
		return errors.Join(first, err)
	}
	defer parent.Close()
	base := filepath.Base(dir)
	if info, err := parent.Lstat(base); err != nil || !info.IsDir() {
		return first
	}
	parent.Chmod(base, 0o700) // who may not do that finds out below
	top, err := parent.OpenRoot(base)
	if err != nil {
		return errors.Join(first, err)
	}
	defer top.Close()
	f := flattener{top: top, todo: []string{"."}}
	for len(f.todo) > 0 {
		last := len(f.todo) - 1
		name := f.todo[last]
		f.todo = f.todo[:last]
		f.open(top, name, name, 0)
	}
	return os.RemoveAll(dir)
}

// A flattener opens what is shut in a tree, and moves up what is far down. What
// it cannot do shows when the tree is removed.
type flattener struct {
	top   *os.Root
	todo  []string // directories at the top that were moved there
	moved int
}

// open sees to the directory name of root, which is at a path below the top.
func (f *flattener) open(root *os.Root, name, at string, depth int) {
	here, err := root.OpenRoot(name)
	if err != nil {
		return
	}
	defer here.Close()
	list, err := here.Open(".")
	if err != nil {
		return
	}
	defer list.Close()
	for {
		entries, err := list.ReadDir(1000) // there may be millions
		for _, e := range entries {
			if !e.IsDir() {
				continue
			}
			here.Chmod(e.Name(), 0o700)
			if below := path.Join(at, e.Name()); depth < deepest {
				f.open(here, e.Name(), below, depth+1)
			} else {
				f.raise(below)
			}
		}
		if err != nil { // the end, mostly
			return
		}
	}
}

// raise moves a directory to the top.
func (f *flattener) raise(at string) {
	for range 100 { // names that may be taken
		f.moved++
		name := "moved-" + strconv.Itoa(f.moved)
		if f.top.Rename(at, name) == nil {
			f.todo = append(f.todo, name)
			return
		}
	}
}
