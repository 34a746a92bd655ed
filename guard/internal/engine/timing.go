package engine

import (
	"math/rand/v2"
	"time"
)

// Waiting. A waiter is woken by a message; polling is for the day the message
// is lost, so it can be slow, except for the head of the line, which also looks
// when the holder's lease would expire, since nobody announces that.
const (
	pollFloor = 50 * time.Millisecond
	pollCap   = time.Second

	// pollNoLine is the cap with stores that keep no line: there polling is
	// the only way a waiter learns of a release.
	pollNoLine = 250 * time.Millisecond

	// reservationMin is how long a grant stays reserved for a waiter that does not
	// respond. It must outlast two polls, or a waiter whose wake-up was lost
	// finds its grant lapsed every time, and four round trips, or the reservation
	// itself comes too late.
	reservationMin  = 2 * pollCap
	reservationRTTs = 4

	// reservationRest is the part of a claim that must be left for a run to begin on
	// the wake-up alone. A quarter leaves out only those who last asked long ago,
	// and is time for a renewal that hangs and another one.
	reservationRest = 4

	// confirmAfter is when a run that began on the wake-up first renews: until
	// then its lease has only the reservation to live.
	confirmAfter = 10 * time.Millisecond
)

// A caller's own first attempt cannot be broken off. It takes at most this long,
// so a caller who is cancelled while the server stalls is not kept for longer.
// Where so many round trips do not fit, it is not made.
const (
	firstPatience = 100 * time.Millisecond
	firstRTTs     = 8
)

// tenureMax bounds how long local followers may pass a key among themselves
// before the other processes in line get their turn.
const tenureMax = 10 * time.Millisecond

// tenureTokens is how many tokens a tenure with local followers asks for: one
// for each microsecond of tenureMax, which is as far as the store lets tokens
// run ahead of its clock.
const tenureTokens = int(tenureMax / time.Microsecond)

// acquireTimeout bounds one Acquire attempt. After TTL − Margin a grant would
// arrive with its trust already spent.
func (o Options) acquireTimeout() time.Duration {
	return min(o.TTL-o.Margin, 2*time.Second)
}

// renewEvery is the interval of renewal: two more can fail before trust ends.
func (o terms) renewEvery() time.Duration { return o.TTL / 3 }

// renewPause is the interval less up to a tenth by chance, so that leases which
// began together do not stay together.
func (o terms) renewPause() time.Duration { return jitter(o.renewEvery()*9/10, o.renewEvery()) }

// renewTimeout bounds one renewal or release attempt, so that two full
// time-outs still fit between the first renewal and the end of trust.
func (o terms) renewTimeout() time.Duration {
	return min((o.TTL-o.Margin-o.renewEvery())/2, time.Second)
}

// backoff is the pause after the n-th failure in a row, n from 1: 10 ms
// doubling up to limit, less up to a half by chance, so that many clients of one
// ailing server do not knock in step.
func backoff(n int, limit time.Duration) time.Duration {
	d := limit
	if n < 16 {
		d = min(limit, 10*time.Millisecond<<(n-1))
	}
	return jitter(d/2, d)
}

// jitter returns a random duration in [lo, hi].
func jitter(lo, hi time.Duration) time.Duration {
	if hi <= lo {
		return lo
	}
	return lo + time.Duration(rand.Int64N(int64(hi-lo)+1))
}

// Backoff is the pause after the n-th failure in a row of callers that start
// over: at most about a second.
func Backoff(n int) time.Duration { return backoff(n, time.Second) }
