package git

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// clone makes in dir what git clone --no-checkout does of the mirror, as if it
// came from the remote. git takes several times as long: it talks with itself as
// with a remote one, in a program of its own.
//
// Objects are linked, or copied to another file system and to a tree that is to be
// apart: they stay whatever becomes of the mirror, and can be read where that
// cannot, as in a container.
func (m *Mirror) clone(ctx context.Context, dir string, sha256 bool) error {
	// Refs first: what they lead to is there by then, whoever fetches meanwhile.
	head, err := m.head(ctx)
	if err != nil {
		return err
	}
	list, err := m.refs(ctx)
	if err != nil {
		return err
	}
	if err := m.init(ctx, dir, sha256); err != nil {
		return err
	}
	gitDir := filepath.Join(dir, ".git")
	if err := linkTree(ctx, filepath.Join(m.repository(), "objects"), filepath.Join(gitDir, "objects"), m.Apart); err != nil {
		return err
	}
	shallow := filepath.Join(m.repository(), "shallow")
	if err := copyFile(shallow, filepath.Join(gitDir, "shallow"), 0o666); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	branch, refs := clonedRefs(list, head)
	if err := os.WriteFile(filepath.Join(gitDir, "packed-refs"), []byte(refs), 0o666); err != nil {
		return err
	}
	config := "[remote \"origin\"]\n\turl = " + configText(m.URL) + "\n\tfetch = +refs/heads/*:refs/remotes/origin/*\n"
	if branch != "" {
		config += "[branch " + configText(branch) + "]\n\tremote = origin\n\tmerge = " + configText(head) + "\n"
		origin := filepath.Join(gitDir, "refs", "remotes", "origin")
		if err := os.MkdirAll(origin, 0o777); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(origin, "HEAD"), []byte("ref: refs/remotes/origin/"+branch+"\n"), 0o666); err != nil {
			return err
		}
	}
	return appendFile(filepath.Join(gitDir, "config"), config)
}

// refs returns the hashes of all branches and tags, by their full names.
func (m *Mirror) refs(ctx context.Context) (map[string]string, error) {
	if refs, err := m.files().refsFromFiles(); err == nil {
		return refs, nil
	}
	list, err := m.git(ctx, "for-each-ref", "--format=%(objectname) %(refname)", "refs/heads", "refs/tags")
	refs := map[string]string{}
	for entry := range strings.Lines(string(list)) {
		hash, name, _ := strings.Cut(strings.TrimSuffix(entry, "\n"), " ")
		refs[name] = hash
	}
	return refs, err
}

// clonedRefs turns the refs of a mirror, whose HEAD is head, into the packed-refs
// of its clone, and returns the branch that the clone has of its own.
func clonedRefs(from map[string]string, head string) (branch, packed string) {
	var refs []string // "ref hash", as they are sorted by name
	for name, hash := range from {
		if short, is := strings.CutPrefix(name, "refs/heads/"); is {
			if name == head {
				branch = short
				refs = append(refs, name+" "+hash)
			}
			name = "refs/remotes/origin/" + short
		}
		refs = append(refs, name+" "+hash)
	}
	slices.Sort(refs)
	var text strings.Builder
	text.WriteString("# pack-refs with: sorted \n")
	for _, ref := range refs {
		name, hash, _ := strings.Cut(ref, " ")
		text.WriteString(hash + " " + name + "\n")
	}
	return branch, text.String()
}

// configText is a text as a file of settings has it.
func configText(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(s) + `"`
}

// linkTree makes to as from is, of the same files; on another file system, or
// apart, of copies. What is being written meanwhile may be missing.
func linkTree(ctx context.Context, from, to string, apart bool) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) && path != from {
			return nil
		}
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		rel, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		target := filepath.Join(to, rel)
		switch {
		case strings.HasPrefix(d.Name(), "tmp_"):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case d.IsDir():
			return os.MkdirAll(target, 0o777)
		}
		if !apart {
			err = os.Link(path, target)
		}
		if apart || err != nil && !errors.Is(err, fs.ErrNotExist) {
			err = copyFile(path, target, 0o444)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
}

// copyFile makes a file to with what is in from.
func copyFile(from, to string, mode fs.FileMode) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return fmt.Errorf("copy %s: %w", from, err)
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

func appendFile(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
