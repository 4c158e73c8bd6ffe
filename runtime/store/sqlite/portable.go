package sqlite

import (
	"context"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

// AllBuilds implements store.Portable.
func (s *Store) AllBuilds(ctx context.Context, after build.ID, limit int) ([]store.Build, error) {
	return many[store.Build](ctx, s.reads, "SELECT doc FROM builds WHERE id > ? ORDER BY id"+atMost, after, limit)
}

// Written implements store.Portable.
func (s *Store) Written(ctx context.Context, id build.ID) (fences []int64, attempts []store.ChunkKey, err error) {
	rows, err := s.reads.QueryContext(ctx, "SELECT DISTINCT fence FROM events WHERE build = ? ORDER BY fence", id)
	if err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	for rows.Next() {
		var fence int64
		if err := rows.Scan(&fence); err != nil {
			return nil, nil, err
		}
		fences = append(fences, fence)
	}
	if err := rows.Err(); err != nil {
		return nil, nil, err
	}
	if rows, err = s.reads.QueryContext(ctx, "SELECT DISTINCT fence, node, attempt FROM chunks WHERE build = ? ORDER BY fence, node, attempt", id); err != nil {
		return nil, nil, err
	}
	defer rows.Close()
	for rows.Next() {
		key := store.ChunkKey{Build: id}
		if err := rows.Scan(&key.Fence, &key.Node, &key.Attempt); err != nil {
			return nil, nil, err
		}
		attempts = append(attempts, key)
	}
	return fences, attempts, rows.Err()
}

// AllGroups implements store.Portable.
func (s *Store) AllGroups(ctx context.Context) ([]store.Group, error) {
	return many[store.Group](ctx, s.reads, "SELECT doc FROM groups ORDER BY key")
}

// SkipNumbers implements store.Portable.
func (s *Store) SkipNumbers(ctx context.Context, last int64) error {
	return s.writes.do(ctx, func(ctx context.Context, tx *transaction) error {
		_, err := tx.ExecContext(ctx, "UPDATE counter SET value = max(value, ?)", last)
		return err
	})
}
