package rethinkdb

import (
	"context"
	"fmt"

	r "gopkg.in/rethinkdb/rethinkdb-go.v6"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

// Events and chunks have keys that sort as they follow each other: numbers are
// written in hexadecimal, all as long. A build's begin with its ID and a slash.
const (
	afterSlash = "0" // the character after it
	digits     = "%010x"
)

func eventKey(key store.EventKey) string {
	return fmt.Sprintf("%s/"+digits+"/"+digits, key.Build, key.Fence, key.Seq)
}

// AppendEvents implements store.Events.
func (s *Store) AppendEvents(ctx context.Context, key store.EventKey, events []build.Event) error {
	doc, err := document(struct {
		ID     string        `json:"id"`
		Build  build.ID      `json:"build"`
		Events []build.Event `json:"events"`
	}{eventKey(key), key.Build, events})
	if err != nil {
		return err
	}
	if _, err = s.write(ctx, r.Table("events").Insert(doc, r.InsertOpts{Durability: "hard", Conflict: same})); err != nil {
		return fmt.Errorf("append events %d of build %s: %w", key.Seq, key.Build, err)
	}
	return nil
}

// same leaves what is there as it is, and refuses what is another one.
func same(_, had, put r.Term) any { return r.Branch(had.Eq(put), had, r.Error(conflicting)) }

// batches is how many documents of events or chunks are read at once.
const batches = 64

// Events implements store.Events.
func (s *Store) Events(ctx context.Context, id build.ID, fence, seq int64, limit int) (found []build.Event, err error) {
	first := eventKey(store.EventKey{Build: id, Fence: fence})
	last := fmt.Sprintf("%s/"+digits+afterSlash, id, fence)
	all := r.Table("events", majority)
	type batch struct {
		Events []build.Event `json:"events"`
	}
	for len(found) < limit {
		// What seq lies in may begin before it: then nothing begins there.
		key := eventKey(store.EventKey{Build: id, Fence: fence, Seq: seq})
		term := all.Between(key, last).OrderBy(r.OrderByOpts{Index: "id"}).Limit(batches)
		got, err := many[batch](ctx, s, term)
		if err == nil && (len(got) == 0 || got[0].Events[0].Seq != seq) {
			got, err = many[batch](ctx, s, all.Between(first, key).OrderBy(r.OrderByOpts{Index: r.Desc("id")}).Limit(1))
		}
		if err != nil {
			return nil, fmt.Errorf("read events of build %s: %w", id, err)
		}
		before := seq
		for _, b := range got {
			for _, ev := range b.Events {
				if ev.Seq == seq && len(found) < limit {
					found = append(found, ev)
					seq++
				}
			}
		}
		if seq == before {
			return found, nil
		}
	}
	return found, nil
}

// Purge implements store.Purger.
func (s *Store) Purge(ctx context.Context, id build.ID) error {
	const some = 1000 // a statement that deletes for long is given up
	for _, table := range []string{"events", "logs"} {
		for more := true; more; {
			w, err := s.write(ctx, r.Table(table).Between(string(id)+"/", string(id)+afterSlash).Limit(some).Delete(r.DeleteOpts{Durability: "hard"}))
			if err != nil {
				return fmt.Errorf("purge build %s: %w", id, err)
			}
			more = w.Deleted > 0
		}
	}
	return nil
}
