package rethinkdb

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	r "gopkg.in/rethinkdb/rethinkdb-go.v6"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

// NextNumber implements store.Builds.
func (s *Store) NextNumber(ctx context.Context) (int64, error) {
	w, err := s.write(ctx, r.Table("counters").Get("builds").Replace(func(row r.Term) any {
		return map[string]any{"id": "builds", "value": row.Field("value").Default(0).Add(1)}
	}, r.ReplaceOpts{Durability: "hard", ReturnChanges: "always"}))
	if err != nil {
		return 0, fmt.Errorf("draw a number: %w", err)
	}
	var drawn struct {
		Value int64 `json:"value"`
	}
	return drawn.Value, w.changed(&drawn)
}

// changed reads the document that a write left.
func (w *written) changed(to any) error {
	if len(w.Changes) != 1 {
		return fmt.Errorf("%w: a write does not say what it left", store.ErrInDoubt)
	}
	return json.Unmarshal(w.Changes[0].New, to)
}

// Enqueue implements store.Builds.
func (s *Store) Enqueue(ctx context.Context, b store.Build) (had store.Build, err error) {
	b.Rev = max(b.Rev, 1)
	doc, err := document(b)
	if err != nil {
		return had, err
	}
	w, err := s.write(ctx, r.Table("builds").Insert(doc, r.InsertOpts{Durability: "hard", ReturnChanges: "always", Conflict: keep}))
	if err == nil {
		err = w.changed(&had)
	}
	switch {
	case err != nil:
		return store.Build{}, fmt.Errorf("enqueue build %s: %w", b.ID, err)
	case had.Hash != b.Hash:
		return store.Build{}, fmt.Errorf("enqueue build %s: it was asked for with other words, as number %d: %w", b.ID, had.Number, store.ErrConflict)
	}
	s.seen.put(had)
	return had, nil
}

// keep leaves what is there as it is.
func keep(_, had, _ r.Term) any { return had }

// Build implements store.Builds.
func (s *Store) Build(ctx context.Context, id build.ID) (store.Build, error) {
	b, err := one[store.Build](ctx, s, "build", id, r.Table("builds", majority).Get(string(id)))
	if err == nil {
		s.seen.put(b)
	}
	return b, err
}

// BuildNumbered implements store.Builds.
func (s *Store) BuildNumbered(ctx context.Context, number int64) (store.Build, error) {
	return one[store.Build](ctx, s, "build", number, r.Table("builds", majority).GetAllByIndex("number", number).Limit(1))
}

// Change implements store.Builds. It begins with the build as this process saw it
// last: a change is made of that revision only, so when it is made, nothing else had
// happened. What it would refuse, or do nothing about, it reads first.
func (s *Store) Change(ctx context.Context, id build.ID, c store.Change) (store.Build, error) {
	b, seen := s.seen.get(id)
	for ; ; seen = false {
		if !seen {
			var err error
			if b, err = s.Build(ctx, id); err != nil {
				return store.Build{}, err
			}
		}
		after, differs, err := b.Changed(c)
		switch {
		case seen && (err != nil || !differs):
			continue
		case err != nil:
			return store.Build{}, err
		case !differs:
			return after, nil
		}
		switch done, err := s.replace(ctx, r.Table("builds").Get(string(id)), after, b.Rev); {
		case err != nil:
			return store.Build{}, fmt.Errorf("change build %s: %w", id, err)
		case done:
			s.seen.put(after)
			return after, nil
		}
	}
}

// Sights are builds as they were seen last, of which some are forgotten.
type sights struct {
	mu       sync.Mutex
	new, old map[build.ID][]byte // JSON, which nobody changes
}

// mostSights is how many builds one of the maps has.
const mostSights = 256

func (s *sights) put(builds ...store.Build) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range builds {
		text, err := json.Marshal(b)
		if err != nil {
			continue
		}
		if s.new == nil || len(s.new) == mostSights {
			s.new, s.old = map[build.ID][]byte{}, s.new
		}
		s.new[b.ID] = text
	}
}

func (s *sights) get(id build.ID) (b store.Build, ok bool) {
	s.mu.Lock()
	text := s.new[id]
	if text == nil {
		text = s.old[id]
	}
	s.mu.Unlock()
	return b, text != nil && json.Unmarshal(text, &b) == nil
}

// replace puts v in the place of a document if that has the revision rev still;
// 0 is that of none. Fields that this piper does not know stay: a newer one may
// share the database.
func (s *Store) replace(ctx context.Context, at r.Term, v any, rev int64) (done bool, err error) {
	doc, err := document(v)
	if err != nil {
		return false, err
	}
	w, err := s.write(ctx, at.Replace(func(row r.Term) any {
		rest := r.Branch(row.Eq(nil), map[string]any{}, row.Without(known(reflect.TypeOf(v))...))
		return r.Branch(row.Field("rev").Default(0).Eq(rev), rest.Merge(doc), row)
	}, r.ReplaceOpts{Durability: "hard"}))
	return w.Replaced+w.Inserted == 1, err
}

var fields sync.Map // of known, by type

// known are the fields of documents of a type.
func known(of reflect.Type) []any {
	if names, ok := fields.Load(of); ok {
		return names.([]any)
	}
	var names []any
	for i := range of.NumField() {
		name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
		names = append(names, name)
	}
	fields.Store(of, names)
	return names
}

// List implements store.Builds. The cursor is the number of the last build of
// the page before.
func (s *Store) List(ctx context.Context, f store.Filter, cursor string, limit int) ([]store.Build, string, error) {
	var before any = r.MaxVal
	if cursor != "" {
		number, err := strconv.ParseInt(cursor, 10, 64)
		if err != nil || number <= 0 {
			return nil, "", fmt.Errorf("list builds: %q: %w", cursor, store.ErrCursor)
		}
		before = number
	}
	found, err := many[store.Build](ctx, s, page(f, before).Limit(limit+1))
	if err != nil {
		return nil, "", fmt.Errorf("list builds: %w", err)
	}
	if len(found) <= limit {
		return found, "", nil
	}
	return found[:limit], strconv.FormatInt(found[limit-1].Number, 10), nil
}

// page are the builds with a number under before that f picks, newest first: those
// that the narrowest index has, and of them those that it says nothing of. Who asks
// for builds that have not ended may decide by them, and hears it from a majority.
//
// A page by one field, or by project and pipeline, reads what it has and no more. One
// by more is walked to until it is full: a project's or a pipeline's in a state that
// is an end, through all of its builds; those that are queued or run, through all
// that are; an owner's or a parent's, through those few.
func page(f store.Filter, before any) r.Term {
	rest := map[string]func(row r.Term) r.Term{}
	if f.State != "" {
		rest["state"] = is(f.State)
	}
	if f.Project != "" {
		rest["project"] = func(row r.Term) r.Term { return asked(row, "project").Eq(f.Project) }
	}
	if f.Pipeline != "" {
		rest["pipeline"] = func(row r.Term) r.Term { return asked(row, "pipeline").Eq(f.Pipeline) }
	}
	if f.Owner != "" {
		rest["owner"] = func(row r.Term) r.Term { return row.Field("owner").Default("").Eq(string(f.Owner)) }
	}
	open := f.State == build.Queued || f.State == build.Running
	index, prefix := "newest", []any{}
	switch {
	case f.Parent != "":
		index, prefix = "parent", []any{string(f.Parent)}
	case f.Owner != "":
		index, prefix = "owner", []any{string(f.Owner)}
	case open:
		index, prefix = "state", []any{string(f.State)}
	case f.Pipeline != "":
		index, prefix = "pipeline", []any{f.Project, f.Pipeline}
		delete(rest, "project")
	case f.Project != "":
		index, prefix = "project", []any{f.Project}
	case f.State != "":
		index, prefix = "state", []any{string(f.State)}
	}
	delete(rest, index)
	low, high := any(r.MinVal), before
	if len(prefix) > 0 {
		low, high = append(prefix[:len(prefix):len(prefix)], r.MinVal), append(prefix[:len(prefix):len(prefix)], before)
	}
	mode := near
	if open {
		mode = majority
	}
	term := r.Table("builds", mode).Between(low, high, r.BetweenOpts{Index: index}).OrderBy(r.OrderByOpts{Index: r.Desc(index)})
	for _, condition := range rest {
		term = term.Filter(func(row r.Term) r.Term { return condition(row) })
	}
	return term
}

// current are builds as they are, for who decides by them.
func current() r.Term { return r.Table("builds", majority) }

func running() r.Term   { return inOrder(current(), "state", string(build.Running)) }
func unsettled() r.Term { return current().OrderBy(r.OrderByOpts{Index: "pending"}) }
func queued() r.Term    { return current().OrderBy(r.OrderByOpts{Index: "queue"}) }

// Overview implements store.Overviewer. The server works out what a function is given
// before it calls that, so what runs is read first. It makes no array of more than
// 100,000 builds.
func (s *Store) Overview(ctx context.Context, mostUnsettled, mostQueued int) (store.Overview, error) {
	o, err := one[store.Overview](ctx, s, "overview", "of builds and agents", running().CoerceTo("array").Do(func(running r.Term) any {
		return map[string]any{
			"running":   running,
			"unsettled": unsettled().Limit(mostUnsettled).CoerceTo("array"),
			"queue":     queued().Limit(mostQueued).CoerceTo("array"),
			"agents":    agents().CoerceTo("array"),
		}
	}))
	slices.SortFunc(o.Agents, byName)
	return o, err
}

// Queue implements store.Builds.
func (s *Store) Queue(ctx context.Context, choice store.AgentID, limit int) ([]store.Build, error) {
	term := queued()
	if choice != "" {
		term = inOrder(current(), "choice", string(choice))
	}
	queue, err := many[store.Build](ctx, s, term.Limit(limit))
	if choice != "" { // to claim them
		s.seen.put(queue...)
	}
	return queue, err
}

// inOrder are the documents of a compound index that begins with first, in its
// order.
func inOrder(term r.Term, index, first string) r.Term {
	return term.Between([]any{first, r.MinVal}, []any{first, r.MaxVal}, r.BetweenOpts{Index: index}).OrderBy(r.OrderByOpts{Index: index})
}

// Running implements store.Builds.
func (s *Store) Running(ctx context.Context, owner store.AgentID) ([]store.Build, error) {
	if owner == "" {
		return many[store.Build](ctx, s, running())
	}
	return many[store.Build](ctx, s, inOrder(current(), "owner", string(owner)))
}

// Unsettled implements store.Builds.
func (s *Store) Unsettled(ctx context.Context, limit int) ([]store.Build, error) {
	return many[store.Build](ctx, s, unsettled().Limit(limit))
}
