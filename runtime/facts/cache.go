package facts

import (
	"encoding/json"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// probe is the version of how tools are asked. It is raised when the same
	// tool may be said to have another version than before.
	probe = 1

	// secondLook is after how long a tool is asked that only passes on to another
	// one: which one that is does not show in its file.
	secondLook = 5 * time.Minute
)

// A cache is what tools said of themselves, kept in a file. Without the file it is
// empty.
type cache struct {
	mu       sync.Mutex
	kept     map[string]entry // in the file, when this process first looked; by the path that PATH leads to
	told     map[string]entry // since
	believed map[string]bool  // paths of kept that pass on
}

// entries are how a cache is written.
type entries struct {
	Probe int              `json:"probe"`
	Tools map[string]entry `json:"tools"`
}

// An entry is the version that a program told, and which program that was.
type entry struct {
	program
	Version string `json:"version"`
}

// A program is a file as it was when it was asked.
type program struct {
	File     string `json:"file"` // where links end
	Inode    uint64 `json:"inode"`
	Size     int64  `json:"size"`
	Modified int64  `json:"modified"` // in nanoseconds
}

// programAt is the program that a path leads to.
func programAt(path string) (p program, err error) {
	if p.File, err = filepath.EvalSymlinks(path); err != nil {
		return p, err
	}
	info, err := os.Stat(p.File)
	if err != nil {
		return p, err
	}
	if stat, ok := info.Sys().(*syscall.Stat_t); ok {
		p.Inode = stat.Ino
	}
	p.Size, p.Modified = info.Size(), info.ModTime().UnixNano()
	return p, nil
}

// passesOn reports whether a program may stand for one that it finds elsewhere, as
// scripts do, and programs that go by many names.
func (p program) passesOn(name string) bool {
	if !strings.Contains(filepath.Base(p.File), name) {
		return true
	}
	f, err := os.Open(p.File)
	if err != nil {
		return true
	}
	defer f.Close()
	var start [2]byte
	_, err = io.ReadFull(f, start[:])
	return err != nil || string(start[:]) == "#!"
}

// get returns what the program at path said, if that is the same one still.
// Until is when it is to be asked all the same; zero is never.
func (c *cache) get(file, name, path string, is program) (version string, until time.Time, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.kept == nil {
		c.kept, c.told, c.believed = load(file), map[string]entry{}, map[string]bool{}
	}
	had := c.kept[path]
	if had.program != is || c.believed[path] {
		return "", until, false
	}
	if is.passesOn(name) {
		until = time.Now().Add(secondLook)
		c.believed[path] = true
	}
	return had.Version, until, true
}

// load reads what a file has. What is wrong with it does not matter: tools are
// asked.
func load(file string) map[string]entry {
	var had entries
	text, err := os.ReadFile(file)
	if err != nil || json.Unmarshal(text, &had) != nil || had.Probe != probe || had.Tools == nil {
		return map[string]entry{}
	}
	return had.Tools
}

// put keeps what a program said, at once, as other processes may wait for the same
// answer, or this one be killed. An entry of no program is that it said nothing.
func (c *cache) put(file, path string, said entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.told[path] = said
	all := load(file)
	maps.Copy(all, c.told)
	text, err := json.Marshal(entries{probe, all})
	if err != nil {
		return
	}
	f, err := os.CreateTemp(filepath.Dir(file), ".tools-*")
	if err != nil {
		return
	}
	_, err = f.Write(text)
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		os.Remove(f.Name())
	}
}
