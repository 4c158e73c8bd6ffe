package git

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"unicode"
)

// maxRef is how many bytes a ref may have.
const maxRef = 500

// CheckRef reports whether a name can be that of a branch, a tag or another ref,
// or a hash: what git allows, and nothing that anyone takes for an option, an
// expression or a command.
func CheckRef(name string) error {
	wrong := ""
	switch {
	case name == "":
		wrong = "it is empty"
	case len(name) > maxRef:
		wrong = fmt.Sprintf("it has more than %d bytes", maxRef)
	case name == "@" || strings.Contains(name, "@{"):
		wrong = "it is an expression"
	case strings.Contains(name, ".."):
		wrong = `it holds ".."`
	case strings.ContainsFunc(name, func(r rune) bool { return r == ' ' || r == unicode.ReplacementChar || !unicode.IsPrint(r) }):
		wrong = "it holds a blank, or a character that cannot be seen"
	case strings.ContainsAny(name, "~^:?*[\\"):
		wrong = `it holds one of ~ ^ : ? * [ \`
	case strings.ContainsAny(name, "$`;|&<>(){}'\"!"):
		wrong = "it holds a character that means something to a shell"
	}
	for part := range strings.SplitSeq(name, "/") {
		switch {
		case wrong != "":
		case part == "":
			wrong = "a part of it is empty"
		case part[0] == '-':
			wrong = "a part of it begins with a dash"
		case part[0] == '.' || strings.HasSuffix(part, ".") || strings.HasSuffix(part, ".lock"):
			wrong = `a part of it begins or ends with a dot, or ends with ".lock"`
		}
	}
	if wrong != "" {
		return invalid{&advised{fmt.Errorf("ref %s: %s", quote(name), wrong), "name a branch, a tag, a ref such as refs/pull/7/head, or the hash of a commit"}}
	}
	return nil
}

// Resolve returns the full hash of the commit that a ref names, as far as it has
// been fetched: a hash, a branch, a tag, a ref such as refs/pull/7/head, or a
// hash that was cut short, the first of these that there is. "" is the default
// branch. The error is ErrUnknown when there is none, ErrNoCommit when the
// repository is empty.
func (m *Mirror) Resolve(ctx context.Context, ref string) (commit string, err error) {
	err = m.told("find "+cmp.Or(printable(ref), "the default branch")+" in", func() error {
		return m.use(ctx, func() error {
			if ref == "" {
				if ref, err = m.defaultBranch(ctx); err != nil {
					return err
				}
			}
			commit, err = m.resolve(ctx, ref)
			return err
		})
	})
	return commit, err
}

func (m *Mirror) resolve(ctx context.Context, ref string) (string, error) {
	if err := CheckRef(ref); err != nil {
		return "", err
	}
	names := []string{"refs/heads/" + ref, "refs/tags/" + ref}
	if strings.HasPrefix(ref, "refs/") {
		names = []string{ref}
	} else if IsHash(ref) {
		names = []string{ref}
	} else if len(ref) >= 4 && strings.Trim(ref, "0123456789abcdef") == "" {
		names = append(names, ref)
	}
	for _, name := range names {
		commit, err := m.commit(ctx, name)
		if !errors.Is(err, ErrUnknown) {
			return commit, err
		}
	}
	hint := "is it pushed, and spelled right?"
	if IsHash(ref) {
		hint = "the commit is gone from the repository, or was never pushed"
	}
	return "", &advised{ErrUnknown, hint}
}

// commit returns the commit that a full name of git's names. Files tell of a
// branch, which git has point at nothing else.
func (m *Mirror) commit(ctx context.Context, name string) (string, error) {
	if strings.HasPrefix(name, "refs/heads/") && CheckRef(name) == nil {
		if value, err := m.files().readRef(name); err == nil && IsHash(value) {
			return value, nil
		}
	}
	out, err := m.git(ctx, "rev-parse", "--verify", "--quiet", "--end-of-options", name+"^{commit}")
	// 128 is what it says of a hash that is ambiguous or of no commit, too.
	if code := exitCode(err); code == 1 || code == fatal {
		return "", ErrUnknown
	}
	return line(out), err
}

// Has reports whether files alone tell that a commit is here, as a branch leads
// to it. Where they do not, or the mirror is in doubt, Resolve may know it still.
func (m *Mirror) Has(commit string) bool {
	if _, err := os.Lstat(m.suspect()); !errors.Is(err, fs.ErrNotExist) {
		return false
	}
	refs, err := m.files().refsFromFiles()
	if err != nil {
		return false
	}
	for name, hash := range refs {
		if hash == commit && strings.HasPrefix(name, "refs/heads/") { // a tag may be of anything
			return true
		}
	}
	return false
}

// DefaultBranch returns the remote's default branch, as of the last Fetch.
func (m *Mirror) DefaultBranch(ctx context.Context) (branch string, err error) {
	err = m.told("find the default branch of", func() error {
		return m.use(ctx, func() error {
			branch, err = m.defaultBranch(ctx)
			return err
		})
	})
	return branch, err
}

func (m *Mirror) defaultBranch(ctx context.Context) (string, error) {
	name, err := m.head(ctx)
	if err != nil {
		return "", err
	}
	branch, ok := cutPrefix(name, "refs/heads/")
	if ok {
		_, err = m.commit(ctx, name)
	}
	switch {
	case !ok || errors.Is(err, ErrUnknown):
		any, err := m.git(ctx, "for-each-ref", "--count=1", "refs/heads")
		if err == nil && len(any) == 0 {
			return "", ErrNoCommit
		}
		return "", &advised{errors.New("the repository has no default branch"), "name a branch"}
	case err != nil:
		return "", err
	}
	return branch, nil
}

// head returns the ref that HEAD is; "" is none.
func (m *Mirror) head(ctx context.Context) (string, error) {
	if h, err := m.files().headFromFiles(); err == nil && h.branch != "" {
		return "refs/heads/" + h.branch, nil
	}
	out, err := m.git(ctx, "symbolic-ref", "--quiet", "HEAD")
	if err != nil && exitCode(err) != 1 {
		return "", err
	}
	return line(out), nil
}

// files is the mirror as files alone tell of it.
func (m *Mirror) files() *Repo {
	return &Repo{gitDir: m.repository(), common: m.repository()}
}

// IsBranch reports whether there is a branch of that name.
func (m *Mirror) IsBranch(ctx context.Context, name string) (is bool, err error) {
	if CheckRef(name) != nil {
		return false, nil
	}
	err = m.told("find branch "+name+" of", func() error {
		return m.use(ctx, func() error {
			_, err := m.commit(ctx, "refs/heads/"+name)
			is = err == nil
			if errors.Is(err, ErrUnknown) {
				return nil
			}
			return err
		})
	})
	return is, err
}

// Branches returns the branches, sorted, as of the last Fetch.
func (m *Mirror) Branches(ctx context.Context) (branches []string, err error) {
	err = m.told("list the branches of", func() error {
		return m.use(ctx, func() error {
			out, err := m.git(ctx, "for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads")
			branches = strings.Fields(string(out)) // no name holds a blank
			return err
		})
	})
	return branches, err
}

// At returns what git says of a commit, as a Repo of a clean checkout would that
// is on branch; "" is on none. Nothing is checked out, so there are the commit's
// files (Revision) and no others.
func (m *Mirror) At(ctx context.Context, commit, branch string) (*Repo, error) {
	err := m.told("look at "+printable(commit)+" in", func() error {
		if !IsHash(commit) {
			return errors.New("it is not the full hash of a commit")
		}
		return m.use(ctx, func() error {
			_, err := m.commit(ctx, commit)
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	dir := m.repository()
	return &Repo{Context: ctx, Output: m.Output, dir: dir, root: dir, gitDir: dir, common: dir, at: &head{commit, branch}}, nil
}

// Changed returns the files that differ between a commit and where it and base
// parted, sorted; deleted ones count. Base is a branch, a tag or a hash. The
// error is ErrUnknown when there is no such base.
func (m *Mirror) Changed(ctx context.Context, base, commit string) (files []string, err error) {
	repo, err := m.At(ctx, commit, "")
	if err != nil {
		return nil, err
	}
	// The base by our rules, not by git's.
	parent, err := m.Resolve(ctx, base)
	if err != nil {
		return nil, err
	}
	err = m.told("look for changes in", func() error {
		files, err = repo.Changed(parent)
		return err
	})
	return files, err
}
