package process

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/piper-build/piper/runtime/process/landlock"
)

// CanConfine says why this machine cannot confine programs; nil when it can.
func CanConfine() error {
	if landlock.Version() < 2 { // which forbids every move from one directory to another
		return errors.New("the kernel has no Landlock, or not of version 2 (Linux 5.19)")
	}
	return nil
}

// confined calls start in a thread whose children are confined.
func (c Confinement) confined(start func() error) error {
	if !c.Confines() {
		return start()
	}
	if err := family.start(); err != nil { // which opens files
		return err
	}
	rules, err := c.rules()
	if err != nil {
		return fmt.Errorf("confine it: %w", err)
	}
	defer rules.Close()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: the thread ends with this goroutine
		err := rules.RestrictThread()
		if err != nil {
			err = fmt.Errorf("confine it: %w", err)
		} else {
			err = start()
		}
		done <- err
	}()
	return <-done
}

// rules allow all but what is hidden.
func (c Confinement) rules() (*landlock.Ruleset, error) {
	if err := CanConfine(); err != nil {
		return nil, err
	}
	self, err := os.Executable() // which children are
	if err != nil {
		return nil, err
	}
	rules := &landlock.Ruleset{
		Files:  landlock.Files(min(landlock.Version(), 3)), // nothing about devices
		Scoped: unix.LANDLOCK_SCOPE_SIGNAL,
	}
	if err := rules.Open(); err != nil {
		return nil, err
	}
	all := func(path string, dir bool) error { return rules.Allow(path, dir, rules.Files) }
	err = c.beside(all)
	for _, path := range c.Visible {
		info, failed := os.Stat(path)
		if failed == nil {
			failed = all(resolved(path), info.IsDir())
		}
		err = errors.Join(err, failed)
	}
	if err = errors.Join(err, rules.Allow(resolved(self), false, landlock.Read|landlock.Execute)); err != nil {
		rules.Close()
		return nil, err
	}
	return rules, nil
}

// writable reports whether this process may make files in a directory.
func writable(dir string) bool {
	return unix.Faccessat(unix.AT_FDCWD, dir, unix.W_OK|unix.X_OK, unix.AT_EACCESS) == nil
}
