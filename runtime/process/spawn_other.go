//go:build !linux || !(amd64 || arm64)

package process

import "syscall"

// forkExec is syscall.ForkExec here.
func forkExec(path string, argv []string, attr *syscall.ProcAttr) (pid int, err error) {
	return syscall.ForkExec(path, argv, attr)
}
