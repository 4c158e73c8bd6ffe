package git_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/git"
	"github.com/piper-build/piper/runtime/process"
)

// A world is a repository that others push to, and a mirror of it.
type world struct {
	*testing.T
	dir    string // of the repository that is mirrored
	mirror *git.Mirror
}

// newWorld makes a repository with a commit on main, a tag and a branch.
func newWorld(t *testing.T) *world {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("SKIPPED: the git program is needed to make repositories")
	}
	w := &world{T: t, dir: filepath.Join(t.TempDir(), "shop")}
	require.NoError(t, os.Mkdir(w.dir, 0o777))
	w.run("init", "-q", "-b", "main")
	w.commit("one", "a.txt", "one\n")
	w.run("tag", "-a", "-m", "first", "v1.0")
	w.run("checkout", "-q", "-b", "feature/x")
	w.commit("two", "b/c.txt", "two\n")
	w.run("checkout", "-q", "main")
	w.mirror = &git.Mirror{Dir: filepath.Join(t.TempDir(), "mirror"), URL: w.dir, Local: true}
	return w
}

// run runs git in the repository and returns what it says.
func (w *world) run(argv ...string) string {
	w.Helper()
	return runGit(w.T, w.dir, argv...)
}

func runGit(t *testing.T, dir string, argv ...string) string {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=Ann", "-c", "user.email=ann@example.org"}, argv...)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_DATE=2024-02-03T04:05:06Z", "GIT_COMMITTER_DATE=2024-02-03T04:05:06Z")
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "git %q: %s", argv, out)
	return strings.TrimSpace(string(out))
}

// commit writes a file and commits it.
func (w *world) commit(message, file, content string) string {
	w.Helper()
	path := filepath.Join(w.dir, file)
	require.NoError(w, os.MkdirAll(filepath.Dir(path), 0o777))
	require.NoError(w, os.WriteFile(path, []byte(content), 0o666))
	w.run("add", "-A")
	w.run("commit", "-q", "-m", message)
	return w.run("rev-parse", "HEAD")
}

func (w *world) fetch(names ...string) {
	w.Helper()
	require.NoError(w, w.mirror.Fetch(w.Context(), names...))
}

func (w *world) resolve(ref string) string {
	w.Helper()
	commit, err := w.mirror.Resolve(w.Context(), ref)
	require.NoError(w, err)
	return commit
}

// advice is what an error says to do.
func advice(err error) string {
	var advised interface{ Hint() string }
	if errors.As(err, &advised) {
		return advised.Hint()
	}
	return ""
}

func TestMirrorFollows(t *testing.T) {
	w := newWorld(t)
	one, two := w.run("rev-parse", "main"), w.run("rev-parse", "feature/x")
	w.run("update-ref", "refs/pull/7/head", two)
	_, err := w.mirror.Resolve(t.Context(), "main")
	require.ErrorContains(t, err, "it has not been fetched yet")

	w.fetch()
	for ref, want := range map[string]string{
		"": one, "main": one, "refs/heads/main": one, "v1.0": one, "refs/tags/v1.0": one, one: one, one[:8]: one,
		"feature/x": two, two[:12]: two,
	} {
		require.Equal(t, want, w.resolve(ref), ref)
	}
	for _, ref := range []string{"nope", "refs/heads/nope", "refs/pull/7/head", strings.Repeat("0", 40), "0000000", "HEAD"} {
		_, err := w.mirror.Resolve(t.Context(), ref)
		require.ErrorIs(t, err, git.ErrUnknown, ref)
		require.NotEmpty(t, advice(err))
	}

	// A ref that is neither a branch nor a tag comes when it is asked for.
	w.fetch("refs/pull/7/head")
	require.Equal(t, two, w.resolve("refs/pull/7/head"))
	err = w.mirror.Fetch(t.Context(), "refs/pull/8/head")
	require.ErrorIs(t, err, git.ErrUnknown)
	require.ErrorContains(t, err, `"refs/pull/8/head"`)

	// What is new comes, what is gone goes, and its commits stay. A branch may
	// stand where a directory of branches stood.
	w.run("branch", "-D", "feature/x")
	w.run("branch", "feature")
	w.run("tag", "-d", "v1.0")
	three := w.commit("three", "a.txt", "three\n")
	w.run("branch", "-m", "main", "trunk")
	w.fetch()
	require.Equal(t, three, w.resolve("trunk"))
	require.Equal(t, three, w.resolve(""))
	require.Equal(t, one, w.resolve("feature"))
	require.Equal(t, two, w.resolve(two))
	for _, ref := range []string{"main", "v1.0", "feature/x"} {
		_, err := w.mirror.Resolve(t.Context(), ref)
		require.ErrorIs(t, err, git.ErrUnknown, ref)
	}
	branch, err := w.mirror.DefaultBranch(t.Context())
	require.NoError(t, err)
	require.Equal(t, "trunk", branch)

	// History that was rewritten, and a branch and a tag of one name.
	w.run("commit", "-q", "--amend", "-m", "three, again")
	w.run("tag", "trunk", one)
	w.fetch()
	require.Equal(t, w.run("rev-parse", "refs/heads/trunk"), w.resolve("trunk"))
	branches, err := w.mirror.Branches(t.Context())
	require.NoError(t, err)
	require.Equal(t, []string{"feature", "trunk"}, branches)
	is, err := w.mirror.IsBranch(t.Context(), "trunk")
	require.NoError(t, err)
	require.True(t, is)
	is, err = w.mirror.IsBranch(t.Context(), "v1.0")
	require.NoError(t, err)
	require.False(t, is)
}

func TestMirrorOfNothing(t *testing.T) {
	w := newWorld(t)
	w.mirror.URL = filepath.Join(t.TempDir(), "empty")
	runGit(t, t.TempDir(), "init", "-q", "-b", "main", w.mirror.URL)
	for range 2 {
		w.fetch()
		_, err := w.mirror.Resolve(t.Context(), "")
		require.ErrorIs(t, err, git.ErrNoCommit)
	}
	_, err := w.mirror.DefaultBranch(t.Context())
	require.ErrorIs(t, err, git.ErrNoCommit)

	w.mirror.URL, w.mirror.Dir = filepath.Join(t.TempDir(), "gone"), t.TempDir()
	err = w.mirror.Fetch(t.Context())
	require.ErrorIs(t, err, git.ErrDenied)
	require.Equal(t, "is the address right?", advice(err))
}

// Many who fetch and read at once get in nobody's way.
func TestMirrorIsShared(t *testing.T) {
	w := newWorld(t)
	w.fetch()
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			m := *w.mirror
			for range 3 {
				if err := m.Fetch(t.Context()); err != nil {
					t.Errorf("fetch: %v", err)
				}
			}
		})
		all.Go(func() {
			commit, err := w.mirror.Resolve(t.Context(), "main")
			if err == nil {
				err = w.mirror.Checkout(t.Context(), git.Checkout{Dir: filepath.Join(w.mirror.Dir, fmt.Sprint("tree", i)), Commit: commit})
			}
			if err != nil {
				t.Errorf("check out: %v", err)
			}
		})
	}
	all.Wait()
}

// After many fetches there are few packs, and all that came is still there.
func TestMirrorTidies(t *testing.T) {
	w := newWorld(t)
	w.fetch()
	var commits []string
	for i := range 40 {
		commits = append(commits, w.commit("more", "a.txt", fmt.Sprint(i)))
		w.fetch()
	}
	w.run("reset", "-q", "--hard", "v1.0")
	w.fetch()
	packs, err := filepath.Glob(filepath.Join(w.mirror.Dir, "git/objects/pack/*.pack"))
	require.NoError(t, err)
	require.Less(t, len(packs), 32)
	for _, commit := range commits {
		require.Equal(t, commit, w.resolve(commit))
	}
}

// One that was killed leaves locks and half of a pack.
func TestMirrorAfterAKill(t *testing.T) {
	w := newWorld(t)
	w.fetch()
	left := []string{"git/packed-refs.lock", "git/refs/heads/main.lock", "git/HEAD.lock", "git/objects/pack/tmp_pack_1", "new/objects/pack/tmp_pack_2"}
	for _, name := range left {
		path := filepath.Join(w.mirror.Dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o777))
		require.NoError(t, os.WriteFile(path, []byte("x"), 0o444))
	}
	three := w.commit("three", "a.txt", "three\n")
	w.run("branch", "-D", "feature/x")
	w.fetch()
	require.Equal(t, three, w.resolve("main"))
	for _, name := range left[:4] {
		require.NoFileExists(t, filepath.Join(w.mirror.Dir, name))
	}
}

// A fetch is ended while it runs, at every program that it starts.
func TestMirrorKilledAnywhere(t *testing.T) {
	w := newWorld(t)
	for at := 1; ; at++ {
		ctx, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex
		count := 0
		m := *w.mirror
		m.Output = func(_ context.Context, dir string, env []string, argv ...string) ([]byte, error) {
			mu.Lock()
			count++
			if count == at {
				cancel()
			}
			mu.Unlock()
			return process.Output(ctx, dir, env, argv...)
		}
		err := m.Fetch(ctx)
		cancel()
		if count < at {
			require.NoError(t, err)
			break
		}
		require.ErrorIs(t, err, context.Canceled)
		w.commit("more", "a.txt", fmt.Sprint(at))
		w.fetch()
		require.Equal(t, w.run("rev-parse", "main"), w.resolve("main"))
	}
}

func TestMirrorBroken(t *testing.T) {
	damage := map[string]func(dir string){
		"no HEAD":   func(dir string) { require.NoError(t, os.Remove(filepath.Join(dir, "HEAD"))) },
		"no object": func(dir string) { require.NoError(t, os.RemoveAll(filepath.Join(dir, "objects/pack"))) },
		"bad config": func(dir string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "config"), []byte("["), 0o666))
		},
		"empty": func(dir string) {
			require.NoError(t, os.RemoveAll(dir))
			require.NoError(t, os.Mkdir(dir, 0o777))
		},
		"bad pack": func(dir string) {
			packs, err := filepath.Glob(filepath.Join(dir, "objects/pack/*.pack"))
			require.NoError(t, err)
			require.NotEmpty(t, packs)
			for _, pack := range packs {
				text, err := os.ReadFile(pack)
				require.NoError(t, err)
				for i := 20; i < len(text); i++ {
					text[i] ^= 0x55
				}
				require.NoError(t, os.Chmod(pack, 0o600))
				require.NoError(t, os.WriteFile(pack, text, 0o600))
			}
		},
	}
	for name, break_ := range damage {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.fetch()
			commit := w.resolve("main")
			break_(filepath.Join(w.mirror.Dir, "git"))
			tree := filepath.Join(t.TempDir(), "tree")
			if err := w.mirror.Checkout(t.Context(), git.Checkout{Dir: tree, Commit: commit}); name == "bad config" {
				require.NoError(t, err) // nobody looks at it until there is something to fetch
				tree += "-again"
				w.commit("more", "a.txt", "more\n")
			} else {
				require.Error(t, err)
				require.NotErrorIs(t, err, git.ErrUnknown, "what to do is to try again")
				require.NoDirExists(t, tree)
			}
			w.fetch()
			require.NoError(t, w.mirror.Checkout(t.Context(), git.Checkout{Dir: tree, Commit: commit}))
		})
	}
}

func TestMirrorWaitsForItsTurn(t *testing.T) {
	w := newWorld(t)
	w.fetch()
	w.commit("more", "a.txt", "more\n")
	inside, leave := make(chan struct{}), make(chan struct{})
	first := *w.mirror
	var once sync.Once
	first.Output = func(ctx context.Context, dir string, env []string, argv ...string) ([]byte, error) {
		once.Do(func() { close(inside); <-leave })
		return process.Output(ctx, dir, env, argv...)
	}
	done := make(chan error)
	go func() { done <- first.Fetch(t.Context()) }()
	<-inside
	second := *w.mirror
	second.Output = func(context.Context, string, []string, ...string) ([]byte, error) {
		t.Error("two fetch at once")
		return nil, errors.New("no")
	}
	second.Time = time.Millisecond
	err := second.Fetch(t.Context())
	require.ErrorContains(t, err, "which another process has: it takes longer than 1ms")
	require.Contains(t, advice(err), "The next attempt")
	close(leave)
	require.NoError(t, <-done)
}

func TestMirrorIsBounded(t *testing.T) {
	w := newWorld(t)
	w.fetch()
	w.commit("more", "a.txt", "more\n")
	w.mirror.Bytes = 10
	// The programs take as long as it takes to see that there is too much.
	w.mirror.Output = func(ctx context.Context, _ string, _ []string, _ ...string) ([]byte, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	err := w.mirror.Fetch(t.Context())
	require.ErrorContains(t, err, "the repository has more than 0 MiB")
	require.Equal(t, "is it the right one?", advice(err))
}

func TestMirrorWithoutGit(t *testing.T) {
	w := newWorld(t)
	t.Setenv("PATH", t.TempDir())
	require.ErrorIs(t, w.mirror.Fetch(t.Context()), git.ErrNoProgram)
}
