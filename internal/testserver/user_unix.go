//go:build unix

package testserver

import "syscall"

// run makes a process with attr run as u.
func (u *User) run(attr *syscall.SysProcAttr) *syscall.SysProcAttr {
	if attr == nil {
		attr = &syscall.SysProcAttr{}
	}
	attr.Credential = &syscall.Credential{Uid: uint32(u.uid), Gid: uint32(u.gid)}
	return attr
}
