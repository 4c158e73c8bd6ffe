package starlark

import (
	"fmt"
)

// What a Coverage in one process tells one in another: what ran in evaluations
// there.

// Sums returns what NewCoverage makes a Coverage of the same files from: the
// digest of each, by its name.
func (c *Coverage) Sums() map[string][]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	sums := make(map[string][]byte, len(c.files))
	for name, f := range c.files {
		sums[name] = f.sum[:]
	}
	return sums
}

// NewCoverage returns a Coverage of files of which only the digests are known.
// It notes what runs, for Marks to tell, and knows no lines.
func NewCoverage(sums map[string][]byte) *Coverage {
	c := &Coverage{files: make(map[string]*covered, len(sums))}
	for name, sum := range sums {
		f := &covered{}
		copy(f.sum[:], sum)
		c.files[name] = f
	}
	return c
}

// Marks returns what ran of each file that did, by its name: a bit for each
// probe. The nil Coverage has none.
func (c *Coverage) Marks() map[string][]byte {
	if c == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	all := make(map[string][]byte)
	for name, f := range c.files {
		marks := make([]byte, (len(f.ran)+7)/8)
		any := false
		for i := range f.ran {
			if f.ran[i].Load() {
				marks[i/8] |= 1 << (i % 8)
				any = true
			}
		}
		if any {
			all[name] = marks
		}
	}
	return all
}

// Mark notes that what the Marks of another Coverage say of a file has run. The
// error is that they are of no such file.
func (c *Coverage) Mark(name string, marks []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.files[name]
	if f == nil || len(marks) != (len(f.ran)+7)/8 {
		return fmt.Errorf("there is no file %q with %d bytes of marks", name, len(marks))
	}
	for i := range f.ran {
		if marks[i/8]&(1<<(i%8)) != 0 {
			f.ran[i].Store(true)
		}
	}
	return nil
}
