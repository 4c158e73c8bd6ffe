package elastictest

import "syscall"

// bind has the kernel end the server with this process.
func bind(a *syscall.SysProcAttr) { a.Pdeathsig = syscall.SIGKILL }
