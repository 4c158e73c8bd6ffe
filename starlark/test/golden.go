package test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"
)

// goldens are the files that results are compared with: testdata/NAME.golden
// beside the file of tests. Tests that run at the same time share them.
type goldens struct {
	root   string
	update bool

	mu   sync.Mutex
	seen map[string]string // what was compared with each, in an update
}

func newGoldens(root string, update bool) *goldens {
	return &goldens{root: root, update: update, seen: map[string]string{}}
}

// compare returns what is kept for a test of file. In an update that is got,
// and written says what was written for it.
func (g *goldens) compare(file, name, got string) (want, written string, err error) {
	name = path.Join(path.Dir(file), "testdata", name+".golden")
	root, err := os.OpenRoot(g.root)
	if err != nil {
		return "", "", err
	}
	defer root.Close()
	g.mu.Lock()
	defer g.mu.Unlock()
	kept, err := root.ReadFile(filepath.FromSlash(name))
	switch {
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return "", "", fmt.Errorf("read golden file: %w", err)
	case !g.update && err != nil:
		return "", "", fmt.Errorf("there is no %s yet; piper test --update writes it", name)
	case !g.update:
		return string(kept), "", nil
	}
	if before, twice := g.seen[name]; twice && before != got {
		return "", "", fmt.Errorf("%s is to hold two different values", name)
	}
	g.seen[name] = got
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
