// Package fsck holds what a store keeps against what must be true of it,
// whatever agents did and whenever they died: the invariants of the protocol,
// as far as they can be seen afterwards.
//
// It reads, and changes nothing. Builds may change meanwhile: what it finds of
// one that did is looked at again, so a finding is never that of a moment
// between two writes. A group may stay with a build that has ended until somebody
// wants it (see store.Group), so that is no finding.
package fsck

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

// A Finding is one thing that should not be.
type Finding struct {
	Build   build.ID `json:"build"`
	Number  int64    `json:"number"`
	Code    string   `json:"code"` // one of Codes
	Message string   `json:"message"`
}

// String is a line for a person.
func (f Finding) String() string {
	return fmt.Sprintf("build %d (%s): %s: %s", f.Number, f.Build, f.Code, f.Message)
}

// Codes are the kinds of finding, and what each means.
var Codes = map[string]string{
	"state":   "its fields contradict its state",
	"number":  "another build has its number",
	"request": "what was asked for is not what its hash says",
	"plan":    "its plan is missing, or is not the one of that digest",
	"events":  "its events have a gap, cannot have happened, or end otherwise than it does",
	"log":     "a part of its output is missing, doubled or out of order",
	"trigger": "a build that it triggered does not exist, is not its child, or exists twice",
	"chore":   "something is to be done about it that has no meaning",
}

// Counts are what was looked at.
type Counts struct {
	Builds, Events, Chunks, Bytes int64
	Findings                      int
}

// page is how many builds, events or chunks are read at a time.
const page = 500

// Check looks at every build that was not collected, and calls found for what
// is wrong. The error is the store's.
func Check(ctx context.Context, s store.Store, found func(Finding)) (Counts, error) {
	c := &checker{Store: s, ctx: ctx, numbers: map[int64]build.ID{}}
	for cursor := ""; ; {
		builds, next, err := s.List(ctx, store.Filter{}, cursor, page)
		if err != nil {
			return c.counts, fmt.Errorf("list builds: %w", err)
		}
		for i := range builds {
			if err := c.settled(builds[i], found); err != nil {
				return c.counts, fmt.Errorf("check build %d: %w", builds[i].Number, err)
			}
		}
		if next == "" {
			return c.counts, nil
		}
		cursor = next
	}
}

// A checker looks at builds one by one.
type checker struct {
	store.Store
	ctx     context.Context
	numbers map[int64]build.ID
	digest  string     // of the plan that was read last: builds of a pipeline share theirs
	plan    *plan.Plan // that one
	counts  Counts

	at    *store.Build // that is looked at
	wrong []Finding    // with it
}

// settled looks at b until it has not changed meanwhile.
func (c *checker) settled(b store.Build, found func(Finding)) error {
	before := c.counts
	for {
		c.at, c.wrong, c.counts = &b, nil, before
		c.counts.Builds++
		if err := c.build(); err != nil {
			return err
		}
		if len(c.wrong) == 0 {
			return nil
		}
		now, err := c.Build(c.ctx, b.ID)
		if err != nil {
			return err
		}
		if now.Rev == b.Rev {
			break
		}
		if b = now; b.Collected {
			return nil
		}
	}
	for _, f := range c.wrong {
		found(f)
	}
	c.counts.Findings += len(c.wrong)
	return nil
}

func (c *checker) find(code, format string, args ...any) {
	c.wrong = append(c.wrong, Finding{c.at.ID, c.at.Number, code, fmt.Sprintf(format, args...)})
}

// build looks at one build.
func (c *checker) build() error {
	b := c.at
	if other, twice := c.numbers[b.Number]; twice && other != b.ID {
		c.find("number", "build %s has it, too", other)
	}
	c.numbers[b.Number] = b.ID
	if b.Hash != b.Request.Hash() {
		c.find("request", "its hash is %s, that of the request %s", b.Hash, b.Request.Hash())
	}
	c.state()
	for _, part := range []func() error{c.happened, c.triggered} {
		if err := part(); err != nil {
			return err
		}
	}
	return nil
}

// state looks at the fields that follow from the state.
func (c *checker) state() {
	b := c.at
	switch b.State {
	case build.Queued, build.Running, build.Success, build.Failed, build.Cancelled, build.TimedOut, build.Lost, build.Rejected:
	default:
		c.find("state", "there is no state %q", b.State)
	}
	switch {
	case b.State == build.Running && b.Owner == "":
		c.find("state", "it runs, and nobody has it")
	case b.State != build.Running && b.Owner != "":
		c.find("state", "it is %s, and %s has it", b.State, b.Owner)
	}
	switch {
	case b.Terminal() && b.Ended.IsZero():
		c.find("state", "it has ended, and nobody knows when")
	case !b.Terminal() && !b.Ended.IsZero():
		c.find("state", "it is %s, and has ended at %s", b.State, b.Ended)
	}
	if b.State == build.Queued && b.Cancel != nil {
		c.find("state", "it is queued, and was cancelled")
	}
	if int64(b.Attempt) > b.Fence || b.State == build.Running && b.Attempt == 0 {
		c.find("state", "it had %d attempts under %d fences", b.Attempt, b.Fence)
	}
}

// happened looks at the plan, and at the events and the output of every fence.
func (c *checker) happened() error {
	b := c.at
	if b.Plan == "" {
		return nil
	}
	p, err := c.planned(b.Plan)
	if err != nil || p == nil {
		return err
	}
	for fence := int64(1); fence <= b.Fence; fence++ {
		if err := c.attempt(p, fence); err != nil {
			return err
		}
	}
	return nil
}

// planned reads a plan, which is nil when something is wrong with it.
func (c *checker) planned(digest string) (*plan.Plan, error) {
	if c.digest == digest {
		return c.plan, nil
	}
	data, err := c.Blob(c.ctx, digest)
	if errors.Is(err, store.ErrNotFound) {
		c.find("plan", "%s is not there", digest)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	text, err := store.PlanText(data)
	if err != nil {
		c.find("plan", "%s: %v", digest, err)
		return nil, nil
	}
	sum := sha256.Sum256(text)
	if got := "sha256:" + hex.EncodeToString(sum[:]); got != digest {
		c.find("plan", "%s is there, and has the digest %s", digest, got)
		return nil, nil
	}
	p, err := plan.Decode(text)
	if err != nil {
		c.find("plan", "%s: %v", digest, err)
		return nil, nil
	}
	c.digest, c.plan = digest, p
	return p, nil
}

// attempt folds the events of one fence, and looks at the output of each node
// that they name.
func (c *checker) attempt(p *plan.Plan, fence int64) error {
	state := build.New(p)
	var began []store.ChunkKey
	for seq := int64(1); ; {
		events, err := c.Events(c.ctx, c.at.ID, fence, seq, page)
		if err != nil {
			return err
		}
		for _, ev := range events {
			if err := state.Apply(ev); err != nil {
				c.find("events", "fence %d, event %d: %v", fence, ev.Seq, err)
				return nil
			}
			if ev.Kind == build.AttemptStarted {
				began = append(began, store.ChunkKey{Build: c.at.ID, Fence: fence, Node: ev.Node, Attempt: ev.Attempt})
			}
		}
		c.counts.Events += int64(len(events))
		seq += int64(len(events))
		if len(events) < page {
			break
		}
	}
	for _, key := range began {
		if err := c.log(key); err != nil {
			return err
		}
	}
	if fence == c.at.Fence {
		c.end(state)
	}
	return nil
}

// end holds how the events end against how the build did. Only the owner ends
// a build without giving it another fence, and it has recorded all before. One
// that it ends for what the build does to the machine has failed, while all that
// ran was cancelled.
func (c *checker) end(state *build.Build) {
	b := c.at
	_, forced := state.Cancelled()
	switch {
	case !b.Terminal() || state.Seq() == 0 && b.State != build.Success:
	case state.State() != b.State && (b.State != build.Failed || !forced):
		c.find("events", "by them it is %s, and it is %s", state.State(), b.State)
	case state.Progress() != b.Progress:
		c.find("events", "by them its progress is %+v, and it is %+v", state.Progress(), b.Progress)
	}
}

// log looks at the output of an attempt of a node.
func (c *checker) log(key store.ChunkKey) error {
	var line, offset int64
	for {
		chunks, err := c.Chunks(c.ctx, key, page)
		if err != nil {
			c.find("log", "%s, attempt %d, from chunk %d on: %v", key.Node, key.Attempt, key.Seq, err)
			return c.ctx.Err()
		}
		for i := range chunks {
			chunk := &chunks[i]
			if want := offset + chunk.Cut; chunk.Offset != want {
				c.find("log", "%s, attempt %d, chunk %d begins at byte %d, not %d", key.Node, key.Attempt, chunk.Key.Seq, chunk.Offset, want)
			}
			if chunk.Cut == 0 && chunk.Line != line {
				c.find("log", "%s, attempt %d, chunk %d begins with line %d, not %d", key.Node, key.Attempt, chunk.Key.Seq, chunk.Line, line)
			}
			line, offset = chunk.Line+chunk.Lines, chunk.Offset+int64(len(chunk.Data))
			c.counts.Bytes += int64(len(chunk.Data))
		}
		c.counts.Chunks += int64(len(chunks))
		key.Seq += int64(len(chunks))
		if len(chunks) < page {
			return nil
		}
	}
}

// triggered looks for the builds that this one made, and at what is to be done.
func (c *checker) triggered() error {
	b := c.at
	for _, node := range slices.Sorted(maps.Keys(b.Outbox)) {
		out := b.Outbox[node]
		child, err := c.Build(c.ctx, out.Child)
		switch {
		case errors.Is(err, store.ErrNotFound) && slices.Contains(b.Pending, store.Chore{Verb: store.EnqueueChild, Target: node}):
		case errors.Is(err, store.ErrNotFound):
			c.find("trigger", "%s made build %s, which is not there", node, out.Child)
		case err != nil:
			return err
		case child.Hash != out.Request.Hash():
			c.find("trigger", "%s made build %d, which was asked for with other words", node, child.Number)
		}
	}
	for _, chore := range b.Pending {
		_, triggered := b.Outbox[chore.Target]
		switch {
		case chore.Verb == store.EnqueueChild && triggered, chore.Verb == store.CancelChild && triggered:
		case chore.Verb == store.Release && slices.Contains(b.Groups, chore.Target):
		case chore.Verb == store.StartAfter:
		default:
			c.find("chore", "to %s %q", chore.Verb, chore.Target)
		}
	}
	return nil
}
