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

// Watches are feeds by whom they are for. The zero watches is ready.
type watches struct {
	mu sync.Mutex
	of map[store.AgentID]*watch
}

// A watch hands the hints of one feed to all who listen.
type watch struct {
	store.Hints
	of   store.AgentID
	life context.Context
	stop func()
}

// Watch implements store.Builds. There is a feed while somebody listens.
func (s *Store) Watch(ctx context.Context, of store.AgentID) (<-chan store.Hint, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.watches.mu.Lock()
	defer s.watches.mu.Unlock()
	w := s.watches.of[of]
	if w == nil || w.life.Err() != nil {
		w = &watch{of: of}
		w.life, w.stop = context.WithCancel(s.life)
		if s.watches.of == nil {
			s.watches.of = map[store.AgentID]*watch{}
		}
		s.watches.of[of] = w
		s.done.Go(func() { s.feed(w) })
	}
	c := w.Listen()
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
// its connection broke: another one begins, and everything is to be looked at.
func (s *Store) feed(w *watch) {
	l := s.newLink()
	defer l.close()
	defer w.stop()
	for w.life.Err() == nil {
		s.follow(l, w)
		w.Tell(store.Hint{})
		select {
		case <-w.life.Done():
		case <-time.After(feedAgain):
		}
	}
	w.Close()
}

// follow is one feed, until it breaks.
func (s *Store) follow(l *link, w *watch) {
	ctx, stop := context.WithCancel(w.life)
	defer stop()
	conn, err := l.get(ctx)
	if err != nil {
		return
	}
	defer l.drop(conn)
	go s.ping(ctx, stop, conn)
	told := make(chan struct{})
	go func() {
		defer close(told)
		cursor, err := changes(w.of).Run(s.executor(conn), r.RunOpts{Context: ctx})
		if err != nil {
			return
		}
		w.Tell(store.Hint{}) // of what was before the feed
		for {
			doc, ok := cursor.NextResponse()
			if !ok {
				return
			}
			var hint struct {
				ID     build.ID `json:"id"`
				Others bool     `json:"others"`
			}
			if json.Unmarshal(doc, &hint) == nil {
				w.Tell(store.Hint{Build: hint.ID, Others: hint.Others})
			}
		}
	}()
	select {
	case <-told:
	case <-ctx.Done():
	}
}

// changes are the builds that changed, or of which something was appended; of an
// agent those that it has to know of. What goes over the wire are hints.
func changes(of store.AgentID) r.Term {
	builds := r.Table("builds").Changes()
	if of == "" {
		return hints(builds, "id", nobody).Union(hints(r.Table("events").Changes(), "build", nobody), hints(r.Table("logs").Changes(), "build", nobody))
	}
	others := func(change r.Term) r.Term {
		names := func(row r.Term) r.Term {
			return row.Field("owner").Default("").Eq(string(of)).Or(row.Field("first_choice").Default("").Eq(string(of)))
		}
		has := change.Field("new_val")
		anybodys := has.Field("state").Default("").Eq(string(build.Queued)).And(has.Field("first_choice").Default("").Eq(""))
		return r.Not(change.HasFields("error").Or(names(change.Field("old_val")), names(has), anybodys))
	}
	return hints(builds.Filter(func(change r.Term) r.Term {
		return r.Not(others(change)).Or(change.Field("old_val").Field("state").Default("").Ne(change.Field("new_val").Field("state").Default("")))
	}), "id", others)
}

func nobody(r.Term) r.Term { return r.Expr(false) }

// hints makes hints of changes. That the server left some out is a hint at all.
func hints(feed r.Term, field string, others func(change r.Term) r.Term) r.Term {
	return feed.Map(func(change r.Term) any {
		id := change.Field("new_val").Field(field).Default(change.Field("old_val").Field(field)).Default("")
		return map[string]any{"id": id, "others": others(change)}
	})
}

// ping ends a feed whose server is silent.
func (s *Store) ping(ctx context.Context, stop func(), conn *r.Connection) {
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
		select {
		case a := <-answered:
			if a.err != nil {
				stop()
			}
		case <-waiting.Done():
			stop()
		}
		enough()
	}
}
