package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/api/client"
	"github.com/piper-build/piper/runtime/build"
)

// A fleet is agents that share a store and build one project, shop: processes of
// this test binary, for a test to do harm to. It asks the first of them.
type fleet struct {
	t     *testing.T
	dir   string // all that they have is below
	store string // the file
	repo  *shop
	alter func(*exec.Cmd) // what else is done to an agent that is about to be started; may be nil
	first *machine
	*client.Client
}

// A machine is one agent of a fleet.
type machine struct {
	dir string // its own; whatever it starts is told of it
	cmd *exec.Cmd
	url string
	log *watched
}

func newFleet(t *testing.T, pipelines string) *fleet {
	t.Helper()
	f := &fleet{t: t, dir: t.TempDir(), repo: emptyShop(t)}
	f.store = filepath.Join(f.dir, "store", "piper.db")
	f.repo.write(f.repo.dir, "PIPER.star", "project(name = \"shop\")\n"+pipelines)
	f.repo.commit("one")
	return f
}

// start starts an agent, which listens when start returns. The first one of a
// fleet is told of the project.
func (f *fleet) start(name string, flags ...string) *machine {
	f.t.Helper()
	m := &machine{dir: filepath.Join(f.dir, name), log: &watched{}}
	require.NoError(f.t, os.MkdirAll(m.dir, 0o700))
	m.cmd = exec.Command("piper", append([]string{"agentd", "--listen", "127.0.0.1:0", "--store", "sqlite:" + f.store,
		"--data-dir", m.dir, "--name", name}, flags...)...)
	m.cmd.Env = append(os.Environ(), "HOME="+m.dir, "TMPDIR="+m.dir, "GORACE=atexit_sleep_ms=0",
		"XDG_DATA_HOME=", "XDG_STATE_HOME=", "XDG_CONFIG_HOME=", "XDG_CACHE_HOME=")
	if f.alter != nil {
		f.alter(m.cmd)
	}
	m.cmd.Stderr = m.log
	m.cmd.WaitDelay = time.Second // whoever is left behind may hold it
	require.NoError(f.t, m.cmd.Start())
	f.t.Cleanup(func() {
		m.kill()
		f.await("the end of all that "+name+" started", func() bool { return len(living(m.dir)) == 0 })
		if f.t.Failed() {
			f.t.Logf("%s:\n%s", name, m.log)
		}
	})
	const listening = "piper: listening on "
	f.await(name+" listens", func() bool {
		_, after, said := strings.Cut(m.log.String(), listening)
		url, _, whole := strings.Cut(after, "\n")
		m.url = url
		return said && whole
	})
	if f.first == nil {
		f.first = m
		token, err := os.ReadFile(filepath.Join(m.dir, "token"))
		require.NoError(f.t, err)
		f.Client = &client.Client{URL: m.url, Token: strings.TrimSpace(string(token))}
		_, err = f.PutProject(f.t.Context(), api.Project{Name: "shop", Repo: f.repo.dir})
		require.NoError(f.t, err)
	}
	return m
}

// quick are flags of agents that soon take each other for dead.
var quick = []string{"--heartbeat", "200ms", "--lease", "5s"}

func (m *machine) signal(sig syscall.Signal) { m.cmd.Process.Signal(sig) }

// stop stops an agent, but not amid a write to the store: it would hold the lock
// of the file, and everybody up, until it goes on.
func (f *fleet) stop(m *machine) {
	f.t.Helper()
	f.await("the others can write though it is stopped", func() bool {
		m.signal(syscall.SIGSTOP)
		ctx, cancel := context.WithTimeout(f.t.Context(), time.Second)
		defer cancel()
		_, err := f.PutProject(ctx, api.Project{Name: "shop", Repo: f.repo.dir})
		if err != nil {
			m.signal(syscall.SIGCONT)
		}
		return err == nil
	})
}

// kill ends it, and nothing that it started.
func (m *machine) kill() {
	m.signal(syscall.SIGKILL)
	m.cmd.Wait()
}

// peak is how much memory it has had at most, in bytes.
func (m *machine) peak(t *testing.T) int64 { return m.status(t, "VmHWM:") }

// status is a number of bytes that the kernel tells of it.
func (m *machine) status(t *testing.T, what string) (n int64) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", m.cmd.Process.Pid))
	require.NoError(t, err)
	_, after, found := strings.Cut(string(status), what)
	require.True(t, found)
	_, err = fmt.Sscan(after, &n)
	require.NoError(t, err)
	return n << 10
}

// living are the processes that work in dir, or were told of it.
func living(dir string) (found []string) {
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range processes {
		if filepath.Base(p) == fmt.Sprint(os.Getpid()) {
			continue
		}
		environ, _ := os.ReadFile(filepath.Join(p, "environ"))
		line, _ := os.ReadFile(filepath.Join(p, "cmdline"))
		cwd, _ := os.Readlink(filepath.Join(p, "cwd"))
		if strings.Contains(string(environ)+string(line)+cwd, dir) {
			found = append(found, filepath.Base(p)+" "+strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return found
}

func (f *fleet) await(what string, holds func() bool) {
	f.t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			f.t.Fatal("waited in vain: ", what)
		}
	}
}

// ask asks for a build.
func (f *fleet) ask(pipeline string, params map[string]string) api.Build {
	f.t.Helper()
	b, err := f.CreateBuild(f.t.Context(), api.BuildRequest{Project: "shop", Pipeline: pipeline, Params: params}, "")
	require.NoError(f.t, err)
	return b
}

// see is a build as it is now.
func (f *fleet) see(id build.ID) api.Build {
	f.t.Helper()
	b, err := f.Build(f.t.Context(), string(id))
	require.NoError(f.t, err)
	return b
}

func (f *fleet) ended(id build.ID) (b api.Build) {
	f.t.Helper()
	f.await("the end of the build", func() bool { b = f.see(id); return b.State != build.Queued && b.State != build.Running })
	return b
}

// wrote is what a step has written by now, under a fence; "" when that is nothing.
func (f *fleet) wrote(id build.ID, step string, fence int64) string {
	f.t.Helper()
	text, err := f.RawLog(f.t.Context(), string(id), api.LogQuery{Step: step, Attempt: 1, Fence: fence})
	if err != nil {
		return ""
	}
	defer text.Close()
	all, err := io.ReadAll(text)
	require.NoError(f.t, err)
	return string(all)
}

// builds are all builds that there are.
func (f *fleet) builds() []api.Build {
	f.t.Helper()
	all, _, err := f.Builds(f.t.Context(), api.BuildFilter{}, "", 200)
	require.NoError(f.t, err)
	return all
}

// idle waits until an agent can take builds, and returns it as the store knows it.
func (f *fleet) idle(name string) (found api.Agent) {
	f.t.Helper()
	f.await(name+" is there", func() bool {
		agents, err := f.Agents(f.t.Context())
		require.NoError(f.t, err)
		for _, a := range agents {
			if a.Name == name {
				found = a
				return true
			}
		}
		return false
	})
	return found
}

// sound holds the store against what must be true of it.
func (f *fleet) sound() {
	f.t.Helper()
	out, err := exec.Command("piper", "fsck", "--store", "sqlite:"+f.store).CombinedOutput()
	require.NoError(f.t, err, string(out))
	require.Contains(f.t, string(out), " 0 findings")
}
