package queue

import (
	"time"

	"github.com/jobguard/jobguard/guard/internal/backoff"
	"github.com/jobguard/jobguard/guard/lease"
)

// Waiting. A waiter is woken by a message; polling is for the case that the
// message is lost, so it can be slow, except for the head of the queue, which also
// asks when the holder's lease would expire, since no message announces that.
const (
	pollFloor = 50 * time.Millisecond
	pollCap   = time.Second

	// pollNoQueue is the cap with stores that keep no queue: there polling is
	// the only way a waiter learns of a release.
	pollNoQueue = 250 * time.Millisecond

	// A grant stays reserved for a waiter that does not respond for its TTL, which is
	// how long a crashed holder blocks others, but at most reservationMax; for two
	// polls, or a waiter whose wake-up was lost finds its grant lapsed every time;
	// and for four round trips, or the waiter itself comes too late.
	reservationMax  = 2 * pollCap
	reservationMin  = 100 * time.Millisecond
	reservationRTTs = 4

	// reservationRest is the part of a reservation that must be left for a run to
	// begin on the wake-up alone. A quarter leaves out only waiters that last asked
	// long ago, and is time for a renewal that hangs and another one.
	reservationRest = 4

	// confirmAfter is when a run that began on the wake-up first renews: until
	// then its lease lives only as long as the reservation.
	confirmAfter = 10 * time.Millisecond
)

// A caller's own first attempt cannot be broken off. It takes at most this long,
// so a caller that is cancelled while the server stalls is not kept for longer.
// Where so many round trips do not fit, it is not made.
const (
	firstPatience = 100 * time.Millisecond
	firstRTTs     = 8
)

// handoffMax bounds how long local callers may pass a lease among themselves
// before the other processes in the queue get their turn.
const handoffMax = 10 * time.Millisecond

// handoffTokens is how many tokens a lease with local waiters asks for: one for
// each microsecond of handoffMax, which is as far as the store lets tokens run
// ahead of its clock.
const handoffTokens = int(handoffMax / time.Microsecond)

// firstPause is the pause after a failed store call; see [backoff.Pause].
const firstPause = 10 * time.Millisecond

// reservationFor is how long a grant to a waiter with that TTL stays reserved.
func reservationFor(ttl, rtt time.Duration) time.Duration {
	return max(min(ttl, reservationMax), reservationMin, reservationRTTs*rtt)
}

// pollAfter is how long to wait for a wake-up before asking anyway.
func pollAfter(reply lease.AcquireReply, reservation time.Duration) time.Duration {
	limit := min(pollCap, reservation/2)
	if reply.Ticket == 0 {
		limit = min(limit, pollNoQueue)
	} else if !reply.Head {
		return backoff.Jitter(limit*3/4, limit)
	}
	if reply.Remaining < 0 { // a foreign key without expiry
		return limit
	}
	// Just after the expiry, never before it: asking early costs a second poll.
	d := min(max(reply.Remaining, pollFloor), limit)
	return backoff.Jitter(d, d+d/16)
}
