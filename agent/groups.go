package agent

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/plan"
	"github.com/piper-build/piper/runtime/store"
)

// groupsOf are what a build has to hold: builds of one project that name the same
// concurrency key run one at a time.
func groupsOf(p *plan.Plan, project string) []string {
	if p.Concurrency == "" {
		return nil
	}
	key := project + "/" + p.Concurrency
	if len(key) > longestKey {
		sum := sha256.Sum256([]byte(key))
		key = fmt.Sprintf("%s/%x", project, sum[:16])
	}
	return []string{key}
}

// longestKey is how long a key may be in every store: of RethinkDB 127 bytes.
const longestKey = 120

// acquire takes the groups of a build, in the order of their keys so that no two
// builds wait for each other, and reports whether it has all of them now. Else it
// waits for one.
func (l *life) acquire(ctx context.Context, b store.Build) (held bool, err error) {
	keys := slices.Clone(b.Groups)
	slices.Sort(keys)
	for _, key := range keys {
		g, err := l.Store.ChangeGroup(ctx, key, store.Acquire{Waiter: store.Waiter{Number: b.Number, Build: b.ID}})
		for err == nil && g.Holder != b.ID {
			var gone bool
			if gone, err = l.evict(ctx, g, b); !gone {
				break
			}
			g, err = l.Store.ChangeGroup(ctx, key, store.Acquire{Waiter: store.Waiter{Number: b.Number, Build: b.ID}})
		}
		if err != nil || g.Holder != b.ID {
			return false, err
		}
	}
	return true, nil
}

// evict makes the one who is in the way of b leave, if it has ended: what it sent
// to acquire the group may arrive after what it sent to release it.
func (l *life) evict(ctx context.Context, g store.Group, b store.Build) (gone bool, err error) {
	inTheWay := g.Holder
	if inTheWay == "" && len(g.Queue) > 0 {
		inTheWay = g.Queue[0].Build
	}
	if inTheWay == "" || inTheWay == b.ID {
		return false, nil
	}
	other, err := l.Store.Build(ctx, inTheWay)
	if err != nil || !other.Terminal() {
		return false, err
	}
	return true, l.release(ctx, g.Key, other)
}

// release gives a group back, or up waiting for it.
func (l *life) release(ctx context.Context, key string, b store.Build) error {
	_, err := l.Store.ChangeGroup(ctx, key, store.Leave{Waiter: store.Waiter{Number: b.Number, Build: b.ID}})
	return err
}

// entangled says why b would wait for a group for ever: one that waits for b, or
// for one that does, holds it. "" says that there is hope.
func (l *life) entangled(ctx context.Context, b store.Build) (string, error) {
	holders := map[build.ID]string{}
	for _, key := range b.Groups {
		g, err := l.Store.Group(ctx, key)
		if err != nil {
			return "", err
		}
		holders[g.Holder] = key
	}
	chain, err := l.causes(ctx, b)
	for _, up := range chain {
		if key, ok := holders[up.ID]; ok && up.Outbox[b.Request.Cause.Node].Wait && !up.Terminal() {
			return fmt.Sprintf("it would wait for %s, which build %d holds, and that waits for it", key, up.Number), nil
		}
		b = up
	}
	return "", err
}

// furthest bounds how far back causes are followed.
const furthest = 32

// causes are the builds that led to b by a trigger or by what comes after them,
// the nearest first.
func (l *life) causes(ctx context.Context, b store.Build) (chain []store.Build, err error) {
	for len(chain) < furthest && b.Request.Cause.Build != "" && (b.Request.Cause.Kind == "trigger" || b.Request.Cause.Kind == "after") {
		if b, err = l.Store.Build(ctx, b.Request.Cause.Build); errors.Is(err, store.ErrNotFound) {
			return chain, nil
		}
		if err != nil {
			return chain, err
		}
		chain = append(chain, b)
	}
	return chain, nil
}
