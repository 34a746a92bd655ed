//go:build !linux

package main

import "syscall"

// dieWithParent: only Linux can promise it; elsewhere a run that is killed
// leaves its server behind.
func dieWithParent() *syscall.SysProcAttr { return nil }
