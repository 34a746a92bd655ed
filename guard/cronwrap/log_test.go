package cronwrap_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/jobguard/jobguard/guard/cronwrap"
	"github.com/jobguard/jobguard/guard/guardtest"
)

// A job that is dropped because other code holds its key must be noticed.
func TestTickThatIsDroppedForOtherCodeIsLoggedAsAWarning(t *testing.T) {
	for name, c := range map[string]struct {
		inTheWay func(*guardtest.Store)
		opts     []cronwrap.JobOption
		warnings int
	}{
		"other code":       {func(s *guardtest.Store) { s.Hold("report", "deploy-script") }, nil, 1},
		"an earlier tick":  {func(*guardtest.Store) {}, nil, 0},
		"mutual exclusion": {func(s *guardtest.Store) { s.Hold("report", "deploy-script") }, []cronwrap.JobOption{cronwrap.MutualExclusion()}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			var logged bytes.Buffer
			before := slog.Default()
			slog.SetDefault(slog.New(slog.NewTextHandler(&logged, nil)))
			defer slog.SetDefault(before)
			synctest.Test(t, func(t *testing.T) {
				store, l := guardtest.NewStore(), new(log)
				c.inTheWay(store)
				r := newReplica(t, store, l)
				r.add(t, "@every 10s", "report", sleeping(15*time.Second), c.opts...)
				r.cron.Start()
				time.Sleep(25 * time.Second)
				store.Expire("report")
				l.noErrors(t)
			})
			text := logged.String()
			if n := strings.Count(text, "level=WARN"); n < c.warnings || c.warnings == 0 && n > 0 || n > 0 && !strings.Contains(text, "deploy-script") {
				t.Errorf("%d warnings: %s", n, text)
			}
		})
	}
}

func TestErrorsAndPanicsOfJobsAreLoggedUnlessThereIsAHandler(t *testing.T) {
	for name, c := range map[string]struct {
		fail  func(context.Context) error
		stack bool
	}{
		"error": {func(context.Context) error { return errJob }, false},
		"panic": {func(context.Context) error { panic(errJob) }, true},
	} {
		t.Run(name, func(t *testing.T) {
			var logged bytes.Buffer
			before := slog.Default()
			slog.SetDefault(slog.New(slog.NewJSONHandler(&logged, nil)))
			defer slog.SetDefault(before)
			synctest.Test(t, func(t *testing.T) {
				c1 := cron.New(cron.WithLocation(time.UTC))
				r := cronwrap.New(c1, mustGuard(t))
				if _, err := r.Add("@every 10s", "report", c.fail); err != nil {
					t.Fatal(err)
				}
				c1.Start()
				time.Sleep(15 * time.Second)
				if err := r.Shutdown(t.Context()); err != nil {
					t.Error(err)
				}
			})
			var line struct {
				Level, Job, Error, Tick, Stack string
			}
			if err := json.Unmarshal(logged.Bytes(), &line); err != nil {
				t.Fatalf("logged: %q, want one line: %v", &logged, err)
			}
			if line.Level != "ERROR" || line.Job != "report" || !strings.Contains(line.Error, errJob.Error()) || line.Tick != "2000-01-01T00:00:10Z" {
				t.Errorf("logged: %+v", line)
			}
			if strings.Contains(line.Stack, "log_test.go") != c.stack {
				t.Errorf("stack %q, want the job's: %t", line.Stack, c.stack)
			}
		})
	}
}
