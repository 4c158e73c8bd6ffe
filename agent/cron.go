package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/bmatcuk/doublestar/v4"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

// schedules makes the builds that on.cron asks for, of all projects.
//
// Every agent does. A build's ID is derived from the minute for which it is made,
// so it is made once; which minutes are done with is kept in the project, so that
// one who comes later knows what was missed.
func (l *life) schedules(ctx context.Context) {
	l.every(ctx, "cron", l.Timings.Cron, func(ctx context.Context) {
		projects, err := l.Store.Projects(ctx)
		if err != nil {
			l.log.Warn("look for schedules", "error", err)
			return
		}
		for _, p := range projects {
			if err := l.schedule(ctx, p, l.clock()); err != nil && ctx.Err() == nil {
				l.log.Warn("follow the schedules of a project", "project", p.Name, "error", err)
			}
		}
	})
}

// schedule makes the builds of one project that are due.
func (l *life) schedule(ctx context.Context, p store.Project, at time.Time) error {
	zone, err := time.LoadLocation(p.Zone)
	if err != nil {
		return fmt.Errorf("its zone: %w", err)
	}
	catalog, err := l.catalog(ctx, p, "")
	if err != nil {
		return err
	}
	minute := at.Truncate(time.Minute)
	done := map[string]time.Time{}
	var problems []error
	for _, pipeline := range catalog.Pipelines {
		for _, on := range pipeline.On {
			if on.Kind != "cron" {
				continue
			}
			key := pipeline.Name + " " + on.Schedule
			last, known := p.Scheduled[key]
			if !known { // it is new: what was before is none of its business
				done[key] = minute
				continue
			}
			done[key] = last
			minutes, err := due(on.Schedule, zone, last, minute)
			if err != nil {
				problems = append(problems, err)
				continue
			}
			for _, m := range caughtUp(on.CatchUp, minutes, at, 3*l.Timings.Cron+time.Minute) {
				if err := l.onTime(ctx, p, pipeline.Name, on, m); err != nil {
					problems = append(problems, err)
					minutes = slices.DeleteFunc(minutes, func(o time.Time) bool { return !o.Before(m) })
					break
				}
			}
			if len(minutes) > 0 {
				done[key] = minutes[len(minutes)-1]
			}
		}
	}
	if !maps.EqualFunc(done, p.Scheduled, time.Time.Equal) && !(len(catalog.Pipelines) == 0) {
		p.Scheduled = done
		// A conflict says that somebody changed the project: the next time.
		if _, err := l.Store.PutProject(ctx, p); err != nil && !errors.Is(err, store.ErrConflict) {
			problems = append(problems, err)
		}
	}
	return errors.Join(problems...)
}

// caughtUp returns for which of the minutes that are due there is to be a build.
// Those that were late is only who was not there at the time.
func caughtUp(policy string, minutes []time.Time, at time.Time, late time.Duration) []time.Time {
	i := slices.IndexFunc(minutes, func(m time.Time) bool { return at.Sub(m) <= late })
	switch {
	case policy == "all":
		return minutes
	case i >= 0:
		return minutes[i:]
	case policy == "none" || len(minutes) == 0:
		return nil
	}
	return minutes[len(minutes)-1:]
}

// onTime makes the builds of one minute, as the schedule's overlap wants it.
func (l *life) onTime(ctx context.Context, p store.Project, pipeline string, on plan.On, minute time.Time) error {
	branches, err := l.branches(ctx, p, on.Branches)
	if err != nil {
		return err
	}
	for _, branch := range branches {
		r := store.Request{Project: p.Name, Pipeline: pipeline, Ref: branch,
			Event: plan.Event{Kind: "cron", Branch: branch, Time: minute}, Cause: store.Cause{Kind: "cron"}}
		parts := []string{"cron", p.Name, pipeline, on.Schedule, minute.Format(time.RFC3339)}
		if len(on.Branches) > 0 {
			parts = append(parts, branch)
		}
		id := store.Derive(parts...)
		switch _, err := l.Store.Build(ctx, id); {
		case err == nil:
			continue // somebody was faster
		case !errors.Is(err, store.ErrNotFound):
			return err
		}
		if skip, err := l.overlap(ctx, on.Overlap, r); err != nil || skip {
			if err != nil {
				return err
			}
			l.log.Info("schedule skipped", "project", p.Name, "pipeline", pipeline, "minute", minute, "why", "the last one still runs")
			continue
		}
		if err := l.enqueue(ctx, id, r); err != nil {
			return err
		}
	}
	return nil
}

// overlap sees to the builds of the same schedule that have not ended. It reports
// whether there is to be no other one because of them.
func (l *life) overlap(ctx context.Context, policy string, r store.Request) (skip bool, err error) {
	if policy == "queue" {
		return false, nil
	}
	for _, state := range []build.State{build.Queued, build.Running} {
		for cursor := ""; ; {
			page, next, err := l.Store.List(ctx, store.Filter{Project: r.Project, Pipeline: r.Pipeline, State: state}, cursor, 100)
			if err != nil {
				return false, err
			}
			for _, b := range page {
				if b.Request.Cause.Kind != "cron" || b.Request.Ref != r.Ref || !b.Request.Event.Time.Before(r.Event.Time) {
					continue
				}
				if policy != "cancel" {
					return true, nil
				}
				_, err := l.Store.Change(ctx, b.ID, store.RequestCancel{Cancel: store.Cancel{By: "cron", Reason: "the next one is due"}, At: l.clock()})
				if err != nil {
					return false, err
				}
			}
			if cursor = next; cursor == "" {
				break
			}
		}
	}
	return false, nil
}

// branches are those that patterns name; with none, the one that the project
// builds.
func (l *life) branches(ctx context.Context, p store.Project, patterns []string) ([]string, error) {
	if len(patterns) == 0 {
		return []string{p.Ref}, nil
	}
	if !slices.ContainsFunc(patterns, func(s string) bool { return strings.ContainsAny(s, `*?[{\`) }) {
		return patterns, nil
	}
	all, err := l.Sources.Branches(ctx, p)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(branch string) bool {
		return !slices.ContainsFunc(patterns, func(pattern string) bool { return doublestar.MatchUnvalidated(pattern, branch) })
	}), nil
}
