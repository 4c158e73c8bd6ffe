package process

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A Confinement keeps a program, and all that it starts, from files that its user
// may otherwise do anything with. The zero Confinement keeps it from nothing.
//
// What is hidden can be neither read nor changed nor listed, by any path through
// the directories that it lies in. It can by a mount or a hard link that was there
// before; that it is there can be seen, its mode, times and owner can be changed,
// and who listens at a socket in it can be spoken to: that is not the kernel's to
// forbid here.
//
// The directories that hidden things lie in, up to the root, can not be listed any
// more, and nothing be made in them; of what others make there, or mount, while the
// program runs it sees nothing. See Costs. Nor can a program that is confined get
// privileges by starting another one, such as sudo, mount anything, or, from Linux
// 6.12 on, signal who is not confined with it.
type Confinement struct {
	Hidden  []string // as Hide resolved them
	Visible []string // of what is hidden, what is not; it has to be there
}

// Hide hides files and directories, there or not, by the names that they have now:
// a link that leads to one may lead elsewhere later.
func Hide(paths ...string) (c Confinement) {
	for _, path := range paths {
		path = resolved(path)
		if c.Hides(path) {
			continue
		}
		c.Hidden = slices.DeleteFunc(c.Hidden, func(h string) bool { return within(h, path) })
		c.Hidden = append(c.Hidden, path)
	}
	return c
}

// Confines reports whether anything is hidden.
func (c Confinement) Confines() bool { return len(c.Hidden) > 0 }

// Hides reports whether a path is hidden, or lies in what is.
func (c Confinement) Hides(path string) bool {
	path = resolved(path)
	return slices.ContainsFunc(c.Hidden, func(h string) bool { return within(path, h) })
}

// Closes reports whether what is confined can make no files in a directory.
func (c Confinement) Closes(dir string) bool {
	return c.Hides(dir) || slices.Contains(c.around(), resolved(dir))
}

// Costs say what this user can do, and what is confined can not: make files in the
// directories that hidden things lie in, or find those that they are in without a
// list of what else is.
func (c Confinement) Costs() (costs []string) {
	for _, dir := range c.around() {
		i := slices.IndexFunc(c.Hidden, func(h string) bool { return within(h, dir) })
		if _, err := os.ReadDir(dir); err != nil {
			costs = append(costs, fmt.Sprintf("use anything in %s (to hide %s), as this user may not list it", dir, c.Hidden[i]))
		} else if writable(dir) {
			costs = append(costs, fmt.Sprintf("make files in %s (to hide %s)", dir, c.Hidden[i]))
		}
	}
	return costs
}

// around are the directories that hidden things lie in.
func (c Confinement) around() (dirs []string) {
	for _, path := range c.Hidden {
		for dir := path; dir != filepath.Dir(dir); {
			dir = filepath.Dir(dir)
			if !slices.Contains(dirs, dir) {
				dirs = append(dirs, dir)
			}
		}
	}
	slices.Sort(dirs)
	return dirs
}

// beside calls tell for what lies in those directories and is not hidden, nor one
// of them. Links are left out: what they lead to counts.
func (c Confinement) beside(tell func(path string, dir bool) error) error {
	around := c.around()
	for _, dir := range around {
		entries, err := os.ReadDir(dir)
		if err != nil && !os.IsPermission(err) && !os.IsNotExist(err) { // then it sees nothing there
			return err
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			if e.Type()&fs.ModeSymlink != 0 || slices.Contains(around, path) || slices.Contains(c.Hidden, path) {
				continue
			}
			if err := tell(path, e.IsDir()); err != nil {
				return err
			}
		}
	}
	return nil
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
