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
func (s *Store) Watch(ctx context.Context, of store.AgentID) (<-chan build.ID, error) {
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
func (s *Store) leave(w *watch, c chan build.ID) {
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
		w.Tell("")
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
		w.Tell("") // of what was before the feed
		for {
			doc, ok := cursor.NextResponse()
			if !ok {
				return
			}
			var id build.ID
			if json.Unmarshal(doc, &id) == nil {
				w.Tell(id)
			}
		}
	}()
	select {
	case <-told:
	case <-ctx.Done():
	}
}

// changes are the builds that changed, or of which something was appended; of an
// agent those that it has to know of. What goes over the wire is their IDs; "" where
// the server says that it left some out.
func changes(of store.AgentID) r.Term {
	builds := r.Table("builds").Changes()
	if of == "" {
		return ids(builds, "id").Union(ids(r.Table("events").Changes(), "build"), ids(r.Table("logs").Changes(), "build"))
	}
	return ids(builds.Filter(func(change r.Term) r.Term {
		had, has := change.Field("old_val"), change.Field("new_val")
		names := func(row r.Term) r.Term {
			return row.Field("owner").Default("").Eq(string(of)).Or(row.Field("first_choice").Default("").Eq(string(of)))
		}
		return change.HasFields("error").Or(had.Field("state").Default("").Ne(has.Field("state").Default("")), names(had), names(has))
	}), "id")
}

func ids(feed r.Term, field string) r.Term {
	return feed.Map(func(change r.Term) any {
		return change.Field("new_val").Field(field).Default(change.Field("old_val").Field(field)).Default("")
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
