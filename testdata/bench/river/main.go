//go:build ignore

// Command river has River work on jobs that do nothing, in a PostgreSQL of its
// own, and says how long it took for each. It is built in a module that is made
// for it: nothing else here needs River.
//
//	river POSTGRES N      POSTGRES is where initdb and postgres are
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// Job is one that does nothing.
type Job struct{}

// Kind implements river.JobArgs.
func (Job) Kind() string { return "noop" }

type worker struct{ river.WorkerDefaults[Job] }

func (worker) Work(context.Context, *river.Job[Job]) error { return nil }

func main() {
	if err := run(context.Background(), os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "river:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, bin, count string) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "piper-river-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	as := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if os.Getuid() == 0 { // as which PostgreSQL does not run
		if as.Credential, err = postgres(); err != nil {
			return err
		}
		if err := os.Chown(dir, int(as.Credential.Uid), int(as.Credential.Gid)); err != nil {
			return err
		}
	}
	data := filepath.Join(dir, "data")
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-A", "trust", "-U", "postgres", "-D", data)
	initdb.SysProcAttr, initdb.Dir = as, dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w: %s", err, out)
	}
	server := exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-k", dir, "-h", "")
	server.SysProcAttr, server.Dir = as, dir
	if err := server.Start(); err != nil {
		return err
	}
	defer func() {
		server.Process.Signal(syscall.SIGINT)
		server.Wait()
	}()
	pool, err := pgxpool.New(ctx, "host="+dir+" user=postgres dbname=postgres")
	if err != nil {
		return err
	}
	defer pool.Close()
	for begin := time.Now(); pool.Ping(ctx) != nil; time.Sleep(50 * time.Millisecond) {
		if time.Since(begin) > time.Minute {
			return fmt.Errorf("PostgreSQL does not answer: %w", pool.Ping(ctx))
		}
	}
	return work(ctx, pool, n)
}

// postgres is the user that PostgreSQL's package made.
func postgres() (*syscall.Credential, error) {
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, err
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.Atoi(u.Gid)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, err
}

// work inserts n jobs and then works on them, with the settings of River's own
// benchmark.
func work(ctx context.Context, pool *pgxpool.Pool, n int) error {
	driver := riverpgxv5.New(pool)
	migrator, err := rivermigrate.New(driver, nil)
	if err != nil {
		return err
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return err
	}
	workers := river.NewWorkers()
	river.AddWorker(workers, worker{})
	client, err := river.NewClient(driver, &river.Config{
		FetchCooldown:     2 * time.Millisecond,
		FetchPollInterval: 5 * time.Millisecond,
		Queues:            map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: 2_000}},
		Workers:           workers,
	})
	if err != nil {
		return err
	}
	for left := n; left > 0; left -= 1000 {
		if _, err := client.InsertManyFast(ctx, jobs(min(left, 1000))); err != nil {
			return err
		}
	}
	done, unsubscribe := client.SubscribeConfig(&river.SubscribeConfig{ChanSize: n, Kinds: []river.EventKind{river.EventKindJobCompleted}})
	defer unsubscribe()
	begin := time.Now()
	if err := client.Start(ctx); err != nil {
		return err
	}
	for range n {
		<-done
	}
	fmt.Printf("measured each %g\n", time.Since(begin).Seconds()/float64(n))
	return client.Stop(ctx)
}

func jobs(n int) []river.InsertManyParams {
	jobs := make([]river.InsertManyParams, n)
	for i := range jobs {
		jobs[i].Args = Job{}
	}
	return jobs
}
