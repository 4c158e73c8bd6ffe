package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/api/client"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
	"github.com/piper-build/piper/runtime/store/sqlite"
)

// An agent is a piper agentd that runs.
type agent struct {
	*client.Client
	dir string
	cmd *exec.Cmd
}

// startAgent starts an agent that has dir for its own, and returns once it can be
// asked.
func startAgent(piper, dir string, args ...string) (*agent, error) {
	cmd := exec.Command(piper, append([]string{"agentd", "--listen", "127.0.0.1:0", "--data-dir", dir}, args...)...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	a := &agent{dir: dir, cmd: cmd, Client: &client.Client{}}
	lines := bufio.NewReader(stderr)
	for said := ""; a.URL == ""; {
		line, err := lines.ReadString('\n')
		if err != nil {
			cmd.Wait()
			return nil, fmt.Errorf("the agent ended: %s%s", said, line)
		}
		_, url, _ := strings.Cut(line, "listening on ")
		a.URL, said = strings.TrimSpace(url), said+line
	}
	go io.Copy(io.Discard, lines)
	token, err := os.ReadFile(filepath.Join(dir, "token"))
	if err != nil {
		a.kill()
		return nil, err
	}
	a.Token = strings.TrimSpace(string(token))
	return a, nil
}

// kill kills the agent, and all that it started with it.
func (a *agent) kill() {
	for _, pid := range tree(a.cmd.Process.Pid) {
		syscall.Kill(pid, syscall.SIGKILL)
	}
	a.cmd.Wait()
}

// tree is a process and all below it.
func tree(pid int) []int {
	all := []int{pid}
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, file := range files {
		text, _ := os.ReadFile(file)
		for _, word := range strings.Fields(string(text)) {
			var child int
			if _, err := fmt.Sscan(word, &child); err == nil {
				all = append(all, tree(child)...)
			}
		}
	}
	return all
}

// withAgent calls do with an agent that builds the project "bench", whose
// PIPER.star is file. before, unless it is nil, is given the store first.
func withAgent(ctx context.Context, j job, file string, before func(s *sqlite.Store) error, do func(a *agent) error) error {
	return inTemp(func(dir string) error {
		if err := makeProject(ctx, dir, file, before); err != nil {
			return err
		}
		a, err := startAgent(j.piper, dir)
		if err != nil {
			return err
		}
		defer a.kill()
		return do(a)
	})
}

// makeProject puts the project "bench" into the store of an agent's directory.
func makeProject(ctx context.Context, dir, file string, before func(s *sqlite.Store) error) error {
	repo, err := makeRepo(ctx, dir, file)
	if err != nil {
		return err
	}
	return withStore(ctx, storeIn(dir), func(s *sqlite.Store) error {
		_, err := s.PutProject(ctx, store.Project{Name: "bench", Repo: repo, Created: time.Now()})
		if err == nil && before != nil {
			err = before(s)
		}
		return err
	})
}

// makeRepo makes a repository with a PIPER.star.
func makeRepo(ctx context.Context, dir, file string) (repo string, err error) {
	repo = filepath.Join(dir, "bench")
	if err := os.Mkdir(repo, 0o700); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(repo, "PIPER.star"), []byte(file), 0o600); err != nil {
		return "", err
	}
	for _, args := range [][]string{{"init", "-q", "-b", "main"}, {"add", "."}, {"-c", "user.name=bench", "-c", "user.email=bench@localhost", "commit", "-q", "-m", "bench"}} {
		if out, err := exec.CommandContext(ctx, "git", append([]string{"-C", repo}, args...)...).CombinedOutput(); err != nil {
			return "", fmt.Errorf("git %s: %w: %s", args[0], err, out)
		}
	}
	return repo, nil
}

// ask asks for a build of the project.
func (a *agent) ask(ctx context.Context) (api.Build, error) {
	return a.CreateBuild(ctx, api.BuildRequest{Project: "bench"}, "")
}

// settled waits until an agent knows what its machine has. The tools that it asks
// for their versions would take the processors from what is measured.
func (a *agent) settled(ctx context.Context) error {
	for begin := time.Now(); time.Since(begin) < time.Minute; time.Sleep(10 * time.Millisecond) {
		agents, err := a.Agents(ctx)
		if err != nil {
			return err
		}
		if len(agents) > 0 && len(agents[0].Facts) > 0 {
			return nil
		}
	}
	return fmt.Errorf("look for facts: %w", errHangs)
}

// errHangs says that something did not happen.
var errHangs = errors.New("it hangs")

// until waits until a build is in a state, and returns it as it is then. Another
// one that it ended in is an error.
func (a *agent) until(ctx context.Context, ref string, want build.State) (api.Build, error) {
	for begin := time.Now(); time.Since(begin) < 5*time.Minute; time.Sleep(10 * time.Millisecond) {
		b, err := a.Build(ctx, ref)
		switch {
		case err != nil || b.State == want:
			return b, err
		case !b.Ended.IsZero():
			return b, fmt.Errorf("build %s is %s: %s", ref, b.State, b.Reason)
		}
	}
	return api.Build{}, fmt.Errorf("build %s is not %s: %w", ref, want, errHangs)
}

// run asks for a build, and waits for its end as it is told: to look for it again
// and again would take the processors from what is measured.
func (a *agent) run(ctx context.Context) error {
	asked, err := a.ask(ctx)
	if err != nil {
		return err
	}
	told, stop := context.WithTimeout(ctx, 10*time.Second)
	defer stop()
	for m, err := range a.Watch(told, "", "builds") {
		var b api.Build
		if err == nil {
			err = json.Unmarshal(m.Data, &b)
		}
		if err != nil {
			return err
		}
		if b.ID == asked.ID && b.State == build.Success {
			return nil
		}
	}
	_, err = a.until(ctx, string(asked.ID), build.Success) // it failed, or had ended before anybody listened
	return err
}

// A door is where a step says that it runs.
type door struct {
	*os.File
	path string
}

func newDoor(dir string) (*door, error) {
	path := filepath.Join(dir, "door")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0) // nobody waits for the other end
	return &door{f, path}, err
}

// knock is a command that says so.
func (d *door) knock() string { return "echo >" + d.path }

// wait waits for it.
func (d *door) wait() error {
	if err := d.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		return err
	}
	_, err := d.Read(make([]byte, 1))
	return err
}
