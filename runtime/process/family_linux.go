package process

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// kin knows which process belongs to which tree. As this process is a
// subreaper, each one that lives is below a child of it: a leader, which it
// started itself, or a stranger, which lost its parent.
type kin struct {
	once     sync.Once
	err      error
	self     int      // our pid
	group    int      // our process group
	session  int      // our session
	terminal bool     // whether that has a terminal
	children *os.File // see childrenFile; nil when the kernel has no such list

	forking atomic.Int32 // forks under way: their children may be listed, and are not known yet

	mu      sync.Mutex
	ledger  ledger
	serial  int64
	trees   map[*tree]bool
	orphans map[int]orphan // strangers that were seen, by pid

	lost map[int]uint64 // starts of the processes that cannot be killed, by pid

	sweeping sync.Mutex // held while a tree is killed
	listing  sync.Mutex // held while children are listed or reaped: a list may lack one if another is reaped meanwhile
	room     [1024]byte // for a list of children, under listing
}

// A stranger is a child that this process did not start itself.
type stranger struct {
	proc
	tree *tree // it belongs to; nil when nothing tells
}

// An orphan is a stranger that was seen. When it bears no sign of its tree, it
// came from one of the trees that there were when it was first seen, so it must
// go when the last of those does.
type orphan struct {
	start  uint64
	serial int64 // of the newest tree at that time
}

// start makes this process the one that orphans are given to.
func (k *kin) start() error {
	k.once.Do(func() {
		k.self = os.Getpid()
		k.group = unix.Getpgrp()
		k.session, _ = unix.Getsid(0)
		if tty, err := os.Open("/dev/tty"); err == nil {
			k.terminal = tty.Close() == nil
		}
		k.trees = map[*tree]bool{}
		k.orphans = map[int]orphan{}
		// What this process inherited open is not for steps.
		unix.CloseRange(3, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
		if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
			k.err = fmt.Errorf("become subreaper: %w", err)
			return
		}
		if k.children, k.err = childrenFile(); k.err != nil {
			return
		}
		k.ledger, k.err = openLedger()
	})
	return k.err
}

// fork calls spawn, which starts the leader of t.
func (k *kin) fork(t *tree, spawn func() (int, error)) error {
	if err := k.start(); err != nil {
		return err
	}
	k.begin(t)
	k.forking.Add(1)
	defer k.forking.Add(-1)
	pid, err := spawn()
	if err != nil {
		k.end(t)
		return err
	}
	k.lead(t, pid)
	return nil
}

// strangers returns the children of this process that are not leaders and that
// live. Those that have ended are reaped. It is meant to cost next to nothing
// when there are none.
func (k *kin) strangers() []stranger {
	k.listing.Lock()
	defer k.listing.Unlock()
	var dead []proc
	for {
		found, changed := k.list(&dead)
		if !changed {
			return found
		}
		// What has ended since it was listed may have left children to us.
	}
}

// list looks at each child once. It reports whether one had ended by then; dead
// are those of them that are not reaped here, which count once.
func (k *kin) list(dead *[]proc) (found []stranger, changed bool) {
	pids := k.pids(k.room[:])
	if len(pids) == 0 {
		return nil, false
	}
	// A child that is being started is listed before it is known. When no fork
	// is under way by now, whoever is not known after this line is a stranger.
	forking := k.forking.Load() > 0
	k.mu.Lock()
	for t := range k.trees {
		if i := slices.Index(pids, t.leader); i >= 0 && !t.reaped {
			pids = slices.Delete(pids, i, i+1)
		}
	}
	k.mu.Unlock()
	for _, pid := range pids {
		switch s, is := k.meet(pid, forking); is {
		case alive:
			found = append(found, s)
		case unreaped:
			if !slices.Contains(*dead, s.proc) {
				*dead = append(*dead, s.proc)
				changed = true
			}
		case gone:
			changed = true
		}
	}
	return found, changed
}

// pids lists the children of this process. It uses the memory of list.
func (k *kin) pids(list []byte) (pids []int) {
	if k.children == nil {
		all, _ := processes()
		for _, p := range all {
			if p.ppid == k.self {
				pids = append(pids, p.pid)
			}
		}
		return pids
	}
	n, err := unix.Pread(int(k.children.Fd()), list, 0)
	if n == len(list) {
		list, err = io.ReadAll(io.NewSectionReader(k.children, 0, math.MaxInt64))
		n = len(list)
	}
	if err != nil {
		return nil
	}
	for f := range bytes.FieldsSeq(list[:n]) {
		pid, _ := strconv.Atoi(string(f))
		pids = append(pids, pid)
	}
	return pids
}

// What a child that is no known leader turns out to be.
const (
	other = iota // not a stranger, or none that anything can be told of now
	alive
	unreaped // it has ended, and somebody else may have to reap it
	gone
)

// meet looks at a child that is no known leader.
func (k *kin) meet(pid int, forking bool) (s stranger, is int) {
	k.mu.Lock()
	newest := k.serial
	k.mu.Unlock()
	for pause := 50 * time.Microsecond; ; pause *= 2 {
		p, ok := readProc(pid)
		switch {
		case !ok || p.ppid != k.self:
			return s, gone
		case p.zombie:
			if k.elsewhere(p) || forking { // it may be waited for by who started it
				return stranger{p, nil}, unreaped
			}
			unix.Wait4(pid, nil, unix.WNOHANG, nil)
			k.forget(p)
			return s, gone
		}
		t := k.owner(p)
		switch {
		case t != nil:
			if k.leads(pid, t) {
				return s, other
			}
			return stranger{p, t}, alive
		case k.elsewhere(p):
			return s, other
		case forking && p.unexeced && p.pgid == p.pid:
			return s, other // a leader to be, that still runs our program
		case p.pgid == p.pid && k.starting(newest) && pause <= time.Second:
			// Perhaps a leader whose fork has not returned yet. The answer is
			// near: only forks older than this look count.
		case pause > time.Second || !unsettled(p):
			return stranger{p, nil}, alive
		}
		time.Sleep(pause)
	}
}

// starting reports whether a tree up to serial still waits for its leader.
func (k *kin) starting(serial int64) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for t := range k.trees {
		if t.leader == 0 && t.serial <= serial {
			return true
		}
	}
	return false
}

// elsewhere reports whether p looks like started by another part of this
// program, and not by us: it is in our process group, which no step is in.
func (k *kin) elsewhere(p proc) bool { return p.pgid == k.group && p.sid == k.session }

// leads reports whether a process is the leader of t, or may be, as that is not
// known yet.
func (k *kin) leads(pid int, t *tree) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return t.leader == 0 || t.leader == pid && !t.reaped
}

// owner names the tree of a stranger: by its process group or session, by having
// been seen there, or by a sign that it bears. It is nil when none fits. Before
// all others comes a tree that p leads, or may lead.
func (k *kin) owner(p proc) (owner *tree) {
	env, files := environ(p.pid), outputs(p.pid)
	k.mu.Lock()
	defer k.mu.Unlock()
	for t := range k.trees {
		if t.leader == p.pid && !t.reaped {
			return t
		}
		start, seen := t.seen[p.pid]
		switch {
		case t.leader != 0 && (t.leader == p.pgid || t.leader == p.sid),
			seen && start == p.start,
			t.mark != "" && bears(env, t.mark),
			t.output != "" && slices.Contains(files, t.output):
			if owner == nil || t.leader == 0 {
				owner = t
			}
		}
	}
	return owner
}

// adopt remembers a stranger, and tells the guards.
func (k *kin) adopt(p proc) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if o, ok := k.orphans[p.pid]; !ok || o.start != p.start {
		k.orphans[p.pid] = orphan{start: p.start, serial: k.serial}
		k.ledger.add(p.pid, p.start)
	}
}

// forget says that a stranger has been reaped.
func (k *kin) forget(p proc) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if o, ok := k.orphans[p.pid]; ok {
		delete(k.orphans, p.pid)
		k.ledger.remove(p.pid, o.start)
	}
}

// due returns the strangers that no living tree can have left behind, not
// counting t.
func (k *kin) due(strangers []proc, t *tree) []proc {
	k.mu.Lock()
	defer k.mu.Unlock()
	oldest := int64(math.MaxInt64)
	for each := range k.trees {
		if each != t && each.role == step {
			oldest = min(oldest, each.serial)
		}
	}
	return slices.DeleteFunc(strangers, func(p proc) bool {
		o, ok := k.orphans[p.pid]
		return !ok || o.start != p.start || o.serial >= oldest || k.lost[p.pid] == p.start
	})
}

// members returns the living processes of t, and with last those strangers
// too that would have to go with it.
func (k *kin) members(t *tree, last bool) []proc {
	for {
		roots := k.roots(t, last)
		if len(roots) == 0 {
			return nil
		}
		all, err := processes()
		if err != nil {
			return nil
		}
		found := slices.DeleteFunc(all.below(roots), func(p proc) bool { return p.zombie })
		if len(found) == 0 {
			continue // what ended since may have left children, which are strangers now
		}
		k.see(t, found)
		return found
	}
}

// roots returns the children of this process that t consists of, with all that
// came from them. There are none when the leader and all others have ended.
func (k *kin) roots(t *tree, last bool) map[int]bool {
	// The leader comes first: once it has ended, what it leaves is listed.
	var roots map[int]bool
	k.mu.Lock()
	led := !t.reaped
	k.mu.Unlock()
	if led {
		if p, ok := readProc(t.leader); ok && !p.zombie {
			roots = map[int]bool{t.leader: true}
		}
	}
	strangers := k.strangers()
	if len(strangers) > 0 && roots == nil {
		roots = map[int]bool{}
	}
	var unknown []proc
	for _, s := range strangers {
		switch s.tree {
		case t:
			roots[s.pid] = true
		case nil:
			k.adopt(s.proc)
			unknown = append(unknown, s.proc)
		}
	}
	if last && len(unknown) > 0 {
		for _, p := range k.due(unknown, t) {
			roots[p.pid] = true
		}
	}
	return roots
}

// tend reaps strangers that have ended and remembers those that live, for a
// step that takes long.
func (k *kin) tend() {
	for _, s := range k.strangers() {
		k.adopt(s.proc)
	}
}
