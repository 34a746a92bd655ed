package cronwrap_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/jobguard/jobguard/guard/cronwrap"
	"github.com/jobguard/jobguard/guard/guardtest"
	"github.com/jobguard/jobguard/guard/lease"
)

func TestEveryIsAlignedToTheEpochInAllReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, l := guardtest.NewStore(), new(log)
		for range 3 { // each starts at a phase of its own
			time.Sleep(1300 * time.Millisecond)
			r := newReplica(t, store, l)
			r.add(t, "@every 7s", "report", nil)
			r.cron.Start()
		}
		time.Sleep(10 * time.Minute)
		l.everyTickOnce(t, 7*time.Second, 85, 0)
		for _, tick := range l.runs() {
			if tick.Unix()%7 != 0 || tick.Nanosecond() != 0 {
				t.Errorf("tick %v is no multiple of 7 s since 1970", tick)
			}
		}
	})
}

// New York set its clocks forward on 2 April 2000 and back on 29 October.
func TestDST(t *testing.T) {
	zone, err := time.LoadLocation("America/New_York")
	if err != nil {
		t.Fatal(err)
	}
	spring := time.Date(2000, 4, 1, 12, 0, 0, 0, zone)
	autumn := time.Date(2000, 10, 28, 12, 0, 0, 0, zone)
	const clock = "2 15:04 MST"
	for name, c := range map[string]struct {
		from, spec string
		dst        cronwrap.DSTPolicy
		want       []string
	}{
		"a skipped time does not run": {
			"spring", "0 30 2 * * *", cronwrap.AsCron, []string{"3 02:30 EDT"},
		},
		"nor with Once": {
			"spring", "0 30 2 * * *", cronwrap.Once, []string{"3 02:30 EDT"},
		},
		"a repeated time runs twice": {
			"autumn", "0 30 1 * * *", cronwrap.AsCron, []string{"29 01:30 EDT", "29 01:30 EST", "30 01:30 EST"},
		},
		"with Once it runs once": {
			"autumn", "0 30 1 * * *", cronwrap.Once, []string{"29 01:30 EDT", "30 01:30 EST"},
		},
		"with Once a repeated hour is left out": {
			"autumn", "0 0,30 0-2 * * *", cronwrap.Once,
			[]string{
				"29 00:00 EDT", "29 00:30 EDT", "29 01:00 EDT", "29 01:30 EDT", "29 02:00 EST", "29 02:30 EST",
				"30 00:00 EST", "30 00:30 EST", "30 01:00 EST", "30 01:30 EST", "30 02:00 EST", "30 02:30 EST",
			},
		},
		"Once heeds the zone of the spec": {
			"autumn", "CRON_TZ=UTC 0 30 6 * * *", cronwrap.Once, []string{"29 01:30 EST", "30 01:30 EST"},
		},
		"and is nothing to @every": {
			"autumn", "@every 8h", cronwrap.Once,
			[]string{"28 12:00 EDT", "28 20:00 EDT", "29 03:00 EST", "29 11:00 EST", "29 19:00 EST", "30 03:00 EST"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				from := spring
				if c.from == "autumn" {
					from = autumn
				}
				time.Sleep(time.Until(from) - time.Second)
				store, l := guardtest.NewStore(), new(log)
				for range 2 {
					r := newReplicaIn(t, zone, store, l)
					r.add(t, c.spec, "report", nil, cronwrap.DST(c.dst))
					r.cron.Start()
				}
				time.Sleep(48 * time.Hour)
				var got []string
				for _, tick := range l.runs() {
					got = append(got, tick.Format(clock))
				}
				if !slices.Equal(got, c.want) {
					t.Errorf("ran at %q, want %q", got, c.want)
				}
			})
		})
	}
}

// cron keeps using a parser of its own.
func TestSpecIsParsedByCronsOwnParser(t *testing.T) {
	for _, c := range []*cron.Cron{cron.New(), cron.New(cron.WithSeconds())} {
		_, five := c.AddFunc("1 2 3 4 5", func() {})
		r := cronwrap.New(c, mustGuard(t))
		if _, err := r.Add("1 2 3 4 5", "report", nothing); (err == nil) != (five == nil) {
			t.Errorf("cron says %v, the Runner %v", five, err)
		}
	}
}

func TestDSTOnceHeedsTheTicksOfAShiftedSchedule(t *testing.T) {
	zone, err := time.LoadLocation("America/New_York")
	if err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2000, 10, 29, 0, 15, 0, 0, zone)))
		hourly, err := cron.ParseStandard("30 * * * *")
		if err != nil {
			t.Fatal(err)
		}
		l := new(log)
		r := newReplicaIn(t, zone, guardtest.NewStore(), l)
		// 01:30 EDT comes at 01:10 EST, and 01:30 EST at 02:10.
		r.addSchedule(t, skewed{hourly, -40 * time.Minute}, "report", nil, cronwrap.DST(cronwrap.Once))
		r.cron.Start()
		time.Sleep(5 * time.Hour)
		var got []string
		for _, tick := range l.runs() {
			got = append(got, tick.Format("15:04 MST"))
		}
		if want := []string{"00:30 EDT", "01:30 EDT", "02:30 EST", "03:30 EST"}; !slices.Equal(got, want) {
			t.Errorf("ran at %q, want %q", got, want)
		}
	})
}

type scheduleFunc func(time.Time) time.Time

func (f scheduleFunc) Next(t time.Time) time.Time { return f(t) }

func TestScheduleThatReplicasCannotAgreeOnIsRefused(t *testing.T) {
	for name, next := range map[string]scheduleFunc{
		"@every inside a wrapper": cron.Every(7 * time.Second).Next,
		"random":                  func(t time.Time) time.Time { return t.Add(time.Hour + time.Duration(rand.Int64N(int64(time.Hour)))) },
		"backwards":               func(t time.Time) time.Time { return t.Add(-time.Second) },
		"standing still":          func(t time.Time) time.Time { return t },
	} {
		t.Run(name, func(t *testing.T) {
			for _, opts := range [][]cronwrap.JobOption{nil, {cronwrap.DST(cronwrap.Once)}} {
				r := newReplica(t, guardtest.NewStore(), new(log))
				if _, err := r.AddSchedule(next, "report", nothing, opts...); !errors.Is(err, cronwrap.ErrSchedule) {
					t.Errorf("AddSchedule() = %v, want ErrSchedule", err)
				}
			}
		})
	}
}

// The schedule is right when it is added and wrong later.
func TestScheduleThatStopsGoingForwardsIsNotFollowedForever(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		stuck := start.Add(20 * time.Second)
		next := scheduleFunc(func(at time.Time) time.Time {
			if n := steps(10 * time.Second).Next(at); !n.After(stuck) {
				return n
			}
			if at.Equal(stuck) {
				return stuck
			}
			return stuck.Add(time.Hour)
		})
		store, l := guardtest.NewStore(), new(log)
		r := newReplica(t, store, l)
		r.addSchedule(t, next, "report", sleeping(time.Second), cronwrap.CatchUp(cronwrap.All(100), time.Hour))
		before, err := store.ClaimTick(t.Context(), lease.TickRequest{Key: "report", Owner: store.NewOwner(""), At: start, MaxAhead: -1})
		if err != nil || !before.Claimed {
			t.Fatalf("ClaimTick() = %+v, %v", before, err)
		}
		time.Sleep(30 * time.Second)
		r.cron.Start()
		time.Sleep(10 * time.Second)
		l.mustBe(t, start, 10, 20)
	})
}

// breaking is a schedule whose Tick and Next panic once broken is set, except on
// cron's own goroutine.
type breaking struct {
	steps
	tick, next *atomic.Bool
}

func (b breaking) Tick(at time.Time) time.Time {
	if b.tick.Load() {
		panic(errJob)
	}
	return at
}

func (b breaking) Next(t time.Time) time.Time {
	if b.next.Load() && !strings.Contains(string(debug.Stack()), "(*Cron).run(") {
		panic(errJob)
	}
	return b.steps.Next(t)
}

func TestPanicOfTheScheduleReachesTheHandler(t *testing.T) {
	for name, c := range map[string]struct {
		then func(b breaking) // in the job
		want []int
	}{
		"Tick": {func(b breaking) { b.tick.Store(true) }, []int{10, 40}},
		"Next": {func(b breaking) { b.next.Store(true) }, []int{10, 40}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				store, l := guardtest.NewStore(), new(log)
				b := breaking{steps(10 * time.Second), new(atomic.Bool), new(atomic.Bool)}
				r := newReplica(t, store, l)
				r.addSchedule(t, b, "report", func(context.Context) error {
					if len(l.runs()) == 1 {
						c.then(b)
					}
					return nil
				}, cronwrap.CatchUp(cronwrap.Once, time.Second))
				r.cron.Start()
				time.Sleep(35 * time.Second)
				b.tick.Store(false)
				b.next.Store(false)
				time.Sleep(10 * time.Second)
				l.mustBe(t, start, c.want...)
				errs := l.failures()
				if len(errs) < 2 {
					t.Fatalf("%d errors were reported, want those of 20 and 30", len(errs))
				}
				for _, err := range errs {
					var p *cronwrap.PanicError
					if !errors.As(err, &p) || !errors.Is(err, errJob) {
						t.Errorf("reported: %v, want a PanicError", err)
					}
				}
				if keys := store.Keys(); len(keys) != 0 {
					t.Errorf("held: %v", keys)
				}
			})
		})
	}
}

// It panics in the goroutine that catches up, and under the key.
func TestPanicOfTheScheduleWhileCatchingUpReachesTheHandler(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, l := guardtest.NewStore(), new(log)
		opt := cronwrap.CatchUp(cronwrap.Once, time.Hour)
		before := newReplica(t, store, l)
		before.add(t, "@every 10s", "report", nil, opt)
		before.cron.Start()
		time.Sleep(15 * time.Second)
		before.shutdown(t)
		time.Sleep(10 * time.Second)
		b := breaking{steps(10 * time.Second), new(atomic.Bool), new(atomic.Bool)}
		r := newReplica(t, store, l)
		r.addSchedule(t, b, "report", nil, opt)
		b.next.Store(true)
		r.cron.Start()
		time.Sleep(time.Second)
		if errs := l.failures(); len(errs) != 1 || !errors.Is(errs[0], errJob) {
			t.Errorf("reported: %v, want the panic", errs)
		}
		time.Sleep(5 * time.Second) // the tick at 30 catches up too
		if errs := l.failures(); len(errs) != 2 || !errors.Is(errs[1], errJob) {
			t.Errorf("reported: %v, want the panic twice", errs)
		}
		if keys := store.Keys(); len(keys) != 0 {
			t.Errorf("held: %v", keys)
		}
	})
}

func TestScheduleThatPanicsIsRefused(t *testing.T) {
	r := newReplica(t, guardtest.NewStore(), new(log))
	var p *cronwrap.PanicError
	if _, err := r.AddSchedule(panicking{}, "report", nothing); !errors.As(err, &p) {
		t.Errorf("AddSchedule() = %v, want a PanicError", err)
	}
}

type panicking struct{}

func (panicking) Next(time.Time) time.Time { panic("no calendar") }
