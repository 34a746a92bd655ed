//go:build unix && !linux

package testserver

import (
	"os"
	"syscall"
)

// dieWithParent: only Linux can promise it; here the test's cleanup has to do.
func dieWithParent() *syscall.SysProcAttr { return nil }

// Suspend stops a process (SIGSTOP).
func Suspend(p *os.Process) error { return p.Signal(syscall.SIGSTOP) }

// Resume lets a suspended process go on (SIGCONT).
func Resume(p *os.Process) error { return p.Signal(syscall.SIGCONT) }
