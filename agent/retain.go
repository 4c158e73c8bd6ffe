package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/piper-build/piper/runtime/store"
)

// retention deletes the builds that their projects do not want to keep. It is the
// one place where a time that others wrote is held against a clock: what it
// decides is a matter of days.
func (l *life) retention(ctx context.Context) {
	l.every(ctx, "retain", l.Timings.Retain, func(ctx context.Context) {
		projects, err := l.Store.Projects(ctx)
		if err != nil {
			l.log.Warn("look for builds to delete", "error", err)
			return
		}
		for _, p := range projects {
			if p.Retention == (store.Retention{}) {
				continue
			}
			if n, err := l.retain(ctx, p); err != nil && ctx.Err() == nil {
				l.log.Warn("delete builds", "project", p.Name, "error", err)
			} else if n > 0 {
				l.log.Info("builds deleted", "project", p.Name, "count", n)
			}
		}
	})
}

// retain deletes what is too old or too much of one project.
func (l *life) retain(ctx context.Context, p store.Project) (deleted int, err error) {
	kept := map[string]int{} // by pipeline
	for cursor := ""; ; {
		page, next, err := l.Store.List(ctx, store.Filter{Project: p.Name}, cursor, 100)
		if err != nil {
			return deleted, err
		}
		for i := range page {
			b := &page[i]
			if !b.Terminal() || len(b.Pending) > 0 {
				continue
			}
			old := p.Retention.Age > 0 && time.Since(b.Ended) > time.Duration(p.Retention.Age)
			much := p.Retention.Count > 0 && kept[b.Request.Pipeline] >= p.Retention.Count
			if !old && !much {
				kept[b.Request.Pipeline]++
				continue
			}
			// In this order: what is interrupted between is done again.
			if err := l.Store.Purge(ctx, b.ID); err != nil {
				return deleted, fmt.Errorf("purge build %d: %w", b.Number, err)
			}
			if _, err := l.Store.Change(ctx, b.ID, store.Collect{}); err != nil {
				return deleted, fmt.Errorf("collect build %d: %w", b.Number, err)
			}
			deleted++
		}
		if cursor = next; cursor == "" {
			return deleted, nil
		}
	}
}
