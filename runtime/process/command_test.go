package process_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/runtime"
	"github.com/piper-build/piper/runtime/build"
)

// TestStart has what can be wrong with a command.
func TestStart(t *testing.T) {
	bin := t.TempDir()
	write := func(name, text string, mode os.FileMode) {
		require.NoError(t, os.WriteFile(filepath.Join(bin, name), []byte(text), mode))
	}
	write("plain", "echo \"plain $1\"\n", 0o755)
	write("data", "data", 0o644)
	write("binary", "\x7fELF\x00\x00\x00nonsense\x00", 0o755)
	write("orphaned", "#!/no/such/interpreter -x\n", 0o755)
	write("where", "#!/bin/sh\npwd\n", 0o755)
	require.NoError(t, os.Mkdir(filepath.Join(bin, "folder"), 0o755))

	for _, c := range []struct {
		name, want, output string
		env                []string
		argv               []string
	}{
		{"not there", "failed exit=127: no-such: command not found; PATH is " + bin, "", nil, []string{"no-such"}},
		{"no such file", "failed exit=127: ./no-such: no such file", "", nil, []string{"./no-such"}},
		{"below a file", "failed exit=127: /bin/sh/x: no such file", "", nil, []string{"/bin/sh/x"}},
		{"empty", "failed exit=127: the command is empty", "", nil, []string{""}},
		{"not executable", "failed exit=126: " + bin + "/data: permission denied", "", nil, []string{bin + "/data"}},
		{"not executable, found", "failed exit=126: " + bin + "/data: permission denied", "", nil, []string{"data"}},
		{"directory", "failed exit=126: " + bin + "/folder: is a directory", "", nil, []string{bin + "/folder"}},
		{"directory, found", "failed exit=126: " + bin + "/folder: is a directory", "", nil, []string{"folder"}},
		{"no program", "failed exit=126: binary: is not a program for this machine", "", nil, []string{"binary"}},
		{"no interpreter", "failed exit=127: orphaned: its interpreter /no/such/interpreter is not there", "", nil, []string{"orphaned"}},
		{"script without a first line", "success exit=0", "plain one\n", nil, []string{"plain", "one"}},
		{"no PATH", "success exit=0", "x\n", []string{"A=b"}, []string{"printf", `x\n`}},
		{"no PATH and not there", "failed exit=127: no-such: command not found; PATH is not set", "", []string{"A=b"}, []string{"no-such"}},
		{"PATH of this process is not looked at", "failed exit=127: sh: command not found; PATH is " + bin, "", nil, []string{"sh"}},
		{"last PATH counts", "success exit=0", "plain \n", []string{"PATH=/nowhere", "PATH=" + bin}, []string{"plain"}},
		{"zero byte in an argument", "failed exit=126: argument 1 holds a NUL byte", "", nil, []string{"plain", "a\x00b"}},
		{"zero byte in the environment", "failed exit=126: plain: an argument or the environment holds a NUL byte", "", []string{"PATH=" + bin, "A=\x00"}, []string{"plain"}},
		{"long argument", "failed exit=126: argument 1 is 131072 bytes long; at most 131071 can be passed", "", nil, []string{"plain", strings.Repeat("x", 128<<10)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			out := &keeper{}
			tk := task(t, out, c.argv...)
			if tk.Env = c.env; c.env == nil {
				tk.Env = []string{"PATH=" + bin}
			}
			r := executor(t).Execute(t.Context(), tk)
			require.Equal(t, c.want, show(r))
			require.Equal(t, c.output, out.String())
		})
	}

	t.Run("too much in all", func(t *testing.T) {
		tk := task(t, &keeper{}, append([]string{"plain"}, strings.Split(strings.Repeat(strings.Repeat("x", 100_000)+" ", 100), " ")...)...)
		tk.Env = []string{"PATH=" + bin}
		r := executor(t).Execute(t.Context(), tk)
		require.Contains(t, show(r), "failed exit=126: plain: the arguments (10000107 bytes) and the environment (")
		require.False(t, r.Infra)
	})
	t.Run("relative PATH is from the step's directory", func(t *testing.T) {
		out := &keeper{}
		tk := task(t, out, "where")
		tk.Env = []string{"PATH=tools"}
		require.NoError(t, os.MkdirAll(filepath.Join(tk.Workspace, "sub/tools"), 0o755))
		require.NoError(t, os.Symlink(filepath.Join(bin, "where"), filepath.Join(tk.Workspace, "sub/tools/where")))
		tk.Dir = "sub"
		r := executor(t).Execute(t.Context(), tk)
		require.Equal(t, build.Success, r.State, show(r))
		require.Equal(t, "sub\n", out.String()[strings.LastIndexByte(out.String(), '/')+1:])
	})
}

func TestDirectory(t *testing.T) {
	workspace, outside := t.TempDir(), t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(workspace, "a/b"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(workspace, "file"), nil, 0o644))
	for name, to := range map[string]string{
		"inside": "a/b", "up": "a/../a", "outside": outside, "parent": "..", "root": "/", "dangling": "no", "loop": "loop",
		"a/out": "../../" + filepath.Base(outside), "back": "../" + filepath.Base(workspace) + "/a",
	} {
		require.NoError(t, os.Symlink(to, filepath.Join(workspace, name)))
	}
	for _, c := range []struct{ dir, want string }{
		{"", "/"}, {".", "/"}, {"a/b", "/a/b"}, {"a//b/", "/a/b"}, {"inside", "/a/b"}, {"up/b", "/a/b"},
		{"no", "directory no is not there"},
		{"a/no", "directory a/no is not there"},
		{"dangling", "directory dangling is not there"},
		{"file", "directory file is not a directory"},
		{"outside", "directory outside leaves the workspace"},
		{"root/etc", "directory root/etc leaves the workspace"},
		{"parent", "directory parent leaves the workspace"},
		{"back", "directory back leaves the workspace"},
		{"..", "directory .. leaves the workspace"},
		{"a/../..", "directory a/../.. leaves the workspace"},
		{"/etc", "directory /etc leaves the workspace"},
	} {
		t.Run(c.dir, func(t *testing.T) {
			out := &keeper{}
			tk := script(t, out, `pwd -P`)
			tk.Workspace, tk.Dir = workspace, c.dir
			r := executor(t).Execute(t.Context(), tk)
			if !strings.HasPrefix(c.want, "/") {
				require.Equal(t, "failed: "+c.want, show(r))
				require.Empty(t, out.String())
				return
			}
			real, err := filepath.EvalSymlinks(workspace)
			require.NoError(t, err)
			require.Equal(t, filepath.Join(real, c.want)+"\n", out.String(), show(r))
		})
	}
	for _, dir := range []string{"loop", "file/x", "a/out"} {
		tk := script(t, &keeper{}, `pwd`)
		tk.Workspace, tk.Dir = workspace, dir
		r := executor(t).Execute(t.Context(), tk)
		require.Equal(t, build.Failed, r.State)
		require.False(t, r.Infra)
		require.Contains(t, r.Reason, "directory "+dir+" ")
	}

	tk := script(t, &keeper{}, `pwd`)
	tk.Workspace = filepath.Join(workspace, "no")
	r := executor(t).Execute(t.Context(), tk)
	require.True(t, r.Infra, "the workspace is not the step's to have")
}

// TestLongScript has scripts that are longer than an argument may be.
func TestLongScript(t *testing.T) {
	for _, size := range []int{128<<10 - 1, 128 << 10, 128<<10 + 1, 300 << 10, 1 << 20} {
		for _, shell := range []string{"sh", "bash"} {
			t.Run(fmt.Sprint(shell, " ", size), func(t *testing.T) {
				const start = "# first\necho \"$0 $#\"; x='"
				const end = "'\nprintf %s \"$x\" | cksum; printf '%s\\n' \"${#x}\"; cat; set -o | grep errexit; false\necho not here\n"
				fill := strings.Repeat("y\nß\"$x\\ ", size/9)[:size-len(start)-len(end)]
				fill = strings.ToValidUTF8(fill, "..")[:len(fill)]
				out := &keeper{}
				r := executor(t).Execute(t.Context(), task(t, out, shell, "-e", "-c", start+fill+end))
				require.Equal(t, "failed exit=1", show(r), out.String())
				short := &keeper{}
				tk := task(t, short, shell, "-e", "-c", `echo "$0 $#"; cksum <x; set -o | grep errexit`)
				require.NoError(t, os.WriteFile(filepath.Join(tk.Workspace, "x"), []byte(fill), 0o600))
				require.Equal(t, "success exit=0", show(executor(t).Execute(t.Context(), tk)))
				lines := strings.Split(out.String(), "\n")
				require.Equal(t, short.String(), strings.Join(append(lines[:2:2], lines[3:]...), "\n"))
			})
		}
	}
	r := executor(t).Execute(t.Context(), script(t, &keeper{}, strings.Repeat("#", 1<<20+1)))
	require.Equal(t, "failed exit=126: the script is 1048577 bytes long; at most 1048576 are allowed", show(r))
}

// TestMachineFails has what is not the step's fault.
func TestMachineFails(t *testing.T) {
	out := &keeper{err: fmt.Errorf("disk full")}
	r := executor(t).Execute(t.Context(), script(t, out, `echo; sleep 1000`))
	require.Equal(t, `failed signal="killed" infra: write output: disk full`, show(r))

	e := executor(t)
	require.NoError(t, e.Close())
	require.Equal(t, `failed infra: executor is closed`, show(e.Execute(t.Context(), script(t, out, `:`))))
	var _ runtime.Executor = e
}
