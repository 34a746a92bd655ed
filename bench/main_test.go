package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain also proves that servers are gone when a measurement is over: each
// has a goroutine that waits for its process.
func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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
		{"-only", "nothing is called so"}, {"-rivals", "("}, {"-rounds", "-1"}, {"-duration", "1ns"}, {"-retry", "-1s"}, {"left over"},
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
