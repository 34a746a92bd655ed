package cronwrap_test

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/cronwrap"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func TestWrapKeepsRunsOfAnExistingChainApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, runs := guardtest.NewStore(), make(chan string, 100)
		for range 3 {
			g, err := guard.New(store)
			if err != nil {
				t.Fatal(err)
			}
			c := cron.New()
			job := cron.FuncJob(func() {
				if _, held := store.Holder("report"); !held {
					t.Error("the key is not held")
				}
				runs <- "run"
				time.Sleep(time.Second)
			})
			c.Schedule(cron.Every(10*time.Second), cron.NewChain(cron.Recover(cron.DefaultLogger), cronwrap.Wrap(g, "report")).Then(job))
			c.Start()
			t.Cleanup(func() { <-c.Stop().Done() })
		}
		time.Sleep(35 * time.Second)
		if n := len(runs); n != 3 {
			t.Errorf("%d runs, want 3", n)
		}
	})
}

func TestWrapSurvivesAPanicAndFreesTheKey(t *testing.T) {
	store := guardtest.NewStore()
	g, err := guard.New(store)
	if err != nil {
		t.Fatal(err)
	}
	var logged strings.Builder
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&logged, nil)))
	defer slog.SetDefault(before)
	runs := 0
	job := cron.NewChain(cronwrap.Wrap(g, "report")).Then(cron.FuncJob(func() { runs++; panic("no paper") }))
	job.Run()
	job.Run()
	if keys := store.Keys(); runs != 2 || len(keys) != 0 {
		t.Errorf("%d runs, want 2; held: %v", runs, keys)
	}
	if n := strings.Count(logged.String(), "no paper"); n < 2 || !strings.Contains(logged.String(), "job=report") {
		t.Errorf("logged: %s", &logged)
	}
}

func TestWrapRefusesANameThatIsNoKey(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("Wrap did not panic")
		}
	}()
	cronwrap.Wrap(mustGuard(t), "")
}

func TestWrapLogsThatTheStoreIsDown(t *testing.T) {
	store := guardtest.NewStore()
	store.Fail(errors.New("no route"))
	g, err := guard.New(store)
	if err != nil {
		t.Fatal(err)
	}
	var logged strings.Builder
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&logged, nil)))
	defer slog.SetDefault(before)
	runs := 0
	cron.NewChain(cronwrap.Wrap(g, "report")).Then(cron.FuncJob(func() { runs++ })).Run()
	if runs != 0 || !strings.Contains(logged.String(), "no route") || !strings.Contains(logged.String(), "job=report") {
		t.Errorf("%d runs, want none; logged: %s", runs, &logged)
	}
}
