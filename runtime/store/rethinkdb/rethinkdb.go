// Package rethinkdb is the Store of many machines: a RethinkDB database that any
// number of agents share.
//
// A change of one document is atomic there, and that is all that is used. Every
// document carries a revision; a write reads the document, has the change applied
// to it by package store, and replaces it if it still has the revision that was
// read. What one statement decides, it decides within itself: a guard that looks
// first and writes later is none.
//
// Writes are hard: acknowledged once a majority of replicas has them on disk.
// Reads that decide something ask a majority, too; a page of history asks who is
// near. An answer that does not come leaves it open whether something happened:
// the error is store.ErrInDoubt, and to send the same again does no harm.
//
//	url.go         what names a store
//	connection.go  connections, and the one way to ask something
//	schema.go      tables and indexes, and how they come to be
//	builds.go, events.go, logs.go, documents.go, agents.go: the parts of the contract
//	portable.go    what it takes to move elsewhere
//	watch.go       the feeds that hint at changes
package rethinkdb

import (
	"context"
	"errors"
	"sync"
	"time"

	r "gopkg.in/rethinkdb/rethinkdb-go.v6"

	"github.com/piper-build/piper/runtime/store"
)

// ErrNewer says that a newer piper made the tables.
var ErrNewer = errors.New("made by a newer piper")

// Options are how a store is opened. The zero value of each field is usable.
type Options struct {
	Password string        // of the URL's user
	Timeout  time.Duration // for an answer; 0 is 10 s
	Links    int           // connections that queries share; 0 is 4
}

// The defaults of Options.
const (
	defaultTimeout = 10 * time.Second
	defaultLinks   = 4
)

// A Store is an open database. It implements store.Store and store.Portable.
type Store struct {
	address Address
	o       Options
	links   []*link
	turn    counter // whose turn it is among links
	watches watches
	seen    sights
	life    context.Context // of what goes on in the background
	stop    context.CancelFunc
	done    sync.WaitGroup
}

var (
	_ store.Store      = (*Store)(nil)
	_ store.Portable   = (*Store)(nil)
	_ store.Overviewer = (*Store)(nil)
)

// Open opens the database that address names. It must have been made by Init.
func Open(ctx context.Context, address Address, o Options) (*Store, error) {
	s, err := connect(ctx, address, o)
	if err != nil {
		return nil, address.failed("open", err)
	}
	if err := s.ready(ctx); err != nil {
		return nil, errors.Join(address.failed("open", err), s.Close())
	}
	return s, nil
}

// connect opens what may be no Store yet.
func connect(ctx context.Context, address Address, o Options) (*Store, error) {
	if o.Timeout <= 0 {
		o.Timeout = defaultTimeout
	}
	if o.Links <= 0 {
		o.Links = defaultLinks
	}
	s := &Store{address: address, o: o}
	s.life, s.stop = context.WithCancel(context.Background())
	for range o.Links {
		s.links = append(s.links, s.newLink())
	}
	s.watches = watches{link: s.newLink(), of: map[store.Watched]*watch{}}
	// Who is not let in is told at once.
	if _, err := s.ask(ctx, r.Expr(1)); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// Close ends what goes on in the background. What was acknowledged is kept.
func (s *Store) Close() error {
	s.stop()
	s.done.Wait()
	for _, l := range append(s.links, s.watches.link) {
		l.close()
	}
	return nil
}
