package process

import (
	"slices"
	"syscall"
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
	leader int // 0 until it has been started
	role   role
	serial int64
	mark   string         // an entry of the leader's environment that no other tree has; may be empty
	output string         // what its output is called in /proc/PID/fd; may be empty
	reaped bool           // the leader's pid no longer means the leader
	seen   map[int]uint64 // starts of the processes once found in it, by pid
}

// family is all processes that come from this one. The kernel keeps one list
// of children for the whole process, and gives orphans to the process and not
// to one of its Executors, so there is one family, whatever the number of
// Executors.
var family kin

// Unkillable is the error of what has left processes that outlive SIGKILL, such as
// those that wait for a disk that does not answer.
type Unkillable struct{ left []proc }

func (u *Unkillable) Error() string {
	return "processes cannot be killed: " + u.left[0].String()
}

// Living names those that live still.
func (u *Unkillable) Living() (names []string) {
	for _, p := range u.left {
		if now, ok := readProc(p.pid); ok && now.start == p.start && !now.zombie {
			names = append(names, p.String())
		}
	}
	return names
}

// begin adds t, whose leader is about to be started.
func (k *kin) begin(t *tree) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.serial++
	t.serial = k.serial
	k.trees[t] = true
}

// lead names the leader of t.
func (k *kin) lead(t *tree, leader int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	t.leader = leader
	if t.role != watch {
		k.ledger.add(leader, 0)
	}
}

// wait waits for the leader of t and reaps it.
func (k *kin) wait(t *tree) (status syscall.WaitStatus, err error) {
	for {
		k.listing.Lock()
		pid, err := syscall.Wait4(t.leader, &status, syscall.WNOHANG, nil)
		if err != syscall.EINTR && (err != nil || pid == t.leader) {
			k.reaped(t)
			k.listing.Unlock()
			return status, err
		}
		k.listing.Unlock()
		if err == nil {
			awaitExit(t.leader)
		}
	}
}

// end forgets t, whose processes have all ended.
func (k *kin) end(t *tree) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.trees, t)
	if t.role != watch && t.leader != 0 {
		k.ledger.remove(t.leader, 0)
	}
	for pid, start := range t.seen {
		k.ledger.remove(pid, start)
	}
}

// see remembers processes of t. Of those that have left its group and session the
// guards are told: this process may end while it kills them, and may have killed
// by then who told where they come from.
func (k *kin) see(t *tree, found []proc) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if t.seen == nil {
		t.seen = map[int]uint64{}
	}
	for _, p := range found {
		before, seen := t.seen[p.pid]
		if seen && before == p.start {
			continue
		}
		t.seen[p.pid] = p.start
		if seen {
			k.ledger.remove(p.pid, before)
		}
		if t.role != watch && p.pgid != t.leader && p.sid != t.leader {
			k.ledger.add(p.pid, p.start)
		}
	}
}

// note tells the guards what marks the processes of a build.
func (k *kin) note(mark string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ledger.mark(mark)
}

// signal sends sigs to every process of t, whose leader has not been waited for.
// The leader's group gets them from the kernel, all at once: a child that is
// being forked meanwhile either is in the group already or never comes to be.
func (k *kin) signal(t *tree, sigs ...unix.Signal) {
	found := k.members(t, false)
	for _, sig := range sigs {
		unix.Kill(-t.leader, sig)
		for _, p := range found {
			if p.pgid != t.leader {
				signalProc(p, sig)
			}
		}
	}
}

// kill ends every process of t and returns their names, but not the leader's,
// which it leaves to be waited for. It gives up after patience.
func (k *kin) kill(t *tree, patience time.Duration) (names []string, err error) {
	found := k.members(t, true)
	if len(found) == 0 {
		return nil, nil
	}
	k.sweeping.Lock()
	defer k.sweeping.Unlock()
	killed := map[int]uint64{}
	began := time.Now()
	deadline := began.Add(patience)
	for pause := 200 * time.Microsecond; len(found) > 0; pause = min(2*pause, 20*time.Millisecond) {
		// What is stopped cannot fork, so a tree that grows as fast as it is
		// killed is caught by the first signal and ended by the second.
		grouped := false
		if time.Since(began) < guardTime {
			// A guard that is killed first, or stopped, would not go on if this
			// process ended now.
			if others := slices.DeleteFunc(slices.Clone(found), isGuard); len(others) > 0 {
				found = others
			}
		}
		for _, p := range found {
			if p.pgid == t.leader && !grouped {
				grouped = unix.Kill(-p.pgid, unix.SIGKILL) == nil // all at once, so forking does not help
			}
			signalProc(p, unix.SIGSTOP)
		}
		for _, p := range found {
			reached := signalProc(p, unix.SIGKILL) == nil || grouped && p.pgid == t.leader
			if reached && killed[p.pid] != p.start && p.pid != t.leader {
				killed[p.pid] = p.start
				names = append(names, p.name)
			}
		}
		if time.Now().After(deadline) {
			k.giveUp(found)
			return names, &Unkillable{found}
		}
		time.Sleep(pause)
		found = k.members(t, true)
	}
	return names, nil
}

// outlive calls wait, which waits for the leader of t, kills what that has left, and
// returns what wait did. When killed is done it does not wait for what nobody can
// kill: then it returns stuck, and the leader may live on.
func (t *tree) outlive(killed <-chan struct{}, wait func() error) (err, stuck error) {
	defer family.end(t)
	ended := make(chan error, 1)
	go func() {
		err := wait()
		family.reaped(t)
		ended <- err
	}()
	select {
	case err = <-ended:
	case <-killed:
		if _, stuck = family.kill(t, defaultPatience); stuck != nil {
			return nil, stuck
		}
		err = <-ended
	}
	_, stuck = family.kill(t, defaultPatience)
	return err, stuck
}

// giveUp says that processes cannot be killed, so that no other step waits for
// them.
func (k *kin) giveUp(lost []proc) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.lost == nil {
		k.lost = map[int]uint64{}
	}
	for _, p := range lost {
		k.lost[p.pid] = p.start
	}
}

// reaped says that the leader of t has been waited for.
func (k *kin) reaped(t *tree) {
	k.mu.Lock()
	defer k.mu.Unlock()
	t.reaped = true
}
