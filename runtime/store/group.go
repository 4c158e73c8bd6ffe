package store

import (
	"cmp"
	"context"
	"slices"

	"github.com/piper-build/piper/runtime/build"
)

// A Group lets one build at a time run of those that name it, in the order in
// which they were made.
//
// A build learns of its groups when it is planned. It is handed over then unless
// it holds them, and claimed again once it does. An Acquire may be late and reach
// a group after its build has ended and given the group back. So the build's
// chore is not all: whoever finds a group held by a build that has ended makes
// the Leave in its name, which is safe, as an end is final.
type Group struct {
	Key    string   `json:"key"`
	Rev    int64    `json:"rev"`
	Holder build.ID `json:"holder,omitempty"`
	Queue  []Waiter `json:"queue,omitempty"` // by number
}

// A Waiter is a build that waits for a Group.
type Waiter struct {
	Number int64    `json:"number"`
	Build  build.ID `json:"build"`
}

// Groups keeps groups. One that nobody ever asked for is free.
type Groups interface {
	Group(ctx context.Context, key string) (Group, error)

	// ChangeGroup takes a group through c and returns what it is then.
	ChangeGroup(ctx context.Context, key string, c GroupChange) (Group, error)
}

// A GroupChange is one way in which a group may change. It is never refused: to
// wait is a change as well. Whether a build holds the group then is for the one
// who asked to see.
type GroupChange interface {
	Apply(g *Group) (changed bool)
}

// Acquire gives the group to a build when it is free and nobody older waits.
// Else the build waits.
type Acquire struct{ Waiter }

// Apply implements GroupChange.
func (c Acquire) Apply(g *Group) bool {
	if g.Holder == c.Build {
		return false
	}
	i, waits := g.find(c.Waiter)
	switch {
	case g.Holder == "" && i == 0:
		g.Holder = c.Build
		if waits {
			g.drop(0)
		}
		return true
	case waits:
		return false
	}
	g.Queue = slices.Insert(g.Queue, i, c.Waiter)
	return true
}

// Leave gives the group back, or up waiting for it.
type Leave struct{ Waiter }

// Apply implements GroupChange.
func (c Leave) Apply(g *Group) bool {
	if g.Holder == c.Build {
		g.Holder = ""
		return true
	}
	i, waits := g.find(c.Waiter)
	if waits {
		g.drop(i)
	}
	return waits
}

// drop takes the i-th out of the queue.
func (g *Group) drop(i int) {
	if g.Queue = slices.Delete(g.Queue, i, i+1); len(g.Queue) == 0 {
		g.Queue = nil // as it was before there was one
	}
}

// find returns where w stands in the queue, or would.
func (g *Group) find(w Waiter) (int, bool) {
	return slices.BinarySearchFunc(g.Queue, w, func(a, b Waiter) int {
		return cmp.Or(cmp.Compare(a.Number, b.Number), cmp.Compare(a.Build, b.Build))
	})
}

// Changed returns g after c, and whether it differs, as Build.Changed does.
func (g Group) Changed(c GroupChange) (after Group, differs bool) {
	after = g
	after.Queue = slices.Clone(g.Queue)
	if !c.Apply(&after) {
		return g, false
	}
	after.Rev++
	return after, true
}
