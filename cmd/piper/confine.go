package main

import (
	"cmp"
	"path/filepath"
	"slices"
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
// operator said, or else if that takes nothing else from them.
func (a *app) confine(file *operator.File, private []string) keep {
	c := process.Confinement{Hidden: append(private, file.Private()...)}
	if file.Confine == operator.Never {
		return keep{open: "agent.yaml says confine: never", remedy: "take that out"}
	}
	if err := process.CanConfine(); err != nil {
		return keep{open: err.Error(), remedy: "serve the API with --no-worker, and run builds with --no-api as another user or on another machine"}
	}
	temp, _ := a.lookupEnv("TMPDIR")
	if temp = cmp.Or(temp, "/tmp"); c.Hides(temp) {
		return keep{open: "they would have no directory for temporary files, which is " + temp, remedy: "set $TMPDIR to another one"}
	}
	if file.Confine == operator.Always {
		return keep{Confinement: c}
	}
	const anyway = `, or write "confine: always" into agent.yaml`
	if costs := c.Costs(); len(costs) > 0 {
		return keep{open: "they could then make no files in " + strings.Join(costs, ", "),
			remedy: "put what is the agent's where only root can make files, such as --data-dir /var/lib/piper, and run it as a user of its own" + anyway}
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

// private is what an agent has that its steps are not to read.
func private(dir string, store *place, index *logPlace, more ...string) (paths []string) {
	add := func(path string) {
		if path = store.path(path); !strings.HasPrefix(path, dir+"/") {
			paths = append(paths, path)
		}
	}
	add(dir)
	if path, err := store.file(); err == nil {
		for _, path := range []string{path, path + "-wal", path + "-shm", path + "-journal", filepath.Join(filepath.Dir(path), "logs")} {
			add(path)
		}
	}
	for _, path := range append([]string{store.passwordFile, index.passwordFile, index.keyFile}, more...) {
		if path != "" {
			add(path)
		}
	}
	return slices.Clip(paths)
}
