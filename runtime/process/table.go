package process

import (
	"cmp"
	"fmt"
	"slices"
)

// A proc is one line of the system's process table.
type proc struct {
	pid, ppid, pgid, sid int
	start                uint64 // tells two processes with the same pid apart
	ending               bool   // it is about to become a zombie, and shows nothing of itself any more
	unexeced             bool   // it was forked and runs its parent's program still
	zombie               bool   // it has ended and waits to be reaped
	name                 string
}

func (p proc) String() string { return fmt.Sprintf("%s (%d)", p.name, p.pid) }

// A table is every process of the machine at about one moment, by pid.
type table map[int]proc

// below returns the processes of t that come from those of roots, roots
// included, in the order of their pids.
func (t table) below(roots map[int]bool) []proc {
	children := make(map[int][]int, len(t))
	for _, p := range t {
		children[p.ppid] = append(children[p.ppid], p.pid)
	}
	in := map[int]bool{}
	var walk func(pid int)
	walk = func(pid int) {
		if in[pid] {
			return
		}
		in[pid] = true
		for _, c := range children[pid] {
			walk(c)
		}
	}
	for pid := range roots {
		walk(pid)
	}
	var found []proc
	for pid := range in {
		if p, ok := t[pid]; ok {
			found = append(found, p)
		}
	}
	slices.SortFunc(found, func(a, b proc) int { return cmp.Compare(a.pid, b.pid) })
	return found
}
