package queue

import (
	"time"

	"github.com/jobguard/jobguard/guard/internal/backoff"
	"github.com/jobguard/jobguard/guard/lease"
)

// Waiting. A waiter is woken by a message; polling is for the case that the message is
// lost, and shows the store that the waiter is alive. It is rare while the store is
// sure of its messages. No message announces that a lease expires, so a waiter also asks
// when the holder's would: the head at once, the others with some delay, in case the
// head is gone.
const (
	pollFloor = 50 * time.Millisecond
	pollCap   = time.Second
	pollWatch = 5 * time.Second // while the store is sure of its messages
	pollOther = 500 * time.Millisecond
	pollGrid  = 25 * time.Millisecond // of rare polls

	// pollNoQueue is the cap with stores that keep no queue: there polling is
	// the only way a waiter learns of a release. So it is beside another program's
	// lock, for the head of the queue, as most of those poll at 50 to 250 ms.
	pollNoQueue  = 250 * time.Millisecond
	pollForeign  = 50 * time.Millisecond
	foreignRange = 50 * time.Millisecond

	// A grant stays reserved for a waiter that does not respond for its TTL, which is
	// how long a crashed holder blocks others, but at most reservationMax; for two
	// of the polls that are made when messages may be lost, or a waiter would find its
	// grant lapsed every time; and for four round trips, or the waiter itself comes too late.
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

// firstPause is the pause after a failed store call; see [backoff.Pause].
const firstPause = 10 * time.Millisecond

// onGrid lengthens a pause that begins now, so that the candidates of a process that
// poll rarely do so at the same times and share round trips.
func onGrid(now time.Time, pause time.Duration) time.Duration {
	return pause + pollGrid - time.Duration(now.Add(pause).UnixNano()%int64(pollGrid))
}

// placeFor is the place in the queue of a waiter with that TTL.
func placeFor(ttl, rtt time.Duration) lease.Place {
	return lease.Place{
		Reservation: max(min(ttl, reservationMax), reservationMin, reservationRTTs*rtt),
		Poll:        max(min(ttl/2, pollWatch), reservationRTTs*rtt),
	}
}

// pollAfter is how long to wait for a wake-up before asking anyway.
func pollAfter(reply lease.AcquireReply, place lease.Place) time.Duration {
	limit := min(pollCap, place.Reservation/2, place.Poll)
	floor := pollFloor
	switch {
	case reply.Ticket == 0:
		limit = min(limit, pollNoQueue)
	case reply.Foreign && reply.Head:
		return backoff.Jitter(pollForeign, pollForeign+foreignRange)
	case reply.Watched:
		limit = place.Poll
	}
	if reply.Ticket != 0 && !reply.Head {
		floor = pollOther
	}
	if d := max(reply.Remaining, floor); reply.Remaining >= 0 && d < limit {
		// Just after the expiry, never before it: asking early costs a second poll.
		return backoff.Jitter(d, d+min(d/16, pollFloor))
	}
	if limit > pollCap {
		return onGrid(time.Now(), backoff.Jitter(limit*19/20, limit-pollGrid))
	}
	return backoff.Jitter(limit*3/4, limit)
}
