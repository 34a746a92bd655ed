package cronwrap_test

import (
	"context"
	"errors"
	"flag"
	"os"
	"testing"
	"time"
	_ "time/tzdata" // the tests of DST need New York wherever they run

	"github.com/robfig/cron/v3"
	"go.uber.org/goleak"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func TestMain(m *testing.M) {
	if addr := os.Getenv(childEnv); addr != "" {
		child(addr)
		return
	}
	// Those that may run beside each other wait for ticks.
	if err := flag.Set("test.parallel", "8"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

var errJob = errors.New("no paper")

func nothing(context.Context) error { return nil }

func mustGuard(t testing.TB) *guard.Guard {
	t.Helper()
	g, err := guard.New(guardtest.NewStore())
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func newCron() *cron.Cron { return cron.New(cron.WithSeconds(), cron.WithLocation(time.UTC)) }
