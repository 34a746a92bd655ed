package cronwrap_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/cronwrap"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func TestShutdownWaitsForTheRunUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		r := newReplica(t, store, l)
		r.add(t, "@every 10s", "report", func(ctx context.Context) error {
			time.Sleep(25 * time.Second)
			return ctx.Err()
		})
		r.cron.Start()
		time.Sleep(15 * time.Second)
		if err := r.Shutdown(t.Context()); err != nil {
			t.Errorf("Shutdown() = %v", err)
		}
		if d := time.Since(start); d != 35*time.Second {
			t.Errorf("Shutdown returned after %v, want 35s", d)
		}
		time.Sleep(time.Minute)
		l.mustBe(t, start, 10)
		l.noErrors(t)
		if _, err := r.Add("@daily", "other", func(context.Context) error { return nil }); !errors.Is(err, guard.ErrClosed) {
			t.Errorf("Add() = %v after Shutdown, want ErrClosed", err)
		}
		r.cron.Start() // by mistake
		time.Sleep(time.Minute)
		l.mustBe(t, start, 10)
		if err := r.Shutdown(t.Context()); err != nil {
			t.Errorf("second Shutdown() = %v", err)
		}
	})
}

func TestShutdownCancelsTheRunWhenItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		r := newReplica(t, store, l)
		var cause error
		r.add(t, "@every 10s", "report", func(ctx context.Context) error {
			<-ctx.Done()
			cause = context.Cause(ctx)
			time.Sleep(time.Second) // cleans up
			if _, held := store.Holder("report"); !held {
				t.Error("the key was given back before the job returned")
			}
			return nil
		})
		r.cron.Start()
		time.Sleep(15 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		if err := r.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown() = %v, want DeadlineExceeded", err)
		}
		if d := time.Since(start); d != 21*time.Second {
			t.Errorf("Shutdown returned after %v, want 21s", d)
		}
		if !errors.Is(cause, guard.ErrClosed) {
			t.Errorf("cause %v, want ErrClosed", cause)
		}
	})
}

func TestShutdownLeavesARunThatIgnoresItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, l := guardtest.NewStore(), new(log)
		g, err := guard.New(store)
		if err != nil {
			t.Fatal(err)
		}
		c := cron.New()
		r := cronwrap.New(c, g)
		if _, err := r.Add("@every 10s", "report", l.job(sleeping(time.Minute))); err != nil {
			t.Fatal(err)
		}
		c.Start()
		time.Sleep(15 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		began := time.Now()
		if err := r.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Shutdown() = %v, want DeadlineExceeded", err)
		}
		if d := time.Since(began); d != 15*time.Second {
			t.Errorf("Shutdown returned after %v, want 15s", d)
		}
		if _, held := store.Holder("report"); !held {
			t.Error("the key of a run that goes on is free")
		}
		time.Sleep(time.Minute)
	})
}

func TestShutdownCancelsTicksThatWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, l := guardtest.NewStore(), new(log)
		r := newReplica(t, store, l)
		r.add(t, "@every 10s", "report", nil, cronwrap.Overlap(cronwrap.Wait))
		store.Hold("report", "rival")
		r.cron.Start()
		time.Sleep(15 * time.Second)
		if n := store.Waiting("report"); n != 1 {
			t.Fatalf("%d wait, want 1", n)
		}
		began := time.Now()
		if err := r.Shutdown(t.Context()); err != nil || time.Since(began) > time.Second {
			t.Errorf("Shutdown() = %v after %v", err, time.Since(began))
		}
		store.Expire("report")
		time.Sleep(time.Minute)
		l.mustBe(t, began)
		l.noErrors(t)
	})
}

func TestShutdownWaitsForJobsThatCronHasFromElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReplica(t, guardtest.NewStore(), new(log))
		if _, err := r.cron.AddFunc("@every 10s", func() { time.Sleep(20 * time.Second) }); err != nil {
			t.Fatal(err)
		}
		r.cron.Start()
		time.Sleep(15 * time.Second)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if err := r.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(began) != 11*time.Second {
			t.Errorf("Shutdown() = %v after %v", err, time.Since(began))
		}
		if err := r.Shutdown(t.Context()); err != nil || time.Since(began) != 15*time.Second {
			t.Errorf("second Shutdown() = %v after %v", err, time.Since(began))
		}
	})
}

func TestRunThatShutdownBrokeOffIsTakenOverWithRetry(t *testing.T) {
	for name, c := range map[string]struct {
		result error
		want   []int
	}{
		"fn says that it did not finish": {context.Canceled, []int{0, 60, 60}},
		"fn says that it did":            {nil, []int{0, 60}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				store, l := guardtest.NewStore(), new(log)
				first, second := newReplica(t, store, l), newReplica(t, store, l)
				first.add(t, "@every 1m", "report", func(ctx context.Context) error { <-ctx.Done(); return c.result }, cronwrap.Retry())
				// Its clock is behind: it has just come to 0.
				second.addSchedule(t, skewed{steps(time.Minute), -time.Second}, "report", nil, cronwrap.Retry())
				first.cron.Start()
				second.cron.Start()
				time.Sleep(65 * time.Second)
				gone, cancel := context.WithCancel(t.Context())
				cancel()
				_ = first.Shutdown(gone) // an error: it cancels a run
				time.Sleep(5 * time.Second)
				l.mustBe(t, start, c.want...)
			})
		})
	}
}
