//go:build !unix

package testserver

import "syscall"

// run: there is no root to run as.
func (u *User) run(attr *syscall.SysProcAttr) *syscall.SysProcAttr { return attr }
