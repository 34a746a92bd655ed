package cronwrap_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/cronwrap"
	"github.com/jobguard/jobguard/guard/guardtest"
)

func TestEveryIsAlignedToTheEpochInAllReplicas(t *testing.T) {
	f := later(t, "@every 7s")
	for i := range 3 { // each starts at a phase of its own
		f.at(time.Duration(i)*1300*ms, start(1))
	}
	f.at(10 * m).live(func(f *timeline) {
		f.everyTickOnce(t, 7*s, 85, 0)
		for _, tick := range f.runs() {
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
	spring, autumn := time.Date(2000, 4, 1, 12, 0, 0, 0, zone), time.Date(2000, 10, 28, 12, 0, 0, 0, zone)
	once := []any{cronwrap.OncePerLocalTime()}
	for name, c := range map[string]struct {
		from time.Time
		spec string
		opts []any
		want []string
	}{
		"a skipped time does not run": {spring, "0 30 2 * * *", nil, []string{"3 02:30 EDT"}},
		"nor with OncePerLocalTime":   {spring, "0 30 2 * * *", once, []string{"3 02:30 EDT"}},
		"a repeated time runs twice":  {autumn, "0 30 1 * * *", nil, []string{"29 01:30 EDT", "29 01:30 EST", "30 01:30 EST"}},
		"with OncePerLocalTime once":  {autumn, "0 30 1 * * *", once, []string{"29 01:30 EDT", "30 01:30 EST"}},
		"it heeds the zone of a spec": {autumn, "CRON_TZ=UTC 0 30 6 * * *", once, []string{"29 01:30 EST", "30 01:30 EST"}},
		"it leaves out a repeated hour": {autumn, "0 0,30 0-2 * * *", once, []string{
			"29 00:00 EDT", "29 00:30 EDT", "29 01:00 EDT", "29 01:30 EDT", "29 02:00 EST", "29 02:30 EST",
			"30 00:00 EST", "30 00:30 EST", "30 01:00 EST", "30 01:30 EST", "30 02:00 EST", "30 02:30 EST",
		}},
		"and is nothing to @every": {autumn, "@every 8h", once, []string{
			"28 12:00 EDT", "28 20:00 EDT", "29 03:00 EST", "29 11:00 EST", "29 19:00 EST", "30 03:00 EST",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			f := later(t, c.spec, c.opts...)
			f.zone = zone
			from := c.from.Sub(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)) // where synctest begins
			f.at(from-s, start(2)).at(from + 48*h - s).live(func(f *timeline) {
				var got []string
				for _, tick := range f.runs() {
					got = append(got, tick.Format("2 15:04 MST"))
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
		r := newRunner(t, guardtest.NewStore(), c, nil, nil)
		if _, err := r.Add("1 2 3 4 5", "report", nothing); (err == nil) != (five == nil) {
			t.Errorf("cron says %v, the Runner %v", five, err)
		}
	}
}

func TestAddRefusesWhatCannotWork(t *testing.T) {
	r := newRunner(t, guardtest.NewStore(), newCron(), nil, nil)
	if _, err := r.Add("@hourly", "taken", nothing); err != nil {
		t.Fatal(err)
	}
	mutex := cronwrap.MutualExclusion()
	for _, c := range []struct {
		what, spec, name string
		want             error  // if it is exported
		text             string // or how it ends
		opts             []cronwrap.JobOption
	}{
		{what: "bad spec", spec: "every morning", name: "a"},
		{what: "empty spec", spec: "", name: "a"},
		{what: "a zone without fields, at which the parser panics", spec: "TZ=UTC", name: "a"},
		{what: "unknown zone", spec: "TZ=Moon/Sea 0 0 0 * * *", name: "a"},
		{what: "spec that never comes due", spec: "0 0 0 30 2 *", name: "a"},
		{what: "interval below a second", spec: "@every 100ms", name: "a"},
		{what: "interval that cron would round", spec: "@every 1500ms", name: "a"},
		{what: "no name", spec: "@daily", name: "", want: guard.ErrInvalidKey},
		{what: "name that is no key", spec: "@daily", name: "a\nb", want: guard.ErrInvalidKey},
		{what: "duplicate", spec: "@daily", name: "taken", want: cronwrap.ErrDuplicate},
		{what: "no ticks", spec: "@daily", name: "a", opts: []cronwrap.JobOption{cronwrap.CatchUp(0, h)}, text: "CatchUp: 0 ticks are less than 1"},
		{what: "no window", spec: "@daily", name: "a", opts: []cronwrap.JobOption{cronwrap.CatchUp(1, 0)}, text: "CatchUp: within 0s is not more than 0s"},
		{what: "no time", spec: "@daily", name: "a", opts: []cronwrap.JobOption{cronwrap.AtLeastOnce(0)}, text: "AtLeastOnce: within 0s is not more than 0s"},
		{what: "no attempt", spec: "@daily", name: "a", opts: []cronwrap.JobOption{cronwrap.MaxAttempts(0)}, text: "MaxAttempts 0 is less than 1"},
		{what: "nil", spec: "@daily", name: "a", opts: []cronwrap.JobOption{nil}, text: "a JobOption is nil"},
		{what: "AtLeastOnce without ticks", spec: "@daily", name: "a", opts: []cronwrap.JobOption{cronwrap.AtLeastOnce(h), mutex}, text: "ticks that are remembered"},
		{what: "CatchUp without ticks", spec: "@daily", name: "a", opts: []cronwrap.JobOption{mutex, cronwrap.CatchUp(1, h)}, text: "ticks that are remembered"},
	} {
		t.Run(c.what, func(t *testing.T) {
			before := len(r.cron.Entries())
			id, err := r.Add(c.spec, c.name, nothing, c.opts...)
			if err == nil || id != 0 || c.want != nil && !errors.Is(err, c.want) || !strings.HasPrefix(err.Error(), fmt.Sprintf("cronwrap: job %q: ", c.name)) || !strings.HasSuffix(err.Error(), c.text) {
				t.Errorf("Add() = %v, %v, want an error that is %v%s", id, err, c.want, c.text)
			}
			if n := len(r.cron.Entries()); n != before {
				t.Errorf("%d entries are left behind", n-before)
			}
		})
	}
	r.cron.Remove(r.cron.Entries()[0].ID)
	if _, err := r.Add("@hourly", "taken", nothing); err != nil {
		t.Errorf("Add() = %v after the entry was removed", err)
	}
}

type scheduleFunc func(time.Time) time.Time

func (f scheduleFunc) Next(t time.Time) time.Time { return f(t) }

func TestScheduleThatReplicasCannotAgreeOnIsRefused(t *testing.T) {
	for name, next := range map[string]scheduleFunc{
		"@every inside a wrapper": cron.Every(7 * s).Next,
		"random":                  func(t time.Time) time.Time { return t.Add(h + time.Duration(rand.Int64N(int64(h)))) },
		"backwards":               func(t time.Time) time.Time { return t.Add(-s) },
		"standing still":          func(t time.Time) time.Time { return t },
	} {
		t.Run(name, func(t *testing.T) {
			for _, opts := range [][]cronwrap.JobOption{nil, {cronwrap.OncePerLocalTime()}} {
				r := newRunner(t, guardtest.NewStore(), newCron(), nil, nil)
				if _, err := r.AddSchedule(next, "report", nothing, opts...); !errors.Is(err, cronwrap.ErrSchedule) {
					t.Errorf("AddSchedule() = %v, want ErrSchedule", err)
				}
			}
		})
	}
	var p *cronwrap.PanicError
	r := newRunner(t, guardtest.NewStore(), newCron(), nil, nil)
	if _, err := r.AddSchedule(scheduleFunc(func(time.Time) time.Time { panic("no calendar") }), "report", nothing); !errors.As(err, &p) {
		t.Errorf("AddSchedule() = %v, want a PanicError", err)
	}
}

// scheduled lets a replica join whose job has s instead of a spec.
func scheduled(s func(f *timeline) cron.Schedule, opts ...cronwrap.JobOption) action {
	return func(f *timeline) {
		r := newRunner(f, f.store, newCron(), nil, []cronwrap.Option{cronwrap.OnError(f.failed)})
		if _, err := r.AddSchedule(s(f), "report", f.record(func(ctx context.Context) error { return f.body(f, ctx) }), opts...); err != nil {
			f.Fatal(err)
		}
		f.replicas = append(f.replicas, r)
	}
}

// The schedule is right when it is added and wrong later.
func TestScheduleThatStopsGoingForwardsIsNotFollowedForever(t *testing.T) {
	later(t, "").lasting(s).at(0, began, scheduled(func(f *timeline) cron.Schedule {
		stuck := f.time(20)
		return scheduleFunc(func(at time.Time) time.Time {
			switch n := steps(10 * s).Next(at); {
			case !n.After(stuck):
				return n
			case at.Equal(stuck):
				return stuck
			}
			return stuck.Add(h)
		})
	}, cronwrap.CatchUp(100, h))).at(30*s, each(func(r *replica) { r.cron.Start() })).at(40*s).ran(10, 20)
}

// breaking panics once it is set, except on cron's own goroutine.
type breaking struct {
	steps
	broken *atomic.Bool
}

func (b breaking) Next(t time.Time) time.Time {
	if b.broken.Load() && !strings.Contains(string(debug.Stack()), "(*Cron).run(") {
		panic(errJob)
	}
	return b.steps.Next(t)
}

// At a tick, under the key, and while looking for missed ticks.
func TestPanicOfTheScheduleReachesTheHandler(t *testing.T) {
	b := breaking{steps(10 * s), new(atomic.Bool)}
	set := func(broken bool) action { return func(*timeline) { b.broken.Store(broken) } }
	panics := func(n int) action {
		return func(f *timeline) {
			errs := f.reported()
			var p *cronwrap.PanicError
			if len(errs) < n || !errors.As(errs[0], &p) || !errors.Is(errs[0], errJob) {
				f.Errorf("reported: %v, want the panic %d times", errs, n)
			}
		}
	}
	broken := scheduled(func(*timeline) cron.Schedule { return b }, cronwrap.CatchUp(1, s))
	begin := each(func(r *replica) { r.cron.Start() })
	later(t, "").job(func(f *timeline, _ context.Context) error {
		if len(f.runs()) == 1 {
			b.broken.Store(true)
		}
		return nil
	}).at(0, broken, begin).at(35*s, panics(3), set(false)).at(45*s, nothingHeld, ran(10, 40), stop).
		at(55*s, broken, set(true), begin).at(57*s, panics(1)).at(61*s, panics(1), set(false), nothingHeld).ran(10, 40)
}

func TestMisusePanicsWithWhatIsWrong(t *testing.T) {
	g, c := mustGuard(t), cron.New()
	r := newRunner(t, guardtest.NewStore(), c, nil, nil)
	for _, misuse := range []struct {
		want string
		do   func()
	}{
		{"cronwrap: nil Cron", func() { _, _ = cronwrap.New(nil, g) }},
		{"cronwrap: nil Guard", func() { _, _ = cronwrap.New(c, nil) }},
		{"cronwrap: nil fn", func() { _, _ = r.Add("@daily", "k", nil) }},
		{"cronwrap: nil Schedule", func() { _, _ = r.AddSchedule(nil, "k", nothing) }},
		{"cronwrap: Wrap: the name is no key: it is empty (guard.Key returns that if a part is empty)", func() { cronwrap.Wrap(g, "") }},
		{"cronwrap: nil Guard", func() { cronwrap.Wrap(nil, "k") }},
	} {
		func() {
			defer func() {
				if got := recover(); got != misuse.want {
					t.Errorf("panicked with %v, want %q", got, misuse.want)
				}
			}()
			misuse.do()
		}()
	}
	for want, opt := range map[string]cronwrap.Option{
		"an Option is nil":            nil,
		"OnError: the handler is nil": cronwrap.OnError(nil),
		"MaxSkew -1ns is negative":    cronwrap.MaxSkew(-1),
		"Backfills 0 is less than 1":  cronwrap.Backfills(0),
	} {
		if r, err := cronwrap.New(c, g, opt); r != nil || err == nil || err.Error() != "cronwrap: "+want {
			t.Errorf("New() = %v, %v, want %q", r, err, want)
		}
	}
}
