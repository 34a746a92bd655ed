package monitoring_test

import (
	"bytes"
	"os/exec"
	"regexp"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long things may take that take a second on an idle machine.
const patience = 2 * time.Minute

// output collects what a process prints. The process' own goroutines write, the
// test reads.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

// launch starts a process and returns what it says about its address: the first
// group of address in what it prints. It is stopped when the test ends, and
// shown if the test failed; on Linux it also ends when the test process is
// killed.
func launch(t *testing.T, address *regexp.Regexp, cmd *exec.Cmd) string {
	t.Helper()
	var out output
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = dieWithParent()

	started, exited := make(chan error), make(chan struct{})
	go func() { // ends with the process, which the clean-up below ends
		// The kernel ends the child with the thread that started it.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // it was stopped, so its error says nothing
			close(exited)
		}
	}()
	if err := <-started; err != nil {
		t.Fatalf("start %s: %v", cmd.Path, err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // fails only if it is gone
		select {
		case <-exited:
		case <-time.After(5 * time.Second):
			_ = cmd.Process.Kill() // the same
			<-exited
		}
		if t.Failed() {
			t.Logf("%s printed:\n%s", cmd.Path, out.String())
		}
	})

	var found []string
	eventually(t, cmd.Path+" says where it listens", func() bool {
		select {
		case <-exited:
			t.Fatalf("%s exited at once", cmd.Path)
		default:
		}
		found = address.FindStringSubmatch(out.String())
		return found != nil
	})
	return found[1]
}

// eventually waits until ok holds and fails the test if it never does.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited %v in vain: %s", patience, what)
		}
	}
}
