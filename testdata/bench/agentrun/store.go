package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/record"
	"github.com/piper-build/piper/runtime/store"
	"github.com/piper-build/piper/runtime/store/sqlite"
)

// claimers is how many take builds at once.
const claimers = 32

// storeIn is the store of an agent whose directory that is.
func storeIn(dir string) string { return filepath.Join(dir, "piper.db") }

// withStore calls do with a store.
func withStore(ctx context.Context, path string, do func(s *sqlite.Store) error) error {
	s, err := sqlite.Open(ctx, path, sqlite.Options{})
	if err != nil {
		return err
	}
	return errors.Join(do(s), s.Close())
}

// inNewStore calls do with a store of n queued builds that is gone afterwards.
func inNewStore(ctx context.Context, n int, do func(s *sqlite.Store, ids []build.ID) error) error {
	return inTemp(func(dir string) error {
		return withStore(ctx, storeIn(dir), func(s *sqlite.Store) error {
			ids, err := fill(ctx, s, n, false)
			if err != nil {
				return err
			}
			return do(s, ids)
		})
	})
}

// atOnce calls do for each number below n, from several goroutines, and returns
// how long each call took.
func atOnce(goroutines, n int, do func(i int) error) ([]time.Duration, error) {
	waits := make([]time.Duration, n)
	errs := make([]error, goroutines)
	var next atomic.Int64
	var all sync.WaitGroup
	for g := range goroutines {
		all.Go(func() {
			for errs[g] == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				begin := time.Now()
				errs[g] = do(i)
				waits[i] = time.Since(begin)
			}
		})
	}
	all.Wait()
	return waits, errors.Join(errs...)
}

// fill enqueues n builds of the project "bench", or ones that have ended.
func fill(ctx context.Context, s store.Store, n int, ended bool) ([]build.ID, error) {
	ids := make([]build.ID, n)
	_, err := atOnce(256, n, func(i int) error {
		number, err := s.NextNumber(ctx)
		if err != nil {
			return err
		}
		now := time.Now().UTC().Truncate(time.Millisecond)
		b := store.NewBuild(store.Derive("bench", fmt.Sprint(number)), number, store.Request{Project: "bench", Pipeline: "build", Cause: store.Cause{Kind: "manual", By: "bench"}}, now)
		if ended {
			for _, c := range []store.Change{
				store.Claim{Agent: "agent", Nonce: "n", Max: store.MaxAttempts, At: now},
				store.Complete{Agent: "agent", Fence: 1, State: build.Success, At: now},
			} {
				if b, _, err = b.Changed(c); err != nil {
					return err
				}
			}
		}
		ids[i] = b.ID
		_, err = s.Enqueue(ctx, b)
		return err
	})
	return ids, err
}

// full is the directory of a store with n builds that have ended, which is made
// once and stays.
func full(ctx context.Context, n int) (dir string, err error) {
	if dir, err = filepath.Abs("full"); err != nil {
		return "", err
	}
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	some := min(n, 1000)
	err = withStore(ctx, storeIn(dir), func(s *sqlite.Store) error {
		_, err := fill(ctx, s, some, true)
		return err
	})
	if err != nil {
		return "", err
	}
	return dir, multiply(ctx, storeIn(dir), some, n)
}

// multiply has a database that holds some builds hold n like them: an agent would
// be at it for minutes.
func multiply(ctx context.Context, path string, some, n int) error {
	db, err := openPool(path)
	if err != nil {
		return err
	}
	defer db.Close()
	for some < n {
		more := min(some, n-some, 50_000)
		_, err := db.ExecContext(ctx, `INSERT INTO builds SELECT number + ?1, 'bench-' || (number + ?1), state, project, pipeline, owner, choice, parent,
			priority, pending, collected, json_set(doc, '$.number', number + ?1, '$.id', 'bench-' || (number + ?1)) FROM builds WHERE number <= ?2`, some, more)
		if err != nil {
			return fmt.Errorf("multiply builds: %w", err)
		}
		some += more
	}
	return nil
}

// claim has many agents claim builds.
func claim(ctx context.Context, j job) error {
	return inNewStore(ctx, j.n, func(s *sqlite.Store, ids []build.ID) error {
		begin := time.Now()
		waits, err := atOnce(claimers, len(ids), func(i int) error {
			_, err := s.Change(ctx, ids[i], store.Claim{Agent: "agent", Nonce: "n", Max: store.MaxAttempts, At: begin})
			return err
		})
		measured("each", time.Since(begin).Seconds()/float64(len(ids)))
		measured("p99", quantile(waits, 0.99))
		return err
	})
}

// lives has so many agents claim builds, and end them as well.
func lives(agents int) func(ctx context.Context, j job) error {
	return func(ctx context.Context, j job) error { return life(ctx, j.n, agents) }
}

func life(ctx context.Context, n, agents int) error {
	return inNewStore(ctx, n, func(s *sqlite.Store, ids []build.ID) error {
		begin := time.Now()
		_, err := atOnce(agents, len(ids), func(i int) error {
			b, err := s.Change(ctx, ids[i], store.Claim{Agent: "agent", Nonce: "n", Max: store.MaxAttempts, At: begin})
			if err != nil {
				return err
			}
			_, err = s.Change(ctx, b.ID, store.Complete{Agent: "agent", Fence: b.Fence, State: build.Success, At: begin})
			return err
		})
		measured("each", time.Since(begin).Seconds()/float64(len(ids)))
		return err
	})
}

// line is a line of output.
var line = append(slices.Repeat([]byte{'.'}, 79), '\n')

// keep records n lines that a step writes, as an agent does.
func keep(ctx context.Context, j job) error {
	block := slices.Repeat(line, store.MaxChunk/len(line))
	return inNewStore(ctx, 1, func(s *sqlite.Store, ids []build.ID) error {
		begin := time.Now()
		r := record.Open(s, ids[0], 1, record.Options{})
		defer r.Close()
		w, err := r.Open("step", 1)
		if err != nil {
			return err
		}
		for left := j.n * len(line); left > 0; left -= len(block) {
			if err := w.Write(time.Now(), block[:min(left, len(block))]); err != nil {
				return err
			}
		}
		if err := errors.Join(w.Close(), r.Flush(ctx)); err != nil {
			return err
		}
		measured("all", time.Since(begin).Seconds())
		return nil
	})
}
