package guardtest

import (
	"testing"

	"github.com/jobguard/jobguard/guard/journal/logtest"
)

func TestLogConformance(t *testing.T) {
	logtest.Run(t, func(*testing.T) logtest.Fixture {
		l := NewLog()
		return logtest.Fixture{A: l, B: l}
	})
}
