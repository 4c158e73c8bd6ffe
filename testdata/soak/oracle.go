package main

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// judge holds what came of the builds against what was promised.
func (s *soak) judge(ctx context.Context) error {
	broken := 0
	breach := func(format string, args ...any) {
		if broken++; broken <= 50 {
			fmt.Printf("soak: BROKEN: "+format+"\n", args...)
		}
	}
	all, err := s.work.list(ctx, "")
	if err != nil {
		return err
	}
	byID := map[string]*seen{}
	numbers := map[int64]string{}
	children := map[string][]*seen{}
	for i := range all {
		b := &all[i]
		if other, twice := numbers[b.Number]; twice {
			breach("builds %s and %s both have number %d", other, b.ID, b.Number)
		}
		numbers[b.Number], byID[b.ID] = b.ID, b
		if b.Parent != "" {
			children[b.Parent] = append(children[b.Parent], b)
		}
	}
	ledger, err := os.ReadFile(s.work.ledger)
	if err != nil {
		return err
	}
	did := map[string]int{}
	for line := range strings.Lines(string(ledger)) {
		did[strings.TrimSpace(line)]++
	}

	states := map[string]int{}
	for _, a := range s.work.asked {
		b := byID[a.ID]
		if b == nil {
			breach("build %s of %s was accepted and is gone", a.ID, a.pipeline)
			continue
		}
		states[b.State]++
		if b.State == "lost" && b.Attempt == 3 {
			continue // its agents were killed too often; it says so
		}
		want := map[string]string{"fails": "failed", "long": "cancelled"}[a.pipeline]
		if want == "" {
			want = "success"
		}
		if b.State != want {
			breach("build %d of %s is %s, not %s: %s", b.Number, b.Pipeline, b.State, want, b.Reason)
			continue
		}
		if ran := did[b.ID+" done"]; (ran > 0) != (want == "success") {
			breach("build %d of %s is %s, and its last step ran %d times", b.Number, b.Pipeline, b.State, ran)
		}
		wantChildren := 0
		if a.pipeline == "fires" || a.pipeline == "waits" {
			wantChildren = 1
		}
		if got := len(children[b.ID]); got != wantChildren {
			breach("build %d of %s triggered %d builds, not %d", b.Number, b.Pipeline, got, wantChildren)
		}
		if a.pipeline == "plain" || a.pipeline == "fires" || a.pipeline == "fails" {
			s.readLog(ctx, b, breach)
		}
	}
	for parent, all := range children {
		if byID[parent] == nil {
			breach("build %s triggered one, and is not there", parent)
		}
		for _, c := range all {
			if c.State == "success" && did[c.ID+" child"] == 0 {
				breach("build %d succeeded, and its step never ran", c.Number)
			}
		}
	}
	s.fleet.end()
	left := survivors(s.dir)
	for i := 0; len(left) > 0 && i < 100; i++ { // what an agent's death ends takes a moment
		time.Sleep(100 * time.Millisecond)
		left = survivors(s.dir)
	}
	for _, process := range left {
		breach("a process was left behind: %s", process)
	}
	if out, err := exec.CommandContext(ctx, s.piper, "fsck", "--store", s.fleet.store).CombinedOutput(); err != nil {
		breach("fsck: %v\n%s", err, out)
	}
	fmt.Printf("soak: %d builds and %d that they triggered: %v; agents: %v; %d promises broken\n",
		len(s.work.asked), len(all)-len(s.work.asked), states, s.fleet.harm, broken)
	if broken > 0 {
		return errBroken
	}
	return nil
}

// readLog reads what the talking step of b wrote: every line, in order, once.
func (s *soak) readLog(ctx context.Context, b *seen, breach func(string, ...any)) {
	var text []byte
	if _, err := s.fleet.call(ctx, http.MethodGet, "/v1/builds/"+b.ID+"/log/raw?step=talk", "", nil, &text); err != nil {
		breach("the log of build %d: %v", b.Number, err)
		return
	}
	var want strings.Builder
	for i := range lines {
		fmt.Fprintf(&want, "line %d of %s\n", i, b.ID)
	}
	if string(text) != want.String() {
		got := slices.Collect(strings.Lines(string(text)))
		breach("the log of build %d has %d lines, %d bytes, not %d, %d", b.Number, len(got), len(text), lines, want.Len())
	}
}

// survivors are processes that work in dir, or were told of it.
func survivors(dir string) (left []string) {
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range processes {
		if filepath.Base(p) == fmt.Sprint(os.Getpid()) {
			continue
		}
		environ, _ := os.ReadFile(filepath.Join(p, "environ"))
		line, _ := os.ReadFile(filepath.Join(p, "cmdline"))
		cwd, _ := os.Readlink(filepath.Join(p, "cwd"))
		if bytes.Contains(environ, []byte(dir)) || bytes.Contains(line, []byte(dir)) || strings.HasPrefix(cwd, dir) {
			left = append(left, filepath.Base(p)+" "+strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return left
}
