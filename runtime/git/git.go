// Package git says what git knows of a tree: its commit and branch, its tags,
// what has changed in it, and which of its files count.
//
// A Repo answers for one directory, the project, which may stand anywhere
// below the top of a work tree. What can be read from files (HEAD, refs,
// packed-refs) is read from them, because starting a program costs more than
// the rest of a small build. For everything else Repo asks the git program, in
// an environment of its own: no hooks, no prompts, no network, no settings of
// the system or the user but which directories are safe and which files are
// ignored. So one commit gives one answer, on a laptop and on an agent.
//
// Every answer is kept: a build sees one state of the repository, however long
// it runs and whatever its steps do.
package git

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

var (
	// ErrNotRepository is Open's answer when no repository holds the directory.
	ErrNotRepository = errors.New("not a git repository")
	// ErrBare is Open's answer inside a bare repository, or inside a .git
	// directory. It is an ErrNotRepository too: there is no tree to build.
	ErrBare = fmt.Errorf("%w with files: it is bare", ErrNotRepository)
	// ErrNoCommit says that nothing has been committed yet.
	ErrNoCommit error = &advised{errors.New("the repository has no commits yet"), "commit once, or do not ask git here"}
	// ErrNoTag says that Describe found no tag to begin with.
	ErrNoTag error = &advised{errors.New("no tag leads to HEAD"), "always = True gives the commit where there is no tag; or is the clone without tags?"}
	// ErrNoProgram says that the git program is needed and cannot be started.
	ErrNoProgram = errors.New("git is not installed, or cannot be started")
	// ErrInvalid says that what was asked for cannot be: an address or a ref that
	// is none, a patch that does not apply.
	ErrInvalid = errors.New("not valid")
	// ErrUnknown says that no branch, tag or commit has the name.
	ErrUnknown = errors.New("no branch, tag or commit has that name")
)

// An advised error knows what to do about it, in the words of a PIPER.star.
type advised struct {
	error
	hint string
}

// Hint says what to do.
func (a *advised) Hint() string { return a.hint }

// Unwrap returns the error without the advice.
func (a *advised) Unwrap() error { return a.error }

// An invalid error is an ErrInvalid, in other words.
type invalid struct{ *advised }

// Is reports whether target is ErrInvalid.
func (invalid) Is(target error) bool { return target == ErrInvalid }

// A Repo is the repository that holds a directory. It is safe for use by many
// goroutines. Its fields may be set before the first call of a method.
type Repo struct {
	// Context bounds the git programs that are started; nil is
	// context.Background.
	Context context.Context
	// Output runs a program; nil is process.Output.
	Output func(ctx context.Context, dir string, env []string, argv ...string) ([]byte, error)

	dir    string // the project: absolute, without symbolic links
	root   string // the top of the work tree
	gitDir string // HEAD is here
	common string // refs are here: gitDir but in a linked work tree
	at     *head  // stands for HEAD and a clean tree where there is none (Mirror.At)

	answers sync.Map // name of a question to its func() (T, error)
}

// Open finds the repository that holds dir. It starts no program.
func Open(dir string) (*Repo, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("find repository of %s: %w", dir, err)
	}
	// git walks up the real path, not the one with links in it.
	if abs, err = filepath.EvalSymlinks(abs); err != nil {
		return nil, fmt.Errorf("find repository: %w", err)
	}
	for top := abs; ; top = filepath.Dir(top) {
		gitDir, err := gitDirectory(top)
		switch {
		case err != nil:
			return nil, fmt.Errorf("find repository of %s: %w", dir, err)
		case gitDir != "":
			common, err := commonDirectory(gitDir)
			if err != nil {
				return nil, fmt.Errorf("find repository of %s: %w", dir, err)
			}
			return &Repo{dir: abs, root: top, gitDir: gitDir, common: common}, nil
		case top == filepath.Dir(top):
			return nil, fmt.Errorf("%s: %w", dir, ErrNotRepository)
		}
	}
}

// gitDirectory returns the directory that makes top the top of a work tree,
// or "" when it is none.
func gitDirectory(top string) (string, error) {
	path := filepath.Join(top, ".git")
	info, err := os.Stat(path)
	switch {
	case err != nil && !errors.Is(err, os.ErrNotExist):
		return "", err
	case err == nil && info.IsDir() && isGitDirectory(path):
		return path, nil
	case err == nil && info.Mode().IsRegular():
		return pointedAt(path)
	case isGitDirectory(top):
		return "", fmt.Errorf("%s: %w", top, ErrBare)
	}
	return "", nil
}

// pointedAt reads a .git file, which linked work trees and submodules have.
func pointedAt(path string) (string, error) {
	target, err := readLine(path)
	if err != nil {
		return "", err
	}
	target, ok := cutPrefix(target, "gitdir: ")
	if !ok {
		return "", fmt.Errorf("%s does not begin with \"gitdir: \"", path)
	}
	if !filepath.IsAbs(target) {
		target = filepath.Join(filepath.Dir(path), target)
	}
	if !isGitDirectory(target) {
		return "", fmt.Errorf("%s names %s, which is not a git directory", path, target)
	}
	return target, nil
}

// isGitDirectory is git's own test.
func isGitDirectory(dir string) bool {
	if _, err := os.Lstat(filepath.Join(dir, "HEAD")); err != nil {
		return false
	}
	common, err := commonDirectory(dir)
	if err != nil {
		return false
	}
	for _, name := range []string{"objects", "refs"} {
		if info, err := os.Stat(filepath.Join(common, name)); err != nil || !info.IsDir() {
			return false
		}
	}
	return true
}

// commonDirectory returns where the repository of gitDir keeps what its work
// trees share.
func commonDirectory(gitDir string) (string, error) {
	common, err := readLine(filepath.Join(gitDir, "commondir"))
	switch {
	case errors.Is(err, os.ErrNotExist):
		return gitDir, nil
	case err != nil:
		return "", err
	case filepath.IsAbs(common):
		return common, nil
	}
	return filepath.Join(gitDir, common), nil
}

// Root returns the top of the work tree: absolute, without symbolic links.
func (r *Repo) Root() string { return r.root }

// Commit returns the full hash of HEAD.
func (r *Repo) Commit() (string, error) {
	h, err := r.head()
	if err != nil {
		return "", err
	}
	if h.commit == "" {
		return "", ErrNoCommit
	}
	return h.commit, nil
}

// Branch returns the branch that HEAD is on, which need not have a commit yet.
// It is "" when HEAD is detached.
func (r *Repo) Branch() (string, error) {
	h, err := r.head()
	return h.branch, err
}

// Trunk returns the branch that the repository that this one was cloned from
// calls its own, "" when that is not known.
func (r *Repo) Trunk() string {
	out, err := r.git("symbolic-ref", "--quiet", "refs/remotes/origin/HEAD")
	if err != nil {
		return ""
	}
	return strings.TrimPrefix(strings.TrimSpace(string(out)), "refs/remotes/origin/")
}

// Shallow reports whether history was cut off when the repository was cloned.
func (r *Repo) Shallow() bool {
	info, err := os.Stat(filepath.Join(r.common, "shallow"))
	return err == nil && info.Size() > 0
}

// ask answers a question once, however often and from wherever it is asked.
func ask[T any](r *Repo, question string, answer func() (T, error)) (T, error) {
	once, ok := r.answers.Load(question)
	if !ok {
		once, _ = r.answers.LoadOrStore(question, sync.OnceValues(answer))
	}
	return once.(func() (T, error))()
}
