package transfer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"maps"
	"slices"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

// A Sum is what was the same in two stores.
type Sum struct {
	Builds    int64 `json:"builds"`
	Collected int64 `json:"collected"` // of Builds
	Events    int64 `json:"events"`
	Chunks    int64 `json:"chunks"`
	Bytes     int64 `json:"bytes"` // in Chunks
	Blobs     int64 `json:"blobs"`
	Groups    int64 `json:"groups"`
	Projects  int64 `json:"projects"`
	Tokens    int64 `json:"tokens"`

	Digest string `json:"digest"` // of all that
}

// String is the sum for a person.
func (s Sum) String() string {
	return fmt.Sprintf("%d builds (%d collected), %d events, %d chunks of output (%d bytes), %d blobs, %d groups, %d projects and %d tokens, %s",
		s.Builds, s.Collected, s.Events, s.Chunks, s.Bytes, s.Blobs, s.Groups, s.Projects, s.Tokens, s.Digest)
}

// A part is all that one store keeps of one build: how much, and its digests.
type part struct {
	Build, Happened, Wrote digest
	Events, Chunks, Bytes  int64
}

type digest [sha256.Size]byte

// differs says in what a part is not another one; "" is nothing.
func (p part) differs(q part) string {
	switch {
	case p.Build != q.Build:
		return "it is not the same in both"
	case p.Happened != q.Happened:
		return fmt.Sprintf("its events are not the same: there are %d in FROM, %d in TO", p.Events, q.Events)
	case p.Wrote != q.Wrote:
		return fmt.Sprintf("its output is not the same: there are %d bytes in FROM, %d in TO", p.Bytes, q.Bytes)
	}
	return ""
}

// compare reads both stores, and says where they differ.
func compare(ctx context.Context, from, to Store) (Sum, error) {
	sides := [2]side{{Store: from, all: sha256.New()}, {Store: to, all: sha256.New()}}
	blobs, after := map[string]bool{}, build.ID("")
	for more := true; more; {
		var builds [2][]store.Build
		for i := range sides {
			var err error
			if builds[i], err = ask(ctx, func() ([]store.Build, error) { return sides[i].AllBuilds(ctx, after, page) }); err != nil {
				return Sum{}, fmt.Errorf("list builds: %w", err)
			}
		}
		if err := alike(builds[0], builds[1]); err != nil {
			return Sum{}, err
		}
		parts := [2][]part{make([]part, len(builds[0])), make([]part, len(builds[1]))}
		err := each(ctx, len(builds[0]), func(ctx context.Context, i int) (err error) {
			b := &builds[0][i]
			for j := range sides {
				if parts[j][i], err = sides[j].read(ctx, &builds[j][i]); err != nil {
					return fmt.Errorf("read build %d: %w", b.Number, err)
				}
			}
			if what := parts[0][i].differs(parts[1][i]); what != "" {
				return fmt.Errorf("build %d (%s): %s: %w", b.Number, b.ID, what, ErrOther)
			}
			return nil
		})
		if err != nil {
			return Sum{}, err
		}
		for i := range builds[0] {
			after = builds[0][i].ID
			for j := range sides {
				sides[j].add(&builds[j][i], parts[j][i])
			}
			for _, digest := range named(&builds[0][i]) {
				blobs[digest] = true
			}
		}
		more = len(builds[0]) == page
	}
	for _, digest := range slices.Sorted(maps.Keys(blobs)) {
		for i := range sides {
			if err := sides[i].addBlob(ctx, digest); err != nil {
				return Sum{}, err
			}
		}
		if sides[0].total() != sides[1].total() {
			return Sum{}, fmt.Errorf("blob %s is not the same in both: %w", digest, ErrOther)
		}
	}
	var kept [2]records
	for i := range sides {
		var err error
		if kept[i], err = readRecords(ctx, sides[i].Store); err != nil {
			return Sum{}, err
		}
		sides[i].addRecords(kept[i])
	}
	if _, err := kept[0].without(kept[1]); err != nil {
		return Sum{}, err
	}
	if a, b := sides[0].total(), sides[1].total(); a != b {
		return Sum{}, fmt.Errorf("FROM has %s; TO has %s: %w", a, b, ErrOther)
	}
	return sides[0].total(), nil
}

// alike sees whether two pages are of the same builds.
func alike(from, to []store.Build) error {
	for i := range max(len(from), len(to)) {
		switch {
		case i >= len(to) || i < len(from) && from[i].ID < to[i].ID:
			return fmt.Errorf("build %d (%s) is in FROM alone: %w", from[i].Number, from[i].ID, ErrOther)
		case i >= len(from) || to[i].ID < from[i].ID:
			return fmt.Errorf("build %d (%s) is in TO alone: %w", to[i].Number, to[i].ID, ErrOther)
		}
	}
	return nil
}

// A side is one of two stores that are compared.
type side struct {
	Store
	sum Sum
	all hash.Hash
}

// total is the sum of what was added by now.
func (s *side) total() Sum {
	s.sum.Digest = "sha256:" + hex.EncodeToString(s.all.Sum(nil))
	return s.sum
}

// read reads what there is of a build.
func (s *side) read(ctx context.Context, b *store.Build) (p part, err error) {
	p.Build = sha256.Sum256(text(b))
	w, err := writtenIn(ctx, s.Store, b.ID)
	if err != nil {
		return p, err
	}
	happened, wrote := sha256.New(), sha256.New()
	for _, fence := range w.fences {
		for seq := int64(1); ; {
			events, err := ask(ctx, func() ([]build.Event, error) { return s.Events(ctx, b.ID, fence, seq, page) })
			if err != nil {
				return p, err
			}
			for i := range events {
				fmt.Fprintf(happened, "%d %s\n", fence, text(&events[i]))
			}
			p.Events += int64(len(events))
			if seq += int64(len(events)); len(events) < page {
				break
			}
		}
	}
	for _, key := range w.attempts {
		for {
			all, err := ask(ctx, func() ([]store.Chunk, error) { return s.Chunks(ctx, key, chunks) })
			if err != nil {
				return p, err
			}
			for _, c := range all {
				data := c.Data
				c.Data = nil
				fmt.Fprintf(wrote, "%d %s\n%s", len(data), text(&c), data)
				p.Bytes += int64(len(data))
			}
			p.Chunks += int64(len(all))
			if key.Seq += int64(len(all)); len(all) < chunks {
				break
			}
		}
	}
	happened.Sum(p.Happened[:0])
	wrote.Sum(p.Wrote[:0])
	return p, nil
}

// add adds what was read of a build.
func (s *side) add(b *store.Build, p part) {
	s.sum.Builds++
	if b.Collected {
		s.sum.Collected++
	}
	s.sum.Events += p.Events
	s.sum.Chunks += p.Chunks
	s.sum.Bytes += p.Bytes
	for _, d := range []digest{p.Build, p.Happened, p.Wrote} {
		s.all.Write(d[:])
	}
}

// addBlob adds a blob, unless it is not there.
func (s *side) addBlob(ctx context.Context, name string) error {
	data, err := ask(ctx, func() ([]byte, error) { return s.Blob(ctx, name) })
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read blob %s: %w", name, err)
	}
	s.sum.Blobs++
	fmt.Fprintf(s.all, "%s %d %s\n", name, len(data), data)
	return nil
}

func (s *side) addRecords(r records) {
	s.sum.Groups, s.sum.Projects, s.sum.Tokens = int64(len(r.groups)), int64(len(r.projects)), int64(len(r.tokens))
	s.all.Write(text([]any{r.groups, r.projects, r.tokens}))
}
