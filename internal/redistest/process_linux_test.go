package redistest_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jobguard/jobguard/internal/redistest"
)

// TestServersDieWithAKilledTestProcess kills a copy of this test binary that has
// started a server.
func TestServersDieWithAKilledTestProcess(t *testing.T) {
	const role = "REDISTEST_START_AND_WAIT"
	if os.Getenv(role) != "" {
		s := redistest.Start(t)
		fmt.Printf("\npid %d\n", s.Pid())
		time.Sleep(time.Minute)
		return
	}
	child := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$")
	child.Env = append(os.Environ(), role+"=1", "TMPDIR="+t.TempDir())
	out, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var pid int
	for lines := bufio.NewScanner(out); pid == 0 && lines.Scan(); {
		_, _ = fmt.Sscanf(lines.Text(), "pid %d", &pid) // most lines say something else
	}
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = child.Wait() // killed, as intended
	if pid == 0 {
		t.Fatal("the child started no server")
	}
	eventually(t, "the orphan dies", func() bool { return !alive(pid) })
}

// alive reports whether a process runs; a zombie does not.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(stat), ") Z ")
}

func TestServerHasStoppedWhenPauseReturns(t *testing.T) {
	s := redistest.Start(t)
	c := s.Client(t)
	for range 50 {
		if err := c.Incr(within(t), "n").Err(); err != nil { // awake
			t.Fatal(err)
		}
		s.Pause()
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.Pid()))
		if err != nil || !strings.Contains(string(stat), ") T ") {
			t.Fatalf("not stopped: %s, %v", stat, err)
		}
		s.Resume()
	}
}

func TestProcessHasStoppedWhenSuspendReturns(t *testing.T) {
	child := exec.Command("cat", "/dev/zero")
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = child.Process.Kill()
		_ = child.Wait() // killed, as intended
	})
	state := func() string {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", child.Process.Pid))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Fields(string(stat))[2]
	}
	for range 50 {
		redistest.Suspend(t, child.Process)
		if s := state(); s != "T" {
			t.Fatalf("state %s after Suspend", s)
		}
		redistest.Resume(t, child.Process)
		if s := state(); s == "T" {
			t.Fatal("still stopped after Resume")
		}
	}
}
