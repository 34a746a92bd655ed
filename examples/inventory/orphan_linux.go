package main

import "syscall"

// dieWithParent has the kernel kill a child when its parent is gone: a stopped
// one could not even see the end of its standard input.
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
