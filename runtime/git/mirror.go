package git

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/piper-build/piper/runtime/process"
	"github.com/piper-build/piper/runtime/remove"
)

var (
	// ErrUnreachable says that the other side did not answer.
	ErrUnreachable = errors.New("the host of the repository cannot be reached")
	// ErrDenied says that the other side answered, and does not let us in: there
	// is no such repository for who we are.
	ErrDenied = errors.New("the repository is not there, or these credentials may not read it")
	// ErrRefused says that we do not go to where an address leads.
	ErrRefused = errors.New("the host is not allowed")
)

const (
	// fetchTime and fetchBytes bound a Fetch unless a Mirror says otherwise.
	fetchTime  = 30 * time.Minute
	fetchBytes = 20 << 30

	// manyPacks is how many fetches are kept apart before they are put together.
	manyPacks = 32
)

// A Mirror is this machine's copy of a repository that is somewhere else: all of
// its branches and tags with their whole history. Many processes may use one at
// once. What was fetched stays, so a commit can still be built when its branch is
// gone.
type Mirror struct {
	// Dir is the mirror's own; it is made when it is not there.
	Dir string
	// URL is where the repository is, as CheckURL allows it.
	URL string
	// Credentials is what is shown there.
	Credentials Credentials

	// Local allows a URL that is a path of this machine.
	Local bool
	// Private allows a host that is in a private network or on this machine.
	Private bool

	// Time and Bytes bound one Fetch: how long it may take, and how much the
	// mirror may hold then. 0 is 30 minutes, and 20 GiB.
	Time  time.Duration
	Bytes int64

	// Apart has no checkout share files with the mirror, which whoever may write the
	// one could otherwise change in the other.
	Apart bool
	// Skeletons spare a checkout a program; nil does not.
	Skeletons *Skeletons

	// Output runs a program; nil is process.Output.
	Output func(ctx context.Context, dir string, env []string, argv ...string) ([]byte, error)
	// Lookup finds the addresses of a host; nil asks the system.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
}

// What is in Dir.
func (m *Mirror) repository() string { return filepath.Join(m.Dir, "git") }
func (m *Mirror) fresh() string      { return filepath.Join(m.Dir, "new") }     // being made, or left by who was killed
func (m *Mirror) suspect() string    { return filepath.Join(m.Dir, "suspect") } // is there when something could not be read
func (m *Mirror) fetching() string   { return filepath.Join(m.Dir, "lock") }    // held by the one who fetches
func (m *Mirror) using() string      { return filepath.Join(m.Dir, "use") }     // shared by those who need files to stay

// Fetch makes the mirror, or brings it up to date: branches and tags that are
// gone there are gone here. Names are what to get besides: refs such as
// refs/pull/7/head, which are neither, and hashes of commits that no branch
// leads to any more. One that is not there is an ErrUnknown.
//
// One process fetches at a time, and others wait. One that is killed leaves a
// mirror as good as before, and one that is found broken is made anew.
func (m *Mirror) Fetch(ctx context.Context, names ...string) error {
	return m.told("fetch", func() error {
		r, err := parseRemote(m.URL, m.Local)
		if err != nil {
			return err
		}
		for _, name := range names {
			if err := CheckRef(name); err != nil {
				return err
			}
		}
		limit := m.Time
		if limit == 0 {
			limit = fetchTime
		}
		ctx, cancel := context.WithTimeoutCause(ctx, limit, &advised{fmt.Errorf("it takes longer than %s", limit), "is the host slow, or the repository large? The next attempt begins anew"})
		defer cancel()
		if err := os.MkdirAll(m.Dir, 0o700); err != nil {
			return err
		}
		unlock, err := lock(ctx, m.fetching(), exclusive)
		if err != nil {
			return err
		}
		defer unlock()
		d, err := m.door(ctx, r)
		if err != nil {
			return err
		}
		missing := slices.ContainsFunc(names, IsHash) // files that look right need not be
		if err := m.refresh(ctx, r, d, missing); err != nil {
			return err
		}
		for _, name := range names {
			if err := m.fetchName(ctx, r, d, name); err != nil {
				return fmt.Errorf("%s: %w", quote(name), err)
			}
		}
		m.tidy(ctx)
		return nil
	})
}

// told says of an error which mirror it is of, and what was done.
func (m *Mirror) told(verb string, do func() error) error {
	if err := do(); err != nil {
		return fmt.Errorf("%s %s: %w", verb, printable(hidePassword(m.URL)), err)
	}
	return nil
}

// refresh brings the branches and tags up to date. Where the files of both sides
// tell that they are no program is started, unless something is missing.
func (m *Mirror) refresh(ctx context.Context, r remote, d door, missing bool) error {
	if !isGitDirectory(m.repository()) {
		return m.make(ctx, r, d)
	}
	if _, err := os.Stat(m.suspect()); err == nil {
		if !m.sound(ctx) {
			return m.make(ctx, r, d)
		}
		os.Remove(m.suspect())
	}
	here, err := r.neighbour()
	near := err == nil
	if near && !missing && m.follows(here) {
		return nil
	}
	m.sweep()
	// The answer to which branch is the default one comes on a connection of its
	// own: two take the time of one.
	type symref struct {
		name string
		err  error
	}
	there := make(chan symref, 1)
	go func() {
		if near {
			there <- symref{name: here.head}
			return
		}
		name, err := m.remoteHead(ctx, r, d)
		there <- symref{name, err}
	}()
	_, err = m.reach(ctx, m.repository(), d, "fetch", "--quiet", "--prune", "--force", "--no-tags", "--no-write-fetch-head",
		"--no-recurse-submodules", "--no-auto-maintenance", "--", r.url, "+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
	head := <-there
	switch {
	case exitCode(err) > 0 && !m.sound(ctx): // it is not the other side, so it is this one
		return m.make(ctx, r, d)
	case err != nil:
		return err
	case head.err != nil:
		return head.err
	case head.name == "":
		return nil
	}
	if now, err := m.head(ctx); err == nil && now == head.name {
		return nil
	}
	_, err = m.git(ctx, "symbolic-ref", "HEAD", head.name)
	return err
}

// make makes the mirror, in place of what may be there.
func (m *Mirror) make(ctx context.Context, r remote, d door) error {
	if err := remove.Tree(m.fresh()); err != nil {
		return err
	}
	_, err := m.reach(ctx, m.Dir, d, "clone", "--quiet", "--bare", "--template=", "--no-local", "--", r.url, m.fresh())
	if err != nil {
		return errors.Join(err, remove.Tree(m.fresh()))
	}
	unlock, err := lock(ctx, m.using(), exclusive)
	if err != nil {
		return err
	}
	defer unlock()
	if err := remove.Tree(m.repository()); err != nil {
		return err
	}
	if err := os.Rename(m.fresh(), m.repository()); err != nil {
		return err
	}
	if err := os.Remove(m.suspect()); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// remoteHead returns the ref of the remote's default branch; "" when it has
// none.
func (m *Mirror) remoteHead(ctx context.Context, r remote, d door) (string, error) {
	out, err := m.reach(ctx, m.repository(), d, "ls-remote", "--quiet", "--symref", "--", r.url, "HEAD")
	if err != nil {
		return "", err
	}
	for text := range strings.Lines(string(out)) {
		target, is, _ := strings.Cut(strings.TrimSpace(text), "\t")
		if name, symbolic := strings.CutPrefix(target, "ref: "); symbolic && is == "HEAD" && strings.HasPrefix(name, "refs/heads/") && CheckRef(name) == nil {
			return name, nil
		}
	}
	return "", nil
}

// fetchName gets a ref that is neither a branch nor a tag, or a commit.
func (m *Mirror) fetchName(ctx context.Context, r remote, d door, name string) error {
	want := name
	switch {
	case strings.HasPrefix(name, "refs/heads/"), strings.HasPrefix(name, "refs/tags/"):
		return nil // came with the rest, if it is there
	case IsHash(name):
		if _, err := m.commit(ctx, name); err == nil {
			return nil
		}
	case strings.HasPrefix(name, "refs/"):
		want = "+" + name + ":" + name
	default:
		return nil
	}
	_, err := m.reach(ctx, m.repository(), d, "fetch", "--quiet", "--no-tags", "--no-write-fetch-head",
		"--no-recurse-submodules", "--no-auto-maintenance", "--", r.url, want)
	return err
}

// sound reports whether all that is here can be read.
func (m *Mirror) sound(ctx context.Context) bool {
	_, err := m.git(ctx, "fsck", "--full", "--no-dangling", "--no-progress")
	return err == nil || ctx.Err() != nil
}

// sweep deletes what a git that was killed has left: nobody else can have a lock
// while we have ours, and no other git would do without.
func (m *Mirror) sweep() {
	var left []string
	for _, pattern := range []string{"*.lock", "objects/pack/tmp_*", "objects/tmp_*", "objects/pack/.tmp-*"} {
		found, _ := filepath.Glob(filepath.Join(m.repository(), pattern)) // the pattern is sound
		left = append(left, found...)
	}
	filepath.WalkDir(filepath.Join(m.repository(), "refs"), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() && strings.HasSuffix(path, ".lock") {
			left = append(left, path)
		}
		return nil
	})
	for _, path := range left {
		os.RemoveAll(path) // what stays is told by the git that it keeps from its work
	}
}

// tidy puts the packs of many fetches together, unless somebody is reading them.
// Nothing is dropped. It can fail without harm.
func (m *Mirror) tidy(ctx context.Context) {
	packs, _ := filepath.Glob(filepath.Join(m.repository(), "objects", "pack", "*.pack"))
	if len(packs) < manyPacks {
		return
	}
	unlock, err := tryLock(m.using(), exclusive)
	if err != nil {
		return
	}
	defer unlock()
	m.git(ctx, "repack", "--quiet", "-d", "--geometric=2")
	m.git(ctx, "pack-refs", "--all")
}

// use does something that reads the mirror's files, which stay as long.
func (m *Mirror) use(ctx context.Context, do func() error) error {
	if !isGitDirectory(m.repository()) {
		return errors.New("it has not been fetched yet")
	}
	unlock, err := lock(ctx, m.using(), shared)
	if err != nil {
		return err
	}
	defer unlock()
	return do()
}

// mirrorOptions go before each command that works on a mirror, or on a tree that
// comes from one.
var mirrorOptions = append(options[:len(options):len(options)],
	"-c", "core.askPass=",
	"-c", "submodule.recurse=false",
	"-c", "fetch.recurseSubmodules=false",
	"-c", "fetch.unpackLimit=1", // one pack for each fetch
	"-c", "gc.auto=0",
	"-c", "maintenance.auto=false",
	"-c", "advice.detachedHead=false",
	"-c", "init.defaultBranch=main",
)

// git runs a command that needs no network in the mirror.
func (m *Mirror) git(ctx context.Context, command ...string) ([]byte, error) {
	return m.run(ctx, m.repository(), nil, append(mirrorOptions[:len(mirrorOptions):len(mirrorOptions)], command...))
}

func (m *Mirror) run(ctx context.Context, dir string, env, argv []string) ([]byte, error) {
	output := m.Output
	if output == nil {
		output = process.Output
	}
	base := []string{"HOME=" + os.DevNull, "GIT_ASKPASS=", "GIT_LFS_SKIP_SMUDGE=1"}
	for _, entry := range environment() {
		if name, _, _ := strings.Cut(entry, "="); name != "HOME" && name != "XDG_CONFIG_HOME" {
			base = append(base, entry)
		}
	}
	out, err := output(ctx, dir, append(base, env...), argv...)
	var exit *process.ExitError
	switch {
	case err == nil, errors.As(err, &exit), errors.Is(err, process.ErrOutput):
		return out, err
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	}
	return nil, fmt.Errorf("%w: %w", ErrNoProgram, err)
}

// reach runs a command that uses the network, and watches how much comes.
func (m *Mirror) reach(ctx context.Context, dir string, d door, command ...string) ([]byte, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		m.watchSize(ctx, cancel)
	}()
	argv := append(mirrorOptions[:len(mirrorOptions):len(mirrorOptions)], d.options...)
	out, err := m.run(ctx, dir, d.env, append(argv, command...))
	cancel(nil)
	<-watched
	var exit *process.ExitError
	if errors.As(err, &exit) {
		return nil, understand(exit, m.URL, d.hidden)
	}
	return out, err
}

// watchSize ends a fetch that brings more than there is room for.
func (m *Mirror) watchSize(ctx context.Context, cancel context.CancelCauseFunc) {
	most := m.Bytes
	if most == 0 {
		most = fetchBytes
	}
	for {
		var size int64
		for _, dir := range []string{m.repository(), m.fresh()} {
			packs, _ := os.ReadDir(filepath.Join(dir, "objects", "pack"))
			for _, pack := range packs {
				if info, err := pack.Info(); err == nil {
					size += info.Size()
				}
			}
		}
		if size > most {
			cancel(&advised{fmt.Errorf("the repository has more than %d MiB", most>>20), "is it the right one?"})
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(200 * time.Millisecond):
		}
	}
}
