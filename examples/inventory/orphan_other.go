//go:build !linux

package main

import "syscall"

// dieWithParent: only Linux can promise it. Replicas that are not stopped end
// with their standard input.
func dieWithParent() *syscall.SysProcAttr { return nil }
