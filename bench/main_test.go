package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// commandEnv makes a child process of the tests the command itself.
const commandEnv = "BENCH_TEST_COMMAND"

// TestMain also proves that servers are gone when a measurement is over: each
// has a goroutine that waits for its process.
func TestMain(m *testing.M) {
	if os.Getenv(commandEnv) != "" || os.Getenv(pingEnv) != "" {
		main()
		return
	}
	goleak.VerifyTestMain(m)
}

func TestReaderOfTheProgressThatLeavesDoesNotEndTheRun(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Close() // it is not open for writing
	cmd := exec.Command(os.Args[0], "-quick", "-only", "^alone$", "-rivals", "^floor$", "-duration", "20ms")
	cmd.Env = append(os.Environ(), commandEnv+"=1")
	cmd.Stderr = w
	out, err := cmd.Output()
	_ = w.Close() // the child had its own
	if err != nil || !strings.Contains(string(out), "| floor") {
		t.Errorf("%v, and the report is\n%s", err, out)
	}
}

func TestCommandPrintsAndWritesTheSameReport(t *testing.T) {
	file := filepath.Join(t.TempDir(), "results.md")
	var out, progress strings.Builder
	args := []string{"-only", "^(alone|8x8)$", "-rivals", "^(guard|floor)$", "-quick", "-duration", "20ms", "-o", file}
	if err := command(t.Context(), args, &out, &progress); err != nil {
		t.Fatal(err)
	}
	written, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if string(written) != out.String() {
		t.Error("what was written is not what was printed")
	}
	for _, want := range []string{"one key, 8 clients × 8, no work", "Redis 7"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report does not say %q:\n%s", want, out.String())
		}
	}
	if comparison, method := strings.Index(out.String(), "| guard"), strings.Index(out.String(), "## How it was measured"); comparison < 0 || method < comparison || strings.Contains(out.String(), "≥ 0.80 × floor") {
		t.Errorf("the report does not begin with the comparison, or has the bars:\n%s", out.String())
	}
	if n := strings.Count(progress.String(), "round 2/2"); n != 4 {
		t.Errorf("%d measurements in round 2, want 4:\n%s", n, progress.String())
	}
}

func TestFlagsThatCannotBeMeantAreRefused(t *testing.T) {
	for _, args := range [][]string{
		{"-only", "nothing is called so"}, {"-rivals", "("}, {"-rounds", "-1"}, {"-duration", "1ns"}, {"-retry", "-1s"},
		{"-leases", "-1"}, {"-lease-ttl", "1ms"}, {"-lease-ttl", "1m", "-lease-hold", "30s"}, {"left over"},
	} {
		if _, _, err := parse(args, &strings.Builder{}); err == nil {
			t.Errorf("%q was accepted", args)
		}
	}
}

// fewMilliseconds is a plan as short as can be.
func fewMilliseconds() plan {
	return plan{
		workloads: workloads(),
		rivals:    allRivals(),
		rounds:    1,
		duration:  20 * time.Millisecond,
		warmup:    time.Millisecond,
		pairs:     20,
		leases:    100,
		leaseTTL:  3 * time.Second,
		leaseHold: 1500 * time.Millisecond,
	}
}
