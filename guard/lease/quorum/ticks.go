package quorum

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jobguard/jobguard/guard/lease"
)

// Ticks. Nodes never forget a claim for another owner, so a vote that is split stays
// split. Claims therefore come one after the other: under the token of an exclusive
// lease, or else under a lease of the Store's own. A node's tick that is not the latest, or
// lost, is made up for by the next claim; until then the other nodes refuse.

// LastTick implements [lease.TickStore]. It returns the latest tick that any of a
// majority of nodes knows.
func (s *Store) LastTick(ctx context.Context, key string) (lease.Tick, error) {
	stores, err := s.tickStores()
	if err != nil {
		return lease.Tick{}, err
	}
	last, _, err := s.lastTicks(ctx, stores, key)
	return last, err
}

// lastTicks returns the latest tick that any of a majority of nodes knows, and what each says.
func (s *Store) lastTicks(ctx context.Context, stores []lease.TickStore, key string) (last lease.Tick, each []lease.Tick, err error) {
	answers := askAll(ctx, s, func(i int, ctx context.Context) (lease.Tick, error) { return stores[i].LastTick(ctx, key) })
	if count(answers, (*answer[lease.Tick]).ok) < s.majority {
		return lease.Tick{}, nil, failed(s, "last tick", answers)
	}
	for i := range answers {
		if a := &answers[i]; a.ok() {
			last = latest(last, a.value)
			each = append(each, a.value)
		}
	}
	return last, each, nil
}

// lastFor is the latest tick that nodes know, as r is to see it. Of several owners' claims
// of one tick, of which all but one broke off halfway, it is r's own if a majority of nodes
// knows that, else another's.
func (s *Store) lastFor(r lease.TickRequest, last lease.Tick, each []lease.Tick) lease.Tick {
	var own, other lease.Tick
	votes := 0
	for _, t := range each {
		switch {
		case !t.At.Equal(last.At) || t.Fence != last.Fence || t.Done != last.Done:
		case t.Owner == r.Owner:
			own = t
			votes++
		default:
			other = t
		}
	}
	switch {
	case votes >= s.majority:
		last = own
	case other.Owner != "":
		last = other
	}
	for _, t := range each {
		last = counted(last, t)
	}
	return last
}

// counted is a with what b knows of the runs of its tick, if both name the same owner. One of
// them may have missed claims, and either that the owner's run was broken off.
func counted(a, b lease.Tick) lease.Tick {
	if !a.At.Equal(b.At) || a.Owner != b.Owner {
		return a
	}
	claims := func(t lease.Tick) int {
		if t.Left {
			return t.Attempts + 1
		}
		return t.Attempts
	}
	a.Attempts, a.Left = max(claims(a), claims(b)), a.Left || b.Left
	if a.Left {
		a.Attempts--
	}
	return a
}

// attempts is what the count becomes with r's claim, after last. Each node is told: one that
// has missed a claim, or that a run was broken off, would go on from another count.
func attempts(r lease.TickRequest, last lease.Tick) int {
	switch {
	case r.Attempts > 0:
		return r.Attempts
	case !last.At.Equal(time.UnixMicro(r.At.UnixMicro())):
		return 1
	case last.Owner == r.Owner:
		return last.Attempts
	}
	return max(last.Attempts, 0) + 1
}

// ClaimTick implements [lease.TickStore]. The tick is claimed if a majority says so, and
// no node of another has a reason against it. A claim that fails halfway, and is not
// repeated by its owner, leaves the tick claimed, as if the owner had crashed after it.
func (s *Store) ClaimTick(ctx context.Context, r lease.TickRequest) (reply lease.TickReply, err error) {
	if r.Fence != 0 {
		return s.claimTick(ctx, r)
	}
	err = s.alone(ctx, r.Key+"\x1fticks", func(ctx context.Context) error {
		reply, err = s.claimTick(ctx, r)
		return err
	})
	return reply, err
}

func (s *Store) claimTick(ctx context.Context, r lease.TickRequest) (lease.TickReply, error) {
	stores, err := s.tickStores()
	if err != nil {
		return lease.TickReply{}, err
	}
	last, each, err := s.lastTicks(ctx, stores, r.Key)
	if err != nil {
		return lease.TickReply{}, err
	}
	if last = s.lastFor(r, last, each); !open(r, last) {
		return lease.TickReply{Last: last}, nil
	}
	r.Attempts = attempts(r, last)
	claims := func(reply lease.TickReply) bool { return reply.Claimed }
	answers := askVotes(ctx, s, claims, func(i int, ctx context.Context) (lease.TickReply, error) { return stores[i].ClaimTick(ctx, r) })
	claimed, refused, reply := 0, 0, lease.TickReply{}
	for i := range answers {
		switch a := &answers[i]; {
		case !a.ok():
		case a.value.Claimed:
			claimed++
		default:
			refused++
			reply.Last = latest(reply.Last, a.value.Last)
			reply.Ahead = max(reply.Ahead, a.value.Ahead)
		}
	}
	switch {
	case claimed >= s.majority:
		return lease.TickReply{Claimed: true}, nil
	case refused > len(s.nodes)-s.majority:
		return reply, nil
	}
	return lease.TickReply{}, failed(s, "claim tick", answers)
}

// EndTick implements [lease.TickStore]. The tick is ended if a majority says so.
func (s *Store) EndTick(ctx context.Context, r lease.TickEnd) (bool, error) {
	stores, err := s.tickStores()
	if err != nil {
		return false, err
	}
	ends := func(ended bool) bool { return ended }
	answers := askVotes(ctx, s, ends, func(i int, ctx context.Context) (bool, error) { return stores[i].EndTick(ctx, r) })
	ended := count(answers, func(a *answer[bool]) bool { return a.ok() && a.value })
	not := count(answers, func(a *answer[bool]) bool { return a.ok() && !a.value })
	switch {
	case ended >= s.majority:
		return true, nil
	case not > len(s.nodes)-s.majority:
		return false, nil
	}
	return false, failed(s, "end tick", answers)
}

func (s *Store) tickStores() ([]lease.TickStore, error) {
	stores := make([]lease.TickStore, len(s.nodes))
	for i, n := range s.nodes {
		store, ok := n.Store.(lease.TickStore)
		if !ok {
			return nil, fmt.Errorf("quorum: store %d, a %T, cannot remember ticks, %w: it is no lease.TickStore", i+1, n.Store, errors.ErrUnsupported)
		}
		stores[i] = store
	}
	return stores, nil
}

// open reports whether r may be claimed after last, as [lease.TickStore.ClaimTick] says,
// but for MaxAhead, for which nodes have the clock.
func open(r lease.TickRequest, last lease.Tick) bool {
	at := time.UnixMicro(r.At.UnixMicro())
	switch {
	case last.At.IsZero():
		return true
	case at.After(last.At):
		return (r.Fence == 0 || r.Fence >= last.Fence) && (last.Done || !r.Rerun || r.Fence == last.Fence)
	case at.Equal(last.At):
		return !last.Done && (r.Owner == last.Owner || r.Rerun && r.Fence > last.Fence)
	}
	return false
}

// latest is what two nodes know of a key together.
func latest(a, b lease.Tick) lease.Tick {
	if b.At.After(a.At) || b.At.Equal(a.At) && (b.Fence > a.Fence || b.Fence == a.Fence && b.Done) {
		a, b = b, a
	}
	a = counted(a, b)
	if b.Since.After(a.Since) {
		a.Since = b.Since
	}
	if b.Dead.After(a.Dead) {
		a.Dead = b.Dead
	}
	return a
}

const (
	aloneTTL  = 10 * time.Second
	alonePoll = 50 * time.Millisecond
)

// alone runs do under an exclusive lease of key, for which it waits until ctx ends. The
// lease only keeps votes from being split: nothing is wrong if it is lost.
func (s *Store) alone(ctx context.Context, key string, do func(context.Context) error) error {
	place := lease.Place{Reservation: aloneTTL / 10, Poll: aloneTTL / 10}
	r := lease.AcquireRequest{Key: key, Owner: s.NewOwner(""), TTL: aloneTTL, Join: true, Place: place, TokenCount: 1}
	woken := make(chan struct{}, 1)
	s.Watch(r.Owner, lease.WakeFunc(func(lease.Grant) bool {
		select {
		case woken <- struct{}{}:
		default:
		}
		return false
	}))
	defer func() {
		s.Unwatch(r.Owner)
		a := lease.NewAttempt(time.Now().Add(attemptLimit(aloneTTL)))
		defer a.End()
		_, _ = s.Release(a, lease.ReleaseRequest{Key: key, Owner: r.Owner, Place: place}) // else it expires
	}()
	for {
		reply, err := s.Acquire(ctx, r)
		if err != nil {
			return err
		}
		if reply.Granted {
			return do(ctx)
		}
		t := time.NewTimer(s.jitter(alonePoll))
		select {
		case <-woken:
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
	}
}
