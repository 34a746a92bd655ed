package cronwrap_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/cronwrap"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
)

// missing returns a store in which the job's last tick ran at the start, after so
// many seconds.
func missing(t *testing.T, seconds int) (start time.Time, store *guardtest.Store, l *log) {
	t.Helper()
	start, store, l = time.Now(), guardtest.NewStore(), new(log)
	remember(t, store, lease.TickRequest{Key: "report", At: start}, true)
	time.Sleep(time.Duration(seconds) * time.Second)
	return start, store, l
}

// reported compares the errors that are want with the ticks they were reported for,
// in seconds after start; -1 is no tick.
func (l *log) reported(t *testing.T, start time.Time, want error, seconds ...int) {
	t.Helper()
	var got []int
	for _, e := range l.failures() {
		switch {
		case !errors.Is(e, want):
			t.Errorf("reported: %v, want %v", e, want)
		case e.Tick.IsZero():
			got = append(got, -1)
		default:
			got = append(got, int(e.Tick.Sub(start)/time.Second))
		}
	}
	if !slices.Equal(got, seconds) {
		t.Errorf("reported for the ticks %v, want %v: %v", got, seconds, l.failures())
	}
}

func TestFailureOfABackfilledTickIsReportedOnceWithThatTick(t *testing.T) {
	for name, c := range map[string]struct {
		second func(ctx context.Context, lose func()) error // the run of 20
		opts   []guard.Option
		want   error
	}{
		"error": {func(context.Context, func()) error { return errJob }, nil, errJob},
		"panic": {func(context.Context, func()) error { panic(errJob) }, nil, errJob},
		"loss, and fn returns nil": {
			func(ctx context.Context, lose func()) error { lose(); <-ctx.Done(); return nil }, nil, guard.ErrLost,
		},
		"loss, and fn returns the context's error": {
			func(ctx context.Context, lose func()) error { lose(); <-ctx.Done(); return ctx.Err() }, nil, guard.ErrLost,
		},
		"loss, and fn returns its cause": {
			func(ctx context.Context, lose func()) error { lose(); <-ctx.Done(); return context.Cause(ctx) }, nil, guard.ErrLost,
		},
		"loss, and fn's error looks as if the tick had been skipped": {
			func(ctx context.Context, lose func()) error { lose(); <-ctx.Done(); return guard.ErrBusy }, nil, guard.ErrLost,
		},
		"held too long": {
			func(ctx context.Context, _ func()) error { <-ctx.Done(); return nil },
			[]guard.Option{guard.MaxHold(3 * time.Second)}, guard.ErrMaxHold,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start, store, l := missing(t, 31)
				r := newReplica(t, store, l, c.opts...)
				r.add(t, "@every 10s", "report", func(ctx context.Context) error {
					if len(l.runs()) != 2 {
						return nil
					}
					return c.second(ctx, func() { store.Expire("report") })
				}, cronwrap.CatchUp(cronwrap.All(10), time.Hour))
				r.cron.Start()
				time.Sleep(18 * time.Second) // 49
				l.mustBe(t, start, 10, 20, 30, 40)
				l.reported(t, start, c.want, 20)
			})
		})
	}
}

// Each run ends before the loss of its lease is noticed.
func TestLossFoundAfterTheLastTickIsReportedWithThatTick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start, store, l := missing(t, 21)
		r := newReplica(t, store, l)
		r.add(t, "@every 10s", "report", func(context.Context) error {
			if len(l.runs()) == 2 {
				store.Expire("report")
			}
			return nil
		}, cronwrap.CatchUp(cronwrap.All(10), time.Hour))
		r.cron.Start()
		time.Sleep(8 * time.Second)
		l.mustBe(t, start, 10, 20)
		l.reported(t, start, guard.ErrLost, 20)
	})
}

// An outage of the store is reported once. A lease that is lost after it is reported
// too.
func TestLossAfterAnOutageIsReportedToo(t *testing.T) {
	for name, notice := range map[string]func(ctx context.Context){
		"during the run": func(ctx context.Context) { <-ctx.Done() },
		"after it":       func(context.Context) {},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start, store, l := missing(t, 11)
				store.Fail(errors.New("down"))
				r := newReplica(t, store, l)
				r.add(t, "@every 10s", "report", func(ctx context.Context) error {
					store.Expire("report")
					notice(ctx)
					return nil
				}, cronwrap.CatchUp(cronwrap.All(10), time.Hour))
				r.cron.Start()
				time.Sleep(3 * time.Second)
				store.Fail(nil)
				time.Sleep(5 * time.Second)
				l.mustBe(t, start, 10)
				errs := l.failures()
				if len(errs) != 2 || !errors.Is(errs[0], guard.ErrUnavailable) || !errors.Is(errs[1], guard.ErrLost) || !errs[1].Tick.Equal(start.Add(10*time.Second)) {
					t.Errorf("reported: %v, want ErrUnavailable, and ErrLost of 10", errs)
				}
			})
		})
	}
}

// An earlier tick is run before the one that is due, which then does not run.
func TestLossBeforeTheTickThatIsDueIsReportedForBoth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		r := newReplica(t, store, l)
		r.add(t, "@every 10s", "report", func(ctx context.Context) error {
			if len(l.runs()) == 1 {
				store.Expire("report")
				<-ctx.Done()
			}
			return nil
		}, cronwrap.Retry())
		r.cron.Start()
		time.Sleep(8 * time.Second)
		remember(t, store, lease.TickRequest{Key: "report", At: start.Add(5 * time.Second), Fence: 1}, false)
		time.Sleep(15 * time.Second)
		l.mustBe(t, start, 5, 5, 20)
		l.reported(t, start, guard.ErrLost, 5, 10)
	})
}

func TestGoexitOfABackfilledTickIsReportedWithThatTick(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start, store, l := missing(t, 21)
		r := newReplica(t, store, l)
		r.add(t, "@every 10s", "report", func(context.Context) error {
			if len(l.runs()) == 1 {
				runtime.Goexit()
			}
			return nil
		}, cronwrap.CatchUp(cronwrap.All(10), time.Hour))
		r.cron.Start()
		time.Sleep(10 * time.Second)
		l.mustBe(t, start, 10, 20, 30)
		if errs := l.failures(); len(errs) != 1 || !strings.Contains(errs[0].Error(), "Goexit") || !errs[0].Tick.Equal(start.Add(10*time.Second)) {
			t.Errorf("reported: %v, want Goexit of 10", errs)
		}
	})
}

// The clock is wrong for two ticks.
func TestTickThatWasRefusedForItsSkewIsBackfilled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		clock := movable{steps(10 * time.Second), new(atomic.Int64)}
		r := newReplica(t, store, l)
		r.addSchedule(t, clock, "report", nil, cronwrap.CatchUp(cronwrap.Once, time.Hour))
		r.cron.Start()
		time.Sleep(25 * time.Second)
		clock.ahead.Store(int64(2 * time.Minute))
		time.Sleep(20 * time.Second)
		clock.ahead.Store(0)
		time.Sleep(10 * time.Second)
		l.mustBe(t, start, 10, 20, 40, 50)
		l.reported(t, start, cronwrap.ErrSkew, 150, 160)
	})
}

// The goroutine that backfills it does not give up: the next tick is an hour away.
func TestTickWhoseRunIsLostAgainIsRunAgainSoon(t *testing.T) {
	for name, c := range map[string]struct {
		lose func(ctx context.Context, store *guardtest.Store)
		want []error
	}{
		"during the run": {
			func(ctx context.Context, store *guardtest.Store) { store.Expire("report"); <-ctx.Done() },
			[]error{guard.ErrLost},
		},
		"after it, and not marked done": {
			func(_ context.Context, store *guardtest.Store) {
				store.Inject(guardtest.Fault{Op: guardtest.OpEndTick, Err: errors.New("down"), Times: 3})
				store.Expire("report")
			},
			[]error{guard.ErrUnavailable, guard.ErrLost},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				store, l := guardtest.NewStore(), new(log)
				remember(t, store, lease.TickRequest{Key: "report", At: start, Fence: 1}, false)
				time.Sleep(time.Minute)
				r := newReplica(t, store, l)
				r.add(t, "@every 1h", "report", func(ctx context.Context) error {
					if len(l.runs()) == 1 {
						c.lose(ctx, store)
					}
					return nil
				}, cronwrap.Retry())
				r.cron.Start()
				time.Sleep(time.Minute)
				l.mustBe(t, start, 0, 0)
				errs := l.failures()
				if len(errs) != len(c.want) {
					t.Fatalf("reported: %v, want %v", errs, c.want)
				}
				for i, want := range c.want {
					if !errors.Is(errs[i], want) || !errs[i].Tick.Equal(start) {
						t.Errorf("reported: %v, want %v of the tick", errs[i], want)
					}
				}
			})
		})
	}
}

// The lease is lost before the claim is answered.
func TestUnrunTickOfABackfillIsReportedOnce(t *testing.T) {
	for name, c := range map[string]struct {
		opts []cronwrap.JobOption
		want []int
	}{
		"at most once":  {nil, []int{20}},
		"at least once": {[]cronwrap.JobOption{cronwrap.Retry()}, []int{10, 20}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start, store, l := missing(t, 21)
				var once sync.Once
				claims := &claimStore{Store: store, then: func(ctx context.Context) {
					once.Do(func() { store.Expire("report"); <-ctx.Done() })
				}}
				// The claim takes longer than its attempt, so it is repeated until
				// the loss is noticed.
				r := newReplica(t, claims, l, guard.TTL(time.Second))
				r.add(t, "@every 10s", "report", nil, append(c.opts, cronwrap.CatchUp(cronwrap.All(10), time.Hour))...)
				r.cron.Start()
				time.Sleep(8 * time.Second)
				l.mustBe(t, start, c.want...)
				l.reported(t, start, guard.ErrLost, 10)
			})
		})
	}
}

func TestTicksThatSkipDropsDuringABackfillAreNotMissed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start, store, l := missing(t, 25)
		opt := cronwrap.CatchUp(cronwrap.All(10), time.Hour)
		first := newReplica(t, store, l)
		first.add(t, "@every 10s", "report", sleeping(16*time.Second), opt)
		first.cron.Start()
		time.Sleep(33 * time.Second) // 58: 30, 40 and 50 were dropped
		first.shutdown(t)
		second := newReplica(t, store, l)
		second.add(t, "@every 10s", "report", nil, opt)
		second.cron.Start()
		time.Sleep(5 * time.Second)
		l.mustBe(t, start, 10, 20, 60)
		l.noErrors(t)
	})
}

// It is dropped 250 ms after it came due, and the run ends just then: too late to
// mark it as skipped in the store. A replica that has caught up does not look for it.
func TestTickThatIsDroppedAtTheEndOfARunIsNotBackfilled(t *testing.T) {
	for name, c := range map[string]struct {
		behind bool
		want   []int
	}{
		"nothing was missed before": {false, []int{20, 40}},
		"a tick was missed before":  {true, []int{10, 20, 40}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				store, l := guardtest.NewStore(), new(log)
				time.Sleep(11 * time.Second)
				if c.behind {
					remember(t, store, lease.TickRequest{Key: "report", At: start}, true)
				}
				r := newReplica(t, store, l)
				r.add(t, "@every 10s", "report", func(ctx context.Context) error {
					if cronwrap.Tick(ctx).Equal(start.Add(20 * time.Second)) {
						time.Sleep(10*time.Second + 280*time.Millisecond)
					}
					return nil
				}, cronwrap.CatchUp(cronwrap.All(10), time.Hour))
				r.cron.Start()
				time.Sleep(34 * time.Second)
				l.mustBe(t, start, c.want...)
			})
		})
	}
}
