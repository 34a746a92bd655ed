//go:build unix

package main_test

import (
	"bufio"
	"os"
	"strings"
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
