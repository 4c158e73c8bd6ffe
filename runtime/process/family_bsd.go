//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package process

import (
	"os"
	"slices"
	"sync"

	"golang.org/x/sys/unix"
)

// kin knows which process belongs to which tree: those in the session of its
// leader, those that were seen there once, and what came from any of them. A
// process that leaves the session and loses its parent before anyone looks is
// lost sight of.
type kin struct {
	once    sync.Once
	err     error
	session int // our session: no step is ever in it

	mu     sync.Mutex
	ledger ledger
	serial int64
	trees  map[*tree]bool

	lost map[int]uint64 // starts of the processes that cannot be killed, by pid

	sweeping sync.Mutex // held while a tree is killed
	listing  sync.Mutex // held while a leader is reaped
}

func (k *kin) start() error {
	k.once.Do(func() {
		k.session, _ = unix.Getsid(0)
		k.trees = map[*tree]bool{}
		closeOnExec()
		k.ledger, k.err = openLedger()
	})
	return k.err
}

// closeOnExec keeps what this process inherited open from steps.
func closeOnExec() {
	entries, _ := os.ReadDir("/dev/fd")
	for fd := 3; fd < 3+len(entries); fd++ {
		unix.CloseOnExec(fd)
	}
}

// fork calls spawn, which starts the leader of t.
func (k *kin) fork(t *tree, spawn func() (int, error)) error {
	if err := k.start(); err != nil {
		return err
	}
	k.begin(t)
	pid, err := spawn()
	if err != nil {
		k.end(t)
		return err
	}
	k.lead(t, pid)
	return nil
}

// members returns the living processes of t.
func (k *kin) members(t *tree, _ bool) []proc {
	k.mu.Lock()
	led := !t.reaped
	k.mu.Unlock()
	if t.leader == 0 || !led && len(t.seen) == 0 && unix.Kill(-t.leader, 0) == unix.ESRCH {
		return nil
	}
	all, err := processes()
	if err != nil {
		return nil
	}
	roots := map[int]bool{}
	for _, p := range all {
		start, seen := t.seen[p.pid]
		if p.sid == t.leader || p.pgid == t.leader || seen && start == p.start {
			roots[p.pid] = true
		}
	}
	found := slices.DeleteFunc(all.below(roots), func(p proc) bool { return p.zombie })
	k.see(t, found)
	return found
}

// tend does nothing: this process is given no orphans.
func (k *kin) tend() {}
