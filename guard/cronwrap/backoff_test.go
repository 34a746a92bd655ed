package cronwrap_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/cronwrap"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
)

// asked is a store that records when it was asked for the last tick.
type asked struct {
	*guardtest.Store
	mu sync.Mutex
	at []time.Time
}

func (a *asked) LastTick(ctx context.Context, key string) (lease.Tick, error) {
	a.mu.Lock()
	a.at = append(a.at, time.Now())
	a.mu.Unlock()
	return a.Store.LastTick(ctx, key)
}

// pauses returns the intervals of at least a second between two requests.
func (a *asked) pauses() (long []time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range len(a.at) - 1 {
		if d := a.at[i+1].Sub(a.at[i]); d >= time.Second {
			long = append(long, d)
		}
	}
	return long
}

func TestCatchUpPausesGrowFrom2SecondsToAMinuteUntilShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &asked{Store: guardtest.NewStore()}
		store.Fail(errors.New("down"))
		r := newReplica(t, store, new(log))
		r.add(t, "@every 24h", "report", nil, cronwrap.CatchUp(cronwrap.Once, time.Hour))
		r.cron.Start()
		time.Sleep(4 * time.Minute) // in a pause
		if got, want := fmt.Sprint(store.pauses()), "[2s 4s 8s 16s 32s 1m0s 1m0s]"; got != want {
			t.Errorf("pauses of %s, want %s", got, want)
		}
		began := time.Now()
		r.shutdown(t)
		if took := time.Since(began); took > 0 {
			t.Errorf("Shutdown took %v", took)
		}
		before := store.Calls(guardtest.OpLastTick)
		time.Sleep(time.Hour)
		if n := store.Calls(guardtest.OpLastTick) - before; n != 0 {
			t.Errorf("%d calls after Shutdown", n)
		}
	})
}

// The goroutine runs a tick when the store fails at the next one. It must not end
// before it has looked once more.
func TestTickThatIsLostDuringABackfillIsBackfilledToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start, store, l := missing(t, 3700)
		r := newReplica(t, store, l, guard.TTL(5*time.Minute))
		r.add(t, "@every 1h", "report", func(context.Context) error {
			if len(l.runs()) == 1 {
				time.Sleep(80 * time.Minute)
			}
			return nil
		}, cronwrap.CatchUp(cronwrap.All(10), 5*time.Hour), cronwrap.Overlap(cronwrap.Wait))
		r.cron.Start()
		time.Sleep(3490 * time.Second) // 7190
		store.Fail(errors.New("down"))
		time.Sleep(20 * time.Second)
		store.Fail(nil)
		time.Sleep(30 * time.Minute) // 9010: the run was over at 8500
		l.mustBe(t, start, 3600, 7200)
		l.reported(t, start, guard.ErrUnavailable, 7200)
	})
}

// The request gets no reply, as from a server that cannot be reached.
func TestStoreThatDoesNotAnswerHoldsUpATickFor2Seconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		r := newReplica(t, store, l)
		r.add(t, "@every 10s", "report", nil)
		store.Inject(guardtest.Fault{Op: guardtest.OpLastTick, Times: 1})
		r.cron.Start()
		time.Sleep(12*time.Second + time.Millisecond)
		l.reported(t, start, guard.ErrUnavailable, 10)
		time.Sleep(10 * time.Second)
		l.mustBe(t, start, 20)
	})
}

func TestRunWhoseEndCannotBeMarkedHoldsTheKeyForAtMost3Seconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		r := newReplica(t, store, l)
		r.add(t, "@every 10s", "report", nil, cronwrap.Retry())
		store.Inject(guardtest.Fault{Op: guardtest.OpEndTick, Times: 3})
		r.cron.Start()
		time.Sleep(13*time.Second + time.Millisecond)
		if keys := store.Keys(); len(keys) != 0 {
			t.Errorf("held: %v", keys)
		}
		l.mustBe(t, start, 10)
		l.reported(t, start, guard.ErrUnavailable, 10)
	})
}
