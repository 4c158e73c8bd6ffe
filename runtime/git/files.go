package git

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
)

// Files returns the files of the project that count: those git tracks and
// those it would, as it does not ignore them. A tracked file that was deleted
// does not count, nor does anything called .git. The files of a repository
// inside, a submodule or a stray clone, are the ones that count there.
//
// Paths are slash-separated, relative to the directory given to Open, sorted.
// A path may be a symbolic link, never a directory. The caller may keep the
// slice, and must not change it.
func (r *Repo) Files() ([]string, error) {
	return ask(r, "files", func() ([]string, error) {
		if r.at != nil {
			v, err := r.Revision(r.at.commit)
			if err != nil {
				return nil, err
			}
			return v.Files()
		}
		entries, err := r.list("ls-files", "-z", "-t", "--stage", "--cached", "--deleted", "--others", "--exclude-standard", "--", ".")
		if err != nil {
			return nil, fmt.Errorf("list files: %w", err)
		}
		var files, gone []string
		for _, entry := range entries {
			// "? path", or "H 100644 hash stage\tpath"; the letter is R when deleted.
			tag, path, _ := strings.Cut(entry, " ")
			mode := ""
			if tag != "?" {
				mode, _, _ = strings.Cut(path, " ")
				_, path, _ = strings.Cut(path, "\t")
			}
			switch {
			case tag == "R":
				gone = append(gone, path)
			case tag == "S": // not checked out
			case mode == "160000" || strings.HasSuffix(path, "/"):
				inner, err := r.filesInside(path)
				if err != nil {
					return nil, err
				}
				files = append(files, inner...)
			default:
				files = append(files, path)
			}
		}
		slices.Sort(files)
		slices.Sort(gone)
		return slices.DeleteFunc(slices.Compact(files), func(path string) bool {
			_, deleted := slices.BinarySearch(gone, path)
			return deleted
		}), nil
	})
}

// filesInside lists the repository that stands in a directory of this one. A
// submodule that was not checked out has no files.
func (r *Repo) filesInside(dir string) ([]string, error) {
	inner, err := Open(filepath.Join(r.dir, filepath.FromSlash(dir)))
	if err != nil || inner.root != inner.dir {
		return nil, nil
	}
	inner.Context, inner.Output = r.Context, r.Output
	files, err := inner.Files()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", strings.TrimSuffix(dir, "/"), err)
	}
	prefixed := make([]string, len(files))
	for i, file := range files {
		prefixed[i] = strings.TrimSuffix(dir, "/") + "/" + file
	}
	return prefixed, nil
}

// Changed returns the files of the project that differ from the commit where
// HEAD and base parted: in a commit, in the index, in the work tree, or because
// git does not know them yet. Base is a revision; a branch that only the remote
// origin has will do. Paths are as those of Files, but deleted ones count, and a
// repository inside is one path.
func (r *Repo) Changed(base string) ([]string, error) {
	return ask(r, "changed "+base, func() ([]string, error) {
		parted, err := r.mergeBase(base)
		if err != nil {
			return nil, fmt.Errorf("find changes since %s: %w", base, err)
		}
		differ := []string{"diff", "--name-only", "-z", "--no-renames", "--relative", "--no-ext-diff", "--no-textconv", parted}
		if r.at != nil {
			differ = append(differ, r.at.commit)
		}
		tracked, err := r.list(append(differ, "--", ".")...)
		if err != nil {
			return nil, fmt.Errorf("find changes since %s: %w", base, err)
		}
		if r.at != nil {
			return tracked, nil
		}
		untracked, err := r.list("ls-files", "-z", "--others", "--exclude-standard", "--", ".")
		if err != nil {
			return nil, fmt.Errorf("find changes since %s: %w", base, err)
		}
		changed := append(tracked, untracked...)
		for i, path := range changed {
			changed[i] = strings.TrimSuffix(path, "/")
		}
		slices.Sort(changed)
		return slices.Compact(changed), nil
	})
}

func (r *Repo) mergeBase(base string) (string, error) {
	if err := checkRevision(base); err != nil {
		return "", err
	}
	head, err := r.Commit()
	if err != nil {
		return "", err
	}
	commit, err := r.resolve(base)
	if err != nil {
		return "", err
	}
	out, err := r.git("merge-base", commit, head)
	switch {
	case exitCode(err) == 1 && r.Shallow():
		return "", errors.New("no common commit is known, as the clone is shallow: fetch more of its history, such as with git fetch --unshallow")
	case exitCode(err) == 1:
		return "", errors.New("it has no commit in common with HEAD")
	case err != nil:
		return "", err
	}
	return line(out), nil
}

// resolve returns the commit that a revision names, here or at origin.
func (r *Repo) resolve(rev string) (string, error) {
	names := []string{rev, "refs/remotes/origin/" + rev}
	if branch, ok := strings.CutPrefix(rev, "origin/"); ok && r.at != nil { // the remote's branches are ours
		names[1] = "refs/heads/" + branch
	}
	for _, name := range names {
		out, err := r.git("rev-parse", "--verify", "--quiet", name+"^{commit}")
		if err == nil {
			return line(out), nil
		}
		if exitCode(err) != 1 {
			return "", err
		}
	}
	hint := "fetch it first, if it is one of origin"
	if branches := r.branches(); branches != "" {
		hint = "branches here are " + branches + "; " + hint
	}
	return "", &advised{ErrUnknown, hint}
}

// someBranches is how many are named to who looks for another one.
const someBranches = 5

// branches names those that were committed to last; "" is that there are none.
func (r *Repo) branches() string {
	out, err := r.git("for-each-ref", "--sort=-committerdate", fmt.Sprint("--count=", someBranches+1), "--format=%(refname:short)", "refs/heads")
	names := strings.Fields(string(out))
	if err != nil {
		return "" // it is only advice
	}
	if len(names) > someBranches {
		names[someBranches] = "others"
	}
	return strings.Join(names, ", ")
}

// list runs a git command that ends each entry with a NUL.
func (r *Repo) list(command ...string) ([]string, error) {
	out, err := r.git(command...)
	entries := strings.Split(string(out), "\x00")
	return entries[:len(entries)-1], err
}
