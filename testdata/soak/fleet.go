package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A fleet is agents that share a store.
type fleet struct {
	piper  string
	store  string
	agents []*agent
	harm   map[string]int // what was done, and how often
}

// An agent is a piper agentd, running or not.
type agent struct {
	name string
	dir  string
	log  string

	mu   sync.Mutex
	cmd  *exec.Cmd // nil when it does not run
	url  string
	over chan struct{} // closed once cmd has ended
}

func newFleet(piper, dir string, n int) *fleet {
	f := &fleet{piper: piper, store: "sqlite:" + filepath.Join(dir, "store", "piper.db"), harm: map[string]int{}}
	for i := range n {
		name := fmt.Sprintf("agent-%d", i)
		f.agents = append(f.agents, &agent{name: name, dir: filepath.Join(dir, name), log: filepath.Join(dir, name+".log")})
	}
	return f
}

// start starts the agents that do not run, and wakes those that were stopped.
func (f *fleet) start(ctx context.Context) error {
	for _, a := range f.agents {
		if err := a.start(ctx, f); err != nil {
			return fmt.Errorf("start %s: %w", a.name, err)
		}
	}
	return nil
}

// listening is what an agent says once it can be asked.
const listening = "listening on "

func (a *agent) start(ctx context.Context, f *fleet) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cmd != nil {
		return a.cmd.Process.Signal(syscall.SIGCONT)
	}
	log, err := os.OpenFile(a.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	cmd := exec.Command(f.piper, "agentd", "--listen", "127.0.0.1:0", "--store", f.store, "--data-dir", a.dir, "--name", a.name, "--slots", "2")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	url, over := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(over)
		defer log.Close()
		for lines := bufio.NewReader(stderr); ; {
			line, err := lines.ReadString('\n')
			if _, after, ok := strings.Cut(line, listening); ok {
				select {
				case url <- strings.TrimSpace(after):
				default:
				}
			}
			io.WriteString(log, line)
			if err != nil {
				break
			}
		}
		cmd.Wait()
	}()
	a.cmd, a.over = cmd, over
	select {
	case a.url = <-url:
		return nil
	case <-over:
		a.cmd = nil
		return fmt.Errorf("it ended: see %s", a.log)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// signal sends a signal to an agent that runs, and waits for its end if that is
// what the signal means.
func (a *agent) signal(sig syscall.Signal) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cmd == nil {
		return
	}
	a.cmd.Process.Signal(sig)
	if sig == syscall.SIGKILL || sig == syscall.SIGTERM {
		a.cmd.Process.Signal(syscall.SIGCONT) // or it would never see the end coming
		<-a.over
		a.cmd = nil
	}
}

// suffer does something to one agent after the other until ctx is done.
func (f *fleet) suffer(ctx context.Context, random *rand.Rand, pause time.Duration) {
	sleep := func(d time.Duration) {
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
	}
	for ctx.Err() == nil {
		sleep(pause/2 + time.Duration(random.Int64N(int64(pause))))
		a := f.agents[random.IntN(len(f.agents))]
		switch what := random.IntN(10); {
		case what < 6:
			f.harm["killed"]++
			a.signal(syscall.SIGKILL)
			sleep(time.Duration(random.Int64N(int64(pause))))
		case what < 8:
			f.harm["stopped past its lease"]++
			a.signal(syscall.SIGSTOP)
			sleep(40 * time.Second)
		default:
			f.harm["drained"]++
			a.signal(syscall.SIGTERM)
		}
		if err := a.start(context.WithoutCancel(ctx), f); err != nil {
			fmt.Fprintln(os.Stderr, "soak:", a.name, "does not start again:", err)
			return
		}
	}
}

// end kills what runs.
func (f *fleet) end() {
	for _, a := range f.agents {
		a.signal(syscall.SIGKILL)
	}
}

// call asks one agent after the other until one answers. The answer is decoded
// into into, unless that is nil or takes the bytes.
func (f *fleet) call(ctx context.Context, method, path string, header map[string]string, body, into any) (answer *http.Response, err error) {
	var sent []byte
	if body != nil {
		if sent, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	for i := 0; ; i++ {
		answer, err = f.agents[i%len(f.agents)].call(ctx, method, path, header, sent, into)
		if err == nil || ctx.Err() != nil {
			return answer, err
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// errBusy is an answer that another agent, or a later moment, may better.
var errBusy = errors.New("no answer")

func (a *agent) call(ctx context.Context, method, path string, header map[string]string, body []byte, into any) (*http.Response, error) {
	a.mu.Lock()
	url := a.url
	a.mu.Unlock()
	token, err := os.ReadFile(filepath.Join(a.dir, "token"))
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second) // it may be stopped
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, url+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	for name, value := range header {
		r.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 500 {
		return resp, fmt.Errorf("%w: %s", errBusy, data)
	}
	switch into := into.(type) {
	case nil:
	case *[]byte:
		*into = data
	default:
		if resp.StatusCode < 300 {
			err = json.Unmarshal(data, into)
		}
	}
	return resp, err
}
