//go:build !linux

package process

import (
	"errors"

	"golang.org/x/sys/unix"
)

// CanConfine says why this machine cannot confine programs; nil when it can.
func CanConfine() error { return errors.New("it takes Landlock, which only Linux has") }

// confined calls start, if nothing is to be hidden.
func (c Confinement) confined(start func() error) error {
	if c.Confines() {
		return CanConfine()
	}
	return start()
}

// writable reports whether this process may make files in a directory.
func writable(dir string) bool { return unix.Access(dir, unix.W_OK|unix.X_OK) == nil }
