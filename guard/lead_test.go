package guard_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
)

func TestLeadBacksOffFromAStoreThatRefuses(t *testing.T) {
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		store.Fail(lease.ErrRefused) // at once, each time
		time.AfterFunc(time.Hour, func() { store.Fail(nil) })
		start := time.Now()
		terms := 0
		err := g.Lead(t.Context(), "k", func(ctx context.Context) error {
			if terms++; terms == 2 {
				return nil
			}
			store.Fail(lease.ErrRefused)
			<-ctx.Done()
			store.Expire("k")
			time.AfterFunc(5*time.Millisecond, func() { store.Fail(nil) })
			start = time.Now()
			return nil
		})
		if err != nil || terms != 2 {
			t.Errorf("Lead() = %v after %d terms", err, terms)
		}
		if n := store.Calls(guardtest.OpAcquire); n > 3*3600 {
			t.Errorf("%d attempts in an hour: no back-off", n)
		}
		if d := time.Since(start); d > 50*time.Millisecond {
			t.Errorf("led %v after 5ms of trouble: the back-off goes on where it was an hour ago", d)
		}
	})
}

func TestLeadBacksOffForATTLAtMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := guardtest.NewStore()
		store.Fail(lease.ErrRefused)
		time.AfterFunc(time.Minute, func() { store.Fail(nil) })
		start := time.Now()
		noError(t, newGuard(t, store, guard.TTL(50*time.Millisecond)).Lead(t.Context(), "k", nothing))
		if d := time.Since(start) - time.Minute; d > 50*time.Millisecond {
			t.Errorf("led %v after the store was back, TTL 50ms", d)
		}
	})
}

func TestLeadWaitsWhateverWaitSays(t *testing.T) {
	inBubble2(t, func(t *testing.T, store *guardtest.Store, a, b *guard.Guard) {
		end, _ := hold(t, a, "k")
		led := make(chan error)
		go func() { led <- b.With(guard.Wait(0)).Lead(context.Background(), "k", nothing) }()
		synctest.Wait()
		if n := store.Waiting("k"); n != 1 {
			t.Errorf("%d in the queue", n)
		}
		end()
		noError(t, <-led)
	})
}

func TestLeadReturnsTheLeadersResult(t *testing.T) {
	g := newGuard(t, guardtest.NewStore())
	want := errors.New("mine")
	wantError(t, g.Lead(t.Context(), "k", func(context.Context) error { return want }), want)
	if err := g.Lead(t.Context(), "k", nothing); err != nil {
		t.Errorf("Lead() = %v", err)
	}
}

func TestLeadCampaignsAgainAfterALoss(t *testing.T) {
	for name, c := range map[string]struct {
		opts []guard.Option
		end  func(*guardtest.Store)
		err  error // of fn
	}{
		"lost":          {nil, func(s *guardtest.Store) { s.Expire("k") }, context.Canceled},
		"too long":      {[]guard.Option{guard.MaxHold(time.Minute)}, func(*guardtest.Store) {}, context.Canceled},
		"ErrInvalidKey": {nil, func(s *guardtest.Store) { s.Expire("k") }, guard.ErrInvalidKey}, // of some call that fn made
		"ErrClosed":     {nil, func(s *guardtest.Store) { s.Expire("k") }, guard.ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
				terms := 0
				err := g.Lead(t.Context(), "k", func(ctx context.Context) error {
					if terms++; terms == 3 {
						return nil
					}
					c.end(store)
					<-ctx.Done()
					return c.err
				})
				if err != nil || terms != 3 {
					t.Errorf("Lead() = %v after %d terms", err, terms)
				}
			}, c.opts...)
		})
	}
}

func TestLeadOutlastsADownStore(t *testing.T) {
	inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
		store.Fail(errors.New("connection refused"))
		time.AfterFunc(time.Hour, func() { store.Fail(nil) })
		start := time.Now()
		if err := g.Lead(t.Context(), "k", nothing); err != nil {
			t.Errorf("Lead() = %v", err)
		}
		if d := time.Since(start); d > time.Hour+2*time.Second {
			t.Errorf("led only %v after the store was back", d-time.Hour)
		}
		if n := store.Calls(guardtest.OpAcquire); n > 3*3600 {
			t.Errorf("%d attempts in an hour: no back-off", n)
		}
	})
}

func TestLeadEndsWithItsContextShutdownAndBadKeys(t *testing.T) {
	inBubble2(t, func(t *testing.T, store *guardtest.Store, a, b *guard.Guard) {
		end, _ := hold(t, a, "k")
		cause := errors.New("going home")
		for _, storeErr := range []error{nil, lease.ErrRefused} { // it waits, it backs off
			store.Fail(storeErr)
			ctx, cancel := context.WithCancelCause(t.Context())
			time.AfterFunc(5*time.Second, func() { cancel(cause) })
			start := time.Now()
			wantError(t, b.Lead(ctx, "k", nothing), cause)
			if d := time.Since(start); d != 5*time.Second {
				t.Errorf("returned after %v", d)
			}
		}
		store.Fail(nil)
		time.AfterFunc(time.Minute, func() { _ = b.Shutdown(t.Context()) })
		wantError(t, b.Lead(t.Context(), "k", nothing), guard.ErrClosed)
		wantError(t, a.Lead(t.Context(), "", nothing), guard.ErrInvalidKey)
		end()
	})
}

func TestShutdownTellsLeadersAtOnce(t *testing.T) {
	own := errors.New("half written")
	for name, c := range map[string]struct {
		fnErr, want error
	}{
		"that return nothing":       {nil, guard.ErrClosed},
		"that return their context": {context.Canceled, guard.ErrClosed},
		"that fail":                 {own, own},
		"that step down":            {guard.ErrStepDown, guard.ErrClosed},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
				led := make(chan error, 1)
				go func() {
					led <- g.Lead(context.Background(), "k", func(ctx context.Context) error {
						<-ctx.Done()
						wantError(t, context.Cause(ctx), guard.ErrClosed)
						if !guard.Holding(ctx, "k") {
							t.Error("the key is given back before fn has returned")
						}
						time.Sleep(time.Second)
						return c.fnErr
					})
				}()
				synctest.Wait()
				start := time.Now()
				noError(t, g.With(guard.TTL(time.Minute)).Shutdown(context.Background()))
				if d := time.Since(start); d != time.Second {
					t.Errorf("Shutdown took %v, want the leader's second", d)
				}
				err := <-led
				wantError(t, err, guard.ErrClosed)
				wantError(t, err, c.want)
				if errors.Is(err, guard.ErrStepDown) {
					t.Errorf("Lead() = %v", err)
				}
				noneLeft(t, store)
			}, guard.OnLeadError(func(error) bool { return true }))
		})
	}
}

func TestShutdownTellsALeaderWhoseTermJustBegins(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *guardtest.Store, g *guard.Guard) {
		// A nested term under the run's own lease may begin during Shutdown.
		noError(t, g.Do(t.Context(), "k", func(ctx context.Context) error {
			down := make(chan error, 1)
			go func() { down <- g.Shutdown(context.Background()) }()
			synctest.Wait()
			noError(t, ctx.Err()) // it is not a leader itself
			wantError(t, g.Lead(ctx, "k", untilDone), guard.ErrClosed)
			return nil
		}))
	})
}

func TestShutdownEndsTheBackOffOfLead(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *guardtest.Store, g *guard.Guard) {
		led := make(chan error, 1)
		go func() {
			led <- g.Lead(context.Background(), "k", func(context.Context) error { return guard.ErrStepDown })
		}()
		time.Sleep(time.Hour) // each pause is up to a TTL by now
		start := time.Now()
		noError(t, g.Shutdown(context.Background()))
		wantError(t, <-led, guard.ErrClosed)
		if d := time.Since(start); d != 0 {
			t.Errorf("Lead returned %v after Shutdown", d)
		}
	})
}

func TestLeadGoesOnAfterAnErrorIfAsked(t *testing.T) {
	const ttl = 10 * time.Second
	final := errors.New("final")
	for name, c := range map[string]struct {
		lasts time.Duration // each term
		most  time.Duration // the pauses of 30 terms together
		least time.Duration
	}{
		"short terms": {0, 30 * ttl, 10 * ttl},
		"long terms":  {ttl, 30 * 10 * time.Millisecond, 30 * 5 * time.Millisecond},
	} {
		t.Run(name, func(t *testing.T) {
			var told []error
			onError := guard.OnLeadError(func(err error) bool {
				told = append(told, err)
				return !errors.Is(err, final)
			})
			inBubble(t, func(t *testing.T, store *guardtest.Store, g *guard.Guard) {
				terms, start := 0, time.Now()
				err := g.With(onError).Lead(t.Context(), "k", func(context.Context) error {
					if terms++; terms == 31 {
						return final
					}
					time.Sleep(c.lasts)
					return fmt.Errorf("term %d", terms)
				})
				if err != final || len(told) != 31 || told[29].Error() != "term 30" || told[30] != final {
					t.Errorf("Lead() = %v, told of %v", err, told)
				}
				if d := time.Since(start) - 30*c.lasts; d > c.most || d < c.least {
					t.Errorf("paused for %v together, want %v to %v", d, c.least, c.most)
				}
				noneLeft(t, store)
			}, guard.TTL(ttl))
		})
	}
}

func TestLeadsContextThatEndsIsNoErrorToGoOnAfter(t *testing.T) {
	again := guard.OnLeadError(func(error) bool {
		t.Error("OnLeadError was called")
		return true
	})
	inBubble(t, func(t *testing.T, _ *guardtest.Store, g *guard.Guard) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wantError(t, g.Lead(ctx, "k", func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}), context.DeadlineExceeded)
	}, again)
}

func TestLeaderThatStepsDownLetsTheNextLead(t *testing.T) {
	inBubble2(t, func(t *testing.T, _ *guardtest.Store, a, b *guard.Guard) {
		var led []string
		lead := func(g *guard.Guard, name string) func() {
			return func() {
				terms := 0
				noError(t, g.Lead(t.Context(), "k", func(context.Context) error {
					led = append(led, name) // one at a time
					time.Sleep(time.Minute)
					if terms++; terms == 3 {
						return nil
					}
					return fmt.Errorf("rest: %w", guard.ErrStepDown)
				}))
			}
		}
		var wg sync.WaitGroup
		wg.Go(lead(a, "a"))
		synctest.Wait()
		wg.Go(lead(b, "b"))
		wg.Wait()
		if got := strings.Join(led, ""); got != "ababab" {
			t.Errorf("terms of %s, want ababab", got)
		}
	})
}

func TestOnLeadErrorNeedsAFunction(t *testing.T) {
	if _, err := guard.New(guardtest.NewStore(), guard.OnLeadError(nil)); err == nil {
		t.Error("nil is taken")
	}
}
