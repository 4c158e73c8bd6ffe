package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	agents "github.com/piper-build/piper/agent"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
	"github.com/piper-build/piper/runtime/store/rethinkdb"
	"github.com/piper-build/piper/runtime/store/rethinkdb/rethinkdbtest/server"
)

// How long a crowd is given to calm down, and how long its server is measured.
const (
	calming = 15 * time.Second
	calm    = 30 * time.Second
)

// crowd has n real agents do nothing, and measures how busy their server is; then
// it makes builds one after the other, and measures how long each waits for the one
// that it is offered to. The agents have a process and no machine: what they claim is
// refused when it is to be checked out.
func crowd(ctx context.Context, j job) error {
	const builds = 200
	return withServer(ctx, func(a rethinkdb.Address, db *server.Process) error {
		return opened(ctx, a, j.n+1, func(stores []*rethinkdb.Store) error {
			return inTemp(func(dir string) error {
				s := stores[j.n]
				if _, err := s.PutProject(ctx, store.Project{Name: "bench", Repo: "nowhere"}); err != nil {
					return err
				}
				ctx, stop := context.WithCancel(ctx)
				var living sync.WaitGroup
				defer living.Wait()
				defer stop()
				failed, claimed := make(chan error, j.n), make(claims, builds)
				for i := range j.n {
					living.Go(func() {
						a := agents.Agent{Store: stores[i], Sources: claimed, Dir: filepath.Join(dir, fmt.Sprint(i)), Name: fmt.Sprint("agent-", i), Slots: 2}
						if err := a.Run(ctx); err != nil {
							failed <- err
						}
					})
				}
				time.Sleep(calming)
				before, err := processorTime(db.Process.Pid)
				if err != nil {
					return err
				}
				time.Sleep(calm)
				after, err := processorTime(db.Process.Pid)
				if err != nil {
					return err
				}
				measured("load", (after-before).Seconds()/calm.Seconds())
				all, err := s.Agents(ctx)
				if err != nil {
					return err
				}
				if len(all) != j.n {
					return fmt.Errorf("%d agents of %d are there", len(all), j.n)
				}
				return oneByOne(builds, 50*time.Millisecond, claimed, failed, func(i int) error {
					b := offered(i, j.n)
					b.FirstChoice = all[i%j.n].ID
					_, err := s.Enqueue(ctx, b)
					return err
				})
			})
		})
	})
}

// claims are the moments at which builds were claimed.
type claims chan time.Time

func (c claims) Checkout(context.Context, store.Project, store.Request, string, string) (agents.Tree, error) {
	c <- time.Now()
	return agents.Tree{}, fmt.Errorf("a crowd has no repository: %w", agents.ErrRejected)
}
func (claims) Resolve(context.Context, store.Project, string) (string, error) { return "c0ffee", nil }
func (claims) Branches(context.Context, store.Project) ([]string, error)      { return nil, nil }
func (claims) Catalog(context.Context, store.Project, string) (c plan.Catalog, err error) {
	return c, nil
}

// ticks is how many of the units that proc(5) counts processor time in are a second.
const ticks = 100

// processorTime is what a process has used, in user and system mode.
func processorTime(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	_, rest, found := bytes.Cut(text, []byte(") ")) // after the name
	fields := strings.Fields(string(rest))
	if !found || len(fields) < 13 {
		return 0, errors.New("/proc says something else than it used to")
	}
	var sum int
	for _, field := range fields[11:13] { // utime, stime
		n, err := strconv.Atoi(field)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return time.Duration(sum) * time.Second / ticks, nil
}
