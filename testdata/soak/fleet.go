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
	lease  time.Duration
	next   int            // the agent that is asked first
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

func newFleet(piper, dir string, n int, lease time.Duration) *fleet {
	f := &fleet{piper: piper, store: "sqlite:" + filepath.Join(dir, "store", "piper.db"), lease: lease, harm: map[string]int{}}
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
	cmd := exec.Command(f.piper, "agentd", "--listen", "127.0.0.1:0", "--store", f.store, "--data-dir", a.dir, "--name", a.name, "--slots", "2",
		"--lease", f.lease.String(), "--heartbeat", (f.lease / 6).String())
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
			sleep(f.lease * 3 / 2)
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

// errRefused is an answer that no other agent, and no later moment, will better.
var errRefused = errors.New("refused")

// call asks one agent after the other until one answers. The answer is decoded
// into into, unless that is nil or takes the bytes.
func (f *fleet) call(ctx context.Context, method, path, key string, body, into any) (http.Header, error) {
	var sent []byte
	if body != nil {
		var err error
		if sent, err = json.Marshal(body); err != nil {
			return nil, err
		}
	}
	for {
		header, err := f.agents[f.next%len(f.agents)].call(ctx, method, path, key, sent, into)
		switch {
		case err == nil, errors.Is(err, errRefused):
			return header, err
		case ctx.Err() != nil:
			return nil, errors.Join(context.Cause(ctx), err)
		}
		f.next++
		time.Sleep(50 * time.Millisecond)
	}
}

func (a *agent) call(ctx context.Context, method, path, key string, body []byte, into any) (http.Header, error) {
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
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return nil, err
	case resp.StatusCode >= 500:
		return nil, fmt.Errorf("%s %s: %s: %s", method, path, resp.Status, data)
	case resp.StatusCode >= 300:
		return nil, fmt.Errorf("%s %s: %s: %s: %w", method, path, resp.Status, data, errRefused)
	}
	switch into := into.(type) {
	case nil:
	case *[]byte:
		*into = data
	default:
		err = json.Unmarshal(data, into)
	}
	return resp.Header, err
}
