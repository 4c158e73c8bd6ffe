package git

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/piper-build/piper/runtime/process"
	"github.com/piper-build/piper/runtime/remove"
)

// A Checkout is a tree to build. It is a clone as a developer has one: with all
// branches, those of the remote as origin's, and all tags, so git says the same
// in it as in theirs. It needs nothing of the mirror any more. Submodules are
// left out, and what git-lfs keeps elsewhere stays a pointer.
type Checkout struct {
	Dir    string // is made, or is empty
	Commit string // the full hash
	Branch string // that HEAD is on; "" is none
	Patch  []byte // changes to the tree that were not committed, as git diff --binary writes them
}

// MaxPatch is how long a patch may be.
const MaxPatch = 64 << 20

// Checkout makes a tree. When it fails it leaves nothing behind.
func (m *Mirror) Checkout(ctx context.Context, c Checkout) error {
	return m.told("check out "+printable(c.Commit)+" of", func() error {
		if !IsHash(c.Commit) {
			return errors.New("it is not the full hash of a commit")
		}
		if c.Branch != "" {
			if err := CheckRef(c.Branch); err != nil {
				return err
			}
		}
		made, err := emptyDir(c.Dir)
		if err != nil {
			return err
		}
		if err = m.use(ctx, func() error { return m.checkout(ctx, c) }); err == nil && len(c.Patch) > 0 {
			err = m.apply(ctx, c)
		}
		if err != nil {
			if made {
				return errors.Join(err, remove.Tree(c.Dir))
			}
			return errors.Join(err, emptyOut(c.Dir))
		}
		return nil
	})
}

// emptyDir makes a directory, or sees that it is empty.
func emptyDir(dir string) (made bool, err error) {
	switch err := os.Mkdir(dir, 0o777); {
	case err == nil:
		return true, nil
	case !errors.Is(err, os.ErrExist):
		return false, err
	}
	entries, err := os.ReadDir(dir)
	if err == nil && len(entries) > 0 {
		err = fmt.Errorf("%s is not empty", dir)
	}
	return false, err
}

func emptyOut(dir string) error {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		err = errors.Join(err, remove.Tree(filepath.Join(dir, e.Name())))
	}
	return err
}

// committer is who the log of a checkout's HEAD says moved it. To find out who the
// user is git asks for the name of the machine, and so perhaps the network.
var committer = []string{"GIT_COMMITTER_NAME=piper", "GIT_COMMITTER_EMAIL=piper@localhost"}

func (m *Mirror) checkout(ctx context.Context, c Checkout) error {
	err := m.clone(ctx, c.Dir, len(c.Commit) == 64)
	if err == nil {
		checkout := []string{"checkout", "--quiet", "--force", "--detach", c.Commit, "--"}
		if c.Branch != "" {
			checkout = []string{"checkout", "--quiet", "--force", "--no-track", "-B", c.Branch, c.Commit, "--"}
		}
		argv := append(mirrorOptions[:len(mirrorOptions):len(mirrorOptions)], "-c", "checkout.workers=0") // as many as there are processors
		_, err = m.run(ctx, c.Dir, committer, append(argv, checkout...))
	}
	if err == nil {
		return nil
	}
	if _, why := m.commit(ctx, c.Commit); errors.Is(why, ErrUnknown) && !m.Has(c.Commit) {
		return &advised{ErrUnknown, "the commit is gone from the repository, or was never pushed"}
	}
	return m.doubt(ctx, err)
}

// doubt has the next Fetch look at the mirror: something of it could not be
// read, or the disk is full.
func (m *Mirror) doubt(ctx context.Context, err error) error {
	var exit *process.ExitError
	if errors.As(err, &exit) && ctx.Err() == nil {
		os.WriteFile(m.suspect(), nil, 0o600) // best effort: the error is told anyway
		clean := *exit
		clean.Stderr = why(exit.Stderr)
		return &clean
	}
	return err
}

// apply changes the tree as the patch says: all of it or nothing. New files are
// not added to the index, as they would not be by whoever wrote them.
func (m *Mirror) apply(ctx context.Context, c Checkout) error {
	if len(c.Patch) > MaxPatch {
		return fmt.Errorf("apply patch: %w: it has more than %d MiB", ErrInvalid, MaxPatch>>20)
	}
	f, err := os.CreateTemp(filepath.Join(c.Dir, ".git"), "patch-")
	if err != nil {
		return fmt.Errorf("apply patch: %w", err)
	}
	defer os.Remove(f.Name())
	_, err = f.Write(c.Patch)
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("apply patch: %w", err)
	}
	apply := func(flags ...string) ([]byte, error) {
		argv := append(mirrorOptions[:len(mirrorOptions):len(mirrorOptions)], "-c", "apply.whitespace=nowarn", "apply", "--whitespace=nowarn")
		return m.run(ctx, c.Dir, nil, append(append(argv, flags...), "--", f.Name()))
	}
	list, err := apply("--numstat", "-z")
	if err == nil {
		if err := checkPaths(list); err != nil {
			return fmt.Errorf("apply patch: %w", err)
		}
		_, err = apply()
	}
	var exit *process.ExitError
	if errors.As(err, &exit) {
		return invalid{&advised{fmt.Errorf("apply patch: %s", why(exit.Stderr)), "it has to be what git diff --binary HEAD writes at commit " + c.Commit}}
	}
	if err != nil {
		return fmt.Errorf("apply patch: %w", err)
	}
	return nil
}

// checkPaths looks at what git apply --numstat -z lists. git refuses what leaves
// the tree itself, also by a link that the patch makes first.
func checkPaths(list []byte) error {
	for entry := range bytes.SplitSeq(list, []byte{0}) {
		fields := strings.SplitN(string(entry), "\t", 3)
		name := fields[len(fields)-1]
		if name == "" {
			continue
		}
		if path.IsAbs(name) || !filepath.IsLocal(name) {
			return fmt.Errorf("%w: %s leaves the tree", ErrInvalid, quote(name))
		}
		for part := range strings.SplitSeq(name, "/") {
			if strings.EqualFold(part, ".git") {
				return fmt.Errorf("%w: %s is of git's own", ErrInvalid, quote(name))
			}
		}
	}
	return nil
}
