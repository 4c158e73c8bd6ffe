package starlark

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"

	"go.starlark.net/starlark"

	"github.com/piper-build/piper/builtins"
)

// A cache keeps compiled files, and what was found in files (answer), by the
// digest of their source. It is a directory that belongs to this user alone: a
// program in it is run without being compiled, so who can write there can say
// what is run. Each entry begins with the digest of the rest, and one that does
// not fit its digest is as good as none. Entries appear whole, by renaming;
// several writers do no harm. No error of the cache is an error of the
// evaluation.
//
// The nil cache keeps nothing.
type cache struct{ dir string }

// The bounds of a cache. Compiling a small file is as fast as reading it back.
const (
	minCached  = 32 << 10 // bytes of source
	maxEntries = 64       // of a kind
)

// The kinds of entries, which are what their names end with.
const (
	programs = ".starc"
	answers  = ".answer"
)

func openCache(dir string) *cache {
	if dir == "" {
		return nil
	}
	if info, err := os.Stat(dir); err == nil && !private(info) {
		return nil
	}
	return &cache{dir}
}

// private reports whether this user alone can write to a directory.
func private(dir fs.FileInfo) bool {
	stat, ok := dir.Sys().(*syscall.Stat_t)
	return ok && dir.IsDir() && int(stat.Uid) == os.Geteuid() && dir.Mode().Perm()&0o022 == 0
}

// entry returns where what key says is kept.
func (c *cache) entry(kind string, key []byte) string {
	sum := sha256.Sum256(key)
	return filepath.Join(c.dir, hex.EncodeToString(sum[:16])+kind)
}

// read returns an entry.
func (c *cache) read(entry string) ([]byte, bool) {
	data, err := os.ReadFile(entry)
	if err != nil || len(data) < sha256.Size {
		return nil, false
	}
	sum, data := data[:sha256.Size], data[sha256.Size:]
	got := sha256.Sum256(data)
	return data, bytes.Equal(got[:], sum)
}

// write keeps what put writes as an entry.
func (c *cache) write(entry string, put func(io.Writer) error) {
	var data bytes.Buffer
	data.Write(make([]byte, sha256.Size))
	if put(&data) != nil {
		return
	}
	sum := sha256.Sum256(data.Bytes()[sha256.Size:])
	copy(data.Bytes(), sum[:])
	if os.MkdirAll(c.dir, 0o700) != nil {
		return
	}
	kind := filepath.Ext(entry)
	f, err := os.CreateTemp(c.dir, "new-*"+kind)
	if err != nil {
		return
	}
	_, err = f.Write(data.Bytes())
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), entry)
	}
	if err != nil {
		os.Remove(f.Name())
		return
	}
	c.prune(kind)
}

// prune removes the oldest entries of a kind when there are too many.
func (c *cache) prune(kind string) {
	list, err := os.ReadDir(c.dir)
	if err != nil {
		return
	}
	var entries []fs.FileInfo
	for _, e := range list {
		if info, err := e.Info(); err == nil && strings.HasSuffix(e.Name(), kind) {
			entries = append(entries, info)
		}
	}
	slices.SortFunc(entries, func(a, b fs.FileInfo) int { return b.ModTime().Compare(a.ModTime()) })
	for _, old := range entries[min(len(entries), maxEntries):] {
		os.Remove(filepath.Join(c.dir, old.Name()))
	}
}

// program returns where the program of s is kept. What else a compiled program
// depends on is in the key, too: its own name, the compiler, and the names it
// did not define.
func (c *cache) program(s *source) string {
	return c.entry(programs, fmt.Appendf(nil, "%d\n%s\n%s\n%x", starlark.CompilerVersion, predeclaredNames(), s.name, s.sum))
}

var predeclaredNames = sync.OnceValue(func() string { return strings.Join(builtins.Names(), " ") })

// get sets the program of s, if it is kept, and reports whether it is.
func (c *cache) get(s *source) bool {
	if c == nil || len(s.text) < minCached {
		return false
	}
	data, ok := c.read(c.program(s))
	if !ok {
		return false
	}
	var err error
	s.program, err = starlark.CompiledProgram(bytes.NewReader(data))
	return err == nil
}

// put keeps the program of s.
func (c *cache) put(s *source) {
	if c != nil && len(s.text) >= minCached {
		c.write(c.program(s), s.program.Write)
	}
}
