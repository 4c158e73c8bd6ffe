// Package facts says what a machine is and has.
//
// A fact is a key and a text: os is linux, cpus is 8, tools.go is 1.26.1.
// A Machine finds a fact when somebody asks for it, and keeps it; what a command
// tells may be found again after a while. A plan holds
// no facts, only requirements on them, and Check holds the one against the
// other before a step starts.
//
// # Keys
//
//	os                    linux, darwin, …: as in GOOS
//	arch                  amd64, arm64, …: as in GOARCH
//	kernel                the release of the kernel, such as 6.1.0-18-amd64
//	distribution          debian, ubuntu, alpine, macos, …: ID of os-release
//	distribution.version  such as 12
//	cpus                  how many the process may use at once
//	memory                bytes that the process may use
//	virtual               docker, podman, kubernetes, lxc, wsl, kvm, vmware, …;
//	                      vm or container when nobody tells which; or none
//	hostname              as the machine calls itself
//	tools.NAME            the version of the program NAME that is on PATH
//
// An operator adds others, which stand still (Static) or which a command tells
// (Commands).
//
// A limit of a version 2 control group on processors or memory counts: a
// container of 2 GiB has 2 GiB. Otherwise memory is what the kernel manages,
// which is a little less than what is built in.
package facts

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/piper-build/piper/runtime/process"
)

// A Machine finds the facts of this machine. The zero Machine is ready for
// use. Its fields may be set before the first call of a method; it is safe for
// use by many goroutines.
type Machine struct {
	// Static facts come before what is found, and may have keys of their own,
	// such as gpu or zone. An empty value takes a fact away.
	Static map[string]string
	// Commands are facts that a command tells, with keys as those of Static.
	Commands map[string]Command
	// Environ is the environment in which tools are looked for and asked; nil is
	// os.Environ.
	Environ []string
	// Output asks a tool for its version; nil is process.Output.
	Output func(ctx context.Context, dir string, env []string, argv ...string) ([]byte, error)
	// Cache is a file that keeps the versions of tools for the next process, which
	// then asks only tools that changed; "" is none. One that cannot be read or
	// written is none, too.
	Cache string

	mu    sync.Mutex
	found map[string]*finding
	cache cache
}

// A finding is a fact that is looked for, or was.
type finding struct {
	done  chan struct{} // closed when the rest is set
	value string
	ok    bool
	err   error
	until time.Time // it is looked for again; zero is never
}

// old reports whether the fact is to be looked for again.
func (f *finding) old() bool {
	select {
	case <-f.done:
		return !f.until.IsZero() && !time.Now().Before(f.until)
	default:
		return false
	}
}

const toolPrefix = "tools."

// Unkillable is the key of the processes that builds left on an agent and that
// nothing ends.
const Unkillable = "unkillable"

// Get returns the fact of a key. It is not ok when the machine has no such
// thing, or when there is no such key; a tool that does not tell its version is
// there with an empty value. An error is ctx's, or says that the machine could
// not be asked.
func (m *Machine) Get(ctx context.Context, key string) (value string, ok bool, err error) {
	if value, ok := m.Static[key]; ok {
		return value, value != "", nil
	}
	for {
		f, mine := m.claim(key)
		if mine {
			f.value, f.ok, f.until, f.err = m.find(ctx, key)
			if ctx.Err() != nil {
				f.err = ctx.Err()
				m.forget(key)
			}
			close(f.done)
			return f.value, f.ok && f.err == nil, f.err
		}
		select {
		case <-f.done:
			if !errors.Is(f.err, context.Canceled) && !errors.Is(f.err, context.DeadlineExceeded) {
				return f.value, f.ok, f.err
			}
		case <-ctx.Done():
			return "", false, ctx.Err()
		}
	}
}

// All returns the facts that have no parameter, the tools on PATH that Piper
// knows by name, and those that the operator adds. Called again it takes little
// time: only commands whose time has come are run, and tools that are to be asked again. A fact that cannot be found is left out;
// an error is ctx's.
func (m *Machine) All(ctx context.Context) (map[string]string, error) {
	keys := basics()
	for _, t := range tools {
		keys = append(keys, toolPrefix+t.name)
	}
	keys = slices.AppendSeq(keys, maps.Keys(m.Static))
	keys = slices.AppendSeq(keys, maps.Keys(m.Commands))
	slices.Sort(keys)
	keys = slices.Compact(keys)
	all := map[string]string{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, 4) // asking a tool is mostly waiting for a disk
	for _, key := range keys {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			value, ok, err := m.Get(ctx, key)
			if err == nil && ok {
				mu.Lock()
				defer mu.Unlock()
				all[key] = value
			}
		})
	}
	wg.Wait()
	return all, ctx.Err()
}

// basics are the keys that need no parameter.
func basics() []string {
	return []string{"os", "arch", "kernel", "distribution", "distribution.version", "cpus", "memory", "virtual", "hostname"}
}

// find finds a fact that is not kept yet, or no longer. It is to be found again
// after until; zero is never.
func (m *Machine) find(ctx context.Context, key string) (value string, ok bool, until time.Time, err error) {
	if c, told := m.Commands[key]; told {
		value, ok, err = m.command(ctx, c)
		if c.Refresh > 0 {
			until = time.Now().Add(c.Refresh)
		}
		return value, ok, until, err
	}
	if name, tool := strings.CutPrefix(key, toolPrefix); tool {
		return m.tool(ctx, name)
	}
	value, err = basic(key)
	return value, value != "", until, err
}

// has reports whether there is a fact, and does not start a tool to know.
func (m *Machine) has(ctx context.Context, key string) (bool, error) {
	_, static := m.Static[key]
	if _, told := m.Commands[key]; !static && !told {
		if name, tool := strings.CutPrefix(key, toolPrefix); tool {
			_, ok := m.lookPath(name)
			return ok, nil
		}
	}
	_, ok, err := m.Get(ctx, key)
	return ok, err
}

func (m *Machine) claim(key string) (f *finding, mine bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if f := m.found[key]; f != nil && !f.old() {
		return f, false
	}
	if m.found == nil {
		m.found = map[string]*finding{}
	}
	f = &finding{done: make(chan struct{})}
	m.found[key] = f
	return f, true
}

func (m *Machine) forget(key string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.found, key)
}

func (m *Machine) environ() []string {
	if m.Environ != nil {
		return m.Environ
	}
	return os.Environ()
}

func (m *Machine) output(ctx context.Context, env []string, argv ...string) ([]byte, error) {
	if m.Output != nil {
		return m.Output(ctx, "/", env, argv...)
	}
	return process.Output(ctx, "/", env, argv...)
}
