package git

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// A head is where HEAD points.
type head struct {
	commit string // "" before the first commit
	branch string // "" when detached
}

// errAskGit says that files do not tell, but the program will.
var errAskGit = errors.New("not readable as files")

func (r *Repo) head() (head, error) {
	if r.at != nil {
		return *r.at, nil
	}
	return ask(r, "head", func() (head, error) {
		h, err := r.headFromFiles()
		if errors.Is(err, errAskGit) {
			h, err = r.headFromProgram()
		}
		if err != nil {
			return head{}, fmt.Errorf("read HEAD: %w", err)
		}
		return h, nil
	})
}

func (r *Repo) headFromFiles() (head, error) {
	if _, err := os.Stat(filepath.Join(r.common, "reftable")); err == nil {
		return head{}, errAskGit
	}
	if info, err := os.Lstat(filepath.Join(r.gitDir, "HEAD")); err != nil || !info.Mode().IsRegular() {
		return head{}, errAskGit // a symbolic link, as git once wrote it
	}
	var h head
	name := "HEAD"
	for range 6 { // git follows symbolic refs five deep
		value, err := r.readRef(name)
		if err != nil {
			return head{}, err
		}
		target, symbolic := cutPrefix(value, "ref:")
		if !symbolic {
			h.commit = value
			return h, nil
		}
		if name = strings.TrimSpace(target); !filepath.IsLocal(name) {
			return head{}, errAskGit
		}
		h.branch, _ = cutPrefix(name, "refs/heads/")
	}
	return head{}, errAskGit
}

// readRef returns what a ref holds: a hash, "ref: " and another name, or ""
// when there is no such ref.
func (r *Repo) readRef(name string) (string, error) {
	dir := r.common
	if name == "HEAD" {
		dir = r.gitDir
	} else if !strings.HasPrefix(name, "refs/heads/") {
		return "", errAskGit // some others belong to the work tree, some to the repository
	}
	value, err := readLine(filepath.Join(dir, filepath.FromSlash(name)))
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.EISDIR):
		return r.readPackedRef(name)
	case err != nil:
		return "", err
	case strings.HasPrefix(value, "ref:"), IsHash(value):
		return value, nil
	}
	return "", errAskGit
}

func (r *Repo) readPackedRef(name string) (string, error) {
	packed, err := os.ReadFile(filepath.Join(r.common, "packed-refs"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	entry := []byte(" " + name + "\n")
	at := bytes.Index(packed, entry)
	if at < 0 {
		return "", nil
	}
	hash := string(packed[bytes.LastIndexByte(packed[:at], '\n')+1 : at])
	if !IsHash(hash) {
		return "", errAskGit
	}
	return hash, nil
}

// refsFromFiles returns the hashes of all branches and tags, by their full names.
// What is no plain hash under a plain name is for git to judge.
func (r *Repo) refsFromFiles() (map[string]string, error) {
	if _, err := os.Lstat(filepath.Join(r.common, "reftable")); !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(errAskGit, err)
	}
	refs := map[string]string{}
	add := func(name, hash string) error {
		if !IsHash(hash) || strings.Trim(hash, "0") == "" || CheckRef(name) != nil {
			return errAskGit
		}
		if refs[name] == "" {
			refs[name] = hash
		}
		return nil
	}
	// Refs of their own come first: git packs one before it removes that.
	for _, kind := range []string{"heads", "tags"} {
		top := filepath.Join(r.common, "refs", kind)
		err := filepath.WalkDir(top, func(path string, d fs.DirEntry, err error) error {
			switch {
			case errors.Is(err, fs.ErrNotExist): // it was packed or deleted
				return nil
			case err != nil || d.IsDir():
				return err
			case !d.Type().IsRegular():
				return errAskGit
			}
			hash, err := readLine(path)
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil {
				return err
			}
			return add("refs/"+kind+"/"+filepath.ToSlash(path[len(top)+1:]), hash)
		})
		if err != nil {
			return nil, err
		}
	}
	packed, err := os.ReadFile(filepath.Join(r.common, "packed-refs"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for entry := range strings.Lines(string(packed)) {
		if entry[0] == '#' || entry[0] == '^' {
			continue
		}
		hash, name, _ := strings.Cut(strings.TrimSuffix(entry, "\n"), " ")
		if strings.HasPrefix(name, "refs/") && !strings.HasPrefix(name, "refs/heads/") && !strings.HasPrefix(name, "refs/tags/") {
			continue
		}
		if err := add(name, hash); err != nil {
			return nil, err
		}
	}
	return refs, nil
}

func (r *Repo) headFromProgram() (head, error) {
	var h head
	ref, err := r.git("symbolic-ref", "--quiet", "HEAD")
	if err != nil && exitCode(err) != 1 {
		return head{}, err
	}
	h.branch, _ = cutPrefix(line(ref), "refs/heads/")
	commit, err := r.git("rev-parse", "--verify", "--quiet", "HEAD")
	if err != nil && exitCode(err) != 1 {
		return head{}, err
	}
	h.commit = line(commit)
	return h, nil
}

// Branches returns the local branches, sorted.
func (r *Repo) Branches() ([]string, error) {
	out, err := r.git("for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads")
	if err != nil {
		return nil, fmt.Errorf("list branches: %w", err)
	}
	return strings.Fields(string(out)), nil // no name holds a blank
}

// hasTags reports whether there may be tags, as far as files tell.
func (r *Repo) hasTags() bool {
	if _, err := os.Stat(filepath.Join(r.common, "reftable")); err == nil {
		return true
	}
	loose, err := os.ReadDir(filepath.Join(r.common, "refs", "tags"))
	if err == nil && len(loose) > 0 {
		return true
	}
	packed, err := os.ReadFile(filepath.Join(r.common, "packed-refs"))
	return err == nil && bytes.Contains(packed, []byte(" refs/tags/"))
}

// IsHash reports whether s is a full SHA-1 or SHA-256.
func IsHash(s string) bool {
	return (len(s) == 40 || len(s) == 64) && strings.Trim(s, "0123456789abcdef") == ""
}

// readLine returns a small file without the white space at its end.
func readLine(path string) (string, error) {
	text, err := os.ReadFile(path)
	return line(text), err
}

func line(text []byte) string { return strings.TrimRight(string(text), " \t\r\n") }

// cutPrefix is strings.CutPrefix, but gives "" when there is no such prefix.
func cutPrefix(s, prefix string) (string, bool) {
	rest, ok := strings.CutPrefix(s, prefix)
	if !ok {
		return "", false
	}
	return rest, true
}
