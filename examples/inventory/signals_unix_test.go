//go:build unix

package main_test

import (
	"bufio"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jobguard/jobguard/internal/redistest"
)

// Ctrl-C is most awkward while a replica is stopped and cannot die by itself.
func TestInterruptLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	s := start(t, inventory, nil, "-redis", server.Addr())
	s.out.waitFor(t, "is stopped there")
	if err := s.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	interrupted := time.Now()
	if code := s.end(); code != 130 {
		t.Errorf("exit code %d", code)
	}
	if took := time.Since(interrupted); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	if got := s.stderr.String(); got != "inventory: interrupted\n" {
		t.Errorf("complaint: %q", got)
	}
	if n := server.Client(t).DBSize(t.Context()).Val(); n != 0 {
		t.Errorf("%d keys left", n)
	}
}

// What could not be removed is named, also after Ctrl-C.
func TestWhatIsLeftBehindIsTold(t *testing.T) {
	t.Parallel()
	server := redistest.Start(t)
	h := serve(t, "-replicas", "2", "-redis", server.Addr())
	h.waitFor("sales", func(v seen) bool { return v.With.Sold > 0 })
	server.Kill()
	if err := h.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	_ = h.wait() // the exit code tells
	if code := h.cmd.ProcessState.ExitCode(); code != 1 {
		t.Errorf("exit code %d", code)
	}
	h.leftNoProcess()
	h.leftNoFile()
	if got := h.stderr.String(); !strings.Contains(got, "inventory: something is left behind: remove what begins with inventory-") {
		t.Errorf("complaint: %q", got)
	}
}

// A signal to the whole group, as of a terminal that is closed or of timeout(1), is the
// stage's to handle: replicas end their work first.
func TestSignalsToAllProcessesEndTheShopInOrder(t *testing.T) {
	t.Parallel()
	signals := []syscall.Signal{syscall.SIGINT, syscall.SIGTERM}
	if !signal.Ignored(syscall.SIGHUP) {
		signals = append(signals, syscall.SIGHUP)
	}
	for _, s := range signals {
		t.Run(s.String(), func(t *testing.T) {
			t.Parallel()
			h := &house{show: prepare(t, inventory, nil, "-serve", "-listen", "127.0.0.1:0", "-replicas", "2")}
			h.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
			h.start()
			h.out.waitFor(t, "break things: http://")
			h.url = address.FindString(h.out.String())
			h.waitFor("sales", func(v seen) bool { return v.With.Sold > 0 })
			if err := syscall.Kill(-h.cmd.Process.Pid, s); err != nil {
				t.Fatal(err)
			}
			if err := h.wait(); err != nil {
				t.Errorf("after %v: %v", s, err)
			}
			// On a busy machine a step may be late, but no replica dies of the signal.
			if got := h.stderr.String(); strings.Contains(got, "signal: ") {
				t.Errorf("complaints: %s", got)
			}
			h.leftNoProcess()
			h.leftNoFile()
		})
	}
}

// Under nohup the end of the terminal is nothing to it.
func TestShopUnderNohupOutlivesItsTerminal(t *testing.T) {
	t.Parallel()
	h := &house{show: prepare(t, inventory, nil)}
	h.cmd.Args = []string{"sh", "-c", `trap "" HUP; exec "$0" -serve -listen 127.0.0.1:0 -replicas 2`, h.binary}
	h.cmd.Path = "/bin/sh"
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	h.start()
	h.out.waitFor(t, "break things: http://")
	h.url = address.FindString(h.out.String())
	v := h.waitFor("sales", func(v seen) bool { return v.With.Sold > 0 })
	if err := syscall.Kill(-h.cmd.Process.Pid, syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	h.waitFor("more sales", func(after seen) bool { return after.With.Sold > v.With.Sold+10 })
	h.interrupt()
}

// A replica that ends by itself has failed, and can be started again.
func TestReplicaThatFailedIsStartedAgain(t *testing.T) {
	t.Parallel()
	h := serve(t, "-replicas", "2")
	h.waitFor("all sell", func(v seen) bool { return v.Replicas[0].State == "selling" && v.Replicas[1].State == "selling" })
	for _, pid := range processesOf(t, h.binary) {
		if pid, err := strconv.Atoi(pid); err != nil || pid == h.cmd.Process.Pid {
			continue
		} else if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	h.waitFor("both failed", func(v seen) bool {
		return v.Replicas[0].State == "failed" && v.Replicas[1].State == "failed" && v.logged("replica 1: signal: killed")
	})
	h.press("/replicas/1/go-on")
	h.press("/replicas/2/go-on")
	h.waitFor("all sell again", func(v seen) bool { return v.Replicas[0].State == "selling" && v.Replicas[1].State == "selling" })
	h.interrupt()
}

// As in "go run ./examples/inventory | head -1": the show ends at its next line,
// silently, also while a replica is stopped.
func TestReaderThatLeavesEndsTheShow(t *testing.T) {
	for name, lastLine := range map[string]string{
		"at once":                    "",
		"after a line":               "replicas sell",
		"while a replica is stopped": "is stopped there",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := prepare(t, inventory, nil)
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			s.cmd.Stdout = w
			if lastLine == "" {
				_ = r.Close() // it is not open for writing
			}
			s.start()
			defer time.AfterFunc(2*busyLimit, func() { _ = s.cmd.Process.Kill() }).Stop()
			_ = w.Close() // the child has its own
			for lines := bufio.NewScanner(r); lastLine != "" && lines.Scan(); {
				if strings.Contains(lines.Text(), lastLine) {
					break
				}
			}
			_ = r.Close() // as above
			left := time.Now()
			if code := s.endOnce(); code != 130 {
				t.Errorf("exit code %d", code)
			}
			if took := time.Since(left); took > 5*time.Second {
				t.Errorf("took %v", took)
			}
			if s.stderr.Len() > 0 {
				t.Errorf("complaints: %s", s.stderr.String())
			}
		})
	}
}
