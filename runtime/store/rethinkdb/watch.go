package rethinkdb

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	r "gopkg.in/rethinkdb/rethinkdb-go.v6"

	"github.com/piper-build/piper/runtime/build"
)

const (
	pingEvery = 5 * time.Second // the server of a feed, which may have nothing to tell
	feedAgain = time.Second     // after a feed broke
)

// A watch hands the hints of one feed to all who listen. The zero watch is ready.
type watch struct {
	mu        sync.Mutex
	listeners map[chan build.ID]bool
	feeding   bool
}

// Watch implements store.Builds.
func (s *Store) Watch(ctx context.Context) (<-chan build.ID, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	w := &s.watch
	c := make(chan build.ID, 64)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.listeners == nil {
		w.listeners = map[chan build.ID]bool{}
	}
	w.listeners[c] = true
	if !w.feeding {
		w.feeding = true
		s.done.Go(s.feed)
	}
	context.AfterFunc(ctx, func() { w.drop(c) })
	return c, nil
}

func (w *watch) drop(c chan build.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.listeners[c] {
		delete(w.listeners, c)
		close(c)
	}
}

// tell hints at a build; "" is any. One who is slow misses hints.
func (w *watch) tell(id build.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.listeners {
		select {
		case c <- id:
		default:
		}
	}
}

// feed tells of what changes until the store is closed. A feed never goes on after
// its connection broke: another one begins, and everything is to be looked at.
func (s *Store) feed() {
	l := s.newLink()
	defer l.close()
	for s.life.Err() == nil {
		s.follow(l)
		s.watch.tell("")
		select {
		case <-s.life.Done():
		case <-time.After(feedAgain):
		}
	}
	s.watch.mu.Lock()
	defer s.watch.mu.Unlock()
	for c := range s.watch.listeners {
		delete(s.watch.listeners, c)
		close(c)
	}
}

// follow is one feed, until it breaks.
func (s *Store) follow(l *link) {
	ctx, stop := context.WithCancel(s.life)
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
		cursor, err := changes().Run(s.executor(conn), r.RunOpts{Context: ctx})
		if err != nil {
			return
		}
		s.watch.tell("") // of what was before the feed
		for {
			doc, ok := cursor.NextResponse()
			if !ok {
				return
			}
			var id build.ID
			if json.Unmarshal(doc, &id) == nil {
				s.watch.tell(id)
			}
		}
	}()
	select {
	case <-told:
	case <-ctx.Done():
	}
}

// changes are the builds that changed, or of which something was appended.
func changes() r.Term {
	of := func(table, field string) r.Term {
		return r.Table(table).Changes().Map(func(change r.Term) any {
			return change.Field("new_val").Field(field).Default(change.Field("old_val").Field(field))
		})
	}
	return of("builds", "id").Union(of("events", "build"), of("logs", "build"))
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
