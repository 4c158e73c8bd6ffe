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
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/piper-build/piper/runtime/store/rethinkdb/rethinkdbtest/server"
)

// A fleet is agents that share a store.
type fleet struct {
	piper    string
	store    string    // as it is seen from here
	database *database // nil: the store is a file
	agents   []*agent
	desk     *agent // runs no builds and answers the readers: it is not harmed, its link is
	token    string // of the first agent: they all know it, and a key is that of one caller
	lease    time.Duration
	next     int // the agent that is asked first
	deeds    []deed
}

// An agent is a piper agentd, running or not.
type agent struct {
	name  string
	piper string
	dir   string
	log   string
	store string
	flags []string
	link  *server.Proxy // to the store; nil: the store is a file
	disk  bool          // dir is a file system of its own
	clock time.Duration // how wrong its clock is; an earlier piper has no such flag, and 0

	mu   sync.Mutex
	cmd  *exec.Cmd // nil when it is not to run
	url  string
	over chan struct{} // closed once cmd has ended
}

// newFleet begins a fleet of n agents on a file, or on a database. common are flags
// that all of them have.
func newFleet(piper, dir string, n int, lease time.Duration, d *database, common ...string) (*fleet, error) {
	f := &fleet{piper: piper, store: "sqlite:" + filepath.Join(dir, "store", "piper.db"), lease: lease, database: d}
	if d != nil {
		f.store = d.address.String()
	}
	hire := func(name string, flags ...string) (*agent, error) {
		a := &agent{name: name, piper: piper, dir: filepath.Join(dir, name), log: filepath.Join(dir, name+".log"), store: f.store, flags: append(flags, common...)}
		if d == nil {
			return a, nil
		}
		var err error
		a.store, a.link, err = d.connect()
		return a, err
	}
	for i := range n {
		a, err := hire(fmt.Sprintf("agent-%d", i), "--slots", "2")
		if err != nil {
			return nil, err
		}
		f.agents = append(f.agents, a)
	}
	var err error
	f.desk, err = hire("desk", "--no-worker")
	return f, err
}

// everyone are the agents, and the one that runs no builds.
func (f *fleet) everyone() []*agent { return append(slices.Clone(f.agents), f.desk) }

// runnerWord is what the command line of a process that runs a build has.
const runnerWord = "__runner"

// A harm is what happens to an agent, or to the database. It is over when do
// returns.
type harm struct {
	name  string
	often int  // against the others
	link  bool // it is one of the way to the database
	fatal bool // others may take the agent for dead, or its builds
	do    func(v victim)
}

// A victim is whom a harm is done to.
type victim struct {
	*fleet
	*agent
	sleep  func(time.Duration)
	while  time.Duration // as drawn
	random *rand.Rand
}

// A deed is a harm that was done.
type deed struct {
	harm
	agent      *agent
	begin, end time.Time
}

const (
	stopped = "agent stopped past its lease"
	drained = "agent drained"
)

// drainTime is how long a drained agent has for its builds: those that wait for
// others may need the whole queue to be built.
const drainTime = 30 * time.Second

// agentHarms are those that any store's agents suffer.
var agentHarms = []harm{
	{name: "agent killed", often: 4, fatal: true, do: func(v victim) {
		v.signal(syscall.SIGKILL)
		v.sleep(v.while)
	}},
	{name: stopped, often: 2, fatal: true, do: func(v victim) {
		v.signal(syscall.SIGSTOP)
		v.sleep(v.lease * 3 / 2)
	}},
	{name: "agent killed, and its clock set", often: 1, fatal: true, do: func(v victim) {
		v.signal(syscall.SIGKILL)
		if v.agent.piper == v.fleet.piper {
			v.clock = time.Duration(v.random.Int64N(int64(20*time.Minute))) - 10*time.Minute
		}
	}},
	{name: drained, often: 1, do: func(v victim) { v.signal(syscall.SIGTERM) }},
	{name: "runners killed", often: 1, fatal: true, do: func(v victim) { v.signalRunners(syscall.SIGKILL) }},
}

// start starts the agents that do not run, and wakes those that were stopped.
func (f *fleet) start(ctx context.Context) error {
	for _, a := range f.everyone() {
		if err := a.start(ctx, f); err != nil {
			return fmt.Errorf("start %s: %w", a.name, err)
		}
	}
	token, err := os.ReadFile(filepath.Join(f.agents[0].dir, "token"))
	f.token = strings.TrimSpace(string(token))
	return err
}

// listening is what an agent says once it can be asked.
const listening = "listening on "

func (a *agent) start(ctx context.Context, f *fleet) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cmd != nil {
		select {
		case <-a.over:
			return fmt.Errorf("it has ended by itself: see %s", a.log)
		default:
			return a.cmd.Process.Signal(syscall.SIGCONT)
		}
	}
	log, err := os.OpenFile(a.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	cmd := exec.Command(a.piper, append([]string{"agentd", "--listen", "127.0.0.1:0", "--store", a.store, "--data-dir", a.dir, "--name", a.name,
		"--lease", f.lease.String(), "--heartbeat", (f.lease / 6).String(), "--drain-timeout", drainTime.String()}, append(a.clockFlags(), a.flags...)...)...)
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

func (a *agent) clockFlags() []string {
	if a.clock == 0 {
		return nil
	}
	return []string{"--clock-offset", a.clock.String()}
}

// signalRunners sends a signal to the processes that run an agent's builds.
func (a *agent) signalRunners(sig syscall.Signal) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cmd == nil {
		return
	}
	children, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", a.cmd.Process.Pid))
	for _, file := range children {
		pids, _ := os.ReadFile(file)
		for pid := range strings.FieldsSeq(string(pids)) {
			line, _ := os.ReadFile("/proc/" + pid + "/cmdline")
			if n, err := strconv.Atoi(pid); err == nil && bytes.Contains(line, []byte(runnerWord)) {
				syscall.Kill(n, sig)
			}
		}
	}
}

// harms are all that there are.
func (f *fleet) harms() []harm {
	all := slices.Clone(agentHarms)
	if f.agents[0].disk {
		all = append(all, diskFull)
	}
	if f.database != nil {
		all = append(all, f.database.harms()...)
	}
	return all
}

// suffer does something to one agent after the other until ctx is done: each of
// the harms once, and then what it draws. begins is told of each of the first, and
// closed at the end. It returns why an agent did not bear it.
func (f *fleet) suffer(ctx context.Context, random *rand.Rand, pause time.Duration, begins chan<- struct{}) error {
	defer close(begins)
	sleep := func(d time.Duration) {
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
	}
	all, drawn := f.harms(), []harm{}
	for _, h := range all {
		drawn = append(drawn, slices.Repeat([]harm{h}, h.often)...)
	}
	for ctx.Err() == nil {
		sleep(pause/2 + time.Duration(random.Int64N(int64(pause))))
		a, h := f.agents[random.IntN(len(f.agents))], drawn[random.IntN(len(drawn))]
		if n := len(f.deeds); n < len(all) {
			h = all[n]
			begins <- struct{}{}
		}
		if a.link != nil && h.link && random.IntN(len(f.agents)+1) == 0 {
			a = f.desk
		}
		d := deed{harm: h, agent: a, begin: time.Now()}
		h.do(victim{f, a, sleep, time.Duration(random.Int64N(int64(pause))), random})
		if err := a.start(context.WithoutCancel(ctx), f); err != nil {
			return fmt.Errorf("%s, %s, does not start again: %w", a.name, h.name, err)
		}
		d.end = time.Now()
		f.deeds = append(f.deeds, d)
	}
	return nil
}

// end kills what runs.
func (f *fleet) end() {
	for _, a := range f.everyone() {
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
		header, err := f.agents[f.next%len(f.agents)].call(ctx, f.token, method, path, key, sent, into)
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

func (a *agent) call(ctx context.Context, token, method, path, key string, body []byte, into any) (http.Header, error) {
	a.mu.Lock()
	url := a.url
	a.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second) // it may be stopped
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, method, url+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+token)
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
