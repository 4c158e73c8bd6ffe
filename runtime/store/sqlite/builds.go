package sqlite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

// NextNumber implements store.Builds.
func (s *Store) NextNumber(ctx context.Context) (int64, error) {
	return get(ctx, s.writes, func(ctx context.Context, tx *transaction) (n int64, err error) {
		err = tx.QueryRowContext(ctx, "UPDATE counter SET value = value + 1 RETURNING value").Scan(&n)
		return n, err
	})
}

// Enqueue implements store.Builds.
func (s *Store) Enqueue(ctx context.Context, b store.Build) (store.Build, error) {
	made, err := get(ctx, s.writes, func(ctx context.Context, tx *transaction) (store.Build, error) {
		had, err := one[store.Build](ctx, tx, "build", b.ID, "SELECT doc FROM builds WHERE id = ?", b.ID)
		switch {
		case errors.Is(err, store.ErrNotFound):
		case err != nil:
			return had, err
		case had.Hash != b.Hash:
			return had, fmt.Errorf("enqueue build %s: it was asked for with other words, as number %d: %w", b.ID, had.Number, store.ErrConflict)
		default:
			return had, nil
		}
		made := b
		made.Rev = max(made.Rev, 1)
		return made, put(ctx, tx, made)
	})
	if err != nil {
		return store.Build{}, err
	}
	s.watch.Tell(store.Hint{Build: b.ID})
	return made, nil
}

// put writes b, which is new, and the columns that its indexes need.
func put(ctx context.Context, tx execer, b store.Build) error {
	doc, err := json.Marshal(b)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO builds (number, id, state, project, pipeline, owner, choice, parent, priority, pending, collected, doc)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		b.Number, b.ID, b.State, b.Request.Project, b.Request.Pipeline, b.Owner, b.FirstChoice, b.Request.Cause.Build, b.Priority(), len(b.Pending), b.Collected, doc)
	return err
}

// replace writes what became of a build. It leaves the columns alone that do not
// change: SQLite writes each index anew that knows of one that is set.
func replace(ctx context.Context, tx execer, was, is store.Build) error {
	doc, err := json.Marshal(is)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "UPDATE builds SET state = ?, owner = ?, choice = ?, pending = ?, doc = ? WHERE number = ?",
		is.State, is.Owner, is.FirstChoice, len(is.Pending), doc, is.Number)
	if err == nil && was.Collected != is.Collected {
		_, err = tx.ExecContext(ctx, "UPDATE builds SET collected = ? WHERE number = ?", is.Collected, is.Number)
	}
	return err
}

// Build implements store.Builds.
func (s *Store) Build(ctx context.Context, id build.ID) (store.Build, error) {
	return one[store.Build](ctx, s.reads, "build", id, "SELECT doc FROM builds WHERE id = ?", id)
}

// BuildNumbered implements store.Builds.
func (s *Store) BuildNumbered(ctx context.Context, number int64) (store.Build, error) {
	return one[store.Build](ctx, s.reads, "build", number, "SELECT doc FROM builds WHERE number = ?", number)
}

// Change implements store.Builds.
func (s *Store) Change(ctx context.Context, id build.ID, c store.Change) (store.Build, error) {
	type change struct {
		after   store.Build
		differs bool
	}
	made, err := get(ctx, s.writes, func(ctx context.Context, tx *transaction) (made change, err error) {
		b, err := one[store.Build](ctx, tx, "build", id, "SELECT doc FROM builds WHERE id = ?", id)
		if err != nil {
			return made, err
		}
		if made.after, made.differs, err = b.Changed(c); err != nil || !made.differs {
			return made, err
		}
		return made, replace(ctx, tx, b, made.after)
	})
	if made.differs {
		s.watch.Tell(store.Hint{Build: id})
	}
	return made.after, err
}

// List implements store.Builds. The cursor is the number of the last build of
// the page before.
func (s *Store) List(ctx context.Context, f store.Filter, cursor string, limit int) ([]store.Build, string, error) {
	where, args := []string{"collected = 0"}, []any{}
	add := func(condition string, value any) {
		where, args = append(where, condition), append(args, value)
	}
	if cursor != "" {
		before, err := strconv.ParseInt(cursor, 10, 64)
		if err != nil || before <= 0 {
			return nil, "", fmt.Errorf("list builds: %q: %w", cursor, store.ErrCursor)
		}
		add("number < ?", before)
	}
	if f.Project != "" {
		add("project = ?", f.Project)
	}
	if f.Pipeline != "" {
		add("pipeline = ?", f.Pipeline)
	}
	if f.State != "" {
		add("state = ?", f.State)
	}
	if f.Owner != "" {
		add("owner = ?", f.Owner)
	}
	if f.Parent != "" {
		add("parent <> '' AND parent = ?", f.Parent)
	}
	found, err := many[store.Build](ctx, s.reads, "SELECT doc FROM builds WHERE "+strings.Join(where, " AND ")+" ORDER BY number DESC"+atMost, append(args, limit+1)...)
	if err != nil || len(found) <= limit {
		return found, "", err
	}
	return found[:limit], strconv.FormatInt(found[limit-1].Number, 10), nil
}

// atMost ends a query. SQLite plans by a parameter that stands alone there, so that it
// would prepare the statement anew each time that it is used.
const atMost = " LIMIT ? + 0"

// Queue implements store.Builds.
func (s *Store) Queue(ctx context.Context, choice store.AgentID, limit int) ([]store.Build, error) {
	const order = " ORDER BY priority DESC, number" + atMost
	if choice == "" {
		return many[store.Build](ctx, s.reads, "SELECT doc FROM builds WHERE state = 'queued'"+order, limit)
	}
	return many[store.Build](ctx, s.reads, "SELECT doc FROM builds WHERE state = 'queued' AND choice = ?"+order, choice, limit)
}

// Running implements store.Builds.
func (s *Store) Running(ctx context.Context, owner store.AgentID) ([]store.Build, error) {
	if owner == "" {
		return many[store.Build](ctx, s.reads, "SELECT doc FROM builds WHERE state = 'running' ORDER BY number")
	}
	return many[store.Build](ctx, s.reads, "SELECT doc FROM builds WHERE state = 'running' AND owner = ? ORDER BY number", owner)
}

// Unsettled implements store.Builds.
func (s *Store) Unsettled(ctx context.Context, limit int) ([]store.Build, error) {
	return many[store.Build](ctx, s.reads, "SELECT doc FROM builds WHERE pending > 0 ORDER BY number"+atMost, limit)
}
