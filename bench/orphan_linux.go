package main

import "syscall"

// dieWithParent has the kernel kill a server when this process is gone, even if
// it was killed itself.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
