// Command agentrun does what one row of the table measures with a store or an
// agent, and what a row holds that against when it takes no more than a bare loop
// in Go. It says what came of it in lines "measured NAME VALUE", in seconds or
// bytes.
//
//	agentrun WORK N [PIPER]      in a directory of its own
//
//	store.go   what asks a store, in this process
//	agent.go   starting piper agentd and asking it
//	work.go    what asks an agent
//	many.go    what agents do that share a RethinkDB, and the bare loops for that
//	crowd.go   many agents that have nothing to do
//	peer.go    the other bare loops
//	buildbot.go  Buildbot
package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"time"
)

// A job is what is to be measured.
type job struct {
	n     int    // how often, or how many there are
	piper string // the program; "" where none is needed
}

var works = map[string]func(ctx context.Context, j job) error{
	"claim": claim, "pool": pool, "life": lives(claimers), "lives": lives(2_000), "keep": keep, "insert": insert,
	"trigger": trigger, "spawn": spawn, "follow": follow, "relay": relay, "stamp": stamp,
	"queued": queued, "idle": idle, "newest": newest, "start": firstPage, "kill": kill, "why": why,
	"build": buildSteps, "exec": execSteps, "buildbot": buildbot,
	"shared": shared, "bareclaims": bareLives(true), "sharedlives": sharedLives, "barelives": bareLives(false),
	"firstchoice": firstChoice, "crowd": crowd, "sharedtrigger": sharedTrigger, "sharedfollow": sharedFollow, "sharednewest": sharedNewest,
}

func main() {
	runtime.LockOSThread() // agents end with the thread that started them
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "agentrun:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) < 2 || works[args[0]] == nil {
		return fmt.Errorf("want WORK N [PIPER], got %q", args)
	}
	n, err := strconv.Atoi(args[1])
	if err != nil || n < 1 {
		return fmt.Errorf("%q is no number of anything", args[1])
	}
	j := job{n: n}
	if len(args) > 2 {
		j.piper = args[2]
	}
	if err := works[args[0]](context.Background(), j); err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	return nil
}

// measured says what came of it.
func measured(name string, value float64) { fmt.Printf("measured %s %g\n", name, value) }

// quantile returns the time that a share of waits did not exceed, in seconds.
func quantile(waits []time.Duration, share float64) float64 {
	waits = slices.Sorted(slices.Values(waits))
	return waits[int(share*float64(len(waits)-1))].Seconds()
}

// inTemp calls do with a directory that is gone afterwards.
func inTemp(do func(dir string) error) error {
	here, err := os.Getwd()
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(here, "run-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	return do(dir)
}
