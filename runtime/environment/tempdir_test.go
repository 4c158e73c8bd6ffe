package environment_test

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/piper-build/piper/runtime"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/environment"
	"github.com/piper-build/piper/runtime/plan"
)

// listing describes a tree, a line for each entry: its mode, and what it holds.
func listing(t require.TestingT, dir string) map[string]string {
	seen := map[string]string{}
	require.NoError(t, filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		what := info.Mode().String()
		switch info.Mode().Type() {
		case fs.ModeSymlink:
			target, err := os.Readlink(path)
			if err != nil {
				return err
			}
			what = "-> " + target
		case 0:
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			what += " " + string(text)
		}
		seen[strings.TrimPrefix(path, dir+"/")] = what
		return nil
	}))
	return seen
}

// inCopy executes a task in a fresh temp_dir of workspace and gives what it
// saw there.
func inCopy(t *testing.T, e *environment.Executor, look func(dir string)) runtime.Result {
	e.Plan = planOf(plan.Environment{Name: "copy/one", Kind: "temp_dir"})
	e.Temp = t.TempDir()
	e.Next = &direct{instead: func(_ context.Context, task runtime.Task) runtime.Result {
		require.Equal(t, task.Workspace, value(task.Env, "PIPER_WORKSPACE"))
		require.Equal(t, e.Temp, filepath.Dir(task.Workspace))
		look(task.Workspace)
		return ended(0)
	}}
	res := e.Execute(t.Context(), task("copy/one", "true"))
	require.NoError(t, e.Close())
	left, err := os.ReadDir(e.Temp)
	require.NoError(t, err)
	require.Empty(t, left)
	return res
}

func TestTempDirCopies(t *testing.T) {
	old := time.Date(2001, 2, 3, 4, 5, 6, 0, time.UTC)
	for name, test := range map[string]struct {
		tree  map[string]string
		setup func(t *testing.T, dir string)
		files []string // nil is everything
		want  map[string]string
		fails string
	}{
		"nothing": {tree: map[string]string{"a": "a"}, files: []string{}, want: map[string]string{}},
		"what is listed, and its directories": {
			tree:  map[string]string{"a": "a", "b/c/d": "d", "b/c/e": "e", "f": "f"},
			files: []string{"a", "b/c/d"},
			want:  map[string]string{"a": "-rw-r--r-- a", "b": "drwxr-xr-x", "b/c": "drwxr-xr-x", "b/c/d": "-rw-r--r-- d"},
		},
		"everything but .git": {
			tree: map[string]string{"a": "a", ".git/HEAD": "x", "sub/.git": "gitdir: x", "sub/.github/b": "b", "empty/": ""},
			want: map[string]string{"a": "-rw-r--r-- a", "sub": "drwxr-xr-x", "sub/.github": "drwxr-xr-x", "sub/.github/b": "-rw-r--r-- b", "empty": "drwxr-xr-x"},
		},
		"links as links": {
			tree: map[string]string{"a": "a", "to-a": "-> a", "up": "-> ../../etc", "root": "-> /etc/passwd", "gone": "-> nothing", "loop": "-> loop", "dir/b": "b", "d": "-> dir"},
			want: map[string]string{"a": "-rw-r--r-- a", "to-a": "-> a", "up": "-> ../../etc", "root": "-> /etc/passwd", "gone": "-> nothing", "loop": "-> loop",
				"dir": "drwxr-xr-x", "dir/b": "-rw-r--r-- b", "d": "-> dir"},
		},
		"modes and times": {
			tree: map[string]string{"run": "x", "own": "x", "shut/a": "a"},
			setup: func(t *testing.T, dir string) {
				require.NoError(t, os.Chmod(dir+"/run", 0o755|fs.ModeSetuid))
				require.NoError(t, os.Chmod(dir+"/own", 0o400))
				require.NoError(t, os.Chmod(dir+"/shut", 0o555))
				t.Cleanup(func() { os.Chmod(dir+"/shut", 0o755) })
				require.NoError(t, os.Chtimes(dir+"/run", old, old))
			},
			want: map[string]string{"run": "-rwxr-xr-x x", "own": "-r-------- x", "shut": "dr-xr-xr-x", "shut/a": "-rw-r--r-- a"},
		},
		"gone since it was listed": {
			tree:  map[string]string{"a": "a"},
			files: []string{"a", "b", "c/d"},
			want:  map[string]string{"a": "-rw-r--r-- a"},
		},
		"neither file nor directory": {
			tree:  map[string]string{"a": "a"},
			setup: func(t *testing.T, dir string) { require.NoError(t, unix.Mkfifo(dir+"/pipe", 0o644)) },
			want:  map[string]string{"a": "-rw-r--r-- a"},
		},
		"a directory that is listed": {
			tree:  map[string]string{"a/b": "b"},
			files: []string{"a"},
			want:  map[string]string{"a": "drwxr-xr-x"},
		},
		"a path that leaves the tree": {
			tree:  map[string]string{"a": "a"},
			files: []string{"a", "../b"},
			fails: "make environment copy/one: copy the tree: statat ../b: path escapes from parent",
		},
		"a path through a link that leaves the tree": {
			tree:  map[string]string{"out": "-> /"},
			files: []string{"out/etc/passwd"},
			fails: "path escapes from parent",
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, test.tree)
			if test.setup != nil {
				test.setup(t, dir)
			}
			before := listing(t, dir)
			e := &environment.Executor{Workspace: dir}
			if test.files != nil {
				e.Files = func() ([]string, error) { return test.files, nil }
			}
			res := inCopy(t, e, func(copy string) {
				require.Empty(t, cmp.Diff(test.want, listing(t, copy)))
				if info, err := os.Stat(copy + "/run"); err == nil {
					require.True(t, old.Equal(info.ModTime()))
				}
				require.NoError(t, os.WriteFile(copy+"/made", nil, 0o600))
			})
			require.Equal(t, before, listing(t, dir), "the workspace must stay as it is")
			if test.fails != "" {
				require.Equal(t, build.Failed, res.State)
				require.True(t, res.Infra)
				require.Contains(t, res.Reason, test.fails)
				return
			}
			require.Equal(t, ended(0), res)
		})
	}
}

// Any tree of files, directories and links is copied as it is.
func TestTempDirCopiesAnyTree(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		require.NoError(rt, err)
		name := rapid.StringOfN(rapid.RuneFrom([]rune("ab -*\n…")), 1, 3, -1)
		for _, parts := range rapid.SliceOfN(rapid.SliceOfN(name, 1, 4), 0, 8).Draw(rt, "paths") {
			path := filepath.Join(append([]string{dir}, parts...)...)
			if os.MkdirAll(filepath.Dir(path), 0o755) != nil {
				continue // a file is in the way
			}
			switch rapid.IntRange(0, 2).Draw(rt, "kind") {
			case 0:
				os.WriteFile(path, []byte(rapid.String().Draw(rt, "text")), fs.FileMode(0o400|rapid.IntRange(0, 0o377).Draw(rt, "mode")))
			case 1:
				os.Symlink(rapid.SampledFrom([]string{"a", "../a", "/", "b/a"}).Draw(rt, "target"), path)
			case 2:
				os.Mkdir(path, 0o755)
			}
		}
		e := &environment.Executor{Workspace: dir}
		require.Equal(rt, ended(0), inCopy(t, e, func(copy string) {
			require.Empty(rt, cmp.Diff(listing(rt, dir), listing(rt, copy)))
		}))
	})
}

func TestTempDirInsideTheTree(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"a": "a", "tmp/": ""})
	var seen map[string]string
	e := &environment.Executor{Workspace: dir, Temp: dir + "/tmp", Plan: planOf(plan.Environment{Name: "copy", Kind: "temp_dir"}),
		Next: &direct{instead: func(_ context.Context, task runtime.Task) runtime.Result {
			seen = listing(t, task.Workspace)
			return ended(0)
		}}}
	require.Equal(t, ended(0), e.Execute(t.Context(), task("copy", "true")))
	require.Equal(t, map[string]string{"a": "-rw-r--r-- a", "tmp": "drwxr-xr-x"}, seen)
	require.NoError(t, e.Close())
}

func TestTempDirIsShared(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, map[string]string{"sub/a": "a"})
	e := &environment.Executor{Next: &direct{}, Workspace: dir, Temp: t.TempDir(),
		Plan: planOf(plan.Environment{Name: "one", Kind: "temp_dir"}, plan.Environment{Name: "two", Kind: "temp_dir"})}
	first := task("one", "sh", "-ec", "cp a b; pwd")
	first.Dir = "sub"
	require.Equal(t, ended(0), e.Execute(t.Context(), first))
	second := task("one", "sh", "-ec", `test -f sub/b; test "$PWD" = "$PIPER_WORKSPACE"`)
	require.Equal(t, ended(0), e.Execute(t.Context(), second))
	other := task("two", "sh", "-ec", "test ! -e sub/b")
	require.Equal(t, ended(0), e.Execute(t.Context(), other))
	require.NoFileExists(t, dir+"/sub/b")
	require.NoError(t, e.Close())
	require.NoError(t, e.Close())
}

func TestTempDirIsKept(t *testing.T) {
	for name, e := range map[string]*environment.Executor{
		"by the plan":   {Plan: planOf(plan.Environment{Name: "copy", Kind: "temp_dir", Keep: true})},
		"by the caller": {Plan: planOf(plan.Environment{Name: "copy", Kind: "temp_dir"}), Keep: true},
	} {
		t.Run(name, func(t *testing.T) {
			var reports []string
			e.Next, e.Workspace, e.Temp = &direct{}, t.TempDir(), t.TempDir()
			lasts := t.TempDir()
			t.Setenv("TMPDIR", lasts)
			e.Report = func(message string) { reports = append(reports, message) }
			require.Equal(t, ended(0), e.Execute(t.Context(), task("copy", "sh", "-c", "echo made > made")))
			require.NoError(t, e.Close())
			left, err := filepath.Glob(lasts + "/piper-copy-*")
			require.NoError(t, err)
			require.Len(t, left, 1)
			require.FileExists(t, left[0]+"/made")
			require.Equal(t, []string{"environment copy: kept in " + left[0]}, reports)
		})
	}
}

// What a step leaves behind is removed, whatever its modes, and nothing else.
func TestTempDirIsRemoved(t *testing.T) {
	for name, script := range map[string]string{
		"read-only directories": `mkdir -p a/b/c; touch a/b/c/d; chmod 000 a/b/c; chmod 500 a/b; chmod 400 a; chmod 500 .`,
		"shut at the top":       `mkdir a; touch a/b; chmod 000 .`,
		"links out":             `ln -s "$OUTSIDE" out; ln -s / root; mkdir a; ln -s "$OUTSIDE" a/out; chmod 500 a`,
		"the copy is a link":    `cd ..; mv "$PIPER_WORKSPACE" elsewhere; ln -s "$OUTSIDE" "$PIPER_WORKSPACE"; rm -r elsewhere`,
		"the copy is gone":      `cd ..; rm -r "$PIPER_WORKSPACE"`,
		"deep":                  `i=0; while [ $i -lt 300 ]; do mkdir -p aaaaaaaaaaaaaaaaaaaa; cd -P aaaaaaaaaaaaaaaaaaaa; i=$((i+1)); done; touch end; chmod 500 .`,
		"odd names":             `touch -- -rf "$(printf 'a\nb')" '*'`,
	} {
		t.Run(name, func(t *testing.T) {
			outside := t.TempDir()
			write(t, outside, map[string]string{"stays": "x"})
			require.NoError(t, os.Chmod(outside, 0o755))
			e := &environment.Executor{Next: &direct{}, Workspace: t.TempDir(), Temp: t.TempDir(),
				Plan: planOf(plan.Environment{Name: "copy", Kind: "temp_dir"})}
			step := task("copy", "sh", "-ec", script)
			step.Env = append(step.Env, "OUTSIDE="+outside)
			require.Equal(t, ended(0), e.Execute(t.Context(), step))
			require.NoError(t, e.Close())
			left, err := os.ReadDir(e.Temp)
			require.NoError(t, err)
			require.Empty(t, left)
			require.Equal(t, map[string]string{"stays": "-rw-r--r-- x"}, listing(t, outside))
			info, err := os.Stat(outside)
			require.NoError(t, err)
			require.Equal(t, fs.FileMode(0o755), info.Mode().Perm())
		})
	}
}

func TestTempDirCannotBeMade(t *testing.T) {
	for name, test := range map[string]struct{ workspace, temp, fails string }{
		"no workspace": {"/nonexistent", t.TempDir(), "copy the tree: open /nonexistent: no such file or directory"},
		"no temp":      {t.TempDir(), "/nonexistent", "stat /nonexistent: no such file or directory"},
	} {
		t.Run(name, func(t *testing.T) {
			e := &environment.Executor{Workspace: test.workspace, Temp: test.temp, Plan: planOf(plan.Environment{Name: "copy", Kind: "temp_dir"})}
			require.Equal(t, runtime.Result{State: build.Failed, Infra: true, Reason: "make environment copy: " + test.fails},
				e.Execute(t.Context(), task("copy", "true")))
			require.NoError(t, e.Close())
		})
	}
}
