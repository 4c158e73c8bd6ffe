package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	r "gopkg.in/rethinkdb/rethinkdb-go.v6"

	"github.com/piper-build/piper/api"
	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
	"github.com/piper-build/piper/runtime/store/rethinkdb"
	"github.com/piper-build/piper/runtime/store/rethinkdb/rethinkdbtest/server"
)

// withDatabase calls do with a database on a server of its own.
func withDatabase(ctx context.Context, do func(a rethinkdb.Address) error) error {
	return withServer(ctx, func(a rethinkdb.Address, _ *server.Process) error { return do(a) })
}

// withServer is withDatabase for who wants to know the server, too.
func withServer(ctx context.Context, do func(a rethinkdb.Address, db *server.Process) error) error {
	return inTemp(func(dir string) error {
		running, err := server.Start(filepath.Join(dir, "data"))
		if err != nil {
			return err
		}
		defer running.Kill()
		a, err := rethinkdb.ParseURL(rethinkdb.Scheme + "://" + running.Host + "/bench")
		if err != nil {
			return err
		}
		if err := rethinkdb.Init(ctx, a, rethinkdb.Options{}, rethinkdb.Layout{}); err != nil {
			return err
		}
		return do(a, running)
	})
}

// opened calls do with n stores of one database, as so many agents have.
func opened(ctx context.Context, a rethinkdb.Address, n int, do func(stores []*rethinkdb.Store) error) (err error) {
	stores := make([]*rethinkdb.Store, n)
	for i := range stores {
		if stores[i], err = rethinkdb.Open(ctx, a, rethinkdb.Options{Links: 1}); err != nil {
			return err
		}
		defer stores[i].Close()
	}
	return do(stores)
}

// An agent of the works here is a name.
func agentID(i int) store.AgentID { return store.AgentID(fmt.Sprintf("agent-%d", i)) }

// offered makes the i-th build, which is offered to one of some agents.
func offered(i, agents int) store.Build {
	b := store.NewBuild(store.Derive("bench", fmt.Sprint(i)), int64(i+1), store.Request{Project: "bench", Pipeline: "build", Cause: store.Cause{Kind: "manual", By: "bench"}},
		time.Now().UTC().Truncate(time.Millisecond))
	b.FirstChoice = agentID(i % agents)
	return b
}

// shared has many agents claim what is offered to them, each as it finds it in the
// queue.
func shared(ctx context.Context, j job) error {
	const agents = 256
	return withDatabase(ctx, func(a rethinkdb.Address) error {
		return opened(ctx, a, agents, func(stores []*rethinkdb.Store) error {
			if _, err := atOnce(agents, j.n, func(i int) error {
				_, err := stores[i%agents].Enqueue(ctx, offered(i, agents))
				return err
			}); err != nil {
				return err
			}
			var tries, got atomic.Int64
			begin := time.Now()
			_, err := atOnce(agents, agents, func(i int) error {
				for {
					queue, err := stores[i].Queue(ctx, agentID(i), 64)
					if err != nil || len(queue) == 0 {
						return err
					}
					for _, b := range queue {
						tries.Add(1)
						if _, err := stores[i].Change(ctx, b.ID, store.Claim{Agent: agentID(i), Nonce: "n", Max: store.MaxAttempts, At: begin}); err != nil {
							return err
						}
						got.Add(1)
					}
				}
			})
			if err == nil && got.Load() != int64(j.n) {
				err = fmt.Errorf("%d of %d builds were claimed", got.Load(), j.n)
			}
			measured("each", time.Since(begin).Seconds()/float64(j.n))
			measured("tries", float64(tries.Load())/float64(j.n))
			return err
		})
	})
}

// sharedLives has them make builds, claim and end them.
func sharedLives(ctx context.Context, j job) error {
	return withDatabase(ctx, func(a rethinkdb.Address) error {
		return opened(ctx, a, claimers, func(stores []*rethinkdb.Store) error {
			begin := time.Now()
			_, err := atOnce(claimers, j.n, func(i int) error {
				s := stores[i%claimers]
				b, err := s.Enqueue(ctx, offered(i, claimers))
				if err == nil {
					b, err = s.Change(ctx, b.ID, store.Claim{Agent: b.FirstChoice, Nonce: "n", Max: store.MaxAttempts, At: begin})
				}
				if err == nil {
					_, err = s.Change(ctx, b.ID, store.Complete{Agent: b.Owner, Fence: b.Fence, State: build.Success, At: begin})
				}
				return err
			})
			measured("each", time.Since(begin).Seconds()/float64(j.n))
			return err
		})
	})
}

// bareLives does to documents, of the same size and in a table with the same
// indexes, what claims or lives are made of: guarded writes on 32 connections, and
// nothing else.
func bareLives(claimsOnly bool) func(ctx context.Context, j job) error {
	return func(ctx context.Context, j job) error {
		return withDatabase(ctx, func(a rethinkdb.Address) error {
			sessions := make([]*r.Session, claimers)
			for i := range sessions {
				var err error
				if sessions[i], err = r.Connect(r.ConnectOpts{Addresses: a.Hosts, Database: a.Database, NumRetries: 1, MaxOpen: 1, InitialCap: 1}); err != nil {
					return err
				}
				defer sessions[i].Close()
			}
			write := func(i int, term r.Term) error {
				w, err := term.RunWrite(sessions[i%claimers])
				if err == nil && w.Inserted+w.Replaced != 1 {
					err = fmt.Errorf("a write that writes nothing: %+v", w)
				}
				return err
			}
			insert := func(i int) error {
				b := offered(i, claimers)
				b.Rev = 1
				return write(i, r.Table("builds").Insert(document(b), r.InsertOpts{Durability: "hard"}))
			}
			change := func(i int, from, to build.State, owner string) error {
				return write(i, r.Table("builds").Get(string(offered(i, claimers).ID)).Update(func(row r.Term) any {
					return r.Branch(row.Field("state").Eq(string(from)), map[string]any{"state": string(to), "owner": owner, "rev": row.Field("rev").Add(1)}, map[string]any{})
				}, r.UpdateOpts{Durability: "hard"}))
			}
			do := func(i int) error {
				err := insert(i)
				if err == nil {
					err = change(i, build.Queued, build.Running, string(agentID(i%claimers)))
				}
				if err == nil {
					err = change(i, build.Running, build.Success, "")
				}
				return err
			}
			if claimsOnly {
				if _, err := atOnce(claimers, j.n, insert); err != nil {
					return err
				}
				do = func(i int) error { return change(i, build.Queued, build.Running, string(agentID(i%claimers))) }
			}
			begin := time.Now()
			_, err := atOnce(claimers, j.n, do)
			measured("each", time.Since(begin).Seconds()/float64(j.n))
			return err
		})
	}
}

// firstChoice has n agents wait for builds that are made one after the other, and
// measures how long each waits for the one that it is offered to.
func firstChoice(ctx context.Context, j job) error {
	const builds = 200
	return withDatabase(ctx, func(a rethinkdb.Address) error {
		return opened(ctx, a, j.n+1, func(stores []*rethinkdb.Store) error {
			ctx, stop := context.WithCancel(ctx)
			var agents sync.WaitGroup
			defer agents.Wait()
			defer stop()
			claimed, failed, ready := make(chan time.Time, builds), make(chan error, j.n), make(chan struct{}, j.n)
			for i := range j.n {
				hints, err := stores[i].Watch(ctx, store.Watched{Agent: agentID(i)})
				if err != nil {
					return err
				}
				agents.Go(func() {
					var once sync.Once
					for hint := range hints {
						once.Do(func() { ready <- struct{}{} }) // the feed has begun
						if hint.Others {
							continue // at which an agent of many looks seconds later
						}
						queue, err := stores[i].Queue(ctx, agentID(i), 64)
						for _, b := range queue {
							if err == nil {
								_, err = stores[i].Change(ctx, b.ID, store.Claim{Agent: agentID(i), Nonce: "n", Max: store.MaxAttempts, At: b.Created})
							}
							if err == nil {
								claimed <- time.Now()
							}
						}
						if err != nil && ctx.Err() == nil {
							failed <- err
							return
						}
					}
				})
			}
			for range j.n {
				select {
				case <-ready:
				case err := <-failed:
					return err
				}
			}
			return oneByOne(builds, 10*time.Millisecond, claimed, failed, func(i int) error {
				_, err := stores[j.n].Enqueue(ctx, offered(i, j.n))
				return err
			})
		})
	})
}

// oneByOne asks for builds one after the other, with a rest for what the last one left
// to be done, and measures how long each waits for its claim.
func oneByOne(builds int, rest time.Duration, claimed <-chan time.Time, failed <-chan error, ask func(i int) error) error {
	waits := make([]time.Duration, builds)
	for i := range waits {
		time.Sleep(rest)
		begin := time.Now()
		if err := ask(i); err != nil {
			return err
		}
		select {
		case at := <-claimed:
			waits[i] = at.Sub(begin)
		case err := <-failed:
			return err
		case <-time.After(time.Minute):
			return fmt.Errorf("build %d of %d: %w", i, builds, errHangs)
		}
	}
	measured("p50", quantile(waits, 0.5))
	measured("p99", quantile(waits, 0.99))
	measured("spread", quantile(waits, 0.99)/quantile(waits, 0.5))
	return nil
}

// withShared calls do with an agent that runs builds of the project "bench", and
// with one that only serves the API of the same database.
func withShared(ctx context.Context, j job, file string, do func(a rethinkdb.Address, worker, other *agent) error) error {
	return withDatabase(ctx, func(address rethinkdb.Address) error {
		return inTemp(func(dir string) error {
			repo, err := makeRepo(ctx, dir, file)
			if err != nil {
				return err
			}
			worker, err := startAgent(j.piper, filepath.Join(dir, "worker"), "--store", address.String(), "--name", "worker")
			if err != nil {
				return err
			}
			defer worker.kill()
			if _, err := worker.PutProject(ctx, api.Project{Name: "bench", Repo: repo}); err != nil {
				return err
			}
			if err := worker.settled(ctx); err != nil {
				return err
			}
			other, err := startAgent(j.piper, filepath.Join(dir, "other"), "--store", address.String(), "--name", "other", "--no-worker")
			if err != nil {
				return err
			}
			defer other.kill()
			return do(address, worker, other)
		})
	})
}

// sharedTrigger does what trigger does.
func sharedTrigger(ctx context.Context, j job) error {
	return inTemp(func(dir string) error {
		door, err := newDoor(dir)
		if err != nil {
			return err
		}
		defer door.Close()
		return withShared(ctx, j, steps(1, door.knock()), func(_ rethinkdb.Address, worker, _ *agent) error { return worker.triggers(ctx, door, j.n) })
	})
}

// sharedFollow follows on one agent what a step writes on another one.
func sharedFollow(ctx context.Context, j job) error {
	file, err := stamps(j.n)
	if err != nil {
		return err
	}
	return withShared(ctx, j, file, func(_ rethinkdb.Address, _, other *agent) error { return other.follows(ctx, j.n) })
}

// sharedNewest asks for the newest page of n builds.
func sharedNewest(ctx context.Context, j job) error {
	return withShared(ctx, j, steps(1, ":"), func(address rethinkdb.Address, _, other *agent) error {
		session, err := r.Connect(r.ConnectOpts{Addresses: address.Hosts, Database: address.Database, NumRetries: 1})
		if err != nil {
			return err
		}
		defer session.Close()
		var like map[string]any
		if like, err = ended(); err != nil {
			return err
		}
		const batch = 5000
		for from := 1; from <= j.n; from += batch {
			to := min(from+batch, j.n+1)
			_, err := r.Table("builds").Insert(r.Range(from, to).Map(func(i r.Term) any {
				return r.Expr(like).Merge(map[string]any{"id": r.Expr("bench-").Add(i.CoerceTo("string")), "number": i})
			}).CoerceTo("array"), r.InsertOpts{Durability: "soft"}).RunWrite(session)
			if err != nil {
				return err
			}
		}
		time.Sleep(10 * time.Second) // the server writes
		waits := make([]time.Duration, 200)
		for i := range waits {
			begin := time.Now()
			if err := other.firstPage(ctx); err != nil {
				return err
			}
			waits[i] = time.Since(begin)
		}
		measured("p50", quantile(waits, 0.5))
		measured("p99", quantile(waits, 0.99))
		return nil
	})
}

// ended is a build that has ended, as a database keeps it.
func ended() (map[string]any, error) {
	b := offered(0, 1)
	var err error
	for _, c := range []store.Change{
		store.Claim{Agent: "agent", Nonce: "n", Max: store.MaxAttempts, At: b.Created},
		store.Complete{Agent: "agent", Fence: 1, State: build.Success, At: b.Created},
	} {
		var failed error
		b, _, failed = b.Changed(c)
		err = errors.Join(err, failed)
	}
	return document(b), err
}

// document is a build as a database keeps it.
func document(b store.Build) (doc map[string]any) {
	text, err := json.Marshal(b)
	if err == nil {
		err = json.Unmarshal(text, &doc)
	}
	if err != nil {
		panic(err) // a build is made of what JSON has
	}
	return doc
}
