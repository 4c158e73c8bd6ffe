package starlark

import (
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
