//go:build !linux

package monitoring_test

import "syscall"

// dieWithParent: only Linux can promise it; here the test's clean-up has to do.
func dieWithParent() *syscall.SysProcAttr { return nil }
