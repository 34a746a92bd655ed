package httpmw

import (
	"math/rand/v2"
	"time"
)

const (
	// longestRetry bounds what a refused request is told, beyond a time that is exact.
	longestRetry = time.Minute

	// unknownRun is how long a run is thought to take before one has ended.
	unknownRun = time.Second

	// smoothing is how many runs it takes for a new duration to be believed.
	smoothing = 8
)

// pace is how runs of one name go. Guarded by visits.mu.
type pace struct {
	run      time.Duration // how long a run takes, smoothed; 0: none has ended
	abreast  float64       // runs of one key at once in this process, smoothed: 1 unless they share it
	patience time.Duration // how long the last refused request had waited; negative: none was refused
}

func newPace() *pace { return &pace{abreast: 1, patience: -1} }

func (p *pace) begun(running int) { p.abreast += (float64(running) - p.abreast) / smoothing }

func (p *pace) ended(took time.Duration) {
	if p.run == 0 {
		p.run = took
	}
	p.run += (took - p.run) / smoothing
}

// refuse ends a visit whose handler did not run. It returns after what time the request
// should come back, in whole seconds, and tells no other the same. exact is for how long
// the key certainly stays closed, 0 if that is not known. A request whose context has
// ended does not show how long requests wait, and may not come back: it takes no time.
func (v *visit) refuse(exact time.Duration, contextEnded bool) time.Duration {
	v.all.mu.Lock()
	defer v.all.mu.Unlock()
	if !v.over {
		v.endLocked()
		if !contextEnded {
			v.pace.patience = time.Since(v.came)
		}
	}
	at := v.all.atLocked(v.key) // not v.at, if that was forgotten meanwhile
	defer v.all.dropLocked(v.key, at)
	if contextEnded {
		unchanged := *at
		at = &unchanged
	}
	return at.book(v.pace, time.Now(), exact)
}

// book returns after what time a request should come back, and moves the next one's on.
func (at *atKey) book(p *pace, now time.Time, exact time.Duration) time.Duration {
	run := p.runOf(at, now)
	each := time.Duration(float64(run) / max(p.abreast, float64(at.running)))
	free := exact
	if free <= 0 {
		free = at.rest(run, each, now) + at.ahead(each, p.patience, now)
	}
	turn := later(at.next, now.Add(free))
	if each >= time.Second {
		turn = later(turn, at.told.Add(time.Second)) // not in the same second
	}
	if most := max(0, exact) + longestRetry; turn.Sub(now) > most {
		return roundUp(most - rand.N(longestRetry/2)) // too many for each to have its turn
	}
	told := max(time.Second, roundUp(turn.Sub(now)))
	at.told = now.Add(told)
	at.next = turn.Add(each)
	if p.run >= time.Second && p.patience < time.Second {
		// Requests that do not wait must not come a little early.
		at.next = at.told.Add(roundUp(each + each/10))
	}
	return told
}

// runOf is how long a run takes: one that goes on takes at least so long.
func (p *pace) runOf(at *atKey, now time.Time) time.Duration {
	run := p.run
	if at.running > 0 {
		run = max(run, now.Sub(at.began))
	}
	if run == 0 {
		return unknownRun
	}
	return run
}

// rest is what is left of the present run. Of one in another process this is a guess,
// by which processes that refuse at the same time give different times.
func (at *atKey) rest(run, each time.Duration, now time.Time) time.Duration {
	if at.running == 0 {
		return rand.N(each + 1)
	}
	return min(each, run-now.Sub(at.began))
}

// ahead is how long the requests that wait will use the key: until the last has had its turn
// or has waited for as long as others did.
func (at *atKey) ahead(each, patience time.Duration, now time.Time) time.Duration {
	d := each * time.Duration(at.waiting)
	if patience >= 0 {
		d = min(d, max(0, at.newest.Add(patience).Sub(now)))
	}
	return d
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// roundUp returns d in whole seconds.
func roundUp(d time.Duration) time.Duration {
	return (d + time.Second - 1).Truncate(time.Second)
}
