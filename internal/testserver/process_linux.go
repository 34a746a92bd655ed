package testserver

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"syscall"
)

func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}

// Suspend stops a process (SIGSTOP) and returns when the process has in fact stopped: the signal alone leaves
// a process on another core running for a moment.
func Suspend(p *os.Process) error {
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	gone := false
	stopped := func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Pid))
		if err != nil {
			gone = true
			return true
		}
		// The state follows the command name, which is in parentheses.
		_, rest, _ := bytes.Cut(stat, []byte(") "))
		return bytes.HasPrefix(rest, []byte("T"))
	}
	if !Poll(stopped) {
		return errors.New("the process did not stop")
	}
	if gone {
		return os.ErrProcessDone
	}
	return nil
}

// Resume lets a suspended process go on (SIGCONT).
func Resume(p *os.Process) error { return p.Signal(syscall.SIGCONT) }
