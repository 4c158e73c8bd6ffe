package git

import (
	"bytes"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// A neighbour is a remote that is a repository of this machine: what git would
// say of it to whoever fetches, as its files tell.
type neighbour struct {
	head string            // the ref of its default branch
	refs map[string]string // hashes of branches and tags, by their full names
}

// neighbour reads the files of a remote. The error is errAskGit, or that of a
// file, when it is elsewhere, or git might say anything else of it than its files
// do at first sight.
func (r remote) neighbour() (n neighbour, err error) {
	path := strings.TrimPrefix(r.url, "file://")
	if r.transport != "file" || strings.Contains(path, "%") {
		return n, errAskGit
	}
	gitDir := filepath.Join(path, ".git")
	switch info, err := os.Lstat(gitDir); {
	case errors.Is(err, fs.ErrNotExist):
		gitDir = path
	case err != nil:
		return n, err
	case !info.IsDir():
		return n, errAskGit
	}
	if !isGitDirectory(gitDir) {
		return n, errAskGit
	}
	for _, dir := range []string{path, gitDir} { // git trusts nobody else's
		var info unix.Stat_t
		if err := unix.Stat(dir, &info); err != nil || info.Uid != uint32(os.Geteuid()) {
			return n, errors.Join(errAskGit, err)
		}
	}
	for _, name := range []string{"commondir", "shallow"} {
		if _, err := os.Lstat(filepath.Join(gitDir, name)); !errors.Is(err, fs.ErrNotExist) {
			return n, errors.Join(errAskGit, err)
		}
	}
	config, err := os.ReadFile(filepath.Join(gitDir, "config"))
	if err != nil {
		return n, err
	}
	config = bytes.ToLower(config)
	for _, word := range []string{"hiderefs", "include", "worktreeconfig"} {
		if bytes.Contains(config, []byte(word)) {
			return n, errAskGit
		}
	}
	repo := &Repo{gitDir: gitDir, common: gitDir}
	head, err := repo.headFromFiles()
	if err != nil {
		return n, err
	}
	if n.refs, err = repo.refsFromFiles(); err != nil {
		return n, err
	}
	n.head = "refs/heads/" + head.branch
	if n.refs[n.head] == "" { // it has no branch, or one without a commit
		return n, errAskGit
	}
	return n, nil
}

// follows reports whether the mirror has all that a neighbour has, and nothing
// that it has not.
func (m *Mirror) follows(n neighbour) bool {
	head, err := m.files().headFromFiles()
	if err != nil || "refs/heads/"+head.branch != n.head {
		return false
	}
	refs, err := m.files().refsFromFiles()
	return err == nil && maps.Equal(refs, n.refs)
}
