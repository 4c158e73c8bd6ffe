package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/piper-build/piper/agent/operator"
	"github.com/piper-build/piper/runtime/process"
)

// A keep is how the steps of an agent are kept from its files.
type keep struct {
	process.Confinement        // confines nothing when they are not
	open                string // why they are not
	remedy              string // what to do about that
}

// confine decides how the steps of an agent are kept from what is private: as its
// operator said, or else if that costs them no files.
func (a *app) confine(file *operator.File, private []string) keep {
	if file.Confine == operator.Never {
		return keep{open: "agent.yaml says confine: never", remedy: "take that out"}
	}
	if err := process.CanConfine(); err != nil {
		return keep{open: err.Error(), remedy: "serve the API with --no-worker, and run builds with --no-api as another user or on another machine"}
	}
	c := process.Hide(append(append(private, file.Private()...), linked(file.Secrets.Directory)...)...)
	temp, _ := a.lookupEnv("TMPDIR")
	if temp = cmp.Or(temp, "/tmp"); c.Closes(temp) {
		return keep{open: "they could make no temporary files in " + temp, remedy: "set $TMPDIR to a directory of their own, where the agent has nothing"}
	}
	if err := shell(c); err != nil {
		return keep{open: fmt.Sprintf("no shell could be started: %v", err), remedy: "hide nothing that programs need"}
	}
	if file.Confine == operator.Always {
		return keep{Confinement: c}
	}
	const anyway = `, or write "confine: always" into agent.yaml`
	if costs := c.Costs(); len(costs) > 0 {
		return keep{open: "they could then not " + strings.Join(costs, ", nor "),
			remedy: "run the agent as a user of its own, with --data-dir /var/lib/piper or another one that lies where only root can make files; name the whole directory of another file under hidden in agent.yaml" + anyway}
	}
	if home, ok := a.lookupEnv("HOME"); ok && c.Hides(home) {
		return keep{open: "they could not use $HOME, which is " + home, remedy: "set it to another directory" + anyway}
	}
	path, _ := a.lookupEnv("PATH")
	for _, dir := range filepath.SplitList(path) {
		if program := filepath.Join(dir, "podman"); unix.Access(program, unix.X_OK) == nil {
			return keep{open: program + " could start no containers then", remedy: `if no step runs in one, write "confine: always" into agent.yaml`}
		}
	}
	return keep{Confinement: c}
}

// losses say what else steps cannot do, in words that go on.
func (k keep) losses() string {
	if costs := k.Costs(); len(costs) > 0 {
		return ", and can not " + strings.Join(costs, ", nor ")
	}
	return ""
}

// shell starts a shell that does nothing.
func shell(c process.Confinement) error {
	p, err := c.Converse(nil, []string{"/bin/sh", "-c", ":"})
	if err != nil {
		return err
	}
	status, stderr, err := p.Wait()
	if err == nil && status != 0 {
		err = errors.New(strings.TrimSpace(stderr))
	}
	return err
}

// private is what an agent has that its steps are not to read: its directory, with
// what links lead to from there, its store, and the files that its flags name.
func private(dir string, store *place, index *logPlace, files ...string) []string {
	paths := append([]string{dir}, linked(dir)...)
	if path, err := store.file(); err == nil {
		paths = append(paths, path, path+"-wal", path+"-shm", path+"-journal", filepath.Join(filepath.Dir(path), "logs"))
	}
	for _, path := range append(files, store.passwordFile, index.passwordFile, index.keyFile) {
		if path != "" {
			paths = append(paths, store.path(path))
		}
	}
	return paths
}

// linked are the links in a directory.
func linked(dir string) (paths []string) {
	entries, _ := os.ReadDir(dir) // who cannot list it has none
	for _, e := range entries {
		if e.Type()&fs.ModeSymlink != 0 {
			paths = append(paths, filepath.Join(dir, e.Name()))
		}
	}
	return paths
}
