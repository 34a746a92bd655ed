package redistest

import (
	"os"
	"testing"

	"github.com/jobguard/jobguard/internal/testserver"
)

// Suspend stops a process of the test (SIGSTOP). When it returns, p executes
// nothing until [Resume].
func Suspend(t testing.TB, p *os.Process) {
	t.Helper()
	if err := testserver.Suspend(p); err != nil {
		t.Errorf("redistest: suspend process %d: %v", p.Pid, err)
	}
}

// Resume lets a suspended process go on (SIGCONT).
func Resume(t testing.TB, p *os.Process) {
	t.Helper()
	if err := testserver.Resume(p); err != nil {
		t.Errorf("redistest: resume process %d: %v", p.Pid, err)
	}
}
