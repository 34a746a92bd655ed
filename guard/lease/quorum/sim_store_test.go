package quorum

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// simStore is a client's store over one node, behind a network that delays and loses.
type simStore struct {
	n       *simNode
	client  int
	process string

	mu       sync.Mutex
	rnd      *rand.Rand
	sequence uint64
	owners   map[string]simOwner
}

// simOwner is what a store needs to know of an owner to tell grants from old news, as
// redisstore's inbox does.
type simOwner struct {
	waker    lease.Waker
	answered time.Time // when the last request ran that was answered with "wait"; zero: never
	holding  bool      // it knows of its grant
	left     bool      // its watch ended without a grant
	done     bool      // its release was sent, and it has not asked since
}

func (s *simStore) NewOwner(metadata string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sequence++
	return lease.OwnerID(s.process, s.sequence, "sim", metadata)
}

var errSim = errors.New("no reply")

// call sends one request and waits for its reply. late is refused by the node.
func (s *simStore) call(ctx context.Context, late time.Time, effect func()) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.n.w.calls.Add(1)
	there, back := s.delay(), s.delay()
	if w := s.n.w; back >= 0 && w.far[s.client] && !w.healed() {
		back += 90*time.Millisecond + s.chance(120*time.Millisecond)
	}
	replied := make(chan struct{}, 1)
	if there >= 0 {
		time.AfterFunc(there, func() {
			s.n.arrive(func() {
				if !late.IsZero() && time.Now().After(late) {
					return
				}
				effect()
				if back >= 0 {
					time.AfterFunc(back, func() { replied <- struct{}{} })
				}
			})
		})
	}
	select {
	case <-replied:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errSim, ctx.Err())
	}
}

// delay is that of the next message; negative: it is lost.
func (s *simStore) delay() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.n.w
	p := s.rnd.Float64()
	switch {
	case w.healed():
		return 100*time.Microsecond + rand2(s.rnd, time.Millisecond)
	case p < w.trouble/4, w.isCut(s.client, s.n):
		return -1
	case p > w.trouble:
		return 100*time.Microsecond + rand2(s.rnd, time.Millisecond)
	case p < w.trouble/2:
		return rand2(s.rnd, 600*time.Millisecond)
	default:
		return rand2(s.rnd, 30*time.Millisecond)
	}
}

func (s *simStore) chance(d time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return rand2(s.rnd, d)
}

func rand2(rnd *rand.Rand, d time.Duration) time.Duration {
	return time.Duration(rnd.Int64N(int64(d)))
}

func (s *simStore) Acquire(ctx context.Context, r lease.AcquireRequest) (lease.AcquireReply, error) {
	deadline, _ := ctx.Deadline()
	var reply lease.AcquireReply
	var ran time.Time
	if err := s.call(ctx, deadline, func() { reply, ran = s.n.acquireLocked(s, r), time.Now() }); err != nil {
		return lease.AcquireReply{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.owners[r.Owner]
	if o.holding, o.left = reply.Granted, o.left && !reply.Granted; !reply.Granted && r.Join {
		o.answered, o.done = ran, false
	}
	s.owners[r.Owner] = o
	return reply, nil
}

func (s *simStore) Renew(ctx context.Context, rs []lease.RenewRequest) []lease.RenewReply {
	replies := make([]lease.RenewReply, len(rs))
	if err := s.call(ctx, time.Time{}, func() {
		for i, r := range rs {
			replies[i] = s.n.renewLocked(r)
		}
	}); err != nil {
		failed := make([]lease.RenewReply, len(rs))
		for i := range failed {
			failed[i].Err = err
		}
		return failed
	}
	return replies
}

func (s *simStore) Release(ctx context.Context, r lease.ReleaseRequest) (lease.ReleaseReply, error) {
	defer s.released(r.Owner)
	var reply lease.ReleaseReply
	if err := s.call(ctx, time.Time{}, func() { reply = s.n.releaseLocked(r) }); err != nil {
		return lease.ReleaseReply{}, err
	}
	return reply, nil
}

func (s *simStore) Watch(owner string, waker lease.Waker) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.owners[owner]
	o.waker = waker
	s.owners[owner] = o
}

func (s *simStore) Taken(owner string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o, known := s.owners[owner]; known {
		o.holding, o.left = true, false
		s.owners[owner] = o
	}
}

func (s *simStore) Unwatch(owner string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.owners[owner]
	if o.answered.IsZero() || o.done {
		delete(s.owners, owner)
		return
	}
	o.waker, o.left = nil, !o.holding
	s.owners[owner] = o
}

func (s *simStore) released(owner string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o, known := s.owners[owner]; known && o.waker != nil {
		o.done = true
		s.owners[owner] = o
	} else {
		delete(s.owners, owner)
	}
}

// wake sends owner the message that it was granted the key.
func (s *simStore) wake(key, owner string, g lease.Grant) {
	d := s.delay()
	if d < 0 {
		return
	}
	time.AfterFunc(d, func() { s.deliver(key, owner, g) })
}

// deliver does what redisstore's inbox does: a grant to an owner that is not here, or has
// left, is given back.
func (s *simStore) deliver(key, owner string, g lease.Grant) {
	s.mu.Lock()
	o, known := s.owners[owner]
	s.mu.Unlock()
	switch {
	case o.holding:
		return
	case o.waker == nil:
		if d := s.delay(); d >= 0 && (!known || o.left) {
			time.AfterFunc(d, func() {
				s.n.arrive(func() { s.n.releaseLocked(lease.ReleaseRequest{Key: key, Owner: owner}) })
			})
		}
		return
	}
	if o.answered.IsZero() || !g.Since.After(o.answered) {
		g = lease.Grant{}
	}
	if !o.waker.Woken(g) {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if o, known := s.owners[owner]; known {
		o.holding, o.left = true, false
		s.owners[owner] = o
	}
}
