//go:build !unix

package testserver

import (
	"errors"
	"os"
	"syscall"
)

// dieWithParent: only Linux can promise it; here the test's cleanup has to do.
func dieWithParent() *syscall.SysProcAttr { return nil }

// Suspend stops a process (SIGSTOP).
func Suspend(*os.Process) error { return errors.ErrUnsupported }

// Resume lets a suspended process go on (SIGCONT).
func Resume(*os.Process) error { return errors.ErrUnsupported }
