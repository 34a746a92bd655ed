package quorum

import (
	"fmt"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// TestMain wants no goroutine left behind. Calls of nodes that do not answer, and what
// cleans up after them, end by their own timeouts.
func TestMain(m *testing.M) {
	code := m.Run()
	var leak error
	for deadline := time.Now().Add(3 * maxAttempt); ; {
		if leak = goleak.Find(); leak == nil || time.Now().After(deadline) {
			break
		}
	}
	if code == 0 && leak != nil {
		fmt.Fprintln(os.Stderr, leak)
		code = 1
	}
	os.Exit(code)
}
