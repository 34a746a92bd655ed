package otelguard_test

import (
	"context"
	"errors"
	"runtime"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
)

// under returns how many runs are under way, and how many callers wait.
func (tel *telemetry) under(t testing.TB, name string) (runs, waiters int64) {
	t.Helper()
	runs, _ = tel.sum(t, "jobguard.runs.active", named(name))
	waiters, _ = tel.sum(t, "jobguard.waiters.active", named(name))
	return runs, waiters
}

func TestHeldAndWaitingNow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tel := newTelemetry()
		g := newGuard(t, guardtest.NewStore(), guard.Observe(tel), guard.Name("orders"))
		done := make(chan error, 2)
		for range 2 {
			go func() {
				done <- g.Do(t.Context(), "k", func(context.Context) error { time.Sleep(time.Second); return nil })
			}()
		}
		synctest.Wait()
		if runs, waiters := tel.under(t, "orders"); runs != 1 || waiters != 1 {
			t.Errorf("%d run, %d wait, want one each", runs, waiters)
		}
		if err := errors.Join(<-done, <-done); err != nil {
			t.Error(err)
		}
		if runs, waiters := tel.under(t, "orders"); runs != 0 || waiters != 0 {
			t.Errorf("%d run, %d wait at the end", runs, waiters)
		}
	})
}

func TestNothingIsHeldOrWaitedForAfterAnyEnd(t *testing.T) {
	for name, end := range map[string]func(*testing.T, *guard.Guard, *guardtest.Store){
		"loss": func(t *testing.T, g *guard.Guard, store *guardtest.Store) {
			_ = g.Do(t.Context(), "k", func(ctx context.Context) error { store.Expire("k"); <-ctx.Done(); return nil })
		},
		"panic": func(t *testing.T, g *guard.Guard, _ *guardtest.Store) {
			defer func() { _ = recover() }()
			_ = g.Do(t.Context(), "k", func(context.Context) error { panic("fn") })
		},
		"Goexit": func(t *testing.T, g *guard.Guard, _ *guardtest.Store) {
			done := make(chan struct{})
			go func() {
				defer close(done)
				_ = g.Do(t.Context(), "k", func(context.Context) error { runtime.Goexit(); return nil })
			}()
			<-done
		},
		"cancelled in line": func(t *testing.T, g *guard.Guard, store *guardtest.Store) {
			_ = g.Do(t.Context(), "own", nothing)
			store.Hold("k", "other")
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_ = g.With(guard.Forever()).Do(ctx, "k", nothing)
		},
		"Lead after two lost terms": func(t *testing.T, g *guard.Guard, store *guardtest.Store) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			terms := 0
			_ = g.Lead(ctx, "k", func(ctx context.Context) error {
				if terms++; terms < 3 {
					store.Expire("k")
					<-ctx.Done()
				}
				return nil
			})
			if terms != 3 {
				t.Errorf("%d terms, want 3", terms)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tel := newTelemetry()
				store := guardtest.NewStore()
				end(t, newGuard(t, store, guard.Observe(tel), guard.Name("orders")), store)
				if len(tel.all("run orders")) == 0 {
					t.Error("nothing ran")
				}
				if runs, waiters := tel.under(t, "orders"); runs != 0 || waiters != 0 {
					t.Errorf("%d run, %d wait at the end", runs, waiters)
				}
			})
		})
	}
}
