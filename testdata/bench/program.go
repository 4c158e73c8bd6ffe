package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// source is this folder, from the top of the repository.
const source = "testdata/bench"

// A program is the path of one, or why there is none.
type program struct {
	path    string
	missing error
}

// programs finds what the trials run. What a search path lacks is installed if
// that can be done without asking anybody; what was looked for once is
// remembered, found or not.
type programs struct {
	bin    string // for what is built here
	cache  string // for what is built of others, kept between runs
	known  map[string]program
	listed bool // Debian's package lists are up to date
}

// A peer says where a program comes from when the search path lacks it.
type peer struct {
	debian  string // packages
	module  string // or a Go package, and
	version string // its module's version
}

var peers = map[string]peer{
	"buildbot":        {debian: "buildbot"},
	"buildbot-worker": {debian: "buildbot-worker"},
	"cc":              {debian: "gcc libc6-dev"},
	"git":             {debian: "git"},
	"ninja":           {debian: "ninja-build"},
	"rethinkdb":       {}, // Debian has none
	"samu":            {debian: "samurai"},
	"task":            {module: "github.com/go-task/task/v3/cmd/task", version: "v3.48.0"},
	"dagu":            {module: "github.com/dagu-org/dagu/cmd", version: "v1.16.4"},
	"woodpecker-cli":  {module: "go.woodpecker-ci.org/woodpecker/v3/cmd/cli", version: "v3.0.1"},
}

func newPrograms(bin string) (*programs, error) {
	if err := os.Mkdir(bin, 0o755); err != nil {
		return nil, err
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("find a cache directory: %w", err)
	}
	return &programs{bin: bin, cache: filepath.Join(cache, "piper-bench"), known: map[string]program{}}, nil
}

// once returns what find says, and remembers it.
func (p *programs) once(name string, find func() (string, error)) program {
	found, ok := p.known[name]
	if !ok {
		found.path, found.missing = find()
		p.known[name] = found
	}
	return found
}

// piper is the program that is measured, as "make build" makes it.
func (p *programs) piper() program {
	return p.once("piper", func() (string, error) { return p.goBuild("piper", "./cmd/piper") })
}

// build builds a Go program of this folder.
func (p *programs) build(name string) program {
	return p.once("go "+name, func() (string, error) { return p.goBuild(name, "./"+source+"/"+name) })
}

func (p *programs) goBuild(name, pkg string) (string, error) {
	path := filepath.Join(p.bin, name)
	cmd := exec.Command("go", "build", "-o", path, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	return path, quietly(cmd)
}

// river builds the program in river, in a module of its own.
func (p *programs) river() program {
	return p.once("river", func() (string, error) {
		const version = "v0.51.2"
		path := filepath.Join(p.cache, "river-"+version)
		if exists(path) {
			return path, nil
		}
		fmt.Fprintln(os.Stderr, "bench: build a program with River", version)
		dir, err := os.MkdirTemp(p.bin, "river-")
		if err != nil {
			return "", err
		}
		main, err := os.ReadFile(filepath.Join(source, "river", "main.go"))
		if err == nil {
			err = errors.Join(os.MkdirAll(p.cache, 0o755), os.WriteFile(filepath.Join(dir, "main.go"), main, 0o644))
		}
		const module = "github.com/riverqueue/river"
		for _, args := range [][]string{
			{"mod", "init", "river"},
			{"get", module + "@" + version, module + "/riverdriver/riverpgxv5@" + version},
			{"build", "-o", path, "main.go"},
		} {
			if err == nil {
				cmd := exec.Command("go", args...)
				cmd.Dir = dir
				err = quietly(cmd)
			}
		}
		if err != nil {
			fmt.Fprintf(os.Stderr, "bench: build a program with River: %v\n", err)
			return "", fmt.Errorf("program with River is not built, and could not be with go get %s@%s", module, version)
		}
		return path, nil
	})
}

// postgres is the directory with PostgreSQL's own programs.
func (p *programs) postgres() program {
	return p.once("postgres", func() (string, error) {
		const where = "/usr/lib/postgresql/*/bin"
		found, err := filepath.Glob(where)
		if err == nil && len(found) == 0 {
			err = p.aptGet("postgresql")
			found, _ = filepath.Glob(where)
		}
		if err != nil || len(found) == 0 {
			fmt.Fprintf(os.Stderr, "bench: apt-get install postgresql: %v\n", err)
			return "", errors.New("PostgreSQL is not installed, and could not be with apt-get install postgresql")
		}
		return found[len(found)-1], nil
	})
}

// compile compiles a C program of this folder.
func (p *programs) compile(name string) program {
	return p.once("c "+name, func() (string, error) {
		cc := p.peer("cc")
		if cc.missing != nil {
			return "", cc.missing
		}
		path := filepath.Join(p.bin, name)
		return path, quietly(exec.Command(cc.path, "-O2", "-pthread", "-o", path, filepath.Join(source, name, name+".c")))
	})
}

// peer finds one of peers.
func (p *programs) peer(name string) program {
	return p.once(name, func() (string, error) {
		if path, err := exec.LookPath(name); err == nil {
			return filepath.Abs(path)
		}
		from := peers[name]
		if from == (peer{}) {
			return "", fmt.Errorf("%s is not installed, and is in no package that could be", name)
		}
		var err error
		how := "apt-get install " + from.debian
		if from.module != "" {
			path := filepath.Join(p.cache, name+"-"+from.version)
			if exists(path) {
				return path, nil
			}
			if err = p.goInstall(from, path); err == nil {
				return path, nil
			}
			how = "go install " + from.module + "@" + from.version
		} else {
			err = p.aptGet(from.debian)
		}
		if err != nil {
			// What went wrong is of this machine, and no part of the table.
			fmt.Fprintf(os.Stderr, "bench: %s: %v\n", how, err)
			return "", fmt.Errorf("%s is not installed, and could not be with %s", name, how)
		}
		return exec.LookPath(name)
	})
}

// goInstall builds a Go program of others, and puts it at path.
func (p *programs) goInstall(from peer, path string) error {
	fmt.Fprintf(os.Stderr, "bench: install %s@%s\n", from.module, from.version)
	bin, err := os.MkdirTemp(p.bin, "install-")
	if err != nil {
		return err
	}
	cmd := exec.Command("go", "install", from.module+"@"+from.version)
	cmd.Dir = bin // outside of this module
	cmd.Env = append(os.Environ(), "GOBIN="+bin)
	if err := quietly(cmd); err != nil {
		return err
	}
	if err := os.MkdirAll(p.cache, 0o755); err != nil {
		return err
	}
	return quietly(exec.Command("cp", filepath.Join(bin, filepath.Base(from.module)), path))
}

// aptGet installs Debian packages.
func (p *programs) aptGet(packages string) error {
	if _, err := exec.LookPath("apt-get"); err != nil || os.Getuid() != 0 {
		return fmt.Errorf("install %s", packages)
	}
	fmt.Fprintf(os.Stderr, "bench: install %s\n", packages)
	if !p.listed {
		if err := quietly(exec.Command("apt-get", "update", "-qq")); err != nil {
			return err
		}
		p.listed = true
	}
	return quietly(exec.Command("apt-get", append([]string{"install", "-qq", "-y"}, strings.Fields(packages)...)...))
}

// quietly runs cmd. What it says is for when it fails: the first line that is
// about an error.
func quietly(cmd *exec.Cmd) error {
	out, err := cmd.CombinedOutput()
	if err == nil {
		return nil
	}
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		if line != "" && !strings.HasPrefix(line, "go: downloading ") && !strings.HasPrefix(line, "#") {
			return errors.New(line)
		}
	}
	return fmt.Errorf("%s: %w", filepath.Base(cmd.Path), err)
}
