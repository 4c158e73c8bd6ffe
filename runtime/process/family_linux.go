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

	"golang.org/x/sys/unix"
)

// kin knows which process belongs to which tree. As this process is a
// subreaper, each one that lives is below a child of it: a leader, which it
// started itself, or an orphan, whose parent has ended.
type kin struct {
	once     sync.Once
	err      error
	self     int      // our pid
	session  int      // our session: no step is ever in it
	children *os.File // see childrenFile; nil when the kernel has no such list

	forking atomic.Int32 // forks under way: their children may be listed, and are not known yet

	mu      sync.Mutex
	ledger  ledger
	serial  int64
	trees   map[int]*tree  // by leader
	orphans map[int]orphan // that no tree could be named for

	sweeping sync.Mutex // held while a tree is killed
}

// An orphan is a process without a parent that bears no mark of its tree. It
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
		k.session, _ = unix.Getsid(0)
		k.trees = map[int]*tree{}
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

// fork calls spawn, which starts the leader of a new tree.
func (k *kin) fork(r role, mark string, spawn func() (int, error)) (*tree, error) {
	if err := k.start(); err != nil {
		return nil, err
	}
	k.forking.Add(1)
	defer k.forking.Add(-1)
	pid, err := spawn()
	if err != nil {
		return nil, err
	}
	return k.register(pid, r, mark), nil
}

// strangers returns the children of this process that are not leaders: the
// orphans that live. Those that have ended are reaped. It is meant to cost
// next to nothing when there are none.
func (k *kin) strangers() []proc {
	if k.children == nil {
		return k.strangersOf(k.listed())
	}
	var room [1024]byte
	list := room[:]
	n, err := unix.Pread(int(k.children.Fd()), list, 0)
	if n == len(list) {
		list, err = io.ReadAll(io.NewSectionReader(k.children, 0, math.MaxInt64))
		n = len(list)
	}
	if err != nil || n == 0 {
		return nil
	}
	list = list[:n]
	var pids []int
	for f := range bytes.FieldsSeq(list) {
		pid, _ := strconv.Atoi(string(f))
		pids = append(pids, pid)
	}
	return k.strangersOf(pids)
}

// listed finds the children of this process in the process table.
func (k *kin) listed() []int {
	all, _ := processes()
	var pids []int
	for _, p := range all {
		if p.ppid == k.self {
			pids = append(pids, p.pid)
		}
	}
	return pids
}

func (k *kin) strangersOf(pids []int) []proc {
	// A child that is being started is listed before it is known. Looked at in
	// this order, one that is not known after all is no such child when no fork
	// is under way; when one is, only what bears the sign of a tree is a stranger
	// for certain, and the rest is left to the next look.
	forking := k.forking.Load() > 0
	k.mu.Lock()
	pids = slices.DeleteFunc(pids, func(pid int) bool {
		t := k.trees[pid]
		return t != nil && !t.reaped
	})
	k.mu.Unlock()

	var found []proc
	for _, pid := range pids {
		p, ok := readProc(pid)
		switch {
		case !ok || p.ppid != k.self:
		case p.sid == k.session:
			// Started elsewhere in this program. Steps are in sessions of their own
			// and cannot come back to ours.
		case forking && k.owner(p) == nil:
		case p.zombie:
			unix.Wait4(pid, nil, unix.WNOHANG, nil)
			k.forget(p)
		default:
			found = append(found, p)
		}
	}
	return found
}

// byMark finds the tree that a process says it belongs to.
func (k *kin) byMark(pid int) *tree {
	env := environ(pid)
	if len(env) == 0 {
		return nil
	}
	env = append([]byte{0}, env...)
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, t := range k.trees {
		if t.mark != nil && bytes.Contains(env, slices.Concat([]byte{0}, t.mark, []byte{0})) {
			return t
		}
	}
	return nil
}

// owner names the tree of a stranger: by its session, by having been seen
// there, or by its mark. It is nil when none fits.
func (k *kin) owner(p proc) *tree {
	k.mu.Lock()
	t := k.trees[p.sid]
	for _, each := range k.trees {
		if start, ok := each.seen[p.pid]; ok && start == p.start {
			t = each
		}
	}
	k.mu.Unlock()
	if t == nil {
		t = k.byMark(p.pid)
	}
	return t
}

// adopt remembers a stranger whose tree is not known.
func (k *kin) adopt(p proc) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if o, ok := k.orphans[p.pid]; !ok || o.start != p.start {
		k.orphans[p.pid] = orphan{start: p.start, serial: k.serial}
		k.ledger.add(p.pid, p.start)
	}
}

// due returns the noted strangers that no living tree can have left behind,
// not counting t.
func (k *kin) due(strangers []proc, t *tree) []proc {
	k.mu.Lock()
	defer k.mu.Unlock()
	oldest := int64(math.MaxInt64)
	for _, each := range k.trees {
		if each != t && each.role == step {
			oldest = min(oldest, each.serial)
		}
	}
	return slices.DeleteFunc(strangers, func(p proc) bool {
		o, ok := k.orphans[p.pid]
		return !ok || o.start != p.start || o.serial >= oldest
	})
}

// members returns the living processes of t, and with last those strangers
// too that would have to go with it.
func (k *kin) members(t *tree, last bool) []proc {
	strangers := k.strangers()
	k.mu.Lock()
	led := !t.reaped
	k.mu.Unlock()
	if !led && len(strangers) == 0 {
		return nil
	}
	roots := map[int]bool{}
	if led {
		roots[t.leader] = true
	}
	var unknown []proc
	for _, p := range strangers {
		switch k.owner(p) {
		case t:
			roots[p.pid] = true
		case nil:
			k.adopt(p)
			unknown = append(unknown, p)
		}
	}
	if last {
		for _, p := range k.due(unknown, t) {
			roots[p.pid] = true
		}
	}
	if len(roots) == 0 {
		return nil
	}
	all, err := processes()
	if err != nil {
		return nil
	}
	found := slices.DeleteFunc(all.below(roots), func(p proc) bool { return p.zombie })
	k.mu.Lock()
	defer k.mu.Unlock()
	if t.seen == nil {
		t.seen = map[int]uint64{}
	}
	for _, p := range found {
		t.seen[p.pid] = p.start
	}
	return found
}

// forget says that an orphan has been reaped.
func (k *kin) forget(p proc) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.orphans[p.pid]; ok {
		delete(k.orphans, p.pid)
		k.ledger.remove(p.pid)
	}
}

// tend reaps orphans that have ended and notes those that live, for a step
// that takes long.
func (k *kin) tend() {
	for _, p := range k.strangers() {
		if k.owner(p) == nil {
			k.adopt(p)
		}
	}
}
