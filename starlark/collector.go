package starlark

import (
	"runtime"
	"runtime/debug"
	"sync"
)

// A collector has garbage collected less often while evaluations run: nearly
// all that they make lives until they end, and is looked at in vain before.
// The setting is the process's, so all evaluations share one collector: the
// first makes it lazy, the last puts back what was.
type collector struct {
	mu      sync.Mutex
	running int
	percent int // what was set before
}

// lazy is how much the heap may grow, in percent of what is alive, before
// garbage is collected.
const lazy = 400

var garbage collector

// relax makes c lazy until the function it returns is called.
func (c *collector) relax() (restore func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running++; c.running == 1 {
		c.percent = debug.SetGCPercent(lazy)
	}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.running--; c.running == 0 {
			debug.SetGCPercent(c.percent)
		}
	}
}

// What makes it worth collecting what one stage of an evaluation has left, so
// that the next one finds room in its place. What lives by then is little, so it
// is quick.
const (
	largeSource = 512 << 10 // bytes that were compiled: their syntax tree
	largeFlow   = 20_000    // parts of flows that were made: lists, and arguments of calls
)

// compiled is called when that many bytes of source have become a program.
func (*collector) compiled(source int) {
	if source >= largeSource {
		runtime.GC()
	}
}

// made is called when that many parts are about to become a plan. Its nodes are
// one piece, for which there is no room between what lives on: so what is free
// goes back to the system, or a large plan takes as much memory again.
func (*collector) made(parts int) {
	if parts >= largeFlow {
		debug.FreeOSMemory()
	}
}
