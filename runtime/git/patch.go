package git

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
)

// Patch returns what a commit of everything would change: what was changed, added
// or deleted since HEAD in the whole work tree and is not ignored, as git diff
// --binary writes it. It is empty when that is nothing. Neither the index nor
// the repository is touched.
func (r *Repo) Patch() ([]byte, error) {
	if _, err := r.Commit(); err != nil {
		return nil, err
	}
	temp, err := os.MkdirTemp("", "piper-patch-")
	if err != nil {
		return nil, fmt.Errorf("make a patch: %w", err)
	}
	defer os.RemoveAll(temp)
	// An index of our own, which begins as the real one so that git knows what
	// it need not read; and a place of our own for what is added.
	index := filepath.Join(temp, "index")
	if err := copyIndex(filepath.Join(r.gitDir, "index"), index); err != nil {
		return nil, fmt.Errorf("make a patch: %w", err)
	}
	objects := filepath.Join(temp, "objects")
	if err := os.Mkdir(objects, 0o700); err != nil {
		return nil, fmt.Errorf("make a patch: %w", err)
	}
	settings, err := r.settings()
	if err != nil {
		return nil, err
	}
	env := append(environment(), "GIT_INDEX_FILE="+index, "GIT_OBJECT_DIRECTORY="+objects,
		"GIT_ALTERNATE_OBJECT_DIRECTORIES="+filepath.Join(r.common, "objects"))
	var out []byte
	for _, command := range [][]string{
		{"add", "--all", "--", ":/"},
		{"diff", "--cached", "--binary", "--no-color", "--no-ext-diff", "--no-textconv", "--no-renames", "HEAD"},
	} {
		if out, err = r.run(env, slices.Concat(options[:], settings, command)); err != nil {
			return nil, fmt.Errorf("make a patch: %w", err)
		}
	}
	return out, nil
}

// copyIndex copies an index, unless there is none. It keeps its time, by which git
// knows which files may have been written again in the moment in which they were
// added, and reads those.
func copyIndex(from, to string) error {
	info, err := os.Stat(from)
	if err != nil {
		return nil
	}
	text, err := os.ReadFile(from)
	if err != nil {
		return nil
	}
	if err := os.WriteFile(to, text, 0o600); err != nil {
		return err
	}
	return os.Chtimes(to, info.ModTime(), info.ModTime())
}
