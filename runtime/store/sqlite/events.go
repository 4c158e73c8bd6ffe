package sqlite

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

// AppendEvents implements store.Events.
func (s *Store) AppendEvents(ctx context.Context, key store.EventKey, events []build.Event) error {
	doc, err := json.Marshal(events)
	if err != nil {
		return err
	}
	err = s.writes.do(ctx, func(ctx context.Context, tx *transaction) error {
		var had []byte
		err := tx.QueryRowContext(ctx, "SELECT doc FROM events WHERE build = ? AND fence = ? AND seq = ?", key.Build, key.Fence, key.Seq).Scan(&had)
		switch {
		case errors.Is(err, sql.ErrNoRows):
		case err != nil:
			return err
		case !bytes.Equal(had, doc):
			return fmt.Errorf("append events %d of build %s: other ones are there: %w", key.Seq, key.Build, store.ErrConflict)
		default:
			return nil
		}
		_, err = tx.ExecContext(ctx, "INSERT INTO events VALUES (?, ?, ?, ?, ?)", key.Build, key.Fence, key.Seq, len(events), doc)
		return err
	})
	if err == nil {
		s.watch.Tell(store.Hint{Build: key.Build})
	}
	return err
}

// Events implements store.Events.
func (s *Store) Events(ctx context.Context, id build.ID, fence, seq int64, limit int) (found []build.Event, err error) {
	// The batch that seq lies in may begin before it.
	rows, err := s.reads.QueryContext(ctx, `SELECT doc FROM events WHERE build = ?1 AND fence = ?2 AND seq >= coalesce(
		(SELECT max(seq) FROM events WHERE build = ?1 AND fence = ?2 AND seq <= ?3), ?3) ORDER BY seq`, id, fence, seq)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for len(found) < limit && rows.Next() {
		var doc []byte
		if err := rows.Scan(&doc); err != nil {
			return nil, err
		}
		var batch []build.Event
		if err := json.Unmarshal(doc, &batch); err != nil {
			return nil, fmt.Errorf("read events of build %s: %w", id, err)
		}
		before := seq
		for _, ev := range batch {
			if ev.Seq == seq && len(found) < limit {
				found = append(found, ev)
				seq++
			}
		}
		if seq == before {
			break // a gap
		}
	}
	return found, rows.Err()
}
