package starlark

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"go.starlark.net/starlark"

	"github.com/piper-build/piper/builtins"
)

// A cache keeps compiled files by the digest of their source, in a directory
// that belongs to this user alone: a program in it is run without being
// compiled, so who can write there can say what is run. Each entry begins with
// the digest of the rest, and one that does not fit its digest is as good as
// none. Entries appear whole, by renaming; several writers do no harm. No
// error of the cache is an error of the evaluation.
//
// The nil cache keeps nothing.
type cache struct{ dir string }

// The bounds of a cache. Compiling a small file is as fast as reading it back.
const (
	minCached   = 32 << 10 // bytes of source
	maxEntries  = 64
	entrySuffix = ".starc"
)

func openCache(dir string) *cache {
	if dir == "" {
		return nil
	}
	return &cache{dir}
}

// entry returns where s is kept. What else a compiled program depends on is in
// the name, too: its own name, the compiler, and the names it did not define.
func (c *cache) entry(s *source) string {
	key := sha256.New()
	fmt.Fprintf(key, "%d\n%s\n%s\n%x", starlark.CompilerVersion, predeclaredNames(), s.name, s.sum)
	return filepath.Join(c.dir, hex.EncodeToString(key.Sum(nil)[:16])+entrySuffix)
}

var predeclaredNames = sync.OnceValue(func() string { return strings.Join(builtins.Names(), " ") })

// get sets the program of s, if it is kept, and reports whether it is.
func (c *cache) get(s *source) bool {
	if c == nil || len(s.text) < minCached {
		return false
	}
	data, err := os.ReadFile(c.entry(s))
	if err != nil || len(data) < sha256.Size {
		return false
	}
	sum, data := data[:sha256.Size], data[sha256.Size:]
	if got := sha256.Sum256(data); !bytes.Equal(got[:], sum) {
		return false
	}
	s.program, err = starlark.CompiledProgram(bytes.NewReader(data))
	return err == nil
}

// put keeps the program of s.
func (c *cache) put(s *source) {
	if c == nil || len(s.text) < minCached {
		return
	}
	var data bytes.Buffer
	data.Write(make([]byte, sha256.Size))
	if s.program.Write(&data) != nil {
		return
	}
	sum := sha256.Sum256(data.Bytes()[sha256.Size:])
	copy(data.Bytes(), sum[:])
	if os.MkdirAll(c.dir, 0o700) != nil {
		return
	}
	f, err := os.CreateTemp(c.dir, "new-*"+entrySuffix)
	if err != nil {
		return
	}
	_, err = f.Write(data.Bytes())
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), c.entry(s))
	}
	if err != nil {
		os.Remove(f.Name())
		return
	}
	c.prune()
}

// prune removes the oldest entries when there are too many.
func (c *cache) prune() {
	list, err := os.ReadDir(c.dir)
	if err != nil {
		return
	}
	var entries []fs.FileInfo
	for _, e := range list {
		if info, err := e.Info(); err == nil && strings.HasSuffix(e.Name(), entrySuffix) {
			entries = append(entries, info)
		}
	}
	slices.SortFunc(entries, func(a, b fs.FileInfo) int { return b.ModTime().Compare(a.ModTime()) })
	for _, old := range entries[min(len(entries), maxEntries):] {
		os.Remove(filepath.Join(c.dir, old.Name()))
	}
}
