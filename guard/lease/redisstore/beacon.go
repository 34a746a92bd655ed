package redisstore

import (
	"context"
	"errors"
	"time"
)

// A subscription may look alive and hear nothing of a grant: after a planned failover
// it stays with the old primary. So requests of waiters carry a beacon now and then: a
// number that the server publishes to the process's own inbox, on the way that a wake-up
// would take. Its reply says how many subscribers that server counts.
const (
	beaconEvery = time.Second
	// beaconLate is how long after the reply a beacon may arrive.
	beaconLate = time.Second
)

// beacons is what a subscription knows from its beacons. Guarded by inbox.mu.
type beacons struct {
	hangUp context.CancelFunc // makes listen return

	last    int64     // number of the last one sent
	heard   int64     // number of the last one that arrived; 0 before the first
	sent    time.Time // when; zero before the first
	missing time.Time // when the reply to one came that has not arrived; zero if none
	mute    bool      // the server does not publish for us: no more beacons

	counted bool // the server of the last one counts this subscription
}

var (
	errDeaf   = errors.New("messages that the server published do not arrive")
	errHungUp = errors.New("the subscription is at another server, or not needed any more")
)

// prove reports whether a message would arrive, as far as is known.
func (b *beacons) prove(now time.Time) bool { return b.heard > 0 && !b.overdue(now) }

func (b *beacons) overdue(now time.Time) bool {
	return !b.missing.IsZero() && now.Sub(b.missing) > beaconLate
}

// beacon returns what a request to wait says of the inbox: whether the server counts
// it, and the number of a beacon to publish, 0 for none.
func (in *inbox) beacon() (counted bool, n int64) {
	s := in.current.Load()
	if s == nil || !s.confirmed.Load() {
		return false, 0
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if now := time.Now(); !s.mute && now.Sub(s.sent) >= beaconEvery {
		s.last++
		s.sent = now
		return s.counted, s.last
	}
	return s.counted, 0
}

// published records the reply to beacon n: it was published to receivers, negative if
// that is not permitted.
func (in *inbox) published(n, receivers int64) {
	s := in.current.Load()
	if s == nil || !s.confirmed.Load() {
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	switch {
	case n != s.last: // of an earlier connection, perhaps
	case receivers < 0:
		s.mute = true
	case receivers == 0 && in.single:
		s.counted = false
		s.hangUp() // to subscribe at the server that grants
	default:
		s.counted = in.single
		if s.missing.IsZero() && s.heard < n {
			s.missing = time.Now()
		}
	}
}

// arrived records that beacon n arrived on s.
func (in *inbox) arrived(s *subscription, n int64) {
	in.mu.Lock()
	defer in.mu.Unlock()
	s.heard, s.missing = n, time.Time{}
}

// deaf reports whether a beacon should have arrived long ago.
func (in *inbox) deaf(s *subscription) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	return s.overdue(time.Now())
}
