package cronwrap_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/cronwrap"
)

// shutdown calls Shutdown of the first replica with a context that ends after patience,
// and wants it to return want at that second.
func shutdown(patience time.Duration, want error, second int) action {
	return func(f *timeline) {
		f.Helper()
		ctx, cancel := context.WithTimeout(f.Context(), patience)
		defer cancel()
		if err := f.replicas[0].Shutdown(ctx); !errors.Is(err, want) || f.second(time.Now()) != second {
			f.Errorf("Shutdown() = %v at %v, want %v at %d s", err, time.Since(f.begun), want, second)
		}
	}
}

func TestShutdownWaitsForTheRunUnderWay(t *testing.T) {
	fleet(t, "@every 10s").job(func(_ *timeline, ctx context.Context) error {
		time.Sleep(25 * s)
		return ctx.Err()
	}).at(15*s, shutdown(h, nil, 35)).at(50*s, each(func(r *replica) {
		if _, err := r.Add("@daily", "other", nothing); !errors.Is(err, guard.ErrClosed) {
			t.Errorf("Add() = %v after Shutdown, want ErrClosed", err)
		}
		r.cron.Start() // by mistake
	})).at(2*m, shutdown(h, nil, 120)).ran(10)
}

func TestShutdownCancelsTheRunWhenItsContextEnds(t *testing.T) {
	var cause error
	fleet(t, "@every 10s").job(func(f *timeline, ctx context.Context) error {
		<-ctx.Done()
		cause = context.Cause(ctx)
		time.Sleep(s) // cleans up
		if _, held := f.store.Holder("report"); !held {
			t.Error("the key was given back before the job returned")
		}
		return nil
	}).at(15*s, shutdown(5*s, context.DeadlineExceeded, 21)).ran(10)
	if !errors.Is(cause, guard.ErrClosed) {
		t.Errorf("cause %v, want ErrClosed", cause)
	}
}

func TestShutdownLeavesARunThatIgnoresItsContext(t *testing.T) {
	fleet(t, "@every 10s").lasting(m).at(15*s, shutdown(5*s, context.DeadlineExceeded, 30), func(f *timeline) {
		if _, held := f.store.Holder("report"); !held {
			t.Error("the key of a run that goes on is free")
		}
	}).at(90 * s).ran(10)
}

func TestShutdownWaitsForJobsThatCronHasFromElsewhere(t *testing.T) {
	fleet(t, "@every 1h").at(0, each(func(r *replica) {
		if _, err := r.cron.AddFunc("@every 10s", func() { time.Sleep(20 * s) }); err != nil {
			t.Fatal(err)
		}
	})).at(15*s, shutdown(s, context.DeadlineExceeded, 26), shutdown(h, nil, 30)).ran()
}

// As with cron alone.
func TestCronsStopWaitsForTheRunUnderWay(t *testing.T) {
	fleet(t, "@every 10s").lasting(25*s).at(15*s, each(func(r *replica) { <-r.cron.Stop().Done() }), func(f *timeline) {
		if n := f.second(time.Now()); n != 35 {
			t.Errorf("cron had stopped at %d s, want 35", n)
		}
	}).at(m).ran(10)
}

func TestShutdownEndsTheLookForMissedTicks(t *testing.T) {
	fleet(t, "@every 1h", cronwrap.CatchUp(1, h)).at(h-s, down).at(h+m, tellsAnything, shutdown(h, nil, 3660), up).at(2 * h).ran()
}
