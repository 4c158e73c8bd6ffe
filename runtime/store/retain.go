package store

import (
	"context"
	"fmt"
	"time"
)

// Retain deletes the builds of a project that r does not want kept, and says how
// many those were. Of a project "" it looks at every project's. It is the one
// place where a time that others wrote is held against a clock: what it decides
// is a matter of days. Builds that have not ended, or have something left to be
// done, stay.
func Retain(ctx context.Context, s Store, project string, r Retention, now time.Time) (deleted int, err error) {
	if r == (Retention{}) {
		return 0, nil
	}
	type pipeline struct{ project, name string }
	kept := map[pipeline]int{}
	for cursor := ""; ; {
		page, next, err := s.List(ctx, Filter{Project: project}, cursor, 100)
		if err != nil {
			return deleted, err
		}
		for i := range page {
			b := &page[i]
			if !b.Terminal() || len(b.Pending) > 0 {
				continue
			}
			of := pipeline{b.Request.Project, b.Request.Pipeline}
			old := r.Age > 0 && now.Sub(b.Ended) > time.Duration(r.Age)
			much := r.Count > 0 && kept[of] >= r.Count
			if !old && !much {
				kept[of]++
				continue
			}
			if err := Delete(ctx, s, b); err != nil {
				return deleted, err
			}
			deleted++
		}
		if cursor = next; cursor == "" {
			return deleted, nil
		}
	}
}

// Delete deletes all but what names a build that has ended. What is interrupted
// can be done again.
func Delete(ctx context.Context, s Store, b *Build) error {
	if err := s.Purge(ctx, b.ID); err != nil {
		return fmt.Errorf("purge build %d: %w", b.Number, err)
	}
	if _, err := s.Change(ctx, b.ID, Collect{}); err != nil {
		return fmt.Errorf("collect build %d: %w", b.Number, err)
	}
	return nil
}
