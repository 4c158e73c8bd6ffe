package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"sync"
	"time"
)

// readers are people who follow builds: half of them a step, half the whole. They
// ask the desk, which bears with whatever its link and the database suffer.
type readers struct {
	fleet *fleet
	room  chan struct{} // so many at once
	busy  sync.WaitGroup
	all   []*reader
}

// A reader follows one build.
type reader struct {
	build asked
	cmd   *exec.Cmd
	out   bytes.Buffer
	err   error
}

func newReaders(f *fleet) *readers { return &readers{fleet: f, room: make(chan struct{}, 4)} }

// follow has somebody follow a build, if there is somebody.
func (r *readers) follow(ctx context.Context, b asked) {
	if b.pipeline != "plain" && b.pipeline != "fires" && b.pipeline != "fails" {
		return
	}
	select {
	case r.room <- struct{}{}:
	default:
		return
	}
	args := []string{"logs", "-f", b.ID, "--step", "talk"}
	if len(r.all)%2 == 1 {
		args = []string{"watch", b.ID, "--progress=plain"}
	}
	args = append(args, "--server", r.fleet.desk.url, "--token-file", filepath.Join(r.fleet.agents[0].dir, "token"))
	one := &reader{build: b, cmd: exec.CommandContext(ctx, r.fleet.piper, args...)}
	one.cmd.Stdout, one.cmd.Stderr = &one.out, &one.out
	r.all = append(r.all, one)
	r.busy.Go(func() {
		one.err = one.cmd.Run()
		<-r.room
	})
}

// judge returns how many readers there were, once they have ended.
func (r *readers) judge(byID map[string]*seen, breach func(string, ...any)) int {
	over := make(chan struct{})
	go func() {
		r.busy.Wait()
		close(over)
	}()
	select {
	case <-over:
	case <-time.After(time.Minute):
		breach("somebody still follows a build, and all have ended")
		return len(r.all)
	}
	for _, one := range r.all {
		b := byID[one.build.ID]
		if b == nil || b.lost() {
			continue
		}
		want := 0
		if one.cmd.Args[1] == "watch" && one.build.pipeline == "fails" {
			want = 1
		}
		if got := one.cmd.ProcessState.ExitCode(); got != want {
			breach("piper %s of build %d exits with %d: %s", one.cmd.Args[1], b.Number, got, last(one.out.Bytes(), 300))
			continue
		}
		one.judge(b, breach)
	}
	return len(r.all)
}

// judge looks whether every line was shown, in order: once, or once for each
// attempt at the build, of which those that were lost may end early.
func (r *reader) judge(b *seen, breach func(string, ...any)) {
	next, runs := 0, 1
	for _, match := range regexp.MustCompile(`line (\d+) of `+b.ID+`(?:\n|$)`).FindAllSubmatch(r.out.Bytes(), -1) {
		n, _ := strconv.Atoi(string(match[1]))
		if n == 0 && next > 0 {
			next, runs = 0, runs+1
		}
		if n != next {
			breach("piper %s shows line %d of build %d, not %d", r.cmd.Args[1], n, b.Number, next)
			return
		}
		next++
	}
	if runs > b.Attempt || next < lines && b.Attempt == 1 {
		breach("piper %s shows %d lines of build %d, and begins %d times", r.cmd.Args[1], next, b.Number, runs)
	}
}

func last(text []byte, n int) string { return fmt.Sprintf("%q", text[max(0, len(text)-n):]) }
