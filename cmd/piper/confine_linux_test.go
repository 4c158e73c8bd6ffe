package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/agent/operator"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/process"
)

// curiosity are builds of which one waits, and the other looks for what is the
// agent's, for what that one has, and for what is its own.
const curiosity = `
def _other(ctx):
    return [step("wait", env = {"OVER": ctx.params.over}, run = "echo hush >mine; while [ ! -e $OVER ]; do sleep 0.05; done")]

def _look(ctx):
    return [step("look", env = {"AGENT": ctx.params.agent, "STORE": ctx.params.store, "OTHER": ctx.params.other}, run = """
        tried=0
        try() { tried=$((tried + 1)); if "$@" >out 2>&1; then echo "COULD $*"; fi }
        try ls "$AGENT"
        try ls "$AGENT/work"
        for name in token agent.yaml lock store.password vault/key; do try cat "$AGENT/$name"; done
        for name in "" -wal -shm; do try cat "$STORE$name"; done
        try cat ../*/mine; try cat "$OTHER"
        try sh -c 'echo more >>"$AGENT/token"'
        try rm "$AGENT/token"
        try mv "$PIPER_WORKSPACE" "$AGENT/work/another"
        try cat "/proc/$(ps -o ppid= -p $PPID | tr -d ' ')/root$AGENT/token"
        echo "tried $tried"; echo mine >file; cat file; git log --format=%s; mktemp -d | sed 's/.*/temp/'
    """)]

pipeline(name = "other", params = {"over": param.string()}, impl = _other)
pipeline(name = "look", params = {"agent": param.string(), "store": param.string(), "other": param.string()}, impl = _look)
`

// spied has a build look around in an agent's files, and returns what it wrote.
func (f *fleet) spied(one *machine) string {
	f.t.Helper()
	over := filepath.Join(f.dir, "shared", "over")
	other := f.ask("other", map[string]string{"over": over})
	var mine []string
	f.await("there is another workspace", func() bool {
		mine, _ = filepath.Glob(filepath.Join(one.dir, "work", "*", "mine"))
		return len(mine) == 1
	})
	look := f.ended(f.ask("look", map[string]string{"agent": one.dir, "store": f.store, "other": mine[0]}).ID)
	require.Equal(f.t, build.Success, look.State, look.Reason)
	write(f.t, f.dir, "shared/over", "")
	require.Equal(f.t, build.Success, f.ended(other.ID).State)
	require.FileExists(f.t, filepath.Join(one.dir, "token"))
	return f.wrote(look.ID, "look", 0)
}

// kept is what a build writes that could do nothing but what is its own affair.
const kept = "tried 16\nmine\none\ntemp\n"

// TestStepsAreKeptFromTheAgent: they can read, list and change nothing that is the
// agent's or of other builds, and do all else.
func TestStepsAreKeptFromTheAgent(t *testing.T) {
	t.Parallel()
	if err := process.CanConfine(); err != nil {
		t.Skip("SKIPPED: nothing is confined here: ", err)
	}
	f := newFleet(t, curiosity)
	f.alter = func(cmd *exec.Cmd) {
		cmd.Env = append(cmd.Env, "TMPDIR="+filepath.Join(f.dir, "shared"))
	}
	f.repo.write(f.dir, "shared/file", "")
	one := filepath.Join(f.dir, "one")
	for name, text := range map[string]string{"agent.yaml": "confine: always\nhidden: [vault]\n", "vault/key": "hush", "store.password": "hush"} {
		f.repo.write(one, name, text)
		require.NoError(t, os.Chmod(filepath.Join(one, name), 0o600))
	}
	m := f.start("one")
	require.Equal(t, kept, f.spied(m))
	f.await("it is said", func() bool {
		return strings.Contains(m.log.String(), `msg="steps are kept from the agent's files" files="[`+one)
	})
	f.sound()
}

// TestStepsAreKeptFromTheAgentByItself: one that has a user of its own, and a
// directory where that user can make nothing else, need not be told.
func TestStepsAreKeptFromTheAgentByItself(t *testing.T) {
	if err := process.CanConfine(); err != nil {
		t.Skip("SKIPPED: nothing is confined here: ", err)
	}
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: only root can start an agent as another user")
	}
	if _, err := exec.LookPath("podman"); err == nil {
		t.Skip("SKIPPED: podman is here, which could start no containers")
	}
	const nobody = 65534
	f := newFleet(t, curiosity)
	var err error
	f.dir, err = os.MkdirTemp("/var/lib", "piper-test-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(f.dir)) })
	require.NoError(t, os.Chmod(f.dir, 0o755))
	for _, dir := range []string{"one", "home", "shared"} {
		require.NoError(t, os.Mkdir(filepath.Join(f.dir, dir), 0o700))
	}
	for name, text := range map[string]string{"one/vault/key": "hush", "one/store.password": "hush"} {
		f.repo.write(f.dir, name, text)
	}
	require.NoError(t, exec.Command("cp", "-r", f.repo.dir, f.dir+"/repo").Run())
	program, err := exec.LookPath("piper")
	require.NoError(t, err)
	require.NoError(t, exec.Command("cp", "-L", program, f.dir+"/piper").Run())
	require.NoError(t, exec.Command("chown", "-R", fmt.Sprint(nobody), f.dir+"/one", f.dir+"/home", f.dir+"/shared", f.dir+"/repo").Run())
	f.repo.dir, f.store = f.dir+"/repo", f.dir+"/one/piper.db"
	f.alter = func(cmd *exec.Cmd) {
		cmd.Path = f.dir + "/piper"
		cmd.Env = append(cmd.Env, "HOME="+f.dir+"/home", "TMPDIR="+f.dir+"/shared", "PATH="+f.dir+":/usr/local/bin:/usr/bin:/bin", "GOCOVERDIR=")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	m := f.start("one")
	require.Equal(t, kept, f.spied(m))

	doctor := exec.Command("piper", "doctor", "--data-dir", m.dir)
	f.alter(doctor)
	out, _ := doctor.CombinedOutput()
	require.Contains(t, string(out), "steps are kept from the agent's files")
}

// TestConfine: steps are kept from what is private where that costs them nothing
// else, or as the operator says.
func TestConfine(t *testing.T) {
	if err := process.CanConfine(); err != nil {
		t.Skip("SKIPPED: nothing is confined here: ", err)
	}
	dir := t.TempDir()
	a := func(environ ...string) *app { return &app{dir: dir, environ: environ} }
	private := []string{filepath.Join(dir, "agent")}

	k := a("HOME=/", "TMPDIR=/tmp").confine(&operator.File{Confine: operator.Auto}, private)
	require.False(t, k.Confines())
	require.Contains(t, k.open, "they could then make no files in ")
	require.Contains(t, k.open, dir)
	require.Contains(t, k.remedy, "--data-dir /var/lib/piper")

	k = a("HOME=/", "TMPDIR=/tmp").confine(&operator.File{Confine: operator.Always, Hidden: []string{"/srv/vault"}}, private)
	require.Equal(t, []string{private[0], "/srv/vault"}, k.Hidden)
	require.Empty(t, k.open)

	k = a("HOME=/", "TMPDIR="+private[0]+"/tmp").confine(&operator.File{Confine: operator.Always}, private)
	require.False(t, k.Confines())
	require.Contains(t, k.open, "no directory for temporary files")

	k = a("HOME=/").confine(&operator.File{Confine: operator.Never}, private)
	require.False(t, k.Confines())
	require.Contains(t, k.open, "confine: never")
}
