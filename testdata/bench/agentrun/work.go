package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
	"github.com/piper-build/piper/runtime/store/sqlite"
)

// steps is a PIPER.star with n steps that run the same command.
func steps(n int, run string) string {
	return fmt.Sprintf("project(name = \"bench\")\n\npipeline(\n    name = \"build\",\n    steps = [parallel([step(\"s%%d\" %% i, run = %q) for i in range(1, %d)])],\n)\n", run, n+1)
}

// trigger asks for a build n times, one after the other, and waits for the first
// that is seen of its step.
func trigger(ctx context.Context, j job) error {
	return inTemp(func(dir string) error {
		door, err := newDoor(dir)
		if err != nil {
			return err
		}
		defer door.Close()
		return withAgent(ctx, j, steps(1, door.knock()), nil, func(a *agent) error {
			if err := a.settled(ctx); err != nil {
				return err
			}
			return a.triggers(ctx, door, j.n)
		})
	})
}

func (a *agent) triggers(ctx context.Context, door *door, n int) error {
	var waits []time.Duration
	for range n + 1 {
		begin := time.Now()
		b, err := a.ask(ctx)
		if err != nil {
			return err
		}
		if err := door.wait(); err != nil {
			return err
		}
		waits = append(waits, time.Since(begin))
		if _, err := a.until(ctx, string(b.ID), build.Success); err != nil {
			return err
		}
	}
	measured("p50", quantile(waits[1:], 0.5)) // the first one finds nothing prepared
	return nil
}

// stamps is a PIPER.star whose step runs stamp.
func stamps(n int) (string, error) {
	self, err := os.Executable()
	return steps(1, fmt.Sprintf("sleep 0.2; exec %s stamp %d", self, n)), err
}

// follow follows a step that runs stamp.
func follow(ctx context.Context, j job) error {
	file, err := stamps(j.n)
	if err != nil {
		return err
	}
	return withAgent(ctx, j, file, nil, func(a *agent) error {
		if err := a.settled(ctx); err != nil {
			return err
		}
		return a.follows(ctx, j.n)
	})
}

func (a *agent) follows(ctx context.Context, n int) error {
	b, err := a.ask(ctx)
	if err != nil {
		return err
	}
	for len(b.Steps) == 0 || b.Steps[0].Attempt == 0 {
		if b, err = a.until(ctx, string(b.ID), build.Running); err != nil {
			return err
		}
	}
	var waits []time.Duration
	for line, err := range a.Follow(ctx, string(b.ID), api.LogQuery{Step: "s1"}) {
		if err != nil {
			return err
		}
		wait, err := late(line.Text)
		if err != nil {
			return err
		}
		waits = append(waits, wait)
	}
	if len(waits) != n {
		return fmt.Errorf("got %d lines of %d", len(waits), n)
	}
	measured("p50", quantile(waits, 0.5))
	measured("p99", quantile(waits, 0.99))
	return nil
}

// counted is how many builds of those that are queued are waited for.
const counted = 200

// queued has an agent find n builds, and says how long it took for each of those
// that it ran first.
func queued(ctx context.Context, j job) error {
	before := func(s *sqlite.Store) error {
		_, err := fill(ctx, s, j.n, false)
		return err
	}
	return withAgent(ctx, j, steps(1, ":"), before, func(a *agent) error {
		last := min(j.n, counted)
		first := 1 + last/10
		from, err := a.until(ctx, fmt.Sprint(first), build.Success)
		if err != nil {
			return err
		}
		to, err := a.until(ctx, fmt.Sprint(last), build.Success)
		if err != nil {
			return err
		}
		measured("each", to.Ended.Sub(from.Ended).Seconds()/float64(last-first))
		return nil
	})
}

// idle has an agent do nothing for n seconds.
func idle(ctx context.Context, j job) error {
	return withAgent(ctx, j, steps(1, ":"), nil, func(a *agent) error {
		time.Sleep(time.Duration(j.n) * time.Second)
		own, err := residents(a.cmd.Process.Pid, "status", "VmRSS:")
		if err != nil {
			return err
		}
		measured("own", own)
		all := 0.0
		for _, pid := range tree(a.cmd.Process.Pid) {
			share, err := residents(pid, "smaps_rollup", "Pss:")
			if errors.Is(err, fs.ErrNotExist) {
				continue // it has ended since
			}
			if err != nil {
				return err
			}
			all += share
		}
		measured("all", all)
		return nil
	})
}

// residents is an amount of memory that a file of a process has.
func residents(pid int, file, name string) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
	if err != nil {
		return 0, err
	}
	_, rest, found := strings.Cut(string(text), "\n"+name)
	var kibibytes float64
	if _, err := fmt.Sscan(rest, &kibibytes); err != nil || !found {
		return 0, fmt.Errorf("no %s of process %d", name, pid)
	}
	return kibibytes * 1024, nil
}

// newest asks for the newest page of n builds, again and again.
func newest(ctx context.Context, j job) error {
	dir, err := full(ctx, j.n)
	if err != nil {
		return err
	}
	a, err := startAgent(j.piper, dir, "--no-worker")
	if err != nil {
		return err
	}
	defer a.kill()
	time.Sleep(time.Second) // it looks through its store
	waits := make([]time.Duration, 500)
	for i := range waits {
		begin := time.Now()
		if err := a.firstPage(ctx); err != nil {
			return err
		}
		waits[i] = time.Since(begin)
	}
	measured("p50", quantile(waits, 0.5))
	return nil
}

// firstPage asks for the newest builds, of which there are enough.
func (a *agent) firstPage(ctx context.Context) error {
	page, _, err := a.Builds(ctx, api.BuildFilter{}, "", 50)
	if err == nil && len(page) != 50 {
		err = fmt.Errorf("the page has %d builds", len(page))
	}
	return err
}

// firstPage starts an agent whose store has n builds, and asks it for a page.
func firstPage(ctx context.Context, j job) error {
	dir, err := full(ctx, j.n)
	if err != nil {
		return err
	}
	begin := time.Now()
	a, err := startAgent(j.piper, dir)
	if err != nil {
		return err
	}
	defer a.kill()
	if err := a.firstPage(ctx); err != nil {
		return err
	}
	measured("page", time.Since(begin).Seconds())
	return nil
}

// kill kills an agent that has n builds behind it, two before it and some
// queued, starts it again and looks whether the store is sound.
func kill(ctx context.Context, j job) error {
	return inTemp(func(dir string) error {
		err := makeProject(ctx, dir, steps(1, "while :; do echo line; sleep 0.01; done"), func(s *sqlite.Store) error {
			_, err := fill(ctx, s, j.n, true)
			return err
		})
		if err != nil {
			return err
		}
		a, err := startAgent(j.piper, dir)
		if err != nil {
			return err
		}
		defer func() { a.kill() }()
		for i := range 10 {
			b, err := a.ask(ctx)
			if err == nil && i < 2 {
				_, err = a.until(ctx, string(b.ID), build.Running)
			}
			if err != nil {
				return err
			}
		}
		time.Sleep(500 * time.Millisecond) // they write
		a.kill()
		begin := time.Now()
		again, err := startAgent(j.piper, dir)
		if err != nil {
			return err
		}
		a = again
		out, err := exec.CommandContext(ctx, j.piper, "fsck", "--store", "sqlite:"+storeIn(dir)).CombinedOutput()
		if err != nil {
			return fmt.Errorf("fsck: %w: %s", err, out)
		}
		measured("back", time.Since(begin).Seconds())
		return nil
	})
}

// why asks, with the command, why a build does not run that none of n agents can.
func why(ctx context.Context, j job) error {
	return inTemp(func(dir string) error {
		err := withStore(ctx, storeIn(dir), func(s *sqlite.Store) error {
			_, err := atOnce(claimers, j.n, func(i int) error {
				facts := map[string]string{"os": "linux", "arch": "amd64"}
				for f := range 20 {
					facts[fmt.Sprintf("tools.tool%d", f)] = "1.0"
				}
				return s.Join(ctx, store.Agent{ID: store.AgentID(fmt.Sprintf("%032x", i)), Name: fmt.Sprint("agent-", i), Host: "bench", Slots: 2, Facts: facts, Seen: time.Now()})
			})
			if err != nil {
				return err
			}
			ids, err := fill(ctx, s, 1, false)
			if err != nil {
				return err
			}
			digest, err := store.PutPlan(ctx, s, &plan.Plan{
				Format: plan.Format, Project: plan.Project{Name: "bench"}, Pipeline: "build",
				Nodes: []plan.Node{{Name: "s1", Step: &plan.Step{Script: ":"}}},
			})
			if err != nil {
				return err
			}
			// It was planned by an agent that could not run it.
			needs := plan.Requirement{Op: "eq", Key: "labels.gpu", Values: []string{"h100"}}
			for _, c := range []store.Change{
				store.Claim{Agent: "agent", Nonce: "claim", Max: store.MaxAttempts, At: time.Now()},
				store.Planned{Agent: "agent", Fence: 1, Plan: digest, Requires: []plan.Requirement{needs}, Total: 1},
				store.HandOver{Agent: "agent", Fence: 1, Nonce: "back", At: time.Now()},
			} {
				if _, err := s.Change(ctx, ids[0], c); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		waits := make([]time.Duration, 10)
		for i := range waits {
			begin := time.Now()
			out, err := exec.CommandContext(ctx, j.piper, "why", "1", "--store", "sqlite:"+storeIn(dir)).CombinedOutput()
			if err != nil || strings.Count(string(out), "cannot run it") != j.n {
				return fmt.Errorf("piper why: %w: %s", err, out)
			}
			waits[i] = time.Since(begin)
		}
		measured("p50", quantile(waits, 0.5))
		return nil
	})
}

// buildSteps has an agent build n steps.
func buildSteps(ctx context.Context, j job) error {
	return withAgent(ctx, j, steps(j.n, ":"), nil, func(a *agent) error {
		if err := a.settled(ctx); err != nil {
			return err
		}
		return second(func() error { return a.run(ctx) })
	})
}

// second measures what is done a second time, as the first finds nothing prepared.
func second(do func() error) error {
	if err := do(); err != nil {
		return err
	}
	begin := time.Now()
	if err := do(); err != nil {
		return err
	}
	measured("all", time.Since(begin).Seconds())
	return nil
}

// execSteps has piper exec run them, as many at once as an agent does.
func execSteps(ctx context.Context, j job) error {
	return inTemp(func(dir string) error {
		repo, err := makeRepo(ctx, dir, steps(j.n, ":"))
		if err != nil {
			return err
		}
		return second(func() error {
			cmd := exec.CommandContext(ctx, j.piper, "exec", fmt.Sprint("-j", runtime.NumCPU()), "--progress=quiet", "--store", "sqlite:"+filepath.Join(dir, "exec.db"))
			cmd.Dir = repo
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("piper exec: %w: %s", err, out)
			}
			return nil
		})
	})
}
