package test

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"

	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/starlark"
)

// goldens are the files that results are compared with: testdata/NAME.golden
// beside the file of tests. Tests that run at the same time share them.
type goldens struct {
	root   string
	update bool

	mu   sync.Mutex
	seen map[string][sha256.Size]byte // the digest of what was compared with each, in an update
}

func newGoldens(root string, update bool) *goldens {
	return &goldens{root: root, update: update, seen: map[string][sha256.Size]byte{}}
}

// compare returns what is kept for a test of file. In an update that is got,
// and written says what was written for it. A test that is run elsewhere may
// call for any name.
func (g *goldens) compare(file, name, got string) (want, written string, err error) {
	if !fs.ValidPath(name) || !plan.ValidName(name) {
		return "", "", fmt.Errorf("%q is no name for a golden file", name)
	}
	name = path.Join(path.Dir(file), "testdata", name+".golden")
	root, err := os.OpenRoot(g.root)
	if err != nil {
		return "", "", err
	}
	defer root.Close()
	g.mu.Lock()
	defer g.mu.Unlock()
	kept, err := g.read(name)
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return "", "", fmt.Errorf("read golden file %s: %w", name, err)
	case !g.update && err != nil:
		return "", "", fmt.Errorf("there is no %s yet; piper test --update writes it", name)
	case !g.update:
		return string(kept), "", nil
	}
	sum := sha256.Sum256([]byte(got))
	if before, twice := g.seen[name]; twice && before != sum {
		return "", "", fmt.Errorf("%s is to hold two different values", name)
	}
	g.seen[name] = sum
	if err == nil && string(kept) == got {
		return got, "", nil
	}
	if err := root.MkdirAll(filepath.FromSlash(path.Dir(name)), 0o777); err != nil {
		return "", "", fmt.Errorf("write golden file: %w", err)
	}
	if err := root.WriteFile(filepath.FromSlash(name), []byte(got), 0o666); err != nil {
		return "", "", fmt.Errorf("write golden file: %w", err)
	}
	return got, name, nil
}

// read reads a golden file as the language reads one: it is a regular file, and
// not too large.
func (g *goldens) read(name string) ([]byte, error) {
	dir, err := starlark.OpenDir(g.root, nil)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	f, err := dir.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	kept, err := io.ReadAll(io.LimitReader(f, starlark.MaxRead+1))
	if err == nil && len(kept) > starlark.MaxRead {
		err = fmt.Errorf("has more than %d bytes", starlark.MaxRead)
	}
	return kept, err
}
