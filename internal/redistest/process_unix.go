//go:build unix && !linux

package redistest

import (
	"os"
	"syscall"
)

// dieWithParent: only Linux can promise it; here the test's cleanup has to do.
func dieWithParent() *syscall.SysProcAttr { return nil }

func suspend(p *os.Process) error { return p.Signal(syscall.SIGSTOP) }

func resume(p *os.Process) error { return p.Signal(syscall.SIGCONT) }
