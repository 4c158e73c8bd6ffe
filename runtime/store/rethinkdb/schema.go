package rethinkdb

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	r "gopkg.in/rethinkdb/rethinkdb-go.v6"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

// version is that of the tables as this piper makes them.
var version = 1

// A table is one of the database's.
type table struct {
	name    string
	key     string
	indexes []index
}

// An index finds the documents for which of has a value, in its order.
type index struct {
	name string
	of   func(row r.Term) any
}

var schema = []table{
	{"meta", "id", nil},
	{"counters", "id", nil},
	{"builds", "id", []index{
		{"number", func(row r.Term) any { return row.Field("number") }},
		{"newest", when(kept, func(row r.Term) any { return row.Field("number") })},
		{"project", when(kept, func(row r.Term) any { return []any{asked(row, "project"), row.Field("number")} })},
		{"pipeline", when(kept, func(row r.Term) any { return []any{asked(row, "project"), asked(row, "pipeline"), row.Field("number")} })},
		{"state", when(kept, func(row r.Term) any { return []any{row.Field("state"), row.Field("number")} })},
		{"parent", when(kept, func(row r.Term) any {
			return []any{row.Field("request").Field("cause").Field("build"), row.Field("number")}
		})},
		{"owner", when(is(build.Running), func(row r.Term) any { return []any{row.Field("owner"), row.Field("number")} })},
		{"queue", when(is(build.Queued), func(row r.Term) any { return []any{urgency(row), row.Field("number")} })},
		{"choice", when(is(build.Queued), func(row r.Term) any { return []any{row.Field("first_choice"), urgency(row), row.Field("number")} })},
		{"pending", when(func(row r.Term) r.Term { return row.HasFields("pending") }, func(row r.Term) any { return row.Field("number") })},
	}},
	{"blobs", "id", nil},
	{"events", "id", nil},
	{"logs", "id", []index{
		{"line", func(row r.Term) any {
			return []any{row.Field("stream"), row.Field("line").Add(row.Field("lines")), row.Field("id")}
		}},
	}},
	{"groups", "key", nil},
	{"agents", "id", nil},
	{"projects", "name", nil},
	{"tokens", "name", []index{
		{"hash", func(row r.Term) any { return row.Field("hash") }},
	}},
}

// Tables are the names of all tables.
func Tables() (names []string) {
	for _, t := range schema {
		names = append(names, t.name)
	}
	return names
}

// when is of where the condition holds: a document for which an index has an
// error is not in it.
func when(condition func(row r.Term) r.Term, of func(row r.Term) any) func(row r.Term) any {
	return func(row r.Term) any { return r.Branch(condition(row), of(row), r.Error("not in this index")) }
}

func kept(row r.Term) r.Term { return row.Field("collected").Default(false).Not() }

func is(state build.State) func(row r.Term) r.Term {
	return func(row r.Term) r.Term { return row.Field("state").Eq(string(state)) }
}

// asked is a field of what was asked for; "" when it is not there.
func asked(row r.Term, field string) r.Term { return row.Field("request").Field(field).Default("") }

// urgency is smaller for what is more urgent.
func urgency(row r.Term) r.Term {
	return r.Expr(0).Sub(row.Field("request").Field("priority").Default(0))
}

// Layout is how tables are spread over servers. A number that is 0 was not asked
// for: it is 1 where a table is made.
type Layout struct {
	Shards   int
	Replicas int
}

// Init makes the database, its tables and indexes, as far as they are not there. It
// does not move what is there: that it lies otherwise than was asked for is an error.
// It is for one at a time: the server lets two make two tables of one name.
func Init(ctx context.Context, address Address, o Options, l Layout) (err error) {
	defer func() {
		if err != nil {
			err = address.failed("make", err)
		}
	}()
	s, err := connect(ctx, address, o)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := refuse(s.checkServers(ctx)); err != nil {
		return err
	}
	if err := s.unless(ctx, r.DBList(), address.Database, r.DBCreate(address.Database)); err != nil {
		return err
	}
	if err := s.newer(ctx); err != nil {
		return err
	}
	if err := s.make(ctx, l); err != nil {
		return err
	}
	return s.spread(ctx, l)
}

// Migrate brings the tables of an older piper up to date.
func Migrate(ctx context.Context, address Address, o Options) (err error) {
	defer func() {
		if err != nil {
			err = address.failed("migrate", err)
		}
	}()
	s, err := connect(ctx, address, o)
	if err != nil {
		return err
	}
	defer s.Close()
	if err := refuse(s.checkServers(ctx)); err != nil {
		return err
	}
	got, err := s.tableVersion(ctx)
	switch {
	case err != nil:
		return err
	case got == 0:
		return s.current(ctx) // which says that there is none
	case got == version:
		return nil
	}
	if err := s.newer(ctx); err != nil {
		return err
	}
	return s.make(ctx, Layout{})
}

// make makes what is not there, and says then that the tables are of this version.
func (s *Store) make(ctx context.Context, l Layout) error {
	errs := make([]error, len(schema))
	var done sync.WaitGroup
	for i := range schema {
		done.Go(func() { errs[i] = s.makeTable(ctx, &schema[i], l) })
	}
	done.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	_, err := s.write(ctx, r.Table("meta").Insert(map[string]any{"id": "schema", "version": version}, r.InsertOpts{Conflict: "replace", Durability: "hard"}))
	return err
}

// spread sees whether tables lie as l wants it.
func (s *Store) spread(ctx context.Context, l Layout) error {
	if l == (Layout{}) {
		return nil
	}
	type config struct {
		Shards []struct {
			Replicas []string `json:"replicas"`
		} `json:"shards"`
	}
	for _, t := range schema {
		c, err := one[config](ctx, s, "configuration of table", t.name, r.Table(t.name).Config())
		if err != nil {
			return err
		}
		is := Layout{Shards: len(c.Shards)}
		if is.Shards > 0 {
			is.Replicas = len(c.Shards[0].Replicas)
		}
		want := Layout{cmp.Or(l.Shards, is.Shards), cmp.Or(l.Replicas, is.Replicas)}
		if is != want {
			return fmt.Errorf("table %s was there, with %d shards and %d replicas: r.db(%q).reconfigure({shards: %d, replicas: %d}) spreads all tables anew",
				t.name, is.Shards, is.Replicas, s.address.Database, want.Shards, want.Replicas)
		}
	}
	return nil
}

// makeTable makes a table and its indexes.
func (s *Store) makeTable(ctx context.Context, t *table, l Layout) error {
	create := r.TableCreate(t.name, r.TableCreateOpts{PrimaryKey: t.key, Durability: "hard", Shards: max(l.Shards, 1), Replicas: max(l.Replicas, 1)})
	if err := s.unless(ctx, r.TableList(), t.name, create); err != nil {
		return err
	}
	table := r.Table(t.name)
	if _, err := s.ask(ctx, table.Wait(r.WaitOpts{WaitFor: "all_replicas_ready"})); err != nil {
		return err
	}
	for _, i := range t.indexes {
		if err := s.unless(ctx, table.IndexList(), i.name, table.IndexCreateFunc(i.name, func(row r.Term) any { return i.of(row) })); err != nil {
			return err
		}
	}
	_, err := s.ask(ctx, table.IndexWait())
	return err
}

// unless runs make unless the list has name. Somebody else may be at it too.
func (s *Store) unless(ctx context.Context, list r.Term, name string, make r.Term) error {
	there := func() (bool, error) {
		docs, err := s.ask(ctx, list)
		if err != nil || len(docs) == 0 {
			return false, err
		}
		return slices.ContainsFunc(docs, func(doc json.RawMessage) bool {
			var names []string
			if json.Unmarshal(doc, &names) == nil {
				return slices.Contains(names, name)
			}
			return string(doc) == `"`+name+`"`
		}), nil
	}
	if is, err := there(); is || err != nil {
		return err
	}
	_, failure := s.ask(ctx, make)
	if failure != nil {
		if is, err := there(); is && err == nil {
			return nil
		}
	}
	return failure
}

// tableVersion is that of the tables that there are; 0 is none.
func (s *Store) tableVersion(ctx context.Context) (int, error) {
	type meta struct {
		Version int `json:"version"`
	}
	m, err := one[meta](ctx, s, "version of", s.address.Database, r.Table("meta", majority).Get("schema"))
	if errors.Is(err, store.ErrNotFound) || err != nil && strings.Contains(err.Error(), "does not exist") {
		return 0, nil
	}
	return m.Version, err
}

func (s *Store) newer(ctx context.Context) error {
	got, err := s.tableVersion(ctx)
	if err == nil && got > version {
		err = fmt.Errorf("%w: its tables have version %d, this piper knows %d: use the newer one", ErrNewer, got, version)
	}
	return err
}

// current sees whether the tables have the version that this piper works with.
func (s *Store) current(ctx context.Context) error {
	got, err := s.tableVersion(ctx)
	switch {
	case err != nil:
		return err
	case got == 0:
		return fmt.Errorf("there is no piper database %s: make one with piper db init --store %s", s.address.Database, s.address)
	case got < version:
		return fmt.Errorf("its tables have version %d, this piper needs %d: bring them up to date with piper db migrate --store %s", got, version, s.address)
	}
	return s.newer(ctx)
}

// ready sees whether builds are safe in the tables.
func (s *Store) ready(ctx context.Context) error {
	if err := refuse(s.checkServers(ctx)); err != nil {
		return err
	}
	if err := s.current(ctx); err != nil {
		return err
	}
	return refuse(s.checkTables(ctx))
}

// majority is how a read that decides something is made.
var majority = r.TableOpts{ReadMode: "majority"}

// near is how a read for people is made.
var near = r.TableOpts{ReadMode: "single"}
