package agent

import (
	"context"

	"github.com/piper-build/piper/runtime/logs"
	"github.com/piper-build/piper/runtime/store"
)

// retention deletes the builds that their projects do not want to keep.
func (l *life) retention(ctx context.Context) {
	s := l.Store
	if l.Index != nil {
		s = logs.Indexed(s, l.Index)
	}
	l.every(ctx, "retain", l.Timings.Retain, func(ctx context.Context) {
		projects, err := l.Store.Projects(ctx)
		if err != nil {
			l.log.Warn("look for builds to delete", "error", err)
			return
		}
		for _, p := range projects {
			if n, err := store.Retain(ctx, s, p.Name, p.Retention, l.clock()); err != nil && ctx.Err() == nil {
				l.log.Warn("delete builds", "project", p.Name, "error", err)
			} else if n > 0 {
				l.log.Info("builds deleted", "project", p.Name, "count", n)
			}
		}
	})
}
