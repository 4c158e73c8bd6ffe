// Package transfer takes all that one store keeps into another one.
//
// Nothing that is there is ever replaced. What a build wrote and names comes
// before the build, and projects and tokens come last: a build that is there is
// there as a whole, and a store in which a copy was cut off lets nobody in. To go
// on, copy again: what is there and the same is passed over.
//
// Agents are not copied: they are those of a moment. A build that runs comes as it
// stands, and whoever works on the other store finds that its agent is lost.
//
// What nobody can read is not copied either: events and chunks behind a gap, which
// an agent leaves that dies while it writes.
package transfer

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/store"
)

var (
	// ErrInUse says that others may change a store meanwhile.
	ErrInUse = errors.New("in use")

	// ErrOther says that TO keeps what is not a copy of FROM.
	ErrOther = errors.New("TO is not a copy of FROM")
)

// A Store can be copied, and copied to. Errors call the one FROM, the other TO.
type Store interface {
	store.Store
	store.Portable
}

// Options are how a store is copied. The zero Options are those of stores that
// nobody uses.
type Options struct {
	Force    bool               // copy although a store may be in use
	Progress func(builds int64) // told now and then how many were looked at; nil is nobody
}

const (
	page     = 100         // builds, or events, that are read at a time
	chunks   = 16          // at a time: a megabyte
	workers  = 8           // builds that are copied at once
	patience = time.Minute // for an answer
)

// Copy copies all that from keeps into to, and then holds the two against each
// other. What it returns is of both.
func Copy(ctx context.Context, from, to Store, o Options) (Sum, error) {
	c := &copier{from: from, to: to, o: o, there: map[build.ID]bool{}, blobs: map[string]bool{}}
	if !o.Force {
		if err := c.idle(ctx); err != nil {
			return Sum{}, err
		}
	}
	if err := c.look(ctx); err != nil {
		return Sum{}, err
	}
	if err := c.copyBuilds(ctx); err != nil {
		return Sum{}, err
	}
	if err := c.copyRecords(ctx); err != nil {
		return Sum{}, err
	}
	sum, err := compare(ctx, from, to)
	if err != nil {
		err = fmt.Errorf("compare: %w", err)
	}
	return sum, err
}

// A copier is one copy.
type copier struct {
	from, to Store
	o        Options
	there    map[build.ID]bool // builds that are copied, and write no more
	missing  records           // in to
	blobs    map[string]bool   // that were copied by now
}

// idle sees whether anybody works on the stores.
func (c *copier) idle(ctx context.Context) error {
	for _, side := range []struct {
		name string
		Store
	}{{"FROM", c.from}, {"TO", c.to}} {
		agents, err := ask(ctx, func() ([]store.Agent, error) { return side.Agents(ctx) })
		if err != nil {
			return fmt.Errorf("look for agents of %s: %w", side.name, err)
		}
		if len(agents) > 0 {
			a := agents[0]
			return fmt.Errorf("%s is %w: it has %d agents, among them %s on %s, last seen at %s", side.name, ErrInUse, len(agents), a.Name, a.Host, a.Seen.Format(time.RFC3339))
		}
	}
	running, err := ask(ctx, func() ([]store.Build, error) { return c.from.Running(ctx, "") })
	if err != nil {
		return fmt.Errorf("look for builds that run in FROM: %w", err)
	}
	if len(running) > 0 {
		return fmt.Errorf("FROM is %w: %d builds run there, among them %d", ErrInUse, len(running), running[0].Number)
	}
	return nil
}

// look finds out what is copied already, before anything is: to must have nothing
// else.
func (c *copier) look(ctx context.Context) error {
	from, to := walker{s: c.from}, walker{s: c.to}
	last := int64(0)
	for to.next(ctx); from.next(ctx); {
		if to.now != nil && to.now.ID == from.now.ID {
			if !same(from.now, to.now) {
				return fmt.Errorf("build %d (%s) is not the same there: %w", from.now.Number, from.now.ID, ErrOther)
			}
			c.there[from.now.ID] = from.now.State != build.Running
			to.next(ctx)
		}
		if to.now != nil && to.now.ID < from.now.ID {
			break
		}
		last = max(last, from.now.Number)
	}
	switch err := errors.Join(from.err, to.err); {
	case err != nil:
		return fmt.Errorf("list builds: %w", err)
	case to.now != nil:
		return fmt.Errorf("build %d (%s) is there alone: %w", to.now.Number, to.now.ID, ErrOther)
	}
	here, err := readRecords(ctx, c.from)
	if err != nil {
		return err
	}
	there, err := readRecords(ctx, c.to)
	if err != nil {
		return err
	}
	if c.missing, err = here.without(there); err != nil {
		return err
	}
	if err := insist(ctx, func() error { return c.to.SkipNumbers(ctx, last) }); err != nil {
		return fmt.Errorf("skip numbers up to %d: %w", last, err)
	}
	return nil
}

// A walker goes through all builds by ID.
type walker struct {
	s    Store
	now  *store.Build // nil before the first and after the last
	page []store.Build
	over bool
	err  error
}

// next goes to the next build, unless there is none, or an error.
func (w *walker) next(ctx context.Context) bool {
	if len(w.page) == 0 && !w.over && w.err == nil {
		after := build.ID("")
		if w.now != nil {
			after = w.now.ID
		}
		w.page, w.err = ask(ctx, func() ([]store.Build, error) { return w.s.AllBuilds(ctx, after, page) })
		w.over = len(w.page) < page
	}
	w.now = nil
	if w.err == nil && len(w.page) > 0 {
		w.now, w.page = &w.page[0], w.page[1:]
	}
	return w.now != nil
}

// copyBuilds copies the builds that are not there, each with all that is its own.
func (c *copier) copyBuilds(ctx context.Context) error {
	looked, after := int64(0), build.ID("")
	for {
		builds, err := ask(ctx, func() ([]store.Build, error) { return c.from.AllBuilds(ctx, after, page) })
		if err != nil {
			return fmt.Errorf("list builds: %w", err)
		}
		var missing []store.Build
		blobs := map[string]bool{}
		for _, b := range builds {
			if after = b.ID; c.there[b.ID] {
				continue
			}
			missing = append(missing, b)
			for _, digest := range named(&b) {
				if !c.blobs[digest] {
					blobs[digest] = true
				}
			}
		}
		digests := slices.Sorted(maps.Keys(blobs))
		if err := each(ctx, len(digests), func(ctx context.Context, i int) error { return c.copyBlob(ctx, digests[i]) }); err != nil {
			return err
		}
		maps.Copy(c.blobs, blobs)
		err = each(ctx, len(missing), func(ctx context.Context, i int) error {
			if err := c.copyBuild(ctx, missing[i]); err != nil {
				return fmt.Errorf("copy build %d (%s): %w", missing[i].Number, missing[i].ID, err)
			}
			return nil
		})
		if err != nil {
			return err
		}
		if looked += int64(len(builds)); c.o.Progress != nil && len(builds) > 0 {
			c.o.Progress(looked)
		}
		if len(builds) < page {
			return nil
		}
	}
}

// named are the blobs that b names.
func named(b *store.Build) (digests []string) {
	add := func(digest string) {
		if digest != "" {
			digests = append(digests, digest)
		}
	}
	add(b.Plan)
	add(b.Request.Patch)
	for _, out := range b.Outbox {
		add(out.Request.Patch)
	}
	return digests
}

// copyBlob copies a blob. One that is not there is fsck's to find.
func (c *copier) copyBlob(ctx context.Context, digest string) error {
	data, err := ask(ctx, func() ([]byte, error) { return c.from.Blob(ctx, digest) })
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err == nil {
		err = insist(ctx, func() error { return c.to.PutBlob(ctx, digest, data) })
	}
	if err != nil {
		return fmt.Errorf("copy blob %s: %w", digest, err)
	}
	return nil
}

// copyBuild copies what happened in b and what it wrote, and then b.
func (c *copier) copyBuild(ctx context.Context, b store.Build) error {
	w, err := writtenIn(ctx, c.from, b.ID)
	if err != nil {
		return err
	}
	for _, fence := range w.fences {
		err := copyStream(ctx, 1, page, sameEvent,
			func(seq int64) ([]build.Event, error) { return c.from.Events(ctx, b.ID, fence, seq, page) },
			func(seq int64) ([]build.Event, error) { return c.to.Events(ctx, b.ID, fence, seq, page) },
			func(seq int64, events []build.Event) error {
				return c.to.AppendEvents(ctx, store.EventKey{Build: b.ID, Fence: fence, Seq: seq}, events)
			})
		if err != nil {
			return fmt.Errorf("events of fence %d: %w", fence, err)
		}
	}
	for _, key := range w.attempts {
		at := func(seq int64) store.ChunkKey { key.Seq = seq; return key }
		err := copyStream(ctx, 0, chunks, sameChunk,
			func(seq int64) ([]store.Chunk, error) { return c.from.Chunks(ctx, at(seq), chunks) },
			func(seq int64) ([]store.Chunk, error) { return c.to.Chunks(ctx, at(seq), chunks) },
			func(_ int64, chunks []store.Chunk) error { return c.to.AppendChunks(ctx, chunks) })
		if err != nil {
			return fmt.Errorf("output of %s, attempt %d, fence %d: %w", key.Node, key.Attempt, key.Fence, err)
		}
	}
	made, err := ask(ctx, func() (store.Build, error) { return c.to.Enqueue(ctx, b) })
	if err == nil && !same(made, b) {
		err = ErrOther
	}
	return err
}

// written is of what there is something of a build.
type written struct {
	fences   []int64
	attempts []store.ChunkKey
}

func writtenIn(ctx context.Context, s Store, id build.ID) (written, error) {
	return ask(ctx, func() (w written, err error) {
		w.fences, w.attempts, err = s.Written(ctx, id)
		return w, err
	})
}

// copyStream copies what follows first without a gap, in parts. What is there must
// be the beginning of it.
func copyStream[T any](ctx context.Context, first int64, part int, same func(a, b T) bool, from, to func(seq int64) ([]T, error), write func(seq int64, all []T) error) error {
	for seq := first; ; {
		all, err := ask(ctx, func() ([]T, error) { return from(seq) })
		if err != nil {
			return err
		}
		there, err := ask(ctx, func() ([]T, error) { return to(seq) })
		if err != nil {
			return err
		}
		if len(there) > len(all) || !slices.EqualFunc(all[:len(there)], there, same) {
			return ErrOther
		}
		if rest := all[len(there):]; len(rest) > 0 {
			if err := insist(ctx, func() error { return write(seq+int64(len(there)), rest) }); err != nil {
				return err
			}
		}
		if seq += int64(len(all)); len(all) < part {
			return nil
		}
	}
}

// copyRecords copies what else is missing.
func (c *copier) copyRecords(ctx context.Context) error {
	for _, g := range c.missing.groups {
		if _, err := ask(ctx, func() (store.Group, error) { return c.to.ChangeGroup(ctx, g.Key, become(g)) }); err != nil {
			return fmt.Errorf("copy group %s: %w", g.Key, err)
		}
	}
	for _, p := range c.missing.projects {
		_, err := ask(ctx, func() (store.Project, error) { return c.to.PutProject(ctx, p) })
		if errors.Is(err, store.ErrConflict) { // which an answer that was lost leads to; it is compared later
			err = nil
		}
		if err != nil {
			return fmt.Errorf("copy project %s: %w", p.Name, err)
		}
	}
	for _, t := range c.missing.tokens {
		if err := insist(ctx, func() error { return c.to.AddToken(ctx, t) }); err != nil {
			return fmt.Errorf("copy token %s: %w", t.Name, err)
		}
	}
	return nil
}

// become is the change that makes a group what it is elsewhere.
type become store.Group

// Apply implements store.GroupChange.
func (c become) Apply(g *store.Group) bool {
	if same(*g, store.Group(c)) {
		return false
	}
	*g = store.Group(c)
	g.Rev-- // which grows with the change
	return true
}

// records are what a store keeps beside builds.
type records struct {
	groups   []store.Group
	projects []store.Project // without a revision: each store counts its own
	tokens   []store.Token
}

func readRecords(ctx context.Context, s Store) (r records, err error) {
	if r.groups, err = ask(ctx, func() ([]store.Group, error) { return s.AllGroups(ctx) }); err != nil {
		return r, fmt.Errorf("list groups: %w", err)
	}
	if r.projects, err = ask(ctx, func() ([]store.Project, error) { return s.Projects(ctx) }); err != nil {
		return r, fmt.Errorf("list projects: %w", err)
	}
	for i := range r.projects {
		r.projects[i].Rev = 0
	}
	if r.tokens, err = ask(ctx, func() ([]store.Token, error) { return s.Tokens(ctx) }); err != nil {
		return r, fmt.Errorf("list tokens: %w", err)
	}
	return r, nil
}

// without returns what there lacks of r. What it has must be the same.
func (r records) without(there records) (missing records, err error) {
	var errs [3]error
	missing.groups, errs[0] = without("group", r.groups, there.groups, func(g store.Group) string { return g.Key })
	missing.projects, errs[1] = without("project", r.projects, there.projects, func(p store.Project) string { return p.Name })
	missing.tokens, errs[2] = without("token", r.tokens, there.tokens, func(t store.Token) string { return t.Name })
	return missing, cmp.Or(errs[:]...)
}

func without[T any](what string, all, there []T, name func(T) string) (missing []T, err error) {
	had := map[string]T{}
	for _, v := range there {
		had[name(v)] = v
	}
	for _, v := range all {
		switch is, ok := had[name(v)]; {
		case !ok:
			missing = append(missing, v)
		case !same(is, v):
			return nil, fmt.Errorf("%s %s is not the same there: %w", what, name(v), ErrOther)
		}
		delete(had, name(v))
	}
	for _, name := range slices.Sorted(maps.Keys(had)) {
		return nil, fmt.Errorf("%s %s is there alone: %w", what, name, ErrOther)
	}
	return missing, nil
}

// same compares documents as stores write them.
func same(a, b any) bool { return bytes.Equal(text(a), text(b)) }

func sameEvent(a, b build.Event) bool { return same(a, b) }

func sameChunk(a, b store.Chunk) bool {
	data := bytes.Equal(a.Data, b.Data)
	a.Data, b.Data = nil, nil
	return data && same(a, b)
}

func text(v any) []byte {
	text, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("transfer: a document that is not JSON: %v", err)) // it comes from a store
	}
	return text
}

// each does something n times, some of it at once, until there is an error.
func each(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var next atomic.Int64
	var done sync.WaitGroup
	for range min(n, workers) {
		done.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				if err := do(ctx, i); err != nil {
					stop(err) // the first one stays
				}
			}
		})
	}
	done.Wait()
	return context.Cause(ctx)
}

// ask asks a store again while no answer comes, and insist does so for what has no
// value.
func ask[T any](ctx context.Context, do func() (T, error)) (v T, err error) {
	err = insist(ctx, func() (err error) { v, err = do(); return err })
	return v, err
}

func insist(ctx context.Context, do func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return store.Insist(ctx, do)
}
