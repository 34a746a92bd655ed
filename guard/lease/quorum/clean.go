package quorum

import (
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// cleaner releases on one node what it may have for an id that is not used any more. It
// goes on until the node has answered, and asks once more when an Acquire that was not
// answered can have no effect any more. It gives up when all has expired by itself.
//
// Between attempts it is a timer and no goroutine.
type cleaner struct {
	s           *Store
	node        int
	r           lease.ReleaseRequest
	closedUntil time.Time
	unknown     time.Time
	end         time.Time
	limit       time.Duration // of one attempt
	failures    int
}

// newCleaner prepares a cleaner for what lives at most life from now, or from unknown if
// that is later; failures counts attempts that have failed already.
func (s *Store) newCleaner(i int, r lease.ReleaseRequest, closedUntil, unknown time.Time, life time.Duration, failures int) *cleaner {
	c := &cleaner{s: s, node: i, r: r, closedUntil: closedUntil, unknown: unknown, limit: attemptLimit(life), failures: failures}
	c.end = time.Now().Add(life)
	if unknown.After(time.Now()) {
		c.end = unknown.Add(life)
	}
	return c
}

func (c *cleaner) again(pause time.Duration) {
	if time.Now().Add(pause).Before(c.end) {
		time.AfterFunc(pause, c.attempt)
	}
}

// pause doubles from 10 ms to a second, half of it by chance.
func (c *cleaner) pause() time.Duration {
	return c.s.jitter(min(10*time.Millisecond<<min(c.failures, 7), time.Second))
}

func (c *cleaner) attempt() {
	if !c.closedUntil.IsZero() {
		c.r.KeepClosed = max(0, time.Until(c.closedUntil))
	}
	buried := c.unknown.After(time.Now())
	a := lease.NewAttempt(time.Now().Add(c.limit))
	_, err := c.s.nodes[c.node].Release(a, c.r)
	a.End()
	c.s.nodes[c.node].heard(err)
	switch {
	case err != nil:
		c.failures++
		c.again(c.pause())
	case buried:
		c.again(time.Until(c.unknown) + time.Millisecond)
	}
}

// discard gives back what node i has for o, which does not have the key, and may ask for
// it again. If a release may arrive later, a request or a wake-up, o has another id on the
// node from then on. It ends what is under way there.
func (s *Store) discard(o *owner, i int, id string) error {
	s.mu.Lock()
	p := &o.parts[i]
	p.kept = false
	if o.joined { // from now on: a renewal must not count the node
		p.epoch++
		p.id = ""
	}
	unknown := p.unknown
	r := lease.ReleaseRequest{Key: o.key, Owner: id, Limit: o.limit, Place: o.place}
	life := o.life
	s.mu.Unlock()

	a := lease.NewAttempt(time.Now().Add(attemptLimit(life)))
	reply, err := s.nodes[i].Release(a, r)
	a.End()

	certain := err == nil && !reply.Resent && !unknown.After(time.Now())
	s.mu.Lock()
	p.asked, p.unknown = false, time.Time{}
	if !certain && p.id == id {
		p.epoch++
		p.id = ""
	}
	s.mu.Unlock()
	switch c := s.newCleaner(i, r, time.Time{}, unknown, life, 0); {
	case err != nil:
		c.failures++
		c.again(c.pause())
	case unknown.After(time.Now()):
		c.again(time.Until(unknown) + time.Millisecond)
	}
	s.idle(o, i)
	return err
}
