//go:build !unix

package redistest

import (
	"errors"
	"os"
	"syscall"
)

// dieWithParent: only Linux can promise it; here the test's cleanup has to do.
func dieWithParent() *syscall.SysProcAttr { return nil }

func suspend(*os.Process) error { return errors.ErrUnsupported }

func resume(*os.Process) error { return errors.ErrUnsupported }
