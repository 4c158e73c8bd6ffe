package rethinkdb_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	r "gopkg.in/rethinkdb/rethinkdb-go.v6"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
	"github.com/piper-build/piper/runtime/store/rethinkdb"
	"github.com/piper-build/piper/runtime/store/rethinkdb/rethinkdbtest"
)

// What the server counts as read tells whether an index was used: without one it is
// the whole table.
func TestAPageIsReadFromAnIndex(t *testing.T) {
	const (
		few, limit = 3, 10
		many       = 400
		enough     = 50 // a server reads in parts of a table, and from each a little more
	)
	address := rethinkdbtest.Address(t)
	require.NoError(t, rethinkdb.Init(t.Context(), address, rethinkdb.Options{}, rethinkdb.Layout{}))
	s := rethinkdbtest.Reopen(t, address)

	var all []store.Build
	add := func(n int, b store.Build) {
		for range n {
			b.Number = int64(len(all) + 1)
			b.ID, b.Rev = build.ID(fmt.Sprintf("b%04d", b.Number)), 1
			all = append(all, b)
		}
	}
	add(few, store.Build{State: build.Success, Request: store.Request{Project: "rare", Pipeline: "build"}})
	add(few, store.Build{State: build.Success, Request: store.Request{Project: "p", Pipeline: "rare"}})
	add(few, store.Build{State: build.Success, Request: store.Request{Project: "p", Pipeline: "build", Cause: store.Cause{Build: "parent"}}})
	add(few, store.Build{State: build.Failed, Request: store.Request{Project: "p", Pipeline: "build"}, Pending: []store.Chore{{Verb: store.StartAfter}}})
	add(few, store.Build{State: build.Queued, Request: store.Request{Project: "p", Pipeline: "build"}, FirstChoice: "a"})
	add(few, store.Build{State: build.Running, Request: store.Request{Project: "p", Pipeline: "build"}, Owner: "a"})
	add(many, store.Build{State: build.Success, Request: store.Request{Project: "p", Pipeline: "build"}, FirstChoice: "a", Last: "a"})
	docs, err := json.Marshal(all)
	require.NoError(t, err)
	admin(t, address, r.Table("builds").Insert(r.JSON(string(docs))))

	session, err := r.Connect(r.ConnectOpts{Addresses: address.Hosts, NumRetries: 1})
	require.NoError(t, err)
	defer session.Close()
	reads := func() (count int) {
		cursor, err := r.DB("rethinkdb").Table("stats").Filter(map[string]any{"db": address.Database, "table": "builds"}).
			Sum(func(of r.Term) any { return of.Field("query_engine").Field("read_docs_total").Default(0) }).Run(session)
		require.NoError(t, err)
		require.NoError(t, cursor.One(&count))
		return count
	}

	page := func(f store.Filter, cursor string) func() ([]store.Build, error) {
		return func() ([]store.Build, error) {
			found, _, err := s.List(t.Context(), f, cursor, limit)
			return found, err
		}
	}
	for _, c := range []struct {
		what  string
		found int
		look  func() ([]store.Build, error)
	}{
		{"the newest", limit, page(store.Filter{}, "")},
		{"the page after", limit, page(store.Filter{}, "300")},
		{"a project's", limit, page(store.Filter{Project: "p"}, "")},
		{"a small project's", few, page(store.Filter{Project: "rare"}, "")},
		{"a pipeline's", limit, page(store.Filter{Project: "p", Pipeline: "build"}, "")},
		{"a small pipeline's", few, page(store.Filter{Project: "p", Pipeline: "rare"}, "")},
		{"an agent's", few, page(store.Filter{Owner: "a"}, "")},
		{"those that run", few, page(store.Filter{State: build.Running}, "")},
		{"those that are queued", few, page(store.Filter{State: build.Queued}, "")},
		{"a project's that are queued", few, page(store.Filter{Project: "p", State: build.Queued}, "")},
		{"those that failed", few, page(store.Filter{State: build.Failed}, "")},
		{"a parent's", few, page(store.Filter{Parent: "parent"}, "")},
		{"the queue", few, func() ([]store.Build, error) { return s.Queue(t.Context(), "", limit) }},
		{"an agent's queue", few, func() ([]store.Build, error) { return s.Queue(t.Context(), "a", limit) }},
		{"all that run", few, func() ([]store.Build, error) { return s.Running(t.Context(), "") }},
		{"all that an agent runs", few, func() ([]store.Build, error) { return s.Running(t.Context(), "a") }},
		{"the unsettled", few, func() ([]store.Build, error) { return s.Unsettled(t.Context(), limit) }},
		{"an overview", 3 * few, func() ([]store.Build, error) {
			o, err := s.Overview(t.Context(), limit, limit)
			return append(append(o.Running, o.Unsettled...), o.Queue...), err
		}},
		{"one by number", 1, func() ([]store.Build, error) {
			b, err := s.BuildNumbered(t.Context(), 1)
			return []store.Build{b}, err
		}},
		{"all by ID", limit, func() ([]store.Build, error) { return s.AllBuilds(t.Context(), "b0300", limit) }},
	} {
		before := reads()
		found, err := c.look()
		require.NoError(t, err, c.what)
		require.Len(t, found, c.found, c.what)
		count := reads() - before
		require.GreaterOrEqual(t, count, c.found, c.what)
		require.Less(t, count, enough, c.what)
	}

	// For two fields there is no index: it is walked, and that can be seen.
	before := reads()
	found, err := page(store.Filter{Project: "p", State: build.Failed}, "")()
	require.NoError(t, err)
	require.Len(t, found, few)
	require.Greater(t, reads()-before, many)
}
