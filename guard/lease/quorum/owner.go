package quorum

import (
	"slices"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// owner is what the Store knows of an owner id, from its first Acquire to its Release,
// or until an Acquire without Join is refused. It is guarded by Store.mu.
type owner struct {
	id     string
	key    string
	limit  lease.Limit
	place  lease.Place
	life   time.Duration // the longest that a node keeps what it was asked for
	votes  int           // how often it has asked
	asking bool          // a vote is under way
	joined bool          // it has asked to wait
	over   bool          // it is no longer in Store.owners

	forgotten bool // it is to leave when nothing is under way any more

	parts []part
}

// part is what one node may have for an owner.
type part struct {
	asked bool   // the node may have a lease, or the owner in its queue
	kept  bool   // the node has granted its part, though a majority has not
	busy  bool   // an Acquire or a discard is under way: the next call waits, or does without the node
	then  func() // called when it has ended

	// epoch is part of the id on the node. It is counted up when something that is about
	// the id may still be on its way: a release, which would end a lease that is acquired
	// meanwhile, or a wake-up, which would announce one that was given back.
	epoch int
	id    string // with the epoch; "" until it is needed

	ticket   int64     // orders the node's queue; 0 before it joined
	returned int       // to its place there, after it had given back; see givesBack
	unknown  time.Time // until when an Acquire that was not answered may take effect
}

// enter returns the owner of r, made if need be.
func (s *Store) enter(r lease.AcquireRequest) *owner {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.owners[r.Owner]
	if o == nil {
		o = &owner{id: r.Owner, key: r.Key, limit: r.Limit, place: placeOn(r.Place, r.Limit), parts: make([]part, len(s.nodes))}
		s.watches[r.Owner].nameLocked(o)
		s.owners[r.Owner] = o
	}
	o.votes++
	o.asking, o.joined, o.forgotten = true, o.joined || r.Join, false
	o.life = max(o.life, r.TTL, r.Reservation)
	return o
}

// voted ends what enter began.
func (s *Store) voted(o *owner) {
	s.mu.Lock()
	o.asking = false
	s.mu.Unlock()
}

// placeOn is an owner's place in the queue of each node: a grant that a node makes by itself
// has as many tokens as one that it is asked for.
func placeOn(p lease.Place, limit lease.Limit) lease.Place {
	if limit == lease.Exclusive {
		p.GrantTokens = spread
	}
	return p
}

// idLocked is o's id on node i.
func (s *Store) idLocked(o *owner, i int) string {
	p := &o.parts[i]
	if p.id == "" {
		p.id = s.idOn(i, p.epoch, o.id)
	}
	return p.id
}

// leave takes an owner out, and returns it; nil if there is none.
func (s *Store) leave(id string) *owner {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.owners[id]
	if o != nil {
		s.leaveLocked(o)
	}
	return o
}

// forget is leave for an owner that may come back, with an Acquire, or may not: as soon as
// nothing is under way for it, and if a release of an earlier id may still arrive, when that
// has no effect.
func (s *Store) forget(o *owner) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o.forgotten = true
	s.forgetLocked(o)
}

func (s *Store) forgetLocked(o *owner) {
	if !o.forgotten || slices.ContainsFunc(o.parts, func(p part) bool { return p.busy }) {
		return // the last node to answer brings us back
	}
	o.forgotten = false
	if !slices.ContainsFunc(o.parts, func(p part) bool { return p.epoch > 0 }) {
		s.leaveLocked(o)
		return
	}
	votes := o.votes
	time.AfterFunc(o.life+maxAttempt, func() { // ends by itself
		if s.mu.Lock(); o.votes == votes {
			s.leaveLocked(o)
		}
		s.mu.Unlock()
	})
}

func (s *Store) leaveLocked(o *owner) {
	o.over = true
	if s.owners[o.id] == o {
		delete(s.owners, o.id)
	}
}

// idle ends what was under way for o on node i.
func (s *Store) idle(o *owner, i int) {
	s.mu.Lock()
	p := &o.parts[i]
	p.busy = false
	then := p.then
	p.then = nil
	s.forgetLocked(o)
	s.mu.Unlock()
	if then != nil {
		then()
	}
}

// awaitIdle returns when nothing is under way for o on node i.
func (s *Store) awaitIdle(o *owner, i int) {
	s.mu.Lock()
	p := &o.parts[i]
	if !p.busy {
		s.mu.Unlock()
		return
	}
	done := make(chan struct{})
	p.then = func() { close(done) }
	s.mu.Unlock()
	<-done
}
