package agent

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"syscall"

	"github.com/piper-build/piper/runtime/build"
	"github.com/piper-build/piper/runtime/remove"
	"github.com/piper-build/piper/runtime/store"
)

// A directory is what an agent has on disk:
//
//	lock    held while it lives; says under which ID it lives
//	work/   a workspace for each build that runs, and what that needs meanwhile
//	kept/   those of builds that failed
//
// Who holds the lock knows that whoever wrote it is dead, and that all below
// work/ is nobody's.
type directory struct {
	path     string
	lock     *os.File
	log      *slog.Logger
	removing sync.WaitGroup
}

func openDirectory(path string, log *slog.Logger) (*directory, error) {
	for _, dir := range []string{"work", "kept"} {
		if err := os.MkdirAll(filepath.Join(path, dir), 0o700); err != nil {
			return nil, err
		}
	}
	lock, err := os.OpenFile(filepath.Join(path, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		return nil, fmt.Errorf("lock %s: another agent works there (%w): stop it, or choose another directory", path, err)
	}
	d := &directory{path: path, lock: lock, log: log}
	left, err := os.ReadDir(filepath.Join(path, "work"))
	if err != nil {
		lock.Close()
		return nil, err
	}
	for _, e := range left {
		d.remove(filepath.Join(path, "work", e.Name()))
	}
	return d, nil
}

// Close gives the directory up, once nothing is being removed any more.
func (d *directory) Close() error {
	d.removing.Wait()
	return d.lock.Close()
}

// last is the ID of whoever had the directory before; "" when nobody had, or it
// left in good order.
func (d *directory) last() (store.AgentID, error) {
	text, err := io.ReadAll(io.NewSectionReader(d.lock, 0, 1<<10))
	return store.AgentID(text), err
}

// remember keeps the ID of whoever has it now.
func (d *directory) remember(id store.AgentID) error {
	if err := d.lock.Truncate(0); err != nil {
		return err
	}
	if _, err := d.lock.WriteAt([]byte(id), 0); err != nil {
		return err
	}
	return d.lock.Sync()
}

// workspace is where a build runs under a fence.
func (d *directory) workspace(id build.ID, fence int64) string {
	return filepath.Join(d.path, "work", fmt.Sprintf("%s-%d", id, fence))
}

// keep moves a workspace to where it stays, and returns where that is.
func (d *directory) keep(workspace string) (string, error) {
	to := filepath.Join(d.path, "kept", filepath.Base(workspace))
	err := os.Rename(workspace, to)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil // it was never made
	}
	return to, err
}

// remove deletes a tree, in the background. What cannot be deleted is tried again
// by whoever opens the directory next.
func (d *directory) remove(path string) {
	d.removing.Go(func() {
		if err := remove.Tree(path); err != nil {
			d.log.Warn("something is left of a workspace: see to it, or it is tried again when the agent starts", "dir", path, "error", err)
		}
	})
}
