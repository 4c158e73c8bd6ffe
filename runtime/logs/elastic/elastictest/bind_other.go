//go:build !linux

package elastictest

import "syscall"

// bind does nothing: no other system ends a child with its parent.
func bind(*syscall.SysProcAttr) {}
