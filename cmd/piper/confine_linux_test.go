package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/agent/operator"
	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/process"
)

// curiosity are builds of which one waits, and the other looks for what is the
// agent's, for what that one has, and for what is its own.
const curiosity = `
def _other(ctx):
    return [step("wait", env = {"OVER": ctx.params.over}, run = "echo $PIPER_OUTPUT >$OVER.output; echo hush >mine; while [ ! -e $OVER ]; do sleep 0.05; done")]

def _look(ctx):
    return [step("look", env = {"AGENT": ctx.params.agent, "STORE": ctx.params.store, "OTHER": ctx.params.other, "OVER": ctx.params.over}, run = """
        tried=0
        try() { tried=$((tried + 1)); if "$@" >out 2>&1; then echo "COULD $*"; fi }
        try ls "$AGENT"
        try ls "$AGENT/work"
        for name in token agent.yaml lock store.password vault/key; do try cat "$AGENT/$name"; done
        for name in "" -wal -shm; do try cat "$STORE$name"; done
        try cat ../*/mine; try cat "$OTHER"; try cat "$AGENT/linked"; try cat "$AGENT/../elsewhere"
        try ls "$(cat "$OVER.output")"
        try grep -q . "$(find .git/objects -type f -links +1)"
        try sh -c 'echo more >>"$AGENT/token"'
        try rm "$AGENT/token"
        try mv "$PIPER_WORKSPACE" "$AGENT/work/another"
        try cat "/proc/$(ps -o ppid= -p $PPID | tr -d ' ')/root$AGENT/token"
        echo "tried $tried"; echo mine >file; cat file; git log --format=%s; mktemp -d | sed 's/.*/temp/'
    """)]

pipeline(name = "other", params = {"over": param.string()}, impl = _other)
pipeline(name = "look", params = {"agent": param.string(), "store": param.string(), "other": param.string(), "over": param.string()}, impl = _look)
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
	look := f.ended(f.ask("look", map[string]string{"agent": one.dir, "store": f.store, "other": mine[0], "over": over}).ID)
	require.Equal(f.t, build.Success, look.State, look.Reason)
	write(f.t, f.dir, "shared/over", "")
	require.Equal(f.t, build.Success, f.ended(other.ID).State)
	require.FileExists(f.t, filepath.Join(one.dir, "token"))
	return f.wrote(look.ID, "look", 0)
}

// kept is what a build writes that could do nothing but what is its own affair.
const kept = "tried 20\nmine\none\ntemp\n"

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
	one := filepath.Join(f.dir, "real")
	f.repo.write(f.dir, "elsewhere", "hush")
	require.NoError(t, os.MkdirAll(one, 0o700))
	require.NoError(t, os.Symlink("../elsewhere", filepath.Join(one, "linked")))
	require.NoError(t, os.Symlink("real", filepath.Join(f.dir, "one")))
	for name, text := range map[string]string{"agent.yaml": "confine: always\nhidden: [vault]\n", "vault/key": "hush", "store.password": "hush"} {
		f.repo.write(one, name, text)
		require.NoError(t, os.Chmod(filepath.Join(one, name), 0o600))
	}
	m := f.start("one")
	require.Equal(t, kept, f.spied(m))
	f.await("it is said", func() bool {
		return strings.Contains(m.log.String(), "steps are kept from the agent's files, and can not ") && strings.Contains(m.log.String(), ` files="[`+one)
	})
	f.sound()
}

// nobodys is a fleet of agents of a user who can make no files in the directories
// that theirs lie in.
func nobodys(t *testing.T, pipelines string) *fleet {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: only root can start an agent as another user")
	}
	const nobody = 65534
	f := newFleet(t, pipelines)
	var err error
	f.dir, err = os.MkdirTemp("/var/lib", "piper-test-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(f.dir)) })
	require.NoError(t, os.Chmod(f.dir, 0o755))
	for _, dir := range []string{"one", "home", "shared"} {
		require.NoError(t, os.Mkdir(filepath.Join(f.dir, dir), 0o700))
	}
	require.NoError(t, exec.Command("cp", "-r", f.repo.dir, f.dir+"/repo").Run())
	program, err := exec.LookPath("piper")
	require.NoError(t, err)
	require.NoError(t, exec.Command("cp", "-L", program, f.dir+"/piper").Run())
	require.NoError(t, exec.Command("chown", "-R", fmt.Sprint(nobody), f.dir+"/one", f.dir+"/home", f.dir+"/shared", f.dir+"/repo").Run())
	f.repo.dir, f.store = f.dir+"/repo", f.dir+"/one/piper.db"
	f.alter = func(cmd *exec.Cmd) {
		cmd.Path = f.dir + "/piper"
		cmd.Env = append(cmd.Env, "HOME="+f.dir+"/home", "TMPDIR="+f.dir+"/shared", "PATH="+f.dir+":/usr/local/bin:/usr/bin:/bin")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
	}
	return f
}

// doctor is what the doctor says of one of them.
func (f *fleet) doctor(m *machine) string {
	doctor := exec.Command("piper", "doctor", "--data-dir", m.dir)
	f.alter(doctor)
	out, _ := doctor.CombinedOutput()
	return string(out)
}

// TestStepsAreKeptFromTheAgentByItself: one that has a user of its own, and a
// directory where that user can make nothing else, need not be told.
func TestStepsAreKeptFromTheAgentByItself(t *testing.T) {
	t.Parallel()
	if err := process.CanConfine(); err != nil {
		t.Skip("SKIPPED: nothing is confined here: ", err)
	}
	if _, err := exec.LookPath("podman"); err == nil {
		t.Skip("SKIPPED: podman is here, which could start no containers")
	}
	f := nobodys(t, curiosity)
	m := f.start("one")
	for _, name := range []string{"one/vault/key", "one/store.password"} {
		f.repo.write(f.dir, name, "hush")
		require.NoError(t, os.Chmod(filepath.Join(f.dir, name), 0o644))
	}
	require.Equal(t, kept, f.spied(m))
	require.Contains(t, f.doctor(m), "steps are kept from the agent's files")
}

// TestAStepCannotBeKilled: its build fails, and its slot is no other one's until
// the process has ended.
func TestAStepCannotBeKilled(t *testing.T) {
	t.Parallel()
	f := nobodys(t, `
pipeline(name = "leave", steps = [step("leave", run = "$HOME/root $HOME/pid & until [ -s $HOME/pid ]; do sleep 0.05; done")])
pipeline(name = "next", steps = [step("next", run = "echo done")])
`)
	require.NoError(t, exec.Command("cp", "-L", f.dir+"/piper", f.dir+"/home/root").Run())
	require.NoError(t, os.Chmod(f.dir+"/home/root", 0o755|os.ModeSetuid))
	f.repo.write(f.dir, "one/agent.yaml", "confine: never\n") // or nobody becomes root
	require.NoError(t, os.Chown(f.dir+"/one/agent.yaml", 65534, 65534))
	m := f.start("one", quick...)
	b := f.ended(f.ask("leave", nil).ID)
	pid, err := os.ReadFile(f.dir + "/home/pid")
	require.NoError(t, err)
	if string(pid) == "none" {
		t.Skip("SKIPPED: no program becomes root here")
	}
	number, err := strconv.Atoi(string(pid))
	require.NoError(t, err)
	t.Cleanup(func() { syscall.Kill(number, syscall.SIGKILL) })
	left := fmt.Sprintf("root (%d)", number)
	require.Equal(t, build.Failed, b.State)
	require.Equal(t, "processes cannot be killed: "+left, b.Steps[0].Reason)

	self := func() api.Agent {
		agents, err := f.Agents(t.Context())
		require.NoError(t, err)
		return agents[0]
	}
	f.await("a slot is held back", func() bool { return self().Slots == 1 && self().Facts["unkillable"] == left })
	require.Equal(t, build.Success, f.ended(f.ask("next", nil).ID).State)
	require.Contains(t, f.doctor(m), "one on "+self().Host+" holds slots back as what builds left cannot be killed: "+left)
	require.NoError(t, syscall.Kill(number, syscall.SIGKILL))
	f.await("the slot is free again", func() bool { return self().Slots == 2 && self().Facts["unkillable"] == "" })
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

	k := a("HOME=/", "TMPDIR=/var/tmp").confine(&operator.File{Confine: operator.Auto}, private)
	require.False(t, k.Confines())
	require.Contains(t, k.open, "they could then not make files in ")
	require.Contains(t, k.open, dir)
	require.Contains(t, k.remedy, "--data-dir /var/lib/piper")

	k = a("HOME=/", "TMPDIR=/var/tmp").confine(&operator.File{Confine: operator.Always, Hidden: []string{"/srv/vault"}}, private)
	require.Equal(t, []string{private[0], "/srv/vault"}, k.Hidden)
	require.Empty(t, k.open)
	require.Contains(t, k.losses(), ", and can not make files in ")

	k = a("HOME=/", "TMPDIR="+dir).confine(&operator.File{Confine: operator.Always}, private)
	require.False(t, k.Confines())
	require.Contains(t, k.open, "make no temporary files in "+dir)

	k = a("HOME=/", "TMPDIR="+private[0]+"/tmp").confine(&operator.File{Confine: operator.Always}, private)
	require.False(t, k.Confines())
	require.Contains(t, k.open, "make no temporary files in ")

	require.Equal(t, "error", confineFinding(k, operator.Always).Level)
	require.Equal(t, "warning", confineFinding(k, operator.Auto).Level)

	k = a("HOME=/", "TMPDIR=/var/tmp").confine(&operator.File{Confine: operator.Always, Hidden: []string{"/usr", "/bin"}}, private)
	require.Contains(t, k.open, "no shell could be started: ")

	k = a("HOME=/").confine(&operator.File{Confine: operator.Never}, private)
	require.False(t, k.Confines())
	require.Contains(t, k.open, "confine: never")
}
