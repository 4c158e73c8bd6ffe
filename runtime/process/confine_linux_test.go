package process_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime/process"
	"github.com/piper-build/piper/runtime/process/landlock"
)

// private makes a directory with something to hide in it, and something to see
// in that and beside it.
func private(t *testing.T) (dir string, c process.Confinement) {
	t.Helper()
	if err := process.CanConfine(); err != nil {
		t.Skip("SKIPPED: nothing is confined here: ", err)
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	for _, sub := range []string{"private/trees/mine", "private/trees/other", "beside"} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, sub), 0o700))
	}
	for _, file := range []string{"private/token", "private/trees/other/file", "private/trees/mine/file", "beside/file", "file"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, file), []byte("what is in "+file), 0o600))
	}
	require.NoError(t, os.Symlink("../private", filepath.Join(dir, "beside/link")))
	require.NoError(t, os.Symlink("private", filepath.Join(dir, "link")))
	c = process.Hide(filepath.Join(dir, "private/token"), filepath.Join(dir, "link"), filepath.Join(dir, "private/trees"))
	require.Equal(t, []string{filepath.Join(dir, "private")}, c.Hidden)
	c.Visible = []string{filepath.Join(dir, "private/trees/mine")}
	return dir, c
}

// confined runs a script in dir and returns what it wrote, and whether all of it
// succeeded.
func confined(t *testing.T, c process.Confinement, dir, script string) (string, bool) {
	t.Helper()
	p, err := c.Converse(os.Environ(), []string{"/bin/sh", "-c", "cd " + dir + " && { " + script + "\n}"})
	require.NoError(t, err)
	out, err := io.ReadAll(p)
	require.NoError(t, err)
	status, stderr, err := p.Wait()
	require.NoError(t, err)
	return string(out) + stderr, status.ExitStatus() == 0
}

// TestConfined: a program can do nothing with what is hidden from it, and all it
// could before with everything else.
func TestConfined(t *testing.T) {
	dir, c := private(t)
	for _, script := range []string{
		"cat private/token",
		"cat link/token",
		"cat beside/link/token",
		"cat /proc/self/cwd/private/token",
		"cat private/trees/mine/../../token",
		"cat private/trees/other/file",
		"ls private",
		"ls private/trees",
		"sh -c 'setsid cat private/token'",
		"echo more >> private/token",
		": > private/token",
		"rm private/token",
		"rm -r private/trees/other",
		"touch private/new",
		"mkdir private/trees/new",
		"ln private/token private/trees/mine/token",
		"mv private/token private/trees/mine/token",
		"mv private/trees/other private/trees/mine/other",
		"mv private/trees/mine beside/mine",
		"mv beside/file private/token",
		"mv private beside/private",
		"ls .",      // a directory that hidden things lie in
		"touch new", // and there
		"mv beside elsewhere",
	} {
		out, ok := confined(t, c, dir, script)
		require.False(t, ok, "%s: %s", script, out)
		require.NotContains(t, out, "what is in", script)
		require.Regexp(t, "(?i)permission denied|cannot|can't|cross-device", out, script)
	}
	for script, want := range map[string]string{
		"cat private/trees/mine/file": "what is in private/trees/mine/file",
		"cat beside/file":             "what is in beside/file",
		"cat file":                    "what is in file",
		"ls private/trees/mine":       "file\n",
		"cd private/trees/mine; echo a > b; mv b c; cat c; rm c":                          "a\n",
		"cd private/trees/mine; mkdir d; mv d ../../../beside/e; rmdir ../../../beside/e": "",
		"ln private/trees/mine/file beside/linked; rm beside/linked":                      "",
		"cd private/trees/mine; ln -s /bin/sh shell; ./shell -c 'echo ran'; rm shell":     "ran\n",
		"pwd; test -d private": dir + "\n", // that it is there is no secret
	} {
		out, ok := confined(t, c, dir, script)
		require.True(t, ok, "%s: %s", script, out)
		require.Equal(t, want, out, script)
	}
	require.FileExists(t, filepath.Join(dir, "private/token"))
	if landlock.Version() >= 6 {
		out, ok := confined(t, c, dir, fmt.Sprintf("sleep 100 & kill -9 $! && kill -0 %d", os.Getpid()))
		require.False(t, ok)
		require.Regexp(t, "(?i)not permitted", out, "who started it cannot be ended")
	}
	out, ok := confined(t, process.Confinement{}, dir, "cat private/token")
	require.True(t, ok)
	require.Equal(t, "what is in private/token", out, "who started them is not confined")
}

// TestConfinedFiles: single files are hidden as directories are, also those that
// are made later.
func TestConfinedFiles(t *testing.T) {
	dir, _ := private(t)
	c := process.Hide(filepath.Join(dir, "file"), filepath.Join(dir, "private/trees/later"))
	later := filepath.Join(dir, "private/trees/later")
	out, ok := confined(t, c, dir, fmt.Sprintf("cat beside/file; cat private/token; ! cat file && mv beside/file private/trees/other && ! touch %s", later))
	require.True(t, ok, out)
	require.True(t, strings.HasPrefix(out, "what is in beside/filewhat is in private/token"), out)
	require.NoFileExists(t, later)
}

// TestConfinementCosts: what is confined may not make files in directories that
// hidden things lie in. It is said where this user could.
func TestConfinementCosts(t *testing.T) {
	dir, c := private(t)
	private := filepath.Join(dir, "private")
	require.Contains(t, c.Costs(), "make files in "+dir+" (to hide "+private+")")
	require.NotContains(t, strings.Join(c.Costs(), "\n"), "in "+private)
	require.Empty(t, process.Confinement{}.Costs())
	if os.Geteuid() != 0 {
		require.NotContains(t, strings.Join(c.Costs(), "\n"), "in / ")
		require.NoError(t, os.Chmod(dir, 0o300))
		require.Contains(t, c.Costs(), "use anything in "+dir+" (to hide "+private+"), as this user may not list it")
		require.NoError(t, os.Chmod(dir, 0o700))
	}
	require.True(t, c.Hides(private))
	require.True(t, c.Hides(filepath.Join(dir, "beside/link/any/thing")), "links are followed")
	require.False(t, c.Hides(filepath.Join(dir, "privates")))
	require.False(t, c.Hides(dir))
	require.True(t, c.Closes(dir))
	require.True(t, c.Closes(filepath.Join(dir, "link/work")))
	require.False(t, c.Closes(filepath.Join(dir, "beside")))
}

// TestConfinedByNames: what is hidden was found by its name once, and stays hidden
// when that means something else.
func TestConfinedByNames(t *testing.T) {
	dir, c := private(t)
	require.NoError(t, os.Remove(filepath.Join(dir, "link")))
	require.NoError(t, os.Symlink("beside", filepath.Join(dir, "link")))
	out, ok := confined(t, c, dir, "cat link/file; cat private/token")
	require.False(t, ok)
	require.Contains(t, out, "what is in beside/file")
	require.NotContains(t, out, "what is in private")
}

// TestConfinedInVain: what is to be seen has to be there, and nothing is started
// unconfined.
func TestConfinedInVain(t *testing.T) {
	dir, c := private(t)
	_, err := process.Hide("/").Converse(nil, []string{"/bin/sh", "-c", "echo no"})
	require.ErrorIs(t, err, os.ErrPermission, "nothing at all is to be seen")
	c.Visible = append(c.Visible, filepath.Join(dir, "private/gone"))
	_, err = c.Converse(nil, []string{"/bin/sh", "-c", "echo no"})
	require.ErrorIs(t, err, os.ErrNotExist)
}
