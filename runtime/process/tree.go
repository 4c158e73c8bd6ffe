package process

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// A role is what a tree is there for.
type role int

const (
	step   role = iota // its last process ends before the attempt does
	helper             // a program that Piper runs for itself
	watch              // a guard
)

// A tree is a leader and all that came from it.
type tree struct {
	leader int
	role   role
	serial int64
	mark   []byte         // an entry of the leader's environment that no other tree has; may be empty
	reaped bool           // the leader's pid no longer means the leader
	seen   map[int]uint64 // starts of the processes once found in it, by pid
}

// family is all processes that come from this one. The kernel keeps one list
// of children for the whole process, and gives orphans to the process and not
// to one of its Executors, so there is one family, whatever the number of
// Executors.
var family kin

// errUnkillable is how kill ends when processes outlive SIGKILL.
var errUnkillable = errors.New("processes cannot be killed")

// register makes a tree of a leader that was just started.
func (k *kin) register(leader int, r role, mark string) *tree {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.serial++
	t := &tree{leader: leader, role: r, serial: k.serial}
	if mark != "" {
		t.mark = []byte(mark)
	}
	k.trees[leader] = t
	if r != watch {
		k.ledger.add(leader, 0)
	}
	return t
}

// wait waits for the leader of t, with the flags of wait4. It returns no pid
// when the leader has not ended.
func (k *kin) wait(t *tree, flags int) (pid int, status unix.WaitStatus, err error) {
	for {
		pid, err = unix.Wait4(t.leader, &status, flags, nil)
		if err != unix.EINTR {
			break
		}
	}
	if err != nil || pid == t.leader {
		k.reaped(t)
	}
	return pid, status, err
}

// end forgets t, whose processes have all ended.
func (k *kin) end(t *tree) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.trees[t.leader] == t {
		delete(k.trees, t.leader)
	}
	if t.role != watch {
		k.ledger.remove(t.leader)
	}
}

// note tells the guards what marks the processes of a build.
func (k *kin) note(mark string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ledger.mark(mark)
}

// signal sends sig to every process of t.
func (k *kin) signal(t *tree, sigs ...unix.Signal) {
	for _, p := range k.members(t, false) {
		for _, sig := range sigs {
			signalProc(p, sig)
		}
	}
}

// kill ends every process of t, and returns the names of those that it had to
// kill. The leader must have been reaped, or be waited for elsewhere.
func (k *kin) kill(t *tree, patience time.Duration) (names []string, err error) {
	found := k.members(t, true)
	if len(found) == 0 {
		return nil, nil
	}
	k.sweeping.Lock()
	defer k.sweeping.Unlock()
	killed := map[int]uint64{}
	deadline := time.Now().Add(patience)
	for pause := 200 * time.Microsecond; len(found) > 0; pause = min(2*pause, 20*time.Millisecond) {
		// What is stopped cannot fork, so a tree that grows as fast as it is
		// killed is caught by the first signal and ended by the second.
		for _, p := range found {
			signalProc(p, unix.SIGSTOP)
		}
		for _, p := range found {
			if signalProc(p, unix.SIGKILL) == nil && killed[p.pid] != p.start && p.pid != t.leader {
				killed[p.pid] = p.start
				names = append(names, p.name)
			}
		}
		if time.Now().After(deadline) {
			return names, fmt.Errorf("%w: %s (%d)", errUnkillable, found[0].name, found[0].pid)
		}
		time.Sleep(pause)
		found = k.members(t, true)
	}
	return names, nil
}

// reaped says that the leader of t has been waited for.
func (k *kin) reaped(t *tree) {
	k.mu.Lock()
	defer k.mu.Unlock()
	t.reaped = true
}
