package store

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/piper-build/piper/runtime/build"
)

// Retain deletes the builds of a project that r does not want kept (Expired), and
// says how many those were.
func Retain(ctx context.Context, s Store, project string, r Retention, now time.Time) (deleted int, err error) {
	err = Expired(ctx, s, project, r, now, func(b *Build) error {
		if err := Delete(ctx, s, b); err != nil {
			return err
		}
		deleted++
		return nil
	})
	return deleted, err
}

// Expired calls expired for each build of a project that r does not want kept, the
// newest first, until that fails. Of a project "" it looks at every project's. It
// is the one place where a time that others wrote is held against a clock: what it
// decides is a matter of days.
//
// Whatever r says, these stay: builds that have not ended, or about which something
// is to be done; those that were pinned; the newest of each pipeline that succeeded;
// and what a build that has not ended came of, or waits for.
func Expired(ctx context.Context, s Store, project string, r Retention, now time.Time, expired func(*Build) error) error {
	if r == (Retention{}) {
		return nil
	}
	needed, err := needed(ctx, s)
	if err != nil {
		return err
	}
	type pipeline struct{ project, name string }
	kept, green := map[pipeline]int{}, map[pipeline]bool{}
	sizes := map[string]int64{} // of the builds of a project that are kept
	for cursor := ""; ; {
		page, next, err := s.List(ctx, Filter{Project: project}, cursor, 100)
		if err != nil {
			return err
		}
		for i := range page {
			b := &page[i]
			if b.Collected {
				continue
			}
			of := pipeline{b.Request.Project, b.Request.Pipeline}
			stays := !b.Terminal() || len(b.Pending) > 0 || b.Pinned || needed[b.ID]
			if b.State == build.Success && !green[of] {
				green[of], stays = true, true
			}
			size := int64(0)
			if r.Size > 0 {
				if size, err = Size(ctx, s, b); err != nil {
					return err
				}
			}
			old := r.Age > 0 && now.Sub(b.Ended) > time.Duration(r.Age)
			much := r.Count > 0 && kept[of] >= r.Count || r.Size > 0 && sizes[of.project]+size > r.Size
			if stays || !old && !much {
				sizes[of.project] += size
				if b.Terminal() {
					kept[of]++
				}
				continue
			}
			if err := expired(b); err != nil {
				return err
			}
		}
		if cursor = next; cursor == "" {
			return nil
		}
	}
}

// needed are the builds that those which have not ended came of, or wait for.
func needed(ctx context.Context, s Store) (map[build.ID]bool, error) {
	ids := map[build.ID]bool{}
	queued, err := s.Queue(ctx, "", math.MaxInt32)
	if err != nil {
		return nil, err
	}
	running, err := s.Running(ctx, "")
	if err != nil {
		return nil, err
	}
	for _, b := range append(queued, running...) {
		ids[b.Request.Cause.Build] = true
		for _, out := range b.Outbox {
			ids[out.Child] = true
		}
	}
	return ids, nil
}

// Size is how many bytes the attempts of a build wrote, with those that were left
// out. It asks for each of them.
func Size(ctx context.Context, s Store, b *Build) (size int64, err error) {
	const batch = 1000
	for fence := b.Fence; fence > 0; fence-- {
		for seq := int64(1); ; seq += batch {
			events, err := s.Events(ctx, b.ID, fence, seq, batch)
			if err != nil {
				return 0, err
			}
			for _, ev := range events {
				if ev.Kind != build.AttemptStarted {
					continue
				}
				key := ChunkKey{Build: b.ID, Fence: fence, Node: ev.Node, Attempt: ev.Attempt}
				next, err := s.ChunkAt(ctx, key, math.MaxInt64)
				if err != nil {
					return 0, err
				}
				if key.Seq = next - 1; next == 0 {
					continue
				}
				last, err := s.Chunks(ctx, key, 1)
				if err != nil {
					return 0, err
				}
				for _, c := range last {
					size += c.Offset + int64(len(c.Data))
				}
			}
			if len(events) < batch {
				break
			}
		}
	}
	return size, nil
}

// Delete deletes all but what names a build that has ended. What is interrupted
// can be done again.
func Delete(ctx context.Context, s Store, b *Build) error {
	now, err := s.Build(ctx, b.ID) // it may have been pinned since it was read
	if err == nil && !now.Collected {
		_, _, err = now.Changed(Collect{})
	}
	if err != nil {
		return fmt.Errorf("collect build %d: %w", b.Number, err)
	}
	if err := s.Purge(ctx, b.ID); err != nil {
		return fmt.Errorf("purge build %d: %w", b.Number, err)
	}
	if _, err := s.Change(ctx, b.ID, Collect{}); err != nil {
		return fmt.Errorf("collect build %d: %w", b.Number, err)
	}
	return nil
}
