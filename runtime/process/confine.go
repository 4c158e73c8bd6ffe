package process

import (
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A Confinement keeps a program, and all that it starts, from files that its user
// may otherwise do anything with. The zero Confinement keeps it from nothing.
//
// What is hidden can be neither read nor changed nor listed, by whatever name. That
// it is there can be seen, and its mode and times can be changed, which is not the
// kernel's to forbid here. The directories that it lies in, up to the root, can
// not be listed any more, and nothing be made in them: see Costs. Nor can a
// program that is confined get privileges by starting another one, such as sudo,
// mount anything, or, from Linux 6.12 on, signal who is not confined with it.
type Confinement struct {
	Hidden  []string // files and directories, absolute, there or not
	Visible []string // of what is hidden, what is not; it has to be there
}

// Confines reports whether anything is hidden.
func (c Confinement) Confines() bool { return len(c.Hidden) > 0 }

// Hides reports whether a path is hidden, or lies in what is.
func (c Confinement) Hides(path string) bool {
	path = resolved(path)
	return slices.ContainsFunc(c.hidden(), func(h string) bool { return within(path, h) })
}

// Costs are the directories in which this user may make files, and what is
// confined may not; or which cannot be listed, so that it finds nothing in them.
func (c Confinement) Costs() (costs []string) {
	for _, dir := range c.around() {
		_, err := os.ReadDir(dir)
		if err != nil || writable(dir) {
			costs = append(costs, dir)
		}
	}
	return costs
}

// hidden is what is hidden, by the names that no link leads through.
func (c Confinement) hidden() []string {
	hidden := make([]string, len(c.Hidden))
	for i, path := range c.Hidden {
		hidden[i] = resolved(path)
	}
	return hidden
}

// around are the directories that hidden things lie in, without those that are
// hidden themselves.
func (c Confinement) around() (dirs []string) {
	hidden := c.hidden()
	for _, path := range hidden {
		for dir := path; dir != filepath.Dir(dir); {
			dir = filepath.Dir(dir)
			if !slices.Contains(dirs, dir) && !slices.ContainsFunc(hidden, func(h string) bool { return within(dir, h) }) {
				dirs = append(dirs, dir)
			}
		}
	}
	slices.Sort(dirs)
	return dirs
}

// beside are what lies in those directories and is not hidden, nor one of them.
// Links are left out: what they lead to counts.
func (c Confinement) beside() (paths []string, err error) {
	around, hidden := c.around(), c.hidden()
	for _, dir := range around {
		entries, err := os.ReadDir(dir)
		if err != nil && !os.IsPermission(err) { // who may not list it can still be confined
			return nil, err
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			if e.Type()&fs.ModeSymlink == 0 && !slices.Contains(around, path) && !slices.Contains(hidden, path) {
				paths = append(paths, path)
			}
		}
	}
	return paths, nil
}

// within reports whether path is dir, or lies in it.
func within(path, dir string) bool {
	return path == dir || strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// resolved is a path that no link leads through, as far as it is there.
func resolved(path string) string {
	path = filepath.Clean(path)
	real, err := filepath.EvalSymlinks(path)
	if err == nil || path == filepath.Dir(path) { // the root is no link
		return real
	}
	return filepath.Join(resolved(filepath.Dir(path)), filepath.Base(path))
}
