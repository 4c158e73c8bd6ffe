package git_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/git"
	"github.com/piper-build/piper/runtime/process"
)

// A Repo is a builtins.Git.
var _ interface {
	Commit() (string, error)
	Branch() (string, error)
	Tag() (string, error)
	Dirty() (bool, error)
	Describe(flags ...string) (string, error)
	Changed(base string) ([]string, error)
} = (*git.Repo)(nil)

// TestScripts runs testdata/*.txt: each makes repositories with the git
// program, and asks about them.
//
//	ask [-C dir] [-files] [-cancelled] commit|branch|tag|dirty|root|branches|files|describe flag...|changed base...|at REV files|at REV read FILE|at REV names DIR
//
// opens the repository of dir and prints the answers, each on a line; several
// questions to one Repo are parted by a comma. With -files the program cannot
// be started, with -cancelled it is to end before it does. A failure and its advice are printed to stderr.
func TestScripts(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("SKIPPED: the git program is needed to make repositories")
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			env.Setenv("HOME", env.WorkDir+"/home")
			env.Setenv("GIT_CONFIG_NOSYSTEM", "1")
			for _, who := range []string{"AUTHOR", "COMMITTER"} {
				env.Setenv("GIT_"+who+"_NAME", "Ann")
				env.Setenv("GIT_"+who+"_EMAIL", "ann@example.org")
				env.Setenv("GIT_"+who+"_DATE", "2024-02-03T04:05:06Z")
			}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"ask": ask},
	})
}

func ask(ts *testscript.TestScript, neg bool, args []string) {
	dir, filesOnly := ".", false
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		switch args[0] {
		case "-C":
			dir, args = args[1], args[1:]
		case "-files":
			filesOnly = true
		case "-cancelled":
			cancel()
		}
		args = args[1:]
	}
	err := func() error {
		repo, err := git.Open(ts.MkAbs(dir))
		if err != nil {
			return err
		}
		repo.Context = ctx
		repo.Output = func(ctx context.Context, dir string, env []string, argv ...string) ([]byte, error) {
			if filesOnly {
				ts.Fatalf("started %q", argv)
			}
			for _, name := range []string{"HOME", "XDG_CONFIG_HOME", "PATH", "GIT_TEST_ASSUME_DIFFERENT_OWNER"} {
				env = append(env, name+"="+ts.Getenv(name))
			}
			return process.Output(ctx, dir, env, argv...)
		}
		for question := range strings.SplitSeq(strings.Join(args, " "), " , ") {
			if err := answer(ts.Stdout(), repo, strings.Fields(question)); err != nil {
				return err
			}
		}
		return nil
	}()
	if err != nil {
		fmt.Fprintln(ts.Stderr(), err)
		if advised := (interface{ Hint() string })(nil); errors.As(err, &advised) {
			fmt.Fprintln(ts.Stderr(), "[hint: "+advised.Hint()+"]")
		}
		for _, sentinel := range []error{git.ErrNotRepository, git.ErrBare, git.ErrNoCommit, git.ErrNoProgram} {
			if errors.Is(err, sentinel) {
				fmt.Fprintf(ts.Stderr(), "[is: %v]\n", sentinel)
			}
		}
	}
	if (err != nil) != neg {
		ts.Fatalf("ask: unexpected end: %v", err)
	}
}

// at asks a revision.
func at(repo *git.Repo, question []string) (string, error) {
	v, err := repo.Revision(question[0])
	if err != nil {
		return "", err
	}
	switch question[1] {
	case "files":
		files, err := v.Files()
		return fmt.Sprintf("%q", files), err
	case "names":
		names, err := v.Names(question[2])
		return fmt.Sprintf("%q", names), err
	case "commit":
		return v.Commit(), nil
	}
	f, err := v.Open(question[2])
	if err != nil {
		return "", err
	}
	defer f.Close()
	data, err := io.ReadAll(f)
	return fmt.Sprintf("%q", data), err
}

func answer(w io.Writer, repo *git.Repo, question []string) error {
	var s string
	var list []string
	var yes bool
	var err error
	switch rest := question[1:]; question[0] {
	case "commit":
		s, err = repo.Commit()
	case "branch":
		s, err = repo.Branch()
	case "trunk":
		s = repo.Trunk()
	case "tag":
		s, err = repo.Tag()
	case "dirty":
		yes, err = repo.Dirty()
		s = fmt.Sprint(yes)
	case "root":
		s = repo.Root()
	case "describe":
		s, err = repo.Describe(rest...)
	case "branches":
		list, err = repo.Branches()
		s = fmt.Sprintf("%q", list)
	case "files":
		list, err = repo.Files()
		s = fmt.Sprintf("%q", list)
	case "changed":
		list, err = repo.Changed(strings.Join(rest, " "))
		s = fmt.Sprintf("%q", list)
	case "at":
		s, err = at(repo, rest)
	default:
		err = fmt.Errorf("no question %q", question[0])
	}
	if err == nil {
		fmt.Fprintf(w, "%s: %s\n", strings.Join(question, " "), s)
	}
	return err
}

// A build sees one state of the repository, and the git program once for each
// question.
func TestAnswersAreKept(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("SKIPPED: the git program is needed to make repositories")
	}
	dir := t.TempDir()
	run := func(argv ...string) {
		t.Helper()
		out, err := exec.Command("git", append([]string{"-C", dir, "-c", "user.name=Ann", "-c", "user.email=ann@example.org"}, argv...)...).CombinedOutput()
		require.NoError(t, err, string(out))
	}
	run("init", "-q", "-b", "main")
	run("commit", "-q", "--allow-empty", "-m", "one")
	repo, err := git.Open(dir)
	require.NoError(t, err)
	ask := func() (all []string) {
		commit, err := repo.Commit()
		require.NoError(t, err)
		branch, err := repo.Branch()
		require.NoError(t, err)
		dirty, err := repo.Dirty()
		require.NoError(t, err)
		files, err := repo.Files()
		require.NoError(t, err)
		return append(files, commit, branch, fmt.Sprint(dirty))
	}
	first := ask()
	require.NoError(t, os.WriteFile(dir+"/new", nil, 0o644))
	run("add", "new")
	run("checkout", "-q", "-b", "other")
	run("commit", "-q", "--allow-empty", "-m", "two")
	require.NoError(t, os.RemoveAll(dir))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() { require.Equal(t, first, ask()) })
	}
	wg.Wait()
}
