// Command soak has several agents share one store, gives them builds, and does
// to them what happens to machines: kills them, stops them for longer than their
// lease, drains them, starts them again. Where the store is a database, it and the
// way to it suffer as well. Then it holds what came of it against what was
// promised.
//
//	go run ./testdata/soak [flags]      from the top of the repository
//
//	fleet.go    the agents, and what is done to them
//	database.go the database, and what is done to it
//	index.go    Elasticsearch, and what is done to it
//	disk.go     file systems that are full
//	commit.go   the piper of an earlier commit
//	work.go     the project that is built, and asking for builds
//	readers.go  those who follow builds
//	diary.go    what the agents say of it
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
	"syscall"
	"time"
)

// errBroken says that a promise was not kept. It has been said which.
var errBroken = errors.New("a promise was broken")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
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
	dir     string
	piper   string
	fleet   *fleet
	work    *work
	readers *readers
	index   *index // nil is that there is none
}

func run(ctx context.Context, args []string) (err error) {
	flags := flag.NewFlagSet("soak", flag.ContinueOnError)
	builds := flags.Int("builds", 1000, "ask for `N` builds; what they trigger comes on top")
	during := flags.Duration("for", 0, "go on for `TIME`: ask for more builds as others end")
	kind := flags.String("store", "sqlite", "keep builds in `STORE`: sqlite, or rethinkdb, with a server of its own unless "+serverVariable+" names one")
	agents := flags.Int("agents", 0, "share the store among `N` agents; 0 is 3 for a file and 6 for a database")
	lease := flags.Duration("lease", 6*time.Second, "agents take each other for dead after `TIME`")
	calm := flags.Bool("calm", false, "do no harm")
	pause := flags.Duration("pause", 3*time.Second, "do harm every `TIME`, more or less")
	timeout := flags.Duration("timeout", 30*time.Minute, "give up after `TIME`, and what -for is")
	seed := flags.Uint64("seed", uint64(time.Now().UnixNano()), "draw what is done from `SEED`")
	keep := flags.Bool("keep", false, "leave the directory with the store and the agents behind")
	binary := flags.String("piper", "", "try this `FILE` instead of building one")
	before := flags.String("before", "", "have every other agent be of an earlier `COMMIT`, such as HEAD~1")
	servers := flags.Int("servers", 1, "the database has `N` servers of its own, and a replica on each")
	elasticsearch := flags.Duration("elasticsearch", 0, "bring logs to an Elasticsearch, which is killed and started again every `TIME`; 0 is to none")
	disks := flags.Bool("disks", false, "give each agent a small file system of its own, and fill it now and then; for root on Linux")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *kind != "sqlite" && *kind != "rethinkdb" {
		return fmt.Errorf("-store %s: want sqlite or rethinkdb", *kind)
	}
	if *servers < 1 {
		return fmt.Errorf("-servers %d: want one at least", *servers)
	}
	if *agents == 0 {
		*agents = map[string]int{"sqlite": 3, "rethinkdb": 6}[*kind]
	}
	ctx, cancel := context.WithTimeoutCause(ctx, *during+*timeout, fmt.Errorf("it is not over after %s", *during+*timeout))
	defer cancel()
	fmt.Printf("soak: %d builds, %d agents on %s, -seed %d\n", *builds, *agents, *kind, *seed)

	s := &soak{piper: *binary}
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
	earlier := s.piper
	if *before != "" {
		if earlier, err = buildCommit(ctx, s.dir, *before); err != nil {
			return fmt.Errorf("build piper of %s: %w", *before, err)
		}
	}
	var database *database
	if *kind == "rethinkdb" {
		database, err = newDatabase(ctx, s.piper, s.dir, *servers)
		if database != nil {
			defer database.end()
		}
		if err != nil {
			return err
		}
	}
	var flagsOfAll []string
	if *elasticsearch > 0 {
		s.index, err = newIndex()
		defer s.index.end()
		if err != nil {
			return err
		}
		flagsOfAll = []string{"--logs", s.index.address.String()}
	}
	if s.fleet, err = newFleet(s.piper, s.dir, *agents, *lease, database, flagsOfAll...); err != nil {
		return err
	}
	defer s.fleet.end()
	for i, a := range s.fleet.agents {
		if i%2 == 1 {
			a.piper = earlier
		}
		if *disks {
			if err := a.mount(); err != nil {
				return err
			}
			defer a.unmount()
		}
	}
	if err := s.fleet.start(ctx); err != nil {
		return err
	}
	if s.work, err = newWork(ctx, s.fleet, filepath.Join(s.dir, "shop"), filepath.Join(s.dir, "ledger")); err != nil {
		return err
	}

	s.readers = newReaders(s.fleet)

	// What the agents suffer goes on until every build was asked for, and each of the
	// harms finds its share of them.
	random := rand.New(rand.NewPCG(*seed, 1))
	suffering, relief := context.WithCancel(ctx)
	var harm sync.WaitGroup
	defer harm.Wait()
	defer relief()
	var unbearable, gone error
	turns, share := make(chan struct{}, len(s.fleet.harms())), *builds
	if !*calm {
		share = max(1, *builds/cap(turns))
		harm.Go(func() { unbearable = s.fleet.suffer(suffering, rand.New(rand.NewPCG(*seed, 2)), *pause, turns) })
	}
	if s.index != nil {
		harm.Go(func() {
			gone = s.index.suffer(suffering, rand.New(rand.NewPCG(*seed, 3)), *elasticsearch)
		})
	}
	began := time.Now()
	for i := 0; i < *builds || time.Since(began) < *during; i++ {
		if wave := max(1, *builds/4); i >= *builds && i%wave == 0 {
			if err := s.work.wait(ctx, *builds-wave); err != nil {
				return err
			}
		}
		if !*calm && i%share == 0 && i/share < cap(turns) {
			<-turns
		}
		if err := s.work.ask(ctx, i, random); err != nil {
			return err
		}
		s.readers.follow(ctx, s.work.asked[i])
	}
	fmt.Printf("soak: asked for %d builds\n", len(s.work.asked))
	if err := s.work.wait(ctx, len(s.work.asked)/2); err != nil { // some of what they do goes wrong while it is waited for
		return err
	}
	relief()
	harm.Wait()
	if unbearable != nil {
		fmt.Println("soak: BROKEN:", unbearable)
		return errBroken
	}
	if gone != nil {
		return gone
	}
	fmt.Println("soak: no more harm is done")
	if err := s.fleet.start(ctx); err != nil { // all of them, as they should be
		return err
	}
	if err := s.work.wait(ctx, 0); err != nil {
		return err
	}
	return s.judge(ctx)
}
