package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/agent"
	"github.com/piper-build/piper/agent/operator"
	"github.com/piper-build/piper/runtime/git"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
	"github.com/piper-build/piper/starlark"
	"github.com/piper-build/piper/starlark/isolate"
)

// curious is a file that looks at all that it can.
const curious = `
load("//ci/lib.star", "greet")

project(name = "shop", version = git.describe(tags = True, dirty = True, always = True))

unit = step("unit", run = ["echo", git.commit(), git.branch(), git.tag(), greet])
more = expand(name = "more", after = unit, impl = lambda ctx, result: step("found", run = ["echo", "found"]))

pipeline(
    name = "build",
    params = {"mode": param.string(default = "fast")},
    impl = lambda ctx: [
        unit,
        step("look", run = ["echo"] + fs.glob("**/*.txt") + git.changed("origin/main" if not git.tag() else "main") + [
            fs.read("a.txt"), os.environ("CI_NODE", "none"), os.environ("HIDDEN", "none"), ctx.params.mode, ctx.event.branch or "", ctx.event.kind,
        ]),
        more,
    ],
)
pipeline(name = "other", steps = [step("x", run = "true")], on = [on.push()])
`

var _ agent.Sources = (*sources)(nil)

// A shop is a repository that is built, and the sources of its builds.
type shop struct {
	*testing.T
	dir     string
	project store.Project
	sources *sources
	count   int // evaluations
	blobs   map[string][]byte
}

// emptyShop is one that has nothing yet.
func emptyShop(t *testing.T) *shop {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("SKIPPED: the git program is needed to make repositories")
	}
	s := &shop{T: t, dir: filepath.Join(t.TempDir(), "shop"), blobs: map[string][]byte{}}
	require.NoError(t, os.Mkdir(s.dir, 0o777))
	s.git(s.dir, "init", "-q", "-b", "main")
	return s
}

func newShop(t *testing.T) *shop {
	s := emptyShop(t)
	s.write(s.dir, "PIPER.star", curious)
	s.write(s.dir, "ci/lib.star", "greet = 'hello'\n")
	s.write(s.dir, "a.txt", "one\n")
	s.commit("one")
	s.git(s.dir, "tag", "-a", "-m", "first", "v1.0")
	s.git(s.dir, "checkout", "-q", "-b", "topic")
	s.write(s.dir, "sub/b.txt", "two\n")
	s.commit("two")
	s.git(s.dir, "checkout", "-q", "main")

	isolated := &isolate.Evaluator{Start: child}
	t.Cleanup(isolated.Close)
	environ := map[string]string{"CI_NODE": "7", "HIDDEN": "hush"}
	s.project = store.Project{Name: "shop", Repo: s.dir}
	s.sources = &sources{
		dir: t.TempDir(), operator: &operator.File{LocalRepositories: true, Environ: []string{"CI_*"}},
		lookupEnv: func(name string) (string, bool) { value, ok := environ[name]; return value, ok },
		blob: func(_ context.Context, digest string) ([]byte, error) {
			if blob, ok := s.blobs[digest]; ok {
				return blob, nil
			}
			return nil, store.ErrNotFound
		},
		evaluate: func(ctx context.Context, r starlark.Request) (starlark.Result, error) {
			s.count++
			return isolated.Evaluate(ctx, r)
		},
	}
	return s
}

func (s *shop) git(dir string, argv ...string) string {
	s.Helper()
	cmd := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=Ann", "-c", "user.email=ann@example.org"}, argv...)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1")
	out, err := cmd.CombinedOutput()
	require.NoError(s, err, "git %q: %s", argv, out)
	return strings.TrimSpace(string(out))
}

func (s *shop) write(dir, file, text string) {
	s.Helper()
	path := filepath.Join(dir, file)
	require.NoError(s, os.MkdirAll(filepath.Dir(path), 0o777))
	require.NoError(s, os.WriteFile(path, []byte(text), 0o666))
}

func (s *shop) commit(message string) string {
	s.Helper()
	s.git(s.dir, "add", "-A")
	s.git(s.dir, "commit", "-q", "-m", message)
	return s.git(s.dir, "rev-parse", "HEAD")
}

// asDeveloper is what "piper plan" says in a directory.
func (s *shop) asDeveloper(dir string, args ...string) (digest string) {
	s.Helper()
	var stdout, stderr bytes.Buffer
	code := run(s.Context(), append([]string{"-C", dir, "plan", "--json"}, args...), nil, &stdout, &stderr, "HOME="+s.TempDir(), "PATH="+os.Getenv("PATH"), "CI_NODE=7")
	require.Equal(s, 0, code, stderr.String())
	var p struct{ Digest string }
	require.NoError(s, json.Unmarshal(stdout.Bytes(), &p))
	return p.Digest
}

// build checks a request out and plans it, as an agent does.
func (s *shop) build(r store.Request) (agent.Tree, *plan.Plan, agent.Expander, error) {
	s.Helper()
	commit := r.Commit
	if commit == "" {
		var err error
		commit, err = s.sources.Resolve(s.Context(), s.project, r.Ref)
		require.NoError(s, err)
	}
	t, err := s.sources.Checkout(s.Context(), s.project, r, commit, filepath.Join(s.TempDir(), "work"))
	require.NoError(s, err)
	p, expand, err := s.sources.Plan(s.Context(), t, store.Build{Request: r})
	return t, p, expand, err
}

// A mirror that lost what its refs lead to is found out by the checkout, and made
// anew when that is tried again.
func TestCheckoutOfABrokenMirror(t *testing.T) {
	s := newShop(t)
	commit := s.git(s.dir, "rev-parse", "main")
	checkOut := func() (agent.Tree, error) {
		return s.sources.Checkout(t.Context(), s.project, store.Request{Commit: commit}, commit, filepath.Join(t.TempDir(), "work"))
	}
	_, err := checkOut()
	require.NoError(t, err)
	packs, err := filepath.Glob(filepath.Join(s.sources.dir, "*/git/objects/pack"))
	require.NoError(t, err)
	require.Len(t, packs, 1)
	require.NoError(t, os.RemoveAll(packs[0]))

	resolved, err := s.sources.Resolve(t.Context(), s.project, "")
	require.NoError(t, err)
	require.Equal(t, commit, resolved, "as files tell")
	_, err = checkOut()
	require.Error(t, err)
	require.NotErrorIs(t, err, agent.ErrRejected, "it is tried again")
	tree, err := checkOut()
	require.NoError(t, err)
	require.FileExists(t, filepath.Join(tree.Dir, "PIPER.star"))
}

// One commit gives one plan, to a developer in a clone and to an agent.
func TestPlansAreTheSameEverywhere(t *testing.T) {
	s := newShop(t)
	clone := filepath.Join(t.TempDir(), "clone")
	s.git(s.dir, "clone", "-q", s.dir, clone)
	topic := s.git(s.dir, "rev-parse", "topic")
	for _, test := range []struct {
		name, rev string
		flags     []string
		request   store.Request
	}{
		{"the default branch", "main", nil, store.Request{}},
		{"a branch", "topic", nil, store.Request{Ref: "topic"}},
		{"a branch, in full", "topic", nil, store.Request{Ref: "refs/heads/topic"}},
		{"a push", "topic", []string{"--branch", "topic"}, store.Request{Commit: topic, Event: plan.Event{Kind: "push", Branch: "topic"}}},
		{"a tag", "v1.0", []string{"--tag", "v1.0"}, store.Request{Ref: "v1.0", Event: plan.Event{Kind: "tag", Tag: "v1.0"}}},
		{"a commit", topic, nil, store.Request{Ref: topic}},
		{"the commit of another build", topic, nil, store.Request{Commit: topic}},
		{"a commit, cut short", topic, nil, store.Request{Ref: topic[:9]}},
		{"a fork", topic, []string{"--event", "change_request"}, store.Request{Commit: topic, Event: plan.Event{Kind: "change_request"}, Cause: store.Cause{Trust: "fork"}}},
		{"parameters", "main", []string{"--param", "mode=slow"}, store.Request{Ref: "main", Params: map[string]string{"mode": "slow"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := *s
			s.T = t
			s.git(clone, "checkout", "-q", test.rev)
			want := s.asDeveloper(clone, append([]string{"build"}, test.flags...)...)
			test.request.Pipeline = "build"
			tree, made, expand, err := s.build(test.request)
			require.NoError(t, err)
			require.Equal(t, want, made.Digest())
			require.Equal(t, want, s.asDeveloper(tree.Dir, append([]string{"build"}, test.flags...)...))

			found, err := expand(t.Context(), "more", nil)
			require.NoError(t, err)
			require.Equal(t, "found", found.Nodes[0].Name)
		})
	}

	t.Run("changes that were not committed", func(t *testing.T) {
		s := *s
		s.T = t
		s.git(clone, "checkout", "-q", "topic")
		s.write(clone, "a.txt", "changed\n")
		s.write(clone, "new/c.txt", "new\n")
		require.NoError(t, os.Remove(filepath.Join(clone, "sub/b.txt")))
		s.git(clone, "add", "--intent-to-add", "-A")
		s.blobs["sha256:x"] = []byte(s.git(clone, "diff", "--binary", "HEAD") + "\n")
		_, made, _, err := s.build(store.Request{Ref: "topic", Pipeline: "build", Patch: "sha256:x"})
		require.NoError(t, err)
		require.Equal(t, s.asDeveloper(clone, "build"), made.Digest())

		_, err = s.sources.Checkout(t.Context(), s.project, store.Request{Ref: "topic", Patch: "sha256:y"}, topic, filepath.Join(t.TempDir(), "work"))
		require.ErrorIs(t, err, store.ErrNotFound)
	})
}

// A tag of a commit that was built before is there when it is built for the tag.
func TestTagOfABuiltCommit(t *testing.T) {
	s := newShop(t)
	topic := s.git(s.dir, "rev-parse", "topic")
	_, _, _, err := s.build(store.Request{Commit: topic, Pipeline: "build"})
	require.NoError(t, err)
	s.git(s.dir, "tag", "v2.0", "topic")
	_, made, _, err := s.build(store.Request{Commit: topic, Pipeline: "build", Event: plan.Event{Kind: "tag", Tag: "v2.0"}})
	require.NoError(t, err)
	require.Equal(t, "v2.0", made.Project.Version)
	s.git(s.dir, "checkout", "-q", "v2.0")
	require.Equal(t, s.asDeveloper(s.dir, "build", "--tag", "v2.0"), made.Digest())
}

func TestPlanOfABadFile(t *testing.T) {
	s := newShop(t)
	s.write(s.dir, "PIPER.star", "pipeline(name = 'build', steps = [step('a', run = 'x', depends_on = ['b'])])\n")
	bad := s.commit("bad")
	_, _, _, err := s.build(store.Request{})
	var wrong plan.Diagnostics
	require.ErrorAs(t, err, &wrong)
	require.Equal(t, "PIPER.star", wrong[0].File)
	require.Equal(t, 1, wrong[0].Line)

	if !raceEnabled { // which ends the child in its own way when memory is at an end
		s.write(s.dir, "PIPER.star", "x = [0] * ((1 << 30) - 1)\n")
		s.commit("hostile")
		_, _, _, err = s.build(store.Request{})
		require.ErrorAs(t, err, &wrong)
		require.Contains(t, err.Error(), "memory")
	}

	require.NoError(t, os.Remove(filepath.Join(s.dir, "PIPER.star")))
	none := s.commit("none")
	_, _, _, err = s.build(store.Request{})
	require.ErrorAs(t, err, &wrong)

	// What is wrong with a commit is remembered, too.
	for _, commit := range []string{bad, none} {
		before := s.count
		for range 2 {
			_, err = s.sources.Catalog(t.Context(), s.project, commit)
			if commit == none {
				require.ErrorAs(t, err, &wrong)
			} else {
				require.NoError(t, err, "a catalog is the top level alone")
			}
			require.Equal(t, before+1, s.count)
		}
	}
}

func TestCatalogs(t *testing.T) {
	s := newShop(t)
	commit, err := s.sources.Resolve(t.Context(), s.project, "")
	require.NoError(t, err)
	for range 3 {
		catalog, err := s.sources.Catalog(t.Context(), s.project, commit)
		require.NoError(t, err)
		require.Equal(t, "v1.0", catalog.Project.Version)
		require.Len(t, catalog.Pipelines, 2)
		require.Equal(t, "push", catalog.Pipelines[1].On[0].Kind)
	}
	require.Equal(t, 1, s.count)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	other := s.project
	other.Name = "another"
	_, err = s.sources.Catalog(ctx, other, commit)
	require.ErrorIs(t, err, context.Canceled)
	_, err = s.sources.Catalog(t.Context(), other, commit)
	require.NoError(t, err, "an error of the machine is not remembered")
	require.Equal(t, 2, s.count)

	_, err = s.sources.Catalog(t.Context(), s.project, strings.Repeat("1", 40))
	require.ErrorIs(t, err, git.ErrUnknown)

	var known catalogs
	for i := range maxCatalogs + 1 {
		for range 2 {
			known.put(catalogKey{commit: fmt.Sprint(i)}, catalogOf{})
		}
	}
	_, first := known.get(catalogKey{commit: "0"})
	_, second := known.get(catalogKey{commit: "1"})
	require.False(t, first)
	require.True(t, second)
}

func TestSourcesAreWhatTheOperatorAllows(t *testing.T) {
	s := newShop(t)
	commit := s.git(s.dir, "rev-parse", "main")
	for _, test := range []struct{ repository, want string }{
		{"ext::sh -c id", "a character that no address has"},
		{"https://127.0.0.1:1/x", "not of the internet"},
		{"https://git.example.org/x", "its credentials are for git.example.net"},
		{s.dir, "a path of this machine"},
	} {
		p := store.Project{Name: "shop", Repo: test.repository}
		s.sources.operator = &operator.File{}
		if strings.Contains(test.want, "credentials") {
			s.sources.operator.Projects = []operator.Project{{Name: "*", Host: "git.example.net"}}
		}
		_, resolve := s.sources.Resolve(t.Context(), p, "main")
		_, catalog := s.sources.Catalog(t.Context(), p, commit)
		_, changed := s.sources.Changed(t.Context(), p, "main", commit)
		_, branches := s.sources.Branches(t.Context(), p)
		_, checkout := s.sources.Checkout(t.Context(), p, store.Request{}, commit, filepath.Join(t.TempDir(), "work"))
		for _, err := range []error{resolve, catalog, changed, branches, checkout} {
			require.ErrorContains(t, err, test.want)
		}
	}
}

func TestChangedSince(t *testing.T) {
	s := newShop(t)
	topic := s.git(s.dir, "rev-parse", "topic")
	files, err := s.sources.Changed(t.Context(), s.project, "main", topic)
	require.NoError(t, err)
	require.Equal(t, []string{"sub/b.txt"}, files)
	_, err = s.sources.Changed(t.Context(), s.project, strings.Repeat("0", 40), topic)
	require.ErrorIs(t, err, git.ErrUnknown)

	// A commit that no branch leads to comes by its hash, where the other side
	// gives it.
	s.git(s.dir, "config", "uploadpack.allowAnySHA1InWant", "true")
	s.write(s.dir, "a.txt", "lost\n")
	lost := s.commit("lost")
	s.git(s.dir, "reset", "-q", "--hard", "HEAD~1")
	_, err = s.sources.Resolve(t.Context(), s.project, lost)
	require.NoError(t, err)
	branches, err := s.sources.Branches(t.Context(), s.project)
	require.NoError(t, err)
	require.Equal(t, []string{"main", "topic"}, branches)
	_, err = s.sources.Resolve(t.Context(), s.project, "--upload-pack=x")
	require.ErrorIs(t, err, agent.ErrRejected)
	require.NotErrorIs(t, err, store.ErrNotFound)
	_, err = s.sources.Resolve(t.Context(), s.project, "nope")
	require.ErrorIs(t, err, git.ErrUnknown)
	require.ErrorIs(t, err, agent.ErrRejected)
	require.ErrorIs(t, err, store.ErrNotFound)
	var advised interface{ Hint() string }
	require.True(t, errors.As(err, &advised))
}
