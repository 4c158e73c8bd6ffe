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
	"text/tabwriter"
	"time"
)

// A promise is what was promised, how much was held against it, and how often it
// was broken.
type promise struct {
	text   string
	looked int
	broken int
}

// breach says that the promise was broken.
func (p *promise) breach(format string, args ...any) {
	if p.broken++; p.broken <= 20 {
		fmt.Printf("soak: BROKEN: "+format+"\n", args...)
	}
}

// judge holds what came of the builds against what was promised.
func (s *soak) judge(ctx context.Context) error {
	var promises []*promise
	promised := func(text string) *promise {
		p := &promise{text: text}
		promises = append(promises, p)
		return p
	}
	ends := promised("an accepted build ends, as it should")
	once := promised("a result is recorded once, and stays")
	triggers := promised("a trigger makes one build")
	output := promised("each line of output is there once, in order")
	rescues := promised("nothing is rescued without cause")
	readers := promised("who follows a build sees all of it")
	processes := promised("no process is left")
	sound := promised("piper fsck finds nothing")

	all, err := s.work.list(ctx, "")
	if err != nil {
		return err
	}
	if s.index != nil {
		if err := s.index.judge(ctx, s.fleet, all, promised("each line is in Elasticsearch once, in order")); err != nil {
			return err
		}
	}
	byID := map[string]*seen{}
	numbers := map[int64]string{}
	children := map[string][]*seen{}
	for i := range all {
		b := &all[i]
		if other, twice := numbers[b.Number]; twice {
			ends.breach("builds %s and %s both have number %d", other, b.ID, b.Number)
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
		ends.looked++
		b := byID[a.ID]
		if b == nil {
			ends.breach("build %s of %s was accepted and is gone", a.ID, a.pipeline)
			continue
		}
		states[b.State]++
		if b.lost() {
			continue
		}
		want := map[string]string{"fails": "failed", "long": "cancelled"}[a.pipeline]
		if want == "" {
			want = "success"
		}
		if b.State != want {
			ends.breach("build %d of %s is %s, not %s: %s", b.Number, b.Pipeline, b.State, want, b.Reason)
			continue
		}
		if ran := did[b.ID+" done"]; (ran > 0) != (want == "success") {
			ends.breach("build %d of %s is %s, and its last step ran %d times", b.Number, b.Pipeline, b.State, ran)
		}
		if a.pipeline == "fires" || a.pipeline == "waits" {
			triggers.looked++
			if len(children[b.ID]) == 0 {
				triggers.breach("build %d of %s triggered nothing", b.Number, b.Pipeline)
			}
		}
		if a.pipeline == "plain" || a.pipeline == "fires" || a.pipeline == "fails" {
			output.looked += lines
			s.readLog(ctx, b, output.breach)
		}
	}
	for parent, all := range children {
		of := byID[parent]
		if of == nil {
			triggers.breach("build %s triggered one, and is not there", parent)
			continue
		}
		if len(all) > 1 || of.Pipeline != "fires" && of.Pipeline != "waits" {
			triggers.breach("build %d of %s triggered %d builds", of.Number, of.Pipeline, len(all))
		}
		for _, c := range all {
			switch {
			case c.State == "success" && did[c.ID+" child"] == 0:
				ends.breach("build %d succeeded, and its step never ran", c.Number)
			case c.State != "success" && !c.lost() && !(of.lost() && c.State == "cancelled"):
				ends.breach("build %d, which build %d triggered, is %s: %s", c.Number, of.Number, c.State, c.Reason)
			}
		}
	}
	for id, before := range s.work.over {
		once.looked++
		if now := byID[id]; now == nil || *now != before {
			once.breach("build %d was %+v, and is %+v", before.Number, before, now)
		}
	}
	if rescues.looked, _, err = s.fleet.judgeDiary(rescues.breach, once.breach); err != nil {
		return err
	}
	readers.looked = s.readers.judge(byID, readers.breach)

	s.fleet.end()
	left := survivors(s.dir, s.fleet.database)
	for i := 0; len(left) > 0 && i < 100; i++ { // what an agent's death ends takes a moment
		time.Sleep(100 * time.Millisecond)
		left = survivors(s.dir, s.fleet.database)
	}
	for _, process := range left {
		processes.breach("a process was left behind: %s", process)
	}
	sound.looked = len(all)
	if out, err := exec.CommandContext(ctx, s.piper, "fsck", "--store", s.fleet.store).CombinedOutput(); err != nil {
		sound.breach("fsck: %v\n%s", err, out)
	}

	done := map[string]int{}
	for _, d := range s.fleet.deeds {
		done[d.name]++
	}
	fmt.Printf("soak: %d builds and %d that they triggered: %v\nsoak: harms: %v\n\n", len(s.work.asked), len(all)-len(s.work.asked), states, done)
	broken := 0
	table := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(table, "%-45s\tlooked at\tbroken\t\n", "promise")
	for _, p := range promises {
		broken += p.broken
		fmt.Fprintf(table, "%-45s\t%d\t%d\t\n", p.text, p.looked, p.broken)
	}
	table.Flush()
	if broken == 0 {
		return nil
	}
	fmt.Println()
	for _, d := range s.fleet.deeds {
		fmt.Printf("soak: from %s to %s: %s, of %s if it is of one\n", d.begin.UTC().Format(clock), d.end.UTC().Format(clock), d.name, d.agent.name)
	}
	return errBroken
}

const clock = "15:04:05.000"

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

// survivors are processes that work in dir, or were told of it, but for the
// database's server.
func survivors(dir string, d *database) (left []string) {
	processes, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range processes {
		if filepath.Base(p) == fmt.Sprint(os.Getpid()) || d.runs(filepath.Base(p)) {
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
