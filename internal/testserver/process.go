package testserver

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"
)

// Patience is how long a server may take for what it does in milliseconds on an
// idle machine. It is long because test machines are busy.
const Patience = 30 * time.Second

// A Process is one run of a server. Its output goes to a file.
type Process struct {
	*os.Process
	cmd    *exec.Cmd
	log    string
	err    error         // how it ended; set before exited is closed
	exited chan struct{} // closed when the process is gone and reaped
}

// Start runs binary in dir, as user if it is not nil. The process dies with this one (on Linux):
// the kernel sends the parent-death signal when the *thread* that started the
// child ends, so the goroutine that starts it keeps its thread until the child
// is gone.
func Start(user *User, dir, binary string, args ...string) (*Process, error) {
	log, err := os.CreateTemp(dir, filepath.Base(binary)+"-*.log")
	if err != nil {
		return nil, fmt.Errorf("create log file: %w", err)
	}
	p := &Process{
		cmd:    exec.Command(binary, args...),
		log:    log.Name(),
		exited: make(chan struct{}),
	}
	p.cmd.Dir = dir
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = dieWithParent()
	if user != nil {
		p.cmd.SysProcAttr = user.run(p.cmd.SysProcAttr)
	}

	started := make(chan error)
	go func() { // ends with the process, which Kill, Stop or the test's cleanup ends
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		_ = log.Close() // the child has its own descriptor
		started <- err
		if err == nil {
			p.err = p.cmd.Wait()
			close(p.exited)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", binary, err)
	}
	p.Process = p.cmd.Process
	return p, nil
}

// Running reports whether the process is there.
func (p *Process) Running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// Wait returns when the process has ended by itself, and how it did.
func (p *Process) Wait() error {
	<-p.exited
	return p.err
}

// Kill ends the process, stopped or not, and waits until it is gone.
func (p *Process) Kill() {
	_ = p.Process.Kill() // fails only if it is gone already
	<-p.exited
}

// Stop asks the process to end and waits until it is gone, or kills it.
func (p *Process) Stop(ask os.Signal) {
	_ = p.Signal(ask) // fails only if it is gone already
	select {
	case <-p.exited:
	case <-time.After(Patience):
		p.Kill()
	}
}

// Output returns the last part of what the process printed.
func (p *Process) Output() string {
	const tail = 4000
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return filepath.Base(p.log) + ":\n" + string(text[max(0, len(text)-tail):])
}

// Poll calls ok every few milliseconds until it holds or Patience is at its end.
func Poll(ok func() bool) bool {
	for deadline := time.Now().Add(Patience); ; time.Sleep(5 * time.Millisecond) {
		if ok() {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}
