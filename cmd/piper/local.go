package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/piper-build/piper/runtime/store"
	"github.com/piper-build/piper/runtime/store/sqlite"
)

// keepBuilds is how many builds of a project that ran here stay in the store.
// Older ones are removed when a newer one ends.
const keepBuilds = 20

// A local is the store in which this process records the builds that it runs
// itself, as an agent of which nobody else knows: the builds are for it alone.
// That it lives is told by a file, running/<id> beside the database, which it
// holds locked.
type local struct {
	path string // of the database
	id   store.AgentID

	once  sync.Once
	store *sqlite.Store // once open has returned
	lock  *os.File
	err   error
	left  bool // a build of this process has not ended there
}

func newLocal(path string) *local {
	var id [16]byte
	rand.Read(id[:]) // never fails
	return &local{path: path, id: store.AgentID(hex.EncodeToString(id[:]))}
}

// open opens the store the first time it is called. Builds of processes that
// are gone are taken out of the way.
func (l *local) open(ctx context.Context) error {
	l.once.Do(func() {
		if l.store, l.err = sqlite.Open(ctx, l.path, sqlite.Options{Relaxed: true}); l.err != nil {
			return
		}
		if l.lock, l.err = hold(l.running(), string(l.id)); l.err == nil {
			l.err = l.bury(ctx)
		}
	})
	return l.err
}

// close tells that this process runs nothing any more. What it has left without
// an end is found by the next that opens the store. The database stays open
// until the process ends: closing it would carry all that is new from its log
// into the file, and wait for the disk.
func (l *local) close() {
	if l == nil || l.lock == nil {
		return
	}
	if !l.left {
		os.Remove(filepath.Join(l.running(), string(l.id))) // else the next who opens the store does it
	}
	l.lock.Close()
}

func (l *local) running() string { return filepath.Join(filepath.Dir(l.path), "running") }

// hold makes a file in dir that is locked from the moment it can be seen.
func hold(dir, name string) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	hidden := filepath.Join(dir, "."+name)
	f, err := os.OpenFile(hidden, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		err = os.Rename(hidden, filepath.Join(dir, name))
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", hidden, err), f.Close(), os.Remove(hidden))
	}
	return f, nil
}

// bury calls the builds lost whose process is gone without having ended them.
func (l *local) bury(ctx context.Context) error {
	entries, err := os.ReadDir(l.running())
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") || e.Name() == string(l.id) {
			continue
		}
		if err := l.buryOne(ctx, e.Name()); err != nil {
			return fmt.Errorf("take builds of a process that is gone out of the way: %w", err)
		}
	}
	return nil
}

func (l *local) buryOne(ctx context.Context, name string) error {
	file := filepath.Join(l.running(), name)
	f, err := os.Open(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil // it has just ended
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) != nil {
		return nil // it lives
	}
	builds, err := l.store.Running(ctx, store.AgentID(name))
	if err != nil {
		return err
	}
	for _, b := range builds {
		_, err := l.store.Change(ctx, b.ID, store.Rescue{Owner: b.Owner, Fence: b.Fence, Max: b.Attempt, At: now()})
		if err != nil && !errors.Is(err, store.ErrFenced) { // somebody else did
			return err
		}
	}
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// collect removes builds of a project that ran here, the newest keepBuilds
// apart. It looks at a page of builds at most, and takes away a few of them: what
// is left is for the next time.
func (l *local) collect(ctx context.Context, project string) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("remove old builds: %w", err)
		}
	}()
	const page, most = 3 * keepBuilds, 2 * collectEvery
	builds, _, err := l.store.List(ctx, store.Filter{Project: project}, "", page)
	if err != nil {
		return err
	}
	here := 0
	for i := range builds {
		b := &builds[i]
		if b.Request.Here == "" || !b.Terminal() {
			continue
		}
		if here++; here <= keepBuilds || here > keepBuilds+most {
			continue
		}
		if err := store.Delete(ctx, l.store, b); err != nil {
			return err
		}
	}
	return nil
}

// now is the time as stores keep it.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }
