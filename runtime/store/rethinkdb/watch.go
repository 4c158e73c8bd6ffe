package rethinkdb

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	r "gopkg.in/rethinkdb/rethinkdb-go.v6"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

const (
	pingEvery = 5 * time.Second // the server of a feed, which may have nothing to tell
	feedAgain = time.Second     // after a feed broke
)

// Watches are feeds by what they are of. All of them share a connection, which is for
// them alone.
type watches struct {
	link *link

	mu    sync.Mutex
	of    map[store.Watched]*watch
	conn  *r.Connection
	alive context.Context // ends when nothing is heard over conn
}

// A watch hands the hints of one feed to all who listen.
type watch struct {
	store.Hints
	of   store.Watched
	life context.Context
	stop func()
}

// Watch implements store.Builds. There is a feed while somebody listens.
func (s *Store) Watch(ctx context.Context, what store.Watched) (<-chan store.Hint, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.watches.mu.Lock()
	defer s.watches.mu.Unlock()
	w := s.watches.of[what]
	if w == nil || w.life.Err() != nil {
		w = &watch{of: what}
		w.life, w.stop = context.WithCancel(s.life)
		s.watches.of[what] = w
		s.done.Go(func() { s.feed(w) })
	}
	c := w.Listen(what)
	context.AfterFunc(ctx, func() { s.leave(w, c) })
	return c, nil
}

// leave ends hints for one, and the feed after the last one.
func (s *Store) leave(w *watch, c chan store.Hint) {
	s.watches.mu.Lock()
	defer s.watches.mu.Unlock()
	if w.Drop(c) == 0 && s.watches.of[w.of] == w {
		delete(s.watches.of, w.of)
		w.stop()
	}
}

// feed tells of what changes until nobody listens. A feed never goes on after
// it broke: another one begins, and everything is to be looked at.
func (s *Store) feed(w *watch) {
	defer w.stop()
	for w.life.Err() == nil {
		s.follow(w)
		w.Tell(store.Hint{})
		select {
		case <-w.life.Done():
		case <-time.After(feedAgain):
		}
	}
	w.Close()
}

// follow is one feed, until it breaks.
func (s *Store) follow(w *watch) {
	conn, alive, err := s.line(w.life)
	if err != nil {
		return
	}
	ctx, stop := context.WithCancel(w.life)
	defer stop()
	defer context.AfterFunc(alive, stop)()
	told := make(chan struct{})
	go func() {
		defer close(told)
		cursor, err := changes(w.of).Run(s.executor(conn), r.RunOpts{Context: ctx})
		if err == nil {
			w.Tell(store.Hint{}) // of what was before the feed
			for doc, ok := cursor.NextResponse(); ok; doc, ok = cursor.NextResponse() {
				var hint struct {
					ID     build.ID `json:"id"`
					Others bool     `json:"others"`
				}
				if json.Unmarshal(doc, &hint) == nil {
					w.Tell(store.Hint{Build: hint.ID, Others: hint.Others})
				}
			}
			err = cursor.Err()
		}
		if broken(err) {
			s.watches.link.drop(conn)
		}
	}()
	select {
	case <-told:
	case <-ctx.Done():
	}
}

// line is the connection of the feeds, and a context that ends when nothing is heard
// over it: a feed may have nothing to tell, so the server is asked now and then.
func (s *Store) line(ctx context.Context) (*r.Connection, context.Context, error) {
	conn, err := s.watches.link.get(ctx)
	if err != nil {
		return nil, nil, err
	}
	s.watches.mu.Lock()
	defer s.watches.mu.Unlock()
	if s.watches.conn != conn {
		alive, stop := context.WithCancel(s.life)
		s.watches.conn, s.watches.alive = conn, alive
		s.done.Go(func() {
			defer stop()
			s.ping(alive, conn)
			s.watches.link.drop(conn)
		})
	}
	return conn, s.watches.alive, nil
}

// ping asks a server until it does not answer.
func (s *Store) ping(ctx context.Context, conn *r.Connection) {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		answered := make(chan answer, 1)
		waiting, enough := context.WithTimeout(ctx, pingEvery)
		go func() { answered <- fetch(waiting, s.executor(conn), r.Expr(1)) }()
		var a answer
		select {
		case a = <-answered:
		case <-waiting.Done():
			a.err = waiting.Err()
		}
		enough()
		if a.err != nil {
			return
		}
	}
}

// squash is how long hints at what was queued for others are gathered.
const squash = 500 * time.Millisecond

// changes are hints at what is watched. Those for an agent are found by index: a
// condition that is worked out for every agent at each change of each build keeps a
// server of many agents busy.
func changes(of store.Watched) r.Term {
	builds := r.Table("builds")
	if of.Build != "" {
		return hints(builds.Get(string(of.Build)).Changes(), "id")
	}
	if of.Agent == "" {
		return hints(builds.Changes(), "id").Union(hints(r.Table("events").Changes(), "build"), hints(r.Table("logs").Changes(), "build"))
	}
	indexed := func(index string, agent store.AgentID) r.Term {
		return hints(builds.Between([]any{string(agent), r.MinVal}, []any{string(agent), r.MaxVal}, r.BetweenOpts{Index: index}).Changes(), "id")
	}
	others := func(feed r.Term) r.Term {
		return feed.Map(func(r.Term) any { return map[string]any{"id": "", "others": true} })
	}
	return indexed("owner", of.Agent).Union(indexed("choice", of.Agent), indexed("choice", ""),
		others(r.Table("counters").Get("builds").Changes(r.ChangesOpts{Squash: squash.Seconds()})), // a number was drawn
		others(r.Table("groups").Changes()))
}

// hints makes hints of changes. That the server left some out is a hint at all.
func hints(feed r.Term, field string) r.Term {
	return feed.Map(func(change r.Term) any {
		return map[string]any{"id": change.Field("new_val").Field(field).Default(change.Field("old_val").Field(field)).Default("")}
	})
}
