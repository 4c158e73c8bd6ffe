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

// largeSource is how many bytes of source make a syntax tree worth collecting.
const largeSource = 512 << 10

// sweep collects the syntax tree that compiling that many bytes of source has
// left, so that what is executed finds room in its place. What lives by then is
// little, so it is quick.
func (*collector) sweep(source int) {
	if source >= largeSource {
		runtime.GC()
	}
}
