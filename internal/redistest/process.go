package redistest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"
)

// Suspend stops a process of the test (SIGSTOP). When it returns, p executes
// nothing until [Resume].
func Suspend(t testing.TB, p *os.Process) {
	t.Helper()
	if err := suspend(p); err != nil {
		t.Errorf("redistest: suspend process %d: %v", p.Pid, err)
	}
}

// Resume lets a suspended process go on (SIGCONT).
func Resume(t testing.TB, p *os.Process) {
	t.Helper()
	if err := resume(p); err != nil {
		t.Errorf("redistest: resume process %d: %v", p.Pid, err)
	}
}

// A process is one run of redis-server. Its output goes to a file.
type process struct {
	cmd    *exec.Cmd
	log    string
	exited chan struct{} // closed when the process is gone and reaped
}

// startProcess runs binary in dir. The process dies with this one (on Linux):
// the kernel sends the parent-death signal when the *thread* that started the
// child ends, so the goroutine that starts it keeps its thread until the child
// is gone.
func startProcess(binary, dir string, args []string) (*process, error) {
	log, err := os.CreateTemp(dir, "redis-*.log")
	if err != nil {
		return nil, fmt.Errorf("create log file: %w", err)
	}
	p := &process{
		cmd:    exec.Command(binary, args...),
		log:    log.Name(),
		exited: make(chan struct{}),
	}
	p.cmd.Dir = dir
	p.cmd.Stdout, p.cmd.Stderr = log, log
	p.cmd.SysProcAttr = dieWithParent()

	started := make(chan error)
	go func() { // ends with the process, which kill or the test's cleanup ends
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		_ = log.Close() // the child has its own descriptor
		started <- err
		if err == nil {
			_ = p.cmd.Wait() // how it ended is of no interest: we kill it
			close(p.exited)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", binary, err)
	}
	return p, nil
}

func (p *process) running() bool {
	select {
	case <-p.exited:
		return false
	default:
		return true
	}
}

// kill ends the process, stopped or not, and waits until it is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // fails only if it is gone already
	<-p.exited
}

// output returns the last part of what the process printed.
func (p *process) output() string {
	const tail = 4000
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	return filepath.Base(p.log) + ":\n" + string(text[max(0, len(text)-tail):])
}

// poll calls ok every few milliseconds until it holds or patience is at its end.
func poll(ok func() bool) bool {
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if ok() {
			return true
		}
		if time.Now().After(deadline) {
			return false
		}
	}
}
