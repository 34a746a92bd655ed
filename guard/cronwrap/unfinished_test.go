package cronwrap_test

import (
	"context"
	"errors"
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

// broken is a job whose first run ends only when its lease is lost. The ticks of its
// other runs are sent to done.
func broken(done *log) func(context.Context) error {
	var begun atomic.Bool
	to := done.job(nil)
	return func(ctx context.Context) error {
		if begun.CompareAndSwap(false, true) {
			<-ctx.Done()
			return ctx.Err()
		}
		return to(ctx)
	}
}

// The lease of a run is lost so shortly before the next tick that no replica has
// taken it over by then.
func TestLaterTickRunsAfterOneThatIsNotDone(t *testing.T) {
	for name, opts := range map[string][]cronwrap.JobOption{
		"skip":     {cronwrap.Retry()},
		"wait":     {cronwrap.Retry(), cronwrap.Overlap(cronwrap.Wait)},
		"catch up": {cronwrap.Retry(), cronwrap.CatchUp(cronwrap.Once, time.Second)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				store, l := guardtest.NewStore(), new(log)
				r := newReplica(t, store, l, guard.TTL(3*time.Second))
				r.add(t, "@every 60s", "report", broken(new(log)), opts...)
				r.cron.Start()
				time.Sleep(118600 * time.Millisecond)
				store.Expire("report") // noticed within 1 s; then 2 s pass before the next attempt
				time.Sleep(60 * time.Second)
				l.mustBe(t, start, 60, 60, 120)
			})
		})
	}
}

// b starts when a tick is past by its clock, but not yet by that of a. So it does not
// wait for it when a dies.
func TestTickIsTakenOverByAReplicaThatDidNotWaitForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		done := new(log)
		job := broken(done)
		a := newReplica(t, store, l)
		a.addSchedule(t, skewed{steps(10 * time.Second), -300 * time.Millisecond}, "report", func(ctx context.Context) error {
			if len(l.runs()) == 1 {
				return nil // of tick 0
			}
			return job(ctx)
		}, cronwrap.Retry())
		a.cron.Start()
		time.Sleep(10*time.Second + 100*time.Millisecond)
		b := newReplica(t, store, l)
		b.add(t, "@every 10s", "report", job, cronwrap.Retry())
		b.cron.Start()
		time.Sleep(8 * time.Second)
		store.Expire("report")
		time.Sleep(16 * time.Second)
		l.mustBe(t, start, 0, 10, 10, 20, 30)
		done.mustBe(t, start, 10, 20, 30)
	})
}

// A tick that is not done is run again however many have come due since, whatever
// CatchUp says, and also if it is no tick of the schedule any more.
func TestTickThatIsNotDoneIsRunAgainHoweverLate(t *testing.T) {
	for name, c := range map[string]struct {
		opts []cronwrap.JobOption
		want []int
	}{
		"retry":             {[]cronwrap.JobOption{cronwrap.Retry()}, []int{10, 10, 105}},
		"catch up with one": {[]cronwrap.JobOption{cronwrap.Retry(), cronwrap.CatchUp(cronwrap.Once, 20*time.Second)}, []int{10, 10, 90, 105}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				store, l := guardtest.NewStore(), new(log)
				before := newReplica(t, store, l)
				before.add(t, "@every 10s", "report", broken(new(log)), c.opts...)
				before.cron.Start()
				time.Sleep(15 * time.Second)
				gone, cancel := context.WithCancel(t.Context())
				cancel()
				_ = before.Shutdown(gone) // says that it had to cancel
				time.Sleep(86 * time.Second)
				for range 3 {
					r := newReplica(t, store, l)
					r.add(t, "@every 15s", "report", sleeping(time.Millisecond), c.opts...)
					r.cron.Start()
				}
				time.Sleep(10 * time.Second)
				l.mustBe(t, start, c.want...)
			})
		})
	}
}

// A run that is taken over is lost again: by a successor, or by a replica that only
// catches up.
func TestTickIsRunAgainAsOftenAsItsRunnersDie(t *testing.T) {
	for _, replicas := range []int{1, 3} {
		synctest.Test(t, func(t *testing.T) {
			store, l := guardtest.NewStore(), new(log)
			for range replicas {
				r := newReplica(t, store, l, guard.TTL(3*time.Second))
				r.add(t, "@every 10s", "report", func(ctx context.Context) error {
					if len(l.runs()) <= 3 {
						<-ctx.Done()
						return ctx.Err()
					}
					return nil
				}, cronwrap.Retry())
				r.cron.Start()
			}
			for range 3 {
				time.Sleep(15 * time.Second)
				store.Expire("report")
			}
			time.Sleep(9 * time.Second) // 54
			if runs := l.runs(); len(runs) < 5 || !runs[3].Equal(runs[0]) || !runs[4].After(runs[3]) {
				t.Errorf("%d replicas: ticks that ran: %v, want the first four times, and then a later one", replicas, runs)
			}
		})
	}
}

// Ticks that Skip dropped for a run whose runner died were missed, unless the run is
// taken over.
func TestTickThatWasDroppedForADeadRunIsBackfilledWithTheNext(t *testing.T) {
	for name, c := range map[string]struct {
		opts []cronwrap.JobOption
		want []int
	}{
		"at most once":  {nil, []int{10, 20, 30, 40}},
		"at least once": {[]cronwrap.JobOption{cronwrap.Retry()}, []int{10, 10, 30, 40}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				store, l := guardtest.NewStore(), new(log)
				r := newReplica(t, store, l)
				r.add(t, "@every 10s", "report", nil, append(c.opts, cronwrap.CatchUp(cronwrap.All(10), time.Hour))...)
				r.cron.Start()
				time.Sleep(5 * time.Second)
				dead := newReplica(t, store, new(log))
				// Its clock is ahead: 10 is its tick. Its death is the fault.
				dead.addSchedule(t, skewed{steps(10 * time.Second), 2 * time.Second}, "report", func(ctx context.Context) error {
					_ = l.job(nil)(ctx)
					<-ctx.Done()
					return ctx.Err()
				})
				dead.cron.Start()
				time.Sleep(4 * time.Second) // 9
				dead.cron.Stop()
				time.AfterFunc(16*time.Second, func() { store.Expire("report") }) // 25
				time.Sleep(33 * time.Second)
				l.mustBe(t, start, c.want...)
			})
		})
	}
}

// The lease of a run is dropped, another replica takes the key, and the runner, which
// has not noticed, goes on to the next tick of its backfill.
func TestTicksAreNotClaimedOverTheRunOfTheNextHolder(t *testing.T) {
	for name, c := range map[string]struct {
		opts []cronwrap.JobOption
		want []int
		at   []int // whole seconds after the fleet is back
	}{
		"at most once": {nil, []int{10, 20, 30}, []int{0, 1, 4}},
		"at least once": {
			[]cronwrap.JobOption{cronwrap.Retry()},
			[]int{10, 10, 20, 30}, []int{0, 1, 4, 7},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				store, l := guardtest.NewStore(), new(log)
				remember(t, store, lease.TickRequest{Key: "report", At: start}, true)
				time.Sleep(35 * time.Second)
				back := time.Now()
				for range 2 {
					r := newReplica(t, store, l)
					r.add(t, "@every 10s", "report", sleeping(3*time.Second),
						append(c.opts, cronwrap.CatchUp(cronwrap.All(3), time.Hour), cronwrap.Overlap(cronwrap.Wait))...)
					r.cron.Start()
				}
				time.Sleep(time.Second)
				store.Expire("report")
				time.Sleep(13 * time.Second)
				l.mustBe(t, start, append(c.want, 40)...)
				for i, want := range c.at {
					if at := l.at[i].Sub(back); int(at.Seconds()) != want {
						t.Errorf("tick %v ran %v after the fleet was back, want %d s", l.ticks[i], at, want)
					}
				}
				if errs := l.failures(); len(errs) == 0 || !errors.Is(errs[0], guard.ErrLost) {
					t.Errorf("reported: %v, want ErrLost", errs)
				}
			})
		})
	}
}

// meddled is a store that calls a function just before the first claim.
type meddled struct {
	*guardtest.Store
	once  sync.Once
	first func()
}

func (m *meddled) ClaimTick(ctx context.Context, r lease.TickRequest) (lease.TickReply, error) {
	m.once.Do(m.first)
	return m.Store.ClaimTick(ctx, r)
}

// A runner that has lost the key, and has not noticed, claims a tick after the next
// holder has looked for one that is not done, and dies.
func TestTickClaimedAfterTheNextHolderLookedIsNotPassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		remember(t, store, lease.TickRequest{Key: "report", At: start, Fence: 1}, true)
		time.Sleep(15 * time.Second)
		r := newReplica(t, &meddled{Store: store, first: func() {
			remember(t, store, lease.TickRequest{Key: "report", At: start.Add(10 * time.Second), Fence: 1}, false)
		}}, l)
		r.add(t, "@every 10s", "report", nil, cronwrap.Retry())
		r.cron.Start()
		time.Sleep(10 * time.Second)
		l.mustBe(t, start, 10, 20)
		l.noErrors(t)
	})
}

// A runner whose tick the next holder has passed gets that as its error, and not that
// the tick is done: it is not.
func TestTickThatIsRefusedAfterALossIsReported(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		r := newReplica(t, &meddled{Store: store, first: func() {
			next := time.Now().Add(time.Second).UnixMicro() // its token
			remember(t, store, lease.TickRequest{Key: "report", At: start.Add(5 * time.Second), Fence: next}, true)
		}}, l)
		r.add(t, "@every 10s", "report", nil)
		r.cron.Start()
		time.Sleep(25 * time.Second)
		l.mustBe(t, start, 20)
		l.reported(t, start, guard.ErrLost, 10)
	})
}

// remember claims a tick for another owner.
func remember(t *testing.T, store *guardtest.Store, r lease.TickRequest, done bool) {
	t.Helper()
	r.Owner = store.NewOwner("")
	if reply, err := store.ClaimTick(t.Context(), r); err != nil || !reply.Claimed {
		t.Fatalf("ClaimTick(%+v) = %+v, %v", r, reply, err)
	}
	if !done {
		return
	}
	if ended, err := store.EndTick(t.Context(), lease.TickEnd{Key: r.Key, Owner: r.Owner, At: r.At}); err != nil || !ended {
		t.Fatalf("EndTick(%v) = %t, %v", r.At, ended, err)
	}
}

// The handler gets an error: the tick may run again. Later ticks run nevertheless: a
// run that knows its own ticks does not wait for them.
func TestTickThatCouldNotBeMarkedDoneIsReportedAndHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		store, l := guardtest.NewStore(), new(log)
		remember(t, store, lease.TickRequest{Key: "report", At: start}, true)
		time.Sleep(35 * time.Second)
		store.Inject(guardtest.Fault{Op: guardtest.OpEndTick, Err: errors.New("down"), Times: 3})
		r := newReplica(t, store, l)
		r.add(t, "@every 10s", "report", nil, cronwrap.Retry(), cronwrap.CatchUp(cronwrap.All(3), time.Hour))
		r.cron.Start()
		time.Sleep(10 * time.Second)
		l.mustBe(t, start, 10, 20, 30, 40)
		errs := l.failures()
		if len(errs) != 1 || !errors.Is(errs[0], guard.ErrUnavailable) || !errs[0].Tick.Equal(start.Add(10*time.Second)) {
			t.Errorf("reported: %v, want ErrUnavailable for the first tick", errs)
		}
	})
}
