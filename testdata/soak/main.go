// Command soak has several agents share one store, gives them builds, and does
// to them what happens to machines: kills them, stops them for longer than their
// lease, drains them, starts them again. Then it holds what came of it against
// what was promised.
//
//	go run ./testdata/soak [flags]      from the top of the repository
//
//	fleet.go    the agents, and what is done to them
//	work.go     the project that is built, and asking for builds
//	oracle.go   what must be true in the end
//
// What it does is drawn from -seed; how it interleaves is the machine's. The exit
// code is 0 when every promise was kept, 1 when one was not, 2 when it could not
// be tried.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"sync"
	"time"
)

// errBroken says that a promise was not kept. It has been said which.
var errBroken = errors.New("a promise was broken")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	switch err := run(ctx, os.Args[1:]); {
	case errors.Is(err, errBroken):
		os.Exit(1)
	case err != nil && !errors.Is(err, flag.ErrHelp):
		fmt.Fprintln(os.Stderr, "soak:", err)
		os.Exit(2)
	}
}

// A soak is one run of this program.
type soak struct {
	builds int
	dir    string
	piper  string
	fleet  *fleet
	work   *work
}

func run(ctx context.Context, args []string) (err error) {
	flags := flag.NewFlagSet("soak", flag.ContinueOnError)
	builds := flags.Int("builds", 1000, "ask for `N` builds; what they trigger comes on top")
	agents := flags.Int("agents", 3, "share the store among `N` agents")
	lease := flags.Duration("lease", 6*time.Second, "agents take each other for dead after `TIME`")
	calm := flags.Bool("calm", false, "do nothing to the agents")
	pause := flags.Duration("pause", 3*time.Second, "do something to an agent every `TIME`, more or less")
	timeout := flags.Duration("timeout", 30*time.Minute, "give up after `TIME`")
	seed := flags.Uint64("seed", uint64(time.Now().UnixNano()), "draw what is done from `SEED`")
	keep := flags.Bool("keep", false, "leave the directory with the store and the agents behind")
	binary := flags.String("piper", "", "try this `FILE` instead of building one")
	if err := flags.Parse(args); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, *timeout, fmt.Errorf("it is not over after %s", *timeout))
	defer cancel()
	fmt.Printf("soak: %d builds, %d agents, -seed %d\n", *builds, *agents, *seed)

	s := &soak{builds: *builds, piper: *binary}
	if s.dir, err = os.MkdirTemp("", "piper-soak-"); err != nil {
		return err
	}
	if *keep {
		fmt.Println("soak: all is in", s.dir)
	} else {
		defer os.RemoveAll(s.dir)
	}
	if s.piper == "" {
		s.piper = filepath.Join(s.dir, "piper")
		if out, err := exec.CommandContext(ctx, "go", "build", "-o", s.piper, "./cmd/piper").CombinedOutput(); err != nil {
			return fmt.Errorf("build piper: %w\n%s", err, out)
		}
	}
	s.fleet = newFleet(s.piper, s.dir, *agents, *lease)
	defer s.fleet.end()
	if err := s.fleet.start(ctx); err != nil {
		return err
	}
	if s.work, err = newWork(ctx, s.fleet, filepath.Join(s.dir, "shop"), filepath.Join(s.dir, "ledger")); err != nil {
		return err
	}

	// What the agents suffer goes on until every build was asked for.
	random := rand.New(rand.NewPCG(*seed, 1))
	suffering, relief := context.WithCancel(ctx)
	defer relief()
	var harm sync.WaitGroup
	var unbearable error
	if !*calm {
		harm.Go(func() { unbearable = s.fleet.suffer(suffering, rand.New(rand.NewPCG(*seed, 2)), *pause) })
	}
	for i := range *builds {
		if err := s.work.ask(ctx, i, random); err != nil {
			return err
		}
	}
	fmt.Printf("soak: asked for %d builds\n", *builds)
	if err := s.work.wait(ctx, len(s.work.asked)/2); err != nil { // some of what they do goes wrong while it is waited for
		return err
	}
	relief()
	harm.Wait()
	if unbearable != nil {
		fmt.Println("soak: BROKEN:", unbearable)
		return errBroken
	}
	if err := s.fleet.start(ctx); err != nil { // all of them, as they should be
		return err
	}
	if err := s.work.wait(ctx, 0); err != nil {
		return err
	}
	return s.judge(ctx)
}
