package cronwrap_test

import (
	"context"
	"testing"
	"time"

	"github.com/jobguard/jobguard/guard"
	"github.com/jobguard/jobguard/guard/cronwrap"
)

var skews = []time.Duration{-400 * ms, 0, 500 * ms, 900 * ms}

func TestEachTickRunsOnceAcrossSkewedReplicas(t *testing.T) {
	for name, opts := range map[string][]any{"ticks": nil, "mutual exclusion": {cronwrap.MutualExclusion()}} {
		f := later(t, "@every 1s", opts...).lasting(ms)
		for _, ahead := range skews {
			f.at(0, skewed(ahead))
		}
		f.at(60*s + 500*ms).live(func(f *timeline) {
			if name == "ticks" {
				f.everyTickOnce(t, s, 60, 0)
			} else if n := len(f.runs()); n < 200 { // the job is over before the next clock ticks
				t.Errorf("%d runs of 60 ticks: this test is no control of the other", n)
			}
		})
	}
}

func TestTickFarAheadOfTheStoresClockIsRefused(t *testing.T) {
	later(t, "@every 1s").at(0, skewed(10*365*24*h)).at(5500*ms, func(f *timeline) {
		f.begun = f.begun.Add(10 * 365 * 24 * h)
	}, told(cronwrap.ErrSkew, 1, 2, 3, 4, 5), func(f *timeline) {
		f.begun = f.begun.Add(-10 * 365 * 24 * h)
	}, stop, start(1)).at(10500*ms).ran(6, 7, 8, 9, 10)
	later(t, "@every 1s", cronwrap.MaxSkew(10*s)).at(0, skewed(9*s)).at(3500*ms, ran(10, 11, 12), stop, skewed(11*s)).
		at(5*s+500*ms, told(cronwrap.ErrSkew, 15, 16)).ran(10, 11, 12)
}

func TestLateReplicaNeverRunsATickThatIsOlderThanTheLastClaimed(t *testing.T) {
	later(t, "@every 1s", cronwrap.AtLeastOnce(h)).at(0, skewed(0), skewed(-2500*ms)).at(5500*ms, tellsAnything).
		ran(-2, -1, 0, 1, 2, 3, 4, 5)
}

// The clock is wrong for two ticks.
func TestTickThatWasRefusedForItsSkewIsBackfilled(t *testing.T) {
	fleet(t, "@every 10s", cronwrap.CatchUp(1, h)).at(25*s, clocks(2*m)).at(45*s, clocks(0), told(cronwrap.ErrSkew, 150, 160)).
		at(55*s).ran(10, 20, 40, 50)
}

func clocks(ahead time.Duration) action { return each(func(r *replica) { r.SetClock(ahead) }) }

func TestClockThatJumpsDuringARunUsesUpNoTickToCome(t *testing.T) {
	fleet(t, "@every 10s", cronwrap.CatchUp(1, h)).job(func(f *timeline, _ context.Context) error {
		if len(f.runs()) == 1 {
			time.Sleep(s)
			clocks(365 * 24 * h)(f)
		}
		return nil
	}).at(15*s, stop, start(1)).at(45*s).ran(10, 20, 30, 40)
}

// Replicas whose clocks differ by less than the job's runs last find ticks dropped that
// they have not come to.
func TestSkewedReplicasAgreeOnWhatARunOverlapped(t *testing.T) {
	later(t, "@every 10s", cronwrap.CatchUp(9, h), guard.TTL(3*s)).lasting(25*s).at(0, skewed(0), skewed(700*ms), skewed(-700*ms)).
		at(99*s).ran(0, 30, 60, 90)
}
