package cronwrap_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/cronwrap"
)

func TestMissedTicksAreBackfilledWhenTheFleetIsBack(t *testing.T) {
	for name, c := range map[string]struct {
		opts []any
		want []int
	}{
		"no":               {nil, []int{10, 60}},
		"the latest":       {[]any{cronwrap.CatchUp(1, h)}, []int{10, 50, 60}},
		"the latest three": {[]any{cronwrap.CatchUp(3, h)}, []int{10, 30, 40, 50, 60}},
		"all":              {[]any{cronwrap.CatchUp(100, h)}, []int{10, 20, 30, 40, 50, 60}},
		"not older than":   {[]any{cronwrap.CatchUp(100, 15*s)}, []int{10, 40, 50, 60}},
		"at least once":    {[]any{cronwrap.AtLeastOnce(h)}, []int{10, 20, 30, 40, 50, 60}},
		"and not older":    {[]any{cronwrap.AtLeastOnce(15 * s)}, []int{10, 40, 50, 60}},
		"with wait":        {[]any{cronwrap.CatchUp(100, h), cronwrap.OverlapWait()}, []int{10, 20, 30, 40, 50, 60}},
	} {
		t.Run(name, func(t *testing.T) {
			fleet(t, "@every 10s", c.opts...).lasting(s).at(15*s, stop).at(53*s, start(3)).at(63 * s).ran(c.want...)
		})
	}
}

// What CatchUp and AtLeastOnce know is what the store remembers.
func TestNothingIsBackfilledFromBeforeTheStoreForgot(t *testing.T) {
	for name, opt := range map[string]any{"CatchUp": cronwrap.CatchUp(100, h), "AtLeastOnce": cronwrap.AtLeastOnce(h)} {
		t.Run(name, func(t *testing.T) {
			fleet(t, "@every 10s", opt).lasting(s).at(15*s, stop, forget).at(53*s, start(3)).at(63*s).ran(10, 60)
		})
	}
}

// A stall of the store, in which ticks come due.
func TestStallOfTheStoreLosesNoTick(t *testing.T) {
	for _, stall := range []time.Duration{200 * ms, 1200 * ms, 2 * s, 2500 * ms, 10 * s} {
		var all []int
		for i := range 40 {
			all = append(all, i+1)
		}
		t.Run(stall.String(), func(t *testing.T) {
			fleet(t, "* * * * * *", cronwrap.CatchUp(30, m), guard.TTL(5*s)).lasting(5*ms).at(0, start(2)).
				at(14100*ms, down).at(14100*ms+stall, up).at(40*s+500*ms, tellsAnything).ran(all...)
		})
	}
}

func TestJobThatNeverRanHasMissedNothing(t *testing.T) {
	later(t, "@every 10s", cronwrap.CatchUp(100, h)).at(h, start(1)).at(h + 15*s).ran(3610)
}

// A tick that came due during a run was not missed, also if a replica starts just then.
func TestTicksDroppedForARunAreNotBackfilled(t *testing.T) {
	fleet(t, "@every 10s", cronwrap.CatchUp(100, h)).lasting(35*s).at(25*s, start(1)).at(49 * s).ran(10)
}

func TestTicksMissedInAnOutageAreBackfilled(t *testing.T) {
	fleet(t, "@every 10s", cronwrap.CatchUp(100, h)).at(15*s, down).at(35*s, up).
		at(45*s, told(guard.ErrUnavailable, 20, 30)).ran(10, 20, 30, 40)
}

func TestCatchingUpAwaitsAStoreThatIsDown(t *testing.T) {
	fleet(t, "@every 24h", cronwrap.CatchUp(1, 48*h)).at(25*h, stop).at(50*h, down, start(1)).at(51*h, up).
		at(52*h, told(guard.ErrUnavailable, -1)).ran(24*3600, 48*3600)
}

// The next tick of a rare job is too far away to backfill it.
func TestRareTickMissedInAnOutageIsBackfilledSoon(t *testing.T) {
	fleet(t, "@every 24h", cronwrap.CatchUp(1, h)).at(0, start(1)).at(48*h-15*s, down).at(48*h+15*s, up).
		at(48*h+5*m, told(guard.ErrUnavailable, 48*3600, 48*3600)).ran(24*3600, 48*3600)
}

func TestNoTickOvertakesABackfill(t *testing.T) {
	fleet(t, "@every 10s", cronwrap.CatchUp(100, h), cronwrap.OverlapWait()).lasting(2*s).at(15*s, stop).
		at(59900*ms, start(2)).at(85*s).ran(10, 20, 30, 40, 50, 60, 70, 80)
}

func TestTicksWhileCronWasStoppedAreBackfilled(t *testing.T) {
	fleet(t, "@every 10s", cronwrap.CatchUp(100, h)).at(15*s, each(func(r *replica) { r.cron.Stop() })).
		at(45*s, each(func(r *replica) { r.cron.Start() })).at(55*s).ran(10, 20, 30, 40, 50)
}

func TestNothingRunsInAProcessThatDoesNotStartCron(t *testing.T) {
	var idle *replica
	fleet(t, "@every 10s", cronwrap.CatchUp(100, h)).at(15*s, stop).at(35*s, func(f *timeline) {
		idle = f.join(f.spec)
		f.replicas = append(f.replicas, idle)
		if next := idle.cron.Entry(idle.entry).Schedule.Next(time.Now()); !next.Equal(f.time(40)) {
			t.Errorf("Next() = %v", next)
		}
	}).at(37*s, ran(10), func(*timeline) { idle.cron.Start() }).at(38*s).ran(10, 20, 30)
}

// The tick waits in the queue of the key.
func TestTickThatFindsOtherCodeIsBackfilledWhenTheKeyIsFree(t *testing.T) {
	fleet(t, "@every 10s", cronwrap.CatchUp(10, h)).at(0, start(1)).at(15*s, rival).at(35*s, ran(10), free).
		at(37*s, ran(10, 20, 30)).at(45*s).ran(10, 20, 30, 40)
}

// The guard's Wait is over before the key is free.
func TestTickThatWasDroppedForOtherCodeIsBackfilledWithTheNext(t *testing.T) {
	fleet(t, "@every 10s", cronwrap.CatchUp(10, h), guard.Wait(3*s)).at(15*s, rival).at(25*s, free).
		at(29*s, ran(10)).at(35*s).ran(10, 20, 30)
}

func TestBackfilledTicksAreThoseOfTheNewSpec(t *testing.T) {
	f := fleet(t, "@every 10s", cronwrap.CatchUp(100, h))
	f.at(15*s, stop, func(f *timeline) { f.spec = "@every 5s" }).at(33*s, start(1)).at(34*s).ran(10, 15, 20, 25, 30)
}

func TestShutdownEndsABackfill(t *testing.T) {
	later(t, "@every 10s", cronwrap.CatchUp(100, h)).lasting(2*s).at(0, began).at(53*s, start(1)).at(54*s, stop, func(f *timeline) {
		if time.Since(f.begun) > 55*s {
			t.Errorf("Shutdown took until %v", time.Since(f.begun))
		}
	}, ran(10)).at(55*s, start(1)).at(64*s).ran(10, 20, 30, 40, 50)
}

// The lease is lost in the third of five ticks: the others do not run without it, but
// later. A backfilled tick that fails is reported like any other.
func TestRestIsBackfilledAfterALoss(t *testing.T) {
	later(t, "@every 10s", cronwrap.CatchUp(100, h)).job(func(f *timeline, ctx context.Context) error {
		switch len(f.runs()) {
		case 2:
			return errJob
		case 3:
			free(f)
			<-ctx.Done()
		}
		return nil
	}).at(0, began).at(51*s, start(1)).at(51*s+ms, told(errJob, 20)).at(59*s, told(guard.ErrLost, 30)).ran(10, 20, 30, 40, 50)
}

func TestCatchingUpGoesOnAfterAJobThatExitedItsGoroutine(t *testing.T) {
	later(t, "@every 10s", cronwrap.CatchUp(100, h)).job(func(f *timeline, _ context.Context) error {
		if len(f.runs()) == 1 {
			runtime.Goexit()
		}
		return nil
	}).at(0, began).at(35*s, start(1)).at(41*s, ran(10, 20, 30, 40), tellsAnything).
		at(45*s, down).at(55*s, up).at(59900*ms, told(guard.ErrUnavailable, 50)).ran(10, 20, 30, 40, 50)
}
