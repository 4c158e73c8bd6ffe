package server

import (
	"os/exec"
	"syscall"
)

// bind has the kernel end the server with this process.
func bind(c *exec.Cmd) { c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
